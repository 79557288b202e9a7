"""Logits made of two voices: a strong model against a weak one, late layers against early ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from ...core.errors import ShapeError
from ...core.registry import Registry


@dataclass(frozen=True, eq=False)
class Voices:
    """logits (B, V) of the model; ``weak`` (B, V) of a second one; ``early``: layer → (B, V) of the head on its state.

    A layer is named by how many blocks ran before: 0 is what enters the first.
    """

    logits: Tensor
    weak: Tensor | None = None
    early: Mapping[int, Tensor] = field(default_factory=dict)

    @property
    def weaker(self) -> Tensor:
        """The second model's logits (B, V); raises ShapeError if there are none for the same tokens."""
        if self.weak is None:
            raise ShapeError("this contrast needs a second, weaker model; give the engine a companion")
        if self.weak.shape != self.logits.shape:
            raise ShapeError(
                f"the companion scores {self.weak.shape[-1]} tokens and the model {self.logits.shape[-1]}; "
                "take one with the same tokenizer"
            )
        return self.weak.float()


class Contrast(ABC):
    """Takes the place of the model's logits before any filter; each row by itself."""

    wants_weak: ClassVar[bool] = False

    def layers(self, depth: int, *, tied: bool) -> tuple[int, ...]:
        """The early layers it wants of a model with so many blocks; raises ConfigError if one is not there."""
        return ()

    @abstractmethod
    def __call__(self, voices: Voices) -> Tensor:
        """(B, V)"""


CONTRASTS: Registry[type[Contrast]] = Registry("contrast", Contrast, __name__)


def plausible(scores: Tensor, strong: Tensor, floor: float) -> Tensor:
    """``scores`` of tokens that the model says are within ``floor`` (in nats) of its likeliest, -inf elsewhere.

    scores, strong: (B, V), strong being logits or log-probabilities of the model.
    """
    return scores.masked_fill(strong < strong.amax(-1, keepdim=True) + floor, float("-inf"))
