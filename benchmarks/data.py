"""Preparing training data against datasets.map with the same tokenizer: rows a second, peak memory of all processes.

Ours reads, tokenizes with a weight per token, packs and seals; the peer reads and tokenizes, a process a core.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from table import medians, row, skipped, text

HERE = Path(__file__).parent
ROWS, ROUNDS, VOCAB = 120_000, 2, 6400
AIM_SPEED, AIM_MEMORY = 4.0, 0.5

OURS = """
import sys, time
from danlu import data
from danlu.tokenize import load_tokenizer
file, tokenizer, cache = sys.argv[1:]
began = time.perf_counter()
recipe = data.DataRecipe(parts=[data.Source(from_=file)], pack=data.Pack(length=512), cache=cache)
prepared = data.build(recipe, load_tokenizer(tokenizer), quiet=True)
assert prepared.train.tokens > 0
print(time.perf_counter() - began)
"""
PEER = """
import os, sys, time
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}
from datasets import load_dataset
from transformers import AutoTokenizer
file, tokenizer, cache = sys.argv[1:]

def text(rows):
    return {"input_ids": tok(rows["text"])["input_ids"]}

def chat(one):
    return {"input_ids": tok.apply_chat_template(one["messages"], tokenize=True, return_dict=False)}

began = time.perf_counter()
tok = AutoTokenizer.from_pretrained(tokenizer)
rows = load_dataset("json", data_files=file, split="train", cache_dir=cache)
chats = "messages" in rows.column_names
done = rows.map(
    chat if chats else text, batched=not chats, num_proc=len(os.sched_getaffinity(0)), remove_columns=rows.column_names
)
assert len(done[0]["input_ids"]) > 0
print(time.perf_counter() - began)
"""


def rows() -> list[dict[str, Any]]:
    try:
        import datasets  # noqa: F401
        import psutil  # noqa: F401
    except ImportError as error:
        return [skipped("preparing rows", f"{error.name} is not installed here", against="datasets.map")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files, tokenizer = _inputs(folder)
        return [line for kind, file in files.items() for line in _measure(kind, file, tokenizer, folder)]


def _measure(kind: str, file: Path, tokenizer: Path, folder: Path) -> list[dict[str, Any]]:
    """Two lines: speed and memory, A B A B."""
    ours: list[tuple[float, float]] = []
    peer: list[tuple[float, float]] = []
    for round_ in range(ROUNDS):
        for code, found in ((OURS, ours), (PEER, peer)):
            cache = folder / f"{kind}-{round_}-{len(ours)}-{len(peer)}"
            found.append(_run([sys.executable, "-c", code, str(file), str(tokenizer), str(cache)]))
    (a, b), (c, d) = (medians(*([pair[i] for pair in found] for found in (ours, peer))) for i in (0, 1))
    what, why = f"preparing {ROWS:,} short {kind} rows", WHY[kind]
    return [
        row(what, ROWS / a, ROWS / b, unit="rows/s", against="datasets.map", aim=AIM_SPEED, why=why),
        row(f"{what}: peak memory", c, d, unit="MiB", against="datasets.map", aim=AIM_MEMORY, lower=True, why=MEMORY),
    ]


WHY = {
    "text": (
        "one of our processes prepares 24,000 such rows a CPU second by itself (a sixth of it encoding, the rest "
        "Python a row); handing rows to processes and sealing shards with SHA-256 takes about as long again"
    ),
    "chat": "",
}
MEMORY = "each of our processes holds its own interpreter and tokenizer"


def _run(command: list[str]) -> tuple[float, float]:
    """The seconds a process measured, and the most memory it and its children held together, in MiB."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    most = 0.0
    while process.poll() is None:
        most = max(most, _memory(process.pid))
        time.sleep(0.05)
    assert process.stdout is not None
    assert process.returncode == 0, f"failed: {' '.join(command[2:4])}"
    return float(process.stdout.read().split()[-1]), most / 2**20


def _memory(pid: int) -> float:
    """Bytes of a process tree, pages that processes share counted once."""
    import psutil

    total = 0.0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            total += _ignoring_ended(lambda process=process: process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return total
    return total


def _ignoring_ended(ask: Callable[[], float]) -> float:
    import psutil

    try:
        return ask()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0


def _inputs(folder: Path) -> tuple[dict[str, Path], Path]:
    """Rows of this repository's own words, and a tokenizer trained on them."""
    from danlu.tokenize import train

    sources = [
        *sorted(HERE.parent.glob("docs/*.md")),
        HERE.parent / "LICENSE",
        *sorted(HERE.parent.glob("src/danlu/*/*.py")),
    ]
    words = " ".join(path.read_text(encoding="utf-8") for path in sources).split()
    draw = random.Random(0)

    def said(least: int, most: int) -> str:
        start = draw.randrange(len(words) - most)
        return " ".join(words[start : start + draw.randint(least, most)])

    files = {"text": folder / "text.jsonl", "chat": folder / "chat.jsonl"}
    texts = ({"text": said(10, 60)} for _ in range(ROWS))
    chats = (_chat(said(5, 20), said(5, 40)) for _ in range(ROWS))
    for file, made in zip(files.values(), (texts, chats), strict=True):
        file.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in made), encoding="utf-8")
    train([files["text"]], "byte_bpe", vocab=VOCAB).save(folder / "tokenizer")
    return files, folder / "tokenizer"


def _chat(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def main() -> None:
    print(text(rows()))


if __name__ == "__main__":
    main()
