"""Decoding by the native step against transformers, ctranslate2 and llama.cpp: the same LLaMA, one thread, CPU seconds.

A step of ours is one token of every sequence behind 128 tokens each, its keys in the pool; A B A B in one process.
``rounded`` is how llama.cpp multiplies weights of 8 and 4 bits; its keys are fp16, ours bf16.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from engine_peers import PROMPT, Ctranslate2, LlamaCpp, Side, Stepped, Transformers, gguf_files
from table import medians, paired, row, skipped, text

import danlu.models
from danlu.core.spec import Spec
from danlu.infer.native_step import NativeStep
from danlu.nn import native
from danlu.nn.storages import STORAGES, store

SHAPES = {
    "25.8M": ({"use": "llama", "model": 512, "layers": 8, "heads": 8, "kv_heads": 2, "ffn": 1408, "tied": True}, 6400),
    "109.5M": ({"use": "llama", "model": 768, "layers": 12, "heads": 12, "ffn": 2560, "tied": True}, 13568),
}
KINDS, BATCHES = ("fp32", "bf16", "int8", "int4"), (1, 8)
STEPS, ROUNDS, BLOCK = 32, 3, 32
ROOM = PROMPT + 2 * BLOCK
BEST = {
    ("fp32", 1): 2.5, ("bf16", 1): 2.5, ("int8", 1): 5.0, ("int4", 1): 6.0,
    ("fp32", 8): 3.0, ("bf16", 8): 3.0, ("int8", 8): 3.0,
}  # fmt: skip
"""Aims against transformers.generate in its best dtype, by our weights and the batch."""

LLAMA_CPP = {1: 0.6, 8: 1.0}
WHY = {
    "fp32": "batch 1 reads weights at 0.8 of what one core can, batch 8 is bound by fused multiply-adds on both sides",
    "bf16": "on AVX2 turning bf16 into fp32 costs as much as reading it; the aim was set on a machine with AVX-512",
    "int8": "AVX2 has no VNNI; in the engine its own work beside the step is 0.7 ms of a token's 3 at batch 1",
    "int4": "the engine's own work beside the step is 0.7 ms of a token's 2.3",
}
"""Where a figure falls short: on the machine of 2026-11-22 (Zen 3, AVX2)."""


class Ours(Stepped):
    """The native step, and the largest logit."""

    def __init__(self, model: danlu.models.Stack, batch: int) -> None:
        step = NativeStep.of(model, rounded=True)
        if isinstance(step, str):
            raise RuntimeError(step)
        dims, blocks = model.dims, ROOM // BLOCK
        shape = (dims.layers, batch * ROOM, dims.kv_heads, dims.head)
        self.run, self.size = step, batch
        self.k, self.v = (torch.zeros(shape, dtype=torch.bfloat16) for _ in range(2))
        self.tables = torch.arange(batch * blocks, dtype=torch.int32).view(batch, blocks)

    def begin(self) -> None:
        self.at, self.tokens = PROMPT, torch.full((self.size,), 5)

    def step(self) -> None:
        at = torch.full((self.size,), self.at)
        self.tokens = self.run(self.tokens, at, self.tables, (at + 1).int(), self.k, self.v, BLOCK).argmax(-1)
        self.at += 1


def rows() -> list[dict[str, Any]]:
    """Decode tokens a second."""
    torch.set_num_threads(1)
    if not native.ready():
        return [skipped("decoding by the native step", str(native.why()))]
    return [line for shape in shapes() for line in _shape(shape)]


def shapes() -> list[str]:
    """Those that DANLU_BENCH_SHAPES names, all of them unless it is set."""
    return os.environ.get("DANLU_BENCH_SHAPES", ",".join(SHAPES)).split(",")


def _shape(name: str) -> Iterator[dict[str, Any]]:
    settings, vocab = SHAPES[name]
    make = lambda: danlu.models.build(Spec.read({**settings, "context": 512}), vocab=vocab, seed=0).eval()  # noqa: E731
    models = {kind: _kept(make(), kind) for kind in KINDS}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        danlu.models.save(models["fp32"], None, folder)
        files = _try(lambda: gguf_files(models["fp32"], Path(place)))
        speed = _bandwidth()
        for batch in BATCHES:
            yield from _batch(f"{name} LLaMA, batch {batch}", models, folder, files, batch, speed)


def _batch(
    what: str, models: dict[str, danlu.models.Stack], folder: Path, files: Any, batch: int, speed: float
) -> Iterator[dict[str, Any]]:
    ours = {kind: Ours(model, batch) for kind, model in models.items()}
    best, dtype = _best(folder, batch)
    for kind, side in ours.items():
        if aim := BEST.get((kind, batch)):
            yield _line(what, kind, side, best, f"transformers.generate, {dtype}", aim, batch)
    eight = _try(lambda: Ctranslate2(folder, batch, models["fp32"].dims.vocab))
    yield _line(what, "int8", ours["int8"], eight, "ctranslate2 int8", 1.2, batch)
    for kind, side in ours.items():
        peer = files if isinstance(files, str) else _try(lambda kind=kind: LlamaCpp(files[kind], batch, ROOM))
        yield _line(what, kind, side, peer, f"llama.cpp, {kind}", LLAMA_CPP[batch], batch)
        if batch == 1:
            floor = speed / side.run.bytes_
            mine = 1 / min(side.seconds(STEPS) / STEPS for _ in range(ROUNDS))
            say = f"floor: {speed / 1e9:.1f} GB/s"
            yield row(f"decoding, {what}, {kind}", mine, floor, unit="tokens/s", against=say, aim=0.6)


def _line(what: str, kind: str, mine: Side, peer: Side | str, against: str, aim: float, batch: int) -> dict[str, Any]:
    title = f"decoding, {what}, {kind}"
    if isinstance(peer, str):
        return skipped(title, peer, against=against, aim=f"≥ {aim:g}")
    a, b = medians(*paired(lambda: mine.seconds(STEPS), lambda: peer.seconds(STEPS), ROUNDS))
    line = row(title, batch * STEPS / a, batch * STEPS / b, unit="tokens/s", against=against, aim=aim, why=WHY[kind])
    print(f"{title}, {against}: {line['ratio']}", file=sys.stderr, flush=True)
    return line


def _best(folder: Path, batch: int) -> tuple[Side, str]:
    """transformers in the dtype in which it is fastest here."""
    sides = {name: Transformers(folder, batch, getattr(torch, name)) for name in ("float32", "bfloat16", "float16")}
    name = min(sides, key=lambda one: sides[one].seconds(4))
    return sides[name], name


def _kept(model: danlu.models.Stack, kind: str) -> danlu.models.Stack:
    if kind == "bf16":
        return model.bfloat16()
    if kind in set(STORAGES):
        store(model, STORAGES[kind]())
    return model


def _bandwidth() -> float:
    """Bytes a second that one core reads, at best."""
    numbers = torch.ones(1 << 26)
    seconds = []
    for _ in range(8):
        start = time.process_time()
        numbers.sum()
        seconds.append(time.process_time() - start)
    return numbers.nbytes / min(seconds)


def _try(make: Callable[[], Any]) -> Any:
    """What is made, or why it could not be: a peer that is not installed must not hide the others."""
    try:
        return make()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def main() -> None:
    print(text(rows()))


if __name__ == "__main__":
    main()
