"""Calls that make much of little, refused before they are made: repetition, padding, powers, wide formats."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2.exceptions import SecurityError

LONGEST = 4_000_000  # characters or entries of one value
WIDEST = 10_000  # of a padding, an indentation, a batch
BITS = 1 << 16  # of one whole number
WIDTH = re.compile(r"\d{5,}|\*")

PADDING = {"center", "ljust", "rjust", "zfill", "expandtabs", "to_bytes"}
PADDING_FILTERS = {"center", "indent", "batch", "slice", "wordwrap", "truncate", "tojson", "round", "urlize"}
SLOW_FILTERS = {"urlize", "pprint", "striptags", "wordwrap", "xmlattr"}


def check_operator(operator: str, left: Any, right: Any) -> None:
    """Raises SecurityError for ``'a' * 10**9``, ``9**9**9`` and ``'%999999999d' % 1``."""
    if operator == "*":
        _check_times(left, right)
    elif operator == "**" and isinstance(left, int) and isinstance(right, int):
        if abs(left) > 1 and left.bit_length() * abs(right) > BITS:
            _refuse("a power is too large")
    elif operator == "%" and isinstance(left, (str, bytes)):
        check_format(left if isinstance(left, str) else left.decode("latin-1"), right)


def check_call(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raises SecurityError for methods of texts and numbers whose result would be too large."""
    owner, name = getattr(function, "__self__", None), getattr(function, "__name__", "")
    if not isinstance(owner, (str, bytes, int)):
        return
    given = [*args, *kwargs.values()]
    if name in PADDING:
        _check_widths(given, owner.count("\t") if name == "expandtabs" and isinstance(owner, str) else 1)
    elif name == "replace":
        _check_replace(owner, given)
    elif name == "join" and given:
        _check_join(owner, given[0])
    elif name == "translate":
        _refuse("translate is not available")


def check_filter(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Raises SecurityError for filters whose result would be too large or take too long."""
    values = [
        a for a in args if isinstance(a, (str, bytes, int, float, list, tuple, dict))
    ]  # not context or environment
    given = [*values[1:], *kwargs.values()]
    if name in PADDING_FILTERS:
        lines = str(values[0]).count("\n") + 1 if name == "indent" and values else 1
        _check_widths(given, lines)
    if name in SLOW_FILTERS and values and len(str(values[0])) > 100_000:
        _refuse(f"filter {name!r} gets more than 100,000 characters")
    if name == "replace" and values:
        _check_replace(values[0], given)
    if name == "format" and values:
        check_format(str(values[0]), given)
    if name == "join" and values:
        _check_join(next((a for a in given if isinstance(a, str)), ""), values[0])
    if name == "sum" and any(isinstance(a, (list, tuple, str)) for a in given[1:] or kwargs.values()):
        _refuse("sum adds numbers")


def _check_times(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > BITS:
            _refuse("a product is too large")
        return
    for many, times in ((left, right), (right, left)):
        if isinstance(many, (str, bytes, list, tuple)) and isinstance(times, int) and len(many) * times > LONGEST:
            _refuse(f"a repetition makes more than {LONGEST:,} characters or entries")


def _check_widths(given: Sequence[Any], times: int) -> None:
    if any(isinstance(a, int) and abs(a) * max(times, 1) > max(WIDEST, 100 * times) for a in given):
        _refuse(f"a width is larger than {WIDEST:,}")
    if any(isinstance(a, str) and len(a) * max(times, 1) > LONGEST for a in given):
        _refuse("a padding is too long")


def check_format(form: str, given: Any) -> None:
    """Raises SecurityError for formats that are wide or repeat long values."""
    if WIDTH.search(form):
        _refuse("a format has a width of five digits or one from outside")
    values = given if isinstance(given, (list, tuple)) else [given]
    if re.search(r"\{[^{}]*\{", form) and any(isinstance(a, int) and abs(a) > WIDEST for a in values):
        _refuse("a format takes its width from a large number")
    fields = form.count("{") + form.count("%")
    if fields * max([0, *(len(a) for a in values if isinstance(a, (str, list, tuple, dict)))]) > LONGEST:
        _refuse("a format repeats a long value")


def _check_replace(owner: Any, given: Sequence[Any]) -> None:
    if len(given) >= 2 and isinstance(owner, str) and isinstance(given[0], str) and isinstance(given[1], str):
        found = owner.count(given[0]) if given[0] else len(owner) + 1
        if found * len(given[1]) > LONGEST:
            _refuse("a replacement is too large")


def _check_join(separator: Any, items: Any) -> None:
    if isinstance(items, (list, tuple, str, range)) and isinstance(separator, (str, bytes)):
        parts = sum(len(item) for item in items if isinstance(item, str)) if not isinstance(items, range) else 0
        if parts + len(items) * len(separator) > LONGEST:
            _refuse("a joined text is too long")


def _refuse(reason: str) -> None:
    raise SecurityError(reason)
