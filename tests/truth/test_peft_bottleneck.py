"""Bottleneck adapters against their formula, written out in float64, block by block."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from peft_by_hand import TOKENS, Change, by_hand, drawn
from torch import Tensor, nn
from train_tiny import packed, tiny_model

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import build
from danlu.nn.layout import Layout
from danlu.nn.model import Model
from danlu.peft.attached import activate, attach, state_of


def gelu(h: Tensor) -> Tensor:
    return h * 0.5 * (1 + torch.special.erf(h / math.sqrt(2)))


def relu(h: Tensor) -> Tensor:
    return h * (h > 0)


def net(part: nn.Module, f: Callable[[Tensor], Tensor], h: Tensor) -> Tensor:
    """W_up f(W_down h + b) + b, with sums written out."""
    inner = f(torch.einsum("wm,btm->btw", part.down.weight, h) + part.down.bias)
    return torch.einsum("mw,btw->btm", part.up.weight, inner) + part.up.bias


CASES = {
    "houlsby": ({"width": 5}, ("attention", "ffn"), lambda part, x, y: y + net(part, gelu, y)),
    "pfeiffer": ({"width": 5}, ("ffn",), lambda part, x, y: y + net(part, relu, y)),
    "parallel_adapter": ({"width": 5, "scale": 3.0}, ("ffn",), lambda part, x, y: y + 3.0 * net(part, relu, x)),
}


@pytest.mark.parametrize("use", CASES)
def test_the_formula(use: str) -> None:
    settings, at, formula = CASES[use]
    model = tiny_model(seed=2).double().eval()
    attach(model, Spec(use, settings))
    drawn(model, "default")

    def change(place: str, x: Tensor, y: Tensor) -> Tensor:
        block, sublayer = place.rsplit(".", 1)
        site = model.get_submodule(f"{block}.branch.{sublayer}")
        assert ("default" in site) == (sublayer in at)
        return formula(site["default"], x, y) if sublayer in at else y

    with torch.no_grad():
        expected = by_hand(model, model.embed(TOKENS), Layout.dense(TOKENS), change)
        found = model.hidden(TOKENS)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    activate(model)
    assert not torch.allclose(model.hidden(TOKENS), found)


@pytest.mark.parametrize("use", CASES)
def test_the_start_is_the_base_bit_by_bit(use: str) -> None:
    model = tiny_model()
    with torch.no_grad():
        before = model(TOKENS)
        attach(model, Spec(use))
        assert torch.equal(model(TOKENS), before)
        assert all(t.any() == key.endswith("down.weight") for key, t in state_of(model, "default").items())
        drawn(model, "default")
        assert not torch.allclose(model(TOKENS), before)
        activate(model)
        assert torch.equal(model(TOKENS), before)


@pytest.mark.parametrize(("use", "a_block"), [("houlsby", 2), ("pfeiffer", 1), ("parallel_adapter", 1)])
def test_counts_of_parameters(use: str, a_block: int) -> None:
    """2 · width · M + width + M a sublayer, and nothing of the base."""
    model = tiny_model(layers=3)
    attach(model, Spec(use, {"width": 7}))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained == 3 * a_block * (2 * 7 * 32 + 7 + 32)


def test_backward_is_that_of_the_formula() -> None:
    """Backward makes the activation again; its gradients are those of autograd on the written-out formula."""
    model = tiny_model(seed=2).double()
    attach(model, Spec("houlsby", {"width": 5}))
    drawn(model, "default")
    trained = [p for p in model.parameters() if p.requires_grad]
    found = torch.autograd.grad(model.hidden(TOKENS).square().sum(), trained)

    def change(place: str, x: Tensor, y: Tensor) -> Tensor:
        block, sublayer = place.rsplit(".", 1)
        part = model.get_submodule(f"{block}.branch.{sublayer}.default")
        return y + net(part, gelu, y)

    expected = by_hand(model, model.embed(TOKENS), Layout.dense(TOKENS), change)
    for mine, theirs in zip(found, torch.autograd.grad(expected.square().sum(), trained), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-10, rtol=1e-10)


def encdec() -> Model:
    model = build(Spec("t5", {"model": 16, "layers": 2, "heads": 2}), vocab=40, seed=1)
    return model.double().eval()


def test_encoder_and_decoder_with_cross_attention() -> None:
    model = encdec()
    attach(model, Spec("houlsby", {"width": 3, "at": ["blocks.*.ffn", "cross"]}))
    drawn(model, "default")
    found_at = {key.rsplit(".", 2)[0] for key in state_of(model, "default")}
    assert found_at == {
        *(f"encoder.blocks.{n}.branch.ffn" for n in (0, 1)),
        *(f"decoder.blocks.{n}.branch.{s}" for n in (0, 1) for s in ("cross", "ffn")),
    }

    def change(side: str) -> Change:
        def of(place: str, x: Tensor, y: Tensor) -> Tensor:
            block, sublayer = place.rsplit(".", 1)
            site = model.get_submodule(f"{side}.{block}.branch.{sublayer}")
            return y + net(site["default"], gelu, y) if "default" in site else y

        return of

    with torch.no_grad():
        where = Layout.dense(TOKENS)
        found = model.hidden(TOKENS[:, :4], replace(Layout.dense(TOKENS[:, :4]), memory=model.read(TOKENS, where)))
        activate(model)  # by hand from here on
        hidden = by_hand(model.encoder, model.encoder.embed(TOKENS), where, change("encoder"))
        memory = replace(model.read(TOKENS, where), hidden=hidden)
        target = replace(Layout.dense(TOKENS[:, :4]), memory=memory)
        expected = by_hand(model.decoder, model.embed(TOKENS[:, :4]), target, change("decoder"))
    expected = expected * model.decoder.recipe.hidden_scale  # T5 scales what its head reads
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)


def test_shared_layers_have_adapters_of_their_own() -> None:
    """ALBERT's layers share weights and are tied again whenever the model moves; what hangs at them is not."""
    model = build(Spec("albert", {"model": 32, "layers": 3, "heads": 4, "context": 32}), vocab=40)
    attach(model, Spec("pfeiffer", {"width": 4}))
    model.to("cpu")
    assert len({t.data_ptr() for t in state_of(model, "default").values()}) == 3 * 4
    assert len({id(b.sublayers.ffn.up.weight) for b in model.blocks}) == 1


def test_it_learns_and_the_base_stays() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.head.weight.mul_(20)  # a newborn's logits are too small to say anything
    attach(model, Spec("houlsby", {"width": 8}))
    base = {n: p.clone() for n, p in model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    batch, losses = packed(4, 32), []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(batch.tokens).flatten(0, 1), batch.targets.flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.3
    assert all(torch.equal(p, base[n]) for n, p in model.named_parameters() if n in base)


def test_it_runs_in_the_numbers_of_the_model() -> None:
    model = tiny_model().bfloat16()
    attach(model, Spec("parallel_adapter", {"width": 4}))
    assert model(TOKENS).dtype == torch.bfloat16


def test_mistakes_are_one_sentence() -> None:
    model = tiny_model()
    with pytest.raises(
        ConfigError, match=r"no sublayer is named like 'blocks\.\*\.fnn'; the nearest are \['ffn', 'att"
    ):
        attach(model, Spec("houlsby", {"at": "blocks.*.fnn"}))
    with pytest.raises(ConfigError, match="no activation named 'swish'"):
        attach(model, Spec("pfeiffer", {"activation": "swish"}))
    with pytest.raises(ConfigError, match="at least 1, found 0"):
        attach(model, Spec("pfeiffer", {"width": 0}))
    recurrent = build(Spec("recurrent", {"model": 16, "layers": 1, "context": 32}), vocab=40)
    with pytest.raises(ConfigError, match="no sublayers that a bottleneck could follow"):
        attach(recurrent, Spec("houlsby"))
