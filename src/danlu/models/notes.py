"""What a published directory says beside the architecture: kept, and written back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Notes:
    """``generation``: generation_config.json, ``tokens``: the special token ids of config.json."""

    generation: dict[str, Any] | None = None
    tokens: dict[str, Any] = field(default_factory=dict)
