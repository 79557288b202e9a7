"""A training step of each family against transformers at equal shapes: the same directory, rows and AdamW.

Tokens a CPU second of one thread, A B A B; the peak of the tensors that torch's allocator held during one step, with
weights, gradients and optimizer. Both sides take the mean loss over the same targets: ours through danlu's chunked
cross-entropy, the peer's through its own ``labels``.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from table import medians, paired, row, skipped, text
from torch import Tensor, nn

VOCAB, ROWS, LENGTH, ROUNDS, CHUNK = 4096, 4, 256, 2, 1024
WIDE = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4, "num_attention_heads": 4}
LLAMA = {**WIDE, "num_key_value_heads": 2, "max_position_embeddings": LENGTH}
BERT = {**WIDE, "intermediate_size": 1024, "max_position_embeddings": LENGTH + 2} | {
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
T5 = {"d_model": 256, "d_ff": 1024, "d_kv": 64, "num_layers": 4, "num_heads": 4, "dropout_rate": 0.0}
MARIAN = {"d_model": 256, "encoder_layers": 4, "decoder_layers": 4, "encoder_attention_heads": 4} | {
    "decoder_attention_heads": 4, "encoder_ffn_dim": 1024, "decoder_ffn_dim": 1024, "max_position_embeddings": LENGTH,
    "dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "pad_token_id": 0, "decoder_start_token_id": 0,
}  # fmt: skip
NO_DROPOUT = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
GPT2 = {"n_embd": 256, "n_layer": 4, "n_head": 4, "n_positions": LENGTH, **NO_DROPOUT}
WHY = (
    "both sides spend nine tenths of a step in the same products and fused attention (torch's profiler, GPT-2); norms "
    "and activations are made again in backward, which saves the memory of the rows below and costs 7 % of GPT-2's "
    "step; a ratio wavers by 0.05 from run to run"
)
CAUSAL, MASKED, PAIRED = "AutoModelForCausalLM", "AutoModelForMaskedLM", "AutoModelForSeq2SeqLM"


@dataclass(frozen=True)
class Case:
    """A family as transformers builds it."""

    model_type: str
    auto: str
    settings: dict[str, Any]


CASES = [
    Case("gpt2", CAUSAL, GPT2),
    Case("llama", CAUSAL, LLAMA),
    Case("mistral", CAUSAL, {**LLAMA, "sliding_window": 128}),
    Case("mixtral", CAUSAL, {**LLAMA, "num_local_experts": 8, "intermediate_size": 256, "output_router_logits": True}),
    Case("qwen2", CAUSAL, LLAMA),
    Case("qwen3", CAUSAL, {**LLAMA, "head_dim": 64}),
    Case("bloom", CAUSAL, {"hidden_size": 256, "n_layer": 4, "n_head": 4}),
    Case("glm4", CAUSAL, {**LLAMA, "head_dim": 64, "pad_token_id": 0, "eos_token_id": 1}),
    Case("bert", MASKED, BERT),
    Case("roberta", MASKED, {**BERT, "pad_token_id": 1}),
    Case("albert", MASKED, {**BERT, "embedding_size": 128}),
    Case("t5", PAIRED, T5),
    Case("marian", PAIRED, MARIAN),
]


def rows() -> list[dict[str, Any]]:
    lines = [line for case in CASES for line in _case(case)]
    return [*lines, *_medians(lines)]


def _case(case: Case) -> list[dict[str, Any]]:
    """Speed and memory of one family, or a line that says why not."""
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            theirs, ours = _twins(case, Path(name))
    except Exception as error:  # one family must not hide the others
        return [
            skipped(f"{case.model_type}, training step", f"{type(error).__name__}: {error}", against="transformers")
        ]
    draw = torch.Generator().manual_seed(0)
    tokens, targets = (torch.randint(2, VOCAB, (ROWS, LENGTH), generator=draw) for _ in range(2))
    sides = (
        _stepping(theirs, _peer_loss(case, theirs, tokens, targets)),
        _stepping(ours, _own_loss(ours, tokens, targets)),
    )
    peer, own = sides
    _same(case, theirs, ours, tokens, targets)
    a, b = medians(*paired(lambda: _seconds(own), lambda: _seconds(peer), ROUNDS))
    m, n = _mib(ours, own), _mib(theirs, peer)
    count, against = ROWS * LENGTH, "transformers"
    speed = row(
        f"{case.model_type}, training step",
        count / a,
        count / b,
        unit="tokens/CPU s",
        against=against,
        aim=1.0,
        why=WHY,
    )
    memory = row(f"{case.model_type}, peak of tensors", m, n, unit="MiB", against=against, aim=1.0, lower=True)
    return [speed, memory]


def _medians(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The median of the families' speeds, whose aim is higher than each one's."""
    ratios = [line["ratio"] for line in lines if line["ratio"] and line["unit"] == "tokens/CPU s"]
    if not ratios:
        return []
    what = f"median of {len(ratios)} families, training step"
    return [row(what, statistics.median(ratios), 1.0, unit="× the peer", against="transformers", aim=1.1, why=WHY)]


def _twins(case: Case, folder: Path) -> tuple[nn.Module, nn.Module]:
    import transformers

    from danlu import load

    config = transformers.AutoConfig.for_model(case.model_type, vocab_size=VOCAB, **case.settings)
    torch.manual_seed(0)
    theirs = getattr(transformers, case.auto).from_config(config, attn_implementation=_kernel(case))
    theirs.save_pretrained(folder)
    return theirs.train(), load(folder)[0].train()


def _kernel(case: Case) -> str:
    """The fastest that transformers has for the family on a CPU."""
    return "eager" if case.model_type in ("bloom", "t5") else "sdpa"


def _peer_loss(case: Case, model: nn.Module, tokens: Tensor, targets: Tensor) -> Callable[[], Tensor]:
    if case.auto == CAUSAL:
        shifted = torch.cat([targets[:, :1], targets[:, :-1]], 1)  # transformers moves labels by one itself
        return lambda: model(input_ids=tokens, labels=shifted, use_cache=False).loss
    if case.auto == MASKED:
        return lambda: model(input_ids=tokens, labels=targets).loss
    return lambda: model(input_ids=tokens, decoder_input_ids=tokens, labels=targets, use_cache=False).loss


def _own_loss(model: Any, tokens: Tensor, targets: Tensor) -> Callable[[], Tensor]:
    from danlu.nn.layout import Layout
    from danlu.objectives import Loss, with_aside
    from danlu.objectives.chunked import cross_entropy

    causal = model.begin is None and "causal" in str(model.recipe.write().get("masks"))

    def loss() -> Tensor:
        layout = Layout.dense(tokens)
        if model.begin is not None:
            layout = replace(layout, memory=model.read(tokens, Layout.dense(tokens)))
        hidden = model.hidden(tokens, layout)
        flat, wanted = hidden.flatten(0, 1), targets.flatten()
        if causal:  # the peer's last position predicts nothing
            flat, wanted = hidden[:, :-1].flatten(0, 1), targets[:, :-1].flatten()
        total = cross_entropy(model.head, flat, wanted, torch.ones(len(wanted)), CHUNK)
        return with_aside(Loss(total, torch.tensor(float(len(wanted)))), layout).total / len(wanted)

    return loss


def _same(case: Case, theirs: nn.Module, ours: nn.Module, tokens: Tensor, targets: Tensor) -> None:
    """Both minimize the same: otherwise the figures would compare two things."""
    with torch.no_grad():
        a, b = _peer_loss(case, theirs, tokens, targets)(), _own_loss(ours, tokens, targets)()
    assert abs(a - b) < 1e-3, f"{case.model_type}: the losses differ, {a:.5f} and {b:.5f}"


def _stepping(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    return step


def _seconds(step: Callable[[], None]) -> float:
    """CPU seconds of a step: the best of two, after one that warms up."""
    step()
    found = []
    for _ in range(2):
        start = time.process_time()
        step()
        found.append(time.process_time() - start)
    return min(found)


def _mib(model: nn.Module, step: Callable[[], None]) -> float:
    """Weights, AdamW's two states, and the most that one more step held above them."""
    from danlu.plan import allocating

    for parameter in model.parameters():
        parameter.grad = None
    gc.collect()
    with allocating() as peak:
        step()
    return (3 * sum(p.nbytes for p in model.parameters()) + peak.bytes_) / 2**20


def main() -> None:
    print(text(rows()))


if __name__ == "__main__":
    main()
