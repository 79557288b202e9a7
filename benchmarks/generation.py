"""Cached generation against transformers.generate: the same LLaMA, prompt 128 + 128 tokens, fp32, greedy."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import danlu.models
from danlu.core.spec import Spec

LLAMA = {
    "use": "llama", "model": 512, "layers": 8, "heads": 8, "kv_heads": 2, "ffn": 1408, "context": 512, "tied": True,
}  # fmt: skip
VOCAB, PROMPT, NEW, PAIRS = 6400, 128, 128, 5


def rows() -> list[dict[str, Any]]:
    """Tokens a second end to end (prefill, packing and choosing included), medians of pairs run in turn."""
    model = danlu.models.build(Spec.read(LLAMA), vocab=VOCAB, seed=0).eval()
    with tempfile.TemporaryDirectory() as folder:
        peer = _peer(model, Path(folder) / "model")
    return [_row(model, peer, batch) for batch in (1, 8)]


def _peer(model: danlu.models.Decoder, folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    danlu.models.save(model, None, folder)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def _row(model: danlu.models.Decoder, peer: Any, batch: int) -> dict[str, Any]:
    prompts = torch.randint(0, VOCAB, (batch, PROMPT), generator=torch.Generator().manual_seed(1))
    ours, theirs = _ours(model, prompts), _theirs(peer, prompts)
    assert ours() == theirs(), "the two do not say the same"
    a, b = _paired(ours, theirs)
    rate = batch * NEW
    return {
        "name": f"generation, 25.8M LLaMA fp32, {PROMPT} + {NEW} tokens, batch {batch}",
        "ours": round(rate / a, 1), "peer": round(rate / b, 1), "ratio": round(b / a, 2), "unit": "tokens/s",
    }  # fmt: skip


def _ours(model: danlu.models.Decoder, prompts: torch.Tensor) -> Callable[[], list[list[int]]]:
    from danlu.infer import generate

    lists = prompts.tolist()
    return lambda: [
        list(one.tokens)
        for one in generate(model, _Plain(), lists, max_tokens=NEW, stop_ids=())  # type: ignore[arg-type]
    ]


def _theirs(peer: Any, prompts: torch.Tensor) -> Callable[[], list[list[int]]]:
    settings = {"do_sample": False, "max_new_tokens": NEW, "eos_token_id": None, "pad_token_id": 0}
    mask = torch.ones_like(prompts)

    def run() -> list[list[int]]:
        with torch.inference_mode():
            return peer.generate(prompts, attention_mask=mask, **settings)[:, PROMPT:].tolist()

    return run


def _paired(ours: Callable[[], Any], theirs: Callable[[], Any]) -> tuple[float, float]:
    """Median seconds of each, run A B A B."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(PAIRS):
        for run, spent in zip((ours, theirs), seconds, strict=True):
            start = time.perf_counter()
            run()
            spent.append(time.perf_counter() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


class _Plain:
    """Stands for a tokenizer where only ids are compared."""

    def decoder(self) -> _Plain:
        return self

    def push(self, token: int) -> str:
        return ""

    def flush(self) -> str:
        return ""


def main() -> None:
    for row in rows():
        print(f"{row['name']:<66} ours {row['ours']:>7} peer {row['peer']:>7} {row['unit']}  ratio {row['ratio']}")


if __name__ == "__main__":
    main()
