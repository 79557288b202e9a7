"""Ways of keeping keys: bytes a token, CPU seconds of a decoded token, and the time to a first token from disk.

25.8M LLaMA (2 key-value heads of 64), fp32, one thread; medians of CPU seconds.  ``python benchmarks/caches.py``
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch

import danlu.models
from danlu.core.spec import Spec
from danlu.infer.engine import Engine
from danlu.infer.prompt_cache import PromptCache
from danlu.infer.request import Request
from danlu.infer.sampling import Sampling
from danlu.infer.settings import EngineSettings
from danlu.nn.model import Model

LLAMA = {
    "use": "llama", "model": 512, "layers": 8, "heads": 8, "kv_heads": 2, "ffn": 1408, "context": 2048, "tied": True,
}  # fmt: skip
CACHES = ["plain", "int8", {"use": "kivi", "bits": 4}, {"use": "kivi", "bits": 2}]
VOCAB, PROMPT, NEW, ROUNDS = 6400, 1024, 64, 3


class Plain:
    """Stands for a tokenizer where only ids are compared."""

    stops: tuple[int, ...] = ()
    special_ids: frozenset[int] = frozenset()

    def spoken(self, token: int, first: bool) -> bytes:
        return b""


def cpu(run: Any) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def first_token(engine: Engine, prompt: list[int]) -> float:
    """CPU seconds from the request to its first event."""

    def wait() -> None:
        engine.submit(Request(prompt=tuple(prompt), sampling=Sampling(max_tokens=NEW, stop_ids=())))
        while not engine.step():
            pass

    return cpu(wait)


def rest(engine: Engine) -> float:
    """CPU seconds of a token after the first."""

    def go() -> None:
        while engine.busy:
            engine.step()

    return cpu(go) / (NEW - 1)


def decoding(model: Model, tokenizer: Any, prompt: list[int]) -> Iterator[str]:
    for cache in CACHES:
        seconds = []
        for _ in range(ROUNDS):
            engine = Engine(model, tokenizer, settings=EngineSettings(rows=4, cache=cache))
            first_token(engine, prompt)
            seconds.append(rest(engine))
        pages = engine.forward.pages
        bytes_ = (pages.bytes_ - pages.twin(1).bytes_) / (pages.blocks - 1) / pages.size
        yield f"{cache!s:32} {bytes_:8.0f} bytes a token of the pool  {1e3 * median(seconds):7.2f} ms a token"


def starting(model: Model, tokenizer: Any, prompt: list[int], folder: Path) -> Iterator[str]:
    """The first token of a prompt of which all but a few tokens are known: read, from disk, in the pool."""
    asked = [[*prompt[:-8], *range(20 * n, 20 * n + 8)] for n in range(1, 4)]
    for cache in ("plain", "int8"):
        settings = EngineSettings(rows=4, cache=cache)
        kept = folder / cache
        engine = Engine(model, tokenizer, settings=settings)
        stored = PromptCache(kept, engine)
        read = first_token(engine, asked[0])
        rest(engine)
        pool = first_token(engine, asked[1])
        rest(engine)
        stored.write()
        seconds = []
        for _ in range(ROUNDS):
            anew = Engine(model, tokenizer, settings=settings)
            PromptCache(kept, anew)
            seconds.append(first_token(anew, asked[2]))
            rest(anew)
        size = sum(file.stat().st_size for file in kept.iterdir()) / 2**20
        told = f"{1e3 * read:.0f} ms read, {1e3 * median(seconds):.0f} ms from disk, {1e3 * pool:.0f} ms in the pool"
        yield f"{cache}: first token of {PROMPT} after {told}; {size:.1f} MiB on disk"


def main() -> None:
    torch.set_num_threads(1)
    model = danlu.models.build(Spec.read(LLAMA), vocab=VOCAB, seed=0).eval()
    prompt = torch.randint(300, VOCAB, (PROMPT,), generator=torch.Generator().manual_seed(1)).tolist()
    tokenizer: Any = Plain()
    for line in decoding(model, tokenizer, prompt):
        print(line, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for line in starting(model, tokenizer, prompt, Path(folder)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
