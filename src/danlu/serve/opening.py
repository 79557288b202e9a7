"""A house from a model and its engine."""

from __future__ import annotations

import time
from pathlib import Path

from ..core.errors import ConfigError, unknown
from ..infer.engine import Engine
from .embedding import POOLINGS
from .house import House
from .metrics import Metrics
from .models import Models
from .prompts import Prompts
from .reader import Reader
from .service import Service
from .shelf import Shelf
from .votes import Votes

RESERVED_NAMES = 200  # characters a model's name may have


def opened(
    engine: Engine | Reader,
    name: str,
    *,
    queue: int = 256,
    votes: str | Path | None = None,
    shelf: str | Path | None = None,
    base: str | None = None,
    pooling: str = "mean",
) -> House:
    """The house of an engine under a name; ``queue`` requests at once, ``votes`` are kept in that file.

    Adapters of the folder ``shelf`` can be loaded at run time if they were trained on ``base``; ``pooling`` makes
    vectors of texts.

    Raises: ConfigError if the name is empty or an adapter's, or the file of votes cannot be written.
    """
    if not name or name in engine.adapters or len(name) > RESERVED_NAMES:
        raise ConfigError(f"the model cannot be served as {name!r}: give it a name of its own with --name")
    if pooling not in POOLINGS:
        raise unknown("pooling", pooling, list(POOLINGS))
    metrics = Metrics()
    service = Service(engine, metrics, most=queue)
    context = engine.settings.longest(engine.model)
    switch = engine.model.switch
    default = switch.active if switch else ()
    return House(
        engine=engine,
        default=default,
        tokenizer=engine.tokenizer,
        service=service,
        models=Models(name, lambda: engine.adapters, context, int(time.time())),
        prompts=Prompts(engine.tokenizer, engine.model, context),
        metrics=metrics,
        votes=None if votes is None else Votes(votes),
        shelf=None if shelf is None else Shelf(engine, service, shelf, default=default, base=base),
        pooling=pooling,
    )
