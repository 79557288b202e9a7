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
from ..nn.routers import Router
from ..nn.sites import Adapted, Attachment
from ..nn.wirings import Wiring

Pattern = str | Sequence[str]

ALL = "all"
"""The pattern of every linear map of the blocks."""

# fmt: off
PUBLISHED = {
    "q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "o", "out_proj": "o", "q_lin": "q", "k_lin": "k",
    "v_lin": "v", "out_lin": "o", "query": "q", "key": "k", "value": "v", "c_attn": "{q,k,v}", "qkv_proj": "{q,k,v}",
    "query_key_value": "{q,k,v}", "Wqkv": "{q,k,v}", "in_proj": "{q,k,v}", "c_proj": "{o,down}",
    "dense": "{o,up,down}", "gate_proj": "gate", "up_proj": "up", "down_proj": "down", "gate_up_proj": "{gate,up}",
    "c_fc": "up", "fc1": "up", "fc2": "down", "fc_in": "up", "fc_out": "down", "lin1": "up", "lin2": "down",
    "dense_h_to_4h": "up", "dense_4h_to_h": "down", "wi": "up", "wi_0": "gate", "wi_1": "up", "wo": "down",
    "w1": "gate", "w2": "down", "w3": "up", "all-linear": ALL,
}
# fmt: on
"""Names of linear maps in published checkpoints, and ours."""


def targets(model: Model, pattern: Pattern) -> dict[str, Map]:
    """The linear maps whose names one of the patterns fits, adapted ones as such, in the order of the model.

    A pattern fits the whole dotted name or its end: ``q``, ``blocks.*.{q,v}``, ``blocks.0.*``; ``*`` is anything.
    ``all`` is every linear map of the blocks, but for routers.
    Raises: ConfigError with the nearest names if a pattern fits none.
    """
    maps, wanted = linear_maps(model), [pattern] if isinstance(pattern, str) else pattern
    if not isinstance(wanted, Sequence) or not wanted or not all(isinstance(one, str) for one in wanted):
        raise ConfigError(f"adapter: at is the name of linear maps, or a list of names, found {pattern!r}")
    found: set[str] = set()
    for one in wanted:
        fitting = _within(model) & set(maps) if one == ALL else {name for name in maps if fits(name, one)}
        if not fitting:
            raise ConfigError(f"adapter: no linear map is named like {one!r}; {nearest(one, list(maps))}")
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


def _within(model: Model) -> set[str]:
    """Names of all that lies in blocks, but for what scores experts."""
    names = dict(model.named_modules())
    blocks = tuple(f"{name}." for name, part in names.items() if isinstance(part, Wiring))
    routers = tuple(f"{name}." for name, part in names.items() if isinstance(part, Router))
    return {name for name in names if name.startswith(blocks) and not name.startswith(routers)}


def _expanded(pattern: str) -> list[str]:
    """``blocks.*.{q,v}`` → ``blocks.*.q``, ``blocks.*.v``."""
    pieces = re.split(r"(\{[^{}]*\})", pattern)
    choices = [piece[1:-1].split(",") if piece.startswith("{") else [piece] for piece in pieces]
    return ["".join(choice) for choice in itertools.product(*choices)]


def nearest(pattern: str, names: list[str]) -> str:
    """What may have been meant: our names for published ones, else those spelled alike."""
    wanted = [one.rpartition(".")[2] for one in _expanded(pattern)]
    if known := [f"{one} is called {PUBLISHED[one]} here" for one in wanted if one in PUBLISHED]:
        return ", ".join(known)
    ends = sorted({name.rpartition(".")[2] for name in names})
    near = list(dict.fromkeys(hit for one in wanted for hit in difflib.get_close_matches(one, ends, 3, 0.3)))
    example = [name for name in names if not near or name.rpartition(".")[2] == near[0]][:1]
    return f"the nearest are {near or ends}" + "".join(f", for example {name!r}" for name in example)
