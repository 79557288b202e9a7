"""What a request brings: of the right kind and within its range, or one sentence that says what would be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..core.errors import ConfigError, DanluError
from ..nn.model import Model


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """``value``, if it is a whole number from ``least`` to ``most``; raises ConfigError if not."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        upper = "or more" if most is None else f"to {most}"
        raise ConfigError(f"{name} {value!r}: must be a whole number, {least} {upper}")
    return value


def number(name: str, value: Any, least: float, most: float) -> float:
    """``value``, if it is a number from ``least`` to ``most``; raises ConfigError if not."""
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if not good or not least <= value <= most:
        raise ConfigError(f"{name} {value!r}: must be a number from {least:g} to {most:g}")
    return float(value)


def expect_prompt(model: Model, ids: Sequence[int], longest: int, called: str) -> None:
    """Raises: DanluError if it is empty, has an unknown id, or has more tokens than ``longest`` leaves room for."""
    vocab, encoder = model.source.vocab, model.begin is not None
    if not ids:
        raise DanluError(f"{called} is empty; give it a character or a token to go on from")
    if (wrong := next((i for i in ids if type(i) is not int or not 0 <= i < vocab), None)) is not None:
        raise DanluError(
            f"{called}: token id {wrong!r} is out of range, the model's ids are 0 … {vocab - 1};"
            " use the tokenizer that belongs to the model"
        )
    if len(ids) > longest - (not encoder):
        room = f"the encoder's context is {longest}" if encoder else f"the model's context is {longest} and must hold a"
        raise DanluError(
            f"{called} has {len(ids)} tokens, {room}{'' if encoder else ' new one too'}; shorten the prompt"
        )
