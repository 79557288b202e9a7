"""Many conversations to tokens at once: the text around their contents is rendered once for each shape of conversation.

The first conversation of a shape runs through the template twice: as it is, and traced (see ``tracing``). Later ones of
the same shape, whose contents answer the template's looks alike, take the text around their contents from the trace and
encode only what is theirs. The ids and weights are those of ``Template.render``; where that cannot be known, nothing is
given and the caller renders.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import DanluError
from .marked import GUARD, Plain
from .template import Count
from .tracing import FIRST, Look, Trace, TracingSandbox, Untraceable, mark

if TYPE_CHECKING:
    from .tokenizer import Tokenizer

Part = str | int  # constant text, or the number of the message whose content stands here
VARIANTS, TRIALS, SHAPES = 12, 40, 4096


@dataclass(frozen=True)
class Ids:
    """Special tokens and constant text, encoded."""

    ids: list[int]
    weight: float


@dataclass(frozen=True)
class Words:
    """Text with contents in it; ``bare``: no leading space is put before it."""

    parts: list[Part]
    bare: bool
    weight: float

    def filled(self, contents: Sequence[str]) -> str:
        return "".join(part if isinstance(part, str) else contents[part] for part in self.parts)


@dataclass(frozen=True)
class Skeleton:
    """What surrounds the contents of conversations that answer ``looks`` alike."""

    looks: list[Look]
    steps: list[Ids | Words]

    def fits(self, contents: Sequence[str]) -> bool:
        return all(look.holds(contents) for look in self.looks)


class Skeletons:
    """Renders conversations of one tokenizer and one ``count``."""

    def __init__(self, tokenizer: Tokenizer, count: Count) -> None:
        self.tokenizer, self.template = tokenizer, tokenizer.template
        self.count: Count = count
        self._known: dict[tuple[Any, ...], list[Skeleton]] = {}
        self._tried: Counter[tuple[Any, ...]] = Counter()
        self._traced: Any = None
        special = sorted(tokenizer.special, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, [*special, GUARD])))
        plain = not any(t["lstrip"] or t["rstrip"] for t in tokenizer.description["added_tokens"])
        self.usable = self.template.exists and tokenizer.marked.piecewise and plain

    def render(
        self, conversations: Sequence[Sequence[Mapping[str, Any]]]
    ) -> list[tuple[np.ndarray, np.ndarray] | None]:
        """Tokens (n,) and weights (n,) of each conversation; None where the template itself must be asked."""
        chosen = [self._choose(messages) for messages in conversations]
        texts: dict[bool, list[str]] = {False: [], True: []}
        for found in chosen:
            for step in found[0].steps if found else ():
                if isinstance(step, Words):
                    texts[step.bare].append(step.filled(found[1]))  # type: ignore[index]
        engine = self.tokenizer.marked.engine
        ids = {bare: iter(engine(bare).encode_batch(some) if some else []) for bare, some in texts.items()}
        return [_assembled(found[0], ids) if found else None for found in chosen]

    def _choose(self, messages: Sequence[Mapping[str, Any]]) -> tuple[Skeleton, list[str]] | None:
        """The skeleton that fits a conversation, traced if there is none yet."""
        if not self.usable or not all(_plain(message) for message in messages):
            return None
        contents = [message["content"] for message in messages]
        if any(not content or self._special.search(content) for content in contents):
            return None
        shape = tuple((message["role"], message.get("weight")) for message in messages)
        known = self._known.setdefault(shape, [])
        for skeleton in known:
            if skeleton.fits(contents):
                return skeleton, contents
        if len(known) < VARIANTS and self._tried[shape] < TRIALS:
            self._tried[shape] += 1
            if (skeleton := self._trace(messages, contents)) is not None:
                known.append(skeleton)
                return skeleton, contents
        if len(self._known) > SHAPES:
            self._known.clear()
        return None

    def _trace(self, messages: Sequence[Mapping[str, Any]], contents: list[str]) -> Skeleton | None:
        """The skeleton of a conversation, if it gives what the template gives."""
        trace = Trace(contents)
        try:
            wanted = self.template.render(messages, count=self.count)
            text = self._traced_text(trace, [message["role"] for message in messages])
            skeleton = Skeleton(trace.looks, _merged(self._steps(text, messages, trace)))
        except (Untraceable, DanluError):
            return None
        texts = [step.filled(contents) if isinstance(step, Words) else "" for step in skeleton.steps]
        made = self._assemble_one(skeleton, texts)
        if made is None or made[0].tolist() != wanted.tokens or made[1].tolist() != _rounded(wanted.weights):
            return None
        return skeleton

    def _assemble_one(self, skeleton: Skeleton, texts: list[str]) -> tuple[np.ndarray, np.ndarray] | None:
        engine = self.tokenizer.marked.engine
        words = [(step.bare, text) for step, text in zip(skeleton.steps, texts, strict=True) if isinstance(step, Words)]
        ids = {bare: iter([engine(bare).encode(text) for b, text in words if b == bare]) for bare in (False, True)}
        return _assembled(skeleton, ids)

    def _traced_text(self, trace: Trace, roles: list[str]) -> str:
        if self._traced is None:
            sandbox = TracingSandbox()
            self._traced = sandbox, sandbox.from_string(self.template.sources[self.template.name_of(None)])
        sandbox, template = self._traced
        given = {"messages": trace.probes(roles), "tools": None, "documents": None, "add_generation_prompt": False}
        try:
            text = sandbox.run(template, {**self.template.named_tokens, **given})
        except Untraceable:
            raise
        except Exception as error:  # whatever a template's program runs into on probes
            raise Untraceable(str(error)) from None
        return text

    def _steps(self, text: str, messages: Sequence[Mapping[str, Any]], trace: Trace) -> list[Ids | Words]:
        """The text cut at its answers and at its special tokens, as rendering encodes it."""
        marks = self.template.around(self.template.name_of(None), {})
        spans = _answers(text, messages, marks.header, marks.gap + (marks.end or ""))
        for number, content in enumerate(trace.contents):
            if marks.header in content:
                raise Untraceable("a content that spells what begins an answer")
            trace.looks.append(Look(number, "in", (marks.header,), False))
        rest = 1.0 if self.count == "all" else 0.0
        steps: list[Ids | Words] = []
        at = 0
        for number, start, end in spans:
            counts = self.count != "last" or number == spans[-1][0]
            weight = messages[number].get("weight")
            self._add(steps, text[at:start], rest)
            self._add(steps, text[start:end], (1.0 if weight is None else float(weight)) if counts else 0.0)
            at = end
        self._add(steps, text[at:], rest)
        return steps

    def _add(self, steps: list[Ids | Words], piece: str, weight: float) -> None:
        """One piece of the text, as ``Marked.encode`` takes it."""
        last = steps[-1] if steps else None
        continues = isinstance(last, Words) or (last is not None and last.ids[-1] not in self.tokenizer.special_ids)
        cuts = self.tokenizer.marked.cut(piece, continues=continues)
        steps += [Ids([cut], weight) if isinstance(cut, int) else self._words(cut, weight) for cut in cuts]

    def _words(self, plain: Plain, weight: float) -> Ids | Words:
        parts = _parts(plain.text)
        if any(isinstance(part, int) for part in parts):
            self._check_edges(parts)
            return Words(parts, plain.bare, weight)
        ids = self.tokenizer.marked.engine(plain.bare).encode(plain.text.replace(GUARD, ""))
        if not ids:
            raise Untraceable("text of no token")
        return Ids(ids, weight)

    def _check_edges(self, parts: list[Part]) -> None:
        """No special token may be spelled half by the template and half by a content."""
        for special in self.tokenizer.special:
            for cut in range(1, len(special)):
                for part in parts:
                    if isinstance(part, str) and (part.endswith(special[:cut]) or part.startswith(special[cut:])):
                        raise Untraceable(f"text beside a content that may become {special}")
        if any(isinstance(a, int) and isinstance(b, int) for a, b in pairwise(parts)):
            raise Untraceable("contents side by side")


def _plain(message: Mapping[str, Any]) -> bool:
    return type(message.get("content")) is str and set(message) <= {"role", "content", "weight"}


def _parts(text: str) -> list[Part]:
    """Constant text and message numbers, in order."""
    cut = re.split(f"([{chr(FIRST)}-\U000ffffd])", text)
    return [ord(piece) - FIRST if i % 2 else piece for i, piece in enumerate(cut) if piece]


def _answers(text: str, messages: Sequence[Mapping[str, Any]], header: str, end: str) -> list[tuple[int, int, int]]:
    """(message, start, end) of each answer, where each stands between what begins and what ends one."""
    answers = [n for n, message in enumerate(messages) if message["role"] == "assistant"]
    if not header or not end or text.count(header) != len(answers):
        raise Untraceable("answers between other marks than usual")
    spans, at = [], 0
    for number in answers:
        start = text.find(header, at) + len(header)
        if not text.startswith(mark(number) + end, start):
            raise Untraceable("an answer that is not written as it is")
        at = start + 1 + len(end)
        spans.append((number, start, at))
    return spans


def _merged(steps: list[Ids | Words]) -> list[Ids | Words]:
    """Neighboring constants of one weight as one."""
    merged: list[Ids | Words] = []
    for step in steps:
        last = merged[-1] if merged else None
        if isinstance(step, Ids) and isinstance(last, Ids) and last.weight == step.weight:
            merged[-1] = Ids([*last.ids, *step.ids], step.weight)
        else:
            merged.append(step)
    return merged


def _assembled(skeleton: Skeleton, ids: dict[bool, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Tokens and weights; None if a text came to nothing, so that what follows it might begin otherwise."""
    tokens: list[int] = []
    counts, weights, empty = [], [], False
    for step in skeleton.steps:
        found = step.ids if isinstance(step, Ids) else next(ids[step.bare])
        empty = empty or not found
        tokens += found
        counts.append(len(found))
        weights.append(step.weight)
    made = np.asarray(tokens, np.uint32), np.repeat(np.asarray(weights, np.float32), counts)
    return None if empty else made


def _rounded(weights: list[float]) -> list[float]:
    return np.asarray(weights, np.float32).tolist()
