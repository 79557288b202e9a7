"""Model directories and recipes that cannot be: one sentence with the name, the expected, the found and the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from talkers import small_tokenizer

import danlu
from danlu.cli import main
from danlu.core.errors import CheckpointError, ConfigError
from danlu.core.spec import Spec, settings_of
from danlu.models import build, save
from danlu.models.families import FAMILIES

WEIGHTS, CONFIG = "model.safetensors", "config.json"
SIZES = {
    "model": 16, "layers": 2, "heads": 4, "kv_heads": 2, "context": 16, "ffn": 24, "width": 24, "window": 6,
    "image": 16, "patch": 4, "classes": 5,
}  # fmt: skip
families = pytest.mark.parametrize("name", sorted(FAMILIES))
Tensors = dict[str, torch.Tensor]


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str], Path]:
    """A tiny newborn of a family, as it would come from elsewhere: without danlu's own recipe."""

    def make(name: str = "llama", **more: Any) -> Path:
        known = settings_of(FAMILIES[name])
        sizes = {key: value for key, value in SIZES.items() if key in known and not (key == "ffn" and "width" in known)}
        folder = save(build(Spec(name, sizes | more), vocab=300), None, tmp_path / name)
        (folder / "danlu/recipe.json").unlink()
        return folder

    return make


def settings(folder: Path, **changes: Any) -> None:
    raw = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps({**raw, **changes}))


def weights(folder: Path, change: Callable[[Tensors], object]) -> Tensors:
    held = load_file(folder / WEIGHTS)
    before = dict(held)
    change(held)
    save_file(held, folder / WEIGHTS)
    return before


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        danlu.load(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(folder) in sentence
    return sentence


def last(held: Tensors) -> str:
    """A matrix within a block: no family derives it from others."""
    return max(
        name for name, tensor in held.items() if tensor.dim() == 2 and any(part.isdigit() for part in name.split("."))
    )


# ── every family ─────────────────────────────────────────────────────────────────────────────────────────────────
@families
def test_a_missing_weight_is_named_with_its_shape(name: str, saved: Callable[..., Path]) -> None:
    folder = saved(name)
    lost = last(load_file(folder / WEIGHTS))
    held = weights(folder, lambda held: held.pop(lost))
    sentence = refusal(folder)
    assert f"the tensor {lost!r} of shape {list(held[lost].shape)} is missing from the weights" in sentence
    assert "fetch them again, or correct config.json" in sentence


@families
def test_an_unexpected_weight_is_named(name: str, saved: Callable[..., Path]) -> None:
    folder = saved(name)
    weights(folder, lambda held: held.update({"never.heard.of.weight": torch.ones(3)}))
    sentence = refusal(folder)
    assert "the weights hold 'never.heard.of.weight' (1 such), which the model" in sentence
    assert "correct config.json, or remove the tensor" in sentence


@families
def test_a_weight_of_a_wrong_shape_is_named_with_both(name: str, saved: Callable[..., Path]) -> None:
    folder = saved(name)
    wrong = last(load_file(folder / WEIGHTS))
    held = weights(folder, lambda held: held.update({wrong: torch.ones(5, 7)}))
    sentence = refusal(folder)
    assert f"the tensor {wrong!r} has shape [5, 7], config.json asks for {list(held[wrong].shape)}" in sentence
    assert "take the config.json and the weights from the same source" in sentence


@pytest.mark.parametrize("name", sorted({*FAMILIES} - {"decoder"}))  # whose config.json names scalings as recipes do
def test_a_scaling_that_the_family_does_not_know(name: str, saved: Callable[..., Path]) -> None:
    """Where queries are turned, the known kinds are named; elsewhere there is nothing to scale."""
    folder = saved(name)
    settings(folder, rope_scaling={"rope_type": "longrope", "factor": 4.0}, rope_parameters=None)
    sentence = refusal(folder)
    turned = "rope type 'longrope' is not built; there are: default, dynamic, linear, llama3, yarn; take a model"
    assert turned in sentence or ("rope_scaling = " in sentence and "nothing to scale; strike it" in sentence)
    assert (turned in sentence) == ("rope_theta" in (folder / CONFIG).read_text())


# ── config.json ──────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "mamba2"}, ["model_type 'mamba2' is not built; there are:", "llama", "take a model of one of"]),
        ({"model_type": ""}, ["model_type '' is not built; there are:"]),
        (
            {"num_key_value_heads": 3},
            ["num_key_value_heads = 3 cannot be served: heads (4) must be a multiple of kv_heads (3); restore"],
        ),
        ({"num_key_value_heads": -1}, ["num_key_value_heads = -1 cannot be served"]),
        ({"num_attention_heads": 0}, ["num_attention_heads", "0"]),
        ({"num_attention_heads": 3}, ["num_key_value_heads = 2 cannot be served: heads (3) must be a multiple"]),
        ({"rope_scaling": {"rope_type": "yarn", "factor": "eight"}}, ["factor", "'eight'"]),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, ["factor", "0"]),
        ({"rope_scaling": "linear"}, ["rope_scaling", "'linear'"]),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], words: list[str], saved: Callable[..., Path]) -> None:
    folder = saved()
    settings(folder, **changes)
    sentence = refusal(folder)
    assert str(folder / CONFIG) in sentence
    for word in words:
        assert word in sentence


# ── recipes ──────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ({"use": "llama", "kv_heads": 3}, "heads (4) must be a multiple of kv_heads (3); choose one that divides it"),
        (
            {"use": "llama", "position": {"use": "rope", "scaling": "yorn"}},
            "no scaling named 'yorn' (did you mean 'yarn'",
        ),
        (
            {"use": "llama", "position": "alibi"},
            "llama is published with rope only, not with 'alibi'; save it as family",
        ),
        ({"use": "gpt2", "position": "rope"}, "position"),
        (
            {"use": "decoder", "position": {"use": "rope", "scaling": {"use": "yarn", "factor": 0}}},
            "a scaling's factor must be above 0, found 0",
        ),
    ],
)
def test_architectures_that_cannot_be(architecture: dict[str, Any], words: str) -> None:
    known = settings_of(FAMILIES[architecture["use"]])
    sizes = {key: SIZES[key] for key in ("model", "layers", "heads", "context", "kv_heads") if key in known}
    with pytest.raises(ConfigError) as caught:
        build(Spec.read({**sizes, **architecture}), vocab=40)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# ── from the command line ────────────────────────────────────────────────────────────────────────────────────────
def damaged(kind: str, folder: Path) -> str:
    """Breaks a llama; answers what the sentence must say."""
    lost = "model.layers.1.mlp.up_proj.weight"
    changes: dict[str, tuple[Callable[[], object], str]] = {
        "type": (lambda: settings(folder, model_type="mamba2"), "model_type 'mamba2' is not built"),
        "missing": (lambda: weights(folder, lambda held: held.pop(lost)), f"{lost!r} of shape [24, 16] is missing"),
        "extra": (lambda: weights(folder, lambda held: held.update(x=torch.ones(1))), "the weights hold 'x' (1 such)"),
        "shape": (lambda: weights(folder, lambda held: held.update({lost: torch.ones(2)})), f"{lost!r} has shape [2]"),
        "scaling": (lambda: settings(folder, rope_scaling={"rope_type": "longrope"}), "rope type 'longrope'"),
        "heads": (lambda: settings(folder, num_key_value_heads=3), "num_key_value_heads = 3 cannot be served"),
    }
    change, words = changes[kind]
    change()
    return words


@pytest.mark.parametrize("kind", ["type", "missing", "extra", "shape", "scaling", "heads"])
@pytest.mark.parametrize("verb", [["eval", "--recall"], ["generate", "a prompt"], ["train"]], ids=lambda verb: verb[0])
def test_every_verb_says_it_in_one_sentence(
    verb: list[str], kind: str, saved: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved()
    small_tokenizer(folder)
    words = damaged(kind, folder)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"base: {folder}\ndata: {{parts: [{{from: {recipe}}}], pack: {{length: 8}}}}\ntrain: {{steps: 1}}\n"
    )
    name, *more = verb
    rest = [str(recipe), "--out", str(tmp_path / "run")] if name == "train" else [str(folder), *more]
    assert main([name, *rest]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.startswith("danlu: ")
    assert len(said.err.splitlines()) == 1
    assert not said.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--recall", "8", "16"],
            "has a table of 16 positions and none beyond, so it cannot read 32 tokens; ask for 16",
        ),
        (
            ["--by-position", "TEXT", "--length", "17"],
            "has a table of 16 positions and none beyond, so it cannot read 17",
        ),
        (["--by-position", "TEXT", "--bins", "16"], "16 bins do not fit 15 predicted positions; ask for 1 … 15"),
        (["--recall", "8", "--position", "alibi: ["], "--position alibi: [: is no YAML; write {use: rope"),
        (["--recall", "8", "--position", "fire"], "position 'fire' needs the weight 'position."),
        (["--recall", "8", "--position", "alibee"], "no position named 'alibee' (did you mean 'alibi'?)"),
        (["--recall", "3"], "a distance of 3 leaves no room for a passage; ask for 4 or more"),
        (["--plot", "x.png", "--text", "TEXT"], "--plot draws loss by position and recall by distance; give"),
        (["--position", "none"], "nothing to measure; give --text FILE, --by-position FILE, --recall or --choice"),
    ],
)
def test_reading_further_than_a_model_can(
    arguments: list[str], words: str, saved: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = saved("gpt2")
    small_tokenizer(folder)
    text = tmp_path / "text.txt"
    text.write_text("the end of the beginning of the naive world; " * 4)
    assert main(["eval", str(folder), "--quiet", *(str(text) if a == "TEXT" else a for a in arguments)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("danlu: ")
    assert words in said
    assert len(said.splitlines()) == 1
