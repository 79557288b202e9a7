"""Where in a text a model is surprised: the loss of every position, also beyond the length it was trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Any

from ..core.errors import ConfigError, DataError
from ..core.ports import Scorer
from ..core.progress import bar
from .picture import Panel

ROWS = 16  # windows given to the scorer at once
BINS = 16

Row = tuple[list[int], list[int]]


@dataclass
class Bin:
    """Positions ``first`` … ``last``, counted from 0, and the mean loss of each window over them, in nats a token."""

    first: int
    last: int
    means: list[float] = field(default_factory=list)

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    @property
    def loss(self) -> float:
        return math.fsum(self.means) / len(self.means)

    @property
    def stderr(self) -> float | None:
        """Of the mean over windows; None where there is one."""
        count = len(self.means)
        if count < 2:
            return None
        return math.sqrt(math.fsum((mean - self.loss) ** 2 for mean in self.means) / (count - 1) / count)

    def write(self) -> dict[str, Any]:
        return {
            "first": self.first,
            "last": self.last,
            "nats_per_token": self.loss,
            "stderr": self.stderr,
            "tokens": self.size * len(self.means),
        }


@dataclass(frozen=True)
class ByPosition:
    """Loss by bins of positions over windows of ``length`` tokens; ``short`` texts were too short for one."""

    bins: list[Bin]
    length: int
    windows: int
    texts: int
    short: int

    def write(self) -> dict[str, Any]:
        return {
            "bins": [one.write() for one in self.bins],
            "length": self.length,
            "windows": self.windows,
            "texts": self.texts,
            "short_texts": self.short,
        }

    def points(self) -> list[tuple[float, float]]:
        """(position, loss), each bin at its middle."""
        return [((one.first + one.last) / 2, one.loss) for one in self.bins]


def panel(curves: Mapping[str, ByPosition], *, trained: int) -> Panel:
    """One curve a name, and where the ``trained`` length ends."""
    points = {name: found.points() for name, found in curves.items()}
    return Panel("position in the window (tokens)", "loss (nats/token)", points, trained)


def by_position(
    scorer: Scorer, texts: Iterable[str], *, length: int | None = None, bins: int | None = None, quiet: bool = True
) -> ByPosition:
    """The loss of the tokens at each place of windows of ``length`` tokens (the scorer's context unless given).

    loss(bin) = mean of -log p(x_t | x_0 … x_{t-1}) over the bin's t and all windows, which lie side by side in each
    text.  Only whole windows count, so that all bins are measured on the same texts and differ by position alone; what
    is left of a text is not scored. The first token of a window is given.

    Raises: ConfigError if the length or the number of bins cannot be; DataError if no text has a whole window.
    Source: Kaplan et al. 2020, arXiv:2001.08361 (loss against the token's place in the context); Press et al. 2021,
        arXiv:2108.12409 (the same beyond the trained length).
    Truth:  tests/truth/test_by_position.py (a scorer whose surprise is a known function of the place).
    """
    length = scorer.context if length is None else length
    if not 2 <= length <= scorer.context:
        raise ConfigError(f"the length {length} does not lie within 2 … {scorer.context}, what the model may read")
    bins = min(BINS, length - 1) if bins is None else bins
    if not 1 <= bins < length:
        raise ConfigError(f"{bins} bins do not fit {length - 1} predicted positions; ask for 1 … {length - 1}")
    found = [Bin(max(a, 1), b - 1) for a, b in _edges(length, bins)]
    seen = _Seen()
    rows = _windows(seen, scorer, texts, length)
    with bar("by position", None, unit="tokens", quiet=quiet) as progress:
        while some := list(islice(rows, ROWS)):
            for score in scorer.score(some):
                for one in found:
                    own = score.logprobs[one.first - 1 : one.last]
                    one.means.append(-math.fsum(own) / len(own))
            progress.advance(len(some) * (length - 1))
    if not seen.windows:
        raise DataError(
            f"the longest of {seen.texts} texts has {seen.longest} tokens and a window takes {length}; give longer "
            "texts or a smaller --length"
        )
    return ByPosition(found, length, seen.windows, seen.texts, seen.short)


@dataclass
class _Seen:
    texts: int = 0
    short: int = 0
    windows: int = 0
    longest: int = 0


def _windows(seen: _Seen, scorer: Scorer, texts: Iterable[str], length: int) -> Iterator[Row]:
    for text in texts:
        ids = scorer.encode(text)
        seen.texts += 1
        seen.short += len(ids) < length
        seen.longest = max(seen.longest, len(ids))
        for begin in range(0, len(ids) - length + 1, length):
            seen.windows += 1
            yield ids[begin : begin + 1], ids[begin + 1 : begin + length]


def _edges(length: int, bins: int) -> list[tuple[int, int]]:
    """Where bins begin and end: as even as whole numbers allow, each with a position that is predicted."""
    cuts = [max(round(i * length / bins), i + 1 if i else 0) for i in range(bins)] + [length]
    return list(pairwise(cuts))
