"""Every family: newborn, saved and loaded, written as values and read back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec, settings_of
from danlu.models import build, config_of, load, on_meta, recipe_of, save
from danlu.models.families import FAMILIES
from danlu.models.forms import recipe_from
from danlu.models.published import Settings
from danlu.nn.layout import Layout
from danlu.nn.linear import Embedding
from danlu.nn.wirings import Wiring

SIZES = {
    "model": 32, "layers": 2, "heads": 4, "kv_heads": 2, "context": 32, "head": 8, "ffn": 48, "width": 48, "window": 6,
    "image": 16, "patch": 4, "classes": 5,
}  # fmt: skip
families = pytest.mark.parametrize("name", list(FAMILIES))


def architecture(name: str, **more) -> Spec:
    known = settings_of(FAMILIES[name])
    sizes = {key: value for key, value in SIZES.items() if key in known and not (key == "ffn" and "width" in known)}
    return Spec(name, sizes | more)


def pictures(model: Any, tokens: Tensor) -> Tensor:
    """As many images as there are rows, drawn from the tokens."""
    recipe = model.recipe
    generator = torch.Generator().manual_seed(int(tokens.sum()))
    shape = (len(tokens), recipe.channels, recipe.image, recipe.image)
    return model(torch.randn(shape, generator=generator).to(next(model.parameters()).dtype))


ASKED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "stack": lambda model, tokens: model(tokens),
    "encdec": lambda model, tokens: model.translate(tokens.flip(1), tokens),
    "recurrent": lambda model, tokens: model(tokens),
    "vision": pictures,
}
"""How a model of each form is asked; a new form needs an entry."""


def ask(model: Any, tokens: Tensor) -> Tensor:
    return ASKED[model.recipe.form](model, tokens)


def ties(model: torch.nn.Module) -> set[frozenset[str]]:
    """The names of every parameter that has several."""
    named: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        named.setdefault(id(parameter), []).append(name)
    return {frozenset(names) for names in named.values() if len(names) > 1}


@families
def test_saved_equals_loaded(name, tmp_path, tokens) -> None:
    model = build(architecture(name), vocab=50, seed=3)
    again, tokenizer = load(save(model, None, tmp_path / "model"))
    assert tokenizer is None
    assert again.recipe == model.recipe
    assert not again.training
    with torch.no_grad():
        assert torch.equal(ask(again, tokens), ask(model.eval(), tokens))


@families
def test_saved_without_the_own_recipe_config_json_says_it_all(name, tmp_path, tokens) -> None:
    model = build(architecture(name), vocab=50, seed=3).eval()
    folder = save(model, None, tmp_path / "model")
    (folder / "danlu/recipe.json").unlink()
    with torch.no_grad():
        assert torch.equal(ask(load(folder)[0], tokens), ask(model, tokens))


@families
def test_recipe_to_values_and_back(name) -> None:
    recipe = recipe_of(architecture(name), vocab=50)
    assert recipe_from(recipe.write(), "here") == recipe
    published = FAMILIES[name].published
    assert published.read(Settings(published.write(recipe), "here")) == recipe


@families
def test_newborn_weights_depend_on_the_seed_only(name) -> None:
    one, same, other = (build(architecture(name), vocab=50, seed=seed) for seed in (1, 1, 2))
    for (key, a), b, c in zip(one.named_parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b), key
        assert a.dim() == 1 or not torch.equal(a, c), key


@families
def test_newborn_weights_have_the_deviation_of_the_recipe(name) -> None:
    model = build(architecture(name), vocab=500)
    tables = [m for m in model.modules() if isinstance(m, Embedding) and m.axes[0] == "vocab"]
    assert all(table.weight.std().item() == pytest.approx(0.02, rel=0.05) for table in tables)
    for block in (m for m in model.modules() if isinstance(m, Wiring)):
        for out in (block.sublayers.attention.o, block.sublayers.ffn.down):
            assert out.weight.std().item() == pytest.approx(0.02 / 2, rel=0.1)  # 2 layers: sqrt(2 · 2)
        assert block.sublayers.attention.q.weight.std().item() == pytest.approx(0.02, rel=0.1)


@families
def test_a_newborn_knows_nothing(name, tokens) -> None:
    """Its loss is near that of guessing."""
    model = build(architecture(name), vocab=50)
    logits = ask(model, tokens).flatten(0, -2)
    loss = torch.nn.functional.cross_entropy(logits, tokens.roll(5, 1).flatten()[: len(logits)] % logits.shape[-1])
    assert loss.item() == pytest.approx(math.log(logits.shape[-1]), abs=0.15)


STACKS = [name for name in FAMILIES if recipe_of(architecture(name), vocab=50).form == "stack"]
"""Rows of other forms are packed in ways of their own: tests/contracts/test_encdec.py, tests/truth/test_recurrent.py."""


@pytest.mark.parametrize("name", STACKS)
def test_packed_equals_separate_with_gradients(name, tokens) -> None:
    model = build(architecture(name), vocab=50)
    segment = torch.tensor([[1] * 9 + [2] * 3, [1] * 5 + [2] * 6 + [0]])
    position = torch.tensor([[*range(9), *range(3)], [*range(5), *range(6), 0]])
    where = Layout.of(position, segment)
    (model(tokens, where) * (segment != 0)[..., None]).square().sum().backward()
    packed = {n: p.grad for n, p in model.named_parameters()}
    model.zero_grad()
    for row, start, stop in where.spans or ():
        model(tokens[row : row + 1, start:stop]).square().sum().backward()
    for key, parameter in model.named_parameters():
        torch.testing.assert_close(packed[key], parameter.grad, atol=1e-6, rtol=1e-4)


@families
def test_a_model_of_any_size_has_shapes_without_memory(name) -> None:
    large = {"layers": 80, "model": 8192, "heads": 1024}
    known = {key: value for key, value in large.items() if key in settings_of(FAMILIES[name])}
    model = on_meta(recipe_of(architecture(name, **known), vocab=100_000))
    assert sum(p.numel() for p in model.parameters()) > 3e8  # of ALBERT one layer
    assert all(p.is_meta for p in model.parameters())


@families
def test_an_unknown_setting_is_named(name) -> None:
    with pytest.raises(ConfigError, match=rf"architecture: family '{name}' has no setting \['modle'\]"):
        recipe_of(architecture(name, modle=3), vocab=50)


@families
def test_moved_to_another_dtype_ties_hold(name, tokens) -> None:
    """Tables and shared layers."""
    model = build(architecture(name), vocab=50)
    before = ties(model)
    if model.recipe.form == "stack":
        assert any("embed.weight" in names for names in before) == model.recipe.tied
    model = model.bfloat16()
    assert ties(model) == before
    assert ask(model, tokens).dtype == torch.bfloat16


@families
def test_config_json_is_plain(name) -> None:
    import json

    config = config_of(build(architecture(name), vocab=50))
    assert json.loads(json.dumps(config)) == config
    assert config["model_type"] == FAMILIES[name].published.model_type
