"""One pass of the model over the pieces of a plan: texts of any length side by side, each with its adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..nn.layout import Layout
from ..nn.model import Model
from ..nn.pages import Pages
from ..nn.ragged import Alone, Ragged
from ..nn.routers import Router
from ..nn.sites import Adapted, Branch, Delta, Entrance, KeySource, Site
from ..nn.states import States
from ..peft.attached import acting_as
from .heard import Heard, Reading
from .packed import Prepared
from .scheduler import Piece
from .sequence import Sequence as Row
from .steps import mixes_texts, steps_of, table_of, text_of

STEPS = 1 << 16  # an engine decodes for long: laying the weights out pays


class Forward:
    """Feeds a model whose keys lie in ``pages``; ``rows`` are decoded side by side in the main.

    ``rounded`` is as in EngineSettings. Texts go through the model in one row wherever each token is computed by itself
    and attention by text; adapters at linear maps and branches act on their own spans of it. Others go one by one:
    models that read a prompt in both directions or through an encoder, recurrent ones, adapters that bring keys or
    vectors of their own.
    """

    def __init__(self, prepared: Prepared, pages: Pages, *, rows: int = 1, rounded: bool = False) -> None:
        self.prepared, self.model, self.pages, self.rows = prepared, prepared.model, pages, rows
        self.device = next(self.model.parameters()).device
        self.ways: dict[str, str] = {}  # of adapters, by name
        self.steps = steps_of(self.model, pages, rounded=rounded)
        self.raggable = mixes_texts(self.model)

    @torch.inference_mode()
    def run(self, pieces: Sequence[Piece], readings: Mapping[int, Reading]) -> dict[int, Heard]:
        """What is heard of each piece, by the serial number of its row."""
        heard: dict[int, Heard] = {}
        for (ragged, adapters), lane in self._lanes(pieces, readings).items():
            with self._acting(adapters, lane, readings):
                if ragged:
                    heard.update(self._together(lane, readings))
                else:
                    heard.update({piece.row.serial: self._alone(piece, readings[piece.row.serial]) for piece in lane})
        return heard

    def copy(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Blocks from → to, before a pass."""
        self.pages.copy(pairs)

    # ── who goes with whom ───────────────────────────────────────────────────────────────────────────────────────
    def _lanes(
        self, pieces: Sequence[Piece], readings: Mapping[int, Reading]
    ) -> dict[tuple[bool, tuple[str, ...] | None], list[Piece]]:
        """Pieces that go together, those of an adapter beside each other; None: adapters act on spans."""
        lanes: dict[tuple[bool, tuple[str, ...] | None], list[Piece]] = {}
        for piece in sorted(pieces, key=lambda one: readings[one.row.serial].adapters):
            adapters = readings[piece.row.serial].adapters
            way = self._way(adapters)
            lanes.setdefault((way is not ALONE, None if way is SPANS else adapters), []).append(piece)
        return lanes

    def _way(self, adapters: tuple[str, ...]) -> str:
        if not self.raggable:
            return ALONE
        for name in adapters:
            if name not in self.ways:
                self.ways[name] = way_of(self.model, name)
        ways = {self.ways[name] for name in adapters}
        if ALONE in ways:
            return ALONE
        return OWN if OWN in ways or len(adapters) > 1 else SPANS

    @contextmanager
    def _acting(
        self, adapters: tuple[str, ...] | None, lane: Sequence[Piece], readings: Mapping[int, Reading]
    ) -> Iterator[None]:
        switch = self.model.switch
        if switch is None:
            yield
            return
        with acting_as(self.model, *(adapters or ())):
            switch.spans = _spans(lane, readings) if adapters is None else None
            try:
                yield
            finally:
                switch.spans = None

    # ── how ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _together(self, lane: Sequence[Piece], readings: Mapping[int, Reading]) -> Iterator[tuple[int, Heard]]:
        quick = self._quick(lane, readings)
        if self.steps is not None and quick:
            yield from self.steps(quick)
        if rest := [piece for piece in lane if piece not in quick]:
            yield from self._whole(rest, readings)

    def _whole(self, lane: Sequence[Piece], readings: Mapping[int, Reading]) -> Iterator[tuple[int, Heard]]:
        """Through the model's own modules, all texts in one row."""
        texts = [text_of(piece, self.pages.size) for piece in lane]
        layout = Ragged(self.pages, texts).layout()
        tokens = torch.tensor([[i for piece in lane for i in piece.row.ids(piece.start, piece.stop)]])
        few = all(text.fed <= FEW for text in texts)
        model = self.prepared.serving(self.rows, STEPS) if few else self.model
        early = sorted({layer for piece in lane for layer in readings[piece.row.serial].early})
        with _entering(model, early) as entered:
            hidden = model.hidden(tokens.to(self.device), layout)[0]  # (N, M)
        ends = torch.tensor([text.fed for text in texts]).cumsum(0).tolist()
        asked = [at for piece, end in zip(lane, ends, strict=True) for at in range(end - piece.wanted, end)]
        told = self._told(model, hidden, asked)
        wanted = [piece.wanted for piece in lane]
        by_layer = {layer: self._told(model, x[0], asked).split(wanted) for layer, x in entered.items()}
        for number, (piece, end, logits) in enumerate(zip(lane, ends, told.split(wanted), strict=True)):
            reading = readings[piece.row.serial]
            states = hidden[end - (piece.stop - piece.start) : end] if reading.hidden else None
            yield piece.row.serial, Heard(logits, states, {i: by_layer[i][number] for i in reading.early})

    def _quick(self, lane: Sequence[Piece], readings: Mapping[int, Reading]) -> list[Piece]:
        """Those that go in one call: through the model without adapters, asked for nothing but logits."""
        asked = [readings[piece.row.serial] for piece in lane]
        if self.steps is None or any(one.adapters or one.hidden or one.early for one in asked):
            return []
        if self.steps.serves(lane):
            return list(lane)
        few = [piece for piece in lane if piece.stop - piece.start <= FEW]
        return few if few and self.steps.serves(few) else []

    def _alone(self, piece: Piece, reading: Reading) -> Heard:
        row, model = piece.row, self.model
        tokens = torch.tensor([row.ids(piece.start, piece.stop)], device=self.device)
        cache = self._remembered(row, reading) or Alone(
            self.pages, table_of(row), row.slots(piece.start), row.forgotten * self.pages.size
        )  # fmt: skip
        layout = Layout.dense(tokens, cache, piece.start)
        order = None
        if model.ahead and not piece.start:
            order = layout.position.clamp(min=len(row.prompt) - 1)
            layout = Layout(layout.position, layout.segment, cache, order=order)
        elif reading.memory is not None:
            layout = Layout(layout.position, layout.segment, cache, plain=True, memory=reading.memory)
        with _entering(model, reading.early) as entered:
            hidden = model.hidden(tokens, layout)[0]
        asked = list(range(len(hidden) - piece.wanted, len(hidden)))
        early = {layer: self._told(model, x[0, -len(hidden) :], asked) for layer, x in entered.items()}
        return Heard(self._told(model, hidden, asked), hidden if reading.hidden else None, early)

    def _remembered(self, row: Row, reading: Reading) -> States | None:
        """What a recurrent model remembers of a row; None for models that keep keys."""
        if self.model.remembers_keys:
            return None
        if reading.states is None or not row.computed:
            reading.states = States(self.model.dims.layers, 1)
        return reading.states

    def _told(self, model: Model, hidden: Tensor, places: Sequence[int]) -> Tensor:
        """What the head says of these places.  hidden: (N, M) → (places, V)."""
        if not places:
            return hidden.new_empty(0, self.model.dims.vocab, dtype=torch.float32)
        chosen = hidden if len(places) == len(hidden) else hidden[torch.tensor(places, device=hidden.device)]
        return model.head(chosen[None])[0].float()


FEW = 8  # tokens of a text up to which the weights laid out for decoding serve
ALONE, OWN, SPANS = "alone", "own", "spans"


def goes_with_others(model: Model) -> bool:
    """Whether texts with what acts on a model now may stand in one row."""
    acting = model.switch.active if model.switch else ()
    return mixes_texts(model) and all(way_of(model, name) != ALONE for name in acting)


def way_of(model: Model, name: str) -> str:
    """How rows with this adapter go through a model: by themselves, with others of the same adapter, or with all."""
    assert model.switch is not None
    found = [(place, site[name]) for place, site in model.named_modules() if isinstance(site, Site) and name in site]
    parts = [part for _, part in found]
    if any(isinstance(part, KeySource) for part in parts):
        return ALONE
    if any(part.extra or part.shift or part.undivided for part in parts if isinstance(part, Entrance)):
        return ALONE
    routers = (m for router in model.modules() if isinstance(router, Router) for m in router.modules())
    choosing = any(isinstance(module, Adapted) and name in module.deltas for module in routers)
    plain = all(isinstance(part, (Delta, Branch)) for part in parts)
    return SPANS if plain and not choosing and not model.switch.adapters[name].trains else OWN


@contextmanager
def _entering(model: nn.Module, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
    """What enters these blocks of a stack, (B, T, M) each, while the model runs."""
    entered: dict[int, Tensor] = {}

    def noting(layer: int) -> Callable[..., None]:
        def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            entered[layer] = given[0]

        return note

    blocks = model.blocks if layers else None
    hooks = [blocks[layer].register_forward_pre_hook(noting(layer)) for layer in layers] if blocks else []  # type: ignore[index]
    try:
        yield entered
    finally:
        for hook in hooks:
            hook.remove()


def _spans(lane: Sequence[Piece], readings: Mapping[int, Reading]) -> dict[str, slice]:
    """The tokens of a row on which each adapter acts: those of one adapter stand beside each other."""
    spans: dict[str, slice] = {}
    begin = 0
    for piece in lane:
        end = begin + piece.stop - piece.start
        for name in readings[piece.row.serial].adapters:
            spans[name] = slice(spans[name].start if name in spans else begin, end)
        begin = end
    return spans
