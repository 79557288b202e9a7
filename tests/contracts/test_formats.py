"""What every format promises, whichever it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu.core.errors import ConfigError, DataError
from danlu.data.documents import ROLES, Conversation, Place, Text
from danlu.data.formats import FORMATS
from danlu.data.reading import checked, detected
from danlu.data.recipe import Source

PLACE = Place("rows.jsonl", 7)


@pytest.mark.parametrize("name", list(FORMATS))
def test_reads_its_example(name: str) -> None:
    form = FORMATS[name]()
    document = checked(form.document(form.example, PLACE))
    assert document.place == PLACE
    assert document.characters > 0
    if isinstance(document, Conversation):
        assert all(m["role"] in ROLES and isinstance(m["content"], str) for m in document.messages)
    else:
        assert isinstance(document, Text)


@pytest.mark.parametrize("name", list(FORMATS))
def test_its_example_is_detected_as_itself(name: str) -> None:
    form = detected(Source(from_="x"), Path("x"), [(1, FORMATS[name].example)])
    assert FORMATS.name_of(form) == name


@pytest.mark.parametrize("name", list(FORMATS))
def test_columns_rename_every_field(name: str) -> None:
    kind = FORMATS[name]
    renamed = {field: f"other_{field}" for field in (*kind.needs, *kind.takes)}
    row = {renamed[field]: value for field, value in kind.example.items()}
    form = kind(columns=renamed)
    assert form.fits(row)
    assert form.document(row, PLACE) == kind().document(kind.example, PLACE)
    assert not kind().fits(row)


@pytest.mark.parametrize("name", list(FORMATS))
def test_an_unknown_field_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="nonsense"):
        FORMATS[name](columns={"nonsense": "x"})
    with pytest.raises(ConfigError, match="nonsense"):
        FORMATS[name](tags={"nonsense": "x"})


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_missing_column_and_a_wrong_type_are_named(name: str) -> None:
    kind = FORMATS[name]
    for field in kind.needs:
        without = {key: value for key, value in kind.example.items() if key != field}
        with pytest.raises(DataError, match=rf"rows\.jsonl:7: .*'{field}'.*missing"):
            kind().document(without, PLACE)
        with pytest.raises(DataError, match=r"rows\.jsonl:7: "):
            kind().document({**kind.example, field: 3}, PLACE)
    with pytest.raises(DataError, match=r"rows\.jsonl:7: "):
        kind().document([1, 2], PLACE)


@pytest.mark.parametrize("name", list(FORMATS))
def test_equal_content_has_an_equal_digest_wherever_it_stands(name: str) -> None:
    form, row = FORMATS[name](), FORMATS[name].example
    here = form.document(row, PLACE)
    there = form.document(dict(reversed(row.items())), Place("other", 1))
    assert here.digest() == there.digest()
    changed = {key: f"{value}x" if isinstance(value, str) else value for key, value in row.items()}
    if changed != row:
        assert form.document(changed, PLACE).digest() != here.digest()
