"""The mixture of experts against a sum over experts by hand, its capacity by hand, gradients by finite differences."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from danlu.core.errors import ConfigError
from danlu.nn.dims import Dims
from danlu.nn.ffns.moe import EXPERTS, Moe
from danlu.nn.ffns.moe_product import Groups, grouped
from danlu.nn.layout import Layout
from danlu.nn.linear import Birth
from danlu.nn.routers import ROUTERS

DIMS = Dims(vocab=5, model=6, heads=1, layers=1, context=8, ffn=5)
ACTIVATIONS = {
    "swiglu": F.silu,
    "geglu": F.gelu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}


def drawn(dtype=torch.double, **settings) -> Moe:
    moe = Moe(DIMS, **{"experts": 4, **settings}).to(dtype)
    generator = torch.Generator().manual_seed(0)
    for parameter in moe.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    return moe.eval()


def alone(moe: Moe, expert: int, x: Tensor, kind: str) -> Tensor:
    """One expert by plain products."""

    def through(stack, x):
        weight, bias = stack.all()
        return x @ weight[expert].t() + (0 if bias is None else bias[expert])

    inner = ACTIVATIONS[kind](through(moe.gate or moe.up, x))
    inner = inner * through(moe.up, x) if moe.gate else inner
    return through(moe.down, inner)


def by_hand(moe: Moe, x: Tensor, kind: str, k: int = 2) -> Tensor:
    """Every token by itself, in a loop."""
    out = torch.zeros_like(x)
    for at, token in enumerate(x):
        p = (moe.router.gate.weight @ token).softmax(0)
        best = p.topk(k).indices.tolist()
        for expert in best:
            out[at] += p[expert] / p[best].sum() * alone(moe, expert, token, kind)
    return out


@pytest.mark.parametrize("kind", list(EXPERTS))
@pytest.mark.parametrize("bias", [False, True])
def test_each_token_gets_the_weighed_sum_of_its_experts(kind, bias) -> None:
    moe, x = drawn(expert=kind, bias=bias), torch.randn(2, 7, 6, dtype=torch.double)
    expected = by_hand(moe, x.flatten(0, 1), kind).view_as(x)
    torch.testing.assert_close(moe(x, Layout.dense(x)), expected)


@pytest.mark.parametrize("shared", [1, 2])
def test_shared_experts_add_what_they_answer_to_every_token(shared) -> None:
    moe, x = drawn(shared=shared), torch.randn(2, 7, 6, dtype=torch.double)
    gate, up, down = (getattr(moe.shared, name).weight for name in ("gate", "up", "down"))
    assert gate.shape == (5 * shared, 6)
    expected = by_hand(moe, x.flatten(0, 1), "swiglu").view_as(x) + (F.silu(x @ gate.t()) * (x @ up.t())) @ down.t()
    torch.testing.assert_close(moe(x, Layout.dense(x)), expected)


@pytest.mark.parametrize(
    ("router", "kind"), [*((name, "swiglu") for name in sorted(ROUTERS)), *(("top_k", kind) for kind in EXPERTS)]
)
def test_gradients_are_those_of_finite_differences(router, kind) -> None:
    moe = drawn(router=router, expert=kind, frozen=[1], shared=1, bias=True)
    x = torch.randn(1, 5, 6, dtype=torch.double, requires_grad=True)
    moving = [p for p in moe.parameters() if p.requires_grad]
    assert torch.autograd.gradcheck(lambda x, *_: moe(x, Layout.dense(x)), (x, *moving), fast_mode=True)


def test_padding_is_served_by_no_expert() -> None:
    moe, x = drawn(), torch.randn(2, 4, 6, dtype=torch.double)
    segment = torch.tensor([[1, 1, 0, 0], [1, 1, 2, 2]])
    out = moe(x, Layout.of(torch.zeros_like(segment), segment))
    real = segment != 0
    torch.testing.assert_close(out[real], by_hand(moe, x[real], "swiglu"))
    assert (out[~real] == 0).all()
    nothing = moe(x, Layout.of(torch.zeros_like(segment), torch.zeros_like(segment)))
    assert (nothing == 0).all()


def crowded(**settings) -> tuple[Moe, Tensor]:
    """Six tokens that all prefer expert 0, then 1, with weights 3/4 and 1/4."""
    moe = drawn(**settings)
    with torch.no_grad():
        moe.router.gate.weight.copy_(torch.zeros(4, 6))
        moe.router.gate.weight[:, 0] = torch.tensor([3.0, 1.0, 1e-9, 1e-9]).double().log()
    x = torch.randn(1, 6, 6, dtype=torch.double)
    x[..., 0] = 1.0
    return moe, x


@pytest.mark.parametrize(("capacity", "room"), [(0.25, 1), (0.5, 2), (0.7, 3), (1.0, 3), (2.0, 6), (9.0, 6)])
def test_an_expert_takes_its_first_choices_in_training_and_all_in_evaluation(capacity, room) -> None:
    """room = ⌈capacity · 2 choices · 6 tokens / 4 experts⌉; later tokens are passed by."""
    moe, x = crowded(capacity=capacity)
    layout = Layout.dense(x)
    out = moe.train()(x, layout)
    whole = by_hand(moe, x[0], "swiglu")
    torch.testing.assert_close(out[0, :room], whole[:room])
    assert (out[0, room:] == 0).all()
    told = {name: [value.item() for value in values] for name, values in layout.told.items()}
    assert told == {"busiest_expert": [0.5], "dropped_choices": [pytest.approx(1 - min(room, 6) / 6)]}
    torch.testing.assert_close(moe.eval()(x, Layout.dense(x))[0], whole)


def test_first_choices_come_before_second_ones() -> None:
    """The last token alone prefers expert 1, which has room for one: it goes before five second choices."""
    moe, x = crowded(capacity=0.25)
    x[0, 5, 0] = -1.0  # logits turned about: 2 and 3 first, so point it at expert 1 by another channel
    with torch.no_grad():
        moe.router.gate.weight[1, 1] = 100.0
    x[0, :5, 1], x[0, 5, 1] = 0.0, 1.0
    out = moe.train()(x, Layout.dense(x))[0]
    torch.testing.assert_close(out[0], 0.75 * alone(moe, 0, x[0, 0], "swiglu"))
    assert (out[1:5] == 0).all()
    torch.testing.assert_close(out[5], by_hand(moe, x[0, 5:], "swiglu")[0])


def test_padding_takes_no_room() -> None:
    moe, x = crowded(capacity=0.7)  # three tokens: room for ⌈0.7 · 2 · 3 / 4⌉ = 2
    segment = torch.tensor([[0, 0, 0, 1, 1, 1]])
    out = moe.train()(x, Layout.of(torch.zeros_like(segment), segment))[0]
    torch.testing.assert_close(out[3:5], by_hand(moe, x[0, 3:5], "swiglu"))
    assert (out[:3] == 0).all()
    assert (out[5] == 0).all()


def test_dropout_is_inside_experts_and_in_training_only() -> None:
    moe, x = drawn(expert="relu", dropout=0.5), torch.randn(1, 4000, 6, dtype=torch.double)
    torch.manual_seed(0)
    still, moved = moe.eval()(x, Layout.dense(x)), moe.train()(x, Layout.dense(x))
    assert not torch.allclose(still, moved)
    mean = torch.stack([moe(x, Layout.dense(x)) for _ in range(60)]).mean(0)
    assert ((mean - still).norm() / still.norm()).item() < 0.2  # 1 / sqrt(60) of the noise is left


def test_frozen_experts_answer_and_learn_nothing() -> None:
    moe, x = drawn(frozen=[3, 1], bias=True), torch.randn(1, 9, 6, dtype=torch.double)
    expected = by_hand(moe, x[0], "swiglu")
    torch.testing.assert_close(moe(x, Layout.dense(x))[0], expected)
    with torch.no_grad():
        torch.testing.assert_close(moe(x, Layout.dense(x))[0], expected)
    moe(x, Layout.dense(x)).square().sum().backward()
    still = {name for name, p in moe.named_parameters() if p.grad is None}
    assert still == {f"{name}.frozen{bias}" for name in ("up", "down", "gate") for bias in ("", "_bias")}
    assert moe.up.weight.shape == moe.up.frozen.shape == (2, 5, 6)


def test_rows_are_grouped_by_expert_with_first_choices_first() -> None:
    groups = Groups.of(torch.tensor([[2, 0], [0, 2], [0, 3]]), 3, None, whole=False)
    assert groups.experts.tolist() == [0, 0, 0, 2, 2]  # 3 stands for none
    assert groups.order.tolist() == [1, 2, 3, 0, 4]  # choices are numbered 0 … 2 (first), 3 … 5 (second)
    assert groups.stops == [3, 3, 5]
    limited = Groups.of(torch.tensor([[2, 0], [0, 2], [0, 3]]), 3, 1, whole=False)
    assert (limited.order.tolist(), limited.experts.tolist()) == ([1, 0], [0, 2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torchs_grouped_product_is_ours(dtype) -> None:
    """What serves on a GPU gives what serves here, with empty groups."""
    groups = Groups.of(torch.tensor([[0, 1], [3, 1], [1, 0], [3, 0]]), 4, None, whole=True)
    x, weight = torch.randn(8, 16).to(dtype), torch.randn(4, 24, 16).to(dtype)
    fused = F.grouped_mm(x, weight.mT, offs=groups.ends)
    torch.testing.assert_close(
        grouped(x, weight, groups), fused, atol=1e-2 if dtype == torch.bfloat16 else 1e-5, rtol=0.02
    )


def test_under_autocast_products_are_rounded_and_the_stream_is_not(recwarn) -> None:
    moe, x = drawn(torch.float32), torch.randn(1, 9, 6)
    exact = moe(x, Layout.dense(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = moe(x, Layout.dense(x))
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, atol=0.3, rtol=0.05)
    found.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in moe.parameters())


def test_experts_are_born_as_linear_maps_are() -> None:
    dims = Dims(vocab=5, model=64, heads=1, layers=8, context=8, ffn=96)
    moe = Moe(dims, bias=True, frozen=[0])
    for module in moe.modules():
        if any(True for _ in module.parameters(recurse=False)):
            module.born(Birth(0.02, 8, torch.Generator().manual_seed(0)))  # type: ignore[operator]
    for stack, std in ((moe.up, 0.02), (moe.gate, 0.02), (moe.down, 0.02 / 4)):
        assert stack.all()[0].std().item() == pytest.approx(std, rel=0.02)
        assert stack.frozen.std().item() == pytest.approx(std, rel=0.05)
        assert not stack.all()[1].any()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"expert": "swigl"}, r"ffn\.expert: no kind of expert named 'swigl' \(did you mean 'swiglu'\?\)"),
        ({"router": "best"}, r"ffn\.router: no router named 'best'"),
        ({"router": {"use": "top_k", "n": 2}}, r"router 'top_k' has no setting \['n'\]"),
        ({"experts": 0}, "experts must be at least 1"),
        ({"capacity": 0.0}, "capacity must be above 0"),
        ({"dropout": 1.0}, r"dropout must lie in \[0, 1\)"),
        ({"frozen": [4]}, r"there is no expert 4 to freeze, only 0 … 3"),
    ],
)
def test_mistakes_are_named(settings, sentence) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Moe(DIMS, **{"experts": 4, **settings})
