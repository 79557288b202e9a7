"""A body of JSON, checked: types are strict, and an unknown field is a refusal and never silence."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, TypeVar

import pydantic
from pydantic_core import from_json

from ..errors import Refused

IGNORED = "accepted and without effect: nothing is kept, routed or billed here"


class Body(pydantic.BaseModel):
    """An object of JSON: 1 is a number and "1" is none; neither NaN nor infinities."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


B = TypeVar("B", bound=Body)


def read(kind: type[B], raw: bytes) -> B:
    """The body of a request; raises Refused that names the first field at fault."""
    try:
        return kind.model_validate_json(raw)
    except pydantic.ValidationError as error:
        raise _refused(kind, raw, error) from None


def _refused(kind: type[Body], raw: bytes, error: pydantic.ValidationError) -> Refused:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    first = max(found, key=lambda one: len(one["loc"])) if _one_field(found) else found[0]
    if first["type"] == "json_invalid":
        return Refused(f"the body is no JSON: {first['msg'].removeprefix('Invalid JSON: ')}", code="invalid_json")
    path = _path(first, raw)
    if first["type"] == "extra_forbidden":
        near = get_close_matches(path, list(kind.model_fields), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "; leave it out"
        return Refused(f"unknown field {path!r}{hint}", param=path, code="unknown_parameter")
    said = _said(first)
    named = said.partition(" ")[0]
    if not path and named in kind.model_fields:
        return Refused(said, param=named)
    return Refused(f"{path or 'the body'}: {said}", param=path or None)


def _said(error: Any) -> str:
    if error["type"] == "missing":
        return "the field is missing"
    said = error["msg"].removeprefix("Value error, ")
    for form in ("Input", "String", "List", "Dictionary"):
        said = said.replace(f"{form} should ", "must ", 1) if said.startswith(f"{form} should ") else said
    return said


def _one_field(found: list[Any]) -> bool:
    """Whether all complaints are about the forms one field may have: the deepest is then the closest."""
    return len({one["loc"][:1] for one in found}) == 1


def _path(error: Any, raw: bytes) -> str:
    """``messages.0.content``: pydantic's own words for the branches of a union are left out."""
    value: Any = from_json(raw)
    words: list[str] = []
    for step in error["loc"]:
        inside = step in value if isinstance(value, dict) else isinstance(value, list) and step in range(len(value))
        if inside:
            value = value[step]
        elif not (error["type"] == "missing" and step == error["loc"][-1]):
            continue
        words.append(str(step))
    return ".".join(words)
