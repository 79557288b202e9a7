"""Random numbers, one independent stream a purpose: the same on every machine, Python and torch version."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
_MASK = (1 << 64) - 1


def derive(seed: int, *purpose: object) -> int:
    """A 63-bit seed for a purpose (and a rank, an epoch …): blake2b of all of them."""
    text = "\x1f".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *purpose: object, device: str = "cpu") -> torch.Generator:
    """A torch generator seeded for a purpose."""
    import torch

    return torch.Generator(device=device).manual_seed(derive(seed, *purpose))


class Rng:
    """SplitMix64: a generator that is stable for ever, for data that must never change with a library.

    Source: Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", §4.
    Truth:  tests/truth/test_rng.py (published outputs for seed 1234567).
    """

    def __init__(self, seed: int, *purpose: object) -> None:
        self.state = derive(seed, *purpose) if purpose else seed & _MASK

    def next(self) -> int:
        self.state = (self.state + 0x9E3779B97F4A7C15) & _MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return z ^ (z >> 31)

    def below(self, n: int) -> int:
        """A whole number in [0, n), without modulo bias."""
        limit = _MASK + 1 - (_MASK + 1) % n
        while (value := self.next()) >= limit:
            pass
        return value % n

    def unit(self) -> float:
        """A float in [0, 1)."""
        return (self.next() >> 11) / (1 << 53)

    def choice(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """k distinct items, in random order."""
        return self.shuffled(items)[:k]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        out = list(items)
        for i in range(len(out) - 1, 0, -1):
            j = self.below(i + 1)
            out[i], out[j] = out[j], out[i]
        return out
