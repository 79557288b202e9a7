"""Preparing needs the same memory whatever the number of rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from data_tokenizer import PEAK, make_tokenizer

SCRIPT = (
    PEAK
    + """
import sys
from danlu.data import DataRecipe, HeldOut, Pack, Source, build, read_documents
from danlu.tokenize import load_tokenizer
recipe = DataRecipe(parts=[Source(from_=sys.argv[1])], pack=Pack(length=512), cache=sys.argv[2])
prepared = build(recipe, load_tokenizer(sys.argv[3]), quiet=True, workers=0)
print(prepared.train.documents, peak())
"""
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_five_times_the_rows_need_no_more_memory(tmp_path: Path) -> None:
    """75,000 short rows are within a few MiB of 15,000; a list of all of them would take some 100 MiB more."""
    make_tokenizer(tmp_path / "tokenizer")
    sizes = {}
    for count in (15_000, 75_000):
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
    assert sizes[75_000] - sizes[15_000] < 25
    assert sizes[75_000] < 300
