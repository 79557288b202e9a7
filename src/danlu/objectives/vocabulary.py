"""Which ids of a vocabulary stand for something other than text: what objectives write into their samples."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..core.errors import ConfigError
from ..tokenize import Tokenizer

NAMES = {
    "mask": ("[MASK]", "<mask>", "<|mask|>"),
    "cls": ("[CLS]", "<s>", "<|cls|>"),
    "sep": ("[SEP]", "</s>", "<|sep|>"),
    "start": ("<|startofpiece|>", "<sop>", "[START]"),
    "end": ("<|endofpiece|>", "<eop>", "[END]"),
}
"""By the usual names, where no configuration names the token."""
INSTEAD = {"cls": "bos", "sep": "eos"}
SENTINEL = re.compile(r"<\|?extra_id_(\d+)\|?>")


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """``size`` ids, of which ``special`` are no text; ``roles`` says which of them stands for what.

    roles: bos, eos, pad, mask, cls, sep, start and end (of a piece that is filled in); those that the tokenizer has.
    ``sentinels``, first to last, stand for gaps.
    """

    size: int = 0
    special: frozenset[int] = frozenset()
    roles: Mapping[str, int] = field(default_factory=dict)
    sentinels: tuple[int, ...] = ()

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Vocabulary:
        """What a tokenizer's configuration names, or its special tokens are usually called."""
        own = {"bos": tokenizer.bos, "eos": tokenizer.eos, "pad": tokenizer.pad}
        found = {role: _named(role, tokenizer) for role in NAMES}
        found = {role: own.get(INSTEAD.get(role, "")) if i is None else i for role, i in found.items()}
        numbered = {int(m[1]): i for text, i in tokenizer.special.items() if (m := SENTINEL.fullmatch(text))}
        return cls(
            size=tokenizer.vocab_size,
            special=tokenizer.special_ids,
            roles={role: i for role, i in {**own, **found}.items() if i is not None},
            sentinels=tuple(numbered[n] for n in sorted(numbered)),
        )

    def need(self, role: str, who: str) -> int:
        """The id of a role; raises ConfigError if the tokenizer has no such token."""
        if role not in self.roles:
            usual = NAMES.get(role, (f"<|{role}|>",))
            raise ConfigError(
                f"the objective {who} needs a token for {role!r} and the tokenizer has none of {', '.join(usual)}; "
                f"train one with danlu tokenizer train … --special '{usual[0]}' and the others that you need"
            )
        return self.roles[role]

    def ordinary(self) -> Tensor:
        """The ids of text, in order."""
        return torch.tensor([i for i in range(self.size) if i not in self.special], dtype=torch.long)

    def among_special(self, tokens: Tensor) -> Tensor:
        """bool, of the shape of ``tokens``."""
        return torch.isin(tokens, torch.tensor(sorted(self.special), dtype=tokens.dtype))


def _named(role: str, tokenizer: Tokenizer) -> int | None:
    configured: Any = tokenizer.profile.rest.get(f"{role}_token")
    text = configured.get("content") if isinstance(configured, dict) else configured
    found = (tokenizer.special.get(name) for name in (text, *NAMES[role]) if isinstance(name, str))
    return next((i for i in found if i is not None), None)
