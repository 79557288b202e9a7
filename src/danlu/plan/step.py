"""What a training step holds whatever the model: the part of a plan that every form shares."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ..core.spec import Spec
from . import saved
from .kv import kv_bytes
from .sizes import Sizes, parameters
from .work import Memory, Work

BATCH_BYTES, INDEX_BYTES = 36, 24
"""A slot's tokens, targets, position, segment and weight; and what is derived from them."""


class Step(ABC):
    """The quantities of one step, in bytes, each named once."""

    recipe: Any

    def __init__(self, work: Work) -> None:
        self.work, self.recipe, self.dims = work, work.recipe, work.recipe.dims
        self.sizes: Sizes = parameters(work.recipe)
        self.widths = saved.Widths.of(work.precision)
        self.weights, self.block_weights = 4 * self.sizes.total, 4 * self.sizes.block
        self.head = 4 * self.sizes.head_weights
        self.vectors = work.slots * self.dims.model * 4  # one vector of the residual stream a slot

    @property
    def left_out(self) -> str:
        """What this calculator cannot count, in words; "" if it counts all."""
        return ""

    @abstractmethod
    def memory(self) -> Memory:
        """Bytes by phase."""

    @abstractmethod
    def kept(self) -> float:
        """Bytes that a micro-batch leaves for its way back."""

    @abstractmethod
    def served(self, bytes_each: float) -> int:
        """Bytes that the rows leave behind while they are generated."""

    @property
    @abstractmethod
    def laid_out(self) -> int:
        """Weights that generation copies into a faster layout."""

    @property
    @abstractmethod
    def wide(self) -> int:
        """Vectors of the feed-forward's width that pass for a token that is fed."""

    @property
    def masks(self) -> tuple[Spec, ...]:
        """Of the layers, where a mask saves arithmetic."""
        return ()

    def _keys(self, attentions: int, bytes_each: float) -> int:
        dims, work = self.dims, self.work
        return kv_bytes(
            layers=attentions, kv_heads=dims.kv_heads, head=dims.head, tokens=work.length, rows=work.rows,
            bytes_each=bytes_each,
        )  # fmt: skip

    def _held(self) -> dict[str, int]:
        """What is there all the time: weights, optimizer, batches, and gradients once a micro-batch has left some."""
        work = self.work
        optimizer = round(work.optimizer_bytes * self.sizes.total)
        gradients = self.weights if work.micros > 1 else 0
        batch = work.slots * (BATCH_BYTES * work.micros + INDEX_BYTES)
        return {"weights": self.weights, "optimizer": optimizer, "gradients": gradients, "batch": batch}

    def _loss(self) -> dict[str, int]:
        """The last chunk: logits, their slope, the head's gradient and the chunk's, hidden and its gradient."""
        work, counted = self.work, max(1, round(self.work.slots * self.work.counted))
        chunk = min(work.chunk, counted)
        logits = 8 * chunk * self.dims.vocab  # fp32 logits and slope; half logits, fp32 slope and its half copy
        heads = min(2, -(-counted // work.chunk)) * self.head
        hidden = self.vectors * (2 + self._final()) + round(self.vectors * (work.counted < 1) * work.counted)
        chunked = 4 * chunk * self.dims.model
        if work.precision == "fp16":  # chunks wait for the backward pass and leave one gradient of the head
            heads = self.head
        return {"logits": logits, "gradients": heads + self._summed(), "temporary": hidden + chunked}

    def _final(self) -> int:
        """1 if a final norm keeps what it read."""
        return 0

    def _summed(self) -> int:
        return self.weights if self.work.micros > 1 else 0

    def _last_gradients(self, *, tied: bool, narrow: int = 0) -> dict[str, int]:
        """After the first block: all gradients, and the embedding's; a tied table sums it with the head's anew."""
        copies = (1 if self.widths.autocast else 2) * tied + (self.work.micros > 1)
        extra = copies * 4 * self.dims.vocab * (narrow or self.dims.model)
        return self._held() | {"gradients": self.weights + extra, "temporary": self.vectors}


class Rest(Step):
    """Weights, gradients, optimizer, batch and logits, which every form of model has, and nothing of what lies between.

    An encoder-decoder keeps keys of what it wrote and of what it looks at, each up to a row long; that the maps of its
    encoder are laid out for generation too is an upper bound.
    """

    @property
    def left_out(self) -> str:
        return "what is kept for the way back is not counted for this form of model: the peak is a lower bound"

    def memory(self) -> Memory:
        held = self._held()
        return Memory({
            "load": {"weights": self.weights},
            "loss": held | self._loss(),
            "step": held | {"gradients": self.weights},
        })  # fmt: skip

    def kept(self) -> float:
        return 0.0

    def served(self, bytes_each: float) -> int:
        return self._keys(2 * self.dims.layers, bytes_each)

    @property
    def laid_out(self) -> int:
        return self.dims.layers * self.sizes.block_weights + self.sizes.head_weights

    @property
    def wide(self) -> int:
        return 1 + saved.UNKNOWN_FFN.kept
