"""``build``: every source of a recipe tokenized, split and packed; what is there already is not made again."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import DataError
from .recipe import DataRecipe, HeldOut
from .report import source_report
from .stock import Part, Stock
from .tokenizing import SHARD_TOKENS, Stored, Tokenizing

if TYPE_CHECKING:
    from ..tokenize import Tokenizer


@dataclass(frozen=True)
class Prepared:
    """What to train on, what to evaluate on, and what happened on the way."""

    train: Stock
    held_out: Stock
    report: dict[str, Any]


def build(
    recipe: DataRecipe,
    tokenizer: Tokenizer,
    *,
    seed: int = 0,
    quiet: bool = False,
    workers: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> Prepared:
    """Prepares a recipe's data under ``recipe.cache``; killed at any point, the same call goes on where it was.

    Raises: DataError with file, line and remedy for what cannot be read or trained on.
    """
    began = time.monotonic()
    work = Tokenizing(recipe, tokenizer, quiet, workers, shard_tokens)
    kept = [work.store(source, recipe.held_out) for source in recipe.parts]
    apart = [work.store(source, HeldOut()) for source in recipe.held_out.sources]
    pad = next((token for token in (tokenizer.pad, tokenizer.eos) if token is not None), 0)

    def stock(parts: list[Part]) -> Stock:
        return Stock(parts, recipe.pack, tokenizer.vocab_size, pad, seed, quiet)

    train = stock([Part(s.source.from_, s.train, s.source.share) for s in kept])
    tails = [Part(s.source.from_, s.held_out) for s in kept if len(s.held_out)]
    held_out = stock([*tails, *(Part(s.source.from_, s.train) for s in apart)])
    _check(recipe, train, held_out)
    return Prepared(train, held_out, _report(kept, apart, train, held_out, began))


def _check(recipe: DataRecipe, train: Stock, held_out: Stock) -> None:
    names = ", ".join(part.from_ for part in recipe.parts)
    for stock in (train, held_out):
        for part in stock.parts if stock is train else []:
            if part.documents.tokens < 2:
                raise DataError(
                    f"{part.name}: nothing is left to train on after cutting and holding out; look at it with "
                    f"danlu data inspect {part.name}, raise pack.length or lower held_out.share"
                )
    if recipe.held_out.share and not held_out:
        raise DataError(
            f"{names}: no row fell into held_out.share = {recipe.held_out.share} by {recipe.held_out.by}; "
            "raise the share, or set held_out.by: tail"
        )


def _report(kept: list[Stored], apart: list[Stored], train: Stock, held_out: Stock, began: float) -> dict[str, Any]:
    return {
        "sources": [source_report(stored) for stored in kept],
        "held_out_sources": [source_report(stored) for stored in apart],
        "train": train.facts(),
        "held_out": held_out.facts(),
        "seconds": round(time.monotonic() - began, 3),
    }
