"""What the model says: conversations and continuations, written down as they came."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ... import assembly
from ...core.errors import CheckpointError, ConfigError
from ...infer import Local, generate
from ...world import right
from ..folder import LifeFolder
from ..jsonl import read_rows, write_rows
from ..report.page import continuation, conversation
from . import STAGES, Figures, Stage

OPENING = 60  # characters of a held-out text that are given


@STAGES.add("samples")
class SamplesStage(Stage):
    """Lets the model answer and go on, greedily, and keeps every word for the report.

    ``chats`` are conversations of the recipe: a list of the user's turns, each answered before the next is asked.
    ``exercises`` adds ``count`` of an exam's questions with their verdict, evenly spread over kinds and languages;
    ``conversations`` the first turns of so many held-out conversations; ``texts`` continuations of held-out texts.

    Raises: ConfigError if there is nothing to say.
    Source: written for danlu.
    Truth:  tests/life/test_life_stages.py (the turns are those that Local gives; verdicts by the oracle).
    """

    title = ("Samples", "示例")

    def __init__(
        self,
        *,
        model: str,
        chats: list[list[str]] | None = None,
        exercises: str | None = None,
        conversations: str | None = None,
        texts: str | None = None,
        count: int = 8,
        max_tokens: int = 48,
    ) -> None:
        if not (chats or exercises or conversations or texts):
            raise ConfigError("samples: name chats, exercises, conversations or texts to say something about")
        self.model, self.chats, self.count, self.max_tokens = model, chats or [], count, max_tokens
        self.exercises, self.conversations, self.texts = exercises, conversations, texts

    def reads(self, life: LifeFolder) -> list[str]:
        return [self.model, *(path for path in (self.exercises, self.conversations, self.texts) if path)]

    def run(self, life: LifeFolder, folder: Path) -> Figures:
        model, tokenizer = assembly.load(life.place(self.model) / "final")
        if tokenizer is None:
            raise CheckpointError(f"{self.model}/final: holds no tokenizer; train the stage again")
        local = Local(model, tokenizer)
        rows = [*self._chats(local), *self._asked(life, local), *self._continued(life, local)]
        write_rows(folder / "samples.jsonl", rows)
        return {"samples": len(rows)}

    def _chats(self, local: Local) -> list[dict[str, Any]]:
        return [{"messages": self._talk(local, turns)} for turns in self.chats]

    def _talk(self, local: Local, turns: list[str]) -> list[dict[str, str]]:
        messages: list[dict[str, str]] = []
        for turn in turns:
            messages.append({"role": "user", "content": turn})
            (answer,) = local.chat([messages], max_tokens=self.max_tokens)
            messages.append({"role": "assistant", "content": answer.text})
        return messages

    def _asked(self, life: LifeFolder, local: Local) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        if self.exercises:
            rows += spread_rows(list(read_rows(life.place(self.exercises))), self.count)
        if self.conversations:
            held_out = list(read_rows(life.place(self.conversations)))
            rows += [
                {"messages": _opening(row["messages"])} for row in held_out[:: max(1, len(held_out) // self.count)]
            ]
        fitting = [row for row in rows if _fits(local, row["messages"])]
        answers = local.chat([row["messages"] for row in fitting], max_tokens=self.max_tokens) if fitting else []
        return [_answered(row, answer.text) for row, answer in zip(fitting, answers, strict=True)]

    def _continued(self, life: LifeFolder, local: Local) -> list[dict[str, Any]]:
        if not self.texts:
            return []
        held_out = [row["text"] for row in read_rows(life.place(self.texts))]
        openings = [text[:OPENING] for text in held_out[:: max(1, len(held_out) // self.count)]]
        found = generate(local.model, local.tokenizer, openings, max_tokens=self.max_tokens)
        return [{"prompt": p, "text": c.text} for p, c in zip(openings, found, strict=True)]

    def line(self, figures: Figures) -> str:
        return f"{figures['samples']} conversations and continuations"

    def section(self, life: LifeFolder, folder: Path, figures: Figures) -> str:
        shown = (
            continuation(row["prompt"], row["text"])
            if "prompt" in row
            else conversation(row["messages"], row.get("right"))
            for row in read_rows(folder / "samples.jsonl")
        )
        return "".join(shown)


def spread_rows(rows: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """About ``count`` rows, as many of each kind and language as of any other."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["tags"]["kind"], row["tags"]["language"]), []).append(row)
    each = max(1, count // len(groups)) if groups else 0
    return [row for group in groups.values() for row in group[:: max(1, len(group) // each)][:each]]


def _opening(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Up to the first question."""
    first = next(n for n, message in enumerate(messages) if message["role"] == "user")
    return messages[: first + 1]


def _fits(local: Local, messages: list[dict[str, Any]]) -> bool:
    return len(local.tokenizer.template.render(messages, prompt=True).tokens) < local.context


def _answered(row: dict[str, Any], text: str) -> dict[str, Any]:
    messages = [*row["messages"], {"role": "assistant", "content": text}]
    if "accept" not in row:
        return {"messages": messages}
    return {"messages": messages, "right": right(text, row["accept"], row.get("reject", ()))}
