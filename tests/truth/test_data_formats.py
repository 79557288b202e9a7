"""Rows of every known shape become the messages a person would write down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from danlu.core.errors import DataError
from danlu.data import Conversation, Source, Text, read_documents
from danlu.data.documents import Place
from danlu.data.formats import FORMATS
from danlu.data.reading import checked, detected

PLACE = Place("f", 1)


def said(name: str, row: Any, **settings: Any) -> list[tuple[str, str]]:
    document = FORMATS[name](**settings).document(row, PLACE)
    assert isinstance(document, Conversation)
    return [(m["role"], m["content"]) for m in document.messages]


def test_alpaca() -> None:
    row = {"instruction": "Add.", "input": "2, 3", "output": "5"}
    assert said("alpaca", row) == [("user", "Add.\n2, 3"), ("assistant", "5")]
    row = {"instruction": "Hi", "input": "", "output": "Yo", "system": "Be brief.", "history": [["a", "b"], ["c", "d"]]}
    assert said("alpaca", row) == [
        ("system", "Be brief."), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"),
        ("user", "Hi"), ("assistant", "Yo"),
    ]  # fmt: skip
    assert said("alpaca", {"instruction": "Hi", "input": None, "output": "Yo"}) == [("user", "Hi"), ("assistant", "Yo")]


def test_sharegpt() -> None:
    turns = [("system", "S"), ("human", "q"), ("function_call", "{}"), ("observation", "42"), ("gpt", "a")]
    row = {"conversations": [{"from": who, "value": what} for who, what in turns], "tools": '[{"name": "f"}]'}
    assert [role for role, _ in said("sharegpt", row)] == ["system", "user", "assistant", "tool", "assistant"]
    document = FORMATS["sharegpt"]().document(row, PLACE)
    assert isinstance(document, Conversation)
    assert document.tools == [{"name": "f"}]
    tagged = {"talk": [{"role": "customer", "content": "q"}, {"role": "agent", "content": "a"}], "system": "S"}
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "customer", "assistant_tag": "agent"}
    found = said("sharegpt", tagged, columns={"conversations": "talk"}, tags=tags)
    assert found == [("system", "S"), ("user", "q"), ("assistant", "a")]
    openai = {"conversations": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    assert said("sharegpt", openai) == [("user", "q"), ("assistant", "a")]


def test_messages() -> None:
    parts = [{"type": "text", "value": "one "}, {"type": "text", "text": "two"}]
    row = {
        "messages": [
            {"role": "developer", "content": "S"},
            {"role": "user", "content": parts, "loss_weight": 0.0},
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]},
            {"role": "tool", "content": "42"},
            {"role": "assistant", "content": "a", "loss_weight": 0.5},
        ]
    }
    document = FORMATS["messages"]().document(row, PLACE)
    assert isinstance(document, Conversation)
    assert document.messages == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "one two", "weight": 0.0},
        {"role": "assistant", "content": '[{"function": {"name": "f"}}]'},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": "a", "weight": 0.5},
    ]


def test_history() -> None:
    row = {"prompt": "q3", "response": "a3", "history": [["q1", "a1"], ["q2", "a2"]]}
    assert said("history", row) == [
        ("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", "a2"), ("user", "q3"), ("assistant", "a3")
    ]  # fmt: skip
    assert said("history", {"prompt": "q", "response": "a", "history": []}) == [("user", "q"), ("assistant", "a")]
    assert said("history", {"prompt": "q", "response": "a"}) == [("user", "q"), ("assistant", "a")]


def test_completion() -> None:
    assert said("completion", {"prompt": "p", "completion": "c"}) == [("user", "p"), ("assistant", "c")]
    asked = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}]
    document = FORMATS["completion"]().document(
        {"prompt": asked, "completion": [{"role": "assistant", "content": "b"}]}, PLACE
    )
    assert isinstance(document, Conversation)
    assert [m.get("weight") for m in document.messages] == [None, 0.0, None, None]


def test_text() -> None:
    form = FORMATS["text"]()
    assert form.document("just text", PLACE) == Text("just text", PLACE)
    assert form.document({"text": "t", "url": "u"}, PLACE) == Text("t", PLACE)
    assert form.document({"text": ["first", "second"]}, PLACE) == Text("first\nsecond", PLACE)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"instruction": "i", "input": "", "output": "o", "text": "all of it"}, "alpaca"),
        ({"messages": [{"role": "user", "content": "q"}], "prompt": "q"}, "messages"),
        ({"prompt": "q", "response": "a", "history": []}, "history"),
        ({"prompt": "q", "completion": "a"}, "completion"),
        ({"conversations": [{"from": "human", "value": "q"}], "id": "1"}, "sharegpt"),
        ({"text": "t", "metadata": {}}, "text"),
        ("t", "text"),
    ],
)
def test_detection_takes_the_most_specific(row: Any, name: str) -> None:
    assert FORMATS.name_of(detected(Source(from_="x"), Path("x"), [(1, row)])) == name


def test_columns_alone_choose_the_format(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question,reply\nWhy?,Because.\n")
    source = Source(from_=str(path), columns={"prompt": "question", "response": "reply"})
    (document,) = read_documents(source)
    assert isinstance(document, Conversation)
    assert [m["content"] for m in document.messages] == ["Why?", "Because."]


def test_columns_that_fit_nothing_list_what_is_needed(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "q", "reply": "a"}\n')
    with pytest.raises(
        DataError, match=r"rows\.jsonl:1: the columns \['question', 'reply'\] fit no format.*alpaca \['i"
    ):
        list(read_documents(str(path)))


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([{"role": "user", "content": "q"}], "no supervised token"),
        ([{"role": "user", "content": "q"}, {"role": "assistant", "content": " "}], "no supervised token"),
        ([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "loss_weight": 0}], "no supervised"),
        ([{"role": "wizard", "content": "q"}], "unknown role 'wizard'"),
        ([{"content": "q"}], "unknown role None"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}], "part of type 'image_url'"),
        ([{"role": "user", "content": 3}], "neither text nor a list"),
        ([{"role": "assistant", "content": "a", "loss_weight": -1}], "loss weight -1"),
        ([{"role": "assistant", "content": "a", "loss_weight": "much"}], "loss weight 'much'"),
        (["q"], "must be a list of"),
    ],
)
def test_rows_that_cannot_be_trained_on(messages: list[Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        checked(FORMATS["messages"]().document({"messages": messages}, PLACE))
    assert (caught.value.file, caught.value.line) == ("f", 1)


def test_a_history_of_another_shape() -> None:
    with pytest.raises(DataError, match=r"no list of \[question, answer\] pairs"):
        FORMATS["history"]().document({"prompt": "q", "response": "a", "history": [["q"]]}, PLACE)


# ── the real files ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_shared_instruction_files_read_whole(shared: Path) -> None:
    folder = shared / "instruct"
    for name in ("alpaca_en_demo", "alpaca_zh_demo", "identity"):
        rows = json.loads((folder / f"{name}.json").read_text())
        found = list(read_documents(str(folder / f"{name}.json")))
        assert len(found) == len(rows)
        for row, document in zip(rows, found, strict=True):
            assert isinstance(document, Conversation)
            question, answer = document.messages
            assert answer["content"] == row["output"]
            assert question["content"] == row["instruction"] + ("\n" + row["input"] if row["input"] else "")
    assert "{{name}}" in found[0].messages[1]["content"]  # type: ignore[union-attr]


def test_the_shared_conversations_read_whole(shared: Path) -> None:
    folder = shared / "instruct"
    rows = json.loads((folder / "sharegpt_vicuna_dummy_conversation.json").read_text())
    found = list(read_documents(str(folder / "sharegpt_vicuna_dummy_conversation.json")))
    for row, document in zip(rows, found, strict=True):
        assert [m["content"] for m in document.messages] == [t["value"] for t in row["conversations"]]  # type: ignore[union-attr]
    weighted = list(read_documents(str(folder / "v1_sft_demo.jsonl")))
    lines = [json.loads(line) for line in (folder / "v1_sft_demo.jsonl").read_text().splitlines()]
    for row, document in zip(lines, weighted, strict=True):
        assert [m["weight"] for m in document.messages] == [m["loss_weight"] for m in row["messages"]]  # type: ignore[union-attr]
