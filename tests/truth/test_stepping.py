"""Steps one by one, in backward, paged and all at once: the same bits; and what is freed and what stays resident."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from train_tiny import Fixed, packed, tiny_model

from danlu.core.errors import ConfigError, DanluError
from danlu.models import Stack
from danlu.objectives.next_token import NextToken
from danlu.plan.peak import allocating
from danlu.train.host import Disk
from danlu.train.optims import OPTIMS, Optim
from danlu.train.optims.adamw import AdamW
from danlu.train.optims.adamw8bit import AdamW8bit
from danlu.train.optims.paged_adamw import PagedAdamW
from danlu.train.optims.sgd import Sgd
from danlu.train.precisions import Precision
from danlu.train.precisions.bf16 import Bf16
from danlu.train.precisions.fp16 import Fp16
from danlu.train.precisions.fp32 import Fp32
from danlu.train.state import held_bytes, optimizer_tensors
from danlu.train.stepping import Paged, Stepping
from danlu.train.trainer import Trainer

BATCHES = [packed(3, 24, seed=seed) for seed in range(3)]


def model_for(narrow: bool = False, **changes: Any) -> Stack:
    """Wide enough that some states rest at the host."""
    model = tiny_model(**({"model": 64, "heads": 4} | changes))
    return model.bfloat16() if narrow else model


def trained(optim: Optim, *, narrow: bool = False, steps: int = 3, **settings: Any) -> tuple[Trainer, list[float]]:
    torch.manual_seed(0)
    trainer = Trainer(model_for(narrow), NextToken(13), Fixed(*BATCHES), optim, clip=None, **settings)
    return trainer, [loss for _ in range(steps) for n in [trainer.update(trainer._draw())] for loss in (n.loss, n.norm)]


def equal(a: Trainer, b: Trainer) -> None:
    for (name, p), q in zip(a.model.named_parameters(), b.model.parameters(), strict=True):
        assert torch.equal(p, q), name
    ours, theirs = optimizer_tensors(a), optimizer_tensors(b)
    assert set(ours) == set(theirs)
    for key in ours:
        assert torch.equal(ours[key], theirs[key]), key


@pytest.mark.parametrize("kind", [lambda: AdamW(lr=0.01), lambda: Sgd(momentum=0.9), lambda: AdamW8bit(lr=0.01)])
@pytest.mark.parametrize("recompute", ["none", "blocks"])
def test_a_fused_step_is_an_ordinary_one(kind: Any, recompute: str) -> None:
    first, seen = trained(kind())
    trainer = Trainer(model_for(), NextToken(13), Fixed(*BATCHES), kind(), clip=None, fused_step=True)
    trainer.model.recompute = recompute
    for step in range(3):
        numbers = trainer.update(trainer._draw())
        assert numbers.loss == seen[2 * step]
        assert numbers.norm == pytest.approx(seen[2 * step + 1], rel=1e-6)
    equal(first, trainer)
    assert all(p.grad is None for p in trainer.model.parameters())


@pytest.mark.parametrize("masters", [True, False])
def test_a_fused_step_of_narrow_weights(masters: bool) -> None:
    """An ordinary one with masters; draws of chance come in the order of gradients: there only that it trains."""
    precision = Bf16(weights="bf16", master=masters)
    trainer, seen = trained(AdamW(lr=0.01), narrow=True, precision=precision, fused_step=True, steps=9)
    if masters:
        equal(trainer, trained(AdamW(lr=0.01), narrow=True, precision=precision, steps=9)[0])
    assert seen[-2] < seen[0] - 0.3
    assert {p.dtype for p in trainer.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("name", sorted(OPTIMS))
@pytest.mark.parametrize("fused", [False, True])
def test_paged_states_are_the_same(name: str, fused: bool, tmp_path: Path) -> None:
    stays, _ = trained(OPTIMS[name](lr=0.01), fused_step=fused)
    paged, _ = trained(OPTIMS[name](lr=0.01), fused_step=fused, offload=["optimizer"], folder=tmp_path)
    equal(stays, paged)
    assert not list(tmp_path.iterdir()), "files have no name"


def test_paged_masters_are_the_same() -> None:
    precision = Bf16(weights="bf16")
    stays, _ = trained(AdamW(lr=0.01), narrow=True, precision=precision)
    equal(stays, trained(AdamW(lr=0.01), narrow=True, precision=precision, offload=["optimizer"])[0])


@pytest.mark.parametrize(("bits", "kind"), [(32, AdamW), (8, AdamW8bit)])
def test_paged_adamw_is_adamw(bits: int, kind: type[AdamW]) -> None:
    equal(trained(kind(lr=0.01))[0], trained(PagedAdamW(lr=0.01, bits=bits))[0])


def test_paged_states_are_not_resident() -> None:
    """Of 32 MiB of states, after a step, the process has none; /proc says so."""
    weights = [nn.Parameter(torch.zeros(1024, 1024)) for _ in range(4)]
    optimizer = AdamW().over([(f"{i}.weight", p) for i, p in enumerate(weights)])
    care = Paged(Disk(), optimizer.state)
    stepping = Stepping(optimizer, [care])
    for _ in range(2):
        for p in weights:
            p.grad = torch.ones_like(p)
        stepping.step()
    states = [v for p in weights for v in optimizer.state[p].values() if v.numel() > 1]
    assert sum(v.nbytes for v in states) == 32 << 20
    assert resident(states) == 0
    assert all(bool((v != 0).all()) for v in states), "and yet they are there"
    assert resident(states) == 32 << 20


def resident(tensors: list[Tensor]) -> int:
    """Bytes of these in memory, by the kernel's table of this process."""
    ranges, found, inside = {t.untyped_storage().data_ptr() for t in tensors}, 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()
        if "-" in head[0] and not head[0].endswith(":"):
            inside = int(head[0].split("-")[0], 16) in ranges
        elif inside and head[0] == "Rss:":
            found += int(head[1]) << 10
    return found


def peak(**settings: Any) -> int:
    model = model_for(model=256, ffn=1024, layers=4)
    batch = packed(1, 8)
    trainer = Trainer(model, NextToken(), Fixed(batch), Sgd(lr=0.01), clip=None, **settings)
    trainer.update([batch])
    trainer.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    with allocating() as found:
        trainer.update([batch])
    return found.bytes_


def test_a_fused_step_keeps_no_gradient() -> None:
    """The peak falls by nearly all gradients: those of the largest parameters are there one at a time."""
    size = sum(p.nbytes for p in model_for(model=256, ffn=1024, layers=4).parameters())
    assert peak() > size
    assert peak(fused_step=True) < 0.35 * size


@pytest.mark.parametrize(
    ("precision", "optim", "bytes_"),
    [
        (Fp32(), Sgd(), 4 + 4),
        (Bf16(), AdamW(), 4 + 8 + 4),
        (Bf16(weights="bf16"), AdamW(), 2 + 4 + 8),
        (Bf16(weights="bf16", master=False), AdamW(), 2 + 8),
        (Bf16(weights="bf16", master=False), Sgd(), 2),
    ],
)
def test_bytes_a_parameter_between_steps(precision: Precision, optim: Optim, bytes_: int) -> None:
    """Weight, master, states and gradient; narrow gradients go when their weights have moved."""
    trainer, _ = trained(optim, narrow=precision.weights is torch.bfloat16, precision=precision, steps=1)
    count = sum(p.numel() for p in trainer.model.parameters())
    assert held_bytes(trainer) == pytest.approx(bytes_ * count, rel=1e-3)


def test_narrow_gradients_of_micro_batches_are_summed_wide() -> None:
    """256 + 1 · 64 in bfloat16 stays 256; the sum of gradients must not."""
    weight = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    trainer, _ = trained(AdamW(), narrow=True, precision=Bf16(weights="bf16"), micro=1, steps=1)
    assert {p.grad_dtype for p in trainer.model.parameters()} <= {torch.bfloat16}, "between steps as torch has it"
    trainer.held.begin(3)
    assert {p.grad_dtype for p in trainer.held.narrow} == {torch.float32}
    weight.grad_dtype = trainer.held.narrow[0].grad_dtype
    for value in [256.0, *[1.0] * 64]:
        (weight * value).sum().backward()
    assert weight.grad is not None
    assert weight.grad.item() == 320


def test_a_bad_loss_moves_nothing_even_in_a_fused_step() -> None:
    model = model_for()
    trainer = Trainer(model, NextToken(), Fixed(*BATCHES), AdamW(), clip=None, fused_step=True)
    before = [p.detach().clone() for p in model.parameters()]
    handle = model.blocks[1].register_forward_hook(lambda module, inputs, output: output * float("nan"))
    with pytest.raises(DanluError, match="weights are as before it"):
        trainer.fit(1)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    handle.remove()
    model.blocks[0].register_full_backward_hook(lambda module, grads, outs: (grads[0] * float("inf"), *grads[1:]))
    with pytest.raises(DanluError, match="moved already, in a fused step: go back to a checkpoint"):
        trainer.fit(3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"clip": 1.0}, "train.clip: null"),
        ({"precision": Fp16()}, "use bf16 or fp32"),
        ({"micro": 1}, "one micro-batch, found 3"),
    ],
)
def test_what_a_fused_step_cannot_serve(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        trainer = Trainer(
            tiny_model(), NextToken(), Fixed(*BATCHES), AdamW(), fused_step=True, **({"clip": None} | settings)
        )
        trainer.update(trainer._draw())


def test_weights_of_another_dtype_than_the_precision_says() -> None:
    with pytest.raises(ConfigError, match="weights that train are bfloat16, but the precision keeps them in float32"):
        Trainer(model_for(narrow=True), NextToken(), Fixed(*BATCHES), AdamW())
