"""Preparing needs the same memory whatever the number of rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from data_tokenizer import make_tokenizer

SCRIPT = """
import resource, sys
from danlu.data import *
from danlu.tokenize import load_tokenizer
recipe = DataRecipe(parts=[Source(from_=sys.argv[1])], pack=Pack(length=512), cache=sys.argv[2])
prepared = build(recipe, load_tokenizer(sys.argv[3]), quiet=True, workers=0)
print(prepared.train.documents, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


@pytest.mark.slow
def test_five_times_the_rows_need_no_more_memory(tmp_path: Path) -> None:
    """100,000 short rows are within a few MiB of 20,000; a list of all of them would take some 150 MiB more."""
    make_tokenizer(tmp_path / "tokenizer")
    sizes = {}
    for count in (20_000, 100_000):
        file = tmp_path / f"{count}.jsonl"
        with file.open("w") as sink:
            for i in range(count):
                row = {"prompt": f"why {i}", "response": "the quick fox " * (1 + i % 9)} if i % 2 else None
                sink.write(json.dumps(row or {"prompt": f"the lazy dog {i}?", "response": "asks"}) + "\n")
        command = [sys.executable, "-c", SCRIPT, str(file), str(tmp_path / f"c{count}"), str(tmp_path / "tokenizer")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        documents, mebibytes = map(int, done.stdout.split())
        assert documents == count
        sizes[count] = mebibytes
    assert sizes[100_000] - sizes[20_000] < 25
    assert sizes[100_000] < 300
