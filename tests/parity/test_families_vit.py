"""ViT: hidden states, scores of classes, gradients and directories are those of transformers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from encoder_twins import published_gradients, same

from danlu import load
from danlu.core.errors import CheckpointError, ShapeError
from danlu.models.reading import entries_of

SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40, "image_size": 24,
    "patch_size": 8, "num_channels": 3,
}  # fmt: skip
FORMS = {
    "two classes": {},
    "named classes": {"id2label": dict(enumerate("abcdefghijkl"))},
    "one color": {"num_channels": 1},
    "no bias on q, k and v": {"qkv_bias": False},
    "tanh gelu, other eps": {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
    "one patch": {"patch_size": 24},
}


def images(channels: int = 3) -> torch.Tensor:
    return torch.randn(2, channels, 24, 24, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("form", FORMS)
def test_scores_and_directories_agree(form, twins, reopened) -> None:
    settings = {**SIZES, **FORMS[form]}
    theirs, ours, _ = twins("vit", auto="AutoModelForImageClassification", **settings)
    again, shown = reopened(ours, "AutoModelForImageClassification"), images(settings["num_channels"])
    with torch.no_grad():
        expected = theirs(shown).logits
        same(ours(shown), expected)
        same(again(shown).logits, expected)
    assert again.config.id2label == theirs.config.id2label
    assert ours(shown).shape == (2, ours.recipe.classes)


def test_hidden_states_and_what_is_pooled(twins, reopened) -> None:
    theirs, ours, _ = twins("vit", auto="AutoModel", **SIZES)
    again = reopened(ours, "AutoModel")
    with torch.no_grad():
        for model in (theirs, again):
            expected = model(images())
            same(ours.hidden(images()), expected.last_hidden_state)
            same(ours(images()), expected.pooler_output)


@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_agree(recompute, twins, tmp_path) -> None:
    theirs, ours, _ = twins("vit", auto="AutoModelForImageClassification", **SIZES)
    ours.recompute = recompute
    for model in (theirs.train(), ours.train()):
        scores = model(images())
        torch.nn.functional.cross_entropy(getattr(scores, "logits", scores), torch.tensor([0, 1])).backward()
    published, parameters = published_gradients(theirs, tmp_path / "gradients"), dict(ours.named_parameters())
    for entry in entries_of(ours):
        same(entry.pack([parameters[name].grad for name in entry.ours]), published[entry.name])


def test_the_fixture(shared) -> None:
    folder = shared / "interop/vit"
    reference, (model, tokenizer) = np.load(folder / "reference.npz"), load(folder)
    assert tokenizer is None
    shown = torch.from_numpy(reference["in_pixel_values"])
    with torch.no_grad():
        same(model.hidden(shown), torch.from_numpy(reference["out_last_hidden_state"]))
        same(model(shown), torch.from_numpy(reference["out_pooler"]))


def test_an_image_is_its_patches_in_rows(twins) -> None:
    """The vector of patch (r, c) by hand: W times the pixels of that square."""
    ours = twins("vit", auto="AutoModel", **SIZES)[1]
    shown, weight = images(), ours.patches.weight.flatten(1)
    found = ours.patches(shown)
    for row in range(3):
        for column in range(3):
            square = shown[:, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8].flatten(1)
            same(found[:, 1 + 3 * row + column], square @ weight.T + ours.patches.bias)
    assert torch.equal(found[:, 0], ours.patches.token.expand(2, -1))


def test_images_of_another_size_are_refused(twins) -> None:
    ours = twins("vit", auto="AutoModel", **SIZES)[1]
    with pytest.raises(ShapeError, match=r"reads images of shape \(B, 3, 24, 24\), found \(1, 3, 16, 24\); resize"):
        ours(torch.zeros(1, 3, 16, 24))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_size": 25}, "image (25) must be a multiple of patch (8)"),
        ({"pooler_output_size": 16}, "pooler_output_size = 16 cannot be served"),
        ({"architectures": ["ViTForMaskedImageModeling"]}, "there are ViTForImageClassification, ViTModel"),
        (
            {"image_size": 32},
            "'embeddings.position_embeddings' has shape [1, 10, 32], config.json asks for [1, 17, 32]",
        ),
    ],
)
def test_settings_that_do_not_fit(settings, words, twins) -> None:
    folder = twins("vit", auto="AutoModel", **SIZES)[2]
    raw = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**raw, **settings}))
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert words in str(caught.value)
