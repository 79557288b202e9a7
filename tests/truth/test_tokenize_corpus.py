"""Reading text for training: nothing lost, nothing held."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

from danlu.tokenize.corpus import BLOCK, spooled, texts


def test_blocks_joined_are_the_file_and_end_at_lines(tmp_path: Path) -> None:
    lines = [f"第 {n} 行 line\n" + "\n" * (n % 3) for n in range(150_000)]
    (tmp_path / "a.txt").write_text("".join(lines), encoding="utf-8")
    blocks = list(texts(tmp_path / "a.txt"))
    assert "".join(blocks) == "".join(lines)
    assert len(blocks) > 3
    assert all(block.startswith("第") for block in blocks)
    assert max(map(len, blocks)) < 1.1 * BLOCK


def test_a_line_without_end_is_cut_at_spaces_and_not_held(tmp_path: Path) -> None:
    with open(tmp_path / "a.txt", "w", encoding="utf-8") as handle:
        for _ in range(30):
            handle.write("word 词 " * 150_000)
    total = 30 * 150_000 * len("word 词 ")
    tracemalloc.start()
    sizes = [(len(text), text[:1]) for text in texts([tmp_path / "a.txt"])]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert sum(size for size, _ in sizes) == total
    assert {first for _, first in sizes[1:]} == {" "}
    assert peak < 24 << 20


def test_one_word_of_many_megabytes(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("x" * (3 * BLOCK + 5))
    sizes = list(map(len, texts(tmp_path / "a.md")))
    assert sum(sizes) == 3 * BLOCK + 5
    assert max(sizes) <= 2 * BLOCK


def test_read_twice_from_the_disk() -> None:
    given = ["a\nb", "灯\u2028塔", ""]
    with spooled(iter(given)) as again:
        assert list(again()) == list(again()) == given


def test_rows_and_folders(tmp_path: Path) -> None:
    rows = [{"text": "a", "id": "no"}, {"conversations": [{"role": "user", "content": "b"}], "n": 3}, ["c", "d"], "e"]
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    (tmp_path / "z.txt").write_bytes("\ufefflast\r\n".encode())
    (tmp_path / "other.bin").write_bytes(b"\xff")
    assert list(texts(tmp_path)) == ["a", "user", "b", "c", "d", "e", "last\n"]
    assert list(texts(iter(["given"]))) == ["given"]
    assert list(texts([tmp_path / "z.txt", str(tmp_path / "z.txt")])) == ["last\n"] * 2
