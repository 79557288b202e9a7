"""A smaller model guesses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...core.errors import ConfigError
from ...nn.model import Model
from ..ahead import Ahead
from ..decoders import Decoder
from ..decoders.sample import drawn
from ..grammatical import grammatical
from ..rows import Row
from ..twins import Twins
from . import DRAFTERS, Drafter, Guess


@DRAFTERS.add("model")
class DraftModel(Drafter):
    """A smaller model with the same tokens goes on from the row, token by token, with keys and values of its own.

    With ``shared`` a token is drawn with the random number that the model itself will use in its place, and judged by
    choosing: x = F_q⁻¹(u) stays if F_p⁻¹(u) = x, so a seed says the same with and without guesses. Without it guesses
    are drawn from q for themselves and stay with Σ min(p, q), the most there can be, but a seed says something else.
    ``gib`` is what keys may take.  Raises: ConfigError if there is no model, or one whose past cannot be cut back.
    Source: Leviathan, Kalman, Matias 2023, arXiv:2211.17192, §2.
    Truth:  tests/truth/test_draft_model.py (equal texts whatever model drafts; drawn ones by χ²; keys are cut back).
    """

    wants_model = True

    def __init__(self, model: Model | None = None, *, tokens: int = 4, shared: bool = True, gib: float = 0.25) -> None:
        super().__init__(tokens=tokens)
        if model is None:
            raise ConfigError("to draft by a model, give a smaller one with the same tokens beside this one")
        self.shared = shared
        self.twins = Twins(model, int(gib * 2**30))

    @torch.inference_mode()
    def propose(self, rows: Sequence[Row], decoder: Decoder, most: int) -> list[Guess]:
        most = min(most, self.tokens)
        ahead = {place: Ahead(row) for place, row in enumerate(rows)}
        room = self.twins.room(rows, most)
        states = [row.random.get_state() for row in rows]
        laws: dict[int, list[Tensor]] = {place: [] for place in ahead}
        going = [place for place in ahead if room[place]]
        for _ in range(most):
            going = [place for place in going if not ahead[place].over]
            if going:
                self._go_on([ahead[place] for place in going], [laws[place] for place in going], decoder)
        if self.shared:
            for row, state in zip(rows, states, strict=True):
                row.random.set_state(state)
        return [self._guess(row, ahead[place], laws[place]) for place, row in enumerate(rows)]

    def _go_on(self, rows: Sequence[Ahead], laws: Sequence[list[Tensor]], decoder: Decoder) -> None:
        """One more token a row."""
        logits = grammatical(self.twins.logits(rows), rows)
        if self.shared:
            tokens = decoder.choose(logits, rows)
        else:
            law = decoder.law(logits, rows)
            tokens = drawn(law, rows)
            for kept, one in zip(laws, law, strict=True):
                kept.append(one)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            row.go_on(token)

    def _guess(self, row: Row, ahead: Ahead, laws: Sequence[Tensor]) -> Guess:
        return Guess(tuple(ahead.tokens[len(row.tokens) :]), torch.stack(list(laws)) if laws else None)
