"""What a published directory says beside the architecture: kept, and written back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Notes:
    """``generation``: generation_config.json, ``tokens``: the special token ids of config.json."""

    generation: dict[str, Any] | None = None
    tokens: dict[str, Any] = field(default_factory=dict)

    @property
    def stops(self) -> tuple[int, ...]:
        """The tokens at which the published model's answers end."""
        found = (self.generation or {}).get("eos_token_id", ())
        return (found,) if isinstance(found, int) else tuple(found)
