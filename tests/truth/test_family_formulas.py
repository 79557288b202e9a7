"""Every family's formula of parameters against its model, built without memory; and the tour that prints them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from danlu.cli import main
from danlu.core.spec import Spec, settings_of
from danlu.models import on_meta, recipe_of
from danlu.models.families import FAMILIES
from danlu.models.families.formula import counted
from danlu.models.recipe import Recipe
from danlu.models.tour import example, tour
from danlu.nn.dims import Dims

BASES = (
    {"model": 768, "layers": 12, "heads": 12, "context": 512, "image": 224, "patch": 16},
    {"model": 48, "layers": 3, "heads": 4, "context": 20, "image": 12, "patch": 4},
    {"model": 96, "layers": 4, "heads": 6, "context": 7, "image": 30, "patch": 5},
)
CHANGES: dict[str, tuple[Any, ...]] = {
    "tied": (True, False), "bias": (True, False), "gated": (True,), "kv_heads": (1, 2), "head": (8, 24), "ffn": (40,),
    "groups": (2, 3), "embed": (12,), "types": (1, 3), "pad": (0, 5), "experts": (4,), "channels": (1,), "classes": (7,),
}  # fmt: skip
"""Settings that change how many parameters there are, for families that have them."""
REFUSED = {("qwen2", "head")}
"""Settings that a family cannot be published with."""
OPEN = {"decoder", "recurrent"}
"""Families whose count depends on which parts are chosen."""


def choices(name: str) -> Iterator[dict[str, Any]]:
    known = settings_of(FAMILIES[name])
    changes = [{key: value} for key in CHANGES if key in known and (name, key) not in REFUSED for value in CHANGES[key]]
    large, *small = ({key: value for key, value in base.items() if key in known} for base in BASES)
    yield large
    yield from (sizes | change for sizes in small for change in ({}, *changes))


@pytest.mark.parametrize("name", [name for name in FAMILIES if FAMILIES[name].formula])
def test_the_formula_counts_the_model(name) -> None:
    for settings in choices(name):
        recipe = recipe_of(Spec(name, settings), vocab=101)
        found = sum(parameter.numel() for parameter in on_meta(recipe).parameters())
        assert counted(FAMILIES[name].formula, recipe) == found, settings


def test_every_family_has_a_formula_unless_its_parts_are_free() -> None:
    assert {name for name in FAMILIES if not FAMILIES[name].formula} == OPEN


def test_letters_words_and_settings_of_parts() -> None:
    recipe = Recipe(dims=Dims(vocab=7, model=6, layers=2, heads=2, context=5), ffn=Spec("x", {"experts": 4}), tied=True)
    assert (
        counted("(2 - tied)·V·M + L·(ffn.experts·M² + 3·F) + C + H·K·D", recipe) == 7 * 6 + 2 * (4 * 36 + 72) + 5 + 12
    )


@pytest.mark.parametrize("formula", ["open('x')", "V / 2", "V if tied else M", "1.5·V"])
def test_a_formula_is_only_a_formula(formula) -> None:
    recipe = Recipe(dims=Dims(vocab=7, model=6, layers=2, heads=2, context=5))
    with pytest.raises((ValueError, KeyError)):
        counted(formula, recipe)


def test_the_tour_shows_every_family_with_a_recipe_that_works(capsys) -> None:
    assert main(["parts", "--families"]) == 0
    shown = capsys.readouterr().out
    lines = re.findall(r"^  (architecture: \{.*\})\n  # ([\d,]+) parameters", shown, re.MULTILINE)
    assert [yaml.safe_load(line)["architecture"]["use"] for line, _ in lines] == list(FAMILIES)
    for line, count in lines:
        recipe = recipe_of(Spec.read(yaml.safe_load(line)["architecture"]), vocab=8000)
        assert f"{sum(p.numel() for p in on_meta(recipe).parameters()):,}" == count, line
    for name in FAMILIES:
        assert f"\n  parameters: {FAMILIES[name].formula or 'depends on its parts'}\n" in shown


def test_the_line_names_only_what_a_newborn_needs() -> None:
    assert example(FAMILIES["vit"]) == {"model": 256, "layers": 4, "heads": 4, "image": 224, "patch": 16}
    stop = next(stop for stop in tour() if stop.name == "gpt2")
    assert stop.recipe == "architecture: {use: gpt2, model: 256, layers: 4, heads: 4, context: 512}"
    assert stop.parameters == (8000 + 512) * 256 + 4 * (12 * 256**2 + 13 * 256) + 2 * 256
