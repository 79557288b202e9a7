"""Parameters of published architectures from the hyper-parameters that papers print, without building anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ..core.errors import ConfigError, unknown
from .counts import Block, Counted, Decoder, LatentDecoder, linear, norm

GPT = {"gated": False, "norm": "layernorm", "bias": True, "tied": True}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {},
    "mixtral": {},
    "qwen2": {"qkv_bias": True},
    "qwen3": {"qk_norm": True},
    "gemma": {"tied": True},
    "gemma2": {"tied": True, "norms": 4},
    "gemma3": {"tied": True, "norms": 4, "qk_norm": True},
    "glm-v1": GPT,
    "chatglm2": {"qkv_bias": True},
    "glm4": {"qkv_bias": True},
    "gpt2": GPT,
    "opt": GPT,
    "mpt": GPT,
    "bloom": {**GPT, "embedding_norm": True},
    "gpt_neox": {**GPT, "tied": False},
    "gptj": {**GPT, "tied": False, "norms": 1, "qkv_bias": False, "out_bias": False, "head_bias": True},
    "phi": {**GPT, "tied": False, "norms": 1, "head_bias": True},
    "falcon": {**GPT, "norms": 1, "bias": False},
    "starcoder2": GPT,
    "olmo": {"norm": "none"},
    "cohere": {"norm": "layernorm without bias", "norms": 1, "tied": True},
    "gpt_oss": {"bias": True, "router_bias": True, "sinks_per_head": 1},
}
"""What each family of decoders is, beside the sizes."""

GATED = {"swiglu": True, "geglu": True, "gated-gelu": True, "gated-silu": True, "reglu": True, "glu": True}
LOOKS_NOT_COUNTED = {"gpt_oss"}
"""Families whose makers leave the table of token vectors out of their active parameters."""


def parameters_of(arch: str, **sizes: Any) -> Counted:
    """``parameters_of("llama", hidden=4096, layers=32, heads=32, ffn=11008, vocab=32000).total``.

    ``ffn_type`` says whether the feed-forward is gated ("swiglu", "geglu", "gelu", "relu"), ``dense_ffn`` is ``ffn``
    where experts have ``moe_ffn``; every other setting is a
    field of ``counts.Decoder`` (or of ``counts.LatentDecoder`` for "deepseek_mla_moe") or a parameter of the function
    of ``ENCODERS``. Settings that count nothing (``pos``, ``parallel_residual``) are not taken.

    Raises: ConfigError for an unknown architecture or setting, listing the known ones.
    Source: the papers and cards of the families; each is checked against a published count.
    Truth:  tests/truth/test_plan_cases.py, tests/truth/test_plan_architectures.py (published counts, built models).
    """
    known = [*FAMILIES, "deepseek_mla_moe", *ENCODERS]
    if arch not in known:
        raise unknown("architecture", arch, known)
    if "dense_ffn" in sizes:
        sizes["ffn"] = sizes.pop("dense_ffn")
    if "ffn_type" in sizes and arch not in ENCODERS:
        sizes["gated"] = GATED.get(sizes.pop("ffn_type"), False)
    make = ENCODERS.get(arch) or (_latent if arch == "deepseek_mla_moe" else _decoder)
    given = {**FAMILIES.get(arch, {}), **sizes}
    try:
        return make(**given)
    except TypeError as error:
        raise ConfigError(f"architecture {arch!r}: {str(error).partition('()')[2].strip() or error}") from None


def settings_known(arch: str) -> set[str]:
    """The settings that ``parameters_of`` takes for an architecture."""
    if arch in ENCODERS:
        code = ENCODERS[arch].__code__
        return set(code.co_varnames[: code.co_kwonlyargcount])
    kind = LatentDecoder if arch == "deepseek_mla_moe" else Decoder
    return {field.name for field in dataclasses.fields(kind)} | {"ffn_type", "dense_ffn"}


def active_of(arch: str, **sizes: Any) -> int:
    """Active parameters as the family's makers count them."""
    found = parameters_of(arch, **sizes)
    return found.active - (arch in LOOKS_NOT_COUNTED) * found.looked_up


def _decoder(**sizes: Any) -> Counted:
    return Decoder(**sizes).counted()


def _latent(**sizes: Any) -> Counted:
    return LatentDecoder(**sizes).counted()


def bert(
    *, hidden: int, layers: int, ffn: int, vocab: int, max_positions: int, token_types: int = 2, pooler: bool = True,
    head: str = "none", embedding: int = 0, shared_layers: bool = False, heads: int = 0,
) -> Counted:  # fmt: skip
    """BERT, RoBERTa and ALBERT: tables (V + P + types)·E and their norm, E·M + M between if E is not M, blocks (one if
    they share), a pooler M² + M, and for ``head`` "mlm" a dense layer, a norm and a bias over the vocabulary.

    Source: Devlin et al. 2018, arXiv:1810.04805; Lan et al. 2019, arXiv:1909.11942, table 1.
    Truth:  tests/truth/test_plan_cases.py.
    """
    width, block = embedding or hidden, Block(hidden=hidden, ffn=ffn)
    tables = (vocab + max_positions + token_types) * width
    total = tables + norm("layernorm", width) + (linear(width, hidden, True) if embedding else 0)
    total += (1 if shared_layers else layers) * block.count + pooler * linear(hidden, hidden, True)
    if head == "mlm":
        total += linear(hidden, width, True) + norm("layernorm", width) + vocab
    return Counted(total=total, active=total, looked_up=tables, linear=layers * (4 * hidden**2 + 2 * hidden * ffn))


def t5(
    *, hidden: int, head_dim: int, ffn: int, encoder_layers: int, decoder_layers: int, heads: int, vocab: int,
    tied: bool = True, ffn_type: str = "relu", relative_buckets: int = 32,
) -> Counted:  # fmt: skip
    """T5: RMSNorm without biases, attention of H·D wide however wide the model, one table of biases of distance a side.

    Source: Raffel et al. 2019, arXiv:1910.10683, §2.1; Shazeer 2020, arXiv:2002.05202 (version 1.1).
    Truth:  tests/truth/test_plan_cases.py (T5-11B, Flan-T5).
    """
    attention, dense = 4 * hidden * heads * head_dim, (2 + GATED.get(ffn_type, False)) * hidden * ffn
    blocks = encoder_layers * (attention + dense) + decoder_layers * (2 * attention + dense)
    norms = (2 * encoder_layers + 3 * decoder_layers + 2) * hidden
    total = blocks + norms + (2 - tied) * vocab * hidden + 2 * relative_buckets * heads
    return Counted(total=total, active=total, looked_up=(not tied) * vocab * hidden, linear=blocks)


def bart(
    *, hidden: int, ffn: int, encoder_layers: int, decoder_layers: int, vocab: int, max_positions: int = 0,
    offset: int = 2, norms_at_ends: int = 2, heads: int = 0,
) -> Counted:  # fmt: skip
    """BART, and with no positions and no norms at the ends the Transformer of 2017: one table for both sides and head.

    Source: Lewis et al. 2019, arXiv:1910.13461; Vaswani et al. 2017, arXiv:1706.03762, table 3.
    Truth:  tests/truth/test_plan_architectures.py (BART-large 406,291,456; the Transformer's 65 and 213 million).
    """
    sides = encoder_layers * Block(hidden=hidden, ffn=ffn).count
    sides += decoder_layers * Block(hidden=hidden, ffn=ffn, cross=True).count
    places = 2 * (max_positions + offset) * hidden if max_positions else 0
    total = vocab * hidden + places + norms_at_ends * norm("layernorm", hidden) + sides
    weights = encoder_layers * 4 * hidden**2 + decoder_layers * 8 * hidden**2
    weights += (encoder_layers + decoder_layers) * 2 * hidden * ffn
    return Counted(total=total, active=total, looked_up=places, linear=weights)


def vit(
    *, hidden: int, layers: int, ffn: int, patch: int, image: int, channels: int = 3, classes: int = 0,
    pooler: bool = False, patch_bias: bool = True, norms_at_ends: int = 1, heads: int = 0,
) -> Counted:  # fmt: skip
    """A vision Transformer: c·p²·M for patches, a vector that gathers, (image / p)² + 1 places, blocks, a norm.

    Raises: ConfigError if patches do not divide the image.
    Source: Dosovitskiy et al. 2020, arXiv:2010.11929, table 1.
    Truth:  tests/truth/test_plan_architectures.py (ViT-B/16 with 1,000 classes 86,567,656).
    """
    if image % patch:
        raise ConfigError(f"a patch of {patch} does not divide an image of {image}")
    places = ((image // patch) ** 2 + 2) * hidden
    ends = linear(channels * patch**2, hidden, patch_bias) + places + norms_at_ends * norm("layernorm", hidden)
    ends += pooler * linear(hidden, hidden, True) + (linear(hidden, classes, True) if classes else 0)
    total = ends + layers * Block(hidden=hidden, ffn=ffn).count
    return Counted(total=total, active=total, looked_up=places, linear=layers * (4 * hidden**2 + 2 * hidden * ffn))


def clip(
    *, vision: Mapping[str, int], text: Mapping[str, int], projection: int, logit_scale: int = 1
) -> Counted:  # fmt: skip
    """Two towers, a projection each without bias, and one temperature; the vision tower has norms at both ends.

    Source: Radford et al. 2021, arXiv:2103.00020, §2.4.
    Truth:  tests/truth/test_plan_cases.py (ViT-B/32 151,277,313).
    """
    looks = {key: vision[key] for key in ("hidden", "layers", "ffn", "patch", "image")}
    sees = vit(**looks, patch_bias=False, norms_at_ends=2)  # type: ignore[arg-type]
    wide = text["hidden"]
    reads = (text["vocab"] + text["positions"]) * wide + norm("layernorm", wide)
    reads += text["layers"] * Block(hidden=wide, ffn=text["ffn"]).count
    total = sees.total + reads + projection * (vision["hidden"] + wide) + logit_scale
    return Counted(total=total, active=total, looked_up=sees.looked_up + text["positions"] * wide, linear=sees.linear)


def whisper(
    *, hidden: int, ffn: int, encoder_layers: int, decoder_layers: int, vocab: int, mels: int = 80,
    max_source: int = 1500, max_positions: int = 448, heads: int = 0,
) -> Counted:  # fmt: skip
    """Two convolutions of width 3 over the spectrogram, an encoder and a decoder whose keys have no bias.

    Source: Radford et al. 2022, arXiv:2212.04356, §2.2 and table 1.
    Truth:  tests/truth/test_plan_architectures.py (tiny 37,760,640).
    """
    ears = 3 * hidden * (mels + hidden) + 2 * hidden + max_source * hidden
    one = Block(hidden=hidden, ffn=ffn).count - hidden
    two = Block(hidden=hidden, ffn=ffn, cross=True).count - 2 * hidden
    tables = (vocab + max_positions) * hidden
    total = ears + tables + encoder_layers * one + decoder_layers * two + 2 * norm("layernorm", hidden)
    weights = hidden**2 * (4 * encoder_layers + 8 * decoder_layers)
    weights += 2 * hidden * ffn * (encoder_layers + decoder_layers)
    return Counted(total=total, active=total, looked_up=max_positions * hidden, linear=weights)


ENCODERS: dict[str, Callable[..., Counted]] = {
    "bert": bert, "roberta": bert, "albert": bert, "t5": t5, "bart": bart, "transformer": bart, "vit": vit,
    "clip": clip, "whisper": whisper,
}  # fmt: skip
"""Architectures that are more than a decoder, by name."""
