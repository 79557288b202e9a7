"""GGUF files that are cut, hostile, of others or half: one sentence each, and no memory beyond the file's size."""

from __future__ import annotations

import random
import struct
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from gguf_models import small, written
from talkers import small_tokenizer

import danlu
import danlu.models
from danlu.assembly.consumers.llama_server import LlamaServer
from danlu.core import gguf
from danlu.core.errors import CheckpointError, ConfigError, DanluError, DataError, MissingExtra, ShapeError
from danlu.core.spec import Spec
from danlu.tokenize import Tokenizer

pytest.importorskip("gguf")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("gguf"))


@pytest.fixture(scope="module")
def file(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(small("llama", layers=1), tokenizer, tmp_path_factory.mktemp("whole"))


def test_every_cut_is_told(file: Path, tmp_path: Path) -> None:
    whole, cut = file.read_bytes(), tmp_path / "cut.gguf"
    for size in [*range(0, 40), *random.Random(1).sample(range(40, len(whole) - 64), 60)]:
        cut.write_bytes(whole[:size])
        with pytest.raises(DanluError, match=r"cut|no GGUF"):
            danlu.load(cut)


def test_flipped_bytes_of_the_header_never_raise_anything_else(file: Path, tmp_path: Path) -> None:
    whole, bad = bytearray(file.read_bytes()), tmp_path / "bad.gguf"
    chance = random.Random(2)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[chance.randrange(4, 6000)] ^= 1 << chance.randrange(8)
        bad.write_bytes(damaged)
        with suppress(DanluError):
            danlu.load(bad)


HEAD = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a"


@pytest.mark.parametrize(
    "rest",
    [
        struct.pack("<IIQ", 9, 0, 1 << 60),  # an array of so many bytes
        struct.pack("<IIQ", 9, 8, 1 << 60),  # of texts
        struct.pack("<IIQ", 9, 9, 1 << 60) + struct.pack("<IQ", 9, 1) * 50,  # of arrays of arrays
        struct.pack("<IQ", 8, 1 << 62),  # a text that long
        struct.pack("<I", 77),  # a kind that there is not
    ],
)
def test_hostile_counts_cost_nothing(rest: bytes, tmp_path: Path) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(HEAD + rest + bytes(1000))
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="cut or damaged"), gguf.opened(bad):
        pass
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def rewritten(file: Path, out: Path, fields: dict[str, object], *, without: str = "", shape: str = "") -> Path:
    """The file with some fields changed (None: struck) or a tensor less, or one of another shape."""
    with gguf.opened(file) as found:
        said = {key: value for key, value in {**found.fields, **fields}.items() if value is not None}
        names = [name for name in found.tensors if name != without]
        tensors = {name: found.read(name) for name in names}
    if shape:
        tensors[shape] = tensors[shape][..., :-1]
    plan = {name: gguf.Planned(tensor.shape, "F32") for name, tensor in tensors.items()}
    name = str(said.pop("general.architecture"))
    gguf.write(out / "bad.gguf", name, said, plan, (np.ascontiguousarray(t) for t in tensors.values()))
    return out / "bad.gguf"


OWN = {"danlu.recipe": None}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"general.architecture": "mamba"}, "no architecture named 'mamba'"),
        ({**OWN, "llama.attention.head_count": None}, "'llama.attention.head_count' is missing"),
        ({**OWN, "llama.block_count": "three"}, "must be int"),
        ({**OWN, "llama.block_count": 2}, "'blk.1..*' is missing"),
        ({**OWN, "llama.attention.value_length": 8}, "of one size"),
        ({**OWN, "llama.rope.scaling.type": "longrope"}, "longrope"),
        ({**OWN, "llama.attention.head_count": 5}, "multiple"),
        ({"danlu.recipe": "{"}, "danlu.recipe cannot be read"),
        ({"split.count": 3}, "llama-gguf-split"),
        ({"tokenizer.ggml.model": "rwkv"}, "vocabulary of kind 'rwkv'"),
        ({"tokenizer.ggml.pre": "kimi-k2"}, "cuts words by the rule 'kimi-k2'"),
        ({"tokenizer.ggml.merges": ["x", "y"]}, "vocabulary is not whole|merge"),
        ({"tokenizer.ggml.eos_token_id": 5000}, "not whole"),
    ],
)
def test_what_is_not_served_is_named(fields: dict[str, object], words: str, file: Path, tmp_path: Path) -> None:
    with pytest.raises(DanluError, match=words):
        danlu.load(rewritten(file, tmp_path, fields))


def test_missing_and_misshaped_tensors_are_named(file: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'blk.0.attn_k.weight' is missing"):
        danlu.load(rewritten(file, tmp_path, {}, without="blk.0.attn_k.weight"))
    with pytest.raises(CheckpointError, match=r"'blk.0.attn_k.weight' has shape \[24, 47\]"):
        danlu.load(rewritten(file, tmp_path, {}, shape="blk.0.attn_k.weight"))


def test_a_recipe_that_disagrees_with_the_fields_is_not_believed(file: Path, tmp_path: Path) -> None:
    model, _ = danlu.load(rewritten(file, tmp_path, {"llama.rope.freq_base": 5e4}))
    assert model.recipe.write()["position"]["base"] == 5e4


def test_llama_cpp_says_why_it_does_not_open_a_file(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    with pytest.raises(CheckpointError, match=r"llama.cpp does not open it"):
        LlamaServer(rewritten(file, tmp_path, {}, without="blk.0.attn_k.weight"), 32)


def test_vocabularies_and_places_that_do_not_fit(tokenizer: Tokenizer, file: Path, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="grow the model first"):
        written(small("llama", vocab=200), tokenizer, tmp_path)
    with pytest.raises(CheckpointError, match="is a folder"):
        (tmp_path / "model.gguf").mkdir()
        written(small("llama"), tokenizer, tmp_path)
    with pytest.raises(ConfigError, match="no GGUF type"):
        written(small("llama"), tokenizer, tmp_path / "x", "q3")
    with pytest.raises(ConfigError, match=r"decoders only|cannot run"):
        written(danlu.models.build(Spec.read(BERT), vocab=300), tokenizer, tmp_path / "x")


BERT = {"use": "bert", "model": 32, "layers": 1, "heads": 2, "context": 32}


def test_answers_that_end_in_too_many_tokens(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = small("llama")
    model.notes.generation = {"eos_token_id": [3, 4, 5]}
    with pytest.raises(ConfigError, match="ends at 5"):
        written(model, tokenizer, tmp_path)


def test_without_the_package_it_says_how_to_install_it(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gguf", None)
    monkeypatch.delitem(sys.modules, "gguf.quants", raising=False)
    with pytest.raises((MissingExtra, DataError), match=r"pip install 'danlu\[gguf\]'"):
        danlu.load(file)
