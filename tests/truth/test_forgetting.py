"""Gains and losses of two models whose codes are known."""

from __future__ import annotations

import math

import pytest

from danlu.evaluate import forgetting


def test_the_gain_is_the_difference_of_code_lengths(characters, uniform) -> None:
    """Before: 8 bits a character everywhere. After: digits cost log2(10) bits, letters 11."""

    def law(_, after):
        return sum(-math.log(10) if letter.isdigit() else -11 * math.log(2) for letter in after)

    changes = forgetting(characters(uniform), characters(law), {"domain": ["0123456789"], "general": ["abcdef", "ghi"]})
    found = {change.kind: change.gain for change in changes}
    assert found["domain"] == pytest.approx(8 - math.log2(10))
    assert found["general"] == pytest.approx(8 - 11)
    assert changes[0].write()["gain_bits_per_byte"] == changes[0].gain


def test_each_kind_is_measured_on_its_own_texts(characters, uniform) -> None:
    (only,) = forgetting(characters(uniform), characters(uniform), {"domain": ["four", "ab"]})
    assert (only.gain, only.after.texts, only.after.bytes_) == (0.0, 2, 4)
