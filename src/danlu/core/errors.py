"""What a user did that cannot be served: one sentence, with the place and the remedy.

A ``DanluError`` is for the user and ends the command with a clear line and exit code 2; an ``assert`` or any other
exception is our own mistake and keeps its traceback.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path


class DanluError(Exception):
    """One sentence for the user: what is wrong, where, and what to do about it."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)


class ConfigError(DanluError):
    """A recipe, a setting or a name that does not exist or does not fit."""


class ShapeError(DanluError):
    """Tensors, sizes or vocabularies that do not fit each other."""


class CheckpointError(DanluError):
    """A model directory or checkpoint that is damaged, unsafe, incomplete or unknown."""


class DataError(DanluError):
    """A file or row that cannot be read; ``line`` counts from 1."""

    def __init__(self, sentence: str, *, file: str | Path | None = None, line: int | None = None) -> None:
        self.file, self.line, self.sentence = file, line, sentence
        place = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
        super().__init__(place + sentence)

    def __reduce__(self) -> tuple[object, ...]:
        return _data_error, (self.sentence, self.file, self.line)


class MissingExtra(DanluError):
    """An optional library is not installed; the sentence says how to install it."""

    def __init__(self, library: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {library}, which is not installed: pip install 'danlu[{extra}]'")

    def __reduce__(self) -> tuple[object, ...]:
        return DanluError, (str(self),)


def _data_error(sentence: str, file: str | Path | None, line: int | None) -> DataError:
    return DataError(sentence, file=file, line=line)


def unknown(kind: str, name: str, known: list[str], *, where: str = "") -> ConfigError:
    """The error for a name that is not there: says what is, and what may have been meant."""
    place = f"{where}: " if where else ""
    near = get_close_matches(name, known, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return ConfigError(f"{place}no {kind} named {name!r}{hint}; there are: {', '.join(sorted(known)) or 'none'}")
