"""How text is cut into words before pieces are looked for: the regular expressions in use, and ours."""

from __future__ import annotations

from typing import Literal

from tokenizers import normalizers

from ..core.errors import unknown

Digits = Literal["single", "triple", "joined"]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

DIGITS: dict[str, str] = {"single": r"\p{N}", "triple": r"\p{N}{1,3}", "joined": r"\p{N}+"}

NORMALIZATIONS = ("none", "nfc", "nfkc", "lowercase", "nfkc_lowercase")


def words(digits: str) -> str:
    """Contractions, words with one sign before them, digits as told, signs, line ends, spaces."""
    if digits not in DIGITS:
        raise unknown("way of cutting digits", digits, list(DIGITS))
    return (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
        + DIGITS[digits]
        + r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


def normalizer(name: str) -> normalizers.Normalizer | None:
    """none keeps text as it is; nfc and nfkc are Unicode's forms; lowercase folds case."""
    if name not in NORMALIZATIONS:
        raise unknown("normalization", name, list(NORMALIZATIONS))
    steps: dict[str, normalizers.Normalizer] = {
        "nfc": normalizers.NFC(),
        "nfkc": normalizers.NFKC(),
        "lowercase": normalizers.Lowercase(),
        "nfkc_lowercase": normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]),
    }
    return steps.get(name)
