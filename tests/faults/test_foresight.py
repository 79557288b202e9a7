"""Models whose tokens hear those after them are asked for no next token: refused in a sentence, never answered."""

from __future__ import annotations

import pytest
from train_tiny import packed

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.infer.generation import Generation
from danlu.infer.packed import Prepared
from danlu.infer.runner import Runner
from danlu.infer.sampling import Sampling
from danlu.infer.scoring import log_likelihoods
from danlu.models import build
from danlu.nn.masks import MASKS
from danlu.objectives import OBJECTIVES

SIZES = {"model": 32, "layers": 2, "heads": 4, "context": 32}
SAID = (
    "hears those after it, so it can neither be asked nor be taught what comes next; train it with the objective masked"
)


@pytest.mark.parametrize(
    ("mask", "foresees"),
    [
        ("causal", False),
        ({"use": "prefix", "length": 5}, False),
        ({"use": "both", "a": "causal", "b": {"use": "window", "size": 4}}, False),
        ({"use": "window", "size": 4}, True),
        ({"use": "window", "size": 1}, False),
        ({"use": "either", "a": "causal", "b": {"use": "prefix", "length": 3}}, False),
        ("prefixed", False),
        ("full", True),
        ({"use": "either", "a": "causal", "b": "full"}, True),
    ],
)
def test_which_masks_foresee(mask, foresees) -> None:
    assert Spec.read(mask).build(MASKS).foresees == foresees


@pytest.mark.parametrize("family", ["bert", "roberta", "albert"])
def test_an_encoder_is_neither_asked_nor_taught_what_comes_next(family) -> None:
    model = build(Spec(family, SIZES), vocab=64)
    assert model.foresees
    with pytest.raises(ConfigError, match=f"this {family} {SAID}"):
        log_likelihoods(model, [([1, 2], [3])])
    with pytest.raises(ConfigError, match=SAID):
        Generation(model, None, [[1, 2]], Sampling())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=SAID):
        OBJECTIVES["next_token"](16).loss(model, packed(2, 24))


def test_decoders_are() -> None:
    model = build(Spec("llama", SIZES), vocab=64).eval()
    assert not model.foresees
    assert len(log_likelihoods(model, [([1, 2], [3])])[0].logprobs) == 1
    assert Runner(Prepared(model), cache="slab").start([[1, 2, 3]], 4).shape == (1, 64)
