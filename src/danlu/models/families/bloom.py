"""BLOOM."""

from __future__ import annotations

from typing import Any

from ...core.errors import ConfigError
from ...core.spec import Spec
from ...nn.dims import Dims
from ..published import Settings
from ..recipe import Recipe
from ..weights import ByHead, Entry
from . import Published, family

FFN = Spec("gelu", {"bias": True, "tanh": True})
ROUNDING = (
    "attention_softmax_in_fp32", "bias_dropout_fusion", "masked_softmax_fusion", "offset_alibi", "skip_bias_add",
    "skip_bias_add_qkv", "slow_but_exact",
)  # fmt: skip
"""Settings of the program that trained it; they change no more than the last digit."""


def read(settings: Settings) -> Recipe:
    """ALiBi, a norm on embeddings, biases everywhere; sizes go by old names and new ones."""
    settings.require("apply_residual_connection_post_layernorm", False, "the residual stream is not normalized here")
    for key in ROUNDING:
        settings.take(key, None)
    for new, old in (("hidden_size", "n_embed"), ("n_layer", "num_hidden_layers"), ("n_head", "num_attention_heads")):
        settings = settings.assuming(new, settings.take(old, None))
    width = settings.need("hidden_size", int)
    dims = Dims(
        vocab=settings.need("vocab_size", int),
        model=width,
        layers=settings.need("n_layer", int),
        heads=settings.need("n_head", int),
        context=settings.take("seq_length", 2048),
    )
    settings.require("n_inner", 4 * width, "its feed-forward is four times as wide as the model")
    eps, dropout = settings.take("layer_norm_epsilon", 1e-5), settings.take("hidden_dropout", 0.0)
    std, tied = settings.take("initializer_range", 0.02), settings.take("tie_word_embeddings", True)
    return _recipe(dims, eps, dropout, std, tied)


def _recipe(dims: Dims, eps: float, dropout: float, std: float, tied: bool) -> Recipe:
    norm = Spec("layer", {"eps": eps})
    return Recipe(
        dims=dims, family="bloom", position=Spec("alibi"), norm=norm, embed_norm=norm, ffn=FFN,
        bias=True, out_bias=True, tied=tied, dropout=dropout, std=std,
    )  # fmt: skip


def write(recipe: Recipe) -> dict[str, Any]:
    """BLOOM's config.json; ``seq_length`` is not read by transformers, as ALiBi has no longest row."""
    dims, eps = recipe.dims, recipe.norm.settings.get("eps", 1e-5)
    if recipe != _recipe(dims, eps, recipe.dropout, recipe.std, recipe.tied):
        raise ConfigError("bloom cannot be published with other parts than its own; save the model as family decoder")
    if dims.kv_heads != dims.heads or dims.head * dims.heads != dims.model or dims.ffn != 4 * dims.model:
        raise ConfigError(
            "bloom has as many kv_heads as heads, of model / heads channels, and ffn = 4 · model; save it as decoder"
        )
    return {
        "vocab_size": dims.vocab,
        "hidden_size": dims.model,
        "n_layer": dims.layers,
        "n_head": dims.heads,
        "seq_length": dims.context,
        "layer_norm_epsilon": eps,
        "hidden_dropout": recipe.dropout,
        "attention_dropout": 0.0,
        "initializer_range": recipe.std,
        "tie_word_embeddings": recipe.tied,
        "apply_residual_connection_post_layernorm": False,
    }


def names(recipe: Recipe) -> list[Entry]:
    """Queries, keys and values lie in one tensor, head by head; older files lack the prefix."""
    pairs = {"word_embeddings": "embed", "word_embeddings_layernorm": "embed_norm", "ln_f": "norm"}
    for layer in range(recipe.dims.layers):
        pairs |= {f"h.{layer}.{theirs}": f"blocks.{layer}.{ours}" for theirs, ours in LAYER.items()}
    entries: list[Entry] = []
    for kind in ("weight", "bias"):
        entries += [_entry(f"{theirs}.{kind}", f"{ours}.{kind}") for theirs, ours in pairs.items()]
        for layer in range(recipe.dims.layers):
            ours = tuple(f"blocks.{layer}.sublayers.attention.{part}.{kind}" for part in "qkv")
            name = f"h.{layer}.self_attention.query_key_value.{kind}"
            entries.append(ByHead(f"transformer.{name}", ours, aliases=(name,), heads=recipe.dims.heads))
    return entries + ([] if recipe.tied else [Entry("lm_head.weight", ("head.weight",))])


def _entry(name: str, ours: str) -> Entry:
    return Entry(f"transformer.{name}", (ours,), aliases=(name,))


LAYER = {
    "input_layernorm": "norms.attention",
    "post_attention_layernorm": "norms.ffn",
    "self_attention.dense": "sublayers.attention.o",
    "mlp.dense_h_to_4h": "sublayers.ffn.up",
    "mlp.dense_4h_to_h": "sublayers.ffn.down",
}


def sizes(*, vocab: int, model: int, layers: int, heads: int, context: int) -> Dims:
    """As many keys as queries, heads that share the width evenly, ffn = 4 · model."""
    return Dims(vocab=vocab, model=model, layers=layers, heads=heads, context=context)


@family(
    "bloom",
    Published("bloom", "BloomForCausalLM", read, write, names),
    sizes,
    formula="(2 - tied)·V·M + L·(12·M² + 13·M) + 4·M",
)
def bloom(dims: Dims, *, dropout: float = 0.0, tied: bool = True) -> Recipe:
    """Scores that fall with the distance instead of positions, a norm on embeddings, biases everywhere.

    x_0 = ln(E[token]);  x ← x + attention(ln(x)) with ALiBi;  x ← x + W_2 gelu(W_1 ln(x))
    Source: Scao et al. 2022, arXiv:2211.05100, §3.2.
    Truth:  tests/parity/test_families_bloom.py (logits and gradients of transformers).
    """
    return _recipe(dims, 1e-5, dropout, 0.02, tied)
