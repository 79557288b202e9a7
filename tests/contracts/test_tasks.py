"""Every task, in every wording, makes prompts that end where the answer begins and fit where they must."""

from __future__ import annotations

import pytest

from danlu.core import config
from danlu.core.errors import ConfigError
from danlu.evaluate.prompts import Wording, fitted
from danlu.evaluate.questions import Question
from danlu.evaluate.tasks import TASKS, Task, open_task

FORMS = [(name, form) for name in TASKS for form in TASKS[name].forms]
SHOTS = [Question(f"shot {'long ' * 9 * (i == 1)}{i}?", ("x{a}", "y", "z", "w"), i % 4, "law") for i in range(5)]
QUESTION = Question("  Which { brace }?  ", ("one", "two", "three", "four"), 2, "law")


@pytest.mark.parametrize("name", list(TASKS))
def test_every_task_says_its_source_and_reads_back(name: str) -> None:
    task = TASKS[name]
    assert task.line.endswith(".")
    assert "arXiv" in task.source
    assert {"original", "lm-eval"} <= set(task.forms)
    assert config.read(Task, config.write(task)) == task


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_a_prompt_has_header_shots_and_question_in_order(name: str, form: str) -> None:
    task = TASKS[name]
    wording = Wording(task.form(form), task.letters)
    prompt = fitted(wording, task, SHOTS, QUESTION, 10_000, len)
    assert prompt.shots == 5
    assert prompt.header
    header, *shots, item = [wording.header(task.subject("law")), *map(wording.shot, SHOTS), wording.item(QUESTION)]
    assert prompt.text == header + "".join(shots) + item
    assert task.subject("law") in header
    assert all(text in prompt.text for text in ("x{a}", "Which { brace }?", "\nA. one\nB. two\nC. three\nD. four"))
    assert ("  Which" not in item) == task.form(form).strip
    assert prompt.text.endswith(task.form(form).ask)
    assert wording.answers(QUESTION) == [task.form(form).gap + letter for letter in "ABCD"]
    assert Wording(task.form(form), task.letters, "text").answers(QUESTION)[1] == task.form(form).gap + "two"


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_shots_go_until_it_fits(name: str, form: str) -> None:
    task = TASKS[name]
    wording = Wording(task.form(form), task.letters)
    whole = len(fitted(wording, task, SHOTS, QUESTION, 10_000, len).text)
    one_less = fitted(wording, task, SHOTS, QUESTION, whole - 1, len)
    assert len(one_less.text) < whole
    assert one_less.shots == 4
    gone = SHOTS[1] if task.crop == "longest" else SHOTS[-1]
    assert [wording.shot(shot) in one_less.text for shot in SHOTS] == [shot is not gone for shot in SHOTS]
    bare = fitted(wording, task, SHOTS, QUESTION, 3, len)
    assert (bare.text, bare.shots, bare.header) == (wording.item(QUESTION), 0, False)


def test_names_that_are_not_there() -> None:
    with pytest.raises(ConfigError, match=r"no task named 'mmlo' .did you mean 'mmlu'"):
        TASKS["mmlo"]
    with pytest.raises(ConfigError, match="no form named 'lmeval'"):
        TASKS["mmlu"].form("lmeval")


def test_a_task_of_your_own_is_one_yaml_file(tmp_path) -> None:
    file = tmp_path / "trade.yaml"
    file.write_text('line: Ours.\nsource: us\nforms:\n  original: {header: "On {subject}:\\n", ask: "\\n=", gap: ""}\n')
    task = open_task(file)
    assert Wording(task.form("original"), "12").item(QUESTION) == "  Which { brace }?  \n1. one\n2. two\n="
    file.write_text('line: Ours.\nsource: us\nforms:\n  original: {header: "", asks: "="}\n')
    with pytest.raises(ConfigError, match="asks"):
        open_task(file)
