"""Masks against tables written out by hand."""

from __future__ import annotations

import pytest
import torch

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.nn.masks import MASKS, Full, Mask
from danlu.nn.masks.causal import Causal
from danlu.nn.masks.prefix import Prefix
from danlu.nn.masks.window import Window

TABLES: list[tuple[Mask, str]] = [
    (Full(), "1111 1111 1111 1111"),
    (Causal(), "1000 1100 1110 1111"),
    (Window(size=2), "1100 1110 0111 0011"),
    (Window(size=1), "1000 0100 0010 0001"),
    (Causal() & Window(size=2), "1000 1100 0110 0011"),
    (Prefix(length=2), "1100 1100 1100 1100"),
    (Causal() | Prefix(length=2), "1100 1100 1110 1111"),
    (Causal() & Prefix(length=2) | Window(size=1), "1000 1100 1110 1101"),
]


def table(mask: Mask, length: int) -> str:
    at = torch.arange(length)[None]
    allowed = mask.allows(at[:, :, None], at[:, None])
    assert allowed.shape == (1, length, length)
    assert allowed.dtype == torch.bool
    return " ".join("".join(map(str, row)) for row in allowed[0].int().tolist())


@pytest.mark.parametrize(("mask", "expected"), TABLES, ids=lambda value: str(value))
def test_who_sees_whom(mask, expected) -> None:
    assert table(mask, 4) == expected


@pytest.mark.parametrize(("mask", "expected"), TABLES, ids=lambda value: str(value))
@pytest.mark.parametrize("length", [1, 2, 3, 4])
def test_the_simpler_mask_within_a_length_is_equal_there(mask, expected, length) -> None:
    assert table(mask.within(length), length) == table(mask, length)


def test_a_window_as_wide_as_the_row_is_no_window() -> None:
    assert (Causal() & Window(size=4)).within(4) == Causal()
    assert (Causal() & Window(size=4)).within(5) == Causal() & Window(size=4)
    assert (Window(size=9) | Causal()).within(4) == Full()


@pytest.mark.parametrize(("mask", "expected"), TABLES, ids=lambda value: str(value))
def test_masks_are_values_that_specs_describe(mask, expected) -> None:
    def spec(value: Mask) -> Spec:
        fields = {name: getattr(value, name) for name in value.__dataclass_fields__}
        return Spec(MASKS.name_of(value), {n: spec(v).write() if isinstance(v, Mask) else v for n, v in fields.items()})

    assert spec(mask).build(MASKS) == mask
    assert hash(spec(mask).build(MASKS)) == hash(mask)


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 token, found 0"):
        Window(size=0)
