"""Recipes: strict reading, exact writing, dotted overrides, and errors that name the place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from danlu.core import config
from danlu.core.errors import ConfigError
from danlu.core.spec import Spec


@dataclass(frozen=True, kw_only=True)
class Inner:
    length: int = 8
    mode: Literal["a", "b"] = "a"
    from_: str = "x"


@dataclass(frozen=True, kw_only=True)
class Outer:
    rate: float
    inner: Inner = Inner()
    part: Spec = field(default_factory=lambda: Spec("rope"))
    items: list[Inner] = field(default_factory=list)
    ramp: list[tuple[int, int]] = field(default_factory=list)
    name: str | None = None
    steps: int | None = None


def recipe(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_what_it_writes(tmp_path: Path) -> None:
    path = recipe(
        tmp_path,
        "rate: 1e-4\ninner: {length: 16, from: file}\npart: {use: rope, scaling: {use: yarn}}\nitems: [{mode: b}]\nramp: [[0, 1], [10, 4]]\n",
    )
    read = config.load(Outer, path)
    assert read.rate == 1e-4
    assert read.inner == Inner(length=16, from_="file")
    assert read.items == [Inner(mode="b")]
    assert read.ramp == [(0, 1), (10, 4)]
    assert config.read(Outer, config.write(read)) == read
    assert config.write(read)["inner"]["from"] == "file"


def test_overrides_reach_nested_keys_lists_and_parts(tmp_path: Path) -> None:
    path = recipe(tmp_path, "rate: 1\nitems: [{}, {}]\npart: rope\n")
    read = config.load(
        Outer, path, ["inner.length=32", "items.1.mode=b", "part.base=500000.0", "name=null", "steps=1e3"]
    )
    assert read.inner.length == 32
    assert read.items[1].mode == "b"
    assert read.part == Spec("rope", {"base": 500000.0})
    assert read.steps == 1000


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rate: 1\nrat: 2\n", r"r\.yaml: no key named 'rat' \(did you mean 'rate'\?\); there are: inner, items"),
        ("rate: 1\ninner: {lenght: 2}\n", r"inner: no key named 'lenght' \(did you mean 'length'\?\)"),
        ("rate: high\n", r"rate: expected float, found str 'high'"),
        ("rate: 1\ninner: {length: 2.5}\n", r"length: expected int, found float 2\.5"),
        ("rate: 1\ninner: {mode: c}\n", r"mode: no choice named 'c'"),
        ("rate: 1\nitems: 3\n", r"items: expected a list, found int"),
        ("inner: {}\n", r"the key 'rate' is missing"),
        ("rate: [\n", r"r\.yaml:2: not valid YAML"),
        ("- 1\n", r"a recipe is a mapping of keys, found list"),
        ("rate: 1\npart: {base: 3}\n", r"part: write a name or \{use: name"),
        ("rate: true\n", r"rate: expected float, found bool"),
    ],
)
def test_mistakes_are_named_with_their_place(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        config.load(Outer, recipe(tmp_path, text))


@pytest.mark.parametrize(
    ("override", "sentence"),
    [("rate", "is no override"), ("items.4.mode=b", "'4' is no index of a list of 0"), ("rate.x=1", "'rate' holds 1")],
)
def test_bad_overrides(tmp_path: Path, override: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        config.load(Outer, recipe(tmp_path, "rate: 1\nitems: []\n"), [override])


def test_absent_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        config.load(Outer, tmp_path / "none.yaml")
    (tmp_path / "l.yaml").write_bytes("rate: é".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8 at byte 6"):
        config.load(Outer, tmp_path / "l.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        config.load(Outer, tmp_path)
