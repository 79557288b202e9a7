"""BLOOM: logits, gradients and directories are those of transformers."""

from __future__ import annotations

import json

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

SIZES = {"vocab_size": 97, "hidden_size": 48, "n_layer": 2, "n_head": 4}
FORMS = {
    "four heads": {},
    "six heads": {"n_head": 6},
    "one head": {"n_head": 1},
    "untied": {"tie_word_embeddings": False},
    "eps": {"layer_norm_epsilon": 1e-3},
}
TOKENS = torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("form", FORMS)
def test_logits_and_directories_agree(form, twins, reopened) -> None:
    theirs, ours, _ = twins("bloom", **{**SIZES, **FORMS[form]})
    with torch.no_grad():
        expected = theirs(TOKENS).logits
        torch.testing.assert_close(ours(TOKENS), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(reopened(ours)(TOKENS).logits, expected, atol=1e-4, rtol=1e-4)


def old(raw: dict) -> dict:
    """The names of settings in the files of 2022."""
    raw["n_embed"], raw["num_attention_heads"] = raw.pop("hidden_size"), raw.pop("n_head")
    return {**raw, "seq_length": 64, "attention_softmax_in_fp32": True, "masked_softmax_fusion": True, "n_inner": None}


def test_old_settings_and_names_mean_the_same(twins, tmp_path) -> None:
    theirs, ours, folder = twins("bloom", old, **SIZES)
    assert ours.dims.context == 64
    held = load_file(folder / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in held.items()}
    save_file(bare, folder / "model.safetensors", metadata={"format": "pt"})
    with torch.no_grad():
        torch.testing.assert_close(danlu.load(folder)[0](TOKENS), theirs(TOKENS).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("form", ["six heads", "untied"])
def test_gradients_agree(form, twins) -> None:
    theirs, ours, _ = twins("bloom", **{**SIZES, **FORMS[form]})
    for model in (theirs, ours):
        logits = model(TOKENS)
        torch.nn.functional.cross_entropy(
            getattr(logits, "logits", logits)[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten()
        ).backward()
    named, parameters = dict(theirs.named_parameters()), dict(ours.named_parameters())
    for entry in entries_of(ours):
        found = entry.pack(entry.of({name: p.grad for name, p in parameters.items()}))
        torch.testing.assert_close(found, named[entry.name].grad, atol=1e-5, rtol=1e-4)


def test_padding_and_packing_agree(twins) -> None:
    theirs, ours, _ = twins("bloom", **SIZES)
    segment = torch.ones_like(TOKENS)
    segment[0, :15] = 0  # the shorter row is padded on the left
    with torch.no_grad():
        position = (segment.cumsum(1) - 1).clamp(min=0)
        expected = theirs(TOKENS, attention_mask=segment).logits
        found = ours(TOKENS, Layout(position, segment))
        torch.testing.assert_close(found[segment == 1], expected[segment == 1], atol=1e-4, rtol=1e-4)
        assert found.isfinite().all()
        lengths = [13, 20, 7]
        alone = torch.cat([theirs(part).logits for part in TOKENS[:1].split(lengths, 1)], 1)
        at = torch.cat([torch.arange(n) for n in lengths])[None]
        document = torch.repeat_interleave(torch.tensor([1, 2, 3]), torch.tensor(lengths))[None]
        torch.testing.assert_close(ours(TOKENS[:1], Layout.of(at, document)), alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("size", "count"), [((1024, 24, 16), 559_214_592), ((14336, 70, 112), 176_247_271_424)])
def test_counts_are_the_published_ones(size, count) -> None:
    model, layers, heads = size
    recipe = recipe_of(
        Spec("bloom", {"model": model, "layers": layers, "heads": heads, "context": 2048}), vocab=250_880
    )
    assert sum(p.numel() for p in on_meta(recipe).parameters()) == count == counted(FAMILIES["bloom"].formula, recipe)


def test_a_bad_shape_is_named(twins) -> None:
    _, _, folder = twins("bloom", **SIZES)
    held = load_file(folder / "model.safetensors")
    name = "transformer.h.1.self_attention.query_key_value.bias"
    save_file({**held, name: torch.zeros(140)}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"query_key_value\.bias' has shape \[140\].*asks for \[144\]"):
        danlu.load(folder)


def test_another_residual_is_refused(twins) -> None:
    _, _, folder = twins("bloom", **SIZES)
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**raw, "apply_residual_connection_post_layernorm": True}))
    with pytest.raises(CheckpointError, match="apply_residual_connection_post_layernorm = True cannot be served"):
        danlu.load(folder)


def test_other_parts_are_refused() -> None:
    from dataclasses import replace

    recipe = recipe_of(Spec("bloom", {"model": 16, "layers": 1, "heads": 2, "context": 8}), vocab=20)
    for wrong in (replace(recipe, ffn=Spec("relu")), replace(recipe, dims=replace(recipe.dims, ffn=48))):
        with pytest.raises(ConfigError, match="decoder"):
            FAMILIES["bloom"].published.write(wrong)
    assert FAMILIES["bloom"].published.read(Settings(FAMILIES["bloom"].published.write(recipe), "here")) == recipe
