"""Prefix language models: who sees whom, training with prefixes from the batch, and prompts read in both directions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from talkers import small_tokenizer
from torch import Tensor

from danlu import generate, load, save
from danlu.core.spec import Spec
from danlu.infer.packed import Prepared
from danlu.infer.runner import Runner
from danlu.models import Stack, build
from danlu.nn.layout import Layout
from danlu.nn.masks.causal import Causal
from danlu.nn.masks.prefixed import Prefixed

TOKENS = torch.randint(0, 50, (1, 7), generator=torch.Generator().manual_seed(1))
LONG = Spec("both", {"a": {"use": "prefixed"}, "b": {"use": "window", "size": 64}})


def newborn(vocab: int = 50, mask: Spec | str = "prefixed") -> Stack:
    model = build(
        Spec("decoder", {"model": 32, "layers": 2, "heads": 4, "context": 64, "mask": mask}), vocab=vocab
    ).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    assert isinstance(model, Stack)
    return model


def whole(model: Stack, tokens: Tensor, prefix: int) -> Tensor:
    """Logits (1, T, V) by one pass over all tokens."""
    position = torch.arange(tokens.shape[1])[None]
    with torch.no_grad():
        return model(tokens, Layout(position, torch.ones_like(position), order=position.clamp(min=prefix - 1)))


def test_who_sees_whom() -> None:
    turn = torch.tensor([[2, 2, 2, 3, 4]])  # a prefix of three tokens
    table = Prefixed().allows(turn[..., None], turn[:, None])[0].int().tolist()
    assert table == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert Prefixed().within(9) == Causal()
    assert Prefixed().ahead
    assert not Causal().ahead


def test_gradients_show_who_saw_whom() -> None:
    model, position = newborn(), torch.arange(7)[None]
    for at, seen in ((0, 4), (3, 4), (4, 5), (6, 7)):
        x = model.embed(TOKENS).detach().requires_grad_()
        layout = Layout(position, torch.ones_like(position), order=position.clamp(min=3))
        model.through(x, layout)[0, at].sum().backward()
        assert x.grad is not None
        assert (x.grad[0].abs().sum(-1) > 0).tolist() == [t < seen for t in range(7)]


@pytest.mark.parametrize("mask", ["prefixed", LONG])
@pytest.mark.parametrize("cache", ["none", "growing", "slab"])
def test_a_prompt_is_read_in_both_directions(mask, cache, monkeypatch) -> None:
    """Generated step by step, prompts of unlike lengths side by side, as by one pass over all; never cut in pieces."""
    import danlu.infer.runner as running

    monkeypatch.setattr(running, "PREFILL", 4)
    model = newborn(mask=mask)
    prompts = [TOKENS[0].tolist(), TOKENS[0, 2:5].tolist(), TOKENS[0, :1].tolist()]
    runner = Runner(Prepared(model), cache=cache)
    logits, rows = runner.start(prompts, 6), [list(ids) for ids in prompts]
    for step in range(6):
        for row, (ids, prompt) in enumerate(zip(rows, prompts, strict=True)):
            expected = whole(model, torch.tensor([ids]), len(prompt))[0, -1]
            torch.testing.assert_close(logits[row], expected, atol=1e-4, rtol=1e-4)
        tokens = logits.argmax(-1)
        if step == 3:
            runner.keep([0, 2])
            rows, prompts, tokens = [rows[0], rows[2]], [prompts[0], prompts[2]], tokens[[0, 2]]
        rows = [[*ids, int(token)] for ids, token in zip(rows, tokens, strict=True)]
        if step < 5:
            logits = runner.step(tokens)
    causal = newborn(mask="causal")
    assert not torch.allclose(Runner(Prepared(causal)).start(prompts, 2), Runner(Prepared(model)).start(prompts, 2))


def test_it_is_saved_and_spoken_with(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    model = newborn(vocab=267)
    again, _ = load(save(model, tokenizer, tmp_path / "model"))
    assert again.ahead
    both = [generate(m, tokenizer, ["the a", "what"], max_tokens=40, stop_ids=()) for m in (model, again)]
    assert [row.tokens for row in both[0]] == [row.tokens for row in both[1]]


def test_the_prefix_comes_with_the_batch() -> None:
    """The objective names another prefix for each document; a prefix of all tokens but the last counts one prediction."""
    from danlu.core.batch import Batch
    from danlu.objectives import OBJECTIVES

    model, objective = newborn(), OBJECTIVES["prefix"]()
    batch = objective.sample(Batch.dense(TOKENS), 0)
    loss = objective.loss(model, batch)
    prefix = int(batch.order[0, 0]) + 1
    logprobs = whole(model, TOKENS[:, :-1], prefix).log_softmax(-1)[0]
    expected = -sum(logprobs[t, TOKENS[0, t + 1]] for t in range(prefix - 1, 6))
    torch.testing.assert_close(loss.total, expected, atol=1e-4, rtol=1e-4)
    assert loss.weight == 7 - prefix
