"""Question files as users have them: each fault is one sentence with file, line and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu.core.errors import DataError
from danlu.evaluate.questions import Question, read_questions

GOOD = "question,A,B,answer\nis it?,yes,no,A\n"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("q.csv", "", "q.csv: holds no question"),
        ("q.csv", "question,A,B,answer\n", "q.csv: holds no question"),
        (
            "q.csv",
            GOOD + "again?,yes,no,C\n",
            r"q.csv:3: the answer 'C' is none of the 2 choices; write a letter A to B",
        ),
        ("q.csv", GOOD + "again?,yes,no,2\n", r"q.csv:3: the answer '2' is none"),
        ("q.csv", GOOD + "again?,yes,no\n", "q.csv:3: 3 columns where the first row has 4"),
        (
            "q.csv",
            GOOD + '"two\nlines?",yes,no,A\nagain?,yes,no,\n',
            "q.csv:5: the column 'answer' is missing or empty",
        ),
        ("q.csv", "question,A,B\nis it?,yes,no\n", "q.csv:2: the column 'answer' is missing"),
        ("q.csv", "text,A,B,label\nis it?,yes,no,A\n", "q.csv:1: no column 'question' in"),
        ("q.csv", "question,A,answer\nis it?,yes,A\n", "q.csv:2: fewer than two choices"),
        ("q.csv", GOOD + '"open?,yes,no,A\n', "q.csv:3: broken CSV"),
        ("q.jsonl", '{"question": "?", "choices": ["a", "b"], "answer": 0}\n{"question": ', "q.jsonl:2: broken JSON"),
        ("q.jsonl", '{"question": "?", "choices": ["a", "b"]}', "q.jsonl:1: the column 'answer' is missing"),
        ("q.jsonl", "[1]", "q.jsonl:1: expected an object"),
        ("q.txt", GOOD, "q.txt: questions are read from .csv"),
        ("q.csv", b"question,A,B,answer\n\xff,a,b,A\n", "q.csv: not UTF-8 at byte 20"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, name: str, content: str | bytes, sentence: str) -> None:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=sentence):
        read_questions(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        read_questions(tmp_path / "none.csv")
    with pytest.raises(DataError, match="is a folder"):
        read_questions(tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("river_dev.csv", "\ufeffid,Question,A,B,C,Answer,explanation\n7,is it?,x,y,z,B,because\n"),
        ("river_dev.csv", "question,choice0,choice1,choice2,answer\nis it?,x,y,z,1\n"),
        ("river_dev.csv", "is it?,x,y,z,B\n"),
        ("river_dev.jsonl", '\n{"question": "is it?", "choices": ["x", "y", "z"], "answer": "b"}\n'),
        ("odd.json", '[{"question": "is it?", "A": "x", "B": "y", "C": "z", "answer": 1, "subject": "river"}]'),
        (
            "odd.jsonl",
            '{"question": "is it?", "option_a": "x", "option_b": "y", "option_c": "z", "answer": "B", "subject": "river"}',
        ),
    ],
)
def test_the_columns_people_have(tmp_path: Path, name: str, content: str) -> None:
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    assert read_questions(file) == [Question("is it?", ("x", "y", "z"), 1, "river")]
