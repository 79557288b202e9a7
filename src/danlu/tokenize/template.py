"""One object from training to serving: a conversation becomes tokens with a weight each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import TemplateError, TemplateSyntaxError
from jinja2.exceptions import SecurityError

from ..core.errors import DanluError, DataError
from .marked import GUARD, guard
from .messages import checked, plain_roles
from .probes import PROBE_ANSWER, Marks, read_marks, role_probes
from .sandbox import Sandbox
from .spans import Span, answer_spans

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

Count = Literal["answers", "all", "last"]
LONGEST_SOURCE = 1_000_000  # characters of a template

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Rendered:
    """A conversation as ids, and what each counts in the loss: 0 for what is only read."""

    tokens: list[int]
    weights: list[float]


class UnsafeTemplate(DataError):
    """A chat template reached for what it must not, or for more time or memory than any needs."""


class Template:
    """A chat template bound to its tokenizer.

    The conversation is rendered as a whole, cut at the beginning and the end of each answer, and encoded piece by
    piece: so the ids before an answer are those a server feeds, and the answer's are those it would generate.

    Raises: DataError if there is no template, it is wrong, hostile or refuses the conversation, a role is unknown, or
    an answer that counts has no end-of-turn token.
    """

    def __init__(self, tokenizer: Tokenizer, sources: Mapping[str, str]) -> None:
        self._tokenizer, self._sources = tokenizer, dict(sources)
        self._compiled: dict[str, tuple[Sandbox, Any]] = {}
        self._marks: dict[tuple[str, str], Marks] = {}
        self._roles: dict[str, bool] = {}
        self._unsafe: UnsafeTemplate | None = None

    @property
    def sources(self) -> dict[str, str]:
        return dict(self._sources)

    @property
    def exists(self) -> bool:
        return bool(self._sources)

    @cached_property
    def end_of_turn(self) -> int | None:
        """The id that ends an answer; None if there is no template, or it writes none."""
        try:
            end = self.around("default", {}).end if self._sources else None
        except DanluError:
            return None
        return None if end is None else self._tokenizer.special[end]

    # ── a conversation ───────────────────────────────────────────────────────────────────────────────────────────
    def render(
        self,
        messages: Sequence[Message],
        *,
        count: Count = "answers",
        prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        extras: Mapping[str, Any] | None = None,
        file: str | Path | None = None,
        line: int | None = None,
    ) -> Rendered:
        """Ids and weights. ``prompt`` appends what asks for the next answer; ``extras`` are the template's own
        variables (``enable_thinking``); a message's ``"weight"`` multiplies its answer; ``file`` and ``line`` go into
        errors.
        """
        try:
            return self._render(messages, count, prompt, tools, extras or {})
        except DataError as error:
            raise DataError(error.sentence, file=file, line=line) from None

    def text(
        self,
        messages: Sequence[Message],
        *,
        prompt: bool = False,
        tools: Sequence[Mapping[str, Any]] | None = None,
        extras: Mapping[str, Any] | None = None,
    ) -> str:
        """The rendered text, as ``apply_chat_template(tokenize=False)`` of transformers gives it."""
        self.name_of(tools)
        rows = checked(messages, self._knows, lambda: self.roles)
        return self._run(rows, prompt, tools, extras or {}).replace(GUARD, "")

    def _render(
        self, messages: Sequence[Message], count: Count, prompt: bool, tools: Any, extras: Mapping[str, Any]
    ) -> Rendered:
        name = self.name_of(tools)
        rows = self._guarded(checked(messages, self._knows, lambda: self.roles))
        tools = self._guarded(tools) if tools else tools
        text = self._run(rows, prompt, tools, extras)
        marks = self.around(name, extras)

        def again(changed: Sequence[Message], asks: bool) -> str:
            return self._run(changed, asks, tools, extras)

        spans = answer_spans(text, rows, marks.header, marks.gap + (marks.end or ""), again, prompt)
        wanted = _wanted(rows, spans, count)
        if not prompt:
            self._check_ends(spans, wanted, marks, len(rows))
        weights = [_weight(message) for message in messages]
        return self._encode(text, [(span, weights[span.message] * wanted[n]) for n, span in enumerate(spans)], count)

    def _encode(self, text: str, spans: list[tuple[Span, float]], count: Count) -> Rendered:
        tokens: list[int] = []
        weights: list[float] = []
        rest = 1.0 if count == "all" else 0.0
        special = self._tokenizer.special_ids

        def add(piece: str, weight: float) -> None:
            if not piece:
                return
            ids = self._tokenizer.encode_marked(piece, continues=bool(tokens) and tokens[-1] not in special)
            tokens.extend(ids)
            weights.extend([weight] * len(ids))

        at = 0
        for span, weight in spans:
            add(text[at : span.start], rest)
            add(text[span.start : span.end], weight)
            at = span.end
        add(text[at:], rest)
        return Rendered(tokens, weights)

    def _check_ends(self, spans: list[Span], wanted: list[float], marks: Marks, turns: int) -> None:
        for span, weight in zip(spans, wanted, strict=True):
            if not weight or (span.closed and (marks.between or span.message == turns - 1)):
                continue
            remedy = "append it after each answer in the template, as in {{ message.content + eos_token }}"
            raise DataError(
                f"the chat template writes no end-of-turn token after the answer in message {span.message + 1}, "
                f"so the model would never learn to stop; {remedy}"
            )

    # ── roles ────────────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def roles(self) -> list[str]:
        """The roles this template writes."""
        return [role for role in self._candidates if self._knows(role)]

    @cached_property
    def _candidates(self) -> list[str]:
        return plain_roles(self._sources.values())

    def _knows(self, role: str) -> bool:
        if role not in self._roles:
            known = role in self._candidates
            self._roles[role] = known and self._writes(role)
        return self._roles[role]

    def _writes(self, role: str) -> bool:
        """Whether some conversation shows what the role says; a template that refuses all may speak for itself."""
        shown = [text for rows in role_probes(role) if (text := self._try(rows))]
        return not shown or any(PROBE_ANSWER in text for text in shown)

    # ── the template itself ──────────────────────────────────────────────────────────────────────────────────────
    def _run(self, messages: Any, prompt: bool, tools: Any, extras: Mapping[str, Any]) -> str:
        if self._unsafe is not None:
            raise self._unsafe
        sandbox, template = self._compile(self.name_of(tools))
        given = {"messages": messages, "tools": tools or None, "documents": None, "add_generation_prompt": prompt}
        try:
            return sandbox.run(template, {**self.named_tokens, **given, **extras})
        except SecurityError as error:
            raise UnsafeTemplate(f"the chat template does what it may not: {error.message}; use another") from None
        except TemplateError as error:
            raise DataError(f"the chat template refuses this conversation: {error.message}") from None
        except Exception as error:  # whatever a template's program runs into
            raise DataError(f"the chat template fails on this conversation ({type(error).__name__}: {error})") from None

    def _compile(self, name: str) -> tuple[Sandbox, Any]:
        if name not in self._compiled:
            source = self._sources[name]
            if len(source) > LONGEST_SOURCE:
                raise DataError(
                    f"the chat template has {len(source):,} characters; at most {LONGEST_SOURCE:,} are read"
                )
            sandbox = Sandbox()
            try:
                self._compiled[name] = sandbox, sandbox.from_string(source)
            except TemplateSyntaxError as error:
                raise DataError(f"line {error.lineno} of the chat template is wrong: {error.message}") from None
            except Exception as error:  # Jinja compiles to Python: what it lets through may still fail there
                raise DataError(f"the chat template does not compile: {error}") from None
        return self._compiled[name]

    def name_of(self, tools: Any) -> str:
        """Which of the templates serves a conversation with or without tools."""
        if not self._sources:
            who = self._tokenizer.source or "the tokenizer"
            raise DataError(f"{who} has no chat template; put a chat_template.jinja beside its tokenizer.json")
        if tools and "tool_use" in self._sources:
            return "tool_use"
        if "default" not in self._sources:
            raise DataError(f"no chat template is named 'default'; there are: {', '.join(sorted(self._sources))}")
        return "default"

    @cached_property
    def named_tokens(self) -> dict[str, str]:
        """The special tokens that a template may name: bos_token, eos_token and the like."""
        profile = self._tokenizer.profile
        roles = {f"{role}_token": text for role in ("bos", "eos", "pad", "unk") if (text := profile.name(role))}
        rest = {k: v for k, v in profile.rest.items() if k.endswith("_token") and isinstance(v, str)}
        return {**rest, **roles}

    def around(self, name: str, extras: Mapping[str, Any]) -> Marks:
        """What stands around an answer, read off a conversation of private characters."""
        key = (name, repr(sorted(extras.items())) if extras else "")
        if key not in self._marks:
            self._marks[key] = read_marks(lambda rows, prompt: self._try(rows, prompt, extras), self._special_pattern)
        return self._marks[key]

    def _try(
        self, messages: list[dict[str, str]], prompt: bool = False, extras: Mapping[str, Any] | None = None
    ) -> str:
        try:
            return self._run(messages, prompt, None, extras or {})
        except UnsafeTemplate as error:
            self._unsafe = error  # a template that does this to a conversation of one letter does it to all
            return ""
        except DataError:
            return ""

    @cached_property
    def _special_pattern(self) -> re.Pattern[str]:
        longest = sorted(self._tokenizer.special, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest)) or r"(?!)")

    def _guarded(self, value: Any) -> Any:
        """What users wrote, with every spelling of a special token marked as text."""
        if isinstance(value, str):
            return guard(value, self._special_pattern)
        if isinstance(value, Mapping):
            return {key: self._guarded(item) for key, item in value.items()}
        return [self._guarded(item) for item in value] if isinstance(value, (list, tuple)) else value


@cache
def chatml() -> str:
    """The template that danlu gives its own tokenizers: ``<|im_start|>role``, a line each, ``<|im_end|>``."""
    return resources.files("danlu.tokenize").joinpath("chatml.jinja").read_text(encoding="utf-8")


def _wanted(messages: Sequence[Message], spans: list[Span], count: Count) -> list[float]:
    """1 for each answer that counts."""
    if count == "last":
        return [float(n == len(spans) - 1) for n in range(len(spans))]
    if count in ("answers", "all"):
        return [1.0] * len(spans)
    raise DataError(f"the loss counts 'answers', 'all' or 'last', not {count!r}")


def _weight(message: Message) -> float:
    weight = message.get("weight", 1.0)
    if weight is None:
        return 1.0
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
        raise DataError(f"the weight of a message must be a number of 0 or more, found {weight!r}")
    return float(weight)
