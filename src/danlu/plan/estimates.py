"""Memories that were not traced, from those that were."""

from __future__ import annotations

from .trained import trained
from .work import Memory, Work


def recut(memory: Memory, before: Work, after: Work) -> Memory:
    """With other rows at once: what is kept and what passes goes with them, logits until a chunk is full; several
    micro-batches hold all gradients from the second on."""
    rows = after.rows / before.rows
    logits = min(after.chunk, after.slots * after.counted) / min(before.chunk, before.slots * before.counted)
    gradients = memory.phases.get("step", {}).get("gradients", 0)
    phases = {}
    for phase, kinds in memory.phases.items():
        less = {k: round(b * (logits if k == "logits" else rows if _by_rows(k) else 1)) for k, b in kinds.items()}
        if before.micros == 1 < after.micros and phase == "loss":  # beside those of the head at hand
            less["gradients"] = less.get("gradients", 0) + gradients
        if after.micros > 1 and phase == "backward":
            less["gradients"] = max(less.get("gradients", 0), gradients)
        phases[phase] = less
    return Memory(phases, memory.notes)


def _by_rows(kind: str) -> bool:
    return kind.startswith("activations") or kind == "temporary"


def scaled(memory: Memory, kind: str, factor: float) -> Memory:
    """With one kind made smaller."""
    phases = {
        p: {k: round(b * factor) if k == kind else b for k, b in kinds.items()} for p, kinds in memory.phases.items()
    }
    return Memory(phases, memory.notes)


def restated(memory: Memory, before: Work, after: Work) -> Memory:
    """The same activations around other states: fewer numbers that train, frozen ones as they are kept.

    A number that trains or stays whole takes the bytes it takes before; a stored one its storage's bits. Of half-width
    copies a stored weight has none, and a frozen one that is computed again only that of the block at hand.
    """
    old, new = trained(before), trained(after)
    share, held = new.trains / max(old.trains, 1), memory.phases["step"]
    whole = new.frozen - new.stored
    each = (held.get("weights", 0) + held.get("frozen weights", 0)) / (old.trains + old.frozen)
    states = {"weights": round(each * new.trains), "frozen weights": round(each * whole + new.stored * new.bits / 8)}
    copied = 1 - new.stored / (new.trains + new.frozen)
    if before.adapter is None and after.recompute in ("ops", "blocks"):
        copied /= after.recipe.dims.layers
    factors = {**dict.fromkeys(FOLLOW, share), "weight copies": copied}
    phases = {}
    for phase, kinds in memory.phases.items():
        less = {kind: round(b * factors.get(kind, 1)) for kind, b in kinds.items()}
        phases[phase] = less | states
    return Memory(phases, memory.notes)


FOLLOW = ("gradients", "optimizer", "master weights")
"""Kinds that only numbers that train have."""
