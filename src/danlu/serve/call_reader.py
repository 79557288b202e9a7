"""The calls in an answer, as its text comes: what is told is text or JSON that is whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from .tools import read_object

BETWEEN = " \t\r\n;,"  # may stand between bare calls
HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*"([^"\\]*)"\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)')


@dataclass(frozen=True)
class Fragment:
    """A piece of call ``index``: id and name with its first piece only; the arguments of all pieces join to JSON."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass
class Said:
    """What a piece of the answer adds."""

    text: str = ""
    calls: list[Fragment] = field(default_factory=list)


@dataclass
class Braces:
    """Follows a JSON object from its first brace: where it closes, and where an object inside it first does."""

    depth: int = 0
    at: int = 0
    quoted: bool = False
    escaped: bool = False
    inner: int | None = None
    end: int | None = None

    def follow(self, text: str) -> None:
        """Goes on from where it was to the end of the text, or of the object."""
        while self.end is None and self.at < len(text):
            self._one(text[self.at])
            self.at += 1
            if self.depth == 0 and text[self.at - 1] == "}" and not self.quoted:
                self.end = self.at

    def _one(self, letter: str) -> None:
        if self.quoted:
            self.quoted = self.escaped or letter != '"'
            self.escaped = letter == "\\" and not self.escaped
        elif letter == '"':
            self.quoted = True
        elif letter in "{[":
            self.depth += 1
        elif letter in "}]":
            self.depth -= 1
            if self.depth == 1 and self.inner is None:
                self.inner = self.at + 1


class CallReader:
    """Cuts an answer into text and calls; ``push`` pieces of it, then ``flush``.

    ``begin`` stands before a call, anywhere in the text; where it is "", an answer that begins with a brace is a call.
    Unless ``sure`` that calls are valid (a grammar saw to it), one is told when it is whole, names a function of
    ``names`` and has arguments that are a JSON object; what only looked like one is text.
    """

    def __init__(self, begin: str, end: str, names: frozenset[str], *, sure: bool = False) -> None:
        self.begin, self.end, self.names, self.sure = begin, end, names, sure
        self._opening = re.compile(re.escape(begin) if begin else rf"\A[{BETWEEN}]*(?=\{{)")
        self._lead = ""  # what stood before what may be a call
        self._held, self._spoke, self._braces = "", False, Braces()
        self._calls: list[dict[str, Any]] = []
        self._told = 0  # characters of the arguments of a call that is being told
        self._state: Callable[[Said], bool] = self._text

    @property
    def called(self) -> bool:
        """Whether there was a call."""
        return bool(self._calls)

    def message(self) -> list[dict[str, Any]]:
        """The calls as a message has them."""
        return [
            {"id": c["id"], "type": "function", "function": {k: c[k] for k in ("name", "arguments")}}
            for c in self._calls
        ]

    def push(self, piece: str) -> Said:
        """What can be told now, and could not before."""
        self._held += piece
        said = Said()
        while self._state(said):
            continue
        return said

    def flush(self) -> Said:
        """The rest, when nothing more will come."""
        said = self.push("")
        rest = self._held if self._state != self._call else self._lead + self._held
        if self._state != self._end and not self._telling and (rest.strip(BETWEEN) or not self._calls):
            said.text += rest
        self._held = ""
        return said

    @property
    def _telling(self) -> bool:
        """Whether a part of a call was told that is not whole."""
        return self._state == self._call and self._told > 0

    # ── each goes one step on and says whether there is more to do ───────────────────────────────────────────────
    def _text(self, said: Said) -> bool:
        found = self._opening.search(self._held) if self.begin or not self._spoke else None
        if found is not None:
            before = self._held[: found.start()].rstrip()
            self._say(said, before)
            self._lead = self._held[len(before) : found.end()]
            self._held, self._braces, self._told = self._held[found.end() :], Braces(), 0
            self._state = self._call
            return True
        certain = self._held[: len(self._held) - self._risk()].rstrip()
        self._say(said, certain)
        self._held = self._held[len(certain) :]
        return False

    def _call(self, said: Said) -> bool:
        stripped = self._held.lstrip()
        if stripped and stripped[0] != "{":
            self._say(said, self._lead)
            self._state = self._text
            return True
        self._braces.follow(self._held)
        if self.sure:
            self._tell(said)
        if self._braces.end is None:
            return False
        whole, self._held = self._held[: self._braces.end], self._held[self._braces.end :]
        self._state = self._end
        if not self._told:
            self._judge(whole, said)
        return True

    def _end(self, said: Said) -> bool:
        rest = self._held.lstrip()
        if self.end and self.end.startswith(rest) and rest != self.end:
            return False
        self._held = rest.removeprefix(self.end) if rest.startswith(self.end) else self._held
        self._state = self._text
        return True

    # ── telling ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _say(self, said: Said, text: str) -> None:
        said.text += text
        self._spoke = self._spoke or bool(text)

    def _risk(self) -> int:
        """How many characters at the end may yet become the mark of a call."""
        if not self.begin:
            return 0 if self._spoke or self._held.strip(BETWEEN) else len(self._held)
        sizes = range(min(len(self.begin) - 1, len(self._held)), 0, -1)
        return next((n for n in sizes if self.begin.startswith(self._held[-n:])), 0)

    def _tell(self, said: Said) -> None:
        """The arguments as far as they are there."""
        head = HEAD.match(self._held)
        if head is None:
            return
        if not self._told:
            self._add(said, head[1])
        stop = len(self._held) if self._braces.inner is None else self._braces.inner
        self._argue(said, self._held[head.end() + self._told : stop])
        self._told = stop - head.end()

    def _judge(self, whole: str, said: Said) -> None:
        """A call that is whole, or text."""
        value = read_object(whole, {})
        given = value.get("arguments", value.get("parameters", {}))
        given = read_object(given, None) if isinstance(given, str) else given
        if value.get("name") not in self.names or not isinstance(given, dict):
            self._say(said, self._lead + whole)
            self._state = self._text
            return
        self._add(said, value["name"])
        self._argue(said, _written(given))

    def _add(self, said: Said, name: str) -> None:
        self._calls.append({"id": f"call_{uuid4().hex[:24]}", "name": name, "arguments": ""})
        said.calls.append(Fragment(len(self._calls) - 1, self._calls[-1]["id"], name))

    def _argue(self, said: Said, piece: str) -> None:
        if piece:
            self._calls[-1]["arguments"] += piece
            said.calls.append(Fragment(len(self._calls) - 1, arguments=piece))


def _written(value: dict[str, Any]) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isascii() or not re.search(r"[\ud800-\udfff]", text) else json.dumps(value)
