"""How many numbers an adapter trains, from the sizes that papers print; a plan counts them on the adapter itself."""

from __future__ import annotations

from collections.abc import Iterable

from ..core.errors import ConfigError
from .counts import linear


def lora_parameters(maps: Iterable[tuple[int, int]], *, rank: int, layers: int = 1) -> int:
    """Σ r·(in + out) over the maps (in, out) of a layer, times layers.

    Raises: ConfigError for a rank below 1.
    Source: Hu et al. 2021, arXiv:2106.09685, §4.1.
    Truth:  tests/truth/test_plan_cases.py (GPT-3 37.7M, LLaMA-7B 4,194,304, the r = 64 of QLoRA 159,907,840).
    """
    if rank < 1:
        raise ConfigError(f"lora: rank is at least 1, found {rank}")
    return layers * sum(rank * (inputs + outputs) for inputs, outputs in maps)


def maps_of_llama(*, hidden: int, ffn: int, kv_width: int = 0, wide: int = 0) -> dict[str, tuple[int, int]]:
    """(in, out) of each linear map of a LLaMA block, by the name it has here."""
    narrow, full = kv_width or hidden, wide or hidden
    return {
        "q": (hidden, full), "k": (hidden, narrow), "v": (hidden, narrow), "o": (full, hidden),
        "gate": (hidden, ffn), "up": (hidden, ffn), "down": (ffn, hidden),
    }  # fmt: skip


def prompt_parameters(*, tokens: int, hidden: int) -> int:
    """Vectors before the text: tokens · hidden.

    Source: Lester et al. 2021, arXiv:2104.08691, §2.
    Truth:  tests/truth/test_plan_architectures.py (8 tokens of BLOOM-560M: 8,192).
    """
    return tokens * hidden


def prefix_parameters(*, tokens: int, layers: int, width: int) -> int:
    """Keys and values before the text in every layer: 2 · layers · tokens · width of keys.

    Source: Li & Liang 2021, arXiv:2101.00190, §4.3; Liu et al. 2021, arXiv:2110.07602 (P-tuning v2).
    Truth:  tests/truth/test_plan_architectures.py (by hand).
    """
    return 2 * layers * tokens * width


def bottleneck_parameters(*, layers: int, hidden: int, size: int, places: int = 2) -> int:
    """Down and up with biases at ``places`` of each layer: places · layers · (2·M·m + m + M).

    Source: Houlsby et al. 2019, arXiv:1902.00751, §2.1.
    Truth:  tests/truth/test_plan_architectures.py (by hand).
    """
    return places * layers * (linear(hidden, size, True) + linear(size, hidden, True))


def bitfit_parameters(*, layers: int, hidden: int, ffn: int) -> int:
    """Biases of an encoder: 4·M of attention, F + M of the feed-forward, 2·M of two norms a layer; M of the first norm.

    Source: Ben Zaken et al. 2021, arXiv:2106.10199, §3 (BERT-base: 0.09 % of its parameters).
    Truth:  tests/truth/test_plan_cases.py.
    """
    return layers * (7 * hidden + ffn) + hidden
