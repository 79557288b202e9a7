"""llama.cpp by its Python binding llama-cpp-python, in this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ...core.errors import CheckpointError
from . import Answer, Consumer


class LlamaPython(Consumer):
    """A GGUF file opened by llama-cpp-python, keys and values in full precision.

    Raises: CheckpointError if it does not open the file.
    """

    name = "llama.cpp"

    def __init__(self, path: str | Path, context: int, *, threads: int = 1) -> None:
        import llama_cpp  # pyright: ignore[reportMissingImports]

        self._library: Any = llama_cpp
        whole = {"type_k": 0, "type_v": 0, "flash_attn": False, "logits_all": True, "n_gpu_layers": 0}
        alone = {"n_threads": threads, "n_threads_batch": threads, "verbose": False}
        try:
            self._llama: Any = llama_cpp.Llama(str(path), n_ctx=context, **whole, **alone)
        except (ValueError, AssertionError) as error:
            raise CheckpointError(f"{path}: llama.cpp does not open it: {error}") from None

    def ids(self, text: str) -> list[int]:
        return self._llama.tokenize(text.encode(), add_bos=True, special=True)

    def answer(self, prompt: Sequence[int], steps: int) -> Answer:
        tokens: list[int] = []
        laws = []
        while len(tokens) < steps and not (tokens and self.stops(tokens[-1])):
            self._llama.reset()
            self._llama.eval([*prompt, *tokens])
            law = torch.tensor(self._llama.scores[self._llama.n_tokens - 1]).float().log_softmax(-1)
            laws.append((torch.arange(len(law)), law))
            tokens.append(int(law.argmax()))
        return Answer(tokens, laws)

    def conversation(self, messages: Sequence[Mapping[str, str]]) -> str:
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter  # pyright: ignore[reportMissingImports]

        llama, said = self._llama, self._llama.metadata
        texts = {end: llama.detokenize([token], special=True).decode() for end, token in self._ends().items()}
        template = Jinja2ChatFormatter(said["tokenizer.chat_template"], texts["eos"], texts["bos"])
        return template(messages=[dict(message) for message in messages]).prompt  # type: ignore[arg-type]

    def stops(self, token: int) -> bool:
        return bool(self._library.llama_vocab_is_eog(self._llama._model.vocab, token))

    def close(self) -> None:
        self._llama.close()

    def _ends(self) -> dict[str, int]:
        return {"eos": self._llama.token_eos(), "bos": self._llama.token_bos()}
