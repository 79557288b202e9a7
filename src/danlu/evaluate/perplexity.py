"""How surprised a model is by a text: nats a token, bits a byte, perplexity a word, over windows that are stated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ..core.errors import ConfigError, DataError
from ..core.ports import Scorer
from ..core.progress import bar

ROWS = 64  # windows given to the scorer at once: bounds the memory that lists of ids take

Row = tuple[list[int], list[int]]


@dataclass(frozen=True)
class Perplexity:
    """Surprise over texts: total ``nats``, and what it was divided by.

    per_token = exp(nats / tokens), bits_per_byte = nats / (ln 2 · bytes), per_word = exp(nats / words). Tokens are
    those predicted; bytes are UTF-8 bytes of what they stand for; words are runs between white space (so a per-word
    figure says nothing about Chinese). Figures of different tokenizers compare only by byte.
    """

    nats: float
    tokens: int
    bytes_: int
    words: int
    texts: int
    context: int
    stride: int

    @property
    def per_token(self) -> float:
        return _exp(self.nats / self.tokens)

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.bytes_

    @property
    def per_byte(self) -> float:
        return _exp(self.nats / self.bytes_)

    @property
    def per_word(self) -> float:
        return _exp(self.nats / self.words)

    def write(self) -> dict[str, Any]:
        return {
            "perplexity_per_token": self.per_token,
            "perplexity_per_byte": self.per_byte,
            "perplexity_per_word": self.per_word,
            "bits_per_byte": self.bits_per_byte,
            "nats_per_token": self.nats / self.tokens,
            "tokens": self.tokens,
            "bytes": self.bytes_,
            "words": self.words,
            "texts": self.texts,
            "context": self.context,
            "stride": self.stride,
        }


def perplexity(scorer: Scorer, texts: Iterable[str], *, stride: int | None = None, quiet: bool = True) -> Perplexity:
    """Scores every token of every text but its first, once, each with up to ``scorer.context - 1`` tokens before it.

    A window begins ``stride`` tokens after the one before and scores what that one did not reach, so a token after the
    first window has at least ``context - stride`` tokens before it: a smaller stride is truer and slower. The default,
    context - 1, scores each token in one window. The first token of a text is given (where the scorer's ``encode``
    begins with BOS that is BOS, and all of the text is scored).

    Raises: ConfigError if the stride is not within 1 … context - 1; DataError if no text has two tokens.
    Source: Jelinek et al. 1977, "Perplexity: a measure of the difficulty of speech recognition tasks", JASA 62.
    Truth:  tests/truth/test_windows.py (a uniform and a counted model); tests/parity/test_perplexity.py.
    """
    stride = scorer.context - 1 if stride is None else stride
    if not 1 <= stride < scorer.context:
        raise ConfigError(
            f"the stride {stride} does not lie within 1 … {scorer.context - 1}, one less than the context"
        )
    tally = _Tally()
    windows = _windows(tally, scorer, texts, stride)
    with bar("perplexity", None, unit="tokens", quiet=quiet) as progress:
        while rows := list(islice(windows, ROWS)):
            tally.nats -= math.fsum(score.total for score in scorer.score(rows))
            progress.advance(sum(len(continuation) for _, continuation in rows))
    if not tally.tokens:
        raise DataError("no text of two tokens or more; perplexity needs something to predict")
    return Perplexity(
        tally.nats, tally.tokens, tally.bytes_, max(tally.words, 1), tally.texts, scorer.context, stride
    )  # fmt: skip


@dataclass
class _Tally:
    nats: float = 0.0
    tokens: int = 0
    bytes_: int = 0
    words: int = 0
    texts: int = 0


def _windows(tally: _Tally, scorer: Scorer, texts: Iterable[str], stride: int) -> Iterator[Row]:
    for text in texts:
        ids = scorer.encode(text)
        if len(ids) < 2:
            continue
        tally.tokens += len(ids) - 1
        tally.bytes_ += len(text.encode("utf-8", "replace")) - scorer.byte_count(ids[:1])
        tally.words += len(text.split())
        tally.texts += 1
        yield from windows(ids, scorer.context, stride)


def windows(ids: Sequence[int], context: int, stride: int) -> Iterator[Row]:
    """(what is given, what is scored): the scored parts are ids[1:] in order; a pair has at most ``context`` ids."""
    begin, done = 0, 1
    while done < len(ids):
        end = min(begin + context, len(ids))
        yield list(ids[begin:done]), list(ids[done:end])
        begin, done = begin + stride, end


def _exp(nats: float) -> float:
    return math.exp(nats) if nats < 700 else math.inf
