"""The engine over pages that round: what they keep whole changes nothing, what they round does not depend on company."""

from __future__ import annotations

import pytest
import torch
from talkers import small_model, small_tokenizer

import danlu
from danlu.infer.engine import Engine
from danlu.infer.request import Event, Request
from danlu.infer.sampling import Sampling
from danlu.infer.settings import EngineSettings

NEW = 16
PROMPTS = [[7, 30, 100], list(range(40, 71)), [5] * 12, [*range(40, 65), 9], [8]]
KIVI = {"use": "kivi", "bits": 2, "whole": 8}
ROUNDING = ["int8", KIVI, {"use": "kivi", "bits": 4, "whole": 0}]


@pytest.fixture
def tokenizer(tmp_path):
    return small_tokenizer(tmp_path)


def made(tokenizer, family: str = "llama", sizes: dict | None = None, **settings) -> Engine:
    model = small_model(family, layers=2, context=64, **(sizes or {"kv_heads": 2}))
    return Engine(model, tokenizer, settings=EngineSettings(**{"rows": 8, "block": 4, **settings}))


def run(engine: Engine, *requests: Request) -> list[list[Event]]:
    """The events of each request."""
    events: dict[int, list[Event]] = {engine.submit(request): [] for request in requests}
    while engine.busy:
        for event in engine.step():
            events[event.number].append(event)
    assert not engine.stats.blocks_used
    return list(events.values())


def tokens(events: list[Event], index: int = 0) -> list[int]:
    return [token.id for event in events if event.index == index for token in event.tokens]


def greedy(ids: list[int], **asked) -> Request:
    return Request(prompt=tuple(ids), sampling=Sampling(max_tokens=NEW, stop_ids=(), **asked))


@pytest.mark.parametrize(("family", "sizes"), [("llama", {"kv_heads": 2}), ("mistral", {"window": 9})], ids=str)
def test_what_stays_whole_changes_nothing(family, sizes, tokenizer) -> None:
    engine = made(tokenizer, family, sizes, budget=9, reuse=False, cache={"use": "kivi", "bits": 2, "whole": 64})
    said = [tokens(events) for events in run(engine, *map(greedy, PROMPTS))]
    settings = {"max_tokens": NEW, "stop_ids": [], "cache": "none"}
    assert said == [list(one.tokens) for one in danlu.generate(engine.model, tokenizer, PROMPTS, **settings)]


def test_int8_does_not_depend_on_company(tokenizer) -> None:
    """A key is rounded by itself when it comes: chunks, blocks, rows, pre-emption and what is found change nothing."""
    first = [tokens(run(made(tokenizer, cache="int8"), greedy(ids))[0]) for ids in PROMPTS]
    pool = made(tokenizer).forward.pages
    assert pool.blocks > 14
    for settings in ({}, {"budget": 5}, {"rows": 2, "block": 16}, {"reuse": False, "budget": 3}):
        engine = made(tokenizer, cache="int8", **settings)
        for _ in range(2):
            assert [tokens(events) for events in run(engine, *map(greedy, PROMPTS))] == first
    with pytest.warns(UserWarning, match="refused"):
        engine = made(tokenizer, cache="int8", cache_bytes=made(tokenizer, cache="int8").forward.pages.twin(13).bytes_)
    assert [tokens(events) for events in run(engine, *map(greedy, PROMPTS))] == first
    assert engine.stats.preemptions


@pytest.mark.parametrize("cache", ["plain", *ROUNDING], ids=str)
def test_answers_that_share_a_prompt_are_those_of_their_own(cache, tokenizer) -> None:
    """Blocks are shared, copied when they are written, and rounded where they lie."""
    hot = {"temperature": 20.0}
    together = run(made(tokenizer, cache=cache), greedy(PROMPTS[1], n=3, seed=(1, 2, 3), **hot))[0]
    for index, seed in enumerate((1, 2, 3)):
        alone = run(made(tokenizer, cache=cache), greedy(PROMPTS[1], seed=seed, **hot))[0]
        assert tokens(together, index) == tokens(alone)
    assert len({tuple(tokens(together, index)) for index in range(3)}) == 3


@pytest.mark.parametrize("cache", ["plain", *ROUNDING], ids=str)
def test_beams_fork_and_leave_without_a_trace(cache, tokenizer) -> None:
    beam = {"search": {"use": "beam", "width": 3}}
    engine = made(tokenizer, cache=cache, reuse=False)
    asked = [greedy(ids, **beam) for ids in PROMPTS[:3]]
    first = run(engine, *asked)
    again = run(engine, *asked)
    assert [tokens(events) for events in first] == [tokens(events) for events in again]
    alone = [run(made(tokenizer, cache=cache, reuse=False), request)[0] for request in asked]
    assert [tokens(events) for events in first] == [tokens(events) for events in alone]


def test_room_for_whole_keys_comes_back(tokenizer) -> None:
    """Whoever leaves, in whatever way, leaves nothing that is still as it came."""
    engine = made(tokenizer, cache=KIVI, budget=16, rows=4)
    pages = engine.forward.pages
    size = pages.bytes_
    for turn in range(6):
        numbers = [engine.submit(greedy([*ids, turn], n=1 + turn % 2)) for ids in PROMPTS]
        for _ in range(5 + turn):
            engine.step()
        engine.abort(numbers[turn % len(numbers)])
        while engine.busy:
            engine.step()
    engine.follow()
    assert not pages.fresh.place  # type: ignore[attr-defined]
    assert pages.bytes_ == size


@torch.inference_mode()
def test_rounded_keys_say_nearly_the_same(tokenizer) -> None:
    """Log-probabilities of a text that is given: the fewer bits, the further off; none of them far."""
    text = tuple((7 * i * i + 3 * i) % 250 for i in range(60))
    model = small_model("llama", kv_heads=2, model=64, context=64, seed=5)
    for name, weight in model.named_parameters():
        if weight.dim() > 1 and ("embed" in name or "head" in name):
            weight.div_(10)

    def told(cache) -> torch.Tensor:
        engine = Engine(model, tokenizer, settings=EngineSettings(budget=4, block=4, cache=cache))
        (events,) = run(engine, Request(prompt=text, sampling=Sampling(max_tokens=0, prompt_logprobs=0)))
        return torch.tensor([one.logprob for one in events[0].prompt if one is not None])

    plain = told("plain")
    kept = ["int8", {"use": "kivi", "bits": 4, "whole": 8}, KIVI, {"use": "kivi", "bits": 2, "whole": 0}]
    off = [float((told(cache) - plain).abs().mean()) for cache in kept]
    assert off == sorted(off), off
    assert 0 < off[0] < 0.02, off
