"""What rests at the host: the same bits as if it stayed, and less memory while it is away."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from train_tiny import Fixed, packed, tiny_model

from danlu.core.errors import ConfigError
from danlu.core.spec import Spec
from danlu.models import Stack
from danlu.nn.remade import lodged
from danlu.nn.sites import own
from danlu.objectives.next_token import NextToken
from danlu.peft.attached import attach
from danlu.plan.peak import allocating
from danlu.train.host import Disk, Host, Resting
from danlu.train.offload import SMALLEST, Away
from danlu.train.optims import Optim
from danlu.train.optims.adamw8bit import AdamW8bit
from danlu.train.optims.sgd import Sgd
from danlu.train.precisions.bf16 import Bf16
from danlu.train.precisions.fp32 import Fp32
from danlu.train.trainer import Trainer

BATCH = packed(4, 64)
WIDE = {"model": 64, "ffn": 256, "layers": 3}


def model_of(recompute: str = "none", adapter: bool = False, dropout: float = 0.0, **changes: Any) -> Stack:
    model = tiny_model(**(WIDE | changes))
    for block in model.blocks:
        block.dropout = dropout
    model.recompute = recompute
    if adapter:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            attach(model, Spec("lora", {"rank": 4}))
    return model


def stepped(
    model: Stack, steps: int = 2, optim: Optim | None = None, **settings: Any
) -> tuple[list[float], dict[str, Tensor]]:
    torch.manual_seed(0)
    trainer = Trainer(model, NextToken(64), Fixed(BATCH), optim or Sgd(lr=0.5, momentum=0.9), **settings)
    seen = [trainer.update([BATCH]) for _ in range(steps)]
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return [value for n in seen for value in (n.loss, n.norm)], gradients


def same(a: tuple[list[float], dict[str, Tensor]], b: tuple[list[float], dict[str, Tensor]]) -> None:
    assert a[0] == b[0]
    assert set(a[1]) == set(b[1])
    for name in a[1]:
        assert torch.equal(a[1][name], b[1][name]), name


@pytest.mark.parametrize("recompute", ["keep", "none", "ops", "blocks"])
@pytest.mark.parametrize("precision", [Fp32, Bf16])
def test_activations_away_change_no_bit(recompute: str, precision: Any) -> None:
    """With dropout, whose draws a recomputed block must repeat."""
    stays = stepped(model_of(recompute, dropout=0.1), precision=precision(), micro=2)
    away = stepped(model_of(recompute, dropout=0.1), precision=precision(), micro=2, offload=["activations"])
    same(stays, away)


@pytest.mark.parametrize("recompute", ["none", "blocks"])
@pytest.mark.parametrize("offload", [["parameters"], ["activations", "optimizer", "parameters"]])
def test_frozen_weights_away_change_no_bit(recompute: str, offload: list[str], tmp_path: Path) -> None:
    same(
        stepped(model_of(recompute, adapter=True)),
        stepped(model_of(recompute, adapter=True), offload=offload, folder=tmp_path),
    )
    assert not list(tmp_path.iterdir())


def test_shared_blocks_rest_once() -> None:
    """ALBERT's layers are one: twelve blocks, one set of weights."""
    model = model_of("blocks", adapter=True)
    for block in model.blocks[1:]:
        for own_, other in zip(block.modules(), model.blocks[0].modules(), strict=True):
            own_._parameters = other._parameters
    trainer = Trainer(model, NextToken(64), Fixed(BATCH), Sgd(), offload=["parameters"])
    assert trainer.held.weights
    resting = {id(r) for block in trainer.held.weights.blocks for r in block.resting.values()}
    assert len(resting) == len(trainer.held.weights.blocks[0].resting)


def peak(model: Stack, **settings: Any) -> int:
    batch = packed(8, 128)
    trainer = Trainer(model, NextToken(64), Fixed(batch), Sgd(lr=0.1), clip=None, fused_step=True, **settings)
    trainer.update([batch])
    trainer.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    with allocating() as found:
        trainer.update([batch])
    return found.bytes_


@pytest.mark.parametrize("recompute", ["none", "blocks"])
def test_activations_away_are_not_in_memory(recompute: str) -> None:
    """Six layers' worth of them fall to about one layer's; no gradient is kept that would rise instead."""
    stays = peak(model_of(recompute, layers=6, context=128))
    away = peak(model_of(recompute, layers=6, context=128), offload=["activations"])
    assert away < (0.55 if recompute == "none" else 0.9) * stays
    assert stays - away > 6 * 8 * 128 * 64 * 4 * (0.6 if recompute == "blocks" else 4), "the residual stream at least"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's table of a process")
def test_weights_away_are_not_resident() -> None:
    """After a step no page of a block's frozen weight is in memory; values are as before."""
    model = model_of("none", adapter=True, model=128, ffn=512)
    before = {n: p.detach().clone() for n, p in own(model)}
    trainer = Trainer(model, NextToken(64), Fixed(BATCH), Sgd(lr=0.1), offload=["parameters"])
    large = [p for n, p in own(model) if n.startswith("blocks") and p.nbytes >= SMALLEST]
    assert len(large) == 3 * 7
    trainer.update([BATCH])
    assert resident(large) == 0
    for name, p in own(model):
        assert torch.equal(p, before[name]), name
    assert resident(large) > 0.9 * sum(p.nbytes for p in large), "reading brought them"


def resident(tensors: list[Tensor]) -> int:
    """Bytes of mapped tensors in memory, by /proc."""
    pages = 0
    size = os.sysconf("SC_PAGE_SIZE")
    with open("/proc/self/pagemap", "rb") as table:
        for tensor in tensors:
            storage = tensor.untyped_storage()
            first, count = storage.data_ptr() // size, -(-storage.nbytes() // size)
            table.seek(8 * first)
            entries = table.read(8 * count)
            pages += sum(entries[8 * i + 7] >> 7 for i in range(count))
    return pages * size


def test_what_several_operations_save_rests_once() -> None:
    """x · x · x saves x more than once and each product; parameters stay where they are."""
    x = torch.randn(64, 64, requires_grad=True)
    weight = torch.nn.Linear(64, 64)
    away = Away(Disk(), weight)
    with lodged(away):
        y = weight(x * 2)
        z = (y * y * y).sum()
    assert len(away.known) == 3, "the input of the map, y and y · y"
    z.backward()
    given = x.grad
    again = (weight(x * 2) ** 3).sum()
    (expected,) = torch.autograd.grad(again, x)
    torch.testing.assert_close(given, expected)


def test_views_with_odd_strides_come_back_equal() -> None:
    away = Away(Disk(), torch.nn.Identity())
    base = torch.randn(8, 64, 128)
    for view in (base.transpose(1, 2), base[:, ::2], base[:1].expand(8, 64, 128), base.to(torch.bfloat16), base > 0):
        ticket = away.pack(view)
        assert not isinstance(ticket, Tensor)
        assert torch.equal(away.unpack(ticket), view)
    small = torch.ones(4)
    assert away.pack(small) is small


def test_memory_used_anew_is_not_taken_for_the_old() -> None:
    """A freed tensor's place, size and version come again with other values: they are kept apart."""
    away, kept = Away(Disk(), torch.nn.Identity()), []
    for value in range(5):
        tensor = torch.full((64, 128), float(value))
        kept.append(away.pack(tensor))
        del tensor
    assert [float(away.unpack(ticket)[0, 0]) for ticket in kept] == [0, 1, 2, 3, 4]
    tensor = torch.zeros(64, 128)
    first = away.pack(tensor)
    tensor += 1
    assert float(away.unpack(away.pack(tensor))[0, 0]) == 1
    assert float(away.unpack(first)[0, 0]) == 0


@pytest.mark.parametrize(
    ("offload", "words"),
    [(["parameters"], "add an adapter"), (["activation"], "did you mean 'activations'|activations")],
)
def test_what_cannot_be_offloaded_is_one_sentence(offload: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Trainer(model_of(), NextToken(), Fixed(BATCH), Sgd(), offload=offload)


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ConfigError, match=r"no room for 32768 bytes .* offload less"):
        Disk(tmp_path).rest(torch.zeros(64, 128))
    assert not list(tmp_path.iterdir())


class Veiled(Resting):
    """Like a GPU's host on a CPU: what rests is worked with in a copy, and is no use as it lies (doubled, or negated)."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = torch.empty_like(tensor)

    def bring(self) -> Tensor:
        return self.tensor / 2 if self.tensor.is_floating_point() else ~self.tensor

    def back(self, working: Tensor) -> None:
        self.tensor.copy_(working * 2 if working.is_floating_point() else ~working)


class Far(Host):
    copies = True

    def room(self, tensor: Tensor) -> Resting:
        return Veiled(tensor)


@pytest.mark.parametrize("optim", [lambda: Sgd(lr=0.5, momentum=0.9), lambda: AdamW8bit(lr=0.01)])
@pytest.mark.parametrize("offload", [["optimizer"], ["activations"], ["activations", "optimizer", "parameters"]])
def test_what_rests_is_brought_before_it_is_used(
    offload: list[str], optim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copies that a GPU makes, on a host where using what merely lies there would give other numbers."""

    def one(**settings: Any) -> tuple[list[float], dict[str, Tensor]]:
        return stepped(model_of("blocks", adapter=True, dropout=0.1), steps=3, optim=optim(), **settings)

    stays = one()
    monkeypatch.setattr("danlu.train.held.host_of", lambda device, folder: Far())
    same(stays, one(offload=offload))


def test_copied_weights_need_recomputed_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.train.held.host_of", lambda device, folder: Far())
    with pytest.raises(ConfigError, match=r"on a GPU needs train.recompute: blocks"):
        stepped(model_of("none", adapter=True), offload=["parameters"])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="pinned memory and streams belong to a GPU")
@pytest.mark.parametrize("offload", [["optimizer"], ["activations"], ["activations", "optimizer", "parameters"]])
def test_on_a_gpu_the_same_bits_in_less_memory(offload: list[str]) -> None:
    """Pinned memory, copied on a stream of its own: a missing wait would show as other bits."""

    def one(**settings: Any) -> tuple[Any, int]:
        model = model_of("blocks", adapter=True, model=256, ffn=1024, layers=6)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        found = stepped(model, steps=4, device="cuda", **settings)
        return found, torch.cuda.max_memory_allocated() - before

    (stays, most), (away, less) = one(), one(offload=offload)
    same(stays, away)
    assert less < most
