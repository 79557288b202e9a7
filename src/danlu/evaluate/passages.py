"""Passages that can only be gone on with by looking far back: copies of noise, and values asked for by their keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from ..core.errors import ConfigError
from ..core.rng import Rng

S = TypeVar("S")
LETTERS = (
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好都然没日于起还发"
)
MARK = "|"
PAIRS = 8
SHORTEST = 4  # tokens from an answer back to its source: room for one pair and what lies between
FEWEST = 12  # letters, so that noise, keys and values have some each


class Passages(Generic[S]):
    """Draws passages over symbols, which may be characters or token ids; the same ``seed`` draws the same ones.

    copy:  x_1 … x_n | x_1 … x_n, every x drawn from all letters: x_i is answered by what stands n + 1 back.
    pairs: noise in which keys stand before their values, then | and a key: its value is the answer. No key stands
    twice; a sixth of the letters is noise, five twelfths each are keys and values.
    """

    def __init__(self, letters: Sequence[S], mark: S, *, seed: int = 0) -> None:
        if len(set(letters)) < FEWEST:
            raise ConfigError(f"passages need {FEWEST} different letters, found {len(set(letters))}; give more symbols")
        few = len(letters) // 6
        many = few + (len(letters) - few) // 2
        self.letters, self.mark, self.seed = list(letters), mark, seed
        self.noise, self.keys, self.values = (list(letters[a:b]) for a, b in ((0, few), (few, many), (many, None)))

    def copy(self, number: int, distance: int) -> tuple[list[S], list[S]]:
        """What is read and what is answered, every symbol of it ``distance`` after its source."""
        rng = Rng(self.seed, "copy", distance, number)
        string = [rng.choice(self.letters) for _ in range(distance - 1)]
        return [*string, self.mark], string

    def recall(self, number: int, distance: int) -> tuple[list[S], list[S]]:
        """What is read and the one value asked for: that of the first pair, ``distance`` back."""
        rng = Rng(self.seed, "recall", distance, number)
        passage, pairs = self._pairs(rng, distance - 1)
        key, value = pairs[0]
        rest = passage[: passage.index(key)] + passage[passage.index(key) + 2 :]
        return [key, value, *rest, self.mark, key], [value]

    def training(self, count: int, longest: int) -> Iterator[list[S]]:
        """Whole passages of at most ``longest`` symbols and of all lengths below: three copies, then one of pairs.

        All pairs are asked for, in another order than they were told.
        """
        for number in range(count):
            rng = Rng(self.seed, "training", number)
            if number % 4 < 3:
                size = SHORTEST + rng.below((longest - 1) // 2 - SHORTEST + 1)
                string = [rng.choice(self.letters) for _ in range(size)]
                yield [*string, self.mark, *string]
            else:
                size = SHORTEST + rng.below(longest - 1 - 2 * PAIRS - SHORTEST + 1)
                passage, pairs = self._pairs(rng, size)
                yield [*passage, self.mark, *(symbol for pair in rng.shuffled(pairs) for symbol in pair)]

    def _pairs(self, rng: Rng, size: int) -> tuple[list[S], list[tuple[S, S]]]:
        """Noise with pairs at random places, and the pairs; a quarter of the symbols or fewer are keys."""
        count = max(1, min(PAIRS, size // 4, len(self.keys)))
        pairs = [(key, rng.choice(self.values)) for key in rng.sample(self.keys, count)]
        pieces = [*pairs, *((rng.choice(self.noise),) for _ in range(size - 2 * count))]
        return [symbol for piece in rng.shuffled(pieces) for symbol in piece], pairs
