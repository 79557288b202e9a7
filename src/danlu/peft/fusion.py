"""Several trained adapters, weighed token by token."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from ..core.errors import CheckpointError, ConfigError
from ..core.spec import Spec
from ..nn.linear import Linear
from ..nn.model import Model
from ..nn.sites import Branch, Site
from . import ADAPTERS, Adapter
from .attached import switch_of
from .branches import numbers_of
from .members import Member, Sources, members, placed

STD = 0.02


class Fused(Branch):
    """What members answer, attended to by what the sublayer answered; members are frozen and act as in evaluation."""

    def __init__(self, model: int, parts: Mapping[str, Branch]) -> None:
        super().__init__()
        self.members = nn.ModuleDict(parts).requires_grad_(False).eval()
        self.query, self.key, self.value = (Linear(model, model, axes=("model", "model")) for _ in range(3))
        for drawn in (self.query, self.key):
            nn.init.normal_(drawn.weight, std=STD)
        nn.init.eye_(self.value.weight)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        self.members.eval()
        return self

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        z = torch.stack([member(x, y) for member in self.members.values()], -2)  # (B, T, N, M)
        scores = (self.key(z) @ self.query(y)[..., None]).squeeze(-1)  # (B, T, N)
        weights = torch.softmax(scores, -1, torch.promote_types(scores.dtype, torch.float32)).to(z.dtype)
        return self.value((weights[..., None, :] @ z).squeeze(-2))


@ADAPTERS.add("fusion")
class Fusion(Adapter):
    """Learns, token by token, how much to take of each of several adapters that were trained apart and stay frozen.

    s = softmax_n((W_q y) · (W_k z_n));  y ← W_v Σ_n s_n z_n,  z_n: what adapter n makes of y;  W_q, W_k, W_v: (M, M),
    W_v = 1 at the start. ``adapters`` gives each a name and its folder (a run, or its final/); in Python also a list
    of names of adapters that are attached. What is saved holds the members too: their folders are read once.

    Trains 3 · M² numbers a sublayer that any of them acts on.
    Raises: ConfigError for fewer than two adapters, or those that do not act on sublayers; CheckpointError for
    adapters of different bases.
    Source: Pfeiffer et al. 2020, arXiv:2005.00247, §3.2 (softmax over adapters; value matrix near identity).
    Truth:  tests/truth/test_peft_fusion.py (softmax and sum by hand in float64; members untouched by training).
    """

    exact_start = False
    example: ClassVar[dict[str, Any]] = {"adapters": {"a": {"use": "pfeiffer"}, "b": {"use": "houlsby"}}}

    def __init__(self, *, adapters: Sources) -> None:
        if len(adapters) < 2 or isinstance(adapters, str):
            raise ConfigError(
                f"adapter fusion: adapters are two or more trained ones, {{name: folder, …}}, found {adapters!r}"
            )
        if odd := [name for name in adapters if not re.fullmatch(r"\w[\w-]*", name)]:
            raise ConfigError(f"adapter fusion: names of adapters have letters, digits, - and _, found {odd[0]!r}")
        self.adapters = adapters
        self.members: list[Member] = []

    def place(self, model: Model, name: str) -> None:
        found = members(model, self.adapters)
        self.members = [replace(member, state=None) for member in found]
        parts: dict[str, dict[str, Branch]] = {}
        for member in found:
            for place, part in placed(model, member).items():
                parts.setdefault(place, {})[member.name] = part
        like = numbers_of(model)
        for place, acting in parts.items():
            site = cast(Site, model.get_submodule(place))
            site.hang(name, Fused(model.dims.model, acting).to(like.device, like.dtype), switch_of(model))

    def check(self, base: str) -> None:
        if base and (odd := [member for member in self.members if member.base not in ("", base)]):
            raise CheckpointError(
                f"{odd[0].where}: this adapter was trained on another base than the one it is to be fused on; give the "
                "base it belongs to"
            )

    def settled(self, spec: Spec) -> Spec:
        """Members by their settings: their numbers are saved with the whole."""
        named = {member.name: member.spec.write() for member in self.members}
        return Spec(spec.use, {**spec.settings, "adapters": named})
