"""Questions to prompts in one wording, with as many shots as fit."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .questions import Question
from .tasks import Form, Task


@dataclass(frozen=True)
class Wording:
    """A form at work: ``by`` says whether the answer is the choice's letter or its text."""

    form: Form
    letters: str
    by: str = "letter"

    def header(self, subject: str) -> str:
        return _fill(self.form.header, subject=subject)

    def item(self, question: Question) -> str:
        """The question with its options, up to where the answer begins."""
        text = question.text.strip() if self.form.strip else question.text
        options = [
            _fill(self.form.option, letter=letter, text=choice)
            for letter, choice in zip(self.letters, question.choices, strict=False)
        ]
        return _fill(self.form.question, question=text) + "".join(options) + self.form.ask

    def answers(self, question: Question) -> list[str]:
        """What may follow ``item``: one text a choice, with the gap before it."""
        spoken = self.letters[: len(question.choices)] if self.by == "letter" else question.choices
        return [self.form.gap + answer for answer in spoken]

    def shot(self, question: Question) -> str:
        return self.item(question) + self.answers(question)[question.answer] + self.form.end


@dataclass(frozen=True)
class Prompt:
    """A prompt that fits, and how many shots it kept; ``header`` tells whether even that had to go."""

    text: str
    shots: int
    header: bool = True


def fitted(
    wording: Wording,
    task: Task,
    shots: Sequence[Question],
    question: Question,
    room: int,
    measure: Callable[[str], int],
) -> Prompt:
    """Header, shots, question; shots are dropped, the last or the longest first, then the header, until it fits.

    ``room`` is what the context leaves beside the longest answer, ``measure`` the length of a text, both in tokens.
    The bare question is returned even if it does not fit: what is then cut is the caller's to count.
    """
    header, item = wording.header(task.subject(question.subject)), wording.item(question)
    kept = [wording.shot(shot) for shot in shots]
    while measure(text := header + "".join(kept) + item) > room:
        if not kept:
            return Prompt(item, 0, header=False)
        kept = _dropped(kept, task.crop, measure)
    return Prompt(text, len(kept))


def _dropped(shots: list[str], crop: str, measure: Callable[[str], int]) -> list[str]:
    """One shot fewer; shots of the same greatest length go together, as in CMMLU's script."""
    if crop == "last":
        return shots[:-1]
    sizes = [measure(shot) for shot in shots]
    return [shot for shot, size in zip(shots, sizes, strict=True) if size < max(sizes)]


def _fill(template: str, **values: str) -> str:
    """``str.format`` for plain names, which leaves braces inside the values alone."""
    fields = string.Formatter().parse(template)
    return "".join(literal + (values[name] if name is not None else "") for literal, name, _, _ in fields)
