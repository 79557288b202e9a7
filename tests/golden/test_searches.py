"""Searches that transformers 5 no longer has find what transformers 4.49 found (tools/golden_search.py)."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import golden_llama
import pytest
from searching import contrasted, drive, greedy, reader, remembering
from torch import Tensor

from danlu.core.spec import Spec
from danlu.infer.contrasts import CONTRASTS
from danlu.infer.filters import Filter, chain
from danlu.infer.rows import Row
from danlu.infer.searches import SEARCHES, Step
from danlu.infer.searches.forced import Forced
from danlu.infer.searches.phrases import Progress
from danlu.models import load

GOLDEN = json.loads((Path(__file__).parent / "searches.json").read_text())
LIMIT = GOLDEN["limit"]
STOPS = frozenset({golden_llama.END})


class NoPad(Filter):
    """transformers pads groups that are done, and counts the padding as words of theirs: no one may choose it."""

    order, neutral, strong = 0, None, None

    def __init__(self, *, value: Any = None) -> None: ...

    def __call__(self, logits: Tensor, rows: Sequence[Row]) -> Tensor:
        logits = logits.clone()
        logits[:, golden_llama.PAD] = float("-inf")
        return logits


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple, Any]:
    folder = tmp_path_factory.mktemp("golden")
    found = {}
    for layers, tied, seed in sorted({tuple(case["model"]) for case in GOLDEN["cases"]}):
        place = golden_llama.write(folder / str(seed), layers=layers, tied=tied, seed=seed)
        found[layers, tied, seed] = load(place)[0]
    return found


def _cases(name: str) -> list[dict]:
    return [case for case in GOLDEN["cases"] if case["use"] == name]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["diverse", "contrastive"])
def test_searches(name: str, models: dict[tuple, Any]) -> None:
    _found_alike(name, models)


@pytest.mark.slow
def test_forced(models: dict[tuple, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what ours does better: there, texts with all words lose their places to likelier ones without them and
    end only if they are likelier, and a token that breaks a word begins no other."""
    whole = Progress.after
    monkeypatch.setattr(Progress, "after", lambda met, token: _forgetful(met, token, whole))
    monkeypatch.setattr(Forced, "_safe", lambda search, scores: [])
    monkeypatch.setattr(Forced, "_ending", _among_all)
    _found_alike("forced", models)


def _forgetful(met: Progress, token: int, whole: Callable[[Progress, int], Progress]) -> Progress:
    broken = met.under and token not in met.wanted
    return met.waiting_again() if broken else whole(met, token)


def _among_all(search: Forced, scores: Tensor) -> list[Step]:
    return [step for step in search.group.split(scores)[0] if search.met[step.row].complete]


def _found_alike(name: str, models: dict[tuple, Any]) -> None:
    readers = {key: remembering(reader(model)) for key, model in models.items()}
    for case in _cases(name):
        filters = [] if name == "contrastive" else [NoPad()]
        search = Spec(name, case["settings"]).build(SEARCHES, filters, STOPS, LIMIT, len(case["answers"]))
        found = drive(search, readers[tuple(case["model"])], case["prompt"])
        assert [list(answer.tokens) for answer in found] == [answer["tokens"] for answer in case["answers"]], case
        if name != "contrastive":
            told = [answer["score"] for answer in case["answers"]]
            assert [answer.score for answer in found] == pytest.approx(told, abs=2e-4), case


def test_dola(models: dict[tuple, Any]) -> None:
    filters = chain({"repetition_penalty": 1.2})
    for case in _cases("dola"):
        contrast = Spec("dola", case["settings"]).build(CONTRASTS)
        read = contrasted(models[tuple(case["model"])], contrast, tied=case["model"][1])
        assert greedy(read, case["prompt"], filters, STOPS, LIMIT) == case["answers"][0]["tokens"], case
