"""What is kept of a text that grows at its end, so that no step reads it whole again: counts and what followed what."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from .rows import Row


class Memory(ABC):
    """Follows one text: only what differs at its end from what it followed last is told.

    A text that was cut back (a rejected draft, another beam) is followed as well; what is kept depends on the text
    alone.
    """

    def __init__(self, prompt: Sequence[int]) -> None:
        self.prompt, self.tokens = prompt, list[int]()
        self.begin(prompt)

    def follow(self, tokens: Sequence[int]) -> None:
        """Makes ``tokens`` what comes after the prompt."""
        same = alike(self.tokens, tokens)
        while len(self.tokens) > same:
            self.drop(self.tokens.pop())
        for token in tokens[same:]:
            self.add(token)
            self.tokens.append(token)

    @abstractmethod
    def begin(self, prompt: Sequence[int]) -> None:
        """The text is the prompt alone."""

    @abstractmethod
    def add(self, token: int) -> None:
        """One more token comes after ``self.tokens``."""

    @abstractmethod
    def drop(self, token: int) -> None:
        """The last token goes; ``self.tokens`` is what is left."""


M = TypeVar("M", bound=Memory)


class Memories(Generic[M]):
    """A memory a row, as long as the row lives; a row is known by its random generator, which is its own."""

    def __init__(self, make: Callable[[Sequence[int]], M], *, prompts: bool) -> None:
        self.make, self.prompts = make, prompts
        self.kept: WeakKeyDictionary[object, M] = WeakKeyDictionary()

    def of(self, row: Row) -> M:
        """What is kept of this row now, its prompt included if ``prompts``."""
        prompt = row.prompt if self.prompts else ()
        memory = self.kept.get(row.random)
        if memory is None or not (memory.prompt is prompt or memory.prompt == prompt):
            memory = self.kept[row.random] = self.make(prompt)
        memory.follow(row.tokens)
        return memory


class Tally(Memory):
    """How often each token occurs: ids (N,) and their counts (N,), where a count may have fallen back to 0."""

    def begin(self, prompt: Sequence[int]) -> None:
        counted = Counter(prompt)
        self.places = {token: place for place, token in enumerate(counted)}
        self.ids = np.fromiter(counted, np.int64, len(counted))
        self.counts = np.fromiter(counted.values(), np.float32, len(counted))

    def add(self, token: int) -> None:
        place = self.places.setdefault(token, len(self.places))
        if place == len(self.ids):
            self.ids, self.counts = _longer(self.ids), _longer(self.counts)
        self.ids[place] = token
        self.counts[place] += 1

    def drop(self, token: int) -> None:
        self.counts[self.places[token]] -= 1

    def told(self) -> tuple[np.ndarray, np.ndarray]:
        """Copies of ids (N,) and counts (N,)."""
        size = len(self.places)
        return self.ids[:size].copy(), self.counts[:size].copy()


class Successors(Memory):
    """Which tokens came after each run of ``size`` tokens, and where the latest of them stands in the text."""

    def __init__(self, prompt: Sequence[int], size: int) -> None:
        self.size = size
        super().__init__(prompt)

    def begin(self, prompt: Sequence[int]) -> None:
        self.text: list[int] = []
        self.after: dict[tuple[int, ...], list[int]] = {}
        for token in prompt:
            self.add(token)

    def add(self, token: int) -> None:
        if len(self.text) >= self.size:
            self.after.setdefault(self.last, []).append(len(self.text))
        self.text.append(token)

    def drop(self, token: int) -> None:
        self.text.pop()
        if len(self.text) >= self.size:
            self.after[self.last].pop()

    @property
    def last(self) -> tuple[int, ...]:
        """The run at the end of the text."""
        return tuple(self.text[len(self.text) - self.size :])

    def places(self) -> list[int]:
        """Where the tokens stand that came after the run at the end, in rising order."""
        return self.after.get(self.last, []) if len(self.text) >= self.size else []


def alike(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two texts begin with alike."""
    size = min(len(a), len(b))
    if list(a[:size]) == list(b[:size]):
        return size
    return bisect_left(range(1, size + 1), True, key=lambda n: list(a[:n]) != list(b[:n]))


def _longer(numbers: np.ndarray) -> np.ndarray:
    """With room for as many again."""
    return np.concatenate([numbers, np.zeros(max(len(numbers), 16), numbers.dtype)])
