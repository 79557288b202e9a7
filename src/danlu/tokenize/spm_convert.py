"""A SentencePiece vocabulary as an engine of the ``tokenizers`` library, with the same ids."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from .pieces import SPACE
from .spm import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, SpmModel


def convert(model: SpmModel) -> Tokenizer:
    """The engine: ids are the places of the pieces, normalization and the leading space as the model says."""
    engine = Tokenizer(_bpe(model) if model.kind == "bpe" else _unigram(model))
    if steps := _normalizers(model):
        engine.normalizer = normalizers.Sequence(steps)
    if splits := _splits(model):
        engine.pre_tokenizer = pre_tokenizers.Sequence(splits)
    engine.decoder = decoders.Sequence(_decoders(model))
    engine.add_special_tokens([_added(p.text, True) for p in model.pieces if p.type in (CONTROL, UNKNOWN)])
    engine.add_tokens([_added(p.text, False) for p in model.pieces if p.type == USER_DEFINED])
    return engine


def merges_of(scores: Mapping[str, float], pieces: Iterable[str] | None = None) -> list[tuple[str, str]]:
    """Every way to join two pieces into a third, the best-scored result first: what SentencePiece's BPE does by score.

    scores: score of each joinable piece; ``pieces`` limits the results to these (all by default).
    """
    order = {piece: place for place, piece in enumerate(scores)}
    found: list[tuple[float, int, int, str, str]] = []
    for piece in scores if pieces is None else pieces:
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in order and right in order:
                found.append((-scores[piece], order[left], order[right], left, right))
    found.sort(key=lambda merge: merge[0])
    return [(left, right) for _, _, _, left, right in found]


def joinable(model: SpmModel) -> dict[str, float]:
    """The scores of the pieces that text can be made of: neither control, unknown, unused nor byte pieces."""
    return {piece.text: piece.score for piece in model.pieces if piece.type == NORMAL}


def _bpe(model: SpmModel) -> models.BPE:
    vocab = {piece.text: place for place, piece in enumerate(model.pieces)}
    unknown = model.pieces[model.unknown].text
    return models.BPE(
        vocab, merges_of(joinable(model)), unk_token=unknown, fuse_unk=True, byte_fallback=model.byte_fallback
    )


def _unigram(model: SpmModel) -> models.Unigram:
    """Control, unknown and byte pieces get a score under which their spelling in a text never becomes them."""
    spoken = _spoken(model)
    floor = _below(model, spoken)
    vocab = [(piece.text, spoken.get(piece.text, floor)) for piece in model.pieces]
    return models.Unigram(vocab, model.unknown, model.byte_fallback)


def _spoken(model: SpmModel) -> dict[str, float]:
    """Scores in 15 digits: more than single precision has, and as many as every JSON reader reads exactly."""
    return {p.text: float(f"{p.score:.15g}") for p in model.pieces if p.type in (NORMAL, USER_DEFINED)}


def _below(model: SpmModel, spoken: Mapping[str, float]) -> float:
    """A whole number under the score of spelling any unspoken piece letter by letter.

    A character that no piece holds costs 10 more than the lowest score of all, so it drags that spelling below any
    floor: a piece with such a character is kept from the model by a split of the text instead.
    """
    unspoken = [piece.text for piece in model.pieces if piece.text not in spoken and not _hidden(piece.text, spoken)]
    sums = [sum(spoken[letter] for letter in text) for text in unspoken]
    return float(math.floor(min([0.0, *spoken.values(), *sums])) - 1)


def _hidden(text: str, spoken: Collection[str]) -> bool:
    return any(letter not in spoken for letter in text)


def _splits(model: SpmModel) -> list[pre_tokenizers.PreTokenizer]:
    steps: list[pre_tokenizers.PreTokenizer] = []
    if not model.spans_words():
        steps.append(pre_tokenizers.Split(SPACE, "merged_with_next"))
    spoken = _spoken(model)
    hidden = [p.text for p in model.pieces if p.text not in spoken and p.type != BYTE and _hidden(p.text, spoken)]
    if model.kind == "unigram" and hidden:
        heads = "|".join(f"{re.escape(text[0])}(?={re.escape(text[1:])})" for text in hidden)
        steps.append(pre_tokenizers.Split(Regex(heads), "isolated"))
    return steps


def _normalizers(model: SpmModel) -> list[normalizers.Normalizer]:
    steps: list[normalizers.Normalizer] = []
    if model.charsmap:
        steps.append(normalizers.Precompiled(model.charsmap))
    if model.trim_spaces:
        steps += [normalizers.Replace(Regex(r"\A +| +\z"), ""), normalizers.Replace(Regex(" {2,}"), " ")]
    if model.dummy_prefix:
        steps.append(normalizers.Prepend(SPACE if model.escape_spaces else " "))
    if model.escape_spaces:
        steps.append(normalizers.Replace(" ", SPACE))
    return steps


def _decoders(model: SpmModel) -> list[decoders.Decoder]:
    steps: list[decoders.Decoder] = [decoders.Replace(SPACE, " ")]
    if any(piece.type == BYTE for piece in model.pieces):
        steps.append(decoders.ByteFallback())
    steps.append(decoders.Fuse())
    if model.dummy_prefix:
        steps.append(decoders.Strip(" ", 1, 0))
    return steps


def _added(text: str, special: bool) -> AddedToken:
    return AddedToken(text, special=special, normalized=False)
