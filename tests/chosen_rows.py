"""Rows for tests of what chooses tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch


@dataclass(eq=False)
class SmallRow:
    """A row as the engine has them."""

    prompt: Sequence[int] = (1,)
    tokens: list[int] = field(default_factory=list)
    random: torch.Generator = field(default_factory=torch.Generator)


def rows_of(count: int, *, seed: int = 0, vocab: int = 40, prompt: int = 6, said: int = 9) -> list[SmallRow]:
    """With random texts and generators of seeds that follow one another; the first row has said nothing yet."""
    drawn = torch.randint(vocab, (count, prompt + said), generator=torch.Generator().manual_seed(seed)).tolist()
    return [
        SmallRow(text[:prompt], text[prompt:] if number else [], torch.Generator().manual_seed(seed + number))
        for number, text in enumerate(drawn)
    ]
