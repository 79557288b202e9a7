"""Mixtral: Mistral whose feed-forward is a mixture of experts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...core.errors import ConfigError
from ...core.spec import Spec
from ...nn.dims import Dims
from ..published import Settings
from ..recipe import SWIGLU, Recipe
from ..weights import Entry, Slice
from . import Published, family
from .llama_like import SLOW_ROPE, body, settings_of, window_of, windowed
from .llama_like import names as llama_names
from .sizes import gated

ACTS = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu"}
"""hidden_act → the kind of expert that uses it."""
MAPS = (("w1", "gate"), ("w3", "up"), ("w2", "down"))


def read(settings: Settings) -> Recipe:
    """Experts are balanced in training by ``router_aux_loss_coef``, whatever ``output_router_logits`` says."""
    act = settings.take("hidden_act", "silu")
    if act not in ACTS:
        raise settings.refusal("hidden_act", f"experts have {', '.join(sorted(ACTS))}")
    settings.take("output_router_logits", False)
    recipe = body(settings.assuming("rms_norm_eps", 1e-5), "mixtral")
    size = settings.take("sliding_window", 0)
    ffn = _experts(
        settings.take("num_local_experts", 8),
        settings.take("num_experts_per_tok", 2),
        settings.take("router_aux_loss_coef", 0.001),
        ACTS[act],
    )
    return replace(recipe, ffn=ffn, masks=(windowed(size) if size else Spec("causal"),))


def _experts(experts: int, k: int, balance: float, expert: str = "swiglu") -> Spec:
    router = {"use": "top_k", "k": k, "balance": balance, "pooled": True}
    return Spec("moe", {"experts": experts, "expert": expert, "router": router})


def write(recipe: Recipe) -> dict[str, Any]:
    """Mixtral's config.json; what only matters in training (capacity, dropout, frozen experts) it cannot say."""
    given = recipe.ffn.settings
    router = Spec.read(given.get("router", "top_k"))
    act = next((act for act, expert in ACTS.items() if expert == given.get("expert", "swiglu")), None)
    plain = router.use == "top_k" and router.settings.get("renormalize", True)
    if recipe.ffn.use != "moe" or not plain or act is None or given.get("shared") or given.get("bias"):
        raise ConfigError(
            "mixtral has gated experts without biases, none of them shared, behind the router top_k, which "
            "renormalizes; save the model as family decoder"
        )
    sizes = {window_of(mask) for mask in recipe.masks}
    if len(sizes) > 1 or recipe.bias or recipe.out_bias or recipe.head_norm:
        raise ConfigError("mixtral has one kind of mask and no biases or norms in attention; save it as family decoder")
    balance = router.settings.get("balance", 0.01)
    return {
        **settings_of(replace(recipe, ffn=SWIGLU)),
        "hidden_act": act,
        "sliding_window": sizes.pop(),
        "num_local_experts": given.get("experts", 8),
        "num_experts_per_tok": router.settings.get("k", 2),
        "router_aux_loss_coef": balance,
        "output_router_logits": balance > 0,
    }


def names(recipe: Recipe) -> list[Entry]:
    """Every expert is published by itself."""
    given = recipe.ffn.settings
    number, still = given.get("experts", 8), sorted(given.get("frozen", ()))
    moving = [expert for expert in range(number) if expert not in still]
    entries = [entry for entry in llama_names(recipe) if ".mlp." not in entry.name]
    for layer in range(recipe.dims.layers):
        ours, theirs = f"blocks.{layer}.sublayers.ffn", f"model.layers.{layer}.block_sparse_moe"
        entries.append(Entry(f"{theirs}.gate.weight", (f"{ours}.router.gate.weight",)))
        for part, rows in (("weight", moving), ("frozen", still)):
            entries += [
                Slice(f"{theirs}.experts.{expert}.{their}.weight", (f"{ours}.{our}.{part}",), at=row)
                for row, expert in enumerate(rows)
                for their, our in MAPS
            ]
    return entries


@family(
    "mixtral",
    Published("mixtral", "MixtralForCausalLM", read, write, names),
    gated,
    formula="(2 - tied)·V·M + L·(2·M·D·(H + K) + ffn.experts·(3·M·F + M) + 2·M) + M",
)
def mixtral(
    dims: Dims,
    *,
    experts: int = 8,
    k: int = 2,
    balance: float = 0.02,
    position: Spec | str | dict = SLOW_ROPE,
    eps: float = 1e-5,
    window: int = 0,
    tied: bool = False,
) -> Recipe:
    """LLaMA with ``experts`` feed-forwards a layer, of which each token visits the ``k`` that its router prefers.

    x ← x + attention(rms(x));  x ← x + Σ_e softmax_k(W rms(x))_e swiglu_e(rms(x));  ``ffn`` is the width of one expert
    Source: Jiang et al. 2024, arXiv:2401.04088, §2.1.
    Truth:  tests/parity/test_families_mixtral.py (logits, gradients and balance of transformers).
    """
    return Recipe(
        dims=dims,
        family="mixtral",
        position=Spec.read(position),
        norm=Spec("rms", {"eps": eps}),
        ffn=_experts(experts, k, balance),
        masks=(windowed(window) if window else Spec("causal"),),
        tied=tied,
    )
