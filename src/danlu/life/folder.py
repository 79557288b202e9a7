"""The folder of a life: where stages write, what is finished, and whether its inputs are still the same."""

from __future__ import annotations

import glob
import hashlib
import json
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePath
from typing import Any

from ..core.errors import ConfigError, DataError
from ..core.files import read_json, sha256, write_json
from .recipe import LifeRecipe
from .stages import Figures, Stage

PATHS = ("from", "base", "tokenizer")  # keys of a training recipe that hold a path


class LifeFolder:
    """out/<stage>/ holds a stage's files, out/stages/<stage>.json its key and figures, written when it is finished."""

    def __init__(self, path: Path, recipe: LifeRecipe, stages: dict[str, Stage], *, quiet: bool) -> None:
        self.path, self.recipe, self.stages, self.quiet = path, recipe, stages, quiet
        self._keys: dict[str, str] = {}
        self._hashes: dict[str, str] = {}

    @property
    def seed(self) -> int:
        return self.recipe.seed

    def of(self, name: str) -> Path:
        """The folder of a stage."""
        return self.path / name

    def stage_of(self, path: str) -> str | None:
        """The stage whose folder a path begins with, if it does."""
        first = PurePath(path).parts[:1]
        return first[0] if first and first[0] in self.stages else None

    def place(self, path: str) -> Path:
        """What a path in a recipe means: inside the folder if it begins with a stage's name, else the user's."""
        return self.path / path if self.stage_of(path) else Path(path).expanduser()

    def places(self, value: Any, key: str = "") -> Any:
        """A training recipe in which every path (``PATHS``) into a stage's folder is written out."""
        if isinstance(value, dict):
            return {name: self.places(item, name) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.places(item) for item in value]
        inside = key in PATHS and isinstance(value, str) and self.stage_of(value)
        return str(self.path / value) if inside else value

    def figures(self, name: str) -> Figures:
        """What a finished stage said."""
        return read_json(self._marker(name), "the marker of a finished stage")["figures"]

    def record(self, name: str) -> dict[str, Any]:
        """The whole marker of a finished stage: key, seconds, cpu_seconds, figures."""
        return read_json(self._marker(name), "the marker of a finished stage")

    # ── finished or not ──────────────────────────────────────────────────────────────────────────────────────────
    def finished(self, name: str) -> bool:
        """Whether the stage was finished with these very settings and inputs."""
        marker = self._marker(name)
        return marker.is_file() and read_json(marker, "the marker of a stage").get("key") == self.key(name)

    def begin(self, name: str) -> Path:
        """The stage's folder: as it was left if it was begun with the same inputs, else empty."""
        begun, folder = self._marker(f"{name}.begun"), self.of(name)
        same = begun.is_file() and read_json(begun, "the marker of a stage").get("key") == self.key(name)
        if not same:
            self._marker(name).unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            write_json(begun, {"key": self.key(name)})
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def finish(self, name: str, record: dict[str, Any]) -> None:
        """Written last: it is what makes a stage finished."""
        write_json(self._marker(name), {"key": self.key(name), **record})

    def clear(self) -> None:
        """Removes the folders of this recipe's stages and their markers, and nothing else."""
        for name in (*self.stages, "stages"):
            shutil.rmtree(self.path / name, ignore_errors=True)

    def key(self, name: str) -> str:
        """A hash of the stage's settings, the seed and the content of all it reads, earlier stages by their keys."""
        if name not in self._keys:
            spec = self.recipe.stages[name].write()
            read = [self._hash_of(name, path) for path in self.stages[name].reads(self)]
            text = json.dumps([spec, self.seed, read], sort_keys=True, ensure_ascii=False, default=str)
            self._keys[name] = hashlib.sha256(text.encode()).hexdigest()
        return self._keys[name]

    def _hash_of(self, reader: str, path: str) -> list[str]:
        if (stage := self.stage_of(path)) is None:
            return [path] if path.startswith("hf://") else [path, self._content(path)]
        order = list(self.stages)
        if order.index(stage) >= order.index(reader):
            raise ConfigError(f"stages.{reader} reads {path}, but the stage {stage} is not before it; change the order")
        return [path, self.key(stage)]

    def _content(self, path: str) -> str:
        if path not in self._hashes:
            self._hashes[path] = _digest(f"{p.name} {sha256(p)}" for p in _files(path))
        return self._hashes[path]

    def _marker(self, name: str) -> Path:
        return self.path / "stages" / f"{name}.json"


def _files(path: str) -> list[Path]:
    """The files that a path or pattern of the user means; raises DataError if there is none."""
    place = Path(path.partition("#")[0]).expanduser()
    found = sorted(p for p in place.rglob("*") if p.is_file()) if place.is_dir() else [place] if place.exists() else []
    found = found or sorted(Path(name) for name in glob.glob(str(place), recursive=True) if Path(name).is_file())
    if not found:
        what = "the folder is empty; put text into it" if place.is_dir() else "no such file or folder; check the path"
        raise DataError(what, file=path)
    return found


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
