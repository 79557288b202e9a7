"""danlu serve runs/demo/final                                     OpenAI's API and a page at http://127.0.0.1:8000
danlu serve BASE --adapter law=runs/law --adapter med=PEFT-FOLDER      each adapter is a model of its own name
danlu serve MODEL --host 0.0.0.0 --api-key SECRET --cors https://my.page --votes votes.jsonl

The key may also come from the variable DANLU_API_KEY. SIGTERM or Ctrl-C answers who is being answered, then ends."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..infer.drafters import Drafter
    from ..infer.engine import Engine
    from ..infer.prompt_cache import PromptCache
    from ..infer.settings import EngineSettings
    from ..nn.model import Model
    from ..serve.reader import Reader
    from ..tokenize import Tokenizer

HELP = "serve a model as OpenAI's API, with a page for people"
GIB = 1 << 30


def arguments(parser: argparse.ArgumentParser) -> None:
    from . import generate

    parser.add_argument("model", metavar="MODEL", help="a model directory, a run or a hub id")
    generate.adapters(parser)
    parser.add_argument("--name", metavar="NAME", help="what clients call the model (its folder's name)")
    _network(parser)
    _engine(parser)
    _limits(parser)
    parser.add_argument("--shelf", metavar="FOLDER", help="adapters in it can be loaded and unloaded at run time")
    parser.add_argument("--votes", metavar="FILE", help="keep the page's votes in this file, one line of JSON each")
    parser.add_argument("--pooling", default="mean", metavar="P", help="of embeddings: mean, last or first")
    parser.add_argument("--quiet", action="store_true", help="no line for each request")


def _network(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="default: this machine only")
    parser.add_argument("--port", type=int, default=8000, metavar="N", help="default 8000; 0 takes any free one")
    parser.add_argument("--api-key", action="append", default=[], metavar="KEY", help="a key to ask for (repeatable)")
    parser.add_argument(
        "--cors", action="append", default=[], metavar="ORIGIN", help="pages of others that may call (repeatable)"
    )


def _engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--context", type=int, metavar="N", help="longest text in tokens (default: the model's)")
    parser.add_argument("--rows", type=int, default=64, metavar="N", help="answers side by side (default 64)")
    parser.add_argument("--budget", type=int, default=512, metavar="N", help="tokens a step (default 512)")
    parser.add_argument(
        "--cache", default="plain", metavar="SPEC", help="how keys are kept: plain, int8, {use: kivi, bits: 2}"
    )
    parser.add_argument("--cache-gib", type=float, metavar="G", help="memory for keys (default: what is needed)")
    parser.add_argument("--no-reuse", action="store_true", help="read every prompt anew")
    parser.add_argument(
        "--prompt-cache", metavar="FOLDER", help="keep the keys of long shared beginnings there for the next start"
    )
    parser.add_argument(
        "--exact", action="store_true", help="multiply weights of 8 and 4 bits without rounding: slower"
    )
    parser.add_argument("--draft", metavar="SPEC", help="guess ahead: ngram, model or {use: ngram, tokens: 6}")
    parser.add_argument(
        "--companion",
        metavar="MODEL",
        help="a smaller model with the same tokens: drafts, contrasts",
    )


def _limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--queue", type=int, default=256, metavar="N", help="requests at once, then 429 (default 256)")
    parser.add_argument("--body-mib", type=float, default=8, metavar="M", help="largest request (default 8)")
    parser.add_argument("--time-limit", type=float, default=600, metavar="S", help="seconds a request (default 600)")
    parser.add_argument("--drain", type=float, default=30, metavar="S", help="seconds to end answers in (default 30)")


def run(args: argparse.Namespace) -> None:
    from ..core.errors import MissingExtra

    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtra(error.name or "fastapi", "serve", "danlu serve") from None
    _serve(args)


def _serve(args: argparse.Namespace) -> None:
    from ..serve.app import create
    from ..serve.limits import Limits
    from ..serve.listening import Listener, bound
    from ..serve.opening import opened

    _log(args.quiet)
    limits = Limits(body=int(args.body_mib * (1 << 20)), seconds=args.time_limit, keys=_keys(args.api_key))
    listening = bound(args.host, args.port)  # before the model is read: a taken port is told at once
    try:
        engine, base = _opened(args)
        prompts = _prompts(args, engine)
        house = opened(
            engine, args.name or _name(args.model), queue=args.queue, votes=args.votes, shelf=args.shelf, base=base,
            pooling=args.pooling,
        )  # fmt: skip
        app = create(house, limits, origins=args.cors)
        host, port = listening.getsockname()[:2]
        place = f"[{host}]" if ":" in host else host
        print(f"{', '.join(house.models.names)} at http://{place}:{port}  (page /, API /v1)", flush=True)
        Listener(app, house.service, drain=args.drain).run(sockets=[listening])
        if prompts is not None and (kept := prompts.write()):
            _say(f"{kept} shared beginnings kept in {args.prompt_cache}")
    finally:
        listening.close()


def _opened(args: argparse.Namespace) -> tuple[Engine | Reader, str | None]:
    """The engine, with the adapters that were named resting; and the base that others must be of."""
    import warnings

    import yaml

    from ..assembly import load_with
    from ..core.errors import ConfigError
    from ..infer.settings import EngineSettings
    from ..peft.attached import activate
    from ..serve.reader import Reader

    settings = EngineSettings(
        rows=args.rows, budget=args.budget, cache=yaml.safe_load(args.cache), context=args.context,
        reuse=not args.no_reuse, cache_bytes=None if args.cache_gib is None else int(args.cache_gib * GIB),
        rounded=not args.exact,
    )  # fmt: skip
    model, tokenizer, names = load_with(args.model, args.adapter, base=args.base, any_base=args.any_base)
    if tokenizer is None:
        raise ConfigError(f"{args.model}: has no tokenizer; put its tokenizer.json beside config.json")
    if args.adapter:
        activate(model, *names[: -len(args.adapter)])
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        engine = (
            Reader(model, tokenizer, settings=settings)
            if model.foresees
            else _speaking(args, model, tokenizer, settings)
        )
    for warning in told:
        _say(str(warning.message))
    return engine, _base(args)


def _speaking(args: argparse.Namespace, model: Model, tokenizer: Tokenizer, settings: EngineSettings) -> Engine:
    from ..assembly.loading import load
    from ..infer.engine import Engine

    companion = load(args.companion)[0] if args.companion else None
    drafter = _drafter(args.draft, companion)
    return Engine(model, tokenizer, settings=settings, companion=None if drafter else companion, drafter=drafter)


def _prompts(args: argparse.Namespace, engine: Engine | Reader) -> PromptCache | None:
    from ..core.errors import ConfigError
    from ..infer.engine import Engine
    from ..infer.prompt_cache import PromptCache

    if args.prompt_cache is None:
        return None
    if not isinstance(engine, Engine):
        raise ConfigError("--prompt-cache: an encoder goes on with no prompt; strike it")
    return PromptCache(args.prompt_cache, engine)


def _drafter(given: str | None, companion: Model | None) -> Drafter | None:
    import yaml

    from ..core.spec import Spec
    from ..infer.drafters import DRAFTERS

    if given is None:
        return None
    return Spec.read(yaml.safe_load(given), "draft").build(DRAFTERS, companion, where="draft")


def _base(args: argparse.Namespace) -> str | None:
    """What adapters of the shelf must have been trained on; None: anything goes."""
    from ..assembly.loading import adapter_folder, base_of

    if args.any_base or not args.shelf:
        return None
    own = adapter_folder(args.model)
    return base_of(own, args.base).path if own else str(args.model)


def _keys(given: list[str]) -> tuple[str, ...]:
    import os

    from ..core.errors import ConfigError

    keys = (*given, *filter(None, [os.environ.get("DANLU_API_KEY")]))
    if "" in keys:
        raise ConfigError("--api-key '': a key is a text of one character or more")
    return keys


def _name(model: str) -> str:
    """The folder's name; that of the run where it is the run's final model."""
    from pathlib import Path

    whole = Path(model).resolve() if Path(model).exists() else Path(model)
    return whole.parent.name if whole.name == "final" else whole.name


def _log(quiet: bool) -> None:
    import logging

    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    logging.getLogger("danlu").setLevel(logging.WARNING if quiet else logging.INFO)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


def _say(sentence: str) -> None:
    import sys

    print(f"danlu: {sentence}", file=sys.stderr, flush=True)
