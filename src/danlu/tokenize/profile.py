"""What a tokenizer's configuration says beside the vocabulary: the special tokens by role, and the chat template."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

ROLES = ("bos", "eos", "pad", "unk")
KNOWN = {  # used only where no configuration names the token
    "bos": ("<s>", "<|begin_of_text|>", "<bos>", "[CLS]"),
    "eos": ("</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>", "[SEP]"),
    "pad": ("<pad>", "[PAD]", "<|pad|>"),
    "unk": ("<unk>", "[UNK]"),
}
MARKERS = {"<|im_start|>", "<|im_end|>"}  # of the ChatML template


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Texts of the special tokens (None where there is none), chat templates by name, and the file's other entries.

    pad is never taken from eos: a tokenizer without a padding token has none, and rows are padded by weight, not by id.
    """

    bos: str | None = None
    eos: str | None = None
    pad: str | None = None
    unk: str | None = None
    templates: dict[str, str] = field(default_factory=dict)
    rest: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, config: dict[str, Any], templates: dict[str, str] | None = None) -> Profile:
        """From the content of ``tokenizer_config.json``; ``templates`` of files beside it win."""
        bos, eos, pad, unk = (_text(config.get(f"{role}_token")) for role in ROLES)
        rest = {key: value for key, value in config.items() if key not in (*_keys(), "chat_template")}
        named = {**_templates(config.get("chat_template")), **(templates or {})}
        return cls(bos=bos, eos=eos, pad=pad, unk=unk, templates=named, rest=rest)

    @classmethod
    def guess(cls, vocabulary: set[str]) -> Profile:
        """By the usual names, for a vocabulary that came without a configuration."""
        bos, eos, pad, unk = (next((t for t in KNOWN[role] if t in vocabulary), None) for role in ROLES)
        return cls(bos=bos, eos=eos, pad=pad, unk=unk)

    def write(self) -> dict[str, Any]:
        """The content of a ``tokenizer_config.json``."""
        names = {f"{role}_token": text for role in ROLES if (text := self.name(role)) is not None}
        config = {**self.rest, **names, "tokenizer_class": "PreTrainedTokenizerFast"}
        if self.templates:
            only = set(self.templates) == {"default"}
            listed = [{"name": name, "template": text} for name, text in self.templates.items()]
            config["chat_template"] = self.templates["default"] if only else listed
        return config

    def name(self, role: str) -> str | None:
        return {"bos": self.bos, "eos": self.eos, "pad": self.pad, "unk": self.unk}[role]

    def known_in(self, vocabulary: set[str]) -> Profile:
        """Without the tokens the vocabulary does not hold."""
        return replace(self, **{role: None for role in ROLES if self.name(role) not in vocabulary})

    def with_template(self, template: str) -> Profile:
        return replace(self, templates={"default": template})


def _keys() -> list[str]:
    return [f"{role}_token" for role in ROLES]


def _text(value: Any) -> str | None:
    """A token is written as its text or as ``{"content": text, …}``."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _templates(value: Any) -> dict[str, str]:
    """One template, or a list of ``{"name": …, "template": …}``, or a mapping of names."""
    if isinstance(value, str):
        return {"default": value}
    if isinstance(value, list):
        return {item["name"]: item["template"] for item in value if isinstance(item, dict) and "template" in item}
    return {name: text for name, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}
