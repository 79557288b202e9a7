"""An exported model in danlu and in its consumer: ids, laws, greedy text, conversations and stops compared."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import CheckpointError, DataError
from ..nn.model import Model
from ..tokenize import Tokenizer
from .consumers import Answer, Consumer

TEXTS = (
    "The quick brown fox jumps over the lazy dog.",
    "It's 1984: we'll pay $3,141.59 (or 2,7 %) for them, they've said!",
    "  two spaces before,   three between, and a tail \n\n\tof tabs\n",
    'def f(x: int) -> str:\n    return f"{x!r:>10}"  # 注释\n',
    "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "東京は日本の首都です。한국어도 씁니다.",
    "Größe, naïveté, Łódź, ñandú; Привет, мир; γειά σου; שלום; مرحبا",
    "नमस्ते दुनिया · สวัสดี · 👩🏽‍💻🚀 é",
)
"""What ids are compared on: words, numbers, spaces, code and many scripts."""
CONVERSATIONS = (
    [{"role": "user", "content": "Who are you?"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
    [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "Three?"},
    ],
)
LIKELY = -12.0
"""Log-probability from which a token counts: what is rarer is nobody's choice."""
TIE = 1e-3
"""Nats by which a choice may be worse than ours at least, whatever the laws: a tie."""


@dataclass(frozen=True)
class Agreement:
    """How the consumer's laws differ from ours, and what else was compared.

    ``apart`` is the largest difference of log-probabilities of likely tokens, in nats; ``share`` the root mean square
    of all differences as a share of the spread of ours. At ``same`` of ``steps`` steps both choose the same token.
    """

    consumer: str
    apart: float
    share: float
    same: int
    steps: int
    texts: int
    conversations: int
    stops: int

    def __str__(self) -> str:
        return (
            f"{self.consumer}: {self.texts} texts have the same ids, {self.conversations} conversations the same text, "
            f"{self.stops} tokens end an answer; the same token is chosen at {self.same} of {self.steps} steps, "
            f"log-probabilities are at most {self.apart:.2g} apart ({self.share:.2%} of their spread)"
        )


def agreement(
    consumer: Consumer,
    model: Model,
    tokenizer: Tokenizer,
    prompt: str,
    *,
    steps: int = 24,
    tolerance: float,
    stops: Collection[int],
    texts: Sequence[str] = TEXTS,
) -> Agreement:
    """Raises CheckpointError naming the first difference; ``tolerance`` is of laws, as a share of
    the spread of log-probabilities."""
    for text in texts:
        _same_ids(consumer, tokenizer, text)
    told = sum(_same_conversation(consumer, tokenizer, rows) for rows in CONVERSATIONS if tokenizer.template.exists)
    if missing := sorted(token for token in stops if not consumer.stops(token)):
        spelled = ", ".join(f"{tokenizer.piece(token)!r}" for token in missing)
        raise CheckpointError(f"{consumer.name} does not stop at {spelled}, which ends answers of this model")
    ids = (tokenizer.encode(prompt, special=True) or [0])[: model.dims.context - 1]
    steps = min(steps, model.dims.context - len(ids))
    answer = consumer.answer(ids, steps)
    apart, share, same = _compared(consumer.name, answer, _laws(model, ids, answer.tokens), tolerance)
    counts = len(texts), told, len(stops)
    return Agreement(consumer.name, apart, share, same, len(answer.tokens), *counts)


def opening(tokenizer: Tokenizer) -> str:
    """The bos that is put before every text, so that a template need not write it; "" if none is."""
    added = tokenizer.bos is not None and tokenizer.encode("a", special=True)[:1] == [tokenizer.bos]
    return (tokenizer.profile.bos or "") if added else ""


def _same_ids(consumer: Consumer, tokenizer: Tokenizer, text: str) -> None:
    ours, theirs = tokenizer.encode(text, special=True), consumer.ids(text)
    if ours != theirs:
        at = next(
            (n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs))
        )
        raise CheckpointError(
            f"{consumer.name} gives other ids than danlu for {text!r}, from token {at + 1} on "
            f"({theirs[at : at + 5]}, not {ours[at : at + 5]}); export it as hf, or take the tokenizer of its family"
        )


def _same_conversation(consumer: Consumer, tokenizer: Tokenizer, rows: Sequence[dict[str, str]]) -> bool:
    """Whether there was anything to compare: a template may refuse some conversations."""
    try:
        ours = tokenizer.template.text(rows, prompt=True)
    except DataError:
        return False
    bos, theirs = opening(tokenizer), consumer.conversation(rows)
    if theirs.removeprefix(bos) != ours.removeprefix(bos):
        raise CheckpointError(f"{consumer.name} makes another text of a conversation: {theirs!r}, not {ours!r}")
    return True


@torch.inference_mode()
def _laws(model: Model, prompt: list[int], tokens: list[int]) -> Tensor:
    """Our log-probabilities at each step of another's answer.  (steps, V)."""
    rows = torch.tensor([[*prompt, *tokens[:-1]]], device=next(model.parameters()).device)
    return model(rows)[0, len(prompt) - 1 :].float().log_softmax(-1).cpu()


def _compared(name: str, answer: Answer, ours: Tensor, tolerance: float) -> tuple[float, float, int]:
    """Nats, share of the spread, equal choices; every choice must be ours, or as good within the difference of laws."""
    told = [(law[1], row[law[0]]) for law, row in zip(answer.laws, ours, strict=True) if law is not None]
    share = max((float((a - b).square().mean().sqrt() / b.std()) for a, b in told), default=0.0)
    if not share <= tolerance:
        raise CheckpointError(
            f"{name} computes another law of the next token than danlu: apart by {share:.2%} of the spread of "
            f"log-probabilities, where rounding explains {tolerance:.2%}"
        )
    apart = max((float((a - b)[a > LIKELY].abs().max()) for a, b in told), default=0.0)
    worse = [float(row.max() - row[token]) for token, row in zip(answer.tokens, ours, strict=True)]
    if wrong := [step for step, nats in enumerate(worse, 1) if nats > max(TIE, 2 * apart)]:
        raise CheckpointError(f"{name} goes on with another text than danlu, from token {wrong[0]} on")
    return apart, share, sum(nats == 0 for nats in worse)
