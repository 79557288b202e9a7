"""The past of rows as a second model keeps it: it follows what is said, also where that is cut back."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor

from ..core.errors import ConfigError
from ..nn.model import Model
from ..nn.pages import PAGES
from .blocks import Blocks, Full
from .forward import Forward
from .heard import Heard, Reading
from .memories import alike
from .packed import Prepared
from .rows import Row
from .scheduler import Piece
from .sequence import Sequence as Twin
from .steps import mixes_texts

SIZE = 64  # tokens a block
CHUNK = 512  # tokens of a prompt that are read at once


class Twins:
    """A twin a row, known by the row's generator, with blocks in a pool of ``bytes_``.

    Where the pool is full, rows that are not asked about give theirs back and are read anew when they are.
    Raises: ConfigError for a model whose past is not keys by token, or a pool without room for one text.
    """

    def __init__(self, model: Model, bytes_: int) -> None:
        model.expect_next()
        if not mixes_texts(model) or model.extra or model.undivided:
            raise ConfigError(f"a {model.recipe.family} cannot go back to an earlier token; let another model draft")
        self.context = model.reach(model.dims.context)
        dtype, device = next(model.parameters()).dtype, next(model.parameters()).device
        kind = PAGES["plain"]
        count = bytes_ // kind(model.dims, 1, SIZE, dtype, "meta").bytes_
        if count < 2:
            raise ConfigError(f"{bytes_ / 2**30:.2f} GiB hold no two blocks of the model that drafts; give it more gib")
        self.forward = Forward(Prepared(model), kind(model.dims, count, SIZE, dtype, device), rows=2)
        self.blocks = Blocks(count, SIZE)
        self.known: weakref.WeakKeyDictionary[object, Twin] = weakref.WeakKeyDictionary()
        self.left: list[list[int | None]] = []  # tables of rows that are gone

    def room(self, rows: Sequence[Row], more: int) -> list[bool]:
        """Whether each row has room for so many more tokens; what it needs is its own from now on."""
        while self.left:
            self._give(self.left.pop())
        asked = {id(row.random) for row in rows}
        return [self._grown(self._twin(row), more, asked) for row in rows]

    def logits(self, rows: Sequence[Row]) -> Tensor:
        """What the model says comes next.  (B, V)"""
        twins = [self._twin(row) for row in rows]
        readings = {twin.serial: Reading() for twin in twins}
        for twin in twins:
            while twin.behind > CHUNK:
                self._run([Piece(twin, twin.computed, twin.computed + CHUNK, 0)], readings)
        heard = self._run([Piece(twin, twin.computed, twin.known, 1) for twin in twins], readings)
        return torch.stack([heard[twin.serial].logits[-1] for twin in twins])

    def _run(self, pieces: Sequence[Piece], readings: dict[int, Reading]) -> dict[int, Heard]:
        heard = self.forward.run(pieces, readings)
        for piece in pieces:
            piece.row.computed = piece.stop
        return heard

    def _twin(self, row: Row) -> Twin:
        """That of a row, with the row's tokens; keys of tokens that are no longer there do not count."""
        twin = self.known.get(row.random)
        if twin is None or twin.prompt != row.prompt:
            twin = self.known[row.random] = Twin(list(row.prompt))
            weakref.finalize(row.random, self.left.append, twin.table)
        same = len(twin.prompt) + alike(twin.tokens, row.tokens)
        twin.tokens = list(row.tokens)
        twin.computed = min(twin.computed, same, twin.known - 1)
        return twin

    def _grown(self, twin: Twin, more: int, asked: set[int]) -> bool:
        if twin.known + more > self.context:
            return False
        while len(twin.table) * SIZE < twin.known + more:
            try:
                twin.table.append(self.blocks.take(twin.table[-1] if twin.table else None))
            except Full:
                if not self._spared(asked):
                    return False
        return True

    def _spared(self, asked: set[int]) -> bool:
        """Takes the blocks of rows that are not asked about; whether there were any."""
        before = self.blocks.used
        for random, twin in list(self.known.items()):
            if id(random) not in asked:
                self._give(twin.table)
                twin.computed = 0
        return self.blocks.used < before

    def _give(self, table: list[int | None]) -> None:
        while table:
            block = table.pop()
            assert block is not None
            self.blocks.give(block)
