"""What this server answers as: the base under its name, and each adapter under its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .errors import Refused


class Models:
    """``adapters`` is asked each time: they come and go."""

    def __init__(self, name: str, adapters: Callable[[], Sequence[str]], context: int, created: int) -> None:
        self.name, self.adapters, self.context, self.created = name, adapters, context, created

    @property
    def names(self) -> list[str]:
        return [self.name, *self.adapters()]

    def adapter(self, model: str | None) -> str | None:
        """The adapter that a request asks for, None for the base; raises Refused (404) for a model that is not here."""
        if model is None or model == self.name:
            return None
        if model in self.adapters():
            return model
        raise Refused(
            f"the model {model[:100]!r} is not served here; there are: {', '.join(self.names)}",
            status=404, param="model", code="model_not_found",
        )  # fmt: skip

    def card(self, name: str) -> dict[str, Any]:
        parent = None if name == self.name else self.name
        return {
            "id": name, "object": "model", "created": self.created, "owned_by": "danlu",
            "root": self.name, "parent": parent, "max_model_len": self.context,
        }  # fmt: skip
