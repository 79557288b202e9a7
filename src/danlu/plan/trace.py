"""What a computation holds, moment by moment, without its memory: torch runs on tensors that only have shapes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.nn.modules import module as hooks

from .inside import inside, workspace
from .numberless import INDEXED, PLACES, compared, indices, leaves, moved, placed, runs_really, summed, written

aten: Any = torch.ops.aten
modules: Any = nn.Module
Place = tuple[str, int]
"""A phase, and how many blocks have begun since its beginning."""
Moments = dict[Place, dict[str, int]]
"""The dearest moment of each part of each phase: bytes by kind."""


@dataclass(eq=False, slots=True)
class Held:
    """The memory of one tensor and its views: what it is, where it was born, and where it died."""

    bytes_: int
    kind: str
    room: str
    born: int
    died: int | None = None


class Trace(FakeTensorMode):
    """Within, tensors of real numbers have shapes and no memory, and every byte they would take is written down.

    Whole numbers and masks stay real, so that code that looks at them goes on as it would; a number asked of a tensor
    without numbers is 1, and an order among its values is any. ``room`` says which part of a model makes what is made
    within a module; each ``block`` begins a part of the loss, and on its way back a part of backward; ``unit``: the
    allocator gives multiples of so many bytes.

    Truth: tests/truth/test_plan_trace.py (tensors worked by hand; torch's allocator event by event).
    """

    def __init__(
        self, room: Callable[[nn.Module], str | None], *, block: type[nn.Module] = nn.Identity, unit: int = 1
    ) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.room, self.block, self.unit = room, block, unit
        self.rooms: list[str] = []
        self.now: dict[int, Held] = {}
        self.watched: dict[int, weakref.ref[Any]] = {}
        self.events: list[Held | Place] = [("begin", 0)]
        self.phase, self.part, self.turn = "begin", 0, 0
        self.inside = False

    # ── what its user says ───────────────────────────────────────────────────────────────────────────────────────
    @contextmanager
    def watching(self) -> Iterator[Self]:
        """Everything within is traced."""
        handles = (
            hooks.register_module_forward_pre_hook(self._enters),
            hooks.register_module_forward_hook(self._leaves, always_call=True),
        )
        moving, modules._apply = nn.Module._apply, moved
        try:
            with self:
                yield self
        finally:
            modules._apply = moving
            for handle in handles:
                handle.remove()

    def begin(self, phase: str, part: int = 0) -> None:
        """What follows belongs to this phase, and within it to this part."""
        if phase != self.phase:
            self.turn += 1
        self.phase, self.part = phase, part
        self.events.append((phase, part))

    def call(self, kind: str, tensors: Iterable[Tensor]) -> None:
        """These tensors are of this kind, since they were born."""
        for tensor in tensors:
            held = self.held(tensor)
            if held is not None:
                held.kind = kind

    def held(self, tensor: Tensor) -> Held | None:
        """What is known of the memory of a tensor."""
        return self.now.get(tensor.untyped_storage()._cdata)

    @contextmanager
    def really(self, kind: str) -> Iterator[None]:
        """Within, everything runs as it is; what it leaves is of this kind."""
        with unset_fake_temporarily():
            yield

    # ── what torch says ──────────────────────────────────────────────────────────────────────────────────────────
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.inside:
            return super().__torch_dispatch__(func, types, args, kwargs)
        given = [value for value in leaves((args, kwargs.values())) if isinstance(value, Tensor)]
        self.inside = True
        try:
            out = self._run(func, types, args, kwargs, given)
        finally:
            self.inside = False
        self._born(func, args, given, out)
        return out

    def _run(self, func: Any, types: Any, args: Any, kwargs: Any, given: list[Tensor]) -> Any:
        if runs_really(func, kwargs, given):
            return func(*args, **kwargs)
        if func is aten._local_scalar_dense.default:
            return 1.0 if given[0].is_floating_point() else 1
        if func is aten.equal.default:
            return True
        if func is aten.add.Tensor and self.phase == "backward" and len(given) == 2 and not kwargs:
            into = summed(given)
            if into is not None:
                func, args = aten.add_.Tensor, into
        if func in INDEXED:
            args = indices(args)
        out: Any = super().__torch_dispatch__(func, types, args, kwargs)
        if func._schema.is_mutable and (kept := written(func, args, kwargs)) is not None:
            return kept
        if func is aten.mkldnn_rnn_layer.default:
            with self:
                return (*out[:3], torch.empty(workspace(args), dtype=torch.uint8))
        return placed(out, given[0].shape[compared(func, args, kwargs)]) if func in PLACES else out

    def _born(self, func: Any, args: Any, given: list[Tensor], out: Any) -> None:
        made = [value for value in leaves((out,)) if isinstance(value, Tensor)]
        fresh = [tensor for tensor in made if self._note(tensor)]
        if func is aten._to_copy.default and fresh and (source := self.held(given[0])) and "weights" in source.kind:
            self.call("weight copies", fresh)
        if bytes_ := inside(func, args, made):
            passing = self._keep(bytes_)
            passing.died = self.turn
            self.events.append(passing)

    def _note(self, tensor: Tensor) -> bool:
        """Writes down a birth, if it is one."""
        if tensor.device.type == "meta":
            return False
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.now:
            return False
        self.now[key] = self._keep(storage.nbytes())
        self.watched[key] = weakref.ref(storage, lambda _: self._gone(key))
        return True

    def _keep(self, bytes_: int) -> Held:
        held = Held(-(-bytes_ // self.unit) * self.unit, "", self.rooms[-1] if self.rooms else "", self.turn)
        self.events.append(held)
        return held

    def _gone(self, key: int) -> None:
        held = self.now.pop(key)
        del self.watched[key]
        held.died = self.turn
        self.events.append(held)

    def _enters(self, module: nn.Module, _: Any) -> None:
        if self.phase == "loss" and isinstance(module, self.block):
            self.begin("loss", self.part + 1)
        self.rooms.append(self.room(module) or (self.rooms[-1] if self.rooms else ""))

    def _leaves(self, module: nn.Module, _: Any, out: Any) -> None:
        self.rooms.pop()
        if self.phase == "loss" and isinstance(module, self.block):
            self.begin("loss", self.part + 1)
            if isinstance(out, Tensor) and out.requires_grad:
                out.register_hook(self._returns)

    def _returns(self, _: Tensor) -> None:
        """A block begins its way back."""
        self.begin("backward", self.part + 1)

    # ── what it tells ────────────────────────────────────────────────────────────────────────────────────────────
    def moments(self) -> Moments:
        """What was held at the dearest moment of each part of each phase."""
        best: dict[Place, tuple[int, int]] = {}
        for at, total, place in self._totals():
            if total > best.get(place, (0, -1))[0] or place not in best:
                best[place] = (total, at)
        return self._composed({at: place for place, (_, at) in best.items()})

    def _totals(self) -> Iterator[tuple[int, int, Place]]:
        total, place = 0, ("begin", 0)
        alive: set[int] = set()
        for at, event in enumerate(self.events):
            if isinstance(event, tuple):
                place = event
            else:
                total += event.bytes_ if id(event) not in alive else -event.bytes_
                alive ^= {id(event)}
            yield at, total, place

    def _composed(self, wanted: dict[int, Place]) -> Moments:
        found: Moments = {}
        alive: dict[int, Held] = {}
        for at, event in enumerate(self.events):
            if isinstance(event, Held) and alive.pop(id(event), None) is None:
                alive[id(event)] = event
            if at in wanted:
                kinds = found[wanted[at]] = {}
                for held in alive.values():
                    name = _kind(held)
                    kinds[name] = kinds.get(name, 0) + held.bytes_
        return found


def _kind(held: Held) -> str:
    """What outlives the pass in which a module made it was kept for the way back."""
    if held.kind:
        return held.kind
    if held.room and held.died != held.born:
        return f"activations: {held.room}"
    return held.room if held.room == "logits" else "temporary"
