"""Multiple choice against scorers whose answers are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu.core.errors import ConfigError
from danlu.evaluate.choice import choose, split
from danlu.evaluate.prompts import Wording
from danlu.evaluate.questions import Question, read_questions
from danlu.evaluate.tasks import TASKS

RIVERS = [
    Question("Longest river?", ("Nile", "Po"), 0, "rivers"),
    Question("Shortest river?", ("Amazon", "Roe", "Volga"), 1, "rivers"),
    Question("River of Turin?", ("Seine", "Rhine", "Ebro", "Po"), 3, "towns"),
]


def _oracle(wording: Wording, questions: list[Question]):
    """Knows every question of the files by heart: it looks up the end of the prompt."""
    known = {wording.item(question): wording.answers(question)[question.answer] for question in questions}
    longest = max(map(len, known))

    def law(context: str, continuation: str) -> float:
        item = next(context[-size:] for size in range(longest, 0, -1) if context[-size:] in known)
        return -0.1 if continuation == known[item] else -5.0

    return law


@pytest.mark.parametrize("form", ["original", "lm-eval"])
@pytest.mark.parametrize("by", ["letter", "text"])
def test_an_oracle_answers_all_and_its_opposite_none(shared: Path, characters, form: str, by: str) -> None:
    dev = read_questions(shared / "choice/cmmlu/dev/agronomy.csv")
    questions = read_questions(shared / "choice/cmmlu/test/agronomy.csv")[:40]
    law = _oracle(Wording(TASKS["cmmlu"].form(form), "ABCD", by), questions)
    right = choose(characters(law), TASKS["cmmlu"], questions, dev, form=form, by=by)
    assert (right.acc, right.acc_by_subject, right.questions, right.shots) == (1.0, 1.0, 40, 5)
    wrong = choose(characters(lambda *row: -law(*row)), TASKS["cmmlu"], questions, dev, form=form, by=by)
    assert wrong.acc == 0.0
    if by == "letter":
        assert right.acc_norm == 1.0
        assert right.subjects["agronomy"].answers == ["ABCD"[q.answer] for q in questions]


def test_a_uniform_scorer_is_at_chance_exactly(shared: Path, characters, uniform) -> None:
    questions = read_questions(shared / "choice/mmlu/test/astronomy_test.csv")
    report = choose(characters(uniform), TASKS["mmlu"], questions)
    assert report.acc == report.acc_norm == 0.25
    assert report.spelled == dict.fromkeys("ABCD", 2)  # the gap and the letter


def test_figures_by_hand(characters) -> None:
    """acc and acc_norm part where the likelier choice is the shorter one: -6 / 6 bytes beats -5 / 3."""
    worth = {" Nile": -4, " Po": -9, " Amazon": -6, " Roe": -5, " Volga": -30, " Seine": -1}
    report = choose(
        characters(lambda _, answer: worth.get(answer, -20.0)), TASKS["mmlu"], RIVERS, name="rivers", by="text"
    )
    assert report.subjects["rivers"].credit == 2
    assert report.subjects["rivers"].credit_norm == 1
    assert report.acc == pytest.approx(2 / 3)
    assert report.acc_norm == pytest.approx(1 / 3)
    assert report.acc_by_subject == pytest.approx(1 / 2)
    assert report.subjects["rivers"].answers == ["A", "B"]
    assert report.write()["subjects"]["rivers"]["stderr"] == 0.0
    assert report.write()["subjects"]["towns"] | {"answers": []} == {
        "acc": 0.0, "acc_norm": 0.0, "stderr": 0.0, "questions": 1, "shots": 0.0, "cut": 0, "answers": [],
    }  # fmt: skip


def test_shots_come_from_the_same_subject_and_only_as_many_as_there_are(characters, uniform) -> None:
    scorer = characters(uniform)
    dev = [Question(f"dev {i}?", ("a", "b"), 1, subject) for i in range(2) for subject in ("towns", "rivers")]
    assert choose(scorer, TASKS["mmlu"], RIVERS[2:], dev).shots == 2
    context = scorer.asked[0][0]
    assert context.startswith("The following are multiple choice questions (with answers) about  towns.\n\ndev 0?")
    assert context.count("\nAnswer: B\n\n") == 2
    with pytest.raises(ConfigError, match="3 shots are asked for, but 'rivers' has 2 dev rows"):
        choose(scorer, TASKS["mmlu"], RIVERS, dev, shots=3)
    with pytest.raises(ConfigError, match="'letter' or by 'text'"):
        choose(scorer, TASKS["mmlu"], RIVERS, by="word")


def test_what_does_not_fit_is_counted(characters, uniform) -> None:
    long = Question("word " * 40, ("a", "b"), 0, "rivers")
    report = choose(characters(uniform, context=100), TASKS["mmlu"], [long, RIVERS[0]], [RIVERS[1]], shots=1)
    assert (report.subjects["rivers"].cut, report.subjects["rivers"].shots) == (2, 0)
    roomy = choose(characters(uniform, context=150), TASKS["mmlu"], [long, RIVERS[0]], [RIVERS[1]], shots=1)
    assert (roomy.subjects["rivers"].cut, roomy.subjects["rivers"].shots) == (1, 0)
    with pytest.raises(ConfigError, match="longer than the model's context of 10 tokens"):
        choose(characters(uniform, context=10), TASKS["mmlu"], [Question("?", ("x" * 30, "y"), 0, "s")], by="text")


class _Merging:
    """Encodes ": A" in one token where it may: the boundary moves into the prompt."""

    context = 100

    def encode(self, text: str) -> list[int]:
        return [1000 + ord(piece[-1]) if len(piece) == 3 else ord(piece) for piece in _pieces(text)]


def _pieces(text: str) -> list[str]:
    out, i = [], 0
    while i < len(text):
        size = 3 if text[i : i + 2] == ": " and len(text) > i + 2 else 1
        out.append(text[i : i + size])
        i += size
    return out


class _Deaf(_Merging):
    """Knows no capital letters: all of them are the same unknown token."""

    def encode(self, text: str) -> list[int]:
        return [0 if "A" <= letter <= "Z" else ord(letter) for letter in text]


def test_letters_that_the_tokenizer_cannot_tell_apart_are_refused() -> None:
    with pytest.raises(ConfigError, match="with the same tokens; score by 'text'"):
        choose(_Deaf(), TASKS["ceval"], RIVERS)  # type: ignore[arg-type]


def test_all_choices_are_scored_after_the_same_tokens_even_if_they_merge_with_the_prompt() -> None:
    context, rest = split(_Merging(), "Answer:", [" A", " B"])  # type: ignore[arg-type]
    assert context == [ord(letter) for letter in "Answer"]
    assert rest == [[1000 + ord("A")], [1000 + ord("B")]]
