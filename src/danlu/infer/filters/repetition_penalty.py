"""What stands in the text already becomes less likely."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...core.errors import ConfigError
from ..marks import counted
from ..memories import Memories, Tally
from ..rows import Row
from . import FILTERS, Filter


@FILTERS.add("repetition_penalty")
class RepetitionPenalty(Filter):
    """Moves the logit of each token of the prompt and of the answer so far, once however often it occurs.

    logit → logit / θ where it is above 0, logit · θ where it is below.  logits: (B, V); θ > 1 avoids repetition,
    θ < 1 seeks it.  Raises: ConfigError if θ is not above 0.
    Source: Keskar et al. 2019, arXiv:1909.05858, §4.1; below 0 as in transformers.
    Truth:  tests/truth/test_filtering_history.py (by hand); tests/parity/test_filters.py (transformers' processor).
    """

    order = 2
    neutral = 1.0
    strong = 3.0
    wrong = (0.0, -0.5, float("nan"), float("inf"))

    def __init__(self, *, value: float) -> None:
        if not 0 < value < float("inf"):
            raise ConfigError(f"repetition_penalty {value}: must be above 0; 1 changes nothing")
        self.value = value
        self.memories = Memories(Tally, prompts=True)

    def __call__(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        places, counts = counted(self.memories, rows, logits)
        said = logits[places]  # (N,), tokens of all rows
        less = (said * self.value).where(said < 0, said / self.value)
        return logits.index_put(places, less.where(counts > 0, said))
