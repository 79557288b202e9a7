"""danlu tokenizer train text.txt --vocab 8192 --out tokenizer       learn a vocabulary
danlu tokenizer extend BASE --text domain.txt --out grown          learn more pieces for an old one
danlu tokenizer extend BASE --with other.model --model DIR --out grown   merge another one, and grow the model
danlu tokenizer inspect PATH --show "a text"                       what it is like"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..tokenize import Tokenizer

HELP = "train, extend or inspect a tokenizer"


def arguments(parser: argparse.ArgumentParser) -> None:
    tasks = parser.add_subparsers(dest="task", required=True, metavar="train|extend|inspect")
    train = tasks.add_parser("train", help="learn a vocabulary from text")
    train.add_argument("text", nargs="+", help=".txt, .md or .jsonl files, or folders of them")
    train.add_argument("--kind", default="byte_bpe", help="see `danlu parts 'tokenizer trainer'` (byte_bpe)")
    train.add_argument("--vocab", type=int, default=8192, help="pieces, special tokens included (8192)")
    train.add_argument("--digits", help="single, triple or joined: how numbers are cut")
    train.add_argument("--normalization", help="none, nfc, nfkc, lowercase or nfkc_lowercase")
    train.add_argument("--special", nargs="*", help="special tokens, instead of those of chat")
    train.add_argument("--template", help="a Jinja file: the chat template, instead of ChatML")
    train.add_argument("--out", required=True, help="the folder to write")
    extend = tasks.add_parser("extend", help="add pieces to a vocabulary; no old id moves")
    extend.add_argument("base", help="a tokenizer file, a model directory or a hub id")
    extend.add_argument("--text", nargs="+", default=[], help="learn new pieces on these files")
    extend.add_argument("--with", dest="other", help="or take the pieces of this tokenizer")
    extend.add_argument("--add", type=int, default=4096, help="new pieces at most, with --text (4096)")
    extend.add_argument("--model", help="a model directory whose embedding and head grow with it")
    extend.add_argument("--sample", nargs="+", default=[], help="files to measure tokens a character on (--text)")
    extend.add_argument("--out", required=True, help="the folder to write")
    inspect = tasks.add_parser("inspect", help="show what a tokenizer is like")
    inspect.add_argument("path", help="a tokenizer file, a model directory or a hub id")
    inspect.add_argument("--text", nargs="+", default=[], help="files to measure tokens a character on")
    inspect.add_argument("--show", help="a text to show as pieces")


def run(args: argparse.Namespace) -> None:
    {"train": _train, "extend": _extend, "inspect": _inspect}[args.task](args)


def _train(args: argparse.Namespace) -> None:
    from ..tokenize import report, train
    from ..tokenize.training import CHAT

    specials = CHAT if args.special is None else tuple(args.special)
    template = Path(args.template).read_text(encoding="utf-8") if args.template else None
    settings = {"digits": args.digits, "normalization": args.normalization}
    tokenizer = train(args.text, args.kind, vocab=args.vocab, specials=specials, template=template, **settings)
    tokenizer.save(args.out)
    if tokenizer.vocab_size < args.vocab:
        print(f"the text gives {tokenizer.vocab_size:,} pieces of the {args.vocab:,} asked for; more text gives more")
    _lines([*report.summary(tokenizer), ("on its text", report.shortness(tokenizer, report.sample(args.text)))])
    print(f"saved to {args.out}")


def _extend(args: argparse.Namespace) -> None:
    from ..core.errors import ConfigError
    from ..tokenize import extend, extend_with, load_tokenizer, report

    if bool(args.text) == bool(args.other):
        raise ConfigError("name either --text FILES to learn on or --with TOKENIZER to merge")
    base, model = load_tokenizer(args.base), None
    if args.model:
        from .. import models

        model, _ = models.load(args.model)
    rows = model.dims.vocab if model else None
    if args.other:
        grown = extend_with(base, load_tokenizer(args.other), rows=rows)
    else:
        grown = extend(base, args.text, add=args.add, rows=rows)
    if model is not None:
        from .. import models

        models.grow(model, grown.pieces)
        models.save(model, grown.tokenizer, args.out)
    else:
        grown.tokenizer.save(args.out)
    _lines(report.growth(base, grown, report.sample(args.sample or args.text)))
    print(f"saved to {args.out}" + (f", with the model of {model.dims.vocab:,} rows" if model is not None else ""))


def _inspect(args: argparse.Namespace) -> None:
    from ..tokenize import load_tokenizer, report

    tokenizer = load_tokenizer(args.path)
    _lines(report.summary(tokenizer))
    if args.text:
        _lines([("on this text", report.shortness(tokenizer, report.sample(args.text)))])
    if args.show is not None:
        _colored(tokenizer, args.show)
    if tokenizer.template.exists:
        _previewed(tokenizer)


def _lines(pairs: Iterable[tuple[str, str]]) -> None:
    for name, value in pairs:
        print(f"{name:<18} {value}")


def _colored(tokenizer: Tokenizer, text: str) -> None:
    """Pieces on two grounds in turn, ids below."""
    from rich.console import Console
    from rich.text import Text

    from ..tokenize import report

    pieces = report.shown_pieces(tokenizer, text)
    line = Text()
    for number, (piece, _) in enumerate(pieces):
        line.append(piece.replace("\n", "⏎\n"), style=("black on bright_cyan", "black on bright_yellow")[number % 2])
    Console(soft_wrap=True, highlight=False).print(line)
    shown = ["+".join(map(str, ids)) for _, ids in pieces]  # a character of several tokens: their ids joined
    print(f"{sum(len(ids) for _, ids in pieces)} tokens: {' '.join(shown)}")


def _previewed(tokenizer: Tokenizer) -> None:
    """A small conversation; what training counts is bright."""
    from rich.console import Console
    from rich.text import Text

    from ..tokenize import report

    shown = report.preview(tokenizer)
    line = Text("a conversation, what training counts in green:\n")
    for piece, weight in [(shown, 0.0)] if isinstance(shown, str) else shown:
        line.append(piece, style="bold green" if weight else "dim")
    Console(soft_wrap=True, highlight=False).print(line)
