"""Ollama's Modelfile: a chat template in the language of Go, read off what the Jinja template writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import ConfigError, DataError
from ..models.notes import Notes
from ..tokenize import Tokenizer
from .comparing import CONVERSATIONS, opening

SYSTEM, USER, ANSWER, NEXT = "\ue0b1", "\ue0b2", "\ue0b3", "\ue0b4"
"""Private characters in the place of what is said: no text holds them."""
KNOBS = {"temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "repetition_penalty": "repeat_penalty"}
"""generation_config.json → PARAMETER."""


@dataclass(frozen=True)
class Frame:
    """What stands around the words of each role; ``start`` where no system speaks, ``ask`` before an answer."""

    start: str
    around: Mapping[str, tuple[str, str]]
    ask: str

    def text(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The text of a conversation, as Ollama makes it of ``go``."""
        said = [f"{self.around[m['role']][0]}{m['content']}{self.around[m['role']][1]}" for m in messages]
        return ("" if messages[0]["role"] == "system" else self.start) + "".join(said) + self.ask

    def go(self) -> str:
        """The template in Go's text/template."""
        first = f'{{{{ if ne (index .Messages 0).Role "system" }}}}{_literal(self.start)}{{{{ end }}}}'
        roles = [
            f'if eq .Role "{role}" }}}}{_literal(before)}{{{{ .Content }}}}{_literal(after)}{{{{ '
            for role, (before, after) in self.around.items()
        ]
        loop = f"{{{{ range .Messages }}}}{{{{ {'else '.join(roles)}end }}}}{{{{ end }}}}"
        return (first if self.start else "") + loop + _literal(self.ask)


def modelfile(tokenizer: Tokenizer, notes: Notes, context: int, weights: str) -> str:
    """The Modelfile of a GGUF file beside it.

    Raises: ConfigError if the chat template does what Go's language is not told here.
    """
    lines = [f"FROM ./{weights}"]
    if tokenizer.template.exists:
        lines.append(f'TEMPLATE """{frame(tokenizer).go()}"""')
    stops = dict.fromkeys([*tokenizer.stops, *notes.stops])
    lines += [f'PARAMETER stop "{_quoted(tokenizer.piece(token))}"' for token in stops]
    lines.append(f"PARAMETER num_ctx {context}")
    given: dict[str, Any] = notes.generation or {}
    lines += [f"PARAMETER {theirs} {given[ours]}" for ours, theirs in KNOBS.items() if given.get(ours) is not None]
    return "\n".join(lines) + "\n"


def frame(tokenizer: Tokenizer) -> Frame:
    """Read off conversations of private characters, and checked on others.

    Raises: ConfigError if the template writes some of them in another way than role by role.
    """
    try:
        found = _read(tokenizer)
        same = all(found.text(rows) == _plain(tokenizer, rows, ask=True) for rows in CONVERSATIONS)
    except (DataError, ValueError):
        same = False
    if not same:
        raise ConfigError(
            "its chat template is not one that frames each role's words alike, so it cannot be told to Ollama; export "
            "it as gguf, which llama.cpp reads with the template as it is, or give it a plainer one"
        )
    return found  # type: ignore[reportPossiblyUnbound]


def _read(tokenizer: Tokenizer) -> Frame:
    user, answer = {"role": "user", "content": USER}, {"role": "assistant", "content": ANSWER}
    talk = [user, answer, {"role": "user", "content": NEXT}]
    head, rest = _plain(tokenizer, talk, ask=True).split(USER)
    between, rest = rest.split(ANSWER)
    again, tail = rest.split(NEXT)
    told = _plain(tokenizer, [user], ask=False)
    ask = _plain(tokenizer, [user], ask=True).removeprefix(told)
    after_user = tail.removesuffix(ask)
    after_answer = _plain(tokenizer, [user, answer], ask=False).split(ANSWER)[1]
    before_user = again.removeprefix(after_answer)
    start = head.removesuffix(before_user)
    opening, rest = _plain(tokenizer, [{"role": "system", "content": SYSTEM}, user], ask=False).split(SYSTEM)
    after_system = rest.split(USER)[0].removesuffix(before_user)
    around = {
        "system": (opening, after_system),
        "user": (before_user, after_user),
        "assistant": (between.removeprefix(after_user), after_answer),
    }
    return Frame(start, around, ask)


def _plain(tokenizer: Tokenizer, rows: Sequence[Mapping[str, str]], *, ask: bool) -> str:
    """The text without a bos that is put before every text anyway."""
    return tokenizer.template.text(rows, prompt=ask).removeprefix(opening(tokenizer))


def _literal(text: str) -> str:
    if '"""' in text:
        raise ConfigError('its chat template writes """, which a Modelfile cannot hold')
    return text.replace("{{", '{{ "{{" }}')


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
