"""T5, in its first form and as version 1.1."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...core.errors import ConfigError
from ...core.spec import Spec
from ...nn.dims import Dims
from ..forms.encdec import EncDecRecipe
from ..published import Settings
from ..recipe import REFERENCE, SDPA, Recipe
from ..weights import Entry
from . import Published, family

FFN: dict[str, Spec] = {
    "relu": Spec("relu"),
    "gated-gelu": Spec("geglu", {"tanh": True}),
    "gated-silu": Spec("swiglu"),
}
"""feed_forward_proj → the feed-forward that uses it."""
MAPS = {"relu": {"wi": "up"}, "gated-gelu": {"wi_0": "gate", "wi_1": "up"}}
MAPS["gated-silu"] = MAPS["gated-gelu"]
"""feed_forward_proj → published names of the maps that widen, and ours."""


def read(settings: Settings) -> EncDecRecipe:
    """``context`` is n_positions, the length of training; the positions themselves know no limit."""
    act = settings.take("feed_forward_proj", "relu")
    if act not in FFN:
        raise settings.refusal("feed_forward_proj", f"there are {', '.join(sorted(FFN))}")
    for said in ("dense_act_fn", "is_gated_act", "output_past"):  # follow from feed_forward_proj, or from nothing
        settings.take(said, None)
    layers = settings.need("num_layers", int)
    dims = Dims(
        vocab=settings.need("vocab_size", int),
        model=settings.need("d_model", int),
        heads=settings.need("num_heads", int),
        head=settings.need("d_kv", int),
        layers=settings.take("num_decoder_layers", layers),
        context=settings.take("n_positions", 512),
        ffn=settings.need("d_ff", int),
    )
    scaled = settings.take("tie_word_embeddings", True)  # transformers 5 writes true and says the scale apart
    scaled = settings.take("scale_decoder_outputs", scaled)
    buckets = settings.take("relative_attention_num_buckets", 32)
    distance = settings.take("relative_attention_max_distance", 128)
    settings.take("initializer_factor", 1.0)
    return _recipe(
        dims, layers, act, (buckets, distance), settings.take("layer_norm_epsilon", 1e-6),
        tied=scaled or settings.lacks("lm_head.weight"), scaled=scaled,
        dropout=settings.take("dropout_rate", 0.1),
        begin=settings.take("decoder_start_token_id", settings.take("pad_token_id", 0)),
    )  # fmt: skip


def _recipe(
    dims: Dims, layers: int, act: str, position: tuple[int, int], eps: float, *,
    tied: bool, scaled: bool, dropout: float, begin: int, std: float = 0.02,
) -> EncDecRecipe:  # fmt: skip
    """``layers`` are the encoder's; ``dims`` say the decoder's."""
    buckets, distance = position

    def side(dims: Dims, mask: str, **more: Any) -> Recipe:
        where = {"buckets": buckets, "distance": distance, "bidirectional": mask == "full"}
        return Recipe(
            dims=dims, family="t5", position=Spec("t5", where), norm=Spec("rms", {"eps": eps}), ffn=FFN[act],
            masks=(Spec(mask),), kernels=(SDPA, REFERENCE), dropout=dropout, score_scale=1.0, std=std, **more,
        )  # fmt: skip

    scale = dims.model**-0.5 if scaled else 1.0
    return EncDecRecipe(
        dims=dims, family="t5", std=std, begin=begin,
        encoder=side(replace(dims, layers=layers), "full", head=None),
        decoder=side(dims, "causal", cross=True, tied=tied, hidden_scale=scale),
    )  # fmt: skip


def write(recipe: EncDecRecipe) -> dict[str, Any]:
    """T5's config.json; ``tie_word_embeddings`` false is how version 1.1 says that its head is its own."""
    dims, decoder = recipe.dims, recipe.decoder
    act = next((act for act, spec in FFN.items() if spec == decoder.ffn), "")
    eps, layers = decoder.norm.settings.get("eps", 1e-6), recipe.encoder.dims.layers
    where, scaled = decoder.position.settings, decoder.hidden_scale != 1.0
    buckets, distance = where.get("buckets", 32), where.get("distance", 128)
    same = act and recipe == _recipe(
        dims, layers, act, (buckets, distance), eps, tied=decoder.tied, scaled=scaled, dropout=decoder.dropout,
        begin=recipe.begin, std=recipe.std,
    )  # fmt: skip
    if not same or (scaled and not decoder.tied) or dims.kv_heads != dims.heads:
        raise ConfigError("t5 cannot be published with other parts than its own; take the recipe that t5 fills")
    return {
        "vocab_size": dims.vocab,
        "d_model": dims.model,
        "d_kv": dims.head,
        "d_ff": dims.ffn,
        "num_layers": layers,
        "num_decoder_layers": dims.layers,
        "num_heads": dims.heads,
        "n_positions": dims.context,
        "relative_attention_num_buckets": buckets,
        "relative_attention_max_distance": distance,
        "feed_forward_proj": act,
        "layer_norm_epsilon": eps,
        "dropout_rate": decoder.dropout,
        "is_encoder_decoder": True,
        "decoder_start_token_id": recipe.begin,
        "tie_word_embeddings": decoder.tied,
        "scale_decoder_outputs": scaled,
    }


def names(recipe: EncDecRecipe) -> list[Entry]:
    """One table of tokens for both sides; the positions of a stack lie in its first block."""
    act = next(act for act, spec in FFN.items() if spec == recipe.decoder.ffn)
    copies = tuple(f"{side}.embed_tokens.weight" for side in ("encoder", "decoder"))
    entries = [Entry("shared.weight", ("encoder.embed.weight",), aliases=copies)]
    for side, stack in (("encoder", recipe.encoder), ("decoder", recipe.decoder)):
        first = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        entries.append(Entry(first, (f"{side}.position.table.weight",)))
        for layer in range(stack.dims.layers):
            entries += _block(f"{side}.block.{layer}.layer", f"{side}.blocks.{layer}", MAPS[act], cross=stack.cross)
        entries.append(Entry(f"{side}.final_layer_norm.weight", (f"{side}.norm.weight",)))
    return entries + ([] if recipe.decoder.tied else [Entry("lm_head.weight", ("decoder.head.weight",))])


def _block(theirs: str, ours: str, maps: dict[str, str], *, cross: bool) -> list[Entry]:
    """Sublayers are numbered: self-attention, cross-attention in a decoder, feed-forward."""
    qkvo = {name: name for name in "qkvo"}
    kinds = [("attention", "SelfAttention", qkvo)]
    kinds += [("cross", "EncDecAttention", qkvo)] if cross else []
    kinds.append(("ffn", "DenseReluDense", {**maps, "wo": "down"}))
    entries: list[Entry] = []
    for number, (kind, called, pairs) in enumerate(kinds):
        entries.append(Entry(f"{theirs}.{number}.layer_norm.weight", (f"{ours}.norms.{kind}.weight",)))
        entries += [
            Entry(f"{theirs}.{number}.{called}.{their}.weight", (f"{ours}.sublayers.{kind}.{our}.weight",))
            for their, our in pairs.items()
        ]
    return entries


def sizes(*, vocab: int, model: int, layers: int, heads: int, context: int = 512, head: int = 0, ffn: int = 0) -> Dims:
    """``layers`` on each side; ffn = 4 · model unless given."""
    return Dims(vocab=vocab, model=model, layers=layers, heads=heads, context=context, head=head, ffn=ffn)


BESIDE = r"\.embed_tokens\.weight$|EncDecAttention\.relative_attention_bias\.weight$"
"""Copies of the shared table, and a table that no version uses, in older files."""


COUNT = "(2 - decoder.tied)·V·M + L·(12·M·H·D + 2·(3 - decoder.tied)·M·F + 5·M) + 2·M + 2·H·decoder.position.buckets"
"""Version 1.1 has a head of its own and three maps in a feed-forward, version 1.0 one table and two maps."""


@family("t5", Published("t5", "T5ForConditionalGeneration", read, write, names, beside=BESIDE), sizes, formula=COUNT)
def t5(dims: Dims, *, gated: bool = False, begin: int = 0, dropout: float = 0.0) -> EncDecRecipe:
    """Encoder and decoder with norms of scale before each sublayer, relative positions, unscaled scores, no biases.

    Version 1.0: a ReLU feed-forward, one table for both sides and the head, which reads h / sqrt(model);
    ``gated``, version 1.1: a GELU-gated feed-forward and a head of its own. Answers begin with the token ``begin``.

    x ← x + softmax(q kᵀ + b[bucket(j - i)]) v, …;  logits = E (h / sqrt(model)), in 1.1 W h
    Source: Raffel et al. 2019, arXiv:1910.10683, §2.1; Shazeer 2020, arXiv:2002.05202 (version 1.1).
    Truth:  tests/parity/test_families_t5.py (logits and gradients of transformers).
    """
    return _recipe(
        dims, dims.layers, "gated-gelu" if gated else "relu", (32, 128), 1e-6,
        tied=not gated, scaled=not gated, dropout=dropout, begin=begin,
    )  # fmt: skip
