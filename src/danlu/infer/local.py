"""The model of this process behind the ports: ``Chat`` for conversations, ``Scorer`` for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ..core import config
from ..core.ports import Completion, Score
from ..nn.model import Model
from ..tokenize import Tokenizer
from .generation import Generation, encode_prompt
from .sampling import Sampling
from .scoring import Row, log_likelihoods


class Local:
    """A model and its tokenizer; settings are those of ``Sampling``, unknown ones are an error that lists them."""

    def __init__(self, model: Model, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model.eval(), tokenizer

    # ── Chat ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def chat(self, conversations: Sequence[Sequence[dict[str, Any]]], **settings: Any) -> list[Completion]:
        """The next answer of each conversation."""
        generation = self._answer(conversations, settings)
        for _ in generation:
            pass
        return generation.completions

    def stream(self, conversation: Sequence[dict[str, Any]], **settings: Any) -> Iterator[str]:
        """The next answer piece by piece."""
        generation = self._answer([conversation], settings)
        return (text for _, text in generation)

    def _answer(self, conversations: Sequence[Sequence[dict[str, Any]]], settings: dict[str, Any]) -> Generation:
        sampling = config.read(Sampling, settings, "chat")
        template = self.tokenizer.template
        prompts = [template.render(list(messages), prompt=True).tokens for messages in conversations]
        return Generation(self.model, self.tokenizer, prompts, sampling)

    # ── Scorer ───────────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def context(self) -> int:
        return self.model.dims.context

    def encode(self, text: str) -> list[int]:
        return encode_prompt(self.tokenizer, text)

    def byte_count(self, ids: Sequence[int]) -> int:
        special = self.tokenizer.special_ids
        return sum(len(self.tokenizer.piece_bytes(i)) for i in ids if i not in special)

    def score(self, rows: Sequence[Row]) -> list[Score]:
        return log_likelihoods(self.model, rows)
