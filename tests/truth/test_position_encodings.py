"""Position encodings against independent formulas and the properties that define them."""

from __future__ import annotations

import cmath
import importlib
import math

import pytest
import torch

from danlu.core.errors import ConfigError, ShapeError
from danlu.core.spec import Spec
from danlu.models import build
from danlu.nn.dims import Dims
from danlu.nn.layout import Layout
from danlu.nn.linear import Birth
from danlu.nn.positions.learned import Learned
from danlu.nn.positions.rope import Rope
from danlu.nn.positions.sinusoidal import Sinusoidal
from danlu.nn.scalings.yarn import Yarn

DIMS = Dims(vocab=9, model=16, heads=2, layers=1, context=12)


def at(*positions: int) -> Layout:
    position = torch.tensor([positions])
    return Layout(position, torch.ones_like(position))


def test_rope_is_a_multiplication_by_complex_units() -> None:
    rope, x = Rope(DIMS, base=100.0), torch.randn(1, 3, 2, 8)
    turned = rope.rotate(x, at(0, 5, 1234))
    for t, position in enumerate((0, 5, 1234)):
        for head in range(2):
            for i in range(4):
                angle = position * 100.0 ** (-2 * i / 8)
                number = complex(x[0, t, head, i], x[0, t, head, i + 4]) * cmath.exp(1j * angle)
                assert turned[0, t, head, i].item() == pytest.approx(number.real, abs=2e-4)
                assert turned[0, t, head, i + 4].item() == pytest.approx(number.imag, abs=2e-4)


def test_scores_depend_on_distance_only() -> None:
    rope, q, k = Rope(DIMS), torch.randn(1, 1, 1, 8), torch.randn(1, 1, 1, 8)

    def score(a: int, b: int) -> float:
        return (rope.rotate(q, at(a)) * rope.rotate(k, at(b))).sum().item()

    for shift in (1, 17, 400):
        assert score(9 + shift, 2 + shift) == pytest.approx(score(9, 2), abs=1e-3)
    assert abs(score(9, 2) - score(9, 3)) > 1e-3


def test_rope_keeps_lengths_and_its_gradient_turns_back() -> None:
    rope, x = Rope(DIMS), torch.randn(1, 3, 2, 8, dtype=torch.double, requires_grad=True)
    layout = at(0, 7, 30)
    torch.testing.assert_close(rope.rotate(x, layout).norm(dim=-1), x.norm(dim=-1))
    assert torch.autograd.gradcheck(lambda x: rope.rotate(x, layout), x)


def test_interleaved_pairs_are_neighbors() -> None:
    rope, x = Rope(DIMS, base=100.0, interleaved=True), torch.randn(1, 3, 2, 8)
    turned = rope.rotate(x, at(0, 5, 1234))
    for t, position in enumerate((0, 5, 1234)):
        for i in range(4):
            angle = position * 100.0 ** (-2 * i / 8)
            number = complex(x[0, t, 1, 2 * i], x[0, t, 1, 2 * i + 1]) * cmath.exp(1j * angle)
            assert turned[0, t, 1, 2 * i].item() == pytest.approx(number.real, abs=2e-4)
            assert turned[0, t, 1, 2 * i + 1].item() == pytest.approx(number.imag, abs=2e-4)


@pytest.mark.parametrize("interleaved", [True, False])
def test_a_part_of_each_head_turns_as_a_smaller_head_would(interleaved) -> None:
    small = Dims(vocab=9, model=8, heads=2, layers=1, context=12)
    x, layout = torch.randn(1, 3, 2, 8), at(0, 5, 1234)
    found = Rope(DIMS, part=0.5, interleaved=interleaved).rotate(x, layout)
    assert torch.equal(found[..., :4], Rope(small, interleaved=interleaved).rotate(x[..., :4], layout))
    assert torch.equal(found[..., 4:], x[..., 4:])


@pytest.mark.parametrize(("family", "interleaved"), [("glm", True), ("gpt_neox", False)])
@pytest.mark.parametrize("part", [0.25, 0.5, 1.0])
def test_transformers_turns_the_same_channels(family, interleaved, part) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = importlib.import_module(f"transformers.models.{family}.modeling_{family}")
    name = {"glm": "Glm", "gpt_neox": "GPTNeoX"}[family]
    rope = {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": part}
    config = getattr(transformers, f"{name}Config")(
        hidden_size=32, num_attention_heads=4, head_dim=8, rope_parameters=rope
    )
    q, k = torch.randn(2, 2, 5, 4, 8)
    position = torch.tensor([[0, 1, 2, 3, 4], [0, 0, 7, 8, 900]])
    cos, sin = getattr(theirs, f"{name}RotaryEmbedding")(config)(q, position)
    expected = theirs.apply_rotary_pos_emb(q.transpose(1, 2), k.transpose(1, 2), cos, sin)
    ours = Rope(Dims(vocab=9, model=32, heads=4, layers=1, context=12), base=500.0, part=part, interleaved=interleaved)
    layout = Layout(position, torch.ones_like(position))
    for x, y in zip((q, k), expected, strict=True):
        torch.testing.assert_close(ours.rotate(x, layout), y.transpose(1, 2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("part", [0.5, 1.0])
def test_the_gradient_turns_back_in_every_pairing(interleaved, part) -> None:
    scaling = Yarn(factor=4.0, original=8)  # with a gain, which is no rotation
    rope = Rope(DIMS, part=part, interleaved=interleaved, scaling=scaling)
    x, layout = torch.randn(1, 3, 2, 8, dtype=torch.double, requires_grad=True), at(0, 7, 30)
    assert torch.autograd.gradcheck(lambda x: rope.rotate(x, layout), x)


@pytest.mark.parametrize("part", [0.0, 0.4, 1.5])
def test_a_part_that_is_no_pairs_of_channels_is_refused(part) -> None:
    with pytest.raises(ConfigError, match=rf"must be even, found {int(8 * part)} of a head of 8"):
        Rope(DIMS, part=part)


def test_the_gain_of_a_scaling_multiplies_queries_and_keys() -> None:
    scaled = Spec.read({"use": "rope", "scaling": {"use": "yarn", "factor": 4.0, "original": 8}})
    from danlu.nn.positions import POSITIONS

    rope, x = scaled.build(POSITIONS, DIMS), torch.randn(1, 2, 2, 8)
    torch.testing.assert_close(rope.rotate(x, at(0, 0)), x * (0.1 * math.log(4) + 1))


def test_waves_are_computed_once_a_call_whatever_the_number_of_layers() -> None:
    rope, layout = Rope(DIMS), at(1, 2)
    x = torch.randn(1, 2, 2, 8)
    rope.rotate(x, layout)
    made = layout.memo[rope][1]
    rope.rotate(x, layout)
    assert layout.memo[rope][1] is made


def test_sinusoidal_is_its_formula() -> None:
    found = Sinusoidal(DIMS).embed(torch.zeros(1, 3, 16), at(0, 1, 7))
    for t, position in enumerate((0, 1, 7)):
        for i in range(8):
            angle = position / 10_000 ** (2 * i / 16)
            assert found[0, t, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert found[0, t, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)
    halves = Sinusoidal(DIMS, halves=True).embed(torch.zeros(1, 3, 16), at(0, 1, 7))
    assert torch.equal(halves, torch.cat([found[..., ::2], found[..., 1::2]], -1))


def test_a_shift_of_sinusoidal_positions_is_a_rotation() -> None:
    """The inner product of two encodings depends on their distance only."""
    encoding, zero = Sinusoidal(DIMS), torch.zeros(1, 1, 16)

    def product(a: int, b: int) -> float:
        return (encoding.embed(zero, at(a)) * encoding.embed(zero, at(b))).sum().item()

    assert product(3, 8) == pytest.approx(product(40, 45), abs=1e-4)


def test_learned_positions_are_rows_of_the_table() -> None:
    learned = Learned(DIMS)
    learned.table.born(Birth(1.0, 1, torch.Generator().manual_seed(0)))
    found = learned.embed(torch.ones(1, 3, 16), at(4, 0, 11))
    torch.testing.assert_close(found[0], learned.table.weight[[4, 0, 11]] + 1)


def test_beyond_the_table_is_a_clear_error() -> None:
    with pytest.raises(ShapeError, match="position 12 lies beyond the model's context of 12 tokens"):
        Learned(DIMS).embed(torch.ones(1, 1, 16), at(12))


def test_without_positions_the_last_token_sees_a_set() -> None:
    model = build(Spec("decoder", {"model": 16, "layers": 1, "heads": 2, "context": 8, "position": "none"}), vocab=9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
        one, other = (model.eval()(torch.tensor([ids]))[0, -1] for ids in ([1, 2, 3, 4, 5], [3, 1, 4, 2, 5]))
    torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("encoding", "dims"), [(Rope, {"model": 9, "heads": 3}), (Sinusoidal, {"model": 9, "heads": 3})]
)
def test_odd_sizes_are_refused(encoding, dims) -> None:
    with pytest.raises(ConfigError, match="even"):
        encoding(Dims(vocab=5, layers=1, context=4, **dims))
