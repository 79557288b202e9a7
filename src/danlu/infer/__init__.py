"""Floor 4: a model at work: generating, chatting and scoring, batched and cached.

Names are found in their files when first asked for: planning a step (blocks, sequence, scheduler) needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .generation import Generation, generate, stream
    from .local import Local
    from .sampling import Sampling
    from .scoring import log_likelihoods

__all__ = ["Generation", "Local", "Sampling", "generate", "log_likelihoods", "stream"]

_HOMES = {
    "Generation": "generation",
    "Local": "local",
    "Sampling": "sampling",
    "generate": "generation",
    "log_likelihoods": "scoring",
    "stream": "generation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
