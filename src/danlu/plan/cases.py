"""Published figures held against the calculators: which calculator answers which kind, and whether it holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.errors import ConfigError, unknown
from ..core.files import read_json
from .answers import ANSWERS
from .figures import Inputs


def answer(kind: str, inputs: Inputs) -> Any:
    """What the calculator of a kind says; raises ConfigError for an unknown kind or an input that is missing."""
    if kind not in ANSWERS:
        raise unknown("kind of published figure", kind, list(ANSWERS))
    try:
        return ANSWERS[kind](inputs)
    except KeyError as missing:
        raise ConfigError(f"{kind}: the input {missing} is missing") from None


@dataclass(frozen=True)
class Held:
    """A published figure beside ours."""

    name: str
    expected: Any
    found: Any
    holds: bool


def held(case: Mapping[str, Any]) -> Held:
    """A case {"kind", "inputs", "expected", "tolerance": {"rel" | "abs" | "exact"}} held against its calculator."""
    found, expected, allowed = answer(case["kind"], case["inputs"]), case["expected"], case.get("tolerance", {})
    return Held(case.get("name", case["kind"]), expected, found, _near(found, expected, allowed))


def hold_all(path: str | Path) -> list[Held]:
    """Every case of a JSON list that is not marked doubtful; those of unknown kinds raise ConfigError."""
    cases = read_json(path, "published cases")
    if not isinstance(cases, list) or not all(isinstance(case, dict) and "kind" in case for case in cases):
        raise ConfigError(f"{path}: expected a list of cases with kind, inputs and expected")
    return [held(case) for case in cases if not case.get("doubtful")]


def _near(found: Any, expected: Any, allowed: Mapping[str, float]) -> bool:
    if isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(_near(f, e, allowed) for f, e in zip(found, expected, strict=True))
    if isinstance(expected, bool):
        return found is expected
    rounding = 1e-12 * abs(expected)
    return abs(found - expected) <= allowed.get("rel", 0) * abs(expected) + allowed.get("abs", 0) + rounding
