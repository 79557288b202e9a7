"""Documents to tokens with weights, cut by the recipe's rule; every cut is counted, nothing is cut in silence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..tokenize.skeletons import Skeletons
from .documents import Conversation, Document, Text
from .pieces import PIECE, pieces
from .recipe import LossOn, TooLong

if TYPE_CHECKING:
    from ..tokenize import Tokenizer

Arrays = tuple[np.ndarray, np.ndarray]
EXAMPLES = 5
ONE = np.float32(1)


@dataclass(frozen=True)
class Encoded:
    """One document's tokens (n,) and how much predicting each of them counts (n,); the first is never predicted."""

    tokens: np.ndarray
    weights: np.ndarray
    line: int
    characters: int = 0


@dataclass
class Notes:
    """What was cut or dropped, by reason: rows, tokens and the first places."""

    reasons: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, reason: str, tokens: int, place: str) -> None:
        self.merge({reason: {"rows": 1, "tokens": tokens, "examples": [place]}})

    def merge(self, other: dict[str, dict[str, Any]]) -> None:
        for reason, facts in other.items():
            own = self.reasons.setdefault(reason, {"rows": 0, "tokens": 0, "examples": []})
            own["rows"] += facts["rows"]
            own["tokens"] += facts["tokens"]
            own["examples"] = (own["examples"] + facts["examples"])[:EXAMPLES]


class Encoder:
    """Turns documents into tokens; ``length`` is the row's length, None where rows are windows of joined text."""

    def __init__(self, tokenizer: Tokenizer, *, length: int | None, too_long: TooLong) -> None:
        self.tokenizer, self.length, self.too_long = tokenizer, length, too_long
        self._skeletons: dict[LossOn, Skeletons] = {}
        same = tokenizer.bos == tokenizer.eos
        self.head = [] if tokenizer.bos is None or same else [tokenizer.bos]
        self.tail = [] if tokenizer.eos is None else [tokenizer.eos]

    def encode(self, documents: Sequence[Document], loss_on: LossOn, notes: Notes) -> Iterator[list[Encoded]]:
        """For each document what it becomes: one Encoded, several pieces, or nothing (then ``notes`` says why)."""
        texts = iter(self._texts([document for document in documents if isinstance(document, Text)]))
        chats = iter(self._chats([document for document in documents if isinstance(document, Conversation)], loss_on))
        for document in documents:
            if isinstance(document, Text):
                yield self._fitted_text(document, next(texts), notes)
            else:
                yield self._fitted_conversation(document, next(chats), loss_on, notes)

    def _texts(self, documents: list[Text]) -> Iterator[np.ndarray]:
        """The tokens of each text with its ends; short ones are encoded together, long ones piece by piece."""
        short = iter(self.tokenizer.encode_batch([d.text for d in documents if len(d.text) <= PIECE]))
        for document in documents:
            head, tail = self.head if document.first else [], self.tail if document.last else []
            if len(document.text) <= PIECE:
                yield np.array([*head, *next(short), *tail], np.uint32)
                continue
            ids = (self.tokenizer.encode_batch([piece])[0] for piece in pieces([document.text]))
            yield np.concatenate([np.array(some, np.uint32) for some in (head, *ids, tail)])

    def _fitted_text(self, document: Text, tokens: np.ndarray, notes: Notes) -> list[Encoded]:
        if (not document.text or document.text.isspace()) and document.first and document.last:
            notes.add("empty", len(tokens), str(document.place))
            return []
        whole = Encoded(tokens, np.broadcast_to(ONE, len(tokens)), document.place.line, document.characters)
        if self.length is None or 2 <= len(tokens) <= self.length + 1:
            return [whole]
        if len(tokens) < 2:
            return self._predicting([whole], notes, document)
        if self.too_long in ("split", "drop_oldest_turns"):
            notes.add("split", len(tokens), str(document.place))
            return self._predicting(list(self._split(whole)), notes, document)
        return self._refused(document, len(tokens), notes)

    def _fitted_conversation(
        self, document: Conversation, known: Arrays | None, loss_on: LossOn, notes: Notes
    ) -> list[Encoded]:
        whole = self._rendered(document, loss_on, known)
        if self.length is None or len(whole.tokens) <= self.length + 1:
            return [whole]
        if self.too_long == "split":
            notes.add("split", len(whole.tokens), str(document.place))
            return self._predicting(list(self._split(whole)), notes, document)
        if self.too_long == "drop_oldest_turns" and (shorter := self._newest(document, loss_on, self.length + 1)):
            lost = len(whole.tokens) - len(shorter.tokens)
            notes.add("oldest turns dropped", lost, str(document.place))
            return [shorter]
        return self._refused(document, len(whole.tokens), notes)

    def _refused(self, document: Document, size: int, notes: Notes) -> list[Encoded]:
        if self.too_long == "error":
            raise document.place.error(
                f"has {size} tokens where a row holds {(self.length or 0) + 1}; raise pack.length or set pack.too_long"
            )
        notes.add("too long, row dropped", size, str(document.place))
        return []

    def _split(self, whole: Encoded) -> Iterator[Encoded]:
        """Pieces that overlap by one token, so that every prediction is made exactly once."""
        assert self.length is not None
        for start in range(0, len(whole.tokens) - 1, self.length):
            stop = start + self.length + 1
            characters = whole.characters if start == 0 else 0
            yield Encoded(whole.tokens[start:stop], whole.weights[start:stop], whole.line, characters)

    def _predicting(self, parts: list[Encoded], notes: Notes, document: Document) -> list[Encoded]:
        """Without those that predict nothing; windows keep all, since joined text predicts across its seams."""
        if self.length is None:
            return parts
        kept = [part for part in parts if part.weights[1:].any()]
        for part in parts:
            if not part.weights[1:].any():
                notes.add("piece without a supervised token", len(part.tokens), str(document.place))
        return kept

    def _chats(self, documents: list[Conversation], loss_on: LossOn) -> list[Arrays | None]:
        """Tokens and weights of the conversations that need no template of their own; None for the others."""
        if not documents:
            return []
        if loss_on not in self._skeletons:
            self._skeletons[loss_on] = Skeletons(self.tokenizer, loss_on)
        plain = [document.messages for document in documents if not document.tools]
        made = iter(self._skeletons[loss_on].render(plain))
        return [None if document.tools else next(made) for document in documents]

    def _rendered(self, document: Conversation, loss_on: LossOn, known: Arrays | None = None) -> Encoded:
        tokens, weights = known or self._template(document, loss_on)
        if not weights[1:].any():
            raise document.place.error(
                "no supervised token: the template trains nothing of this row; check loss_on and the message weights"
            )
        self._check_ends(document, tokens, weights, loss_on)
        return Encoded(tokens, weights, document.place.line, document.characters)

    def _template(self, document: Conversation, loss_on: LossOn) -> Arrays:
        place, tools = document.place, document.tools or None
        rendered = self.tokenizer.template.render(
            document.messages, count=loss_on, tools=tools, file=place.file, line=place.line
        )
        return np.asarray(rendered.tokens, np.uint32), np.asarray(rendered.weights, np.float32)

    def _check_ends(self, document: Conversation, tokens: np.ndarray, weights: np.ndarray, loss_on: LossOn) -> None:
        """Every trained answer must train its end of turn, or the model never learns to stop."""
        stops = self.tokenizer.stops
        trained = weights > 0
        wanted = _trained_answers(document, loss_on)
        ends = tokens[trained]
        found = sum(int(np.count_nonzero(ends == stop)) for stop in stops) if stops else wanted
        if found < wanted:
            raise document.place.error(
                f"an untrained end of turn: {wanted} answers are trained but only {found} of their ends {list(stops)}; "
                "repair the chat template"
            )

    def _newest(self, document: Conversation, loss_on: LossOn, limit: int) -> Encoded | None:
        """The system message and as many of the newest turns as fit, or None if not even the last fits."""
        messages = document.messages
        system = 1 if messages[0]["role"] == "system" else 0
        starts = [i for i, m in enumerate(messages) if m["role"] == "user" and i > system]
        low, high, best = 0, len(starts) - 1, None
        while low <= high:
            middle = (low + high) // 2
            shorter = self._trimmed(document, [*messages[:system], *messages[starts[middle] :]], loss_on)
            if shorter is not None and len(shorter.tokens) <= limit:
                best, high = shorter, middle - 1
            else:
                low = middle + 1
        return best

    def _trimmed(self, document: Conversation, messages: list[dict[str, Any]], loss_on: LossOn) -> Encoded | None:
        """The shorter conversation; None if nothing of it is trained any more."""
        shorter = Conversation(messages, document.place, document.tools)
        if not _trained_answers(shorter, loss_on):
            return None
        return self._rendered(shorter, loss_on)


def _trained_answers(document: Conversation, loss_on: LossOn) -> int:
    answers = [m for m in document.messages if m["role"] == "assistant"]
    counted = answers[-1:] if loss_on == "last" else answers
    return sum(m.get("weight", 1) > 0 for m in counted)
