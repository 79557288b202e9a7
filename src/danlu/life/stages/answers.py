"""What fine-tuning does to the loss on held-out answers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ... import assembly
from ...core.errors import CheckpointError, DataError
from ...infer import Local
from ..folder import LifeFolder
from ..jsonl import read_rows
from ..report.page import paragraph, table
from . import STAGES, Figures, Stage


@STAGES.add("answers")
class AnswersStage(Stage):
    """The loss on the answers of held-out conversations, of several models on the same tokens.

    loss = - Σ weight · ln p(token | all before it) / Σ weight, in nats a token; the weights are the chat template's:
    1 on answers and their end of turn. Conversations longer than the context are left out and counted.

    Raises: DataError if no conversation fits the context.
    Source: the masked loss of instruction tuning; Ouyang et al. 2022, arXiv:2203.02155, §3.5.
    Truth:  tests/life/test_life_stages.py (equal to the model's own logits, summed by hand).
    """

    title = ("Held-out answers: loss before and after fine-tuning", "留出回答：微调前后的损失")

    def __init__(self, *, models: list[str], conversations: str = "corpus/instructions_held_out.jsonl") -> None:
        self.models, self.conversations = models, conversations

    def reads(self, life: LifeFolder) -> list[str]:
        return [*self.models, self.conversations]

    def run(self, life: LifeFolder, folder: Path) -> Figures:
        rows = list(read_rows(life.place(self.conversations)))
        return {name: answer_loss(_local(life, name), rows, self.conversations) for name in self.models}

    def line(self, figures: Figures) -> str:
        return " → ".join(f"{name} {found['loss']:.3f}" for name, found in figures.items()) + " nats an answer token"

    def section(self, life: LifeFolder, folder: Path, figures: Figures) -> str:
        rows = [
            [n, f"{f['loss']:.4f}", f"{f['tokens']:,}", f["conversations"], f["left_out"]] for n, f in figures.items()
        ]
        head = [
            "model · 模型",
            "nats a token · 损失",
            "answer tokens · 回答词元",
            "conversations · 对话",
            "too long · 过长",
        ]
        return paragraph("Only answers count; the questions are read.", "只计回答部分的损失。") + table(head, rows)


def answer_loss(local: Local, rows: list[dict[str, Any]], where: str) -> dict[str, Any]:
    """Weighted mean loss, and how many tokens and conversations it is of."""
    rendered = [local.tokenizer.template.render(row["messages"]) for row in rows]
    fitting = [r for r in rendered if len(r.tokens) <= local.context]
    if not fitting:
        raise DataError(
            f"no conversation fits the context of {local.context} tokens; raise architecture.context", file=where
        )
    scores = local.score([(r.tokens[:1], r.tokens[1:]) for r in fitting])
    pairs = [pair for r, s in zip(fitting, scores, strict=True) for pair in zip(r.weights[1:], s.logprobs, strict=True)]
    weight = math.fsum(w for w, _ in pairs)
    return {
        "loss": -math.fsum(w * logprob for w, logprob in pairs) / weight,
        "tokens": sum(w > 0 for w, _ in pairs),
        "conversations": len(fitting),
        "left_out": len(rendered) - len(fitting),
    }


def _local(life: LifeFolder, name: str) -> Local:
    model, tokenizer = assembly.load(life.place(name) / "final")
    if tokenizer is None:
        raise CheckpointError(f"{name}/final: holds no tokenizer; train the stage again")
    return Local(model, tokenizer)
