"""Where rows come from: LLaMA-Factory's registry as it is, the hub, and addresses that lead nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from danlu.core.errors import ConfigError, DanluError, DataError
from danlu.data import Conversation, Source, Text, read_documents
from danlu.data.sources import locate


def registry(folder: Path, entries: dict[str, Any], **files: Any) -> str:
    for name, rows in files.items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    path = folder / "dataset_info.json"
    path.write_text(json.dumps(entries))
    return str(path)


def test_the_shared_registry_reads_as_it_is(shared: Path) -> None:
    file = shared / "instruct" / "dataset_info.json"
    for name in ("identity", "alpaca_en_demo", "alpaca_zh_demo"):
        found = list(read_documents(f"{file}#{name}"))
        assert found == list(read_documents(str(shared / "instruct" / f"{name}.json")))


def test_every_entry_of_the_shared_registry_is_understood_or_refused_in_a_sentence(
    shared: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def listed(repo: str, **_: Any) -> list[str]:
        asked.append(repo)
        return ["README.md", "data/train-00000.parquet", "data/train_sft-0.parquet", "en/train.json", "zh/train.json"]

    monkeypatch.setattr(huggingface_hub, "list_repo_files", listed)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, name, **_: str(tmp_path / repo / name))
    file = shared / "instruct" / "dataset_info.json"
    refused = {}
    for name, entry in json.loads(file.read_text()).items():
        if "file_name" in entry and not (file.parent / entry["file_name"]).exists():
            continue
        try:
            assert locate(Source(from_=f"{file}#{name}")).files
        except DataError as error:
            refused[name] = str(error)
    assert len(asked) > 60
    assert all(
        "preferences" in s or "pictures" in s or "neither file_name" in s or "no file there" in s
        for s in refused.values()
    )
    assert "dpo_mix_en" in refused
    assert "deepctrl" in refused


def test_columns_of_the_registry(tmp_path: Path) -> None:
    entries = {
        "firefly": {"file_name": "a.json", "columns": {"prompt": "input", "response": "target"}},
        "plain": {"file_name": "a.json", "columns": {"prompt": "input"}},
        "talk": {
            "file_name": "b.json",
            "formatting": "sharegpt",
            "columns": {"messages": "talk"},
            "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
        },
    }
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rows = {"a": [{"input": "q", "target": "a", "history": "not read"}], "b": [{"talk": turns, "system": "not read"}]}
    file = registry(tmp_path, entries, **rows)
    for name in ("firefly", "talk"):
        (document,) = read_documents(f"{file}#{name}")
        assert isinstance(document, Conversation)
        assert [(m["role"], m["content"]) for m in document.messages] == [("user", "q"), ("assistant", "a")]
    (document,) = read_documents(f"{file}#plain")
    assert isinstance(document, Text)
    assert document.text == "q"


def test_own_settings_win_over_the_registry(tmp_path: Path) -> None:
    file = registry(tmp_path, {"a": {"file_name": "a.json"}}, a=[{"q": "1", "a": "2"}])
    columns = {"instruction": "q", "output": "a"}
    (document,) = read_documents(Source(from_=f"{file}#a", columns=columns))
    assert document.characters == 2


def test_a_name_the_registry_lacks(tmp_path: Path) -> None:
    file = registry(tmp_path, {"alpaca": {"file_name": "a.json"}})
    with pytest.raises(ConfigError, match=r"did you mean 'alpaca'"):
        locate(Source(from_=f"{file}#alpaka"))


def test_a_file_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = tmp_path / "rows.jsonl"
    local.write_text('{"text": "from the hub"}\n')
    asked: list[Any] = []

    def download(repo: str, name: str, **settings: Any) -> str:
        asked.append((repo, name, settings["repo_type"], settings["revision"]))
        return str(local)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    (document,) = read_documents("hf://datasets/owner/name@v2/data/rows.jsonl")
    assert document.text == "from the hub"  # type: ignore[union-attr]
    assert asked == [("owner/name", "data/rows.jsonl", "dataset", "v2")]


def test_a_pattern_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda repo, **_: ["b.txt", "x/a.txt", "a.txt", "i.png"])
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo, name, **_: str(tmp_path / name))
    texts = [d.text for d in read_documents("hf://datasets/owner/name/?.txt")]  # type: ignore[union-attr]
    assert texts == ["a.txt", "b.txt"]
    with pytest.raises(DataError, match=r"no file there matches"):
        locate(Source(from_="hf://datasets/owner/name/*.csv"))


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> str:
        raise huggingface_hub.errors.LocalEntryNotFoundError("no network\nmore")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(DataError, match=r"hf://datasets/a/b/c\.json: cannot be fetched \(no network\)"):
        locate(Source(from_="hf://datasets/a/b/c.json"))
    with pytest.raises(DataError, match=r"write hf://datasets/owner/name/file"):
        locate(Source(from_="hf://models/x"))


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("missing.jsonl", "no such file, folder or pattern"),
        ("photo.png", "suffix"),
        ("empty", "no file that can be read"),
    ],
)
def test_addresses_that_lead_nowhere(address: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DanluError, match=sentence):
        locate(Source(from_=str(tmp_path / address)))
