"""Beginnings on disk: the text of an engine that has read all of it; and nothing is used that is not to the number."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from talkers import small_model, small_tokenizer

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.infer.engine import Engine
from danlu.infer.fingerprints import fingerprint
from danlu.infer.prompt_cache import PromptCache
from danlu.infer.request import Request
from danlu.infer.sampling import Sampling
from danlu.infer.settings import EngineSettings
from danlu.peft.attached import attach

SYSTEM = [(7 * i * i + 3 * i) % 250 + 5 for i in range(70)]
ASKED = [[*SYSTEM, 9, 30, 41], [*SYSTEM, 11], [*SYSTEM[:40], 200, 201]]


def made(
    folder: Path, *, seed: int = 3, dtype: torch.dtype = torch.float32, adapter: int | None = None, **settings
) -> Engine:
    model = small_model(layers=2, seed=seed, kv_heads=2).to(dtype)
    if adapter is not None:
        attach(model, Spec.read({"use": "lora", "rank": 2}), "one")
        torch.manual_seed(adapter)
        for weight in model.parameters():
            if weight.requires_grad:
                weight.data.normal_(0, 0.3)
    return Engine(model, small_tokenizer(folder / "tokenizer"), settings=EngineSettings(rows=4, block=8, **settings))


def say(engine: Engine, prompt: list[int], **asked) -> tuple[list[int], int]:
    """Its tokens, and how many of its prompt were there."""
    engine.submit(Request(prompt=tuple(prompt), sampling=Sampling(max_tokens=6, stop_ids=()), **asked))
    events = [event for _ in range(200) if engine.busy for event in engine.step()]
    return [token.id for event in events for token in event.tokens], events[0].cached or 0


def written(folder: Path, **settings) -> list[list[int]]:
    """What an engine says that reads all; the beginning it was asked for three times is on disk then."""
    engine = made(folder, **settings)
    kept = PromptCache(folder / "kept", engine)
    said = [say(engine, prompt)[0] for prompt in ASKED]
    assert kept.write() == 1
    assert not engine.stats.blocks_used
    return said


@pytest.mark.parametrize("settings", [{}, {"dtype": torch.bfloat16}, {"cache": "int8"}, {"adapter": 1}], ids=str)
def test_an_engine_that_starts_anew_has_read_it_already(tmp_path, settings) -> None:
    said = written(tmp_path, **settings)
    engine = made(tmp_path, **settings)
    PromptCache(tmp_path / "kept", engine)
    found = [say(engine, prompt) for prompt in ASKED]
    assert [tokens for tokens, _ in found] == said
    assert [cached for _, cached in found] == [64, 64, 40]
    assert engine.stats.prompt_tokens == sum(map(len, ASKED)) - 64 - 64 - 40
    assert not engine.stats.blocks_used


def test_rounded_keys_come_back_as_they_were(tmp_path) -> None:
    settings = {"cache": {"use": "kivi", "bits": 4, "whole": 8}, "budget": 8}
    written(tmp_path, **settings)
    first, again = (made(tmp_path, **settings) for _ in range(2))
    for engine in (first, again):
        PromptCache(tmp_path / "kept", engine)
    assert say(first, ASKED[0]) == say(again, ASKED[0])
    assert say(first, ASKED[0])[1] == 72


def test_a_pool_that_is_small_takes_what_it_has_room_for(tmp_path) -> None:
    said = written(tmp_path)
    with pytest.warns(UserWarning, match="longer requests will be refused"):
        engine = made(tmp_path, cache_bytes=made(tmp_path).forward.pages.twin(11).bytes_)
    PromptCache(tmp_path / "kept", engine)
    for _ in range(2):
        for prompt, expected in zip(ASKED, said, strict=True):
            assert say(engine, prompt)[0] == expected
            say(engine, [5] * 60)  # takes all of the pool


def unused(folder: Path, engine: Engine, told: str) -> None:
    """One warning says why, and prompts are read."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        PromptCache(folder / "kept", engine)
        tokens, cached = say(engine, ASKED[0])
    assert len(said) == 1
    assert told in str(said[0].message)
    assert str(said[0].message).endswith("it is not used, and can be deleted")
    assert not cached
    assert tokens == say(made(folder), ASKED[0])[0]


@pytest.mark.parametrize(
    ("mine", "theirs", "told"),
    [
        ({}, {"seed": 4}, "another model"),
        ({"adapter": 1}, {"adapter": 2}, "another model or other adapters"),
        ({"adapter": 1}, {}, "other adapters"),
        ({}, {"cache": "int8"}, "keeps keys as .*plain.* and this engine as .*int8"),
        ({}, {"dtype": torch.bfloat16}, "keeps keys as .*float32.* and this engine as .*bfloat16"),
    ],
    ids=str,
)
def test_what_is_of_another_engine_is_not_used(tmp_path, mine, theirs, told) -> None:
    written(tmp_path, **mine)
    engine = made(tmp_path, **theirs)
    with pytest.warns(UserWarning, match=told) as said:
        PromptCache(tmp_path / "kept", engine)
    assert len(said) == 1
    assert say(engine, ASKED[0])[1] == 0


@pytest.mark.parametrize("harm", ["cut", "empty", "numbers", "shapes", "words", "metadata"])
def test_a_damaged_file_is_told_and_not_used(tmp_path, harm) -> None:
    written(tmp_path)
    (file,) = (tmp_path / "kept").glob("*.safetensors")
    whole, tensors = file.read_bytes(), load_file(file)
    with safe_open(file, "pt") as opened:
        said = opened.metadata()
    if harm in ("cut", "empty"):
        file.write_bytes(whole[: len(whole) // 2 if harm == "cut" else 0])
    elif harm == "numbers":
        tensors["v"][1, 3, 0, 2] += 1
        save_file(tensors, file, said)
    elif harm == "shapes":
        save_file(tensors | {"k": tensors["k"][:, 1:].contiguous()}, file, said)
    elif harm == "words":
        save_file(tensors, file, {"danlu": said["danlu"][:-9]})
    else:
        save_file(tensors, file, {"danlu": json.dumps([1, 2])})
    unused(tmp_path, made(tmp_path), "is damaged")


def test_secrets_and_short_beginnings_are_not_written(tmp_path) -> None:
    engine = made(tmp_path)
    kept = PromptCache(tmp_path / "kept", engine, least=48)
    for _ in range(2):
        say(engine, ASKED[0], salt="a client's own")
        say(engine, SYSTEM[:40])
    assert kept.write() == 0
    assert not list((tmp_path / "kept").iterdir())
    for _ in range(2):
        say(engine, ASKED[0])
    assert kept.write() == 1
    assert kept.write() == 0


def test_another_revision_of_an_adapter_is_another_text(tmp_path) -> None:
    written(tmp_path, adapter=1)
    engine = made(tmp_path, adapter=1)
    PromptCache(tmp_path / "kept", engine)
    for weight in engine.model.parameters():
        if weight.requires_grad:
            weight.data.mul_(2)
    engine.renewed("one")
    assert say(engine, ASKED[0])[1] == 0


def test_old_files_make_room(tmp_path) -> None:
    engine = made(tmp_path)
    kept = PromptCache(tmp_path / "kept", engine)
    for _ in range(2):
        say(engine, ASKED[0])
    assert kept.write() == 1
    size = next((tmp_path / "kept").iterdir()).stat().st_size
    kept.bytes_ = 2 * size
    for shift in (1, 2, 3):
        for _ in range(2):
            say(engine, [token + shift for token in SYSTEM])
        kept.write()
    assert len(list((tmp_path / "kept").iterdir())) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh = made(tmp_path)
        PromptCache(tmp_path / "kept", fresh)
    assert say(fresh, [token + 3 for token in SYSTEM])[1] >= 64
    assert say(fresh, ASKED[0])[1] == 0


def test_a_disk_that_is_full_is_told(tmp_path, monkeypatch) -> None:
    engine = made(tmp_path)
    kept = PromptCache(tmp_path / "kept", engine)
    for _ in range(2):
        say(engine, ASKED[0])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.warns(UserWarning, match="cannot be written .*No space left on device.*; the beginning is not kept"):
        assert kept.write() == 0
    assert not list((tmp_path / "kept").iterdir())


def test_a_folder_that_cannot_be_is_refused(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="name a folder that can be written to"):
        PromptCache(tmp_path / "file", made(tmp_path))


def test_a_fingerprint_sees_every_number() -> None:
    model = small_model(layers=1)
    before = fingerprint(model)
    assert fingerprint(small_model(layers=1)) == before
    with torch.no_grad():
        model.norm.weight[3] += 1e-6
    assert fingerprint(model) != before
