"""Texts on which an engine must agree with the reference before it is used."""

from __future__ import annotations

# One letter of each edition of Unicode from 8.0 on: two libraries built on different editions cut words differently.
EDITIONS = "Ꭰꭰ ᲀ ꝏ 𞤀 ꟲ 𐴀 𐾀 𑄀 𞄀 𑜰 𞊐 ꟑ 𞓐 𑼀 𮯰 𲎯 𐗀 𑎀 Ᲊ ꟛ"
LETTERS_OF_EDITIONS = "".join(chr(c) for c in (0x8B4, 0x1C80, 0x1C90, 0x10D00, 0x2B820, 0x1E100, 0x9FFC, 0x30000))
LETTERS_OF_EDITIONS += "".join(chr(c) for c in (0x9FFD, 0x1DF00, 0x31350, 0x11F02, 0x2EBF0, 0x1C89, 0x10D40, 0x323B0))

PROBE = [
    "",
    " ",
    "\n\n  \t\r\n \u00a0\u3000 x",
    "Hello, world! It's 3 o'clock; they'LL go, we'Ve 12345.678 reasons & 1e-9 more…  THE END \n",
    "def f(x):\n    return {'a': x[0], \"b\": -1}  # comment\n\n\n",
    "天地玄黄，宇宙洪荒。日月盈昃，辰宿列张。一二三，１２３，㊙。",
    "混合 mixed 文本 with 数字 2024年 and ﬁ ligatures, ½, ², Ⅷ, ٣, १२",
    "naïve café e\u0301 o\u0308 ß ſ K Å ’s 's 'ſ İi ǅ",
    "Съешь ещё этих мягких французских булок · Ζαφείρι δέξου · שלום · مرحبا · नमस्ते · สวัสดี · 한국어 · かな カナ",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🦙🦙 \u200b\u200d\ufe0f\ufeff \x00\x01\x7f\x85\u2028\u2029",
    "<|endoftext|><|im_start|>user</s><s><unk><pad>[UNK][CLS] ##ing <0x0A> ▁word ▁ Ġthe",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" + " " * 40 + "=" * 70 + "0" * 30,
    EDITIONS,
    " ".join(LETTERS_OF_EDITIONS),
    "a".join(LETTERS_OF_EDITIONS),
]
