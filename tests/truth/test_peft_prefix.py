"""Virtual keys: a softmax over concatenated keys, the network that makes them by hand, and what nobody pays twice."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from train_tiny import tiny_model

from danlu.core.errors import ConfigError, ShapeError
from danlu.core.spec import Spec
from danlu.models import Stack, build
from danlu.nn.layout import Layout
from danlu.peft.attached import activate, attach
from danlu.peft.virtual_keys import Trunk

TOKENS = torch.randint(0, 40, (2, 7), generator=torch.Generator().manual_seed(1))
LENGTH = 3


def model_with(use: str, *, kv_heads: int = 2, **settings: object) -> Stack:
    model = tiny_model(seed=2, kv_heads=kv_heads).double().eval()
    torch.manual_seed(4)
    attach(model, Spec(use, {"length": LENGTH, **settings}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.5)
    return model


def by_hand(attention, x: Tensor, before: Tensor, at: Tensor) -> Tensor:
    """Queries and new keys are turned by their positions ``at``; virtual ones (n, 2, K, D) are seen by all."""
    rows, length, _ = x.shape
    q, k, v = (part(x).view(rows, length, -1, attention.head) for part in (attention.q, attention.k, attention.v))
    half = attention.head // 2
    angle = at[:, None] * 10_000.0 ** (-torch.arange(half) / half)
    turn = torch.polar(torch.ones_like(angle), angle)[:, None]

    def turned(y: Tensor) -> Tensor:
        y = torch.complex(y[..., :half], y[..., half:]) * turn
        return torch.cat([y.real, y.imag], -1)

    k, v = (
        torch.cat([mine.expand(rows, -1, -1, -1), own], 1)
        for mine, own in zip(before.unbind(1), (turned(k), v), strict=True)
    )
    shared = q.shape[2] // k.shape[2]
    scores = torch.einsum("bthd,bshd->bhts", turned(q), k.repeat_interleave(shared, 2)) / attention.head**0.5
    seen = torch.ones(length, len(before) + length).tril(len(before)).bool()
    weight = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    return attention.o(torch.einsum("bhts,bshd->bthd", weight, v.repeat_interleave(shared, 2)).flatten(-2))


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("use", ["prefix", "ptuning_v2"])
def test_a_softmax_over_concatenated_keys(use: str, shift: bool, kv_heads: int) -> None:
    model = model_with(use, shift=shift, kv_heads=kv_heads)
    attention = model.blocks[1].sublayers.attention
    seen = []
    attention.register_forward_hook(lambda part, given, answer: seen.append((given[0], answer)))
    with torch.no_grad():
        model(TOKENS)
        ((x, found),) = seen
        at = torch.arange(7, dtype=torch.double) + (LENGTH if shift else 0)
        expected = by_hand(attention, x, attention.kv["default"].made(), at)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)  # angles are computed in float32


def test_the_network_by_hand() -> None:
    """tanh between two linear maps; the first is one for all layers, the second is each layer's own."""
    model = model_with("prefix", width=5)
    first, second = (block.sublayers.attention.kv["default"] for block in model.blocks)
    trunk = first.trunk
    inner = torch.tanh(torch.einsum("ws,ns->nw", trunk.down.weight, trunk.tokens) + trunk.down.bias)
    for part in (first, second):
        expected = torch.einsum("ow,nw->no", part.up.weight, inner) + part.up.bias
        torch.testing.assert_close(part.made(), expected.view(LENGTH, 2, 2, 8))
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(names) == 3 + 2 * 2
    size, layers = 2 * 8, 2
    counted = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert counted == LENGTH * size + (size + 1) * 5 + layers * 2 * size * (5 + 1)


def test_at_rest_the_network_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    forward = Trunk.forward
    monkeypatch.setattr(Trunk, "forward", lambda trunk: asked.append(1) or forward(trunk))
    model = model_with("prefix", width=5)
    with torch.no_grad():
        first = model(TOKENS)
        assert torch.equal(model(TOKENS), first)
    assert len(asked) == 2, "once for each of two layers"
    with torch.no_grad():
        model.blocks[0].sublayers.attention.kv["default"].trunk.tokens.mul_(2)
        assert not torch.equal(model(TOKENS), first), "numbers have changed, and so has what is made of them"
    model.train()
    model(TOKENS).sum().backward()
    assert len(asked) == 6
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters() if p.requires_grad)


def test_off_is_the_base() -> None:
    model = model_with("prefix")
    base = tiny_model(seed=2, kv_heads=2).double().eval()
    activate(model)
    assert torch.equal(model(TOKENS), base(TOKENS))


@pytest.mark.parametrize("use", ["prefix", "ptuning_v2"])
def test_learned_positions_begin_after_virtual_ones(use: str) -> None:
    model = tiny_model(use="gpt2", context=12)
    attach(model, Spec(use, {"length": 4}))
    assert model.limit == 8
    model(torch.ones(1, 8, dtype=torch.long))
    with pytest.raises(ShapeError, match="position 12 lies beyond the model's context of 12"):
        model(torch.ones(1, 9, dtype=torch.long))
    activate(model)
    assert model.limit == 12
    with pytest.raises(ShapeError, match="12 virtual tokens leave no room for others in a context of 12; lower length"):
        attach(model, Spec(use, {"length": 12}), "longer")


@pytest.mark.parametrize("use", ["prefix", "ptuning_v2"])
def test_refusals(use: str) -> None:
    with pytest.raises(ConfigError, match=f"adapter {use}: length is how many virtual tokens there are, .* found 0"):
        attach(tiny_model(), Spec(use, {"length": 0}))
    with pytest.raises(ConfigError, match=f"adapter {use}: width .* at least 1, found 0"):
        attach(tiny_model(), Spec(use, {"width": 0}))
    recurrent = build(Spec("recurrent", {"model": 16, "layers": 1, "context": 64}), vocab=40)
    with pytest.raises(ConfigError, match=f"adapter {use}: this recurrent has no attention"):
        attach(recurrent, Spec(use))


def test_learned_biases_of_distances_beside_it_when_blocks_are_run_again() -> None:
    """A table of T5 that trains, too: its gradient is the same whether blocks are recomputed or not."""
    gradients = []
    for recompute in ("none", "blocks"):
        model = build(
            Spec("decoder", {"model": 32, "layers": 2, "heads": 4, "context": 32, "position": "t5"}), vocab=40
        )
        torch.manual_seed(0)
        attach(model, Spec("ptuning_v2", {"length": 3}), also=["position"])
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
        model.recompute = recompute  # type: ignore[assignment]
        model.train()(TOKENS).square().mean().backward()
        gradients.append([p.grad for p in model.parameters() if p.requires_grad])
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected)
        assert found.abs().sum() > 0


@pytest.mark.parametrize("family", ["t5", "bert", "vit"])
def test_every_attention_has_them(family: str) -> None:
    """Encoders, decoders and cross-attention, and each layer's are learned."""
    sizes = {"model": 32, "layers": 2, "heads": 4, "context": 32} if family != "vit" else {}
    vit = {"model": 32, "layers": 2, "heads": 4, "image": 8, "patch": 4, "classes": 2}
    model = build(Spec(family, sizes or vit), vocab=40)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    attach(model, Spec("ptuning_v2", {"length": 3}))
    if family == "t5":
        answer = model.translate(TOKENS, TOKENS[:, :4])  # type: ignore[operator]
    else:
        answer = model(TOKENS if family == "bert" else torch.randn(2, 3, 8, 8))
    answer.square().mean().backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(trained) == (6 if family == "t5" else 2)
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)


def test_rows_at_once_and_in_pieces_with_documents() -> None:
    """Packed documents each see the virtual keys, and one another not at all."""
    model = model_with("prefix").float()
    segment = torch.tensor([[1, 1, 1, 2, 2, 2, 2], [0, 1, 1, 1, 1, 2, 0]])
    position = torch.tensor([[0, 1, 2, 0, 1, 2, 3], [0, 0, 1, 2, 3, 0, 0]])
    with torch.no_grad():
        for layout in (Layout.of(position, segment), Layout(position, segment)):
            found = model(TOKENS, layout)
            for row, a, b in [(0, 0, 3), (0, 3, 7), (1, 1, 5), (1, 5, 6)]:
                alone = model(TOKENS[row : row + 1, a:b])[0]
                torch.testing.assert_close(found[row, a:b], alone, atol=1e-5, rtol=1e-5)
