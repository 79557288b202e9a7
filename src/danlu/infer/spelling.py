"""The pieces of a vocabulary as bytes, as a grammar follows them."""

from __future__ import annotations

from functools import cached_property

from ..tokenize import Tokenizer
from ..tokenize.pieces import CONTINUED
from .grammars import library

LONGEST = 2048  # bytes of a forced text that is spelled piece by piece


class Spelling:
    """What each token says, for a model whose logits are of this size; a tokenizer in llguidance's eyes.

    Behind the tokens stand pieces that no model knows: the end of the text, and single bytes, which spell whatever a
    token says that says something else where a text begins (mostly: no space).
    """

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        self.size, self._tokenizer = size, tokenizer
        self.tokens = [*map(self._bytes, range(size)), b"\xff<over>", *(bytes([byte]) for byte in range(255))]
        self.eos_token_id, self.bos_token_id = size, None  # these names are the library's
        self.special = {token: name for name, token in tokenizer.special.items() if token < size}
        self.special_token_ids = [*self.special, size]
        self.opening = {token: said for token in range(size) if (said := self._first(token)) is not None}
        self.wrapped = library().LLTokenizer(library().TokenizerWrapper(self))

    def __call__(self, text: bytes | str) -> list[int]:
        """How a text that is forced is spelled: by the tokenizer itself, else in the fewest pieces, else in bytes."""
        raw = text.encode() if isinstance(text, str) else text
        ids = self._tokenizer.marked.engine(bare=True).encode(raw.decode("utf-8", "ignore"))
        own = b"".join(self.tokens[token] for token in ids if token < self.size) == raw
        return ids if own else (self._fewest(raw) if len(raw) <= LONGEST else []) or self.spelled(raw)

    def spelled(self, raw: bytes) -> list[int]:
        """These bytes one by one."""
        return [self.size + 1 + byte for byte in raw]

    def _fewest(self, raw: bytes) -> list[int]:
        """The shortest way to spell it with the model's own tokens; [] if there is none."""
        steps = [0, *[len(raw) + 1] * len(raw)]  # tokens to the first n bytes
        last = [0] * (len(raw) + 1)  # where the last of them begins
        for end in range(1, len(raw) + 1):
            begins = [n for n in range(max(0, end - self._longest), end) if raw[n:end] in self._ids]
            last[end] = min(begins, key=lambda n: steps[n], default=end - 1)
            steps[end] = steps[last[end]] + 1 if begins else len(raw) + 1
        ids, end = [], len(raw)
        while end and steps[end] <= len(raw):
            ids.insert(0, self._ids[raw[last[end] : end]])
            end = last[end]
        return ids

    def _first(self, token: int) -> bytes | None:
        """What a token says where a text begins, if it is not what it says elsewhere."""
        spoken = self.tokens[token]
        if spoken[:1] != b" " and not self._tokenizer.piece(token).startswith(CONTINUED):
            return None
        first = self._tokenizer.spoken(token, True)
        same = first == spoken or token in self._tokenizer.special_ids or b"\xff" in first
        return None if same else first

    def _bytes(self, token: int) -> bytes:
        if token >= self._tokenizer.vocab_size:
            return b""
        if token in self._tokenizer.special_ids:
            return b"\xff" + self._tokenizer.piece(token).encode()
        spoken = self._tokenizer.spoken(token, False)
        return b"" if spoken[:1] == b"\xff" else spoken  # the byte 255 is in no text, and marks what is special

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        return {piece: token for token, piece in enumerate(self.tokens[: self.size]) if piece and piece[:1] != b"\xff"}

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self._ids), default=0)
