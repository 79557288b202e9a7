"""GPT-2."""

from __future__ import annotations

from typing import Any

from ...core.errors import ConfigError
from ...core.spec import Spec
from ...nn.dims import Dims
from ..published import Settings
from ..recipe import Recipe
from ..weights import Entry
from . import Published, family
from .sizes import plain

PLAIN: dict[str, Spec] = {
    "gelu_new": Spec("gelu", {"bias": True, "tanh": True}),
    "gelu_pytorch_tanh": Spec("gelu", {"bias": True, "tanh": True}),
    "gelu": Spec("gelu", {"bias": True}),
    "relu": Spec("relu", {"bias": True}),
}
"""activation_function → the feed-forward that uses it."""


def read(settings: Settings) -> Recipe:
    """Learned positions, LayerNorm, biases everywhere."""
    settings.require("scale_attn_weights", True, "scores are always divided by sqrt(head)")
    settings.require("scale_attn_by_inverse_layer_idx", False, "scores are not divided by the layer's number")
    settings.require("add_cross_attention", False, "a decoder here has no encoder")
    settings.take("reorder_and_upcast_attn", False)  # rounding only
    width = settings.need("n_embd", int)
    dims = Dims(
        vocab=settings.need("vocab_size", int),
        model=width,
        layers=settings.need("n_layer", int),
        heads=settings.need("n_head", int),
        context=settings.need("n_positions", int),
        ffn=settings.take("n_inner", 4 * width),
    )
    act = settings.take("activation_function", "gelu_new")
    if act not in PLAIN:
        raise settings.refusal("activation_function", f"there are {', '.join(sorted(PLAIN))}")
    eps, dropout = settings.take("layer_norm_epsilon", 1e-5), settings.take("resid_pdrop", 0.1)
    std, tied = settings.take("initializer_range", 0.02), settings.take("tie_word_embeddings", True)
    return _recipe(dims, PLAIN[act], eps, dropout, std, tied)


def _recipe(dims: Dims, ffn: Spec, eps: float, dropout: float, std: float, tied: bool) -> Recipe:
    return Recipe(
        dims=dims, family="gpt2", position=Spec("learned"), norm=Spec("layer", {"eps": eps}), ffn=ffn,
        bias=True, out_bias=True, tied=tied, dropout=dropout, std=std,
    )  # fmt: skip


def write(recipe: Recipe) -> dict[str, Any]:
    """GPT-2's config.json."""
    dims = recipe.dims
    act = next((act for act, spec in PLAIN.items() if spec == recipe.ffn), None)
    eps = recipe.norm.settings.get("eps", 1e-5)
    if act is None or recipe != _recipe(dims, recipe.ffn, eps, recipe.dropout, recipe.std, recipe.tied):
        raise ConfigError("gpt2 cannot be published with other parts than its own; save the model as family decoder")
    if dims.kv_heads != dims.heads or dims.head * dims.heads != dims.model:
        raise ConfigError("gpt2 has as many kv_heads as heads, of model / heads channels; save it as family decoder")
    return {
        "vocab_size": dims.vocab,
        "n_positions": dims.context,
        "n_embd": dims.model,
        "n_layer": dims.layers,
        "n_head": dims.heads,
        "n_inner": dims.ffn,
        "activation_function": act,
        "layer_norm_epsilon": eps,
        "resid_pdrop": recipe.dropout,
        "embd_pdrop": recipe.dropout,
        "attn_pdrop": 0.0,
        "initializer_range": recipe.std,
        "tie_word_embeddings": recipe.tied,
    }


def names(recipe: Recipe) -> list[Entry]:
    """GPT-2 keeps linear weights as (in, out) and queries, keys and values in one tensor."""
    entries = [_entry("wte.weight", "embed.weight"), _entry("wpe.weight", "position.table.weight")]
    for kind in ("weight", "bias"):
        entries.append(_entry(f"ln_f.{kind}", f"norm.{kind}"))
        for layer in range(recipe.dims.layers):
            ours = f"blocks.{layer}"
            entries += [
                _entry(f"h.{layer}.ln_1.{kind}", f"{ours}.norms.attention.{kind}"),
                _entry(f"h.{layer}.ln_2.{kind}", f"{ours}.norms.ffn.{kind}"),
                _entry(
                    f"h.{layer}.attn.c_attn.{kind}", *(f"{ours}.sublayers.attention.{x}.{kind}" for x in "qkv"), t=True
                ),
                _entry(f"h.{layer}.attn.c_proj.{kind}", f"{ours}.sublayers.attention.o.{kind}", t=True),
                _entry(f"h.{layer}.mlp.c_fc.{kind}", f"{ours}.sublayers.ffn.up.{kind}", t=True),
                _entry(f"h.{layer}.mlp.c_proj.{kind}", f"{ours}.sublayers.ffn.down.{kind}", t=True),
            ]
    return entries + ([] if recipe.tied else [Entry("lm_head.weight", ("head.weight",))])


def _entry(name: str, *ours: str, t: bool = False) -> Entry:
    return Entry(f"transformer.{name}", ours, transposed=t, aliases=(name,))


FORMULA = "(V·(2 - tied) + C)·M + L·(4·M² + 2·M·F + 9·M + F) + 2·M"


@family("gpt2", Published("gpt2", "GPT2LMHeadModel", read, write, names), plain, FORMULA)
def gpt2(dims: Dims, *, dropout: float = 0.0, tied: bool = True) -> Recipe:
    """LayerNorm before each sublayer, learned positions, a GELU feed-forward, biases everywhere, tied embeddings.

    x ← x + attention(ln(x));  x ← x + W_2 gelu(W_1 ln(x));  x_0 = E[token] + P[position]
    Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", §2.3.
    Truth:  tests/parity/test_families_gpt2.py (logits and gradients of transformers).
    """
    return _recipe(dims, PLAIN["gelu_new"], 1e-5, dropout, 0.02, tied)
