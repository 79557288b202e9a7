"""Each stage against a figure worked out by other means."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from lives import MODEL, recipe_of, training

import danlu
from danlu import train as trainer
from danlu.core.errors import DanluError
from danlu.life import Life, demo, run
from danlu.life.jsonl import read_rows
from danlu.life.stages.answers import answer_loss
from danlu.life.stages.files import FilesStage
from danlu.life.stages.held_out import compressed
from danlu.life.stages.tokenizer import language_of


@pytest.fixture(scope="module")
def own(own_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """A life on the reader's own text and instructions."""
    source, talk = [{"from": "corpus/text.jsonl"}], [{"from": "corpus/instructions.jsonl"}]
    stages: dict[str, Any] = {
        "corpus": {"use": "files", "text": [str(own_files / "text")], "instructions": [str(own_files / "alpaca.jsonl")],
                   "held_out": 0.1},
        "tokenizer": {"use": "tokenizer", "vocab": 400, "files": ["corpus/text.jsonl", "corpus/instructions.jsonl"]},
        "pretrain": training(source, 12, tokenizer="tokenizer", architecture=MODEL),
        "held_out": {"use": "held_out", "model": "pretrain"},
        "sft": training(talk, 12, base="pretrain/final"),
        "answers": {"use": "answers", "models": ["pretrain", "sft"]},
        "samples": {"use": "samples", "model": "sft", "conversations": "corpus/instructions_held_out.jsonl",
                    "texts": "corpus/held_out.jsonl", "count": 2, "max_tokens": 4},
        "report": {"use": "report"},
    }  # fmt: skip
    return run(recipe_of(stages, tmp_path_factory.mktemp("own life") / "run"), quiet=True)


def texts(path: Path) -> list[str]:
    return [row["text"] for row in read_rows(path)]


def test_files_both_sides_rejoined_are_the_files(own: Life, own_files: Path) -> None:
    kept, apart = texts(own.folder / "corpus/text.jsonl"), texts(own.folder / "corpus/held_out.jsonl")
    whole = "".join((own_files / "text" / name).read_text(encoding="utf-8") for name in ("en.txt", "zh.txt"))
    assert "".join(kept + apart) == whole
    assert 0.1 <= len("".join(apart).encode()) / len(whole.encode()) < 0.3
    assert all(len(text) <= 2000 and text.endswith("\n") for text in kept + apart)
    talk = [
        list(read_rows(own.folder / "corpus" / name)) for name in ("instructions.jsonl", "instructions_held_out.jsonl")
    ]
    assert [len(side) for side in talk] == [54, 6]
    assert talk[0][3]["messages"][-1] == {"role": "assistant", "content": "6"}
    assert talk[1][-1]["messages"][0]["content"] == "Double 59."


def test_tokens_per_character_counted_by_hand(lived: Life) -> None:
    tokenizer = danlu.load_tokenizer(lived.folder / "tokenizer")
    turns = [m["content"] for row in read_rows(lived.folder / "corpus/dialogues.jsonl") for m in row["messages"]]
    for language in ("en", "zh"):
        mine = [t for t in turns if t.isascii() == (language == "en")][:4000]
        found = lived.figures("tokenizer")["tokens_per_character"][language]
        assert found["ratio"] == found["tokens"] / found["characters"]
        ratio = sum(len(tokenizer.encode(t)) for t in mine) / sum(map(len, mine))
        assert found["ratio"] == pytest.approx(ratio, rel=0.1)  # the stage measures on the first 2,000 turns


def test_language_of() -> None:
    assert [language_of(t) for t in ("Hello", "你好", "你好 Bo", "Bo likes 茶", "1984")] == [
        "en",
        "zh",
        "en",
        "en",
        "en",
    ]


def test_the_written_recipe_trained_by_hand_gives_the_same_losses(lived: Life, tmp_path: Path) -> None:
    done = trainer.train(lived.folder / "recipes" / "pretrain.yaml", out=tmp_path / "again", quiet=True)
    stage = list(read_rows(lived.folder / "pretrain" / "metrics.jsonl"))
    assert [row["loss"] for row in done.metrics] == [row["loss"] for row in stage]
    assert all(source["cached"] for source in done.report["data"]["sources"]), "the store stage had built it"


def test_world_and_fine_tuning_files_hold_what_they_say(lived: Life) -> None:
    figures = lived.figures("corpus")
    for name, count in figures["documents"].items():
        assert sum(1 for _ in read_rows(lived.folder / "corpus" / f"{name}.jsonl")) == count > 0
    joined = (lived.folder / "corpus" / "words.txt").read_text(encoding="utf-8").replace("\n", "")
    biography = texts(lived.folder / "corpus" / "biographies.jsonl")[1]
    assert biography in joined, "words written one a line lose nothing"
    exam = list(read_rows(lived.folder / "corpus" / "exam.jsonl"))
    assert figures["exercises"] == len(exam)
    assert json.dumps(exam[0], ensure_ascii=False)


def test_answer_loss_equals_the_logits_summed_by_hand(own: Life) -> None:
    model, tokenizer = danlu.load(own.folder / "sft" / "final")
    rows = list(read_rows(own.folder / "corpus/instructions_held_out.jsonl"))
    nats, weight = 0.0, 0.0
    for row in rows:
        rendered = tokenizer.template.render(row["messages"])
        with torch.no_grad():
            logits = model(torch.tensor([rendered.tokens]))[0].double().log_softmax(-1)
        for place in range(1, len(rendered.tokens)):
            nats -= rendered.weights[place] * logits[place - 1, rendered.tokens[place]].item()
            weight += rendered.weights[place]
    found = own.figures("answers")["sft"]
    assert found["loss"] == pytest.approx(nats / weight, rel=1e-4)
    assert found["conversations"] == len(rows)
    assert found["loss"] < own.figures("answers")["pretrain"]["loss"], "fine-tuning lowers the loss on answers"


def test_answers_that_never_fit_are_an_error(own: Life) -> None:
    from danlu.infer import Local

    model, tokenizer = danlu.load(own.folder / "sft" / "final")
    talk = [{"role": "user", "content": "a b " * 200}, {"role": "assistant", "content": "c"}]
    with pytest.raises(DanluError, match="no conversation fits"):
        answer_loss(Local(model, tokenizer), [{"messages": talk}], "x.jsonl")


def test_held_out_figures_by_hand(own: Life) -> None:
    figures = own.figures("held_out")
    kept, apart = texts(own.folder / "corpus/text.jsonl"), texts(own.folder / "corpus/held_out.jsonl")
    tokenizer = danlu.load(own.folder / "pretrain" / "final")[1]
    ids = [tokenizer.encode(text) for text in apart]
    bos = tokenizer.bos is not None and tokenizer.bos != tokenizer.eos
    assert figures["model"]["tokens"] == sum(len(i) - (0 if bos else 1) for i in ids)
    assert 0 < figures["model"]["bits_per_byte"] < 8
    known, asked = "".join(kept).encode(), "".join(apart).encode()
    added = 8 * (len(gzip.compress(known + asked)) - len(gzip.compress(known))) / len(asked)
    assert figures["others"]["gzip"] == pytest.approx(added)
    assert set(figures["others"]) == {"5-gram Kneser-Ney, bytes", "5-gram Kneser-Ney, tokens", "gzip", "xz"}
    assert figures["training_bytes"] == len(known)
    assert not figures["training_cut"]


def test_what_a_compressor_adds_to_noise_is_eight_bits_a_byte() -> None:
    noise = torch.randint(0, 256, (20_000,), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    data = bytes(noise.tolist())
    assert compressed(gzip.compress, [data[:15_000]], [data[15_000:]]) == pytest.approx(8, rel=0.02)
    assert compressed(gzip.compress, [b"abc" * 5000], [b"abc" * 5000]) < 0.1


def test_samples_are_what_the_model_says(lived: Life, own: Life) -> None:
    model, tokenizer = danlu.load(lived.folder / "sft" / "final")
    chat = next(read_rows(lived.folder / "samples" / "samples.jsonl"))["messages"]
    assert [m["role"] for m in chat] == ["user", "assistant"] * 2
    prompt = tokenizer.template.render(chat[:3], prompt=True).tokens
    assert danlu.generate(model, tokenizer, [prompt], max_tokens=4)[0].text == chat[3]["content"]
    rows = list(read_rows(own.folder / "samples" / "samples.jsonl"))
    assert {"prompt", "text"} <= set(rows[-1])
    assert "messages" in rows[0]


def test_text_given_as_instructions_and_the_reverse_are_refused(own_files: Path, tmp_path: Path) -> None:
    with pytest.raises(DanluError, match="give it under text"):
        FilesStage(text=[str(own_files / "text")], instructions=[str(own_files / "text")]).run(None, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(DanluError, match="give it under instructions"):
        FilesStage(text=[str(own_files / "alpaca.jsonl")]).run(None, tmp_path)  # type: ignore[arg-type]


# ── danlu demo on the reader's own files ─────────────────────────────────────────────────────────────────────────────
def test_demo_without_instructions_has_no_fine_tuning(own_files: Path, tmp_path: Path) -> None:
    recipe = demo(own_files / "text", out=tmp_path, quick=True)
    assert list(recipe.stages) == ["corpus", "tokenizer", "store", "pretrain", "held_out", "samples", "report"]
    assert "sft" in demo(own_files / "text", [own_files / "alpaca.jsonl"], out=tmp_path).stages


def test_demo_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "latin").mkdir()
    (tmp_path / "latin" / "a.txt").write_bytes("caf\xe9 au lait\n".encode("latin-1") * 50)
    for text, words in (
        ("empty", "holds no file"),
        ("nowhere", "no such file"),
        ("pictures", "no file that can be read"),
    ):
        with pytest.raises(DanluError, match=words):
            run(demo(tmp_path / text, out=tmp_path / "run", quick=True), quiet=True)
    with pytest.raises(DanluError, match="UTF-8") as error:
        run(demo(tmp_path / "latin", out=tmp_path / "run", quick=True), quiet=True)
    assert "\n" not in str(error.value)
    with pytest.raises(DanluError, match="--text"):
        demo(instructions=["x.jsonl"])


def test_bits_and_nats_agree(own: Life) -> None:
    found = own.figures("held_out")["model"]
    assert found["bits_per_byte"] == pytest.approx(
        found["nats_per_token"] * found["tokens"] / math.log(2) / found["bytes"]
    )
