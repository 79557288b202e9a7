"""What a pass has to know of a row, and what it says of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from torch import Tensor

from ..nn.layout import Memory
from ..nn.states import States


@dataclass(eq=False)
class Reading:
    """What a pass has to know of a row beside its tokens.

    ``adapters`` act on it; ``memory`` is what an encoder read for it, ``states`` what a recurrent model remembers;
    ``hidden`` asks for the states under the head, ``early`` for the logits of these layers.
    """

    adapters: tuple[str, ...] = ()
    memory: Memory | None = None
    states: States | None = None
    hidden: bool = False
    early: tuple[int, ...] = ()

    def plain(self) -> Reading:
        """For a model that has no adapters and is asked for logits alone."""
        return Reading()

    def fork(self) -> Reading:
        """The same for a row with the same past."""
        return replace(self, states=self.states and self.states.fork())


@dataclass(eq=False)
class Heard:
    """What a pass says of a piece.  logits: (wanted, V), float32; hidden: (fed, M); early: layer → (wanted, V)."""

    logits: Tensor
    hidden: Tensor | None = None
    early: dict[int, Tensor] = field(default_factory=dict)
