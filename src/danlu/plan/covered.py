"""What a plan leaves out, said beside its figures."""

from __future__ import annotations

from .footprint import step_of
from .work import Work


def left_out(work: Work) -> tuple[str, ...]:
    """A sentence for each part of the step that no formula counts."""
    said = step_of(work).left_out
    return (said,) if said else ()
