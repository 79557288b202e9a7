"""What came after the same words before (prompt look-up)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ...core.errors import ConfigError
from ...nn.model import Model
from ..decoders import Decoder
from ..memories import Memories, Successors
from ..rows import Row
from . import DRAFTERS, Drafter, Guess


@DRAFTERS.add("ngram")
class Ngram(Drafter):
    """Looks the last n tokens up in prompt and answer and copies what followed them last, n from the longest down.

    With the latest i < t where w_{i-n+1} … w_i = w_{t-n+1} … w_t, token j of the guess is w_{i+j}; a copy that reaches
    the end of the text goes on into itself, so that what repeats is guessed on.
    Raises: ConfigError if 1 ≤ shortest ≤ longest does not hold.
    Source: Saxena 2023, "Prompt lookup decoding"; Yang et al. 2023, arXiv:2304.04487, §3.
    Truth:  tests/truth/test_drafting.py (by hand); tests/truth/test_speculation.py (nothing changes but the speed).
    """

    def __init__(self, model: Model | None = None, *, tokens: int = 4, longest: int = 3, shortest: int = 2) -> None:
        super().__init__(tokens=tokens)
        if not 1 <= shortest <= longest:
            raise ConfigError(f"runs of {shortest} to {longest} tokens: shortest must be 1 to longest")
        sizes = range(longest, shortest - 1, -1)
        self.memories = [Memories(partial(Successors, size=size), prompts=True) for size in sizes]

    def propose(self, rows: Sequence[Row], decoder: Decoder, most: int) -> list[Guess]:
        return [Guess(tuple(self._copied(row, min(most, self.tokens)))) for row in rows]

    def _copied(self, row: Row, size: int) -> list[int]:
        for memories in self.memories:
            kept = memories.of(row)
            if places := kept.places():
                period = kept.text[places[-1] :]
                return [period[j % len(period)] for j in range(size)]
        return []
