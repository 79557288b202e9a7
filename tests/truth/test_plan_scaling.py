"""Scaling laws against published points and a search that knows no algebra."""

from __future__ import annotations

import math

import pytest

from danlu.core.errors import ConfigError
from danlu.plan.scaling import (
    APPROACHES,
    CHINCHILLA,
    EPOCH,
    KAPLAN,
    PF_DAY,
    Fit,
    compute_optimal,
    kaplan_loss,
)


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


ROWS = {
    1: {0.4e9: 8.0e9, 10e9: 205.1e9, 175e9: 3.7e12, 280e9: 5.9e12, 520e9: 11.0e12, 1e12: 21.2e12, 10e12: 216.2e12},
    2: {0.4e9: 7.7e9, 10e9: 219.5e9, 175e9: 4.3e12, 280e9: 7.1e12, 520e9: 13.4e12, 1e12: 26.5e12, 10e12: 292.0e12},
    3: {0.4e9: 9.2e9, 10e9: 410.1e9, 175e9: 12.0e12, 280e9: 20.1e12, 520e9: 43.5e12, 1e12: 94.1e12, 10e12: 1425.5e12},
}
"""Tables 3 and A3 of the Chinchilla paper, but for the row of 67 billion, which its own budget contradicts by 7 % (as that of 280 in
approach 3 does by 5 %)."""


@pytest.mark.parametrize("approach", APPROACHES)
def test_the_line_through_the_table(approach: int) -> None:
    law = APPROACHES[approach]
    for params, tokens in ROWS[approach].items():
        assert law.tokens_for(params) == pytest.approx(tokens, rel=0.05 if approach == 3 else 0.02), params
    params, tokens = law.best(1e23)
    assert 6 * params * tokens == pytest.approx(1e23)
    assert law.tokens_for(params) == pytest.approx(tokens)


def test_exponents_of_table_2() -> None:
    """Of approach 3 the paper prints .46 and .54, which its own α and β do not give (.45 and .55)."""
    printed = {1: (0.50, 0.50), 2: (0.49, 0.51), 3: (0.46, 0.54)}
    for approach, law in APPROACHES.items():
        assert law.exponents == pytest.approx(printed[approach], abs=0.005)
    assert KAPLAN.exponents == pytest.approx((0.73, 0.27))
    assert CHINCHILLA.exponents == pytest.approx((0.4516, 0.5484), abs=1e-4)


def test_a_pf_day_of_kaplan() -> None:
    params, tokens = KAPLAN.best(PF_DAY)
    assert params == 1.3e9
    assert KAPLAN.tokens_for(params) == pytest.approx(tokens)
    bigger = KAPLAN.best(10 * PF_DAY)
    assert bigger[0] / params == pytest.approx(10**0.73)
    assert KAPLAN.loss(3.1e8 * PF_DAY) == 1


def test_both_resources_of_kaplan() -> None:
    """Equation 1.5: with one resource without end, what the other's constant of table 2 says."""
    assert kaplan_loss(params=1e9, tokens=1e30) == pytest.approx((6.4e13 / 1e9) ** 0.076, rel=1e-4)
    assert kaplan_loss(params=1e30, tokens=1e9) == pytest.approx((1.8e13 / 1e9) ** 0.103, rel=1e-4)
    with pytest.raises(ConfigError, match="params, tokens or both"):
        kaplan_loss()


def test_who_says_how_many_tokens() -> None:
    said = compute_optimal(70e9)
    assert next(iter(said)) == "Kaplan 2020"
    assert said["Kaplan 2020"] < said["Chinchilla, approach 1"] / 10
    assert 1.3e12 < said["Chinchilla, approach 1"] < 1.6e12
    assert len(said) == 5
