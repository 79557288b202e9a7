"""The engine with guesses says what it says without them, token by token, whatever is asked and whoever guesses."""

from __future__ import annotations

from typing import Any

import pytest
from talkers import small_model, small_tokenizer

from danlu.core.spec import Spec
from danlu.infer.drafters import DRAFTERS
from danlu.infer.engine import Engine
from danlu.infer.request import Request
from danlu.infer.sampling import Sampling
from danlu.infer.settings import EngineSettings
from danlu.models import Stack
from danlu.tokenize import Tokenizer

PROMPTS = [(5, 9, 30), (40,), tuple(range(50, 71)), (7, 7, 7, 7, 7), (200, 3, 200, 3, 200)]
ASKED: dict[str, dict[str, Any]] = {
    "greedy": {},
    "drawn": {"temperature": 0.9, "top_p": 0.9, "seed": 4},
    "penalties": {"repetition_penalty": 1.3, "frequency_penalty": 0.3, "no_repeat_ngram_size": 4},
    "ends": {"min_tokens": 3, "stop": ("e", "th"), "stop_ids": (17, 30, 99)},
    "several": {"n": 3, "temperature": 1.2, "seed": 2},
    "grammar": {"constraint": {"regex": "(ab|cd|e[0-9]){2,6}"}},
    "voices": {"contrast": Spec("dola")},
    "told": {"logprobs": 3, "prompt_logprobs": 1},
    "searched": {"search": Spec("beam", {"width": 3}), "n": 2},
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def model() -> Stack:
    return small_model()


@pytest.fixture(scope="module")
def drafters(model: Stack) -> dict[str, Spec]:
    return {
        "ngram": Spec("ngram", {"tokens": 3, "shortest": 1}),
        "wrong": Spec("model", {"tokens": 2}),
        "right": Spec("model", {"tokens": 5}),
    }


def _answers(engine: Engine, asked: dict[str, Any], prompts: Any, limits: Any) -> dict[tuple[int, int], Any]:
    """What each answer of each prompt was told: text, tokens with log-probabilities, why it ended."""
    numbers = {}
    for place, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
        numbers[engine.submit(Request(prompt=prompt, sampling=Sampling(max_tokens=limit, **asked)))] = place
    told: dict[tuple[int, int], Any] = {}
    while engine.busy:
        for event in engine.step():
            text, tokens, _ = told.get((numbers[event.number], event.index), ("", [], None))
            told[numbers[event.number], event.index] = (text + event.text, [*tokens, *event.tokens], event.finish)
    return told


def _same(ours: dict[Any, Any], plain: dict[Any, Any]) -> None:
    assert set(ours) == set(plain)
    for key, (text, tokens, finish) in ours.items():
        assert (text, [token.id for token in tokens], finish) == (
            plain[key][0],
            [t.id for t in plain[key][1]],
            plain[key][2],
        )
        for one, other in zip(tokens, plain[key][1], strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
            assert [i for i, _ in one.top] == [i for i, _ in other.top]


@pytest.mark.parametrize("asked", list(ASKED))
@pytest.mark.parametrize("name", ["ngram", "wrong", "right"])
def test_nothing_but_the_number_of_steps_changes(
    model: Stack, tokenizer: Tokenizer, drafters: dict[str, Spec], asked: str, name: str
) -> None:
    """Rows of different lengths and limits side by side; a pool so small that rows are pre-empted, too."""
    limits = [20, 3, 12, 24, 9]
    small = small_model("gpt2", layers=1)
    plain = Engine(model, tokenizer)
    expected = _answers(plain, ASKED[asked], PROMPTS, limits)
    for settings in (EngineSettings(), EngineSettings(budget=16, block=4, cache_bytes=2 * 3 * 48 * 4 * 4 * 36)):
        drafter = drafters[name].build(DRAFTERS, model if name == "right" else small)
        engine = Engine(model, tokenizer, settings=settings, drafter=drafter)
        _same(_answers(engine, ASKED[asked], PROMPTS, limits), expected)
        assert engine.stats.blocks_used == 0
    if asked in ("greedy", "drawn", "penalties") and name == "right":
        assert engine.stats.accepted_tokens > 0.8 * engine.stats.drafted_tokens > 0
        assert engine.stats.steps < plain.stats.steps
