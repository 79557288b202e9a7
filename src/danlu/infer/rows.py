"""What the parts that choose tokens know of a row: plain Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Row(Protocol):
    """One text on its way: what was given, what was chosen so far, and the row's own random generator."""

    @property
    def prompt(self) -> Sequence[int]: ...

    @property
    def tokens(self) -> Sequence[int]:
        """Chosen after the prompt."""
        ...

    @property
    def random(self) -> Any:
        """A torch.Generator."""
        ...
