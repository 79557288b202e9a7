"""AdapterDrop against the same bottlenecks in every layer: a training step and reading, on a LLaMA of 12 layers.

python benchmarks/adapter_drop.py            the table; seconds are the process's own (CPU time), one thread

A step of frozen weights is forward (F) and the gradient of activations (F): without the first n of L layers it takes
F + F (L - n) / L.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from table import medians, paired, row, text

LAYERS, ROWS, LENGTH, VOCAB, ROUNDS = 12, 4, 128, 1024, 5
LLAMA = {"use": "llama", "model": 384, "layers": LAYERS, "heads": 6, "ffn": 1024, "context": LENGTH}
INNER = {"use": "houlsby", "width": 48}


def rows() -> list[dict[str, Any]]:
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    every = _model(0)
    lines = []
    for first in (3, 6, 9):
        fewer, expected = _model(first), 2 / (2 - first / LAYERS)
        whole, part = medians(*paired(lambda: _step(every), lambda model=fewer: _step(model), ROUNDS))
        lines.append(_row(f"step, {first} of {LAYERS} layers without", whole, part, 0.9 * expected))
    whole, part = medians(*paired(lambda: _read(every), lambda: _read(fewer), 5 * ROUNDS))
    return [*lines, _row(f"reading, {first} of {LAYERS} layers without", whole, part, 1.0)]


def _row(what: str, whole: float, part: float, aim: float) -> dict[str, Any]:
    """Speeds, from seconds."""
    return row(what, 1 / part, 1 / whole, unit="steps/CPU s", against="adapters in every layer", aim=aim)


def _model(first: int) -> Any:
    from danlu.core.spec import Spec
    from danlu.models import build
    from danlu.peft.attached import attach

    model = build(Spec.read(LLAMA), vocab=VOCAB).train()
    attach(model, Spec("drop", {"adapter": INNER, "first": first}))
    return model


def _tokens() -> Any:
    import torch

    return torch.randint(0, VOCAB, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))


def _step(model: Any) -> float:
    from torch.nn.functional import cross_entropy

    tokens, begin = _tokens(), time.process_time()
    cross_entropy(model(tokens).flatten(0, 1), tokens.flatten()).backward()
    return time.process_time() - begin


def _read(model: Any) -> float:
    import torch

    tokens, begin = _tokens(), time.process_time()
    with torch.no_grad():
        model.hidden(tokens)
    return time.process_time() - begin


if __name__ == "__main__":
    print(text([{"benchmark": "adapter_drop", **line} for line in rows()]))
