"""t5: SentencePiece's unigram model, which finds the spelling with the best sum of scores."""

from __future__ import annotations

import base64
from typing import Any

from tokenizers import Tokenizer as Backend

from . import VOCABULARIES, Vocabulary, pieces, steps_of

TRIMS = [
    {"type": "Replace", "pattern": {"Regex": pattern}, "content": content}
    for pattern, content in ((r"\A +| +\z", ""), (" {2,}", " "))
]


@VOCABULARIES.add("t5")
class SentencepieceUnigram(Vocabulary):
    """The spelling of a text whose pieces have the largest sum of scores; what no piece holds is unknown.

    Raises: DataError if a file's pieces are no SentencePiece vocabulary.
    Source: Kudo 2018, arXiv:1804.10959; ggml-org/llama.cpp, src/llama-vocab.cpp (llm_tokenizer_ugm).
    Truth:  tests/parity/test_gguf_vocabularies.py (ids of llama.cpp on texts of many scripts).
    """

    def __init__(self) -> None:
        self._unknown: str | None = None

    def refuses(self, description: dict[str, Any]) -> str | None:
        model = description["model"]
        if model.get("type") != "Unigram" or model.get("unk_id") is None:
            return "it is no unigram model with an unknown piece"
        if model.get("byte_fallback"):
            return "it spells rare letters by bytes, which llama.cpp leaves unknown in unigram vocabularies"
        allowed = (pieces.SPACED, *pieces.PREPENDED, *TRIMS)
        shapes = steps_of(description["normalizer"], "normalizers")
        if not pieces.spaced(description) or any(s not in allowed and s["type"] != "Precompiled" for s in shapes):
            return "it changes text before it is cut"
        steps = steps_of(description["pre_tokenizer"], "pretokenizers")
        if not all(pieces.known(step) or step.get("behavior") == "Isolated" for step in steps):
            return "it cuts words before it spells them, which llama.cpp does not"
        self._unknown = model["vocab"][model["unk_id"]][0]
        return None

    def fields(self, tokenizer: Any) -> dict[str, Any]:
        shapes = steps_of(tokenizer.description["normalizer"], "normalizers")
        maps = [step["precompiled_charsmap"] for step in shapes if step["type"] == "Precompiled"]
        return {
            "pre": "default",
            "add_space_prefix": pieces.prefixed(tokenizer.description),
            "remove_extra_whitespaces": any(step in TRIMS for step in shapes),
            **({"precompiled_charsmap": base64.b64decode(maps[0])} if maps else {}),
        }

    def backend(self, said: dict[str, Any]) -> Backend:
        return pieces.opened(said, "unigram")

    def scores(self, description: dict[str, Any], texts: list[str]) -> list[float]:
        scores = dict(description["model"]["vocab"])
        return [float(scores.get(text, 0.0)) for text in texts]

    def type_of(self, text: str, type_: int) -> int:
        return pieces.type_of(text, type_, self._unknown)
