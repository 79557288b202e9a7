"""Which linear maps of a model a pattern means."""

from __future__ import annotations

import difflib
import fnmatch
import itertools
import re
from collections.abc import Sequence

from torch import nn

from ..core.errors import ConfigError
from ..nn.linear import Map
from ..nn.model import Model
from ..nn.sites import Adapted, Attachment

Pattern = str | Sequence[str]


def targets(model: Model, pattern: Pattern) -> dict[str, Map]:
    """The linear maps whose names one of the patterns fits, adapted ones as such, in the order of the model.

    A pattern fits the whole dotted name or its end: ``q``, ``blocks.*.{q,v}``, ``blocks.0.*``; ``*`` is anything.
    Raises: ConfigError with the nearest names if a pattern fits none.
    """
    maps = linear_maps(model)
    found: dict[str, Map] = {}
    for one in [pattern] if isinstance(pattern, str) else pattern:
        fitting = {name: part for name, part in maps.items() if fits(name, one)}
        if not fitting:
            raise ConfigError(f"adapter: no linear map is named like {one!r}; {_near(one, list(maps))}")
        found |= fitting
    return {name: part for name, part in maps.items() if name in found}


def linear_maps(model: Model) -> dict[str, Map]:
    """Every linear map of the model itself, by the name it has without adapters."""
    found: dict[str, Map] = {}

    def walk(module: nn.Module, prefix: str) -> None:
        for name, child in module.named_children():
            if isinstance(child, Attachment):
                continue
            if isinstance(child, Map):
                found[prefix + name] = child
            if not isinstance(child, Adapted):
                walk(child, f"{prefix}{name}.")

    walk(model, "")
    return found


def fits(name: str, pattern: str) -> bool:
    """Whether a pattern means a dotted name, or the end of it."""
    return any(fnmatch.fnmatchcase(name, one) or fnmatch.fnmatchcase(name, f"*.{one}") for one in _expanded(pattern))


def _expanded(pattern: str) -> list[str]:
    """``blocks.*.{q,v}`` → ``blocks.*.q``, ``blocks.*.v``."""
    pieces = re.split(r"(\{[^{}]*\})", pattern)
    choices = [piece[1:-1].split(",") if piece.startswith("{") else [piece] for piece in pieces]
    return ["".join(choice) for choice in itertools.product(*choices)]


def _near(pattern: str, names: list[str]) -> str:
    ends = sorted({name.rpartition(".")[2] for name in names})
    wanted = [one.rpartition(".")[2] for one in _expanded(pattern)]
    near = list(dict.fromkeys(hit for one in wanted for hit in difflib.get_close_matches(one, ends, 3, 0.3)))
    return f"the nearest are {near or ends}, for example {names[0]!r}"
