"""How many parameters, by kind: counted on the model itself, built without memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..models import Recipe, on_meta

KINDS: tuple[str, ...] = ("embedding", "attention", "ffn", "norms", "head", "other")


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Parameters by kind, each counted once; a tied head counts as embedding.

    ``block`` is one block's parameters, ``block_weights`` those of its matrices (what meets a matrix product),
    ``head_weights`` the matrix between hidden states and logits, tied or not.
    """

    kinds: dict[str, int]
    block: int
    block_weights: int
    head_weights: int

    @property
    def total(self) -> int:
        return sum(self.kinds.values())

    @property
    def without_embedding(self) -> int:
        """The N of Kaplan's laws."""
        return self.total - self.kinds["embedding"] - self.kinds["head"]


def parameters(recipe: Recipe) -> Sizes:
    """Exact by construction: the real model is built on the meta device and its parameters are counted.

    Truth: tests/truth/test_plan_sizes.py (published counts of LLaMA, Qwen, Mistral and GPT-2; the closed form).
    """
    key = json.dumps(recipe.write(), sort_keys=True)
    if key not in _counted:
        _counted[key] = _count(on_meta(recipe))
    return _counted[key]


_counted: dict[str, Sizes] = {}  # a plan asks for the same recipe a dozen times


def _count(model: Any) -> Sizes:
    kinds: dict[str, int] = dict.fromkeys(KINDS, 0)
    seen: set[int] = set()
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if id(parameter) not in seen:
            seen.add(id(parameter))
            kinds[_kind(name, model)] += parameter.numel()
    block = list(model.blocks[0].parameters())
    return Sizes(
        kinds=kinds,
        block=sum(p.numel() for p in block),
        block_weights=sum(p.numel() for p in block if p.ndim == 2),
        head_weights=sum(p.numel() for p in model.head.parameters() if p.ndim == 2),
    )


def _kind(name: str, model: nn.Module) -> str:
    owner = model.get_submodule(name.rpartition(".")[0]) if "." in name else model
    if name.startswith("head."):
        return "head"
    if isinstance(owner, nn.Embedding) or name.startswith(("embed.", "position.")):
        return "embedding"
    if "norm" in name:
        return "norms"
    return next((kind for kind in ("attention", "ffn") if f".{kind}." in name), "other")


def gpt2_parameters(*, layers: int, model: int, vocab: int, context: int) -> int:
    """The closed form for GPT-2: l·(12·d² + 13·d) + V·d + S·d + 2·d, with learned positions and a final norm.

    Source: Narayanan et al. 2021, arXiv:2104.04473, eq. 2 (V + S in one term); Radford et al. 2019.
    Truth:  tests/truth/test_plan_sizes.py (GPT-2 124,439,808; GPT-3 174,604,259,328; the model on meta).
    """
    return layers * (12 * model**2 + 13 * model) + (vocab + context) * model + 2 * model
