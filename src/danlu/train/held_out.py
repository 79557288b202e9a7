"""The loss on rows that training never saw."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ..core.batch import IGNORE, Batch, Record
from ..core.errors import ConfigError
from ..core.rng import derive
from ..tokenize import Tokenizer
from .trainer import Trainer


def measure(trainer: Trainer, rows: Callable[[], Iterable[Record]], bytes_: Tensor | None) -> dict[str, float]:
    """held_out_loss = Σ total / Σ weight over all rows, in nats; bits_per_byte where the bytes of tokens are known.

    bits_per_byte = Σ total / (ln 2 · Σ weight · bytes of the target); special tokens count no byte. It is left out
    where the loss is not that of coding the text. What the objective measures beside its loss is held_out_<name>.
    Samples are drawn from one seed, so that every measurement of a run asks the same questions.
    Raises: ConfigError if nothing is held out.
    Truth:  tests/truth/test_held_out.py (a uniform model: ln V nats; the byte sum by hand).
    """
    sums: dict[str, float] = defaultdict(float)
    bytes_ = bytes_ if trainer.objective.codes_text else None
    with _asked_alike(trainer), torch.no_grad():
        for batch in rows():
            for part in trainer.parts([trainer.objective.sample(batch, trainer.step)]):
                with trainer.precision.forward(torch.device(trainer.device).type):
                    loss = trainer.objective.loss(trainer.model, part)
                for name, value in {**loss.metrics, "total": loss.total, "weight": loss.weight}.items():
                    sums[name] += value.item()
                sums["bytes"] += _bytes(part, bytes_)
    total, weight, size = sums.pop("total", 0.0), sums.pop("weight", 0.0), sums.pop("bytes", 0.0)
    if not weight:
        raise ConfigError(
            "nothing is held out to evaluate on; set data.held_out.share, for example 0.05, or strike the hook"
        )
    found = {"held_out_loss": total / weight, **{f"held_out_{name}": value / weight for name, value in sums.items()}}
    return {**found, "bits_per_byte": total / (math.log(2) * size)} if size else found


@contextmanager
def _asked_alike(trainer: Trainer) -> Iterator[None]:
    """Neither model nor objective trains, and what is drawn is drawn as always; afterwards all is as before."""
    modules, state = (trainer.model, trainer.objective), torch.get_rng_state()
    modes = [module.training for module in modules]
    for module in modules:
        module.eval()
    torch.default_generator.manual_seed(derive(0, "held out"))
    try:
        yield
    finally:
        torch.set_rng_state(state)
        for module, mode in zip(modules, modes, strict=True):
            module.train(mode)


def byte_table(tokenizer: Tokenizer, vocab: int) -> Tensor:
    """How many bytes of text each id stands for; 0 for special tokens.  (V,)"""
    special = tokenizer.special_ids
    known = [0 if i in special else len(tokenizer.piece_bytes(i)) for i in range(min(vocab, tokenizer.vocab_size))]
    return torch.tensor([*known, *[0] * (vocab - len(known))], dtype=torch.float32)


def _bytes(batch: Record, table: Tensor | None) -> float:
    if table is None or not isinstance(batch, Batch):
        return 0.0
    targets = batch.targets.masked_fill(batch.targets == IGNORE, 0)
    return float((table.to(targets.device)[targets] * batch.weight).sum())
