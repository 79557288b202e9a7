"""llama: SentencePiece's BPE, which joins the neighbors whose union has the best score."""

from __future__ import annotations

from typing import Any

from tokenizers import Tokenizer as Backend

from ...pieces import BYTE_PIECE
from ...spm_convert import merges_of
from . import VOCABULARIES, Vocabulary, pieces, steps_of


@VOCABULARIES.add("llama")
class SentencepieceBpe(Vocabulary):
    """Any two neighbors that make a piece are joined, best score first, whatever merges were learned.

    score of a piece = -(the place of its first merge);  a letter that is no piece is spelled by its bytes.
    Raises: DataError if a file's pieces are no SentencePiece vocabulary.
    Source: Kudo and Richardson 2018, arXiv:1808.06226; ggml-org/llama.cpp, src/llama-vocab.cpp (llm_tokenizer_spm).
    Truth:  tests/parity/test_gguf_vocabularies.py (ids of llama.cpp on texts of many scripts).
    """

    def __init__(self) -> None:
        self._unknown: str | None = None

    def refuses(self, description: dict[str, Any]) -> str | None:
        model = description["model"]
        if model.get("type") != "BPE" or not model.get("byte_fallback"):
            return "it is no BPE with bytes for rare letters"
        shapes = steps_of(description["normalizer"], "normalizers")
        if not pieces.spaced(description) or any(s != pieces.SPACED and s not in pieces.PREPENDED for s in shapes):
            return "it changes text before it is cut"
        if not all(map(pieces.known, steps_of(description["pre_tokenizer"], "pretokenizers"))):
            return "it cuts words before it joins letters, which llama.cpp does not"
        learned = _ranks(model)
        if set(merges_of(_scores(model, learned))) != set(learned):
            return "its merges are not all that its pieces allow"
        self._unknown = model.get("unk_token")
        return None

    def fields(self, tokenizer: Any) -> dict[str, Any]:
        return {"pre": "default", "add_space_prefix": pieces.prefixed(tokenizer.description)}

    def backend(self, said: dict[str, Any]) -> Backend:
        return pieces.opened(said, "bpe")

    def scores(self, description: dict[str, Any], texts: list[str]) -> list[float]:
        model = description["model"]
        scores = _scores(model, _ranks(model))
        return [scores.get(text, 0.0) for text in texts]

    def type_of(self, text: str, type_: int) -> int:
        return pieces.type_of(text, type_, self._unknown)


def _ranks(model: dict[str, Any]) -> dict[tuple[str, str], int]:
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    return {(left, right): rank for rank, (left, right) in enumerate(merges)}


def _scores(model: dict[str, Any], ranks: dict[tuple[str, str], int]) -> dict[str, float]:
    """Of pieces that text can be made of: by first merges, letters after all."""
    first: dict[str, int] = {}
    for (left, right), rank in ranks.items():
        first.setdefault(left + right, rank)
    last = len(ranks)
    letters = {text for text in model["vocab"] if len(text) == 1} | {half for pair in ranks for half in pair}
    spoken = [text for text in model["vocab"] if text in first or (text in letters and not BYTE_PIECE.match(text))]
    return {text: -float(first.get(text, last)) for text in spoken}
