"""A small bilingual corpus and tokenizers of every kind, for the tests of the tokenize room."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from danlu.tokenize import Tokenizer, load_tokenizer, train

ENGLISH = (
    "The keeper of the lighthouse wrote a letter every evening, and every evening the letter came back.",
    "In 1987 the harbour had 12 boats; by 2024 there were 3,456 of them, or so it's said (nobody counted).",
    "def area(radius):\n    return 3.14159 * radius ** 2  # square metres\n\n\nprint(area(2))\n",
    "Don't you think they'll arrive late? I've asked, we're waiting, she'd know... naïve café déjà vu.",
)
CHINESE = (
    "灯塔的看守人每天晚上写一封信，每天晚上信都被退回来。",
    "一九八七年港口有十二条船；到了2024年，据说已经有三千四百五十六条（没有人数过）。",
    "春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。",
    "人工智能模型的训练需要大量的数据，模型越大，需要的数据越多。",
)
HARD = (
    "",
    " ",
    "\n\n \t x",
    "  two  spaces ",
    "🦙👩‍👩‍👧 emoji ½ ﬁ １２ ²",
    "<|im_end|> spelled, <unk> too, <0x0A> and [UNK] ##ing",
    "e\u0301 o\u0308 \u00a0\u3000\u200b\ufeff\x00\x7f",
    "한국어 かな Съешь שלום مرحبا नमस्ते",
)
TEXTS = (*ENGLISH, *CHINESE, *HARD)
KINDS = ("byte_bpe", "bpe_fallback", "wordpiece", "unigram", "char")


@cache
def corpus() -> tuple[str, ...]:
    """Some hundred texts: every two sentences of one language in a row."""
    pairs = [f"{a} {b}\n" for group in (ENGLISH, CHINESE) for a in group for b in group]
    return tuple(pairs * 4)


@cache
def opened(file: Path) -> Tokenizer:
    """A published vocabulary, read once."""
    return load_tokenizer(file)


@cache
def trained(kind: str) -> Tokenizer:
    return train(iter(corpus()), kind, vocab=640)
