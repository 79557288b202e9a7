"""Generating with virtual tokens and keys: the same tokens in any batch, with any cache, however prompts are cut."""

from __future__ import annotations

import pytest
import torch
from talkers import small_model, small_tokenizer

import danlu.infer.packed
import danlu.infer.runner
from danlu.core.errors import DanluError
from danlu.core.spec import Spec
from danlu.infer import generate, log_likelihoods
from danlu.models import Stack
from danlu.peft.attached import activate, attach
from danlu.tokenize import Tokenizer

PROMPTS = [[5, 9, 30], [40], list(range(50, 71)), [7, 7, 9, 7, 7, 9, 8]]
ADAPTERS = {
    "prefix": {"length": 4, "width": 6},
    "ptuning_v2": {"length": 4},
    "prompt": {"length": 4},
    "ptuning": {"length": 4, "width": 6},
    "placeholder": {"length": 2, "width": 6, "placeholder": 9},
    "mam": {"keys": {"use": "prefix", "length": 3}, "beside": {"use": "parallel_adapter", "width": 4}},
    "unipelt": {"keys": {"use": "prefix", "length": 3}},
}
STEPS = 10


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def adapted(name: str, family: str, **sizes: float) -> Stack:
    model = small_model(family, **sizes)
    torch.manual_seed(2)
    attach(model, Spec("ptuning" if name == "placeholder" else name, ADAPTERS[name]))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.5)
    return model


@torch.inference_mode()
def alone(model: Stack, prompt: list[int]) -> list[int]:
    """One row, no cache, no batch: the likeliest token after reading all of them."""
    ids = list(prompt)
    for _ in range(STEPS):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("family", ["llama", "gpt2", "mistral"])
@pytest.mark.parametrize("name", ADAPTERS)
def test_the_same_in_any_batch_with_any_cache(
    name: str, family: str, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ragged prompts, three caches, prompts whole and in pieces, linear maps as they are and laid out for decoding."""
    model = adapted(name, family, **({"window": 6} if family == "mistral" else {}))
    expected = [alone(model, prompt) for prompt in PROMPTS]
    for cache, worth, pieces in [("none", 99, 99), ("growing", 99, 99), ("slab", 4, 99), ("slab", 99, 5)]:
        monkeypatch.setattr(danlu.infer.packed, "WORTH", worth)
        monkeypatch.setattr(danlu.infer.runner, "PREFILL", pieces * len(PROMPTS))
        done = generate(model, tokenizer, PROMPTS, max_tokens=STEPS, stop_ids=[], cache=cache)
        assert [list(one.tokens) for one in done] == expected, (cache, worth, pieces)
    activate(model)
    assert [list(one.tokens) for one in generate(model, tokenizer, PROMPTS, max_tokens=STEPS, stop_ids=[])] != expected


@pytest.mark.parametrize("name", ADAPTERS)
def test_scores_of_rows_that_share_a_beginning(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read once and gone on with, or whole: the same likelihoods."""
    model = adapted(name, "llama")
    monkeypatch.setattr("danlu.infer.scoring.SHARED", 4)
    shots = [9, 5, 9, 6, 7, 8, 4, 3]
    rows = [([*shots, 11, 9], [12, 13]), ([*shots, 12], [9, 14]), ([*shots, 13], [5]), ([30, 31], [32])]
    scores = log_likelihoods(model, rows)
    with torch.inference_mode():
        for (context, continuation), score in zip(rows, scores, strict=True):
            laws = model(torch.tensor([[*context, *continuation[:-1]]]))[0, len(context) - 1 :].log_softmax(-1)
            expected = laws.gather(1, torch.tensor(continuation)[:, None])[:, 0]
            torch.testing.assert_close(torch.tensor(score.logprobs), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["ptuning_v2", "prompt"])
def test_a_table_of_positions_keeps_room_for_virtual_tokens(name: str, tokenizer: Tokenizer) -> None:
    """Generation ends where the last position is, and a prompt that leaves none is refused."""
    model = adapted(name, "gpt2", context=16)
    (done,) = generate(model, tokenizer, [[5, 6, 7]], max_tokens=99, stop_ids=[])
    assert (len(done.tokens), done.finish_reason) == (16 - 4 - 3, "length")
    with pytest.raises(
        DanluError, match="prompt 0 has 12 tokens, the model's context is 12 and must hold a new one too"
    ):
        generate(model, tokenizer, [list(range(5, 17))], stop_ids=[])
    with pytest.raises(DanluError, match="row 0: 14 tokens, the model's context is 12"):
        log_likelihoods(model, [(list(range(5, 17)), [3, 4])])
