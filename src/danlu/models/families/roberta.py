"""RoBERTa."""

from __future__ import annotations

from typing import Any

from ...core.spec import Spec
from ...nn.dims import Dims
from ..published import Settings
from ..recipe import Recipe
from ..weights import Entry
from . import Published, family
from .bert_like import (
    Ends,
    act_name,
    act_of,
    body,
    class_of,
    dims_of,
    encoder,
    ends_of,
    entries,
    head_of,
    heads,
    settings_of,
    shared,
)  # fmt: skip
from .sizes import plain

CLASSES = {"RobertaForMaskedLM": Ends(head=True), "RobertaModel": Ends(pooler=True)}
HEADS = (("lm_head.dense", "head.inner"), ("lm_head.layer_norm", "head.norm"))
BESIDE = r"^(roberta\.)?embeddings\.position_ids$"
OTHERS = (
    r"^(roberta\.)?pooler\.dense\.(weight|bias)$|^lm_head\.(bias|(dense|decoder|layer_norm)\.(weight|bias))$"
)  # fmt: skip


def read(settings: Settings) -> Recipe:
    """Positions are counted from pad_token_id + 1, so the table has as many rows more than the context has tokens."""
    ends, act, eps = ends_of(settings, CLASSES), act_of(settings, "gelu"), settings.take("layer_norm_eps", 1e-12)
    offset = settings.take("pad_token_id", 1) + 1
    return _recipe(dims_of(settings, offset), act, eps, ends, offset, **shared(settings))


def _recipe(dims: Dims, act: str, eps: float, ends: Ends, offset: int, **more: Any) -> Recipe:
    position = Spec("learned", {"offset": offset})
    return encoder(dims, "roberta", act, eps, ends, head_of("gelu", eps), position=position, **more)


def write(recipe: Recipe) -> dict[str, Any]:
    """RoBERTa's config.json."""
    act, name, eps = act_name(recipe), class_of(recipe, CLASSES), recipe.norm.settings.get("eps", 1e-5)
    offset = recipe.position.settings.get("offset", 0)
    rebuilt = _recipe(
        recipe.dims, act, eps, CLASSES[name], offset, token_types=recipe.token_types, dropout=recipe.dropout,
        std=recipe.std, tied=recipe.tied,
    )  # fmt: skip
    return {**settings_of(recipe, rebuilt, name, act), "pad_token_id": offset - 1}


def names(recipe: Recipe) -> list[Entry]:
    """A bare encoder's tensors lack the root ``roberta``."""
    bias = "lm_head.bias" if recipe.tied else "lm_head.decoder.bias"
    return entries(body(recipe), "roberta", recipe.head is None) + heads(HEADS, "lm_head.decoder", bias)


@family(
    "roberta",
    Published("roberta", "RobertaForMaskedLM", read, write, names, BESIDE, OTHERS, ("pad_token_id",)),
    plain,
    formula="(V·(2 - tied) + C + position.offset + token_types)·M + L·(4·M² + 2·M·F + 9·M + F) + M² + 5·M + V",
)
def roberta(
    dims: Dims, *, types: int = 1, pad: int = 1, eps: float = 1e-5, dropout: float = 0.0, tied: bool = True
) -> Recipe:
    """BERT without the task of sentences; positions are counted from the padding token's id + 1.

    ``pad`` is the id of the tokenizer's padding token, which decides the rows of positions that texts begin at.
    x_0 = ln(E[token] + P[position + pad + 1] + S[type])
    Source: Liu et al. 2019, arXiv:1907.11692, §3 and §4; the positions: its published weights.
    Truth:  tests/parity/test_families_roberta.py (logits and gradients of transformers).
    """
    ends = CLASSES["RobertaForMaskedLM"]
    return _recipe(dims, "gelu", eps, ends, pad + 1, token_types=types, dropout=dropout, tied=tied)
