"""What a stream yields and an objective reads: frozen records of tensors; the first axis is the example."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor

IGNORE = -100


class Record:
    """A frozen dataclass of tensors and records; the first axis of every tensor is the example."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same record with every tensor changed (moved, sliced, cast)."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        changed = {n: v.map(change) if isinstance(v, Record) else change(v) for n, v in values.items()}
        return replace(self, **changed)  # type: ignore[type-var]

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))  # type: ignore[arg-type]

    def split(self, parts: int) -> list[Self]:
        """At most ``parts`` records of nearly equal numbers of examples, in order; none is empty."""
        edges = [len(self) * i // parts for i in range(parts + 1)]
        return [self[a:b] for a, b in pairwise(edges) if b > a]

    def __getitem__(self, rows: slice) -> Self:
        return self.map(lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> Self:
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))


@dataclass(frozen=True)
class Batch(Record):
    """Rows of packed documents for a model that predicts tokens.  All (B, T).

    targets[b, t] is what must follow tokens[b, t], or IGNORE; weight[b, t] ≥ 0 is how much that prediction counts
    (0 where ignored). segment 0 is padding, equal segments of a row are one document; position counts within it.
    """

    tokens: Tensor
    targets: Tensor
    weight: Tensor
    segment: Tensor
    position: Tensor

    @property
    def columns(self) -> dict[str, Tensor]:
        """What rows of every kind have, by name: to make rows of another kind of them."""
        return {name: getattr(self, name) for name in ("tokens", "targets", "weight", "segment", "position")}

    @classmethod
    def dense(cls, tokens: Tensor) -> Batch:
        """One document a row, every next token counted.  tokens: (B, T + 1) gives a batch of (B, T)."""
        inputs = tokens[:, :-1]
        position = torch.arange(inputs.shape[1], device=tokens.device).expand_as(inputs)
        ones = torch.ones_like(inputs)
        return cls(inputs, tokens[:, 1:], ones.float(), ones, position)


@dataclass(frozen=True)
class Seq2Seq(Record):
    """Sources that are read, and targets that are written from them.  source, …: (B, S); target: rows of (B, T).

    A target's document s is written from the source's document s of the same row.
    """

    source: Tensor
    source_segment: Tensor
    source_position: Tensor
    target: Batch
