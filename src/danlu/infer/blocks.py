"""Which blocks of the pool are taken, and what full ones hold: plain Python, no tensor in sight."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from hashlib import blake2b

from ..core.errors import ConfigError


class Full(Exception):
    """No block is free: someone has to give some back."""


class Blocks:
    """A pool of ``count`` blocks of ``size`` tokens, counted by who uses them.

    A block that nobody uses is free, but what it holds can be found by its key until it is taken again, the longest
    unused first. ``take`` prefers the block after ``near``: blocks in a row are read without being gathered.
    Source: Kwon et al. 2023, arXiv:2309.06180, §4.2-4.4 (blocks, sharing, copy on write).
    Truth:  tests/properties/test_blocks.py (a model of sets; nothing leaks, nothing is used twice).
    """

    def __init__(self, count: int, size: int) -> None:
        if count < 1 or size < 1:
            raise ConfigError(f"a pool needs a block of a token at least, found {count} blocks of {size}")
        self.count, self.size = count, size
        self.uses = [0] * count
        self.free: dict[int, None] = dict.fromkeys(range(count))  # oldest first
        self.key_of: dict[int, bytes] = {}
        self.holder: dict[bytes, int] = {}
        self.begun: set[int] = set()  # taken since last asked
        self.left: set[int] = set()  # given back by the last user since then

    @property
    def used(self) -> int:
        return self.count - len(self.free)

    def take(self, near: int | None = None) -> int:
        """A block for oneself; raises Full."""
        if not self.free:
            raise Full
        block = self._beside(near)
        del self.free[block]
        self._forget(block)
        self.uses[block] = 1
        self.begun.add(block)
        return block

    def adopt(self, key: bytes, near: int | None = None) -> int:
        """A block that is full from elsewhere and found by its key; raises Full."""
        block = self.take(near)
        self.begun.discard(block)
        self.name(block, key)
        return block

    def share(self, block: int) -> None:
        """One more uses it."""
        self.free.pop(block, None)
        self.uses[block] += 1

    def give(self, block: int) -> None:
        """One less uses it; the last one frees it, and it can be found until it is taken again."""
        self.uses[block] -= 1
        assert self.uses[block] >= 0, f"block {block} was given back twice"
        if not self.uses[block]:
            self.free[block] = None
            self.left.add(block)

    def news(self) -> tuple[list[int], list[int]]:
        """Since last asked: blocks that hold nothing of use any more, and full ones that were left as they are."""
        lost = {block for block in self.begun | self.left if block in self.begun or block not in self.key_of}
        kept = self.left - lost
        self.begun.clear()
        self.left.clear()
        return sorted(lost), sorted(kept)

    def name(self, block: int, key: bytes) -> None:
        """A full block whose content will not change can be found by its key from now on; the first one stays."""
        if key not in self.holder and block not in self.key_of:
            self.key_of[block], self.holder[key] = key, block

    def find(self, key: bytes) -> int | None:
        return self.holder.get(key)

    def clear(self) -> None:
        """Nothing is found any more: what blocks hold is of weights that are gone."""
        self.key_of.clear()
        self.holder.clear()

    def _forget(self, block: int) -> None:
        if (key := self.key_of.pop(block, None)) is not None:
            del self.holder[key]

    def _beside(self, near: int | None) -> int:
        """The next one if it is free and holds nothing worth keeping; else the middle of the widest empty stretch."""
        if near is not None and near + 1 in self.free and near + 1 not in self.key_of:
            return near + 1
        empty = sorted(block for block in self.free if block not in self.key_of)
        if not empty:
            return near + 1 if near is not None and near + 1 in self.free else next(iter(self.free))
        start, size = _widest(empty)
        return start if size == len(empty) == self.count else start + size // 2


def _widest(blocks: Sequence[int]) -> tuple[int, int]:
    """Start and length of the longest run of consecutive numbers."""
    best = start = 0
    length = 0
    for place in range(1, len(blocks) + 1):
        if place == len(blocks) or blocks[place] != blocks[place - 1] + 1:
            if place - start > length:
                best, length = blocks[start], place - start
            start = place
    return best, length


def root(*parts: str) -> bytes:
    """Where chains of keys begin: texts of one adapter, revision and salt never meet those of others."""
    return blake2b("\x1f".join(f"{len(part)}:{part}" for part in parts).encode(), digest_size=16).digest()


def keys(start: bytes, ids: Sequence[int], size: int, known: Sequence[bytes] = ()) -> list[bytes]:
    """The key of every full block of a text: a hash of its tokens and of the key before it."""
    found = list(known)
    for place in range(len(found) * size, len(ids) - size + 1, size):
        before = found[-1] if found else start
        tokens = array("q", ids[place : place + size]).tobytes()
        found.append(blake2b(before + tokens, digest_size=16).digest())
    return found
