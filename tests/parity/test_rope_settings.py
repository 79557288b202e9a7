"""config.json's words for RoPE and its scalings: read from transformers 4 and 5, written for both, equal in logits."""

from __future__ import annotations

import pytest
import torch

from danlu.core.errors import CheckpointError, ConfigError
from danlu.core.spec import Spec
from danlu.models import build, config_of, recipe_of, rope_settings, save
from danlu.models.published import Settings
from danlu.models.recipe import Recipe
from danlu.models.rope_settings import WHOLE, Turns
from danlu.nn.dims import Dims

LENGTH = "original_max_position_embeddings"
LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, LENGTH: 16}
CASES = [
    ("default", {}, None),
    ("linear", {"factor": 4.0}, {"use": "interpolation", "factor": 4.0}),
    ("dynamic", {"factor": 2.0}, {"use": "dynamic", "factor": 2.0, "original": 64}),
    ("llama3", LLAMA3, {"use": "llama3", "factor": 8.0, "low": 1.0, "high": 4.0, "original": 16}),
    ("yarn", {"factor": 4.0, LENGTH: 16}, {"use": "yarn", "factor": 4.0, "original": 16}),
    (
        "yarn",
        {"factor": 4.0, LENGTH: 16, "beta_fast": 8.0, "beta_slow": 2.0, "truncate": False, "attention_factor": 0.9},
        {"use": "yarn", "factor": 4.0, "original": 16, "fast": 8.0, "slow": 2.0, "truncate": False, "gain": 0.9},
    ),
]


def version_4(kind: str, values: dict, old: bool, part: float | None) -> dict:
    named = {("type" if old else "rope_type"): kind, **values}
    share = {} if part is None else {"partial_rotary_factor": part}
    return {"rope_theta": 5e5, "rope_scaling": named if kind != "default" else None, **share}


def version_5(kind: str, values: dict, part: float | None) -> dict:
    share = {} if part is None else {"partial_rotary_factor": part}
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 5e5, **values, **share}}


def stack(position: Spec) -> Recipe:
    return Recipe(dims=Dims(vocab=9, model=64, heads=4, layers=1, context=64), position=position, family="glm")


@pytest.mark.parametrize(("kind", "values", "scaling"), CASES)
@pytest.mark.parametrize("part", [None, 0.5, 0.25])
def test_every_way_to_say_it_means_the_same(kind, values, scaling, part) -> None:
    family = WHOLE if part is None else Turns(part=0.5, interleaved=True)
    found = [
        rope_settings.read(Settings(raw, "config.json"), 64, family)
        for raw in (
            version_4(kind, values, True, part), version_4(kind, values, False, part), version_5(kind, values, part),
        )
    ]  # fmt: skip
    expected = {"base": 5e5, **({} if scaling is None else {"scaling": scaling})}
    expected |= {} if part is None else {"part": part, "interleaved": True}
    assert found == [Spec("rope", expected)] * 3
    written = rope_settings.write(stack(found[0]), family)
    assert rope_settings.read(Settings(written, "config.json"), 64, family) == found[0]
    assert written.get("partial_rotary_factor") == part


def test_a_family_that_turns_a_part_does_so_unless_told_otherwise() -> None:
    family = Turns(part=0.5, interleaved=True)
    assert rope_settings.read(Settings({}, ""), 64, family) == Spec("rope", {"part": 0.5, "interleaved": True})
    assert rope_settings.read(Settings({"partial_rotary_factor": 1.0}, ""), 64, Turns(part=0.5)) == Spec("rope")


@pytest.mark.parametrize(("family", "turns"), [("llama", {}), ("glm", {"part": 0.5, "interleaved": True})])
@pytest.mark.parametrize(
    "scaling",
    [
        {"use": "ntk", "factor": 4.0},
        {"use": "ntk_parts", "factor": 4.0, "original": 16},
        {"use": "ntk_parts", "factor": 2.0, "original": 16, "fast": 6.0, "slow": 0.5},
        {"use": "dynamic", "factor": 3.0, "original": 32},
        {"use": "yarn", "factor": 4.0},
        {"use": "llama3", "original": 16},
        {"use": "interpolation", "factor": 2.0},
    ],
    ids=lambda scaling: scaling["use"],
)
def test_transformers_opens_what_is_saved_and_we_open_it_again(family, turns, scaling, tmp_path) -> None:
    """Also scalings that have no published name, and settings left at our defaults; longer than the context."""
    transformers = pytest.importorskip("transformers")
    from danlu import load

    position = {"use": "rope", "base": 500.0, "scaling": scaling, **turns}
    sizes = {"model": 64, "layers": 2, "heads": 4, "context": 32, "kv_heads": 2}
    ours = build(Spec(family, {**sizes, "position": position}), vocab=40).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(save(ours, None, tmp_path / "model"), pad_token_id=0)
        tokens = torch.randint(0, 40, (2, 48), generator=generator)
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-4, rtol=1e-4)
        again, _ = load(tmp_path / "model")
        assert again.recipe == ours.recipe
        (tmp_path / "model/danlu/recipe.json").unlink()
        published, _ = load(tmp_path / "model")
        torch.testing.assert_close(published(tokens), ours(tokens), atol=1e-6, rtol=1e-6)
    assert config_of(published) == config_of(ours)


@pytest.mark.parametrize(
    ("position", "says"),
    [
        ({"use": "alibi"}, "published with rope only, not with 'alibi'"),
        ({"use": "rope", "part": 0.5}, "llama turns whole heads, found part = 0.5"),
        ({"use": "rope", "interleaved": True}, "llama pairs the halves of a head; set interleaved: false"),
        (
            {"use": "rope", "scaling": {"use": "dynamic", "factor": 2.0}},
            "with dynamic scaling from its context of 64 tokens on; set original to that",
        ),
        ({"use": "rope", "scaling": {"use": "danlu.nn.scalings.ntk:Ntk", "factor": 2.0}}, "with rope scaling"),
    ],
)
def test_what_a_family_cannot_say_is_refused_at_birth(position, says) -> None:
    sizes = {"model": 32, "layers": 1, "heads": 4, "context": 64}
    with pytest.raises(ConfigError, match=says):
        recipe_of(Spec("llama", {**sizes, "position": position}), vocab=9)


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match="rope type 'longrope' is not built; there are: default, dynamic, linear"):
        rope_settings.read(Settings({"rope_scaling": {"rope_type": "longrope"}}, "config.json"), 64)
    with pytest.raises(CheckpointError, match="'linear' has the setting 'sharpness', which is not built"):
        rope_settings.read(Settings({"rope_parameters": {"rope_type": "linear", "sharpness": 2}}, "config.json"), 64)
