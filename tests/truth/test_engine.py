"""What an engine says of a request: as if it were alone, and all that was asked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from served import drained, served, whole_greedy
from talkers import small_model, small_tokenizer

from danlu.core.errors import ConfigError, DanluError
from danlu.core.spec import Spec
from danlu.infer import generate, log_likelihoods
from danlu.infer.drafters.ngram import Ngram
from danlu.infer.engine import Engine
from danlu.infer.request import Request
from danlu.infer.sampling import Sampling
from danlu.infer.settings import EngineSettings
from danlu.nn.model import Model
from danlu.peft.attached import activate, attach
from danlu.tokenize import Tokenizer

PROMPTS = [[5, 17, 40], [9], list(range(30, 61)), [5, 17, 40, 200, 3], [77] * 12, [5, 17, 40]]
FREE = Sampling(max_tokens=24, stop_ids=())


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def model() -> Model:
    return small_model(kv_heads=2)


def test_greedy_is_what_the_whole_model_says(model: Model, tokenizer: Tokenizer) -> None:
    found = served(Engine(model, tokenizer), PROMPTS, FREE)
    assert [one[0].tokens for one in found] == [whole_greedy(model, ids, 24) for ids in PROMPTS]  # type: ignore[arg-type]
    assert {one[0].finish for one in found} == {"length"}


def test_a_seed_says_the_same_in_any_company(model: Model, tokenizer: Tokenizer) -> None:
    warm = Sampling(max_tokens=16, temperature=0.9, top_k=30, seed=4, stop_ids=())
    together = served(Engine(model, tokenizer, settings=EngineSettings(budget=7, block=4)), PROMPTS, warm)
    for ids, one in zip(PROMPTS, together, strict=True):
        alone = generate(
            model, tokenizer, [ids], max_tokens=16, temperature=0.9, top_k=30, seed=4, stop_ids=(), cache="slab"
        )
        assert one[0].tokens == list(alone[0].tokens)
        assert one[0].logprobs == pytest.approx(alone[0].logprobs, abs=1e-4)


def test_n_answers_are_those_of_n_seeds(model: Model, tokenizer: Tokenizer) -> None:
    """They share the blocks of their prompt until one of them writes."""
    warm = {"max_tokens": 12, "temperature": 1.0, "stop_ids": ()}
    engine = Engine(model, tokenizer, settings=EngineSettings(block=4))
    found = served(engine, PROMPTS[:3], Sampling(n=3, seed=(11, 5, 8), **warm))
    for ids, answers in zip(PROMPTS, found, strict=False):
        single = [served(engine, [ids], Sampling(seed=seed, **warm))[0][0].tokens for seed in (11, 5, 8)]
        assert [one.tokens for one in answers] == single


def test_the_prefix_cache_is_used_and_says_nothing_else(model: Model, tokenizer: Tokenizer) -> None:
    engine = Engine(model, tokenizer, settings=EngineSettings(block=4))
    long = list(range(20, 60))
    first = served(engine, [long], FREE)
    assert engine.stats.cached_tokens == 0
    assert served(engine, [long], FREE)[0][0].tokens == first[0][0].tokens
    assert engine.stats.cached_tokens == 36, "all full blocks but the one of the last token"
    served(engine, [long], FREE, salt="another")
    assert engine.stats.cached_tokens == 36, "another salt may not see what is kept of the first"


def test_log_probabilities_of_the_prompt(model: Model, tokenizer: Tokenizer) -> None:
    """In chunks of seven tokens, for a prompt whose beginning is in the cache."""
    engine = Engine(model, tokenizer, settings=EngineSettings(budget=7, block=4))
    served(engine, PROMPTS, FREE)
    for ids in PROMPTS:
        engine.submit(
            Request(prompt=tuple(ids), sampling=Sampling(max_tokens=2, prompt_logprobs=3, logprobs=3, stop_ids=()))
        )
        event = next(event for event in drained(engine) if event.prompt)
        assert event.prompt[0] is None
        wanted = log_likelihoods(model, [(ids[:1], ids[1:])])[0].logprobs if len(ids) > 1 else ()
        assert [one.logprob for one in event.prompt[1:] if one] == pytest.approx(wanted, abs=1e-4)
        for one in (*event.prompt[1:], *event.tokens):
            assert one is not None
            assert len(one.top) == 3
            assert [p for _, p in one.top] == sorted((p for _, p in one.top), reverse=True)
            assert one.logprob <= one.top[0][1]


def test_no_new_token_reads_the_prompt_only(model: Model, tokenizer: Tokenizer) -> None:
    engine = Engine(model, tokenizer)
    engine.submit(Request(prompt=(5, 17, 40), sampling=Sampling(max_tokens=0, prompt_logprobs=0)))
    (event,) = drained(engine)
    assert (event.tokens, event.finish, len(event.prompt)) == ((), "length", 3)


def test_aborting_frees_at_once_and_the_rest_goes_on(model: Model, tokenizer: Tokenizer) -> None:
    engine = Engine(model, tokenizer, settings=EngineSettings(block=4, budget=16))
    numbers = [engine.submit(Request(prompt=tuple(ids), sampling=FREE)) for ids in PROMPTS]
    for _ in range(4):
        engine.step()
    before = engine.stats.blocks_used
    for number in (numbers[0], numbers[2], numbers[5], numbers[5], 99):
        engine.abort(number)
    assert engine.stats.blocks_used < before
    assert engine.stats.aborted == 3
    events = drained(engine)
    assert {event.number for event in events} == {numbers[1], numbers[3], numbers[4]}
    again = served(engine, PROMPTS, FREE)
    assert [one[0].tokens for one in again] == [whole_greedy(model, ids, 24) for ids in PROMPTS]  # type: ignore[arg-type]


def test_what_one_request_breaks_is_that_request_alone(
    model: Model, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(model, tokenizer)
    numbers = [engine.submit(Request(prompt=tuple(ids), sampling=FREE)) for ids in PROMPTS]
    victim = engine.jobs[numbers[3]].rows[0]
    choose = type(engine.jobs[numbers[3]].decoder).choose

    def breaking(self: object, logits: torch.Tensor, rows: list) -> torch.Tensor:
        if victim in rows and victim.tokens:
            raise RuntimeError("a filter met something it did not expect")
        return choose(self, logits, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(type(engine.jobs[numbers[3]].decoder), "choose", breaking)
    events = drained(engine)
    last = {event.number: event for event in events}
    assert (last[numbers[3]].finish, last[numbers[3]].stop) == ("error", "a filter met something it did not expect")
    assert {last[number].finish for number in numbers if number != numbers[3]} == {"length"}


def test_several_adapters_in_one_row(model: Model, tokenizer: Tokenizer) -> None:
    """Requests of three adapters and of the base at once answer as each does alone."""
    twin = small_model(kv_heads=2, seed=3)
    torch.manual_seed(0)
    for name, spec in {
        "law": {"use": "lora", "rank": 4}, "tax": {"use": "ia3"}, "old": {"use": "houlsby", "width": 8}, "far": {"use": "prefix", "length": 3},
    }.items():  # fmt: skip
        attach(twin, Spec.read(spec), name)
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if parameter.requires_grad or any(f".{one}." in name for one in ("law", "tax", "old", "far")):
                parameter.normal_(std=0.3)
    twin.requires_grad_(False)
    activate(twin)
    names = ["law", "", "tax", "far", "old", "law"]
    alone = []
    for ids, name in zip(PROMPTS, names, strict=True):
        one = generate(twin, tokenizer, [ids], max_tokens=12, stop_ids=(), adapter=name or [], cache="slab")
        alone.append(list(one[0].tokens))
    assert len({tuple(one) for one in alone}) > 3, "the adapters do nothing"
    engine = Engine(twin, tokenizer, settings=EngineSettings(budget=40, block=4))
    short = Sampling(max_tokens=12, stop_ids=())
    numbers = [
        engine.submit(Request(prompt=tuple(ids), sampling=short, adapter=name))
        for ids, name in zip(PROMPTS, names, strict=True)
    ]
    events = drained(engine)
    found = [[t.id for event in events if event.number == number for t in event.tokens] for number in numbers]
    assert found == alone
    assert twin.switch is not None
    assert twin.switch.active == (), "the model is left as it was"


def test_guesses_change_the_number_of_steps_only(model: Model, tokenizer: Tokenizer) -> None:
    plain, fast = Engine(model, tokenizer), Engine(model, tokenizer, drafter=Ngram(longest=2, shortest=1, tokens=5))
    long = Sampling(max_tokens=40, stop_ids=())
    for ids in PROMPTS:
        found = [served(engine, [ids], long)[0][0] for engine in (fast, plain)]
        assert found[0].tokens == found[1].tokens
        assert found[0].text == found[1].text
    assert fast.stats.accepted_tokens > 0
    assert fast.stats.steps == plain.stats.steps - fast.stats.accepted_tokens


def test_requests_that_cannot_be_served(model: Model, tokenizer: Tokenizer) -> None:
    engine = Engine(model, tokenizer, settings=EngineSettings(rows=4, block=8, cache_bytes=1 << 16, context=80))
    wrong = [
        (Request(prompt=()), "the prompt is empty"),
        (Request(prompt=(267,)), "token id 267 is out of range"),
        (Request(prompt=(1,) * 80), "has 80 tokens, the model's context is 80"),
        (Request(prompt=(1,), adapter="law"), "no adapter named 'law'"),
        (Request(prompt=(1,), sampling=Sampling(n=5, max_tokens=4, temperature=1.0)), "wants 5 rows side by side"),
        (Request(prompt=(1,), sampling=Sampling(contrast=Spec.read({"use": "contrastive"}))), "wants a weaker model"),
        (Request(prompt=(1,), sampling=Sampling(logit_bias={300: 1.0})), "logit_bias"),
    ]
    for request, sentence in wrong:
        with pytest.raises(DanluError, match=sentence):
            engine.submit(request)
    assert not engine.busy


def test_a_cache_that_finds_no_room_is_refused_with_the_figure(model: Model, tokenizer: Tokenizer) -> None:
    with pytest.raises(ConfigError, match=r"may take 0\.00 GiB"):
        Engine(model, tokenizer, settings=EngineSettings(cache_bytes=100))
    with pytest.warns(UserWarning, match="less than the model's context of 96"):
        engine = Engine(model, tokenizer, settings=EngineSettings(cache_bytes=1 << 15))
    with pytest.raises(ConfigError, match="blocks of 16 tokens, and the pool has"):
        engine.submit(Request(prompt=(5,) * 60, sampling=Sampling(max_tokens=30)))


def test_no_request_begins_in_blocks_of_another_adapter(tokenizer: Tokenizer, tmp_path: Path) -> None:
    twin = small_model(kv_heads=2)
    attach(twin, Spec.read({"use": "lora", "rank": 4}), "law")
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if ".law." in name:
                parameter.normal_(std=0.3)
    activate(twin)
    engine = Engine(twin, tokenizer, settings=EngineSettings(block=4))
    long = list(range(20, 60))
    base = served(engine, [long], FREE, adapter="")
    law = served(engine, [long], FREE, adapter="law")
    assert law != base
    assert engine.stats.cached_tokens == 0
    served(engine, [long], FREE, adapter="law")
    assert engine.stats.cached_tokens == 36
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            if ".law." in name:
                parameter.mul_(1.5)
    engine.renewed("law")
    assert served(engine, [long], FREE, adapter="law") != law
    assert engine.stats.cached_tokens == 36, "blocks of the adapter's earlier numbers were used"
