"""What a prompt must be before a model reads it."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.errors import DanluError
from ..nn.model import Model


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
