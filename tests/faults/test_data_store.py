"""The store survives kill -9 at any moment, notices a flipped bit, and does not depend on how many processes made it."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from data_tokenizer import make_tokenizer

from danlu.core.errors import DanluError, DataError
from danlu.data import DataRecipe, HeldOut, Pack, Prepared, Source, build, pool, prepare
from danlu.data.worker import serve
from danlu.tokenize import Tokenizer

SHARD = 4_000  # tokens: many shards of little data, so that a fast machine is killed among them too


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return make_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files, texts and chats, some longer than a row."""
    folder = tmp_path_factory.mktemp("rows")
    draw = random.Random(0)
    words = ["the", "quick", "fox", "jumps", "over", "one", "two", "three", "床前明月光"]

    def text(most: int) -> str:
        return " ".join(draw.choice(words) for _ in range(draw.randint(1, most)))

    (folder / "a.jsonl").write_text("".join(json.dumps({"text": text(90)}) + "\n" for _ in range(2000)))
    chats = [{"prompt": text(9), "response": text(20), "history": [[text(5), text(30)]]} for _ in range(700)]
    (folder / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in chats))
    return folder


def recipe(folder: Path, cache: Path) -> DataRecipe:
    held_out = HeldOut(share=0.1)
    return DataRecipe(parts=[Source(from_=str(folder))], pack=Pack(length=64), held_out=held_out, cache=str(cache))


def contents(made: Prepared) -> tuple[dict[str, bytes], dict[str, object]]:
    """Every byte of the store but the clock, and the report."""
    store = made.train.parts[0].documents.folder
    files = {
        str(p.relative_to(store)): p.read_bytes() for p in sorted(store.rglob("*")) if p.suffix in (".bin", ".json")
    }
    report = {k: v for k, v in made.report["sources"][0].items() if k not in ("cached", "store")}
    return files, report


@pytest.fixture(scope="module")
def whole(folder: Path, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    cache = tmp_path_factory.mktemp("whole")
    return build(recipe(folder, cache), tokenizer, quiet=True, workers=0, shard_tokens=SHARD)


def test_any_number_of_processes_makes_the_same_bytes(
    folder: Path, tokenizer: Tokenizer, whole: Prepared, tmp_path: Path
) -> None:
    made = build(recipe(folder, tmp_path), tokenizer, quiet=True, workers=3, shard_tokens=SHARD)
    assert contents(made) == contents(whole)
    assert len(list(whole.train.parts[0].documents.folder.glob("shard-*"))) > 5


def test_what_is_made_is_not_made_again(folder: Path, tokenizer: Tokenizer, whole: Prepared, tmp_path: Path) -> None:
    copied(whole, tmp_path)
    again = build(recipe(folder, tmp_path), tokenizer, quiet=True, shard_tokens=SHARD)
    assert (whole.report["sources"][0]["cached"], again.report["sources"][0]["cached"]) == (False, True)
    assert contents(whole) == contents(again)


@pytest.mark.parametrize("change", ["text", "length", "held_out", "template"])
def test_a_change_of_what_matters_makes_another_store(change: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    rows.mkdir()
    (rows / "a.jsonl").write_text('{"prompt": "why", "response": "so"}\n' * 50)
    settings = {"pack": Pack(length=64), "held_out": HeldOut()}
    parts, cache = [Source(from_=str(rows))], str(tmp_path / "cache")
    build(DataRecipe(parts=parts, cache=cache, **settings), tokenizer, quiet=True)  # type: ignore[arg-type]
    if change == "text":
        (rows / "a.jsonl").write_text('{"prompt": "why", "response": "no"}\n' * 50)
    if change == "length":
        settings["pack"] = Pack(length=65)
    if change == "held_out":
        settings["held_out"] = HeldOut(share=0.4, by="tail")
    if change == "template":
        tokenizer = make_tokenizer(tmp_path / "other", tokenizer.template.sources["default"].replace("user", "User"))
        tokenizer = tokenizer.with_template("{{ '' }}" + tokenizer.template.sources["default"])
    made = build(DataRecipe(parts=parts, cache=cache, **settings), tokenizer, quiet=True)  # type: ignore[arg-type]
    assert not made.report["sources"][0]["cached"]


SCRIPT = """
import sys
from danlu.data import DataRecipe, HeldOut, Pack, Source, build, read_documents
from danlu.tokenize import load_tokenizer
recipe = DataRecipe(
    parts=[Source(from_=sys.argv[1])], pack=Pack(length=64), held_out=HeldOut(share=0.1), cache=sys.argv[2]
)
build(recipe, load_tokenizer(sys.argv[3]), quiet=True, workers=int(sys.argv[4]), shard_tokens=int(sys.argv[5]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_any_moment_it_goes_on_and_ends_with_the_same_bytes(
    workers: int, folder: Path, tokenizer: Tokenizer, whole: Prepared, tmp_path: Path
) -> None:
    tokenizer.save(tmp_path / "tokenizer")
    cache = tmp_path / "cache"
    command = [
        sys.executable,
        "-c",
        SCRIPT,
        str(folder),
        str(cache),
        str(tmp_path / "tokenizer"),
        str(workers),
        str(SHARD),
    ]
    draw, killed, grown = random.Random(workers), 0, set()
    for _ in range(4):
        before = len(list(cache.glob("*/shard-*")))
        process = subprocess.Popen(command, start_new_session=True)
        while process.poll() is None and len(list(cache.glob("*/shard-*"))) < before + 2:
            time.sleep(0.005)
        time.sleep(draw.random() * 0.1)
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)  # the workers are left to notice by themselves
        process.wait()
        killed += 1
        grown.add(len(list(cache.glob("*/shard-*"))))
    assert killed  # a fast machine may be done before the last
    assert len(grown) == killed  # no run began from nothing
    made = build(recipe(folder, cache), tokenizer, quiet=True, workers=0, shard_tokens=SHARD)
    assert contents(made) == contents(whole)
    assert not list(cache.rglob("*.tmp"))


def copied(made: Prepared, cache: Path) -> Path:
    """The same store under another cache: its key does not depend on where it lies."""
    store = made.train.parts[0].documents.folder
    return Path(shutil.copytree(store, cache / store.name))


@pytest.mark.parametrize("victim", ["tokens", "lengths", "run_ends", "starts", "facts.json", "manifest.json"])
def test_a_flipped_bit_is_noticed(
    victim: str, folder: Path, tokenizer: Tokenizer, whole: Prepared, tmp_path: Path
) -> None:
    store = copied(whole, tmp_path)
    file = next(p for p in sorted(store.rglob("*")) if victim in p.name and p.stat().st_size > 100)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    with pytest.raises(DataError, match=rf"delete .*{store.name}.* and run again"):
        build(recipe(folder, tmp_path), tokenizer, quiet=True, shard_tokens=SHARD)


def test_a_cut_file_is_noticed(folder: Path, tokenizer: Tokenizer, whole: Prepared, tmp_path: Path) -> None:
    store = copied(whole, tmp_path)
    file = next(store.glob("shard-00003/train.tokens.bin"))
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(DataError, match=r"bytes, the manifest \d+"):
        build(recipe(folder, tmp_path), tokenizer, quiet=True, shard_tokens=SHARD)


def test_a_damaged_shard_of_an_unfinished_store_is_made_again(
    folder: Path, tokenizer: Tokenizer, whole: Prepared, tmp_path: Path
) -> None:
    store = copied(whole, tmp_path)
    (store / "store.json").unlink()
    (store / "shard-00002" / "train.tokens.bin").write_bytes(b"")
    again = build(recipe(folder, tmp_path), tokenizer, quiet=True, shard_tokens=SHARD)
    assert contents(again) == contents(whole)


def test_two_builders_at_once_make_one_store(
    folder: Path, tokenizer: Tokenizer, whole: Prepared, tmp_path: Path
) -> None:
    made: list[Prepared] = []

    def work() -> None:
        made.append(build(recipe(folder, tmp_path), tokenizer, quiet=True, workers=0, shard_tokens=SHARD))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(p.report["sources"][0]["cached"] for p in made) == [False, True]
    assert contents(made[0]) == contents(made[1]) == contents(whole)


def test_a_worker_that_dies_is_one_sentence(
    folder: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered = pool._Worker.__enter__

    def dying(self: pool._Worker) -> pool._Worker:
        worker = entered(self)
        os.kill(worker.process.pid, signal.SIGKILL)
        return worker

    monkeypatch.setattr(pool._Worker, "__enter__", dying)
    with pytest.raises(DanluError, match=r"ended with code -9; if memory ran out"):
        build(recipe(folder, tmp_path), tokenizer, quiet=True, workers=2)


def test_a_worker_ends_when_nobody_speaks_to_it(tokenizer: Tokenizer, tmp_path: Path) -> None:
    import io

    sink = io.BytesIO()
    serve(io.BytesIO(), sink)
    assert sink.getvalue() == b""
    process = subprocess.Popen(
        [sys.executable, "-m", "danlu.data.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.communicate(b"")
    assert process.returncode == 0


def test_preparing_imports_no_torch() -> None:
    code = "import sys; import danlu.data.worker, danlu.data.prepare; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_full_disk_leaves_what_was_finished(folder: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """A limit on the size of a file stands in for a full disk: the write fails half-way."""
    tokenizer.save(tmp_path / "tokenizer")
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000));"
    arguments = [str(folder), str(tmp_path / "cache"), str(tmp_path / "tokenizer"), "0"]
    command = [sys.executable, "-c", limit + SCRIPT, *arguments, str(SHARD)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "File too large" in done.stderr
    assert not list((tmp_path / "cache").rglob("*.tmp"))
    assert not list((tmp_path / "cache").rglob("store.json"))
    made = build(recipe(folder, tmp_path / "cache"), tokenizer, quiet=True, shard_tokens=SHARD)
    assert made.train.rows > 0
    assert prepare.SHARD_TOKENS > SHARD
