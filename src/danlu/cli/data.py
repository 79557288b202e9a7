"""danlu data inspect rows.jsonl --tokenizer DIR     tokens with their weights, lengths, what would be cut
danlu data build recipe.yaml                      tokenize, hold out and pack what a recipe's data section names"""

from __future__ import annotations

import argparse
import sys
from typing import Any

HELP = "look at training data as the loss sees it, or prepare a recipe's data"


def arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="inspect|build")
    inspect = actions.add_parser("inspect", help="tokens with their weights, lengths, what would be cut")
    inspect.add_argument("source", help="file, folder, pattern, hf:// address or dataset_info.json#name")
    inspect.add_argument("--tokenizer", required=True, help="tokenizer file, folder or model directory")
    inspect.add_argument("--format", help="name of the rows' format; detected when absent")
    inspect.add_argument("--columns", nargs="+", default=[], metavar="FIELD=COLUMN", help="the format's fields renamed")
    inspect.add_argument("--tags", nargs="+", default=[], metavar="TAG=NAME", help="keys and role names renamed")
    inspect.add_argument("--loss-on", default="answers", choices=("answers", "all", "last"))
    inspect.add_argument("--length", type=int, default=512, help="tokens of a row (default 512)")
    cuts = ("drop_oldest_turns", "drop_row", "split", "error")
    inspect.add_argument("--too-long", default=cuts[0], choices=cuts)
    inspect.add_argument("--rows", type=int, default=10_000, help="how many rows to read (default 10,000)")
    inspect.add_argument("--show", type=int, default=3, help="how many rows to show (default 3)")
    build = actions.add_parser("build", help="tokenize, hold out and pack a recipe's data")
    build.add_argument("recipe", help="a recipe's YAML")
    build.add_argument("overrides", nargs="*", metavar="key=value", help="data.pack.length=256 and the like")
    build.add_argument("--quiet", action="store_true", help="no progress bar")


def run(args: argparse.Namespace) -> None:
    {"inspect": _inspect, "build": _build}[args.action](args)


def _inspect(args: argparse.Namespace) -> None:
    from ..data.inspection import inspect
    from ..data.recipe import Pack, Source
    from ..data.show import inspection_lines
    from ..tokenize import load_tokenizer

    source = Source(from_=args.source, format=args.format, columns=_pairs(args.columns), tags=_pairs(args.tags))
    length = Pack(length=args.length).length
    found = inspect(
        source,
        load_tokenizer(args.tokenizer),
        loss_on=args.loss_on,
        length=length,
        too_long=args.too_long,
        limit=args.rows,
        show=args.show,
    )
    for line in inspection_lines(found, color=sys.stdout.isatty()):
        print(line)


def _build(args: argparse.Namespace) -> None:
    from ..core import config
    from ..data import build
    from ..data.show import report_lines
    from ..tokenize import load_tokenizer
    from ..train.recipe import Recipe

    recipe = config.load(Recipe, args.recipe, args.overrides)
    tokenizer = load_tokenizer(recipe.tokenizer or recipe.base or "")
    for line in report_lines(build(recipe.data, tokenizer, seed=recipe.seed, quiet=args.quiet).report):
        print(line)


def _pairs(texts: list[str]) -> dict[str, Any] | None:
    from ..core.errors import ConfigError

    pairs = [text.partition("=") for text in texts]
    if wrong := [text for text, (_, equals, _) in zip(texts, pairs, strict=True) if not equals]:
        raise ConfigError(f"{wrong[0]!r}: write field=column, for example --columns instruction=question")
    return {name: value for name, _, value in pairs} or None
