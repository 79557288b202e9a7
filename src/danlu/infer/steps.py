"""A few tokens through the bare model in one call: the native step on a CPU, recorded graphs on a GPU."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import numpy as np
import torch

from ..nn.model import Model
from ..nn.pages import Pages, Table
from ..nn.pages.plain import Plain
from ..nn.ragged import Text
from ..peft.attached import acting_as
from .heard import Heard
from .native_step import NativeStep
from .scheduler import Piece
from .sequence import Sequence as Row
from .static_step import Feed, StaticSteps


class Steps(ABC):
    """Serves pieces of texts whose keys lie in ``pages``."""

    def __init__(self, pages: Plain) -> None:
        self.pages = pages

    @abstractmethod
    def serves(self, lane: Sequence[Piece]) -> bool:
        """Whether all of these go in one call."""

    @abstractmethod
    def __call__(self, lane: Sequence[Piece]) -> Iterator[tuple[int, Heard]]:
        """What is heard of each, by the serial number of its row."""


class Native(Steps):
    """In one call of the C library: each token is a row of its own."""

    def __init__(self, pages: Plain, step: NativeStep) -> None:
        super().__init__(pages)
        self.step = step

    def serves(self, lane: Sequence[Piece]) -> bool:
        return sum(piece.stop - piece.start for piece in lane) <= NativeStep.width

    def __call__(self, lane: Sequence[Piece]) -> Iterator[tuple[int, Heard]]:
        fed = [(piece.row, at) for piece in lane for at in range(piece.start, piece.stop)]
        tables = np.zeros((len(fed), max(len(row.table) for row, _ in fed)), dtype=np.int32)
        for place, (row, _) in enumerate(fed):
            tables[place, : len(row.table)] = table_of(row)
        positions = np.array([at for _, at in fed])
        tokens = np.array([i for piece in lane for i in piece.row.ids(piece.start, piece.stop)])
        lengths = torch.from_numpy((positions + 1).astype(np.int32))
        at, new, blocks = torch.from_numpy(positions), torch.from_numpy(tokens), torch.from_numpy(tables)
        logits = self.step(new, at, blocks, lengths, self.pages.k, self.pages.v, self.pages.size)
        end = 0
        for piece in lane:
            end += piece.stop - piece.start
            yield piece.row.serial, Heard(logits[end - piece.wanted : end])


class Static(Steps):
    """In shapes that never change, replayed on a GPU: one token a row. The last block of the pool is theirs."""

    def __init__(self, pages: Plain, model: Model) -> None:
        super().__init__(pages)
        self.steps = StaticSteps(model, pages, pages.blocks - 1)

    def serves(self, lane: Sequence[Piece]) -> bool:
        return all(piece.stop - piece.start == 1 for piece in lane)

    def __call__(self, lane: Sequence[Piece]) -> Iterator[tuple[int, Heard]]:
        feeds = [Feed(piece.row.ids(piece.start)[0], piece.start, table_of(piece.row)) for piece in lane]
        for piece, logits in zip(lane, self.steps(feeds), strict=True):
            yield piece.row.serial, Heard(logits[None][: piece.wanted])


def steps_of(model: Model, pages: Pages, *, rounded: bool) -> Steps | None:
    """What serves a model whose keys lie there; None where its own modules must."""
    if not isinstance(pages, Plain) or not mixes_texts(model):
        return None
    if pages.device.type == "cuda":
        return Static(pages, model)
    with acting_as(model) if model.switch else nullcontext():
        step = NativeStep.of(model, rounded=rounded)
    return Native(pages, step) if isinstance(step, NativeStep) else None


def mixes_texts(model: Model) -> bool:
    """Whether texts may stand in one row: each token is computed from those before it in its text."""
    return model.begin is None and not model.ahead and model.remembers_keys


def table_of(row: Row) -> Table:
    return tuple(0 if block is None else block for block in row.table)


def text_of(piece: Piece, size: int) -> Text:
    row = piece.row
    return Text(table_of(row), row.slots(piece.start), row.slots(piece.stop), row.forgotten * size)
