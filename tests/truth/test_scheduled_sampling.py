"""ScheduledSampling: the schedules by hand; passes against drawing one after the other; evaluation as next_token."""

from __future__ import annotations

import math

import pytest
import torch
from objective_samples import Bigram
from train_tiny import packed, tiny_model

from danlu.core.batch import Batch
from danlu.core.errors import ConfigError
from danlu.nn.layout import Layout
from danlu.objectives.next_token import NextToken
from danlu.objectives.scheduled_sampling import Mixed, ScheduledSampling, drawn


def test_the_schedules_by_hand() -> None:
    linear = ScheduledSampling(decay="linear", k=100, least=0.2)
    assert [linear.truth(step) for step in (0, 25, 80, 500)] == pytest.approx([1.0, 0.75, 0.2, 0.2])
    exponential = ScheduledSampling(decay="exponential", k=10, least=0.0)
    assert [exponential.truth(step) for step in (0, 10, 30)] == pytest.approx([1.0, 0.5, 0.125])
    sigmoid = ScheduledSampling(decay="sigmoid", k=50, least=0.0)
    expected = [50 / (50 + math.exp(step / 50)) for step in (0, 100, 300)]
    assert [sigmoid.truth(step) for step in (0, 100, 300)] == pytest.approx(expected)
    assert sigmoid.truth(10**7) == pytest.approx(0.0, abs=1e-12)


def test_as_many_tokens_give_way_as_the_schedule_says() -> None:
    torch.manual_seed(0)
    batch = packed(2000, 24)
    objective = ScheduledSampling(k=100, least=0.0)
    free = (batch.position > 0) & (batch.segment != 0)
    for step, share in ((0, 0.0), (30, 0.3), (100, 1.0)):
        own = objective.sample(batch, step).own
        assert not (own & ~free).any()
        deviation = (share * (1 - share) / int(free.sum())) ** 0.5
        assert own[free].float().mean().item() == pytest.approx(share, abs=4 * deviation + 1e-12)


def test_a_token_is_drawn_by_its_probability() -> None:
    """By the inverse of the distribution: noise in [sum before, sum with it) is this token."""
    logits = torch.tensor([0.5, 0.2, 0.3]).log().expand(5, -1)
    assert drawn(logits, torch.tensor([0.0, 0.49, 0.51, 0.69, 0.999])).tolist() == [0, 0, 1, 1, 2]
    torch.manual_seed(0)
    logits = torch.randn(6)
    found = torch.bincount(drawn(logits.expand(20_000, -1), torch.rand(20_000)), minlength=6) / 20_000
    torch.testing.assert_close(found, logits.softmax(-1), atol=0.015, rtol=0)


def test_as_many_passes_as_tokens_are_drawing_one_after_the_other() -> None:
    torch.manual_seed(1)
    model, batch = tiny_model().eval(), packed(3, 24)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    objective = ScheduledSampling(16, k=1, least=0.5, passes=24)
    record = objective.sample(batch, 10)
    expected = batch.tokens.clone()
    for t in range(1, 24):
        logits = model(expected, Layout.of(batch.position, batch.segment))[:, t - 1]
        said = drawn(logits.detach(), record.noise[:, t])
        expected[:, t] = torch.where(record.own[:, t], said, batch.tokens[:, t])
    assert torch.equal(objective.mixed(model, record), expected)
    assert not torch.equal(expected, batch.tokens)
    once = ScheduledSampling(16, k=1, least=0.5, passes=1).mixed(model, record)
    assert not torch.equal(once, expected)  # later tokens were drawn after the text's, not the model's own


def test_the_loss_is_taken_after_the_models_own_words() -> None:
    torch.manual_seed(2)
    model, batch = Bigram(40), packed(3, 24)
    objective = ScheduledSampling(16, k=1, least=0.0)
    record = objective.sample(batch, 10)
    given = objective.mixed(model, record)
    expected = NextToken(16).loss(model, Batch(**{**batch.columns, "tokens": given}))
    found = objective.loss(model, record)
    assert found.total.item() == pytest.approx(expected.total.item(), rel=1e-6)
    assert found.total.item() != pytest.approx(NextToken(16).loss(model, batch).total.item(), rel=1e-3)


def test_evaluation_is_next_token_prediction() -> None:
    model, batch = tiny_model(), packed(3, 24)
    objective = ScheduledSampling(16, k=1, least=0.0).eval()
    record = objective.sample(batch, 1000)
    assert isinstance(record, Mixed)
    assert record.own.any()
    assert objective.loss(model, record).total.item() == NextToken(16).loss(model, batch).total.item()


@pytest.mark.parametrize("wrong", [{"k": 0.5}, {"least": 1.5}, {"passes": 0}])
def test_settings_out_of_range_are_a_sentence(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=r"needs k ≥ 1, 0 ≤ least ≤ 1 and passes ≥ 1"):
        ScheduledSampling(**wrong)


def test_an_unknown_decay_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"decay.*'lineer'.*linear"):
        ScheduledSampling(decay="lineer")
