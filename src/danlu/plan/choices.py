"""What each saving of memory would bring: the same step cut otherwise, or another way to train, with its price."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from ..core.errors import ConfigError
from ..core.spec import Spec
from ..nn.storages import STORAGES
from .estimates import recut, restated, scaled
from .overhead import PROCESS, fragmentation
from .ranks import SHARDED, Ranks
from .roofline import training_operations
from .trained import trained
from .work import Memory, Work

CHUNK = 256
RECOMPUTES = ("keep", "none", "ops", "blocks")
"""From what keeps most to what keeps least."""
LIGHTER = (None, Spec("bf16"), Spec("int8"), Spec("nf4", {"double": True}))
"""How frozen weights are kept, from the mildest, beside an adapter that trains in their place."""

ADAPTER = Spec("lora")

Finds = Callable[[Work], Memory]


def need(memory: Memory, place: str) -> int:
    """Bytes that a device must have: the dearest phase with its allowance, and the process itself."""
    return PROCESS + max(sum(kinds.values()) + fragmentation(kinds, place) for kinds in memory.phases.values())


@dataclass(frozen=True)
class Choice:
    """``changes`` as a recipe writes them, the peak of one rank they lead to, what a device must have for it, and the
    arithmetic relative to the plan's. ``traced`` or else estimated from traces of the same step at other sizes."""

    changes: str
    work: Work
    ranks: Ranks
    peak_bytes: int
    need_bytes: int
    arithmetic: float
    traced: bool


@dataclass
class Search:
    """Looks for what fits, with a trace for each way to recompute: what blocks keep is nearly linear in rows.

    Truth: tests/truth/test_plan_search.py (estimates beside traces; the remedy is the mildest that fits).
    """

    work: Work
    find: Finds
    ranks: Ranks = field(default_factory=Ranks)
    known: dict[str, Memory] = field(default_factory=dict)

    def same(self) -> Iterator[Choice]:
        """From the mildest to the strongest, all with the same gradients (micro-batches add up exactly)."""
        return map(self._choice, self._cuts(self.work))

    def _cuts(self, work: Work) -> Iterator[Work]:
        """The work itself, then in fewer and fewer rows at once, then the same with more and more recomputed."""
        for recompute in RECOMPUTES[RECOMPUTES.index(work.recompute) :]:
            rows = work.rows
            while rows:
                yield replace(work, recompute=recompute, rows=rows, micros=-(-work.rows * work.micros // rows))
                rows = rows // 2
        if work.chunk > CHUNK:
            yield self._least(work)

    def sharded(self) -> Iterator[Choice]:
        """The plan at each further stage of ZeRO, if there are ranks to share between."""
        if self.ranks.count > 1:
            for stage in range(self.ranks.stage + 1, len(SHARDED) + 1):
                yield self._choice(self.work, Ranks(self.ranks.count, stage))

    def lighter(self) -> Iterator[Choice]:
        """The plan with an adapter and frozen weights in fewer and fewer bits; each at its least as well."""
        for light in self._lights():
            yield self._choice(light)
            yield self._choice(self._least(light))

    def _lights(self) -> Iterator[Work]:
        for storage in LIGHTER:
            if not self.work.adapter if storage is None else _bits(storage) < _bits(self.work.storage):
                light = replace(self.work, adapter=self.work.adapter or ADAPTER, storage=storage)
                if _placed(light):
                    yield light

    def every(self) -> list[Choice]:
        return [*self.same(), *self.sharded(), *self.lighter()]

    def remedy(self, room: float) -> tuple[Choice | None, Choice]:
        """The mildest change that fits into ``room`` bytes and keeps the gradients, if any, which is traced, and the
        one that needs least."""
        found = list(self.same())
        fitting = self._first(found, room)
        return fitting, fitting or min(found, key=lambda choice: choice.need_bytes)

    def way_out(self, room: float) -> Choice | None:
        """The mildest other way to train that fits, traced: shared between ranks, or lighter, cut as it must be."""
        lighter = (self._choice(cut) for light in self._lights() for cut in self._cuts(light))
        return self._first(self.sharded(), room) or self._first(lighter, room)

    def _first(self, choices: Iterable[Choice], room: float) -> Choice | None:
        """The first that fits, also when traced."""
        fitting = (choice for choice in choices if choice.need_bytes <= room)
        return next((sure for choice in fitting if (sure := self._sure(choice)).need_bytes <= room), None)

    def _sure(self, choice: Choice) -> Choice:
        if choice.traced:
            return choice
        self.traced(choice.work)
        return self._choice(choice.work, choice.ranks)

    def _least(self, work: Work) -> Work:
        return replace(
            work, recompute="blocks", rows=1, micros=work.rows * work.micros, chunk=min(CHUNK, work.chunk)
        )  # fmt: skip

    def _choice(self, cut: Work, ranks: Ranks | None = None) -> Choice:
        """How ``cut`` differs from the plan, and what it needs."""
        ranks, work = ranks or self.ranks, self.work
        words = [
            "adapter=" + cut.adapter.use if cut.adapter and cut.adapter != work.adapter else "",
            "storage=" + cut.storage.use if cut.storage and cut.storage != work.storage else "",
            f"train.micro={cut.slots}" * (cut.rows != work.rows),
            f"train.recompute={cut.recompute}" * (cut.recompute != work.recompute),
            f"train.chunk={cut.chunk}" * (cut.chunk != work.chunk),
            f"ZeRO stage {ranks.stage}" * (ranks != self.ranks),
        ]
        memory = ranks.share(self._memory(cut), cut)
        arithmetic = training_operations(cut) / training_operations(work)
        return Choice(
            " ".join(filter(None, words)) or "as planned", cut, ranks, memory.peak_bytes,
            need(memory, cut.device), arithmetic, cut.key() in self.known,
        )  # fmt: skip

    def _memory(self, cut: Work) -> Memory:
        """Traced for the plan and for what is known, else between two traces, with states counted anew."""
        if cut == self.work or cut.key() in self.known:
            return self.traced(cut)
        work = self.work
        near = replace(
            cut, adapter=work.adapter, storage=work.storage, also_train=work.also_train, chunk=work.chunk
        )  # fmt: skip
        found = self._cut(near)
        if cut.chunk != work.chunk:
            found = scaled(found, "logits", min(1, cut.chunk / min(work.chunk, cut.slots)))
        same = (cut.adapter, cut.storage) == (work.adapter, work.storage)
        return found if same else restated(found, work, cut)

    def _cut(self, cut: Work) -> Memory:
        """Of a step cut into other rows: from the trace of the rows as planned."""
        planned = replace(cut, rows=self.work.rows, micros=self.work.micros)
        found = self.traced(planned)
        return found if cut == planned else recut(found, planned, cut)

    def traced(self, work: Work) -> Memory:
        """What the finder says, asked once."""
        key = work.key()
        if key not in self.known:
            self.known[key] = self.find(work)
        return self.known[key]


def _placed(work: Work) -> bool:
    """Whether the adapter finds a place in the model: there are models without linear maps."""
    try:
        trained(work)
    except ConfigError:
        return False
    return True


def _bits(storage: Spec | None) -> float:
    """A parameter's; a storage that is not here is no fewer than whole."""
    return storage.build(STORAGES, where="storage").bits if storage and storage.use in set(STORAGES) else 32
