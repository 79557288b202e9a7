"""The Transformer of 2017, which is published as Marian's translation models."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ...core.errors import ConfigError
from ...core.spec import Spec
from ...nn.dims import Dims
from ..forms.encdec import EncDecRecipe
from ..published import Settings
from ..recipe import Recipe
from ..weights import Entry
from . import Published, family
from .sizes import plain

FFN: dict[str, Spec] = {
    "relu": Spec("relu", {"bias": True}),
    "swish": Spec("swish", {"bias": True}),
    "silu": Spec("swish", {"bias": True}),
    "gelu": Spec("gelu", {"bias": True}),
}
"""activation_function → the feed-forward that uses it."""


@dataclass(frozen=True)
class Choice:
    """What differs between Transformers beside their sizes."""

    act: str = "relu"
    scaled: bool = True
    shared: bool = True
    tied: bool = True
    dropout: float = 0.0
    std: float = 0.02
    begin: int = 0


def read(settings: Settings) -> EncDecRecipe:
    """Each side has sizes of its own; one vocabulary where they share their table."""
    width, context = settings.need("d_model", int), settings.take("max_position_embeddings", 1024)
    act = settings.take("activation_function", "gelu")
    if act not in FFN:
        raise settings.refusal("activation_function", f"there are {', '.join(sorted(FFN))}")
    settings.require("normalize_before", False, "this family normalizes after each sublayer")
    settings.require("normalize_embedding", False, "the embedding of this family is not normalized")
    settings.require("add_final_layer_norm", False, "no norm follows the last block of this family")
    settings.require("static_position_embeddings", True, "positions of this family are not learned")
    for key in ("encoder_layerdrop", "decoder_layerdrop", "activation_dropout", "num_hidden_layers", "add_bias_logits",
                "bad_words_ids", "num_beams", "max_length", "forced_eos_token_id", "extra_pos_embeddings",
                "output_past"):  # fmt: skip
        settings.take(key, None)  # of training and of generation
    vocab, shared = settings.need("vocab_size", int), settings.take("share_encoder_decoder_embeddings", True)

    def side(name: str, vocab: int) -> Dims:
        return Dims(
            vocab=vocab, model=width, heads=settings.need(f"{name}_attention_heads", int), context=context,
            layers=settings.need(f"{name}_layers", int), ffn=settings.need(f"{name}_ffn_dim", int),
        )  # fmt: skip

    written = settings.take("decoder_vocab_size", vocab)
    choice = Choice(
        act, settings.take("scale_embedding", False), shared, settings.take("tie_word_embeddings", True),
        settings.take("dropout", 0.1), settings.take("init_std", 0.02),
        settings.take("decoder_start_token_id", settings.take("pad_token_id", 0)),
    )  # fmt: skip
    return _recipe(side("encoder", vocab), side("decoder", vocab if shared else written), choice)


def _recipe(encoder: Dims, decoder: Dims, choice: Choice) -> EncDecRecipe:
    def side(dims: Dims, mask: str, **more: Any) -> Recipe:
        return Recipe(
            dims=dims, family="transformer", position=Spec("sinusoidal", {"halves": True}), norm=Spec("layer"),
            wiring=Spec("post"), ffn=FFN[choice.act], masks=(Spec(mask),), bias=True, out_bias=True,
            embed_scale=math.sqrt(dims.model) if choice.scaled else 1.0, dropout=choice.dropout, std=choice.std, **more,
        )  # fmt: skip

    head = Spec("linear", {"bias": True})
    return EncDecRecipe(
        dims=decoder, family="transformer", std=choice.std, begin=choice.begin, shared=choice.shared,
        encoder=side(encoder, "full", head=None),
        decoder=side(decoder, "causal", cross=True, head=head, tied=choice.tied),
    )  # fmt: skip


def write(recipe: EncDecRecipe) -> dict[str, Any]:
    """Marian's config.json."""
    encoder, decoder = recipe.encoder.dims, recipe.dims
    own = recipe.decoder
    choice = Choice(
        next((act for act, spec in FFN.items() if spec == own.ffn), "relu"), own.embed_scale != 1.0, recipe.shared,
        own.tied, own.dropout, recipe.std, recipe.begin,
    )  # fmt: skip
    if recipe != _recipe(encoder, decoder, choice) or not all(map(_even, (encoder, decoder))):
        raise ConfigError(
            "transformer cannot be published with other parts than its own; take the recipe that transformer fills"
        )
    sides = {
        f"{name}_{key}": value
        for name, dims in (("encoder", encoder), ("decoder", decoder))
        for key, value in (("layers", dims.layers), ("attention_heads", dims.heads), ("ffn_dim", dims.ffn))
    }
    return {
        "vocab_size": encoder.vocab,
        "decoder_vocab_size": decoder.vocab,
        "d_model": decoder.model,
        **sides,
        "max_position_embeddings": decoder.context,
        "activation_function": choice.act,
        "scale_embedding": choice.scaled,
        "share_encoder_decoder_embeddings": choice.shared,
        "tie_word_embeddings": choice.tied,
        "dropout": choice.dropout,
        "init_std": choice.std,
        "static_position_embeddings": True,
        "is_encoder_decoder": True,
        "decoder_start_token_id": choice.begin,
        "pad_token_id": choice.begin,
    }


def _even(dims: Dims) -> bool:
    return dims.kv_heads == dims.heads and dims.head * dims.heads == dims.model


def names(recipe: EncDecRecipe) -> list[Entry]:
    """Marian's tensors; the head's bias is kept as one row."""
    tables = [f"model.{side}.embed_tokens.weight" for side in ("encoder", "decoder")]
    entries = [Entry("final_logits_bias", ("decoder.head.bias",), lead=1)]
    if recipe.shared:
        entries.append(Entry("model.shared.weight", ("encoder.embed.weight",), aliases=(*tables, "lm_head.weight")))
    else:
        ours = ("encoder.embed.weight", "decoder.embed.weight")
        entries += [Entry(table, (own,)) for table, own in zip(tables, ours, strict=True)]
    for side, stack in (("encoder", recipe.encoder), ("decoder", recipe.decoder)):
        for layer in range(stack.dims.layers):
            entries += _block(f"model.{side}.layers.{layer}", f"{side}.blocks.{layer}", cross=stack.cross)
    return entries + ([] if recipe.decoder.tied else [Entry("lm_head.weight", ("decoder.head.weight",))])


def _block(theirs: str, ours: str, *, cross: bool) -> list[Entry]:
    norms = {"attention": "self_attn_layer_norm", "ffn": "final_layer_norm"}
    called = {"attention": "self_attn"}
    if cross:
        norms["cross"], called["cross"] = "encoder_attn_layer_norm", "encoder_attn"
    maps = {"q": "q_proj", "k": "k_proj", "v": "v_proj", "o": "out_proj"}
    pairs = {f"norms.{kind}": norm for kind, norm in norms.items()}
    pairs |= {
        f"sublayers.{kind}.{our}": f"{name}.{their}" for kind, name in called.items() for our, their in maps.items()
    }
    pairs |= {"sublayers.ffn.up": "fc1", "sublayers.ffn.down": "fc2"}
    return [
        Entry(f"{theirs}.{their}.{kind}", (f"{ours}.{our}.{kind}",))
        for our, their in pairs.items()
        for kind in ("weight", "bias")
    ]


BESIDE = r"\.embed_(tokens|positions)\.weight$"
"""Copies of the shared table, and waves that every model makes for itself."""


@family(
    "transformer",
    Published("marian", "MarianMTModel", read, write, names, beside=BESIDE),
    plain,
    formula="V·M + V + L·(12·M² + 4·M·F + 24·M + 2·F)",
)
def transformer(dims: Dims, *, dropout: float = 0.0, begin: int = 0) -> EncDecRecipe:
    """Encoder and decoder of 2017: a norm after each sublayer, waves for positions, one table for both and the head.

    x ← ln(x + f(x));  x_0 = sqrt(M) E[token] + P[position];  logits = E h + b, where b is Marian's
    Answers begin with the token ``begin``.
    Source: Vaswani et al. 2017, arXiv:1706.03762, §3; Junczys-Dowmunt et al. 2018, arXiv:1804.00344 (Marian).
    Truth:  tests/parity/test_families_transformer.py (logits and gradients of transformers).
    """
    return _recipe(dims, dims, Choice(dropout=dropout, begin=begin))
