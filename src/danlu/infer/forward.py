"""One pass of the model over the pieces of a plan: texts of any length side by side, each with its adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ..nn.layout import Layout, Memory
from ..nn.model import Model
from ..nn.pages import Pages, Table
from ..nn.pages.plain import Plain
from ..nn.ragged import Alone, Ragged, Text
from ..nn.routers import Router
from ..nn.sites import Adapted, Branch, Delta, Entrance, KeySource, Site
from ..nn.states import States
from ..peft.attached import acting_as
from .native_step import NativeStep
from .packed import Prepared
from .scheduler import Piece
from .sequence import Sequence as Row
from .static_step import Feed, StaticSteps

STEPS = 1 << 16  # an engine decodes for long: laying the weights out pays


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


class Forward:
    """Feeds a model whose keys lie in ``pages``; ``rows`` are decoded side by side in the main.

    ``rounded`` as in EngineSettings.

    Texts go through the model in one row wherever each token is computed by itself and attention by text; adapters at
    linear maps and branches act on their own spans of it. Others go one by one: models that read a prompt in both
    directions or through an encoder, recurrent ones, adapters that bring keys or vectors of their own.
    """

    def __init__(self, prepared: Prepared, pages: Pages, *, rows: int = 1, rounded: bool = False) -> None:
        self.prepared, self.model, self.pages, self.rows = prepared, prepared.model, pages, rows
        self.device = next(self.model.parameters()).device
        self.ways: dict[str, str] = {}  # of adapters, by name
        self.native = _native(self.model, pages, rounded)
        self.static = _static(self.model, pages)
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
        texts = [_text(piece, self.pages.size) for piece in lane]
        if self._bare(lane, readings):
            if self.native is not None and sum(text.fed for text in texts) <= NativeStep.width:
                yield from self._natively(self.native, lane, texts)
                return
            if self.static is not None and all(text.fed == 1 for text in texts):
                feeds = [
                    Feed(p.row.ids(p.start)[0], text.start, text.table) for p, text in zip(lane, texts, strict=True)
                ]
                heard = zip(lane, self.static(feeds), strict=True)
                yield from ((piece.row.serial, Heard(logits[None][: piece.wanted])) for piece, logits in heard)
                return
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

    def _bare(self, lane: Sequence[Piece], readings: Mapping[int, Reading]) -> bool:
        """Whether they go through the model without adapters and are asked for nothing but logits."""
        asked = [readings[piece.row.serial] for piece in lane]
        return not any(one.adapters or one.hidden or one.early for one in asked)

    def _natively(self, step: NativeStep, lane: Sequence[Piece], texts: Sequence[Text]) -> Iterator[tuple[int, Heard]]:
        """In one call: each token is a row of its own."""
        assert isinstance(self.pages, Plain)
        fed = [(text, at) for text in texts for at in range(text.start, text.stop)]
        blocks = max(len(text.table) for text in texts)
        tables = torch.tensor([[*text.table, *[0] * (blocks - len(text.table))] for text, _ in fed], dtype=torch.int32)
        positions = torch.tensor([at for _, at in fed])
        tokens = torch.tensor([i for piece in lane for i in piece.row.ids(piece.start, piece.stop)])
        lengths = (positions + 1).int()
        logits = step(tokens, positions, tables, lengths, self.pages.k, self.pages.v, self.pages.size)
        end = 0
        for piece in lane:
            end += piece.stop - piece.start
            yield piece.row.serial, Heard(logits[end - piece.wanted : end])

    def _alone(self, piece: Piece, reading: Reading) -> Heard:
        row, model = piece.row, self.model
        tokens = torch.tensor([row.ids(piece.start, piece.stop)], device=self.device)
        cache = self._remembered(row, reading) or Alone(
            self.pages, _table(row), row.slots(piece.start), row.forgotten * self.pages.size
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


def _native(model: Model, pages: Pages, rounded: bool) -> NativeStep | None:
    """The whole step of the bare model in one call, where there is one."""
    if not isinstance(pages, Plain):
        return None
    with acting_as(model) if model.switch else nullcontext():
        step = NativeStep.of(model, rounded=rounded)
    return step if isinstance(step, NativeStep) else None


def _static(model: Model, pages: Pages) -> StaticSteps | None:
    """Steps that are recorded once and replayed, on a GPU; the last block of the pool is theirs."""
    if pages.device.type != "cuda" or not isinstance(pages, Plain) or not mixes_texts(model):
        return None
    return StaticSteps(model, pages, pages.blocks - 1)


def mixes_texts(model: Model) -> bool:
    """Whether texts may stand in one row: each token is computed from those before it in its text."""
    return model.begin is None and not model.ahead and model.remembers_keys


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


def _table(row: Row) -> Table:
    return tuple(0 if block is None else block for block in row.table)


def _text(piece: Piece, size: int) -> Text:
    row = piece.row
    first = row.forgotten * size
    return Text(_table(row), row.slots(piece.start), row.slots(piece.stop), first)
