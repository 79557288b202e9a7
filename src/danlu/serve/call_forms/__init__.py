"""How a model writes a call of a function in its answer: each family was taught its own way."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import takewhile
from typing import Any, ClassVar

from ...core.errors import DanluError
from ...core.registry import Registry
from ...infer.grammars import held
from ...tokenize import Tokenizer
from ..call_reader import CallReader
from ..tools import Tool, Tools

CALLS = 8  # of one answer that must call, at most
PROBE = "danlu_probe"


class CallForm(ABC):
    """A call is ``begin {"name": NAME, KEY: {…}} end``; several have ``between`` between them.

    A tokenizer may hold the marks as special tokens, or spell them.
    """

    begin: ClassVar[str]
    end: ClassVar[str]
    between: ClassVar[str]
    key: ClassVar[str]

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.special = tokenizer.special

    @abstractmethod
    def free(self) -> list[str]:
        """Rules (Lark) of text that may hold calls: ``found`` is what comes before the body of the first call, ``text``
        an answer without one.
        """

    @property
    def shown_ids(self) -> tuple[int, ...]:
        """Special tokens that must stay in the text for a reader to find the calls."""
        return tuple(self.special[mark] for mark in (self.begin.strip(), self.end.strip()) if mark in self.special)

    def reader(self, tools: Tools) -> CallReader:
        """For one answer, as its text comes."""
        names = frozenset(tool.name for tool in tools.callable)
        return CallReader(self.begin.strip(), self.end.strip(), names, sure=tools.held)

    def constraint(self, tools: Tools) -> dict[str, Any] | None:
        """For ``Sampling.constraint``: answers whose calls are as their schemas say; None if they are not held."""
        return {"grammar": "\n".join(self._rules(tools))} if tools.held else None

    def _rules(self, tools: Tools) -> Iterator[str]:
        more = 0 if tools.named or not tools.parallel else CALLS - 1
        rest = f"({quoted(self.between)} call){{0,{more}}}" if more else ""
        yield from [f"start: call {rest}"] if tools.forced else [f"start: found body {rest} | text", *self.free()]
        yield f"call: {self.mark(self.begin)} body"
        yield "body: " + " | ".join(f"body_{place}" for place, _ in enumerate(tools.callable))
        after, before = self.begin[len(self.begin.rstrip()) :], self.end[: len(self.end) - len(self.end.lstrip())]
        for place, tool in enumerate(tools.callable):
            head = quoted(f'{after}{{"name": "{tool.name}", "{self.key}": ')
            yield f"body_{place}: {head} arguments_{place} {quoted('}' + before)} {self.mark(self.end)}"
            yield f"arguments_{place}: %json {_schema(tool)}"

    def mark(self, text: str) -> str:
        """A mark as Lark writes it: the special token that it is, or its letters."""
        mark = text.strip()
        return f"<[{self.special[mark]}]>" if mark in self.special else quoted(mark)


CALL_FORMS: Registry[type[CallForm]] = Registry("call form", CallForm, __name__)


def quoted(text: str) -> str:
    """A Lark string; nothing for no text."""
    return json.dumps(text, ensure_ascii=False) if text else ""


def form_of(tokenizer: Tokenizer, name: str | None = None) -> CallForm:
    """The form of this name, or the one in which the chat template writes a call (hermes, if it writes none).

    Raises: ConfigError for a name that is not there.
    """
    if name is not None:
        return CALL_FORMS[name](tokenizer)
    forms = [CALL_FORMS[known](tokenizer) for known in CALL_FORMS]
    written = _answer(tokenizer)
    return next((form for form in forms if _reads(form, written)), CALL_FORMS["hermes"](tokenizer))


def shows_tools(tokenizer: Tokenizer) -> bool:
    """Whether the chat template tells the model of the functions it is offered."""
    return PROBE in _rendered(tokenizer, [{"role": "user", "content": "?"}], prompt=True)


def _schema(tool: Tool) -> str:
    """What a grammar holds the arguments to; one that is not strict may hold words of schemas it does not know."""
    schema = held(tool.parameters)
    schema["x-guidance"]["lenient"] = not tool.strict
    return json.dumps(schema, ensure_ascii=False)


def _reads(form: CallForm, answer: str) -> bool:
    reader = form.reader(_offered())
    reader.push(answer)
    reader.flush()
    return reader.called


def _offered() -> Tools:
    return Tools.read([{"type": "function", "function": {"name": PROBE, "parameters": {"type": "object"}}}])


def _answer(tokenizer: Tokenizer) -> str:
    """How the template writes an answer that is a call: what is not in the prompt for it."""
    asked = {"role": "user", "content": "?"}
    call = {"id": "call_0", "type": "function", "function": {"name": PROBE, "arguments": {"a": 1}}}
    whole = _rendered(tokenizer, [asked, {"role": "assistant", "content": "", "tool_calls": [call]}])
    pairs = zip(whole, _rendered(tokenizer, [asked], prompt=True), strict=False)
    return whole[sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs)) :]


def _rendered(tokenizer: Tokenizer, messages: list[dict[str, Any]], *, prompt: bool = False) -> str:
    try:
        return tokenizer.template.text(messages, prompt=prompt, tools=_offered().shown)
    except DanluError:  # no template, or one that refuses calls
        return ""
