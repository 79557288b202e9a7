"""The prompts of MMLU, C-Eval and CMMLU, character by character, on rows of their own files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from danlu.evaluate.prompts import Wording, fitted
from danlu.evaluate.questions import Question, read_questions, subject_of
from danlu.evaluate.tasks import TASKS

MMLU = (
    "The following are multiple choice questions (with answers) about  astronomy.\n"
    "\n"
    "You are pushing a truck along a road. Would it be easier to accelerate this truck on Mars? Why? "
    "(Assume there is no friction)\n"
    "A. It would be harder since the truck is heavier on Mars.\n"
    "B. It would be easier since the truck is lighter on Mars.\n"
    "C. It would be harder since the truck is lighter on Mars.\n"
    "D. It would be the same no matter where you are.\n"
    "Answer: D\n"
    "\n"
    'What is true for a type-Ia ("type one-a") supernova?\n'
    "A. This type occurs in binary systems.\n"
    "B. This type occurs in young galaxies.\n"
    "C. This type produces gamma-ray bursts.\n"
    "D. This type produces high amounts of X-rays.\n"
    "Answer:"
)

CMMLU = (
    "以下是关于农学的单项选择题，请直接给出正确答案的选项。\n"
    "\n"
    "题目：肉牛屠宰后，胴体的哪个部位肉质较好\n"
    "A. 胸\n"
    "B. 腹\n"
    "C. 大腿\n"
    "D. 小腿\n"
    "答案是：C\n"
    "\n"
    "题目：{question}\n"
    "A. {a}\n"
    "B. {b}\n"
    "C. {c}\n"
    "D. {d}\n"
    "答案是："
)

CEVAL = (
    "以下是中国关于计算机网络考试的单项选择题，请选出其中的正确答案。\n"
    "\n"
    "下列设备属于资源子网的是____。\n"
    "A. 计算机软件\n"
    "B. 网桥\n"
    "C. 交换机\n"
    "D. 路由器\n"
    "答案：A\n"
    "\n"
    "使用位填充方法，以01111110为位首flag，数据为011011111111111111110010，求问传送时要添加几个0____\n"
    "A. 1\n"
    "B. 2\n"
    "C. 3\n"
    "D. 4\n"
    "答案："
)


def _prompt(task: str, form: str, shots: list[Question], question: Question) -> str:
    wording = Wording(TASKS[task].form(form), TASKS[task].letters)
    return fitted(wording, TASKS[task], shots, question, 100_000, len).text


def test_mmlu(shared: Path) -> None:
    dev = read_questions(shared / "choice/mmlu/dev/astronomy_dev.csv")
    question = read_questions(shared / "choice/mmlu/test/astronomy_test.csv")[0]
    assert _prompt("mmlu", "original", dev[:1], question) == MMLU
    assert _prompt("mmlu", "lm-eval", dev[:1], question) == MMLU.replace("about  ", "about ")


def test_cmmlu(shared: Path) -> None:
    dev = read_questions(shared / "choice/cmmlu/dev/agronomy.csv")
    question = read_questions(shared / "choice/cmmlu/test/agronomy.csv")[0]
    a, b, c, d = question.choices
    expected = CMMLU.format(question=question.text, a=a, b=b, c=c, d=d)
    assert _prompt("cmmlu", "original", dev[:1], question) == expected
    bare = expected.replace("题目：", "").replace("答案是：C", "答案： C").replace("答案是：", "答案：")
    assert _prompt("cmmlu", "lm-eval", dev[:1], question) == bare


def test_ceval(tmp_path: Path) -> None:
    """Two rows in the columns of its files: id, question, A to D, answer, explanation."""
    file = tmp_path / "computer_network_val.csv"
    file.write_text(
        "id,question,A,B,C,D,answer,explanation\n"
        "0,下列设备属于资源子网的是____。,计算机软件,网桥,交换机,路由器,A,1. 首先\n"
        "1,使用位填充方法，以01111110为位首flag，数据为011011111111111111110010，求问传送时要添加几个0____,1,2,3,4,C,\n"
    )
    shot, question = read_questions(file)
    assert subject_of(file) == question.subject == "computer_network"
    assert _prompt("ceval", "original", [shot], question) == CEVAL
    lm_eval = CEVAL.replace("考试", "").replace("答案：A", "答案： A")
    assert _prompt("ceval", "lm-eval", [shot], question) == lm_eval


def test_ceval_knows_its_subjects_as_published(shared: Path) -> None:
    published = json.loads((shared / "choice/ceval_subject_mapping.json").read_text())
    assert TASKS["ceval"].subjects == {key: names[1] for key, names in published.items()}
    assert len(TASKS["cmmlu"].subjects) == 67


@pytest.mark.parametrize("folder", ["mmlu", "cmmlu"])
def test_every_row_of_the_real_files_reads(shared: Path, folder: str) -> None:
    files = sorted((shared / "choice" / folder / "test").glob("*.csv"))
    questions = [question for file in files for question in read_questions(file)]
    assert len(questions) > 1000
    assert {len(question.choices) for question in questions} == {4}
    assert {question.answer for question in questions} == {0, 1, 2, 3}
    if folder == "cmmlu":
        assert {question.subject for question in questions} <= set(TASKS["cmmlu"].subjects)
