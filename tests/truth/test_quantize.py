"""danlu quantize: what it writes opens here and there, what it says is what was measured, what it refuses."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch
from talkers import small_model, small_tokenizer

import danlu
from danlu.assembly.quantizing import methods
from danlu.cli import main
from danlu.core.errors import CheckpointError
from danlu.core.spec import Spec
from danlu.infer import Local
from danlu.nn.storages import Stored
from danlu.peft.attached import attach

TEXT = "the 你好 the cat sat on the mat. " * 8


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantize")
    (folder / "text.txt").write_text(TEXT)
    return danlu.save(small_model(model=64), small_tokenizer(folder / "tokenizer"), folder / "base")


def quantized(base: Path, out: Path, *words: str) -> dict[str, object]:
    figures = out.with_suffix(".json")
    assert main(["quantize", str(base), "--out", str(out), "--json", str(figures), "--quiet", *words]) == 0
    return json.loads(figures.read_text())


@pytest.mark.parametrize("method", methods())
def test_every_method_is_written_opened_and_measured(
    method: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = str(base.parent / "text.txt")
    figures = quantized(base, tmp_path / "out", "--method", method, "--texts", texts)
    model, tokenizer = danlu.load(tmp_path / "out")
    assert sum(isinstance(part, Stored) for part in model.modules()) == figures["maps"] == 21
    before, after = figures["before"], figures["after"]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert after["bytes_"] == (tmp_path / "out" / "model.safetensors").stat().st_size < before["bytes_"]
    for folder, side in ((base, before), (tmp_path / "out", after)):
        assert side["figure"] == pytest.approx(_perplexity(folder), rel=1e-4)
    shown = capsys.readouterr().out
    assert f"{after['bytes_']:,}" in shown
    assert f"{after['figure']:,.4f}" in shown
    talk = [{"role": "user", "content": "the cat"}]
    assert Local(model, tokenizer).asked(talk) == Local(*danlu.load(base)).asked(talk)


def _perplexity(folder: Path) -> float:
    """One window: exp of the mean surprise at each token but the first."""
    local = Local(*danlu.load(folder))
    ids = local.encode(TEXT)
    begun, done, nats = 0, 1, 0.0
    while done < len(ids):
        end = min(begun + local.context, len(ids))
        logits = local.model(torch.tensor([ids[begun:end]]))[0].log_softmax(-1)
        nats -= sum(logits[at - 1 - begun, ids[at]].item() for at in range(done, end))
        begun, done = begun + local.context - 1, end
    return math.exp(nats / (len(ids) - 1))


@pytest.mark.parametrize(
    ("words", "bits"),
    [
        (("int8",), 8 + 16 / 82), (("int8", "--group", "32"), 8.5), (("int4", "--group", "64"), 4.25),
        (("int4",), 4.5), (("nf4", "--group", "32"), None),
    ],
)  # fmt: skip
def test_groups_and_their_bits(words: tuple[str, ...], bits: float | None, base: Path, tmp_path: Path) -> None:
    figures = quantized(base, tmp_path / "out", "--method", *words)
    shape = 128 * 21  # each map says its shape in two int64
    numbers = (4 * 64 * 64 + 3 * 64 * 192) * 3
    assert figures["before"]["figure"] is None  # type: ignore[index]
    if bits is not None:
        assert figures["bits"] == pytest.approx(bits + shape / numbers, rel=2e-3)


def test_other_numbers_take_another_dtype(base: Path, tmp_path: Path) -> None:
    quantized(base, tmp_path / "out", "--method", "int8", "--dtype", "bf16")
    model, _ = danlu.load(tmp_path / "out")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    again, _ = danlu.load(base, storage="int8")
    place = "blocks.0.sublayers.attention.q"
    wide, narrow = (one.get_submodule(place).dense() for one in (again, model))  # type: ignore[operator]
    assert (wide - narrow).norm() < 0.01 * wide.norm()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "int3"), "--method int3: a directory is written in one of fp4, int4, int8, llm_int8, nf4, w8a8"),
        (("--method", "bf16"), "--method bf16: a directory is written in one of"),
        (("--method", "w8a8", "--group", "64"), "--group: w8a8 keeps one scale a row; strike --group"),
        (("--method", "int4", "--group", "48"), "int4: group is one of 16, 32, 64, 128, 256, or none"),
        (("--method", "int4", "--group", "128"), "rows of 64 weights do not divide into groups of 128.*a group of 64"),
        (("--method", "int4", "--texts", "nowhere.txt"), "nowhere.txt: no such file"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    words: tuple[str, ...], said: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quantize", str(base), "--out", str(tmp_path / "out"), *words]) == 2
    assert re.search(said, capsys.readouterr().err)
    assert not (tmp_path / "out").exists()


def test_what_is_quantized_or_an_adapter_or_taken_is_refused(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quantized(base, tmp_path / "out", "--method", "nf4")
    for model, out, said in (
        (tmp_path / "out", tmp_path / "twice", "kept as nf4 already, and would be rounded twice"),
        (base, tmp_path / "out", "exists already"),
        (_adapter(base, tmp_path), tmp_path / "adapter-out", "is an adapter.*merge it first"),
        (tmp_path / "none", tmp_path / "other", "none"),
    ):
        assert main(["quantize", str(model), "--method", "int4", "--out", str(out)]) == 2
        assert re.search(said, capsys.readouterr().err)
    danlu.load(tmp_path / "out")
    with pytest.raises(CheckpointError):
        danlu.load(tmp_path / "twice")


def _adapter(base: Path, folder: Path) -> Path:
    from danlu.peft.attached import Base

    model, tokenizer = danlu.load(base)
    attach(model, Spec.read({"use": "lora", "rank": 2}), base=Base(str(base), ""))
    return danlu.save(model, tokenizer, folder / "adapter")
