"""GLM-4 of 2024 and 2025: logits, gradients and directories are those of transformers."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

import danlu
from danlu.core.errors import CheckpointError, ConfigError
from danlu.core.spec import Spec
from danlu.models import on_meta, recipe_of
from danlu.models.families import FAMILIES
from danlu.models.families.formula import counted
from danlu.models.published import Settings
from danlu.models.reading import entries_of
from danlu.nn.layout import Layout

SIZES = {
    "vocab_size": 97, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "head_dim": 8, "pad_token_id": 0, "eos_token_id": 1,
}  # fmt: skip
FORMS = {
    "half": {},
    "a quarter": {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5, "partial_rotary_factor": 0.25}},
    "whole, wide heads": {
        "head_dim": 12,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
    },
    "unbiased": {"attention_bias": False, "num_key_value_heads": 4},
    "tied, gelu": {"tie_word_embeddings": True, "hidden_act": "gelu"},
}
TOKENS = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(1))
both = pytest.mark.parametrize("kind", ["glm4", "glm"])


def version_4(raw: dict) -> dict:
    """The same settings as transformers 4 wrote them."""
    rope = raw.pop("rope_parameters")
    return {**raw, "rope_theta": rope["rope_theta"], "partial_rotary_factor": rope["partial_rotary_factor"]}


@both
@pytest.mark.parametrize("form", FORMS)
def test_logits_and_directories_agree(kind, form, twins, reopened) -> None:
    theirs, ours, _ = twins(kind, **{**SIZES, **FORMS[form]})
    with torch.no_grad():
        expected = theirs(TOKENS).logits
        torch.testing.assert_close(ours(TOKENS), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(reopened(ours)(TOKENS).logits, expected, atol=1e-4, rtol=1e-4)


@both
@pytest.mark.parametrize("form", ["half", "a quarter"])
def test_settings_of_transformers_4_mean_the_same(kind, form, twins) -> None:
    theirs, ours, _ = twins(kind, version_4, **{**SIZES, **FORMS[form]})
    with torch.no_grad():
        torch.testing.assert_close(ours(TOKENS), theirs(TOKENS).logits, atol=1e-4, rtol=1e-4)


@both
@pytest.mark.parametrize("form", ["half", "tied, gelu"])
def test_gradients_agree(kind, form, twins) -> None:
    theirs, ours, _ = twins(kind, **{**SIZES, **FORMS[form]})
    for model in (theirs, ours):
        logits = model(TOKENS)
        torch.nn.functional.cross_entropy(
            getattr(logits, "logits", logits)[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten()
        ).backward()
    named, parameters = dict(theirs.named_parameters()), dict(ours.named_parameters())
    for entry in entries_of(ours):
        found = entry.pack(entry.of({name: p.grad for name, p in parameters.items()}))
        torch.testing.assert_close(found, named[entry.name].grad, atol=1e-5, rtol=1e-4)


@both
def test_padding_and_packing_agree(kind, twins) -> None:
    theirs, ours, _ = twins(kind, **SIZES)
    segment = torch.ones_like(TOKENS)
    segment[0, :15] = 0  # the shorter row is padded on the left
    with torch.no_grad():
        position = (segment.cumsum(1) - 1).clamp(min=0)
        expected = theirs(TOKENS, attention_mask=segment, position_ids=position).logits
        found = ours(TOKENS, Layout(position, segment))
        torch.testing.assert_close(found[segment == 1], expected[segment == 1], atol=1e-4, rtol=1e-4)
        lengths = [13, 20, 7]
        alone = torch.cat([theirs(part).logits for part in TOKENS[:1].split(lengths, 1)], 1)
        at = torch.cat([torch.arange(n) for n in lengths])[None]
        document = torch.repeat_interleave(torch.tensor([1, 2, 3]), torch.tensor(lengths))[None]
        torch.testing.assert_close(ours(TOKENS[:1], Layout.of(at, document)), alone, atol=1e-4, rtol=1e-4)


@both
def test_the_count_of_the_9b_is_that_of_transformers(kind) -> None:
    import transformers

    config = transformers.AutoConfig.for_model(kind)
    recipe = FAMILIES[kind].published.read(Settings(config.to_dict(), "here"))
    with torch.device("meta"):
        theirs = transformers.AutoModelForCausalLM.from_config(config)
    expected = sum(p.numel() for p in theirs.parameters())
    assert sum(p.numel() for p in on_meta(recipe).parameters()) == expected > 9e9
    assert counted(FAMILIES[kind].formula, recipe) == expected


@both
def test_a_bad_shape_is_named(kind, twins) -> None:
    _, _, folder = twins(kind, **SIZES)
    held = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.gate_up_proj.weight"
    save_file({**held, name: torch.zeros(95, 32)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"gate_up_proj\.weight' has shape \[95, 32\].*asks for \[96, 32\]"):
        danlu.load(folder)


@both
@pytest.mark.parametrize("position", ["rope", {"use": "rope", "part": 0.5}, "alibi"])
def test_other_positions_are_refused_at_birth(kind, position) -> None:
    sizes = {"model": 16, "layers": 1, "heads": 2, "context": 8, "position": position}
    with pytest.raises(ConfigError, match=r"save (the model|it) as family decoder"):
        recipe_of(Spec(kind, sizes), vocab=20)
