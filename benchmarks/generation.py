"""Cached generation against transformers.generate: the same LLaMA, prompt 128 + 128 tokens, fp32, greedy."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from table import medians, paired, row, text

import danlu.models
from danlu.core.spec import Spec
from danlu.infer import generate

LLAMA = {
    "use": "llama", "model": 512, "layers": 8, "heads": 8, "kv_heads": 2, "ffn": 1408, "context": 512, "tied": True,
}  # fmt: skip
VOCAB, PROMPT, NEW, ROUNDS = 6400, 128, 128, 3
AIM = 1.1


def rows() -> list[dict[str, Any]]:
    """Tokens a second end to end: prefill, laying out the weights and choosing included."""
    model = danlu.models.build(Spec.read(LLAMA), vocab=VOCAB, seed=0).eval()
    with tempfile.TemporaryDirectory() as folder:
        peer = _peer(model, Path(folder) / "model")
    return [_row(model, peer, batch) for batch in (1, 8)]


def _peer(model: danlu.models.Stack, folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    danlu.models.save(model, None, folder)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def _row(model: danlu.models.Stack, peer: Any, batch: int) -> dict[str, Any]:
    prompts = torch.randint(0, VOCAB, (batch, PROMPT), generator=torch.Generator().manual_seed(1))
    ours, theirs = _ours(model, prompts), _theirs(peer, prompts)
    assert ours() == theirs(), "the two do not say the same"
    a, b = medians(*paired(lambda: _seconds(ours), lambda: _seconds(theirs), ROUNDS))
    what = f"generating {PROMPT} + {NEW} tokens, 25.8M LLaMA, fp32, batch {batch}"
    return row(what, batch * NEW / a, batch * NEW / b, unit="tokens/s", against="transformers.generate", aim=AIM)


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _ours(model: danlu.models.Stack, prompts: torch.Tensor) -> Callable[[], list[list[int]]]:
    lists, plain = prompts.tolist(), _Plain()
    return lambda: [
        list(one.tokens)
        for one in generate(model, plain, lists, max_tokens=NEW, stop_ids=())  # type: ignore[arg-type]
    ]


def _theirs(peer: Any, prompts: torch.Tensor) -> Callable[[], list[list[int]]]:
    settings = {"do_sample": False, "max_new_tokens": NEW, "eos_token_id": None, "pad_token_id": 0}
    mask = torch.ones_like(prompts)

    def run() -> list[list[int]]:
        with torch.inference_mode():
            return peer.generate(prompts, attention_mask=mask, **settings)[:, PROMPT:].tolist()

    return run


class _Plain:
    """Stands for a tokenizer where only ids are compared."""

    stops: tuple[int, ...] = ()
    special_ids: frozenset[int] = frozenset()

    def spoken(self, token: int, first: bool) -> bytes:
        return b""


def main() -> None:
    print(text(rows()))


if __name__ == "__main__":
    main()
