"""Files are whole or not there; what changed on disk is noticed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from danlu.core.errors import CheckpointError, DanluError
from danlu.core.files import atomic, atomic_folder, read_json, remove_drafts, seal, verify, write_json


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


def test_what_a_killed_writer_left_is_removed_file_or_folder(tmp_path: Path) -> None:
    """os._exit stands in for kill -9: no finally block runs."""
    code = (
        "import os, sys; from danlu.core.files import atomic, atomic_folder\n"
        "with atomic(sys.argv[1] + '/a.json') as draft, atomic_folder(sys.argv[1] + '/b') as folder:\n"
        "    draft.write_text('half'); (folder / 'c').write_text('half'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    (tmp_path / ".hidden").touch()
    assert [name.split(".")[1] for name in remove_drafts(tmp_path)] == ["a", "b"]
    assert [path.name for path in tmp_path.iterdir()] == [".hidden"]
