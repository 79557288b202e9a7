"""Files to rows to documents: the reader by suffix, the format by name or by the first rows."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.errors import DataError, unknown
from .documents import Conversation, Document, Place, Text
from .formats import FORMATS, Format
from .opening import Opened, not_utf8, opened, suffix_of
from .readers import READERS, Row
from .recipe import Source
from .sources import locate

FIRST_ROWS = 8


def read_documents(source: Source | str) -> Iterator[Document]:
    """Every document of a source in order; a huge text comes in pieces. Raises DataError with file and line."""
    located = locate(Source(from_=source) if isinstance(source, str) else source)
    for path in located.files:
        with opened(path) as file:
            rows = rows_of(file)
            form, rows = form_of(located.source, path, rows)
            for row in rows:
                yield document_of(row, str(path), form)


def rows_of(file: Opened) -> Iterator[Row]:
    """The rows of an open file; raises DataError if there is none."""
    empty = True
    for row in READERS[suffix_of(file.path)]().rows(file):
        empty = False
        yield row
    if empty:
        raise DataError("is empty; strike it from the sources or fill it", file=file.path)


def document_of(row: Row, file: str, form: Format) -> Document:
    """What a row means."""
    place = Place(file, row.line)
    document = form.document(value_of(row, place), place)
    if isinstance(document, Text) and not (row.first and row.last):
        return replace(document, first=row.first, last=row.last)
    return checked(document)


def value_of(row: Row, place: Place) -> Any:
    """The row's JSON; raises DataError for what is neither JSON nor UTF-8."""
    try:
        value = json.loads(row.raw.decode())
        if b"\\ud" in row.raw or b"\\uD" in row.raw:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise not_utf8(error, place.file, place.line) from None
    except UnicodeEncodeError:
        raise place.error("holds half of a surrogate pair (\\ud800–\\udfff alone), which is no character") from None
    except json.JSONDecodeError as error:
        raise place.error(f"broken JSON ({error.msg} at column {error.colno}); repair or strike the row") from None
    except (RecursionError, ValueError) as error:
        raise place.error(f"broken JSON ({error}); repair or strike the row") from None
    return value


def checked(document: Document) -> Document:
    """Raises DataError for a conversation that has nothing to learn from."""
    if isinstance(document, Conversation):
        answers = [m for m in document.messages if m["role"] == "assistant" and m.get("weight", 1) > 0]
        if not any(m["content"].strip() for m in answers):
            raise document.place.error("no supervised token: no answer with text and a weight above 0; strike the row")
    return document


def form_of(source: Source, path: Path, rows: Iterable[Row]) -> tuple[Format, Iterator[Row]]:
    """The format of a file, named or detected from its first rows, and all its rows again."""
    rows = iter(rows)
    first = list(itertools.islice(rows, FIRST_ROWS))
    again = itertools.chain(first, rows)
    if source.format is not None:
        if source.format not in set(FORMATS) and ":" not in source.format:
            raise unknown("format", source.format, list(FORMATS), where=source.from_)
        return FORMATS[source.format](columns=source.columns, tags=source.tags), again
    values = [(row.line, value_of(row, Place(str(path), row.line))) for row in first]
    return detected(source, path, values), again


def detected(source: Source, path: Path, values: list[tuple[int, Any]]) -> Format:
    """The one format of highest rank that the first rows fit; raises DataError listing columns and needs."""
    forms = [FORMATS[name](columns=source.columns, tags=source.tags) for name in candidates(source)]
    fitting = [form for form in forms if values and all(form.fits(value) for _, value in values)]
    if fitting:
        return max(fitting, key=lambda form: form.rank)
    line, value = next(((n, v) for n, v in values if not any(form.fits(v) for form in forms)), values[0])
    found = f"the columns {_some(value)}" if isinstance(value, dict) else "a row without columns"
    needs = ", ".join(f"{name} {list(FORMATS[name].needs)}" for name in FORMATS)
    raise DataError(
        f"{found} fit no format; the formats need {needs}; map them with columns: {{field: column}}",
        file=path,
        line=line,
    )


def _some(row: dict[str, Any]) -> str:
    return str(list(row)) if len(row) <= 12 else f"{list(row)[:12]} and {len(row) - 12} more"


def candidates(source: Source) -> list[str]:
    """The formats that have every field and tag which the source maps."""
    fields, tags = set(source.columns or {}), set(source.tags or {})
    names = [n for n in FORMATS if fields <= {*FORMATS[n].needs, *FORMATS[n].takes} and tags <= set(FORMATS[n].tags)]
    if not names:
        every = sorted({field for name in FORMATS for field in (*FORMATS[name].needs, *FORMATS[name].takes)})
        raise unknown("field", ", ".join(sorted(fields | tags)), every, where=f"columns of {source.from_}")
    return names
