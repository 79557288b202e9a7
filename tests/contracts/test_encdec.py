"""Encoder-decoders of every family: what holds for a decoder holds while it looks at what an encoder read."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from stores import EXACT, part
from torch import Tensor

from danlu.core.errors import ConfigError, ShapeError
from danlu.core.spec import Spec, settings_of
from danlu.infer.packed import Prepared
from danlu.infer.runner import Runner
from danlu.models import build, load, recipe_of, save
from danlu.models.families import FAMILIES
from danlu.models.forms.encdec import EncDec, EncDecRecipe
from danlu.nn.layout import Layout

SIZES = {"model": 32, "layers": 2, "heads": 4, "context": 32}
NAMES = [name for name in FAMILIES if "begin" in settings_of(FAMILIES[name])]
families = pytest.mark.parametrize("name", NAMES)
RANDOM = torch.Generator().manual_seed(1)
SOURCE = torch.randint(0, 50, (3, 14), generator=RANDOM)
TARGET = torch.randint(0, 50, (3, 9), generator=RANDOM)
LENGTHS = (14, 3, 9)
SEEN = (torch.arange(14) < torch.tensor(LENGTHS)[:, None]).long()


def newborn(name: str) -> EncDec:
    """Weights large enough for errors to show."""
    model = build(Spec(name, SIZES), vocab=50).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    assert isinstance(model, EncDec)
    return model


def read(model: EncDec, source: Tensor, segment: Tensor | None = None):
    where = Layout.dense(source)
    return model.read(source, where if segment is None else Layout.of(where.position, segment))


@families
@pytest.mark.parametrize("cache", EXACT)
def test_cached_equals_whole(name, cache) -> None:
    """Token by token and in pieces, sources of unlike lengths."""
    model = newborn(name)
    with torch.no_grad():
        whole = model.translate(SOURCE, TARGET, SEEN)
        for cuts in (range(10), (0, 4, 5, 9)):
            memory, kept = read(model, SOURCE, SEEN), model.cache(part(cache), 3, 9, torch.float32, torch.device("cpu"))
            parts = [
                model(TARGET[:, a:b], replace(Layout.dense(TARGET[:, a:b], kept, a), memory=memory))
                for a, b in pairwise(cuts)
            ]
            torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)


@families
def test_what_is_made_of_a_memory_is_made_once(name) -> None:
    model = newborn(name)
    with torch.no_grad():
        memory = read(model, SOURCE, SEEN)
        model(TARGET, replace(Layout.dense(TARGET), memory=memory))
        made = dict(memory.made)
        assert sorted(made) == list(range(SIZES["layers"]))
        model(TARGET, replace(Layout.dense(TARGET), memory=memory))
        assert all(memory.made[layer][0] is made[layer][0] for layer in made)
        chosen = memory.select([2, 0])
        found = model(TARGET[[2, 0]], replace(Layout.dense(TARGET[[2, 0]]), memory=chosen))
        torch.testing.assert_close(found, model.translate(SOURCE, TARGET, SEEN)[[2, 0]], atol=1e-5, rtol=1e-5)


@families
def test_batched_ragged_sources_equal_each_alone(name) -> None:
    model = newborn(name)
    with torch.no_grad():
        together = model.translate(SOURCE, TARGET, SEEN)
        for row, length in enumerate(LENGTHS):
            alone = model.translate(SOURCE[row : row + 1, :length], TARGET[row : row + 1])
            torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-5)


@families
def test_packed_documents_equal_each_alone_with_gradients(name) -> None:
    """Two pairs in one row: each target sees its own source only, whatever the lengths; padding teaches nothing."""
    model = newborn(name)
    sources, targets = (8, 4), (3, 5)
    source = Layout.of(torch.tensor([[*range(8), *range(4), 0, 0]]), torch.tensor([[1] * 8 + [2] * 4 + [0] * 2]))
    target = Layout.of(torch.tensor([[*range(3), *range(5), 0]]), torch.tensor([[1] * 3 + [2] * 5 + [0]]))
    memory = model.read(SOURCE[:1], source)
    packed = model(TARGET[:1], replace(target, memory=memory))
    packed[:, :8].square().sum().backward()
    grads = {key: parameter.grad for key, parameter in model.named_parameters()}
    model.zero_grad()
    at, to = 0, 0
    for wide, long in zip(sources, targets, strict=True):
        alone = model.translate(SOURCE[:1, at : at + wide], TARGET[:1, to : to + long])
        torch.testing.assert_close(packed[:, to : to + long], alone, atol=1e-5, rtol=1e-5)
        alone.square().sum().backward()
        at, to = at + wide, to + long
    for key, parameter in model.named_parameters():
        torch.testing.assert_close(grads[key], parameter.grad, atol=1e-4, rtol=1e-4)


@families
def test_recomputed_blocks_give_the_same_gradients(name) -> None:
    model = newborn(name).train()
    found = []
    for recompute in (False, True):
        model.recompute = recompute
        assert model.encoder.recompute is model.decoder.recompute is recompute
        model.zero_grad()
        model.translate(SOURCE, TARGET, SEEN).square().sum().backward()
        found.append([parameter.grad for parameter in model.parameters()])
    for kept, made in zip(*found, strict=True):
        torch.testing.assert_close(kept, made, atol=1e-6, rtol=1e-6)


@families
def test_saved_equals_loaded(name, tmp_path) -> None:
    model = newborn(name)
    again, _ = load(save(model, None, tmp_path / "model"))
    assert isinstance(again, EncDec)
    assert again.recipe == model.recipe
    assert EncDecRecipe.read({k: v for k, v in model.recipe.write().items() if k != "form"}) == model.recipe
    with torch.no_grad():
        assert torch.equal(again.translate(SOURCE, TARGET, SEEN), model.translate(SOURCE, TARGET, SEEN))


@families
def test_moved_to_another_dtype_the_tables_stay_one(name) -> None:
    model = newborn(name).bfloat16()
    assert model.encoder.embed.weight is model.decoder.embed.weight
    assert model.translate(SOURCE, TARGET).dtype == torch.bfloat16


@families
@pytest.mark.parametrize("cache", ["none", *EXACT])
def test_generated_together_equals_alone(name, cache) -> None:
    """Rows that leave take their memory with them."""
    model = newborn(name)
    prompts = [row[:length].tolist() for row, length in zip(SOURCE, LENGTHS, strict=True)]

    def steps(chosen: list[list[int]], leaving: bool) -> Tensor:
        runner = Runner(Prepared(model), cache="none" if cache == "none" else part(cache))
        tokens = [runner.start(chosen, 8).argmax(-1)]
        while len(tokens) < 8:
            if leaving and len(tokens) == 4:
                runner.keep([2])
                tokens = [token[-1:] for token in tokens]
            tokens.append(runner.step(tokens[-1]).argmax(-1))
        return torch.stack(tokens, 1)

    assert torch.equal(steps(prompts, leaving=True), steps(prompts[2:], leaving=False))


@families
def test_a_target_without_a_source_is_refused(name) -> None:
    with pytest.raises(ShapeError, match="scores a target after a source"):
        newborn(name)(TARGET)


def test_recipes_that_make_no_sense_are_refused() -> None:
    recipe = recipe_of(Spec("t5", SIZES), vocab=50)
    assert isinstance(recipe, EncDecRecipe)
    wide = replace(recipe.encoder, dims=replace(recipe.encoder.dims, model=64))
    many = replace(recipe.encoder, dims=replace(recipe.encoder.dims, vocab=51))
    for changes, message in (
        ({"encoder": wide}, "equally wide, found 64 and 32"),
        ({"encoder": many}, "vocabularies must be equally large"),
        ({"decoder": replace(recipe.decoder, cross=False)}, "set decoder.cross"),
        ({"dims": replace(recipe.dims, layers=7)}, "dims of an encoder-decoder are those of its decoder"),
    ):
        with pytest.raises(ConfigError, match=message):
            replace(recipe, **changes)


def test_a_model_without_an_encoder_says_so() -> None:
    from danlu.core.errors import ShapeError
    from danlu.core.spec import Spec
    from danlu.models import build

    model = build(Spec("llama", {"model": 16, "layers": 1, "heads": 2, "context": 8}), vocab=20)
    tokens = torch.zeros(1, 4, dtype=torch.long)
    with pytest.raises(ShapeError, match="this Stack has no encoder to read with"):
        model.read(tokens, Layout.dense(tokens))
