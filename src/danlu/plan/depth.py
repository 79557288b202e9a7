"""Deep models from shallow ones: blocks repeat, so what a step holds grows by the same bytes with each."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from ..models import Recipe
from .trace import Moments, Place

LEAST = 3  # blocks: the first, the last, and one between them


def depths(recipe: Recipe) -> tuple[int, int] | None:
    """Two depths from which a stack's own can be told; None where it is no deeper, or layers share weights.

    They hold its pattern of masks whole: the last layer has the mask that it has in the deep model.
    """
    layers, period = recipe.dims.layers, len(recipe.masks)
    less = next(n for n in count(max(LEAST, period)) if (layers - n) % period == 0)
    return None if recipe.distinct or less + period >= layers else (less, less + period)


def shallow(recipe: Recipe, layers: int) -> Recipe:
    """The same stack with fewer blocks."""
    return replace(recipe, dims=replace(recipe.dims, layers=layers))


def deepened(less: Moments, more: Moments, times: int) -> Moments:
    """The moments of a model as much deeper than ``more`` as ``times`` - 1 steps from ``less`` to ``more``.

    bytes(moment, kind) = less + times · (more - less), of the moments of the first half told from their phase's
    beginning and of the second from its end: between them every block is like its neighbors, so one of these is the
    dearest.

    Truth: tests/truth/test_plan_depth.py (the deep model traced whole).
    """
    found: Moments = {}
    for phase in dict.fromkeys(phase for phase, _ in less):
        parts, deep = _parts(less, phase), _parts(more, phase)
        half = (len(parts) + 1) // 2
        for at in (*range(half), *range(-half, 0)):
            found[phase, at] = _grown(less[parts[at]], more[deep[at]], times)
    return found


def _parts(moments: Moments, phase: str) -> list[Place]:
    return sorted(place for place in moments if place[0] == phase)


def _grown(less: dict[str, int], more: dict[str, int], times: int) -> dict[str, int]:
    kinds = dict.fromkeys([*less, *more])
    grown = {kind: less.get(kind, 0) + times * (more.get(kind, 0) - less.get(kind, 0)) for kind in kinds}
    return {kind: bytes_ for kind, bytes_ in grown.items() if bytes_ > 0}
