"""Every scaling of rope: what each must keep whatever it stretches."""

from __future__ import annotations

import pytest
import torch

from danlu.core.spec import Spec, settings_of
from danlu.nn.positions import POSITIONS
from danlu.nn.scalings import SCALINGS, plain


def spec(name: str, factor: float = 4.0) -> Spec:
    known = settings_of(SCALINGS[name])
    return Spec(name, {key: value for key, value in {"factor": factor, "original": 64}.items() if key in known})


@pytest.mark.parametrize("name", list(SCALINGS))
@pytest.mark.parametrize("size", [8, 64, 128])
@pytest.mark.parametrize("base", [1e4, 5e5])
def test_no_wave_gets_faster_and_their_order_stays(name, size, base) -> None:
    waves, gain = spec(name).build(SCALINGS).frequencies(size, base)
    assert waves.shape == (size // 2,)
    assert waves.dtype == torch.float32
    assert waves.device.type == "cpu"
    assert gain > 0
    assert (waves <= plain(size, base) * (1 + 1e-6)).all()
    assert (waves >= plain(size, base) / 4 * (1 - 1e-6)).all()
    assert (waves.diff() < 0).all()


@pytest.mark.parametrize("name", list(SCALINGS))
def test_a_factor_of_one_changes_nothing(name) -> None:
    waves, gain = spec(name, 1.0).build(SCALINGS).frequencies(64, 1e4)
    torch.testing.assert_close(waves, plain(64, 1e4))
    assert gain == 1.0


@pytest.mark.parametrize("name", list(SCALINGS))
def test_built_without_memory_the_waves_are_there(name, newborn, tokens) -> None:
    position = {"use": "rope", "scaling": spec(name).write()}
    with torch.device("meta"):
        encoding = Spec.read(position).build(POSITIONS, newborn().dims)
    waves, _ = spec(name).build(SCALINGS).frequencies(8, 1e4)
    torch.testing.assert_close(encoding.waves, waves)


@pytest.mark.parametrize("name", list(SCALINGS))
def test_recipe_to_values_and_back(name, newborn) -> None:
    from danlu.models import Recipe

    recipe = newborn(position={"use": "rope", "scaling": spec(name).write()}).recipe
    assert Recipe.read(recipe.write()) == recipe
