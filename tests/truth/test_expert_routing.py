"""Routers: choices, weights and losses by hand, chances by counting."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from danlu.core.errors import ConfigError
from danlu.nn.dims import Dims
from danlu.nn.layout import Layout
from danlu.nn.routers import ROUTERS, Router
from danlu.nn.routers.noisy import NoisyTopK
from danlu.nn.routers.random_second import RandomSecond
from danlu.nn.routers.top_k import TopK

DIMS = Dims(vocab=5, model=4, heads=1, layers=1, context=8)
routers = pytest.mark.parametrize("name", list(ROUTERS))


def layout(tokens: int = 4) -> Layout:
    return Layout.dense(torch.ones(1, tokens))


def showing(kind: type[Router], experts: int = 4, **settings) -> Router:
    """A router in float64 whose logits are its input: the gate is the identity."""
    router = kind(DIMS, experts, **settings).double()
    with torch.no_grad():
        router.gate.weight.copy_(torch.eye(experts, 4))
    return router


def softmax(row: list[float]) -> list[float]:
    total = sum(map(math.exp, row))
    return [math.exp(value) / total for value in row]


LOGITS = [[2.0, 1.0, 0.0, -1.0], [0.0, 0.5, 3.0, 1.0], [1.0, 0.9, 0.8, 0.7], [-1.0, 0.0, 0.2, 4.0]]
X = torch.tensor(LOGITS, dtype=torch.double)


@pytest.mark.parametrize("renormalize", [True, False])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_top_k_takes_the_likeliest_and_weighs_them_by_probability(k, renormalize) -> None:
    routing = showing(TopK, k=k, renormalize=renormalize)(X, None, layout())
    for row, chosen, weights in zip(LOGITS, routing.experts.tolist(), routing.weights.tolist(), strict=True):
        p = softmax(row)
        best = sorted(range(4), key=lambda e: -p[e])[:k]
        assert chosen == best
        total = sum(p[e] for e in best) if renormalize else 1.0
        assert weights == pytest.approx([p[e] / total for e in best])


def asides(router: Router, x: Tensor, real: Tensor | None = None, layers: int = 1) -> dict[str, float]:
    where = layout()
    for _ in range(layers):
        router.train()(x, real, where)
    return {name: value.item() for name, value in where.asides().items()}


def balance(rows: list[list[float]], k: int) -> float:
    """E Σ f P by hand."""
    chosen = [e for row in rows for e in sorted(range(4), key=lambda e: -row[e])[:k]]
    f = [chosen.count(e) / len(chosen) for e in range(4)]
    p = [sum(softmax(row)[e] for row in rows) / len(rows) for e in range(4)]
    return 4 * sum(a * b for a, b in zip(f, p, strict=True))


@pytest.mark.parametrize("k", [1, 2])
def test_balance_and_z_are_their_formulas_and_add_over_layers(k) -> None:
    router = showing(TopK, k=k, balance=0.3, z=0.7)
    z = sum(math.log(sum(map(math.exp, row))) ** 2 for row in LOGITS) / 4
    expected = {"balance": 0.3 * balance(LOGITS, k), "router_z": 0.7 * z}
    assert asides(router, X) == pytest.approx(expected)
    assert asides(router, X, layers=3) == pytest.approx({name: 3 * value for name, value in expected.items()})


def test_padding_weighs_nothing() -> None:
    router, real = showing(TopK, balance=0.3, z=0.7), torch.tensor([True, False, True, False])
    z = sum(math.log(sum(map(math.exp, LOGITS[row]))) ** 2 for row in (0, 2)) / 2
    expected = {"balance": 0.3 * balance([LOGITS[0], LOGITS[2]], 2), "router_z": 0.7 * z}
    assert asides(router, X, real) == pytest.approx(expected)
    assert asides(router, X, torch.zeros(4, dtype=torch.bool)) == {"balance": 0.0, "router_z": 0.0}


def test_pooled_balance_is_that_of_all_layers_at_once() -> None:
    """Two layers whose tokens go to different experts are balanced together, though neither is alone."""
    router, where = showing(TopK, k=1, balance=0.5, pooled=True).train(), layout()
    rows = [[4.0, 0.0, 0.0, 0.0], [0.0, 4.0, 0.0, 0.0]], [[0.0, 0.0, 4.0, 0.0], [0.0, 0.0, 0.0, 4.0]]
    for layer in rows:
        router(torch.tensor(layer, dtype=torch.double), None, where)
    assert where.asides()["balance"].item() == pytest.approx(0.5 * balance([*rows[0], *rows[1]], 1)) == 0.5
    assert balance(rows[0], 1) > 1.5


def test_uniform_routing_costs_the_coefficient_and_collapse_costs_more() -> None:
    """Fedus et al. 2021, §2.2: α N Σ f P = α where all experts are equally busy."""
    router = showing(TopK, k=1, balance=0.01)
    even = torch.eye(4, dtype=torch.double) * 1e-9
    assert asides(router, even)["balance"] == pytest.approx(0.01)
    collapsed = torch.tensor([[50.0, 0.0, 0.0, 0.0]] * 4, dtype=torch.double)
    assert asides(router, collapsed)["balance"] == pytest.approx(0.04)


def test_descending_the_balance_alone_spreads_the_tokens() -> None:
    """From a favorite with more than half of all tokens to four experts within 8 % of a quarter each."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 4, generator=generator, dtype=torch.double)
    x[:, 0] = 1.0
    router = TopK(DIMS, 4, k=1, balance=1.0).double().train()
    with torch.no_grad():
        router.gate.weight.copy_(torch.randn(4, 4, generator=generator) * 0.5)
        router.gate.weight[2, 0] += 1.0
    optimizer = torch.optim.Adam(router.parameters(), lr=0.02)
    shares, costs = [], []
    for _ in range(120):
        where = layout(400)
        chosen = router(x, None, where).experts
        cost = where.asides()["balance"]
        shares.append(torch.bincount(chosen.flatten(), minlength=4).max().item() / 400)
        costs.append(cost.item())
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
    assert shares[0] > 0.5
    assert shares[-1] < 0.27
    assert costs[-1] < 1.02 < costs[0]


@routers
def test_nothing_is_laid_aside_in_evaluation_or_at_coefficient_0(name) -> None:
    router = showing(ROUTERS[name], balance=0.3, z=0.7)
    where = layout()
    router.eval()(X, None, where)
    assert not where.asides()
    assert not asides(showing(ROUTERS[name], balance=0.0, z=0.0), X)


@routers
def test_weights_sum_to_at_most_one_and_gradients_reach_every_parameter(name) -> None:
    router = ROUTERS[name](DIMS, 4, z=0.1).double().train()
    for parameter in router.parameters():
        torch.nn.init.normal_(parameter)
    where = layout()
    routing = router(X, None, where)
    assert (routing.weights.sum(-1) <= 1 + 1e-9).all()
    assert routing.experts.shape == (4, router.k)
    (sum(where.asides().values()) + routing.weights[:, 0].sum()).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in router.parameters())


def test_noisy_without_noise_is_a_softmax_over_the_best() -> None:
    router = showing(NoisyTopK, k=2).eval()
    routing, plain = router(X, None, layout()), showing(TopK, k=2).eval()(X, None, layout())
    assert torch.equal(routing.experts, plain.experts)
    torch.testing.assert_close(routing.weights, plain.weights)


def test_the_noise_has_the_learned_size() -> None:
    router = showing(NoisyTopK, k=2).train()
    with torch.no_grad():
        router.noise.weight.copy_(torch.diag(torch.tensor([3.0, 0.0, -3.0, 1.0])))
    torch.manual_seed(0)
    x = torch.ones(20_000, 4, dtype=torch.double)
    deviation = router(x, None, layout()).ranked.std(0)
    expected = [math.log1p(math.exp(w)) + 0.01 for w in (3.0, 0.0, -3.0, 1.0)]
    assert deviation.tolist() == pytest.approx(expected, rel=0.03)


def test_the_load_is_the_chance_to_be_chosen_if_ones_own_noise_is_drawn_again() -> None:
    router = showing(NoisyTopK, k=2).train()
    torch.manual_seed(1)
    routing = router(X, None, layout())
    loads = router.load(X, routing)
    spread, draws = router._spread(X), 20_000
    for expert in range(4):
        ranked = routing.ranked[:, None].repeat(1, draws, 1)
        again = torch.randn(4, draws, dtype=torch.double)
        ranked[..., expert] = routing.logits[:, expert, None] + again * spread[:, expert, None]
        chosen = (ranked.topk(2, -1).indices == expert).any(-1).double().mean(-1)
        error = 4 * (loads[:, expert] * (1 - loads[:, expert]) / draws).sqrt() + 1e-4
        assert ((chosen - loads[:, expert]).abs() < error).all()


def test_noisy_costs_are_the_variation_of_importance_and_load() -> None:
    router, where = showing(NoisyTopK, k=2, balance=0.2).train(), layout()
    routing = router(X, None, where)
    importance = [0.0] * 4
    for chosen, weights in zip(routing.experts.tolist(), routing.weights.tolist(), strict=True):
        for expert, weight in zip(chosen, weights, strict=True):
            importance[expert] += weight
    load = router.load(X, routing).sum(0).tolist()
    cost = 0.0
    for values in (importance, load):
        middle = sum(values) / 4
        cost += sum((v - middle) ** 2 for v in values) / 4 / middle**2
    assert where.asides()["balance"].item() == pytest.approx(0.2 * cost)


def test_the_second_expert_is_visited_twice_as_often_as_it_counts() -> None:
    router = showing(RandomSecond)
    torch.manual_seed(0)
    draws, row = 20_000, [1.0, 0.0, -2.0, -3.0]
    x = torch.tensor([row] * draws, dtype=torch.double)
    p = softmax(row)
    first, second = p[0] / (p[0] + p[1]), p[1] / (p[0] + p[1])
    routing = router.train()(x, None, layout())
    visited = routing.experts[:, 1] == 1
    assert (routing.experts[:, 0] == 0).all()
    assert (routing.experts[~visited, 1] == 4).all()  # none
    assert (routing.weights[~visited, 1] == 0).all()
    torch.testing.assert_close(routing.weights[:, 0], torch.full((draws,), first, dtype=torch.double))
    chance = 2 * second
    assert visited.double().mean().item() == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / draws))
    still = router.eval()(x, None, layout())
    assert (still.experts[:, 1] == 1).all()
    assert still.weights[0].tolist() == pytest.approx([first, second])


def test_the_balance_of_random_second_counts_first_choices() -> None:
    assert asides(showing(RandomSecond, balance=0.3), X)["balance"] == pytest.approx(0.3 * balance(LOGITS, 1))


def test_scores_are_not_rounded_under_autocast() -> None:
    router = TopK(DIMS, 4)
    torch.nn.init.normal_(router.gate.weight)
    x = torch.randn(6, 4)
    exact = x @ router.gate.weight.t()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = router(x, None, layout(6)).logits
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "experts", "settings", "sentence"),
    [
        (TopK, 4, {"k": 5}, "k must lie within 1 … experts"),
        (TopK, 4, {"k": 0}, "k must lie within 1 … experts"),
        (NoisyTopK, 4, {"k": 4}, "k must lie within 1 … experts - 1"),
        (RandomSecond, 1, {}, "needs at least 2 experts"),
        (TopK, 4, {"balance": -1.0}, "must not be negative"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(kind, experts, settings, sentence) -> None:
    with pytest.raises(ConfigError, match=sentence):
        kind(DIMS, experts, **settings)
