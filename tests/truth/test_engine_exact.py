"""Greedy text does not depend on company, chunks, blocks, what was kept of prompts, nor on being pre-empted.

Every text of the engine is compared with the same model reading all of its tokens anew for each one, alone and
without a cache: token for token, in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product

import pytest
from talkers import small_model, small_tokenizer

import danlu
from danlu.infer.engine import Engine
from danlu.infer.request import Request, Stats
from danlu.infer.sampling import Sampling
from danlu.infer.settings import EngineSettings
from danlu.nn.model import Model

NEW = 12
FAMILIES = {
    "llama": {"kv_heads": 2}, "gpt2": {}, "bloom": {}, "mistral": {"window": 9}, "qwen3": {}, "mixtral": {},
    "glm4": {"kv_heads": 2}, "t5": {}, "recurrent": {"heads": None},
}  # fmt: skip
PROMPTS = [[7, 30, 100], list(range(40, 71)), [5] * 12, [*range(40, 65), 9], [200, 3, 17, 250, 66, 90, 12], [8]]
AGAIN = [list(range(40, 71)), [*range(40, 71), 5, 6], PROMPTS[0]]  # asked when the others are done


@cache
def model(family: str) -> Model:
    return small_model(family, **{"context": 64, "layers": 2, **FAMILIES[family]})  # type: ignore[arg-type]


@cache
def expected(family: str, temperature: float = 0.0) -> list[tuple[int, ...]]:
    """Each prompt alone, all of its tokens read for every new one."""
    one, settings = model(family), {"max_tokens": NEW, "stop_ids": [], "temperature": temperature, "cache": "none"}
    return [danlu.generate(one, _TOKENIZER[0], [ids], **settings)[0].tokens for ids in PROMPTS + AGAIN]


_TOKENIZER: list = []


@pytest.fixture(autouse=True)
def tokenizer(tmp_path):
    _TOKENIZER[:] = [small_tokenizer(tmp_path)]
    return _TOKENIZER[0]


def blocks_of(family: str, count: int, **settings) -> int:
    """The bytes of so many blocks, whatever beside."""
    made = EngineSettings(**settings)
    return made.pages(model(family), count, "meta").bytes_


def served(family: str, tokenizer, temperature: float = 0.0, **settings) -> tuple[list[tuple[int, ...]], Stats]:
    """All prompts at once, then three that begin like some of them."""
    engine = Engine(model(family), tokenizer, settings=EngineSettings(**settings))
    said: dict[int, list[int]] = {}
    for prompts in (PROMPTS, AGAIN):
        for ids in prompts:
            sampling = Sampling(max_tokens=NEW, stop_ids=(), temperature=temperature)
            said[engine.submit(Request(prompt=tuple(ids), sampling=sampling))] = []
        while engine.busy:
            for event in engine.step():
                said[event.number] += [token.id for token in event.tokens]
    assert not engine.stats.blocks_used
    return [tuple(tokens) for tokens in said.values()], engine.stats


def agree(found: Sequence[tuple[int, ...]], family: str, temperature: float = 0.0) -> None:
    pairs = zip(found, expected(family, temperature), strict=True)
    wrong = [i for i, (mine, theirs) in enumerate(pairs) if mine != theirs]
    assert not wrong, f"texts {wrong} differ"
    assert all(len(tokens) == NEW for tokens in found)


def test_texts_say_something() -> None:
    """A model that repeats itself would agree with anything."""
    for family in FAMILIES:
        assert len(set(expected(family))) >= 5, family
        assert len({token for tokens in expected(family, 20.0) for token in tokens}) > 12, family


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "settings",
    [{}, {"budget": 5, "block": 4}, {"budget": 17, "rows": 3, "block": 32, "reuse": False}],
    ids=str,
)
def test_every_family_says_the_same(family, settings, tokenizer) -> None:
    found, _ = served(family, tokenizer, **settings)
    agree(found, family)


@pytest.mark.parametrize("family", FAMILIES)
def test_chance_is_the_same_too(family, tokenizer) -> None:
    """A row's own generator draws for it, whoever is beside it."""
    found, _ = served(family, tokenizer, 20.0, budget=11, block=8)
    agree(found, family, 20.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tiny_pool_costs_time_and_changes_nothing(family, tokenizer) -> None:
    settings = {"rows": 6, "budget": 24, "block": 4}
    with pytest.warns(UserWarning, match="longer requests will be refused"):
        found, stats = served(family, tokenizer, **settings, cache_bytes=blocks_of(family, 14, **settings))
    agree(found, family)
    assert stats.blocks == 14
    assert stats.preemptions or FAMILIES[family].get("window")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_the_whole_matrix(family, tokenizer) -> None:
    """rows × budget × block × reuse × pool: no mismatch."""
    preempted = reused = 0
    for rows, budget, block, reuse in product((1, 6), (2, 9, 512), (2, 16), (False, True)):
        settings = {"rows": rows, "budget": budget, "block": block, "reuse": reuse}
        found, stats = served(family, tokenizer, **settings)
        agree(found, family)
        reused += stats.cached_tokens
        assert reuse or not stats.cached_tokens
        tight = blocks_of(family, 48 // block, **settings)
        with pytest.warns(UserWarning, match="refused"):
            found, stats = served(family, tokenizer, **settings, cache_bytes=tight)
        agree(found, family)
        preempted += stats.preemptions
    assert reused
    assert preempted


def test_a_window_forgets_blocks_and_says_the_same(tokenizer) -> None:
    settings = {"rows": 1, "budget": 8, "block": 4, "context": 64}
    with pytest.warns(UserWarning, match="refused"):
        engine = Engine(
            model("mistral"), tokenizer,
            settings=EngineSettings(**settings, cache_bytes=blocks_of("mistral", 7, **settings)),
        )  # fmt: skip
    assert engine.scheduler.window == 9
    engine.submit(Request(prompt=tuple(PROMPTS[1]), sampling=Sampling(max_tokens=NEW, stop_ids=())))
    said, most = [], 0
    while engine.busy:
        said += [token.id for event in engine.step() for token in event.tokens]
        most = max(most, engine.stats.blocks_used)
    assert tuple(said) == expected("mistral")[1]
    assert most <= -(-(9 + 8) // 4) + 1 < -(-(31 + NEW) // 4)
