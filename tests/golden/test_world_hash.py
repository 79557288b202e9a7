"""The world's texts are the same on every machine and for ever: SHA-256 of the people and of each corpus."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from typing import Any

import pytest

from danlu.world import World, world
from danlu.world.corpora import CORPORA

GOLDEN = {
    "arithmetic": "72c0fbf3844f4c6ff4acefb5410b4d886b66edd0f1fb9dcf8d15626105ef7a51",
    "biographies": "172947f2a156ad8b962ce7f0abd21c455c603c627c9b20026fb544f970f2b0ef",
    "dialogues": "227eaf334bcbdf18e7b54bcb5808fb8e38c6d5f05a276782a533b524f3bd2c88",
    "people": "c8729555ea86c175178beacee3493bbbe10d12b4a6805118e5a75c9a3131d389",
    "questions": "93823a219303c957bb198a7ab2f3af7b954279454e095edaadba625e831d7b28",
    "small_talk": "79091c8a0c0a49b47d735daa15c6cb7154c571aca1a51a81ef3e1ab5f5c45d0c",
    "strangers": "5082eefac87e17baad16fd711dbea166b354bb659ee0740d10ddb109f01c3c89",
}


def digest(rows: Any) -> str:
    text = "\n".join(json.dumps(row, ensure_ascii=False, sort_keys=True) for row in rows)
    return hashlib.sha256(text.encode()).hexdigest()


def digests(found: World) -> dict[str, str]:
    people = [asdict(p) for p in (*found.asked, *found.unasked, *found.strangers)]
    texts = {name: digest([*corpus.training(found), *map(asdict, corpus.exam(found))]) for name, corpus in _corpora()}
    return {"people": digest(people), **texts}


def _corpora() -> list[tuple[str, Any]]:
    return [(name, CORPORA[name]()) for name in CORPORA]


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    return digests(world(0, people=20, strangers=10))


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_corpus_is_what_it_was(found: dict[str, str], name: str) -> None:
    """If a text was changed on purpose, write the new digest here and say so in the changelog: old demos differ."""
    assert found[name] == GOLDEN[name]


def test_every_corpus_is_golden(found: dict[str, str]) -> None:
    assert set(found) == set(GOLDEN)


def test_another_process_with_another_hash_seed_tells_the_same(found: dict[str, str]) -> None:
    code = (
        "import json; from test_world_hash import digests; from danlu.world import world; "
        "print(json.dumps(digests(world(0, people=20, strangers=10))))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": os.path.dirname(__file__)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == found


def test_another_seed_is_another_world(found: dict[str, str]) -> None:
    other = digests(world(1, people=20, strangers=10))
    assert {name for name in found if other[name] == found[name]} <= {"small_talk"}
