"""``danlu tokenizer``: what it writes, what it says, and a model that grows with its vocabulary."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.tokenizer_corpus import CHINESE, corpus

import danlu
from danlu import models
from danlu.cli import main
from danlu.core.spec import Spec
from danlu.tokenize import load_tokenizer

SHAPE = Spec("llama", {"model": 16, "layers": 1, "heads": 2, "context": 32})


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text("".join(corpus()), encoding="utf-8")
    assert (
        main(["tokenizer", "train", str(tmp_path / "text.txt"), "--vocab", "400", "--out", str(tmp_path / "base")]) == 0
    )
    return tmp_path / "base"


def test_train_and_inspect(base: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    text = str(base.parent / "text.txt")
    assert main(["tokenizer", "inspect", str(base), "--show", "the 灯 <|im_end|>", "--text", text]) == 0
    said = capsys.readouterr().out
    tokenizer = load_tokenizer(base)
    assert "400" in said
    assert "roles              bos <|endoftext|> (0), eos <|endoftext|> (0), pad <|pad|> (3)" in said
    ids = tokenizer.encode_marked("the 灯 <|im_end|>")
    assert f"{len(ids)} tokens: " in said
    assert said.split(f"{len(ids)} tokens: ")[1].split("\n")[0].replace("+", " ") == " ".join(map(str, ids))
    rate = sum(map(len, tokenizer.encode_batch(corpus()))) / sum(map(len, corpus()))
    assert f"{rate:.2f}" in said
    assert "<|im_start|>assistant" in said


def test_settings_of_the_verb(base: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.jinja").write_text("{% for m in messages %}{{ m.content }}</s>{% endfor %}")
    text, out = str(base.parent / "text.txt"), str(tmp_path / "other")
    settings = ["--kind", "bpe_fallback", "--vocab", "500", "--digits", "joined", "--normalization", "lowercase"]
    more = ["--special", "</s>", "<pad>", "--template", str(tmp_path / "plain.jinja")]
    assert main(["tokenizer", "train", text, *settings, *more, "--out", out]) == 0
    tokenizer = load_tokenizer(out)
    assert list(tokenizer.special) == ["</s>", "<pad>", "<unk>"]
    assert (tokenizer.eos, tokenizer.pad, tokenizer.bos) == (0, 1, None)
    assert tokenizer.decode(tokenizer.encode("The ABC")) == "the abc"
    assert tokenizer.template.text([{"role": "user", "content": "x"}]) == "x</s>"


def test_a_model_grows_with_its_vocabulary(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each new row of embedding and head is the mean of the rows of the old pieces; the old rows stay."""
    tokenizer = load_tokenizer(base)
    model = models.build(SHAPE, vocab=tokenizer.vocab_size, seed=1)
    danlu.save(model, tokenizer, tmp_path / "model")
    (tmp_path / "new.txt").write_text("\n".join(a + b for a in CHINESE for b in CHINESE) * 3, encoding="utf-8")
    verb = ["tokenizer", "extend", str(tmp_path / "model"), "--text", str(tmp_path / "new.txt"), "--add", "30"]
    assert main([*verb, "--model", str(tmp_path / "model"), "--out", str(tmp_path / "grown")]) == 0
    said = capsys.readouterr().out
    grown, after = danlu.load(tmp_path / "grown")
    new = after.vocab_size - tokenizer.vocab_size
    assert 0 < new <= 30
    assert f"400 → {after.vocab_size} ({new} new, no old id moved)" in said
    for old_weight, weight in ((model.embed.weight, grown.embed.weight), (model.head.weight, grown.head.weight)):
        assert weight.shape == (after.vocab_size, 16)
        assert torch.equal(weight[:400], old_weight)
        for token in range(400, after.vocab_size):
            raw = after.piece_bytes(token)
            try:
                old = tokenizer.encode(raw.decode())
            except UnicodeDecodeError:
                continue  # a piece of half a character: what text would say of it is not defined
            torch.testing.assert_close(weight[token], old_weight[old].mean(0))


def test_a_model_with_more_rows_than_its_vocabulary(base: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(base)
    danlu.save(models.build(SHAPE, vocab=448, seed=1), tokenizer, tmp_path / "padded")
    (tmp_path / "new.txt").write_text("\n".join(CHINESE) * 9, encoding="utf-8")
    verb = ["tokenizer", "extend", str(base), "--text", str(tmp_path / "new.txt"), "--add", "5"]
    assert main([*verb, "--model", str(tmp_path / "padded"), "--out", str(tmp_path / "grown")]) == 0
    grown, after = danlu.load(tmp_path / "grown")
    assert grown.dims.vocab == after.vocab_size == 453
    assert after.piece(447) == "<|reserved_447|>"


def test_merging_from_the_command_line(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = str(base.parent / "text.txt")
    main(["tokenizer", "train", text, "--kind", "bpe_fallback", "--vocab", "500", "--out", str(tmp_path / "other")])
    verb = ["tokenizer", "extend", str(base), "--with", str(tmp_path / "other"), "--out", str(tmp_path / "both")]
    assert main([*verb, "--sample", text]) == 0
    assert "tokens a character" in capsys.readouterr().out
    assert load_tokenizer(tmp_path / "both").vocab_size > 400


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "TEXT", "--vocab", "9", "--out", "x"], "vocab must be at least 260"),
        (["train", "TEXT", "--kind", "bpe", "--out", "x"], "there are: bpe_fallback, byte_bpe"),
        (["train", "absent.txt", "--out", "x"], "absent.txt: no such file"),
        (["extend", "BASE", "--out", "x"], "name either --text FILES to learn on or --with TOKENIZER to merge"),
        (
            ["extend", "BASE", "--text", "TEXT", "--model", "SMALL", "--out", "x"],
            "the model has 300 rows for 400 tokens",
        ),
        (["inspect", "absent"], "absent: no such file or directory"),
    ],
)
def test_mistakes(
    base: Path, tmp_path: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "SMALL" in words:
        danlu.save(models.build(SHAPE, vocab=300, seed=1), None, tmp_path / "small")
    places = {"TEXT": base.parent / "text.txt", "BASE": base, "SMALL": tmp_path / "small"}
    capsys.readouterr()
    assert main(["tokenizer", *(str(places.get(word, word)) for word in words)]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
