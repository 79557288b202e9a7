"""Learning longer texts from a checkpoint: what stays of its positions, what a run writes, and what is refused."""

from __future__ import annotations

import pytest
import torch
from train_tiny import tiny_model, write_recipe

import danlu
from danlu.core.errors import CheckpointError, ConfigError
from danlu.core.spec import Spec
from danlu.models import moved, repositioned
from danlu.nn.positions.rope import Rope
from danlu.train.run import train

LONG = {"use": "rope", "base": 500.0}


def test_the_weights_stay_and_the_waves_change() -> None:
    model = tiny_model(position=LONG).eval()
    other = repositioned(model, Spec("rope", {"scaling": {"use": "interpolation", "factor": 2.0}}), context=128)
    assert other.dims.context == 128
    for (name, a), (same, b) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert name == same
        assert torch.equal(a, b)
    assert isinstance(model.position, Rope)
    assert isinstance(other.position, Rope)
    torch.testing.assert_close(other.position.waves, model.position.waves / 2)
    tokens = torch.randint(0, 40, (1, 9))
    assert not torch.allclose(model(tokens), other(tokens))
    straight = repositioned(other, Spec("rope", {"scaling": "none"}))
    torch.testing.assert_close(straight(tokens), model(tokens))


def test_settings_left_out_stay_and_a_scaling_begins_at_the_context() -> None:
    recipe = tiny_model(position=LONG).recipe
    yarn = {"use": "yarn", "factor": 4.0}
    assert moved(recipe, Spec("rope", {"scaling": yarn})).position == Spec(
        "rope", {"base": 500.0, "scaling": {**yarn, "original": 64}}
    )
    told = {**yarn, "original": 16}
    assert moved(recipe, Spec("rope", {"scaling": told})).position.settings["scaling"] == told
    assert moved(recipe, Spec("alibi")).position == Spec("alibi")
    assert moved(recipe, None, 256).position == recipe.position


def base(folder, **changes):
    """A run's model in ``folder``/base, and a recipe that continues it."""
    from data_tokenizer import make_tokenizer

    tokenizer = make_tokenizer(folder / "own")
    danlu.save(tiny_model(vocab=tokenizer.vocab_size, position=LONG), tokenizer, folder / "base")
    path = write_recipe(folder / "recipe", base=str(folder / "base"), **changes)
    text = path.read_text()
    cut = text.index("architecture:"), text.index("base:")
    path.write_text(text[: cut[0]] + text[cut[1] :])
    return path


def test_a_run_goes_on_with_longer_texts_and_its_model_says_so(tmp_path) -> None:
    position = {"use": "rope", "scaling": {"use": "yarn", "factor": 2.0}}
    path = base(tmp_path, position=position, context=128, hooks=["save"])
    changes = ["data.pack.length=128", "train.steps=2", "train.tokens=256", "train.micro=256"]
    assert danlu.plan(path, changes).work.recipe.dims.context == 128
    train(path, changes, out=tmp_path / "run", quiet=True)
    model, _ = danlu.load(tmp_path / "run/final")
    assert model.dims.context == 128
    assert model.recipe.position == Spec("rope", {"base": 500.0, "scaling": {**position["scaling"], "original": 64}})
    config = (tmp_path / "run/final/config.json").read_text()
    assert '"yarn"' in config
    assert '"original_max_position_embeddings": 64' in config


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"position": {"use": "alibi"}}, ConfigError, "llama is published with rope only, not with 'alibi'"),
        ({"position": {"use": "rope", "bse": 2}}, ConfigError, r"position: position 'rope' has no setting \['bse'\]"),
        ({"position": {"use": "rope", "scaling": {"use": "yarm"}}}, ConfigError, "no scaling named 'yarm'"),
        ({"context": 0}, ConfigError, "context must be above 0, found 0"),
    ],
)
def test_one_sentence_where_it_cannot_be(changes, kind, says, tmp_path) -> None:
    with pytest.raises(kind, match=says) as caught:
        train(base(tmp_path, **changes), out=tmp_path / "run", quiet=True)
    assert "\n" not in str(caught.value)


def test_a_newborn_says_its_positions_in_its_architecture(tmp_path) -> None:
    path = write_recipe(tmp_path, context=128)
    with pytest.raises(ConfigError, match="a newborn model's stand in architecture"):
        train(path, out=tmp_path / "run", quiet=True)


def test_a_base_that_is_not_there_is_still_told_first(tmp_path) -> None:
    path = base(tmp_path, position={"use": "rope"})
    with pytest.raises(CheckpointError):
        train(path, [f"base={tmp_path / 'nowhere'}"], out=tmp_path / "run", quiet=True)
