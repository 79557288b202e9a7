"""Documents become the tokens and weights one would write by hand; every cut is counted with its place."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_tokenizer import CHATML, make_tokenizer

from danlu.core.errors import DataError
from danlu.data.documents import Conversation, Document, Place, Text
from danlu.data.encoding import Encoded, Encoder, Notes
from danlu.data.recipe import LossOn, TooLong
from danlu.tokenize import Tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def encoded(
    tokenizer: Tokenizer,
    *documents: Document,
    length: int | None = 200,
    too_long: TooLong = "drop_oldest_turns",
    loss_on: LossOn = "answers",
) -> tuple[list[list[Encoded]], dict[str, Any]]:
    notes = Notes()
    encoder = Encoder(tokenizer, length=length, too_long=too_long)
    return list(encoder.encode(list(documents), loss_on, notes)), notes.reasons


def chat(*turns: str, system: str = "", **weights: float) -> Conversation:
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for i, text in enumerate(turns):
        messages.append({"role": ("user", "assistant")[i % 2], "content": text})
        if f"turn{i}" in weights:
            messages[-1]["weight"] = weights[f"turn{i}"]
    return Conversation(messages, Place("f", 3))


def counted(tokenizer: Tokenizer, row: Encoded) -> str:
    return tokenizer.decode(row.tokens[row.weights > 0].tolist(), skip_special=False)


def test_text_ends_in_eos_and_counts_whole(tokenizer: Tokenizer) -> None:
    ((row,),), notes = encoded(tokenizer, Text("the quick fox"))
    assert row.tokens.tolist() == [*tokenizer.encode("the quick fox"), tokenizer.eos]
    assert (row.weights == 1).all()
    assert notes == {}


def test_pieces_of_one_document_have_ends_only_at_its_ends(tokenizer: Tokenizer) -> None:
    first, second = Text("the quick", first=True, last=False), Text(" fox", first=False, last=True)
    ((a,), (b,)), _ = encoded(tokenizer, first, second)
    assert a.tokens.tolist() == tokenizer.encode("the quick")
    assert b.tokens.tolist() == [*tokenizer.encode(" fox"), tokenizer.eos]


def test_answers_all_and_last(tokenizer: Tokenizer) -> None:
    row = chat("why", "so", "and", "then")
    text = (
        "<|im_start|>user\nwhy<|im_end|>\n<|im_start|>assistant\nso<|im_end|>\n"
        "<|im_start|>user\nand<|im_end|>\n<|im_start|>assistant\nthen<|im_end|>\n"
    )
    for loss_on, wanted in {"answers": "so<|im_end|>then<|im_end|>", "all": text, "last": "then<|im_end|>"}.items():
        ((found,),), _ = encoded(tokenizer, row, loss_on=loss_on)  # type: ignore[arg-type]
        assert tokenizer.decode(found.tokens.tolist(), skip_special=False) == text
        assert counted(tokenizer, found) == wanted
        assert set(found.weights.tolist()) <= {0.0, 1.0}


def test_weights_of_messages_multiply(tokenizer: Tokenizer) -> None:
    ((row,),), _ = encoded(tokenizer, chat("why", "so", "and", "then", turn1=0.0, turn3=0.5))
    assert counted(tokenizer, row) == "then<|im_end|>"
    assert set(row.weights.tolist()) == {0.0, 0.5}


def test_tools_reach_the_template(tmp_path: Path) -> None:
    template = "{% if tools %}<|im_start|>system\n{{ tools[0].name }}<|im_end|>\n{% endif %}" + CHATML
    tokenizer = make_tokenizer(tmp_path, template)
    row = Conversation(chat("why", "so").messages, Place("f", 1), [{"name": "calculator"}])
    ((found,),), _ = encoded(tokenizer, row)
    assert tokenizer.decode(found.tokens.tolist(), skip_special=False).startswith(
        "<|im_start|>system\ncalculator<|im_end|>"
    )


def test_oldest_turns_go_first_and_the_system_message_stays(tokenizer: Tokenizer) -> None:
    turns = [f"{who} {i} {'word ' * 5}" for i in range(9) for who in ("question", "answer")]
    whole = chat(*turns, system="be brief")
    ((row,),), _ = encoded(tokenizer, whole, length=None)
    limit = len(row.tokens) // 2
    ((short,),), notes = encoded(tokenizer, whole, length=limit)
    text = tokenizer.decode(short.tokens.tolist(), skip_special=False)
    kept = [i for i in range(9) if f"question {i} " in text]
    assert text.startswith("<|im_start|>system\nbe brief<|im_end|>")
    assert kept == list(range(kept[0], 9))
    assert 0 < kept[0] < 9
    assert len(short.tokens) <= limit + 1
    one_more = chat(*turns[2 * kept[0] - 2 :], system="be brief")
    ((longer,),), _ = encoded(tokenizer, one_more, length=None)
    assert len(longer.tokens) > limit + 1  # not a turn more than needed was dropped
    ((alone,),), _ = encoded(tokenizer, chat(*turns[2 * kept[0] :], system="be brief"), length=None)
    assert short.tokens.tolist() == alone.tokens.tolist()  # rendered anew, not cut out
    lost = len(row.tokens) - len(short.tokens)
    assert notes == {"oldest turns dropped": {"rows": 1, "tokens": lost, "examples": ["f:3"]}}


def test_a_last_turn_that_does_not_fit_is_dropped_and_counted(tokenizer: Tokenizer) -> None:
    rows, notes = encoded(tokenizer, chat("why", "word " * 300), length=50)
    assert rows == [[]]
    assert notes["too long, row dropped"]["rows"] == 1
    assert notes["too long, row dropped"]["examples"] == ["f:3"]


def test_drop_row_and_error(tokenizer: Tokenizer) -> None:
    long, short = Text("word " * 300, Place("f", 1)), Text("word", Place("f", 2))
    rows, notes = encoded(tokenizer, long, short, length=50, too_long="drop_row")
    assert [len(row) for row in rows] == [0, 1]
    assert notes["too long, row dropped"]["examples"] == ["f:1"]
    with pytest.raises(DataError, match=r"f:1: has \d+ tokens where a row holds 51; raise pack.length"):
        encoded(tokenizer, long, length=50, too_long="error")
    with pytest.raises(DataError, match=r"f:3: has \d+ tokens"):
        encoded(tokenizer, chat("why", "word " * 300), length=50, too_long="error")


@pytest.mark.parametrize("document", [Text("word one two " * 99, Place("f", 1)), chat("why", "word " * 300)])
def test_split_predicts_every_token_once(tokenizer: Tokenizer, document: Document) -> None:
    (pieces,), notes = encoded(tokenizer, document, length=50, too_long="split")
    ((whole,),), _ = encoded(tokenizer, document, length=None)
    assert all(2 <= len(piece.tokens) <= 51 for piece in pieces)
    assert np.concatenate([whole.tokens[:1], *(piece.tokens[1:] for piece in pieces)]).tolist() == whole.tokens.tolist()
    assert np.concatenate([piece.weights[1:] for piece in pieces]).tolist() == whole.weights[1:].tolist()
    for before, after in itertools.pairwise(pieces):
        assert before.tokens[-1] == after.tokens[0]
    assert notes["split"]["rows"] == 1


def test_split_drops_pieces_without_a_supervised_token_and_counts_them(tokenizer: Tokenizer) -> None:
    (pieces,), notes = encoded(tokenizer, chat("word " * 300, "so"), length=50, too_long="split")
    assert all(piece.weights[1:].any() for piece in pieces)
    assert notes["piece without a supervised token"]["rows"] >= 5


def test_windows_cut_nothing(tokenizer: Tokenizer) -> None:
    ((row,),), notes = encoded(tokenizer, Text("word " * 5000), length=None)
    assert len(row.tokens) > 5000
    assert notes == {}


def test_empty_texts_are_dropped_and_counted(tokenizer: Tokenizer) -> None:
    rows, notes = encoded(tokenizer, Text(" \n", Place("f", 9)), Text("x"))
    assert [len(row) for row in rows] == [0, 1]
    assert notes["empty"]["examples"] == ["f:9"]


def test_a_long_text_encodes_as_a_whole_would(tokenizer: Tokenizer) -> None:
    text = "".join(f"the quick fox {i}\njumps over\n\n" for i in range(20_000))
    ((row,),), _ = encoded(tokenizer, Text(text), length=None)
    assert row.tokens[:-1].tolist() == tokenizer.encode(text)


def test_a_template_that_trains_no_end_of_turn(tmp_path: Path) -> None:
    endless = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    tokenizer = make_tokenizer(tmp_path, endless)
    with pytest.raises(DataError, match=r"f:3: .*end-of-turn token"):
        encoded(tokenizer, chat("why", "so"))


def test_an_unknown_role_of_the_template(tmp_path: Path) -> None:
    strict = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHATML
    tokenizer = make_tokenizer(tmp_path, strict)
    with pytest.raises(DataError, match=r"^f:3: .*system"):
        encoded(tokenizer, chat("why", "so", system="be brief"))


def test_special_tokens_in_a_text_are_text(tokenizer: Tokenizer) -> None:
    ((row,),), _ = encoded(tokenizer, chat("why", "say <|im_end|> now"))
    assert row.tokens.tolist().count(tokenizer.id("<|im_end|>")) == 2
