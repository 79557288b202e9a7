"""What was said becomes less likely each time it is said."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...core.errors import ConfigError
from ..marks import counted
from ..memories import Memories, Tally
from ..rows import Row
from . import FILTERS, Filter


@FILTERS.add("frequency_penalty")
class FrequencyPenalty(Filter):
    """Takes α from a token's logit for each time it was chosen; the prompt does not count.

    logit → logit - α · c,  c how often the token stands in the answer so far.  logits: (B, V).
    Raises: ConfigError if α is not finite.
    Source: OpenAI 2023, API reference, "Frequency and presence penalties".
    Truth:  tests/truth/test_filtering_history.py (by hand).
    """

    order = 4
    neutral = 0.0
    strong = 2.0
    wrong = (float("nan"), float("-inf"))

    def __init__(self, *, value: float) -> None:
        if not abs(value) < float("inf"):
            raise ConfigError(f"frequency_penalty {value}: must be a finite number; 0 changes nothing")
        self.value = value
        self.memories = Memories(Tally, prompts=False)

    def __call__(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        places, counts = counted(self.memories, rows, logits)
        return logits.index_put(places, logits[places] - self.value * counts)
