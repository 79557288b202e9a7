"""Generation against a loop that reads everything anew: the same tokens in any company, with any cache."""

from __future__ import annotations

import itertools

import pytest
import torch
from talkers import small_model, small_tokenizer

import danlu.infer.packed
import danlu.infer.runner
import danlu.infer.waves
from danlu.infer import Local, generate, log_likelihoods, stream
from danlu.infer.packed import Part, Prepared
from danlu.infer.runner import Runner
from danlu.infer.sampling import Sampling
from danlu.models import Stack
from danlu.tokenize import Tokenizer

FAMILIES = ["llama", "gpt2", "qwen3", "mistral"]
PROMPTS = [[5, 9, 30], [40], list(range(50, 71)), [7, 7, 7, 7, 7], [200, 3], list(range(100, 121)), [9], [80, 81, 82]]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@torch.inference_mode()
def alone(model: Stack, prompt: list[int], steps: int, stops: set[int]) -> tuple[list[int], list[float]]:
    """One row, no cache, no batch: the likeliest token after reading all of them."""
    ids, logprobs = list(prompt), []
    while len(ids) - len(prompt) < steps and not (len(ids) > len(prompt) and ids[-1] in stops):
        law = model(torch.tensor([ids]))[0, -1].log_softmax(-1)
        ids.append(int(law.argmax()))
        logprobs.append(law.max().item())
    return ids[len(prompt) :], logprobs


@pytest.mark.slow
@pytest.mark.parametrize("use", FAMILIES)
def test_the_same_in_any_batch_with_any_cache(use: str, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """8 prompts × batches of 1, 3 and 8 × three caches, without stops and with stops at different times: no mismatch."""
    monkeypatch.setattr(danlu.infer.packed, "WORTH", 8)
    model = small_model(use)
    free = [alone(model, prompt, 16, set())[0] for prompt in PROMPTS]
    ends = _ends(free)
    stopped = [alone(model, prompt, 16, ends)[0] for prompt in PROMPTS]
    sizes = (1, 3, 8) if use == "llama" else (3, 8)
    for size, cache, stops in itertools.product(sizes, ("none", "growing", "slab"), (set(), ends)):
        for begin in range(0, 8, size):
            group = PROMPTS[begin : begin + size]
            done = generate(model, tokenizer, group, max_tokens=16, stop_ids=sorted(stops), cache=cache)
            expected = (stopped if stops else free)[begin : begin + size]
            assert [list(one.tokens) for one in done] == expected, (size, cache, stops)


def _ends(rows: list[list[int]]) -> set[int]:
    """Three tokens at which these rows end at four different times or more."""
    said = sorted({token for row in rows for token in row})

    def times(ends):
        return {next((t for t, token in enumerate(row) if token in ends), None) for row in rows}

    return next(set(ends) for ends in itertools.combinations(said, 3) if len(times(ends)) > 3)


@pytest.mark.parametrize("use", FAMILIES)
def test_logprobs_are_those_of_the_unfiltered_law(use: str, tokenizer: Tokenizer) -> None:
    model = small_model(use)
    for sampling in ({}, {"temperature": 0.7, "top_k": 5, "seed": 3}):
        done = generate(model, tokenizer, PROMPTS[:4], max_tokens=12, stop_ids=(), **sampling)
        for prompt, one in zip(PROMPTS, done, strict=False):
            law = model(torch.tensor([[*prompt, *one.tokens]]))[0, len(prompt) - 1 : -1].log_softmax(-1)
            expected = law.gather(-1, torch.tensor(one.tokens)[:, None])[:, 0]
            torch.testing.assert_close(torch.tensor(one.logprobs), expected, atol=1e-4, rtol=1e-4)


def test_waves_of_rows_keep_the_order_of_the_prompts(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model()
    expected = [one.tokens for one in generate(model, tokenizer, PROMPTS, max_tokens=9, stop_ids=())]
    monkeypatch.setattr(danlu.infer.generation, "ROWS", 3)
    monkeypatch.setattr(danlu.infer.runner, "PREFILL", 7)
    assert [one.tokens for one in generate(model, tokenizer, PROMPTS, max_tokens=9, stop_ids=())] == expected


def test_a_sampled_row_is_the_same_in_any_company(tokenizer: Tokenizer) -> None:
    model = small_model()
    settings = {"max_tokens": 16, "temperature": 1.3, "top_p": 0.95, "stop_ids": ()}
    together = generate(model, tokenizer, PROMPTS, seed=11, **settings)
    for place, prompt in enumerate(PROMPTS):
        assert generate(model, tokenizer, [prompt], seed=11 + place, **settings)[0].tokens == together[place].tokens
    shuffled = [6, 2, 0]
    some = generate(model, tokenizer, [PROMPTS[i] for i in shuffled], seed=[11 + i for i in shuffled], **settings)
    assert [one.tokens for one in some] == [together[i].tokens for i in shuffled]
    same = generate(model, tokenizer, [PROMPTS[0]] * 3, seed=11, **settings)
    assert len({one.tokens for one in same}) == 3, "three seeds gave the same text"


def test_top_k_one_is_greedy(tokenizer: Tokenizer) -> None:
    model = small_model()
    greedy = generate(model, tokenizer, PROMPTS, max_tokens=12, stop_ids=())
    for sampling in ({"temperature": 2.0, "top_k": 1}, {"temperature": 1e-9}, {"temperature": 3.0, "top_p": 1e-9}):
        assert generate(model, tokenizer, PROMPTS, max_tokens=12, stop_ids=(), **sampling) == greedy


def test_the_context_ends_a_text_with_the_reason_length(tokenizer: Tokenizer) -> None:
    model = small_model(context=30)
    done = generate(model, tokenizer, [list(range(10, 37)), [5]], max_tokens=100, stop_ids=())
    assert [(len(one.tokens), one.finish_reason) for one in done] == [(3, "length"), (29, "length")]
    assert list(done[0].tokens) == alone(model, list(range(10, 37)), 3, set())[0]
    assert list(done[1].tokens) == alone(model, [5], 29, set())[0]


def test_a_stop_token_is_kept_in_the_tokens_and_not_in_the_text(tokenizer: Tokenizer) -> None:
    model = small_model()
    free = generate(model, tokenizer, [PROMPTS[0]], max_tokens=20, stop_ids=())[0]
    end = free.tokens[6]
    one = generate(model, tokenizer, [PROMPTS[0]], max_tokens=20, stop_ids=[end])[0]
    cut = free.tokens.index(end)
    assert one.tokens == free.tokens[: cut + 1]
    assert one.logprobs == free.logprobs[: cut + 1]
    assert (one.text, one.finish_reason) == (tokenizer.decode(free.tokens[:cut]), "stop")


def test_a_stop_string_ends_the_text_before_it_and_is_never_shown(tokenizer: Tokenizer) -> None:
    model = small_model()
    free = generate(model, tokenizer, PROMPTS, max_tokens=30, stop_ids=())
    for place, one in enumerate(free):
        text = tokenizer.decode(one.tokens)
        assert one.text == text
        for begin in range(1, len(text) - 3, 4):
            stop = text[begin : begin + 3]
            shown: list[str] = []

            def keep(_, piece, shown=shown):
                return shown.append(piece)

            done = generate(model, tokenizer, [PROMPTS[place]], max_tokens=30, stop_ids=(), stop=stop, stream=keep)[0]
            assert done.text == "".join(shown) == text[: text.index(stop)]
            assert done.finish_reason == "stop"
            assert done.tokens == one.tokens[: len(done.tokens)]
            assert stop in tokenizer.decode(done.tokens)


def test_streaming_gives_whole_characters_and_all_of_them(tokenizer: Tokenizer) -> None:
    """é, 世 and 🙂 come byte by byte; no piece shows a replacement character for a part."""
    text = "你好 the naïve 世界 🙂 end"
    model = _parrot(tokenizer, text)
    pieces = list(stream(model, tokenizer, "x", Sampling(max_tokens=60)))
    assert "".join(pieces) == text
    assert {"世", "界", "🙂", "ï"} <= set(pieces)
    cut = list(stream(model, tokenizer, "x", Sampling(max_tokens=60, stop="界 🙂")))
    assert "".join(cut) == text[: text.index("界 🙂")]
    short = list(stream(model, tokenizer, "x", Sampling(max_tokens=len(tokenizer.encode("你好 the naïve 世")) - 1)))
    assert "".join(short) == "你好 the naïve \ufffd"


def _parrot(tokenizer: Tokenizer, text: str) -> Stack:
    """A model whose next token depends on its position alone: after a prompt of one token it says ``text``, then eos."""
    ids = tokenizer.encode(text)
    model = small_model("gpt2", model=96, heads=2, layers=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.norm.weight.fill_(1.0)
        model.position.table.weight.copy_(torch.eye(96))
        model.head.weight = torch.nn.Parameter(torch.zeros(267, 96))
        for place in range(96):
            model.head.weight[ids[place] if place < len(ids) else tokenizer.eos, place] = 50.0
    return model


@pytest.mark.parametrize("use", FAMILIES)
@pytest.mark.parametrize("rows", [1, 4])
def test_packing_changes_nothing_but_the_place_of_weights(use: str, rows: int) -> None:
    model = small_model(use)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.inference_mode():
        twin = Prepared(model).serving(rows, 100)
        tokens = torch.tensor([[3, 8, 1, 200]] * rows)
        torch.testing.assert_close(twin(tokens), model(tokens), atol=1e-4, rtol=1e-4)
    parts = [module for module in twin.modules() if isinstance(module, Part)]
    products = {id(part.product) for part in parts}
    gated = use != "gpt2"
    assert len(parts) == model.dims.layers * (7 if gated else 6) + 1
    assert len(products) == model.dims.layers * 4 + 1, "q, k, v and gate, up should be one product each"
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert not any(isinstance(module, Part) for module in model.modules())
    assert Prepared(model).serving(rows, 3) is model, "a few steps are not worth a copy"
    kept = Prepared(model)
    assert kept.serving(rows, 40) is kept.serving(rows, 1)
    assert Prepared(model.to(torch.float64)).serving(rows, 100) is model


def test_rows_leave_the_cache_when_they_end(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sizes = small_model(), []
    step = Runner.step
    monkeypatch.setattr(Runner, "step", lambda self, tokens: sizes.append(len(tokens)) or step(self, tokens))
    free = generate(model, tokenizer, PROMPTS, max_tokens=10, stop_ids=(), cache="slab")
    sizes.clear()
    ends = [free[1].tokens[2]]
    done = generate(model, tokenizer, PROMPTS, max_tokens=10, stop_ids=ends, cache="slab")
    left = [sum(len(one.tokens) > step for one in done) for step in range(1, 10)]
    assert sizes == [n for n in left if n]
    assert len(set(sizes)) > 1


def test_waves_respect_the_memory_for_keys_and_values(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of 16 + 8 tokens of this model takes 2 · 3 layers · 48 channels · 4 bytes · 24 tokens = 27,648 bytes."""
    model, sizes = small_model(), []
    start = Runner.start
    monkeypatch.setattr(Runner, "start", lambda self, prompts, n: sizes.append(len(prompts)) or start(self, prompts, n))
    prompts = [[i] * 16 for i in range(1, 8)]
    monkeypatch.setattr(danlu.infer.waves, "CACHE", 3 * 27_648)
    generate(model, tokenizer, prompts, max_tokens=8, stop_ids=(), cache="slab")
    assert sizes == [3, 3, 1]
    sizes.clear()
    monkeypatch.setattr(danlu.infer.waves, "CACHE", 3 * 27_648 - 1)
    generate(model, tokenizer, prompts, max_tokens=8, stop_ids=(), cache="slab")
    assert sizes == [2, 2, 2, 1]


def test_a_model_in_training_is_used_without_dropout_and_stays_in_training(tokenizer: Tokenizer) -> None:
    model = small_model("decoder", dropout=0.5)
    rows = [([5, 9], [30, 4]), ([7], [8])]
    calm = generate(model, tokenizer, PROMPTS[:3], max_tokens=8, stop_ids=()), log_likelihoods(model, rows)
    model.train()
    assert not torch.equal(model(torch.tensor([[5, 9, 30]])), model(torch.tensor([[5, 9, 30]]))), "no dropout to avoid"
    for _ in range(2):
        assert generate(model, tokenizer, PROMPTS[:3], max_tokens=8, stop_ids=()) == calm[0]
        assert log_likelihoods(model, rows) == calm[1]
        assert Local(model, tokenizer).score(rows) == calm[1]
    assert all(module.training for module in model.modules())
    with torch.no_grad():
        model.embed.weight.mul_(-1.0)
    assert generate(model, tokenizer, PROMPTS[:3], max_tokens=8, stop_ids=()) != calm[0], "old weights were used"
