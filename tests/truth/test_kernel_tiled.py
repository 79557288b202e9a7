"""FlashAttention tile by tile: the definition in float64, gradients, a learned bias, the order of tiles, bytes kept."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from kernel_questions import QUESTIONS, question, same_with_gradients
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import build
from danlu.nn.dims import Dims
from danlu.nn.kernels import Ask
from danlu.nn.kernels.tiled import Tiled
from danlu.nn.layout import Keys, Layout
from danlu.nn.masks import Full
from danlu.nn.masks.causal import Causal
from danlu.nn.positions import Position

SIZES = {"model": 16, "layers": 2, "heads": 2, "context": 32, "width": 16}


@pytest.mark.parametrize("loop", [1, 2])
@pytest.mark.parametrize("name", QUESTIONS)
def test_equal_to_the_definition_in_float64_with_gradients(name, loop) -> None:
    same_with_gradients(Tiled(loop=loop, tile=3), question(name), 1e-12)


@pytest.mark.parametrize("tile", [1, 4, 5, 64])
def test_every_size_of_tile_gives_the_same(tile) -> None:
    same_with_gradients(Tiled(tile=tile), question("packed causal grouped learned"), 1e-12)


class Seen(Position):
    """Adds nothing, and notes which tiles it is asked for."""

    def __init__(self) -> None:
        super().__init__(Dims(vocab=1, model=4, heads=1, layers=1, context=1))
        self.asked: list[tuple[int, int]] = []

    def bias(self, q_at: Tensor, k_at: Tensor) -> Tensor:
        self.asked.append((int(q_at[0, 0]), int(k_at[0, 0])))
        return torch.zeros(1, 1, q_at.shape[1], k_at.shape[1])


def row(length: int, position: Position, mask: object, heads: int = 1, **more) -> Ask:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, length, heads, 8, generator=generator, requires_grad=True) for _ in range(3))
    layout = Layout.dense(torch.ones(1, length))
    return Ask(q, Keys(k, v, layout.position, layout.segment), layout, mask, position, **more)  # type: ignore[arg-type]


class Divisions(TorchDispatchMode):
    """How often a mean was formed."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[override]
        self.count += func in (torch.ops.aten.div.Tensor, torch.ops.aten.div_.Tensor)
        return func(*args, **(kwargs or {}))


def test_loops_walk_over_keys_or_queries_outside_and_the_second_divides_once() -> None:
    divisions = {}
    for loop, expected in ((1, [(0, 0), (2, 0), (4, 0), (2, 2), (4, 2), (4, 4)]),
                           (2, [(0, 0), (2, 0), (2, 2), (4, 0), (4, 2), (4, 4)])):  # fmt: skip
        seen = Seen()
        with Divisions() as mode, torch.no_grad():
            Tiled(loop=loop, tile=2).run(row(6, seen, Causal()))
        assert seen.asked == expected  # nothing above the diagonal
        divisions[loop] = mode.count
    assert divisions == {1: 2 * 6, 2: 1}


def test_scores_far_beyond_what_exp_holds_are_safe() -> None:
    ask = row(9, question("plain causal").position, Full(), scale=1e4)
    for loop in (1, 2):
        out = Tiled(loop=loop, tile=2).run(ask)
        best = (ask.q[0, :, 0] @ ask.keys.k[0, :, 0].T).argmax(-1)
        torch.testing.assert_close(out[0, :, 0], ask.keys.v[0, best, 0])


@pytest.mark.parametrize("learned", [False, True])
def test_bytes_kept_for_backward_grow_with_the_row(learned) -> None:
    """q, k, v, the output and one number a head and query; nothing of the scores, nothing of the bias."""
    position = question("plain causal learned" if learned else "plain causal fixed").position
    kept = {}
    for length in (64, 128, 256):
        ask = row(length, position, Causal(), heads=4)
        bytes_: dict[int, int] = {}

        def note(x: Tensor, into: dict[int, int] = bytes_) -> Tensor:
            into[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with saved_tensors_hooks(note, lambda x: x):
            Tiled(tile=16).run(ask)
        kept[length] = sum(bytes_.values()) - sum(p.nbytes for p in position.parameters())
    assert kept == {length: length * 4 * (4 * 8 + 1) * 4 for length in kept}


def test_half_precision_is_summed_in_float32() -> None:
    ask = row(64, question("plain causal").position, Causal())
    q, k, v = (x.detach().bfloat16() for x in (ask.q, ask.keys.k, ask.keys.v))
    half = Tiled(tile=8).run(ask._replace(q=q, keys=Keys(k, v, ask.keys.position, ask.keys.segment)))
    single = ask._replace(q=q.float(), keys=Keys(k.float(), v.float(), ask.keys.position, ask.keys.segment))
    assert torch.equal(half, Tiled(tile=8).run(single).bfloat16())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(Tiled(tile=8).run(single), Tiled(tile=8).run(single._replace()), rtol=0, atol=0)
        exact = Tiled(tile=8).run(single)
    assert torch.equal(exact, Tiled(tile=8).run(single))


@pytest.mark.parametrize("settings", [{"loop": 3}, {"tile": 0}])
def test_settings_that_make_no_sense(settings) -> None:
    with pytest.raises(ConfigError, match="found"):
        Tiled(**settings)


def _watch(position: Position, into: list[int]) -> None:
    """Notes for how many keys the position is asked."""
    kind: Any = type(position)

    class Watched(kind):
        def bias(self, q_at: Tensor, k_at: Tensor) -> Tensor:
            into.append(k_at.shape[1])
            return super().bias(q_at, k_at)

    position.__class__ = Watched


@pytest.mark.parametrize("position", ["alibi", "t5", "fire"])
@pytest.mark.parametrize("recompute", [False, True])
def test_a_model_never_makes_the_whole_bias_and_trains_the_same(position, recompute) -> None:
    """Kernels are chosen by the recipe; the largest bias that is asked for is one tile."""
    gradients = []
    for kernels in (["reference"], [{"use": "tiled", "tile": 4}, "reference"]):
        model = build(Spec("decoder", {**SIZES, "position": position, "kernels": kernels}), vocab=20).double()
        model.recompute = recompute
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(parameter.numel()))
        largest: list[int] = []
        _watch(cast("Position", model.position), largest)
        tokens = torch.randint(0, 20, (2, 11), generator=torch.Generator().manual_seed(1))
        model.hidden(tokens).square().sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
        assert max(largest) == (11 if kernels == ["reference"] else 4)
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(
            gradients[1][name], gradient, atol=1e-6, rtol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("kernel", ["tiled", "sparse", "flex", "sdpa"])
def test_contextual_positions_are_refused_when_the_model_is_built(kernel) -> None:
    with pytest.raises(ConfigError, match=rf"no attention kernel serves this model: {kernel}: the position encoding .*"
                                          "; add the kernel 'reference'"):  # fmt: skip
        build(Spec("decoder", {**SIZES, "position": "cope", "kernels": [kernel]}), vocab=20)


def test_the_reason_and_the_remedy_are_one_sentence() -> None:
    with pytest.raises(ConfigError) as told:
        build(Spec("decoder", {**SIZES, "position": "cope", "kernels": [{"use": "tiled", "loop": 1}]}), vocab=20)
    assert str(told.value) == (
        "no attention kernel serves this model: tiled: the position encoding needs the scores of all keys at once, and "
        "a tile shows only some of them; add the kernel 'reference'"
    )


def test_what_refuses_always_is_left_out_and_the_rest_serves() -> None:
    model = build(Spec("decoder", {**SIZES, "position": "cope", "kernels": ["tiled", "reference"]}), vocab=20)
    assert model(torch.ones(1, 5, dtype=torch.long)).isfinite().all()
