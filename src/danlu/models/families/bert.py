"""BERT."""

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

CLASSES = {
    "BertForPreTraining": Ends(head=True, pooler=True, classes=2),
    "BertForMaskedLM": Ends(head=True),
    "BertForNextSentencePrediction": Ends(pooler=True, classes=2),
    "BertModel": Ends(pooler=True),
}
HEADS = (
    ("cls.predictions.transform.dense", "head.inner"),
    ("cls.predictions.transform.LayerNorm", "head.norm"),
    ("cls.seq_relationship", "classify"),
)
BESIDE = r"^(bert\.)?embeddings\.position_ids$"
OTHERS = (
    r"^(bert\.)?pooler\.dense\.(weight|bias)$|^cls\.(seq_relationship|predictions\.decoder)\.(weight|bias)$|"
    r"^cls\.predictions\.(bias|transform\.dense\.(weight|bias)|transform\.LayerNorm\.(weight|bias|gamma|beta))$"
)


def read(settings: Settings) -> Recipe:
    """``architectures`` says what stands on the encoder."""
    ends, act, eps = ends_of(settings, CLASSES), act_of(settings, "gelu"), settings.take("layer_norm_eps", 1e-12)
    return _recipe(dims_of(settings), act, eps, ends, **shared(settings))


def _recipe(dims: Dims, act: str, eps: float, ends: Ends, **more: Any) -> Recipe:
    head = head_of(act, eps) if ends.head else None
    return encoder(dims, "bert", act, eps, ends, head, position=Spec("learned"), **more)


def write(recipe: Recipe) -> dict[str, Any]:
    """BERT's config.json."""
    act, name, eps = act_name(recipe), class_of(recipe, CLASSES), recipe.norm.settings.get("eps", 1e-5)
    rebuilt = _recipe(
        recipe.dims, act, eps, CLASSES[name], token_types=recipe.token_types, dropout=recipe.dropout, std=recipe.std,
        tied=recipe.tied,
    )  # fmt: skip
    return settings_of(recipe, rebuilt, name, act)


def names(recipe: Recipe) -> list[Entry]:
    """A bare encoder's tensors lack the root ``bert``."""
    bare = recipe.head is None and not recipe.classes
    bias = "cls.predictions.bias" if recipe.tied else "cls.predictions.decoder.bias"
    return entries(body(recipe), "bert", bare) + heads(HEADS, "cls.predictions.decoder", bias)


@family(
    "bert",
    Published("bert", "BertForPreTraining", read, write, names, BESIDE, OTHERS),
    plain,
    formula="(V·(2 - tied) + C + token_types)·M + L·(4·M² + 2·M·F + 9·M + F) + 2·M² + 8·M + V + 2",
)
def bert(dims: Dims, *, types: int = 2, eps: float = 1e-12, dropout: float = 0.0, tied: bool = True) -> Recipe:
    """An encoder that fills in masked tokens from both sides and tells whether two sentences follow each other.

    x_0 = ln(E[token] + P[position] + S[type]);  x ← ln(x + attention(x));  x ← ln(x + W_2 gelu(W_1 x));
    tokens: E ln(gelu(W x + b)) + b';  sentences: W_c tanh(W_p x_first + b_p) + b_c
    Source: Devlin et al. 2019, arXiv:1810.04805, §3.
    Truth:  tests/parity/test_families_bert.py (logits and gradients of transformers).
    """
    ends = CLASSES["BertForPreTraining"]
    return _recipe(dims, "gelu", eps, ends, token_types=types, dropout=dropout, tied=tied)
