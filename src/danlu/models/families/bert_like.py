"""What BERT and the encoders that follow it share: settings, and which ends go with which published class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ...core.errors import ConfigError
from ...core.spec import Spec
from ...nn.dims import Dims
from ..published import Settings
from ..recipe import Recipe
from ..weights import Entry
from .gpt2 import PLAIN


@dataclass(frozen=True)
class Ends:
    """What stands on the encoder: a head that scores tokens, a pooler, classes scored from what it pooled."""

    head: bool = False
    pooler: bool = False
    classes: int = 0


def ends_of(settings: Settings, known: dict[str, Ends]) -> Ends:
    """The ends that ``architectures`` names, the first known one where it is absent."""
    named = settings.take("architectures", []) or [next(iter(known))]
    if named[0] not in known:
        raise settings.refusal("architectures", f"there are {', '.join(known)}")
    return known[named[0]]


def class_of(recipe: Recipe, known: dict[str, Ends]) -> str:
    """The published class with these ends; raises ConfigError if there is none."""
    ends = Ends(recipe.head is not None, recipe.pooler is not None, recipe.classes)
    found = next((name for name, fits in known.items() if fits == ends), None)
    if found is None:
        raise ConfigError(
            f"{recipe.family} is published as {', '.join(known)}, none of which has head {ends.head}, pooler "
            f"{ends.pooler} and {ends.classes} classes; save the model as family decoder"
        )
    return found


def act_of(settings: Settings, default: str) -> str:
    act = settings.take("hidden_act", default)
    if act not in PLAIN:
        raise settings.refusal("hidden_act", f"there are {', '.join(sorted(PLAIN))}")
    return act


def head_of(act: str, eps: float) -> Spec:
    """The head that scores tokens, with the activation of the feed-forward; raises ConfigError for relu."""
    if act == "relu":
        raise ConfigError("a head with hidden_act 'relu' is not built; there are gelu and gelu_new")
    tanh = {"tanh": True} if PLAIN[act].settings.get("tanh") else {}
    return Spec("transform", {"eps": eps, **tanh})


def encoder(dims: Dims, family: str, act: str, eps: float, ends: Ends, head: Spec | None, **more: Any) -> Recipe:
    """Post-norm, full attention, biases everywhere, a norm over the sum of embeddings."""
    norm = Spec("layer", {"eps": eps})
    return Recipe(
        dims=dims, family=family, norm=norm, ffn=PLAIN[act], wiring=Spec("post"), masks=(Spec("full"),),
        head=head if ends.head else None, bias=True, out_bias=True, embed_norm=norm,
        pooler=Spec("first") if ends.pooler else None, classes=ends.classes, **more,
    )  # fmt: skip


def dims_of(settings: Settings, offset: int = 0) -> Dims:
    """Sizes; of the rows of the table of positions ``offset`` stand before the first position."""
    width = settings.need("hidden_size", int)
    return Dims(
        vocab=settings.need("vocab_size", int),
        model=width,
        layers=settings.need("num_hidden_layers", int),
        heads=settings.need("num_attention_heads", int),
        context=settings.need("max_position_embeddings", int) - offset,
        ffn=settings.take("intermediate_size", 4 * width),
    )


def shared(settings: Settings) -> dict[str, Any]:
    """Settings of the recipe that all of these are published with; refuses decoders and relative positions."""
    settings.require("is_decoder", False, "it is an encoder here")
    settings.require("add_cross_attention", False, "an encoder looks at nothing but its own tokens")
    settings.require("position_embedding_type", "absolute", "there are learned positions only")
    settings.take("attention_probs_dropout_prob", 0.0)
    settings.take("classifier_dropout_prob", 0.0)
    return {
        "token_types": settings.take("type_vocab_size", 2),
        "dropout": settings.take("hidden_dropout_prob", 0.1),
        "std": settings.take("initializer_range", 0.02),
        "tied": settings.take("tie_word_embeddings", True),
    }


def settings_of(recipe: Recipe, rebuilt: Recipe, architecture: str, act: str) -> dict[str, Any]:
    """config.json; raises ConfigError unless the recipe is the one that its own settings rebuild."""
    dims, family = recipe.dims, recipe.family
    if recipe != rebuilt or dims.kv_heads != dims.heads or dims.head * dims.heads != dims.model:
        raise ConfigError(f"{family} cannot be published with other parts than its own; save it as family decoder")
    return {
        "architectures": [architecture],
        "vocab_size": dims.vocab,
        "hidden_size": dims.model,
        "num_hidden_layers": dims.layers,
        "num_attention_heads": dims.heads,
        "intermediate_size": dims.ffn,
        "max_position_embeddings": dims.context + recipe.position.settings.get("offset", 0),
        "type_vocab_size": recipe.token_types,
        "hidden_act": act,
        "layer_norm_eps": recipe.norm.settings.get("eps", 1e-5),
        "hidden_dropout_prob": recipe.dropout,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": recipe.std,
        "tie_word_embeddings": recipe.tied,
    }


def act_name(recipe: Recipe) -> str:
    """hidden_act for the feed-forward of a recipe; raises ConfigError if it has none."""
    act = next((act for act, spec in PLAIN.items() if spec == recipe.ffn), None)
    if act is None:
        raise ConfigError(f"{recipe.family} cannot be published with ffn {recipe.ffn.use!r}; save it as family decoder")
    return act


def entries(rows: Iterable[tuple[str, str]], root: str, bare: bool) -> list[Entry]:
    """Names with the root of the whole model, which a ``bare`` encoder leaves out; older files spell norms otherwise.

    ``rows``: published module → ours.
    """
    found = []
    for theirs, ours in rows:
        for kind, old in (("weight", "gamma"), ("bias", "beta")):
            short, long = f"{theirs}.{kind}", f"{root}.{theirs}.{kind}"
            aged = [f"{root}.{theirs}.{old}", f"{theirs}.{old}"] if "LayerNorm" in theirs else []
            first, second = (short, long) if bare else (long, short)
            found.append(Entry(first, (f"{ours}.{kind}",), aliases=(second, *aged)))
    return found


def heads(rows: Iterable[tuple[str, str]], table: str, bias: str) -> list[Entry]:
    """What stands on the encoder.  ``table``: the last product of the head; ``bias``: its bias, where it is tied."""
    found = []
    for theirs, ours in rows:
        for kind, old in (("weight", "gamma"), ("bias", "beta")):
            aged = (f"{theirs}.{old}",) if "LayerNorm" in theirs else ()
            found.append(Entry(f"{theirs}.{kind}", (f"{ours}.{kind}",), aliases=aged))
    return [
        *found,
        Entry(f"{table}.weight", ("head.out.weight",)),
        Entry(bias, ("head.out.bias",), aliases=(f"{table}.bias",)),
    ]


EMBEDDINGS = (
    ("embeddings.word_embeddings", "embed"),
    ("embeddings.position_embeddings", "position.table"),
    ("embeddings.token_type_embeddings", "types"),
    ("embeddings.LayerNorm", "embed_norm"),
)

LAYER = (
    ("attention.self.query", "sublayers.attention.q"),
    ("attention.self.key", "sublayers.attention.k"),
    ("attention.self.value", "sublayers.attention.v"),
    ("attention.output.dense", "sublayers.attention.o"),
    ("attention.output.LayerNorm", "norms.attention"),
    ("intermediate.dense", "sublayers.ffn.up"),
    ("output.dense", "sublayers.ffn.down"),
    ("output.LayerNorm", "norms.ffn"),
)


def body(recipe: Recipe) -> list[tuple[str, str]]:
    """Embeddings, layers and pooler of BERT and RoBERTa: published module → ours."""
    layers = [
        (f"encoder.layer.{layer}.{theirs}", f"blocks.{layer}.{ours}")
        for layer in range(recipe.dims.layers)
        for theirs, ours in LAYER
    ]
    return [*EMBEDDINGS, *layers, ("pooler.dense", "pooler.dense")]
