"""The whole engine against transformers.generate: decoding, requests of mixed length end to end, the first token.

One thread, CPU seconds, A B A B in one process. transformers answers in the dtype in which it is fastest here; requests
of mixed length go to it in one padded batch, and it stops when the longest is done.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from engine import SHAPES, WHY, _best, _kept, shapes
from engine_peers import PROMPT, Side, Transformers
from table import medians, paired, row, text

import danlu.models
from danlu.core.spec import Spec
from danlu.infer.engine import Engine
from danlu.infer.request import Request
from danlu.infer.sampling import Sampling
from danlu.infer.settings import EngineSettings
from danlu.plan.kv import kv_bytes

NEW, ROUNDS = 128, 3
AIMS = {("bf16", 1): 2.5, ("int8", 1): 5.0, ("int4", 1): 6.0, ("fp32", 8): 3.0, ("int8", 8): 3.0}
MIXED = 4.0


class Silent:
    """Stands for a tokenizer where only ids are compared."""

    stops: tuple[int, ...] = ()
    special_ids: frozenset[int] = frozenset()

    def spoken(self, token: int, first: bool) -> bytes:
        return b""


class Ours(Side):
    """Decoding steps of the engine, scheduling and choosing included."""

    def __init__(self, model: danlu.models.Stack, batch: int) -> None:
        self.model, self.batch = model, batch
        self.prompts = torch.randint(3, 6000, (batch, PROMPT), generator=torch.Generator().manual_seed(1)).tolist()

    def seconds(self, steps: int) -> float:
        engine = _engine(self.model, rows=self.batch)
        for ids in self.prompts:
            engine.submit(_request(ids, steps + 1))
        spoke = 0
        while spoke < self.batch:  # prompts, and the first token of each
            spoke += len(engine.step())
        start = time.process_time()
        while engine.busy:
            engine.step()
        return time.process_time() - start


def rows() -> list[dict[str, Any]]:
    torch.set_num_threads(1)
    return [*_decoding(), *_mixed(), *_first_token(), _keys()]


def _decoding() -> Iterator[dict[str, Any]]:
    for name in shapes():
        settings, vocab = SHAPES[name]
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / "model"
            danlu.models.save(_model(settings, vocab), None, folder)
            for batch in (1, 8):
                peer, dtype = _best(folder, batch)
                for kind in [kind for kind, rows_ in AIMS if rows_ == batch]:
                    ours = Ours(_kept(_model(settings, vocab), kind), batch)
                    yield _beside(
                        f"{name} LLaMA, {kind}, batch {batch}", ours, peer, dtype, AIMS[kind, batch], WHY[kind]
                    )


def _beside(what: str, ours: Ours, peer: Side, dtype: str, aim: float, why: str) -> dict[str, Any]:
    a, b = medians(*paired(lambda: ours.seconds(NEW), lambda: peer.seconds(NEW), ROUNDS))
    what, against = f"engine, decoding {PROMPT} + {NEW}, {what}", f"transformers.generate, {dtype}"
    line = row(what, ours.batch * NEW / a, ours.batch * NEW / b, unit="tokens/s", against=against, aim=aim, why=why)
    _tell(line)
    return line


def _mixed() -> list[dict[str, Any]]:
    """Sixteen requests of 16 to 256 tokens that want 16 to 128 new ones, all at once."""
    settings, vocab = SHAPES["25.8M"]
    draw = random.Random(0)
    asked = [(draw.randint(16, 256), draw.randint(16, 128)) for _ in range(16)]
    prompts = [[draw.randrange(3, 6000) for _ in range(size)] for size, _ in asked]
    tokens = sum(new for _, new in asked)
    plain = _model(settings, vocab)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        danlu.models.save(plain, None, folder)
        peer = Transformers(folder, 1, torch.float32).model
    width = max(map(len, prompts))
    padded = torch.tensor([[0] * (width - len(ids)) + ids for ids in prompts])
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompts])

    @torch.inference_mode()
    def theirs() -> float:
        start = time.process_time()
        more = max(new for _, new in asked)
        peer.generate(
            padded, attention_mask=mask, do_sample=False, max_new_tokens=more, eos_token_id=None, pad_token_id=0
        )
        return time.process_time() - start

    found = []
    for kind in ("fp32", "int8"):
        model = _kept(_model(settings, vocab), kind)

        def ours(model: danlu.models.Stack = model) -> float:
            start = time.process_time()
            engine = _engine(model, rows=16)
            for ids, (_, new) in zip(prompts, asked, strict=True):
                engine.submit(_request(ids, new))
            while engine.busy:
                engine.step()
            return time.process_time() - start

        a, b = medians(*paired(ours, theirs, ROUNDS))
        what = f"engine, 16 requests of mixed length end to end, 25.8M LLaMA, {kind}"
        against, why = (
            "transformers.generate, fp32",
            "reading prompts is the same products on both sides: 2.1 of our 5 s",
        )
        found.append(row(what, tokens / a, tokens / b, unit="tokens/s", against=against, aim=MIXED, why=why))
        _tell(found[-1])
    return found


def _first_token() -> list[dict[str, Any]]:
    """A prompt of 384 tokens comes while eight rows decode: whole at once against chunks of 64."""
    settings, vocab = SHAPES["25.8M"]
    model = _model(settings, vocab)
    draw = random.Random(1)

    def waited(budget: int) -> tuple[float, float]:
        """Seconds until its first token, and the longest its neighbors waited for one of theirs."""
        engine = _engine(model, rows=9, budget=budget)
        for _ in range(8):
            engine.submit(_request([draw.randrange(3, 6000) for _ in range(PROMPT)], 64))
        spoke = 0
        while spoke < 8:
            spoke += len(engine.step())
        late = engine.submit(_request([draw.randrange(3, 6000) for _ in range(384)], 4))
        start, slowest, said = time.process_time(), 0.0, False
        while not said:
            begun = time.process_time()
            said = any(event.number == late for event in engine.step())
            slowest = max(slowest, time.process_time() - begun)
        return time.process_time() - start, slowest

    chunks, whole = [waited(72) for _ in range(ROUNDS)], [waited(512) for _ in range(ROUNDS)]
    first = medians([one for one, _ in chunks], [one for one, _ in whole])
    stall = medians([one for _, one in chunks], [one for _, one in whole])
    what = "engine, a prompt of 384 tokens beside 8 decoding rows, chunks of 64: "
    against = "the prompt in one piece"
    return [
        row(what + "its first token after", *first, unit="s", against=against, aim=2.0, lower=True),
        row(what + "the longest step of its neighbors", *stall, unit="s", against=against, aim=0.5, lower=True),
    ]


def _keys() -> dict[str, Any]:
    settings, vocab = SHAPES["25.8M"]
    engine = _engine(_model(settings, vocab), rows=8)
    blocks, size = engine.stats.blocks, engine.stats.block_size
    dims = engine.model.dims
    planned = kv_bytes(layers=dims.layers, kv_heads=dims.kv_heads, head=dims.head, tokens=blocks * size)
    what = f"engine, memory of keys, {blocks} blocks of {size} tokens"
    return row(
        what, engine.forward.pages.bytes_ / 1e6, planned / 1e6, unit="MB", against="the planner", aim=1.0, lower=True
    )


def _model(settings: dict[str, Any], vocab: int) -> danlu.models.Stack:
    return danlu.models.build(Spec.read({**settings, "context": 512}), vocab=vocab, seed=0).eval()


def _engine(model: danlu.models.Stack, **settings: Any) -> Engine:
    return Engine(model, Silent(), settings=EngineSettings(rounded=True, **settings))  # type: ignore[arg-type]


def _request(ids: list[int], new: int) -> Request:
    return Request(prompt=tuple(ids), sampling=Sampling(max_tokens=new, stop_ids=()))


def _tell(line: dict[str, Any]) -> None:
    print(f"{line['what']}: {line['ratio']} ({line['against']})", file=sys.stderr, flush=True)


def main() -> None:
    print(text(rows()))


if __name__ == "__main__":
    main()
