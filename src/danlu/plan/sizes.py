"""How many parameters, by kind: counted on the model itself, built without memory."""

from __future__ import annotations

import json
from dataclasses import dataclass

from torch import nn

from ..models import Architecture, on_meta
from ..nn.attention import Attends
from ..nn.cells import Cell
from ..nn.ffns.moe_product import Stacked
from ..nn.model import Model
from ..nn.wirings import Wiring

KINDS: tuple[str, ...] = ("embedding", "attention", "ffn", "norms", "head", "other")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Parameters by kind, each counted once; a tied head counts as embedding, shared layers count once.

    ``block`` is the largest block's parameters, ``distinct`` how many blocks have parameters of their own.
    ``block_weights`` are the weights that a token meets in matrix products, of all blocks together divided by
    ``dims.layers``: of a mixture's experts only those it visits, of an encoder-decoder those of both sides.
    ``head_weights`` are those between hidden states and logits, tied or not; ``attentions`` counts sublayers of it.
    """

    kinds: dict[str, int]
    block: int
    distinct: int
    block_weights: int
    head_weights: int
    attentions: int
    active: int
    """Parameters that take part in one token: all but the experts that it does not visit."""

    @property
    def total(self) -> int:
        return sum(self.kinds.values())

    @property
    def without_embedding(self) -> int:
        """The N of Kaplan's laws."""
        return self.total - self.kinds["embedding"] - self.kinds["head"]


def parameters(recipe: Architecture) -> Sizes:
    """Exact by construction: the real model is built on the meta device and its parameters are counted.

    Truth: tests/truth/test_parameter_counts.py (published configurations); tests/truth/test_plan_sizes.py (by hand).
    """
    key = json.dumps(recipe.write(), sort_keys=True)
    if key not in _counted:
        _counted[key] = _count(on_meta(recipe))
    return _counted[key]


_counted: dict[str, Sizes] = {}  # a plan asks for the same recipe a dozen times


def _count(model: Model) -> Sizes:
    kinds: dict[str, int] = dict.fromkeys(KINDS, 0)
    seen: set[int] = set()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) not in seen:
            seen.add(id(parameter))
            kinds[_kind(name, model)] += parameter.numel()
    blocks = [module for module in model.modules() if isinstance(module, (Wiring, Cell))]
    first = {id(next(block.parameters())) for block in blocks}
    idle = {id(part): part for part in model.modules() if isinstance(part, Stacked)}
    return Sizes(
        kinds=kinds,
        block=max(sum(p.numel() for p in block.parameters()) for block in blocks),
        distinct=len(first),
        block_weights=round(sum(map(_met, blocks)) / model.dims.layers),
        head_weights=_met(model.head),
        attentions=sum(isinstance(module, Attends) for module in model.modules()),
        active=sum(kinds.values()) - round(sum(_idle(part) for part in idle.values())),
    )


def _met(module: nn.Module) -> int:
    """Weights of the matrices that one token meets in it."""
    met = 0.0
    for part in module.modules():
        share = part.met if isinstance(part, Stacked) else 1.0
        matrices = 3 if isinstance(part, Stacked) else 2
        own = [p for p in part.parameters(recurse=False) if p.ndim == matrices]
        met += 0 if isinstance(part, nn.Embedding) else share * sum(p.numel() for p in own)
    return round(met)


def _idle(part: Stacked) -> float:
    """Parameters of the experts that a token does not visit."""
    return (1 - part.met) * sum(p.numel() for p in part.parameters())


def _kind(name: str, model: nn.Module) -> str:
    """By the place of its module; the way from narrow token vectors to the model's width belongs to the embedding."""
    owner = model.get_submodule(name.rpartition(".")[0]) if "." in name else model
    places = name.split(".")
    if "head" in places:
        return "head"
    if isinstance(owner, nn.Embedding) or {"position", "widen", "patches"}.intersection(places):
        return "embedding"
    if "norm" in name:
        return "norms"
    return next((kind for kind, rooms in ROOMS.items() if rooms.intersection(places)), "other")


ROOMS = {"attention": {"attention", "cross"}, "ffn": {"ffn"}}
"""Where in a block the weights of a kind are."""


def gpt2_parameters(*, layers: int, model: int, vocab: int, context: int) -> int:
    """The closed form for GPT-2: l·(12·d² + 13·d) + V·d + S·d + 2·d, with learned positions and a final norm.

    Source: Narayanan et al. 2021, arXiv:2104.04473, eq. 2 (V + S in one term); Radford et al. 2019.
    Truth:  tests/truth/test_plan_sizes.py (GPT-2 124,439,808; GPT-3 174,604,259,328; the model on meta).
    """
    return layers * (12 * model**2 + 13 * model) + (vocab + context) * model + 2 * model
