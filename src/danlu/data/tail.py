"""Where the held-out tail of a source begins, by characters: at int(n · (1 - share)) of n."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..core.files import read_json, write_json
from .documents import Document
from .opening import opened
from .reading import document_of, form_of, rows_of
from .sources import Located


def cut_of(located: Located, share: float, note: Path) -> list[int]:
    """[file, row, character] of the cut; found by reading the source once, and kept in ``note``."""
    if note.is_file():
        return read_json(note, "the place of the tail")
    sizes = [sum(d.characters for d in _documents(located, number)) for number in range(len(located.files))]
    left = int(sum(sizes) * (1 - share))
    file = 0
    while file < len(sizes) - 1 and left >= sizes[file]:
        left -= sizes[file]
        file += 1
    cut = [file, *_place(located, file, left)]
    write_json(note, cut)
    return cut


def _place(located: Located, file: int, left: int) -> list[int]:
    row = 0
    for row, document in enumerate(_documents(located, file)):
        if left < document.characters:
            return [row, left]
        left -= document.characters
    return [row + 1, 0]


def _documents(located: Located, number: int) -> Iterator[Document]:
    path = located.files[number]
    with opened(path) as file:
        form, rows = form_of(located.source, path, rows_of(file))
        for row in rows:
            yield document_of(row, str(path), form)
