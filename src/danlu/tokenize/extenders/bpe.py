"""Byte-pair encoding, on bytes or on characters, goes on merging where it stopped."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import Any

from tokenizers import Regex, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend

from ..corpus import spooled
from ..pieces import BYTE_PIECE, SPACE, read_byte_level, read_spaced, spell_bytes
from ..tokenizer import Tokenizer
from ..trainers import watched
from . import EXTENDERS, Additions, Extender, shortened

BATCH = 64  # texts encoded at once
BREAK = "\0"  # between words in what the trainer reads
WORD = rf"{SPACE}?\p{{L}}+|{SPACE}?\p{{N}}|{SPACE}?[^\s{SPACE}\p{{L}}\p{{N}}]+|\s+|{SPACE}+"


@EXTENDERS.add("bpe")
class BpeExtender(Extender):
    """New merges come after all old ones: a text is first spelled as before, then its pieces are joined further.

    Learning: the text is spelled in old ids and the ids are merged as bytes were, next = argmax count(id_a id_b) within
    words; so each new piece is known as a sequence of old ids.  Merging a vocabulary: a piece enters with the merge of
    the two pieces that all merges before it leave of it, so it is reached; one of which more are left is not.
    Source: Cui et al. 2023, arXiv:2304.08177, §2 (Chinese LLaMA: merging vocabularies).
    Truth:  tests/truth/test_tokenize_extend.py (49,953 pieces; old spellings are refined, never changed).
    """

    @classmethod
    def serves(cls, description: dict[str, Any]) -> bool:
        return description["model"]["type"] == "BPE"

    def learn(self, base: Tokenizer, texts: Iterator[str], count: int) -> Additions:
        first = base.vocab_size
        with spooled(texts) as again:
            characters = [] if _byte_level(base) else _missing(base, again())[:count]
            engine = _engine(base, characters, first)
            symbols = {token: _symbol(token) for token in range(first + len(characters))}
            pairs = _learned(engine, again(), symbols, count - len(characters))
        spelled = {_symbol(token): piece for token in symbols if (piece := engine.id_to_token(token))}
        old = {_symbol(token): [token] for token in range(first)}
        old |= {_symbol(first + n): _old_ids(base, letter) for n, letter in enumerate(characters)}
        known = set(spelled.values())
        additions = Additions(list(characters), [old[_symbol(first + n)] for n in range(len(characters))], [])
        for left, right in pairs:
            joined = spelled.get(left, "") + spelled.get(right, "")
            if left not in spelled or right not in spelled or joined in known:
                continue  # an old piece that old merges never reach, or what would be made of it
            known.add(joined)
            spelled[left + right], old[left + right] = joined, old[left] + old[right]
            additions.pieces.append(joined)
            additions.made_of.append(old[left + right])
            additions.rules.append([spelled[left], spelled[right]])
        return additions

    def merge(self, base: Tokenizer, pieces: list[tuple[bytes, float]]) -> Additions:
        spell = spell_bytes if _byte_level(base) else _spaced
        have = set(base.backend.get_vocab(with_added_tokens=True))
        spelled = ((spell(raw), raw) for raw, _ in pieces)
        wanted = {text: raw for text, raw in spelled if text and text not in have}
        ranks = {(left, right): n for n, (left, right) in enumerate(base.description["model"]["merges"])}
        joints = _joints([text for text, raw in wanted.items() if len(shortened(raw) or "") == 1], ranks)
        everything = [*dict.fromkeys([*(text for text in joints if text not in have), *wanted])]
        letters = {text for text in wanted if len(text) == 1}
        old = [_old_ids(base, text) for text in everything]
        rules = _reach([text for text in everything if text not in letters], ranks)
        return Additions(everything, old, [list(pair) for pair in rules], len(everything) - len(letters) - len(rules))

    def write(self, description: dict[str, Any], additions: Additions, first: int) -> None:
        model = description["model"]
        model["vocab"] |= {piece: first + n for n, piece in enumerate(additions.pieces)}
        model["merges"] += additions.rules


def _reach(pieces: list[str], ranks: dict[tuple[str, str], int]) -> list[tuple[str, str]]:
    """The merge of each piece that two pieces are left of; again while others become so. ``ranks`` grows."""
    rules: list[tuple[str, str]] = []
    while pieces:
        later: list[str] = []
        for piece in pieces:
            parts = _spelled(piece, ranks)
            if len(parts) == 2:
                ranks[parts[0], parts[1]] = len(ranks)
                rules.append((parts[0], parts[1]))
            else:
                later.append(piece)
        if len(later) == len(pieces):
            break
        pieces = later
    return rules


def _joints(letters: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """The beginnings without which a character of three or more bytes cannot be reached two by two."""
    found: dict[str, None] = {}
    for letter in letters:
        parts = _spelled(letter, ranks)
        for count in range(2, len(parts)):
            found["".join(parts[:count])] = None
    return list(found)


def _spelled(text: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """The pieces that merging leaves of a text: the merge of the lowest rank first, the leftmost of equals."""
    parts = list(text)
    while len(parts) > 1:
        best = min(range(len(parts) - 1), key=lambda n: ranks.get((parts[n], parts[n + 1]), len(ranks)))
        if (parts[best], parts[best + 1]) not in ranks:
            break
        parts[best : best + 2] = [parts[best] + parts[best + 1]]
    return parts


def _learned(engine: Backend, texts: Iterable[str], symbols: dict[int, str], count: int) -> list[tuple[str, str]]:
    """Merges of symbols, one symbol an id, by the trainer of the tokenizers library."""
    if count <= 0:
        return []
    learner = Backend(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Split(BREAK, "removed")
    trainer = trainers.BpeTrainer(  # pyright: ignore[reportCallIssue]
        vocab_size=len(symbols) + count,
        initial_alphabet=list(symbols.values()),
        min_frequency=2,
        special_tokens=[],
        show_progress=watched(),
    )
    learner.train_from_iterator(_in_symbols(engine, texts, symbols), trainer)
    return [(left, right) for left, right in json.loads(learner.to_str())["model"]["merges"]]


def _in_symbols(engine: Backend, texts: Iterable[str], symbols: dict[int, str]) -> Iterator[str]:
    """Texts as symbols of their ids, words apart; bytes of characters outside the vocabulary belong to no word."""
    closed = {token for piece, token in engine.get_vocab().items() if BYTE_PIECE.match(piece)}
    closed |= set(engine.get_added_tokens_decoder())
    source = iter(texts)
    while batch := list(islice(source, BATCH)):
        for encoding in engine.encode_batch(batch, add_special_tokens=False):
            pairs = zip(encoding.ids, encoding.word_ids, strict=True)
            runs = groupby(pairs, key=lambda pair: (pair[1], pair[0] in closed))
            yield BREAK.join("".join(symbols[token] for token, _ in run) for (_, shut), run in runs if not shut)


def _engine(base: Tokenizer, characters: list[str], first: int) -> Backend:
    """The base with new characters, cutting text into words even if the base does not."""
    description = base.description
    description["model"]["vocab"] |= {letter: first + n for n, letter in enumerate(characters)}
    engine = Backend.from_str(json.dumps(description))
    engine.encode_special_tokens = True
    if description["pre_tokenizer"] is None and description["model"]["merges"]:
        engine.pre_tokenizer = pre_tokenizers.Split(Regex(WORD), "isolated")
    return engine


def _missing(base: Tokenizer, texts: Iterable[str]) -> list[str]:
    """Characters that come at least twice and are no piece, the most frequent first."""
    counts = Counter(letter for text in texts for letter in text)
    have = base.backend.get_vocab(with_added_tokens=True)
    return [letter for letter, n in counts.most_common() if n > 1 and not letter.isspace() and letter not in have]


def _byte_level(base: Tokenizer) -> bool:
    return base.spelling is read_byte_level


def _spaced(raw: bytes) -> str:
    text = shortened(raw)
    return "" if text is None else text.replace(" ", SPACE)


def _old_ids(base: Tokenizer, piece: str) -> list[int]:
    """How the base spells a piece: [] where it knows nothing of it."""
    text = shortened(read_byte_level(piece) if _byte_level(base) else read_spaced(piece))
    if text is None:
        encoding = base.backend.model.tokenize(piece)
        return [token.id for token in encoding]
    return [token for token in base.encode_marked(text, continues=True) if token != base.unk]


def _symbol(token: int) -> str:
    """A character of its own for each id, none of them a surrogate or the break."""
    return chr(token + 0x100 if token + 0x100 < 0xD800 else token + 0x100 + 0x800)
