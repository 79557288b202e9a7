"""The model of this process behind the ports: ``Chat`` for conversations, ``Scorer`` for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..core import config
from ..core.errors import DanluError
from ..core.ports import Completion, Score
from ..nn.model import Model
from ..tokenize import Tokenizer
from .generation import Generation, encode_prompt
from .packed import Prepared, resting
from .sampling import Sampling
from .scoring import Row, log_likelihoods

Messages = Sequence[dict[str, Any]]


class Local:
    """A model and its tokenizer; settings are those of ``Sampling``, an unknown one is an error that lists them.

    ``frozen`` promises that the weights will not change: the model is then laid out for decoding once, not a call.
    ``reach`` lets it score that many tokens at once on purpose, also beyond the context it was trained on.
    Raises: DanluError if there is no tokenizer, or the model has no positions for such a reach.
    """

    def __init__(
        self, model: Model, tokenizer: Tokenizer | None, *, frozen: bool = False, reach: int | None = None
    ) -> None:
        if tokenizer is None:
            raise DanluError("the model directory has no tokenizer; put its tokenizer.json beside config.json")
        if reach is not None and model.limit is not None and reach > model.limit:
            raise DanluError(
                f"the model has a table of {model.limit} positions and none beyond, so it cannot read {reach} tokens; "
                f"ask for {model.limit} or fewer"
            )
        self.reach = model.reach(reach or model.dims.context)
        self.model, self.tokenizer = resting(model), tokenizer
        self.serving = Prepared(self.model) if frozen else self.model

    # ── Chat ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def chat(self, conversations: Sequence[Messages], **settings: Any) -> list[Completion]:
        """The next answer of each conversation."""
        generation = self.answering(conversations, settings)
        for _ in generation:
            pass
        return generation.completions

    def stream(self, conversation: Messages, **settings: Any) -> Iterator[str]:
        """The next answer piece by piece."""
        generation = self.answering([conversation], settings)
        return (text for _, text in generation)

    def answering(self, conversations: Sequence[Messages], settings: Mapping[str, Any]) -> Generation:
        """The next answers, checked and ready to be generated."""
        sampling = config.read(Sampling, dict(settings), "chat")
        return Generation(self.serving, self.tokenizer, [self.asked(messages) for messages in conversations], sampling)

    def asked(self, messages: Messages) -> list[int]:
        """What the model reads before it answers: the conversation up to where the answer begins, as in training."""
        return self.tokenizer.template.render(messages, prompt=True).tokens

    # ── Scorer ───────────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def context(self) -> int:
        return self.reach

    def encode(self, text: str) -> list[int]:
        return encode_prompt(self.tokenizer, text)

    def byte_count(self, ids: Sequence[int]) -> int:
        special = self.tokenizer.special_ids
        return sum(len(self.tokenizer.piece_bytes(i)) for i in ids if i not in special)

    def score(self, rows: Sequence[Row]) -> list[Score]:
        return log_likelihoods(self.model, rows, reach=self.reach)
