"""Words, as sequences of tokens, that are never completed."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...core.errors import ConfigError
from ..marks import without
from ..rows import Row
from . import FILTERS, Filter


@FILTERS.add("bad_words")
class BadWords(Filter):
    """Forbids the last token of each sequence where prompt and answer end with the tokens before it.

    A sequence of one token is forbidden everywhere.  logits: (B, V).
    Raises: ConfigError if a sequence is empty or holds a negative id.
    Source: Wolf et al. 2020, arXiv:1910.03771 (transformers, ``bad_words_ids``).
    Truth:  tests/parity/test_filters.py (transformers' NoBadWordsLogitsProcessor).
    """

    order = 6
    neutral = ()
    strong = ((3,), (5, 7))
    wrong = (((),), ((3, -1),), 3)

    def __init__(self, *, value: Sequence[Sequence[int]]) -> None:
        if not isinstance(value, Sequence) or any(not word or min(word) < 0 for word in value):
            raise ConfigError(f"bad_words {value}: must be sequences of token ids, each of one or more")
        self.value = [(list(word[:-1]), word[-1]) for word in value]
        self.longest = max((len(before) for before, _ in self.value), default=0)

    def __call__(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        return without(logits, (self._completing(self._end(row)) for row in rows))

    def _end(self, row: Row) -> list[int]:
        """The last tokens, as many as a word may have before its last."""
        said = list(row.tokens[-self.longest :]) if self.longest else []
        missing = self.longest - len(said)
        return [*row.prompt[len(row.prompt) - min(missing, len(row.prompt)) :], *said]

    def _completing(self, end: list[int]) -> list[int]:
        return [last for before, last in self.value if end[len(end) - len(before) :] == before]
