"""Scaling laws against published points and a search that knows no algebra."""

from __future__ import annotations

import math

import pytest

from danlu.plan.scaling import CHINCHILLA, EPOCH, Fit, kaplan_loss


def test_gopher_loses_what_the_chinchilla_paper_says() -> None:
    assert CHINCHILLA.loss(280e9, 300e9) == pytest.approx(1.993, abs=0.002)
    assert CHINCHILLA.loss(70e9, 1.4e12) == pytest.approx(1.936, abs=0.002)


def test_kaplan() -> None:
    assert kaplan_loss(tokens=22e9) == pytest.approx(2.0992, abs=1e-4)
    assert kaplan_loss(params=8.8e13) == 1


@pytest.mark.parametrize("fit", [CHINCHILLA, EPOCH])
def test_best_split_is_the_least_loss_along_the_budget(fit: Fit) -> None:
    flops = 5.76e23
    params, tokens = fit.best(flops)
    assert 6 * params * tokens == pytest.approx(flops)
    searched = min((fit.loss(n, flops / 6 / n), n) for n in (1e9 * 1.001**i for i in range(6000)))
    assert fit.loss(params, tokens) <= searched[0] + 1e-9
    assert params == pytest.approx(searched[1], rel=2e-3)
    assert fit.tokens_for(params) == pytest.approx(tokens)


def test_exponents_of_the_third_approach() -> None:
    small, large = CHINCHILLA.best(1e20), CHINCHILLA.best(1e21)
    assert [round(math.log10(b / a), 2) for a, b in zip(small, large, strict=True)] == [0.45, 0.55]


def test_the_refit_agrees_with_twenty_tokens_a_parameter() -> None:
    params, tokens = EPOCH.best(5.76e23)
    assert 17 < tokens / params < 27
