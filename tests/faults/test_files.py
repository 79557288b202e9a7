"""Files are whole or not there; what changed on disk is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu.core.errors import CheckpointError, DanluError
from danlu.core.files import atomic, atomic_folder, read_json, seal, verify, write_json


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic(path) as draft:
        draft.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "d") as draft:
        (draft / "x").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    with atomic_folder(tmp_path / "d") as draft:
        (draft / "a.bin").write_bytes(bytes(range(256)))
        write_json(draft / "sub/b.json", {"x": 1})
        seal(draft)
    verify(tmp_path / "d")
    return tmp_path / "d"


def test_a_truncated_file_is_refused(sealed: Path) -> None:
    (sealed / "a.bin").write_bytes(bytes(range(255)))
    with pytest.raises(CheckpointError, match=r"a\.bin: has 255 bytes, the manifest 256"):
        verify(sealed)


def test_a_flipped_bit_is_refused(sealed: Path) -> None:
    content = bytearray((sealed / "a.bin").read_bytes())
    content[100] ^= 1
    (sealed / "a.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match="SHA-256 differs"):
        verify(sealed)


def test_a_missing_file_and_a_missing_manifest_are_refused(sealed: Path) -> None:
    (sealed / "sub/b.json").unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        verify(sealed)
    (sealed / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match="is damaged"):
        verify(sealed)
    (sealed / "manifest.json").unlink()
    with pytest.raises(CheckpointError, match="not written to its end"):
        verify(sealed)


def test_broken_json_has_an_address(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{\n"a": }')
    with pytest.raises(DanluError, match=r"x\.json:2: broken JSON"):
        read_json(tmp_path / "x.json")
    with pytest.raises(DanluError, match="no such file"):
        read_json(tmp_path / "y.json")
