"""What a request says as token ids, checked against the room there is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, TypeVar

from ..core.errors import DanluError
from ..infer.generation import encode_prompt
from ..nn.model import Model
from ..tokenize import Tokenizer
from ..tokenize.template import Template
from .errors import Refused, too_long
from .schemas.chat import Message
from .tools import for_template

T = TypeVar("T")
LONGEST = 12  # characters a token at most, on average: a longer text is refused before it is encoded
RESERVED = {"messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token"}


class Prompts:
    """Bound to a tokenizer and to how many ids and tokens its model knows; safe to use from several threads.

    Raises: Refused that names the field at fault.
    """

    def __init__(self, tokenizer: Tokenizer, model: Model, context: int) -> None:
        self.tokenizer, self.vocab, self.context = tokenizer, model.source.vocab, context
        self.apart = model.dims.context if model.begin is not None else None  # an encoder reads; answers begin anew
        self.longest = context - 1 if self.apart is None else model.reach(model.source.context)
        self.foresees = model.foresees
        self._templates = lru_cache(16)(self._template)

    # ── texts and ids ────────────────────────────────────────────────────────────────────────────────────────────
    def encoded(self, prompt: str | Sequence[int], *, param: str = "prompt", begins: bool = True) -> list[int]:
        """The ids of a text as a document begins, or ids as they are given."""
        if isinstance(prompt, str):
            self._expect_short(len(prompt), param)
            return _named(param, lambda: self._ids(prompt, begins))
        self.expect_ids(prompt, param)
        return list(prompt)

    def expect_ids(self, ids: Sequence[int], param: str) -> None:
        if wrong := [i for i in ids if not 0 <= i < self.vocab]:
            raise Refused(
                f"{param}: {wrong[0]} is no token of the model; its ids are 0 … {self.vocab - 1}", param=param
            )

    def fitting(self, ids: list[int], answer: int | None, *, cut: int | None = None, param: str = "prompt") -> int:
        """How many tokens may be answered, with ``answer`` asked for (None: as many as fit); ``cut`` keeps the newest.

        Raises: Refused if there is no token, or prompt and answer have no room together.
        """
        if cut is not None:
            del ids[:-cut]
        if not ids:
            raise Refused(f"{param} is empty; give it a character or a token to go on from", param=param)
        if len(ids) > self.longest:
            raise too_long(f"{param} has {len(ids)} tokens, and the model reads {self.longest}; shorten it", param)
        room = self.context - len(ids) if self.apart is None else self.apart
        if answer is not None and answer > room:
            raise too_long(
                f"{param} has {len(ids)} tokens and {answer} are asked for; the model's context of {self.context} has "
                f"room for {room}: ask for so many at most, or shorten the prompt",
                "max_tokens",
            )
        return room if answer is None else answer

    def _ids(self, text: str, begins: bool) -> list[int]:
        if self.foresees and begins:
            return self.tokenizer.encode(text, special=True)  # [CLS] … [SEP], as it was trained
        whole = self.apart is not None
        return encode_prompt(self.tokenizer, text, whole=whole) if begins else self.tokenizer.encode(text)

    def _expect_short(self, characters: int, param: str) -> None:
        """A text that can never fit is not worth the time of encoding it."""
        most = max(self.longest, self.context)
        if characters > max(LONGEST * most, 10_000) and characters > self._longest_piece * most:
            said = f"{param} has {characters:,} characters, more than {most} tokens can hold; shorten it"
            raise too_long(said, param)

    @property
    def _longest_piece(self) -> int:
        return _longest(self.tokenizer)

    # ── conversations ────────────────────────────────────────────────────────────────────────────────────────────
    def rendered(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        extras: Mapping[str, Any] | None = None,
        asks: bool = True,
        goes_on: bool = False,
    ) -> list[int]:
        """A conversation up to where the answer begins; ``goes_on``: into the last message instead of a new one."""
        self._expect_short(sum(len(message.text) for message in messages), "messages")
        template = self._chosen(extras or {})
        rows = for_template([_row(message, self._developers) for message in messages])
        said = list(tools) or None
        if not goes_on:
            return _named("messages", lambda: template.render(rows, prompt=asks, tools=said, extras=extras).tokens)
        before, begun = rows[:-1], rows[-1]["content"]
        if not before:
            raise Refused("continue_final_message needs a message before the last", param="messages")
        ids = _named("messages", lambda: template.render(before, prompt=True, tools=said, extras=extras).tokens)
        return ids + _named("messages", lambda: self.tokenizer.encode(begun))

    @cached_property
    def _developers(self) -> bool:
        """Whether the template has a word of its own for developers, who are the system elsewhere."""
        return any("developer" in source for source in self.tokenizer.template.sources.values())

    def _chosen(self, extras: Mapping[str, Any]) -> Template:
        """The tokenizer's template; one of its own for other variables, of which few are kept."""
        if not self.tokenizer.template.exists:
            raise Refused(
                "the model has no chat template, so it knows no conversations; use /v1/completions", param="messages"
            )
        if wrong := sorted(RESERVED & set(extras)):
            raise Refused(f"chat_template_kwargs cannot set {wrong[0]!r}", param="chat_template_kwargs")
        return self._templates(json.dumps(extras, sort_keys=True)) if extras else self.tokenizer.template

    def _template(self, key: str) -> Template:
        return Template(self.tokenizer, self.tokenizer.template.sources)


def _row(message: Message, developers: bool) -> dict[str, Any]:
    """A message as templates read it."""
    role = "system" if message.role == "developer" and not developers else message.role
    row: dict[str, Any] = {"role": role, "content": message.text}
    for name in ("name", "tool_call_id", "reasoning_content"):
        if (value := getattr(message, name)) is not None:
            row[name] = value
    if message.tool_calls:
        row["tool_calls"] = [call.model_dump(exclude={"index"}, exclude_none=True) for call in message.tool_calls]
    return row


def _named(param: str, work: Callable[[], T]) -> T:
    """A mistake found in a field names it."""
    try:
        return work()
    except DanluError as error:
        raise Refused(f"{param}: {error}", param=param) from None


@lru_cache(4)
def _longest(tokenizer: Tokenizer) -> int:
    """Bytes of the longest piece: a text has at least its bytes divided by it as tokens."""
    return max((len(tokenizer.piece_bytes(i)) for i in range(tokenizer.vocab_size)), default=1)
