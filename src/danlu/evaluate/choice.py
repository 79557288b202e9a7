"""Multiple choice by likelihood: which answer the model finds likeliest after the prompt."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import ConfigError
from ..core.ports import Scorer
from ..core.progress import bar
from .prompts import Prompt, Wording, fitted
from .questions import Question
from .tasks import Task

QUESTIONS = 128  # scored at once: their requests are sorted by length and by what they share

Row = tuple[list[int], list[int]]


@dataclass
class Tally:
    """Counts of one subject; credit is fractional where choices tie."""

    questions: int = 0
    credit: float = 0.0
    credit_norm: float = 0.0
    shots: int = 0
    cut: int = 0
    answers: list[str] = field(default_factory=list)

    def write(self) -> dict[str, Any]:
        accuracy = self.credit / self.questions
        return {
            "acc": accuracy,
            "acc_norm": self.credit_norm / self.questions,
            "stderr": math.sqrt(accuracy * (1 - accuracy) / self.questions),
            "questions": self.questions,
            "shots": self.shots / self.questions,
            "cut": self.cut,
            "answers": self.answers,
        }


@dataclass(frozen=True)
class Report:
    """What was asked and how it was answered, by subject; ``spelled`` shows how many tokens each answer letter took."""

    task: str
    form: str
    by: str
    shots: int
    subjects: dict[str, Tally]
    spelled: dict[str, int]

    @property
    def questions(self) -> int:
        return sum(tally.questions for tally in self.subjects.values())

    @property
    def acc(self) -> float:
        """Over all questions alike."""
        return sum(tally.credit for tally in self.subjects.values()) / self.questions

    @property
    def acc_norm(self) -> float:
        return sum(tally.credit_norm for tally in self.subjects.values()) / self.questions

    @property
    def acc_by_subject(self) -> float:
        """The mean of the subjects' accuracies, as C-Eval and CMMLU print it."""
        return sum(tally.credit / tally.questions for tally in self.subjects.values()) / len(self.subjects)

    def write(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "form": self.form,
            "by": self.by,
            "shots": self.shots,
            "acc": self.acc,
            "acc_norm": self.acc_norm,
            "acc_by_subject": self.acc_by_subject,
            "questions": self.questions,
            "tokens_a_letter": self.spelled,
            "subjects": {name: tally.write() for name, tally in self.subjects.items()},
        }


def choose(
    scorer: Scorer, task: Task, questions: Sequence[Question], dev: Sequence[Question] = (), *,
    name: str = "", form: str = "original", by: str = "letter", shots: int | None = None, quiet: bool = True,
) -> Report:  # fmt: skip
    """Answers every question with the choice whose letter (or text, ``by="text"``) is likeliest after the prompt.

    acc takes the greatest Σ log p, acc_norm the greatest Σ log p / UTF-8 bytes of the choice; a tie earns 1 / its size.
    The first ``shots`` rows of ``dev`` with the same subject go before; shots that do not fit are dropped and the mean
    kept is reported; a question too long even alone loses the header, then its beginning, and is counted in ``cut``.

    Raises: ConfigError if the form is unknown, ``by`` is neither, shots are asked for without dev rows, or there are
        more choices than letters.
    Source: Hendrycks et al. 2021, arXiv:2009.03300 (letters); Brown et al. 2020, arXiv:2005.14165, §2.4 (texts).
    Truth:  tests/truth/test_choice.py (an oracle answers all, a uniform scorer chance, prompts by hand).
    """
    if by not in ("letter", "text"):
        raise ConfigError(f"an answer is scored by 'letter' or by 'text', not by {by!r}")
    wording = Wording(task.form(form), task.letters, by)
    examples = _examples(dev, questions, task.shots if shots is None else shots, strict=shots is not None)
    report = Report(name, form, by, max(map(len, examples.values()), default=0), {}, {})
    with bar("questions", len(questions), quiet=quiet) as progress:
        for begin in range(0, len(questions), QUESTIONS):
            group = questions[begin : begin + QUESTIONS]
            asked = [_Asked.of(scorer, wording, task, examples[q.subject], q) for q in group]
            _score(scorer, asked, report)
            progress.advance(len(group))
    return report


def _examples(
    dev: Sequence[Question], questions: Sequence[Question], shots: int, *, strict: bool
) -> dict[str, list[Question]]:
    """The first dev rows of each subject; ``strict`` if that many were asked for, not just the task's custom."""
    if shots < 0:
        raise ConfigError(f"shots {shots}: cannot be negative")
    found = {subject: [q for q in dev if q.subject == subject][:shots] for subject in {q.subject for q in questions}}
    poor = sorted(subject for subject, rows in found.items() if len(rows) < shots)
    if strict and poor:
        raise ConfigError(
            f"{shots} shots are asked for, but {poor[0]!r} has {len(found[poor[0]])} dev rows; give more or fewer shots"
        )
    return found


@dataclass(frozen=True)
class _Asked:
    """A question with its prompt in tokens and one continuation a choice."""

    question: Question
    prompt: Prompt
    context: list[int]
    continuations: list[list[int]]
    cut: bool

    @classmethod
    def of(cls, scorer: Scorer, wording: Wording, task: Task, shots: list[Question], question: Question) -> _Asked:
        if len(question.choices) > len(task.letters):
            raise ConfigError(f"{len(question.choices)} choices, but the task has the letters {task.letters} only")
        answers = wording.answers(question)
        room = scorer.context - max(len(scorer.encode(answer)) for answer in answers)
        prompt = fitted(wording, task, shots, question, room, lambda text: len(scorer.encode(text)))
        context, continuations = split(scorer, prompt.text, answers)
        if wording.by == "letter" and len(set(map(tuple, continuations))) < len(answers):
            raise ConfigError(f"the tokenizer writes some of {answers} with the same tokens; score by 'text' instead")
        keep = scorer.context - max(map(len, continuations))
        if keep < 1:
            raise ConfigError(
                f"a choice of {question.subject!r} is longer than the model's context of {scorer.context} tokens"
            )
        return cls(question, prompt, context[-keep:], continuations, len(context) > keep)

    def rows(self) -> Iterator[Row]:
        return ((self.context, continuation) for continuation in self.continuations)


def split(scorer: Scorer, prompt: str, answers: Sequence[str]) -> tuple[list[int], list[list[int]]]:
    """The tokens that the prompt shares with all its answered forms, and how each goes on.

    Encoding is not additive (" A" may be one token, or merge with the colon before): each whole text is encoded, and
    the context is the longest prefix that all agree on, so every continuation is scored after the same tokens.
    """
    texts = [scorer.encode(prompt), *(scorer.encode(prompt + answer) for answer in answers)]
    shared = 0
    while all(len(ids) > shared and ids[shared] == texts[0][shared] for ids in texts):
        shared += 1
    shared = min(shared, *(len(ids) - 1 for ids in texts[1:]))
    return texts[0][:shared], [ids[shared:] for ids in texts[1:]]


def _score(scorer: Scorer, asked: Sequence[_Asked], report: Report) -> None:
    scores = iter(scorer.score([row for one in asked for row in one.rows()]))
    for one in asked:
        totals = [next(scores).total for _ in one.continuations]
        sizes = [max(len(choice.encode("utf-8", "replace")), 1) for choice in one.question.choices]
        norms = [total / size for total, size in zip(totals, sizes, strict=True)] if report.by == "text" else totals
        tally = report.subjects.setdefault(one.question.subject, Tally())
        tally.questions += 1
        tally.credit += _credit(totals, one.question.answer)
        tally.credit_norm += _credit(norms, one.question.answer)
        tally.shots += one.prompt.shots
        tally.cut += one.cut or not one.prompt.header
        tally.answers.append("ABCDEFGHIJ"[totals.index(max(totals))])
        for letter, continuation in zip("ABCDEFGHIJ", one.continuations, strict=False):
            if report.by == "letter":
                report.spelled[letter] = max(report.spelled.get(letter, 0), len(continuation))


def _credit(scores: Sequence[float], right: int) -> float:
    """1 if the right one is alone at the top, its share of a tie, else 0."""
    best = max(scores)
    return 1 / sum(score == best for score in scores) if scores[right] == best else 0.0
