"""Transformers: the model directory as its own classes open it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ...core.errors import CheckpointError, MissingExtra
from . import Answer, Consumer


class Transformers(Consumer):
    """A model directory opened by AutoModelForCausalLM and AutoTokenizer, in ``dtype``.

    Raises: MissingExtra without the library, CheckpointError with its words if it does not open the directory.
    """

    name = "transformers"

    def __init__(self, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> None:
        try:
            import transformers
        except ImportError:
            raise MissingExtra("transformers", "verify", "comparing with transformers") from None
        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(str(folder))
            opened: Any = transformers.AutoModelForCausalLM.from_pretrained(str(folder), dtype=dtype)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, AssertionError) as error:
            reason = str(error).strip().split("\n")[0][:300]
            raise CheckpointError(f"{folder}: transformers does not open it: {reason}") from None
        self._model = opened.eval()

    def ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text)["input_ids"])

    @torch.inference_mode()
    def answer(self, prompt: Sequence[int], steps: int) -> Answer:
        tokens: list[int] = []
        laws = []
        while len(tokens) < steps and not (tokens and self.stops(tokens[-1])):
            logits = self._model(torch.tensor([[*prompt, *tokens]]), use_cache=False).logits[0, -1].float()
            laws.append((torch.arange(len(logits)), logits.log_softmax(-1)))
            tokens.append(int(logits.argmax()))
        return Answer(tokens, laws)

    def conversation(self, messages: Sequence[Mapping[str, str]]) -> str:
        rows = [dict(message) for message in messages]
        return self._tokenizer.apply_chat_template(rows, tokenize=False, add_generation_prompt=True)

    def stops(self, token: int) -> bool:
        ends = self._model.generation_config.eos_token_id
        return token in (ends if isinstance(ends, list) else [ends])

    def close(self) -> None:
        del self._model
