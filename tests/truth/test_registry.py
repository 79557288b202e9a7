"""Registries and specs: names found, settings checked before anything is built."""

from __future__ import annotations

import sys
from abc import ABC
from pathlib import Path

import pytest

from danlu.core.catalog import sections
from danlu.core.errors import ConfigError
from danlu.core.registry import Registry
from danlu.core.spec import Spec


class Shape(ABC):  # noqa: B024
    """A kind made for this test."""


class Color(ABC):  # noqa: B024
    """Another kind, nested in the first."""


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory):
    folder: Path = tmp_path_factory.mktemp("parts")
    (folder / "test_shapes").mkdir()
    (folder / "test_shapes/__init__.py").write_text("")
    (folder / "test_shapes/square.py").write_text(
        "from tests_registry_seam import SHAPES, COLORS, Shape, Color\n"
        "@COLORS.add('red')\nclass Red(Color):\n    def __init__(self, *, shade: int = 1): self.shade = shade\n"
        "@SHAPES.add('square')\nclass Square(Shape):\n"
        "    def __init__(self, size, *, side: float, color: Color = None): self.size, self.side, self.color = size, side, color\n"
    )
    import types

    seam = types.ModuleType("tests_registry_seam")
    seam.SHAPES, seam.COLORS = (
        Registry("test shape", Shape, "test_shapes"),
        Registry("test color", Color, "test_shapes"),
    )
    seam.Shape, seam.Color = Shape, Color
    sys.modules["tests_registry_seam"] = seam
    sys.path.insert(0, str(folder))
    yield seam.SHAPES
    sys.path.remove(str(folder))
    del sys.modules["tests_registry_seam"]
    for registries in (Registry.by_kind, Registry.by_base):
        for key in ("test shape", "test color", Shape, Color):
            registries.pop(key, None)


def test_a_file_in_the_folder_is_found_and_built(shapes) -> None:
    assert list(shapes) == ["square"]
    square = Spec.read({"use": "square", "side": 2.0, "color": {"use": "red", "shade": 3}}).build(shapes, 7)
    assert (square.size, square.side, square.color.shade) == (7, 2.0, 3)
    assert shapes.name_of(square) == "square"


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ({"use": "squere", "side": 1}, r"no test shape named 'squere' \(did you mean 'square'\?\); there are: square"),
        ({"use": "square", "sid": 1}, r"test shape 'square' has no setting \['sid'\]; it has \['color', 'side'\]"),
        ({"use": "square"}, r"test shape 'square' needs the setting \['side'\]"),
        (
            {"use": "square", "side": 1, "color": {"use": "red", "shad": 1}},
            r"test shape\.color: test color 'red' has no setting",
        ),
        ({"use": "nowhere.at:All"}, "cannot be imported"),
    ],
)
def test_mistakes_are_named(shapes, raw, sentence) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Spec.read(raw).build(shapes, 7)


def test_a_part_by_import_path(shapes) -> None:
    assert shapes["collections:OrderedDict"].__name__ == "OrderedDict"


def test_a_name_is_registered_once(shapes) -> None:
    with pytest.raises(ValueError, match="registered twice"):
        shapes.add("square")(object)


def test_sections_join_their_lines() -> None:
    text = "Does it.\n\nx = y\n\nRaises: A if b\n    and c.\nSource: X 2020.\nTruth:  tests/t.py.\n"
    assert sections(text) == {"Raises": "A if b and c.", "Source": "X 2020.", "Truth": "tests/t.py."}
