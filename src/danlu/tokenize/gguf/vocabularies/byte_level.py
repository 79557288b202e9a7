"""gpt2: byte-level BPE, its text cut into words by a rule that llama.cpp knows by name."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers
from tokenizers import Tokenizer as Backend

from ....core.errors import DataError
from ...patterns import GPT2, words
from ...pieces import byte_alphabet
from . import CONTROL, USER_DEFINED, VOCABULARIES, Vocabulary, steps_of

Step = tuple[str, str]
BYTES: Step = ("ByteLevel", "")
BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

RULES: dict[str, tuple[tuple[Step, ...], bool]] = {
    "gpt-2": ((("Split", GPT2), BYTES), False),
    "qwen2": ((("Split", words("single")), BYTES), False),
    "llama-bpe": ((("Split", words("triple")), BYTES), True),
    "dbrx": ((("Split", words("triple")), BYTES), False),
    "smollm": ((("Digits", "each"), ("Split", GPT2), BYTES), False),
    "bloom": ((("Split", BLOOM), BYTES), False),
    "tekken": ((("Split", TEKKEN), BYTES), True),
}
"""llama.cpp's name → how text is cut, and whether a word that is a piece is taken before any merge."""
ALIKE = {
    "phi-2": "gpt-2", "olmo": "gpt-2", "mpt": "gpt-2", "exaone4": "gpt-2", "llama3": "llama-bpe",
    "llama-v3": "llama-bpe", "lfm2": "llama-bpe", "falcon3": "llama-bpe", "pixtral": "llama-bpe",
    "smaug-bpe": "dbrx", "glm4": "dbrx", "chatglm-bpe": "dbrx", "deepseek-r1-qwen": "qwen2", "stablelm2": "qwen2",
    "megrez": "qwen2", "hunyuan": "qwen2", "starcoder": "smollm", "refact": "smollm", "command-r": "smollm",
    "codeshell": "smollm", "exaone": "smollm", "minerva-7b": "smollm", "gpt3-finnish": "bloom", "poro-chat": "bloom",
}  # fmt: skip
"""Other names of the same rules, which are read."""


@VOCABULARIES.add("gpt2")
class ByteLevelBpe(Vocabulary):
    """Pairs of pieces joined in the order they were learned, within words, starting from the 256 bytes.

    Raises: DataError if a file names a rule of cutting words that is not built.
    Source: Radford et al. 2019, §2.2; ggml-org/llama.cpp, src/llama-vocab.cpp (llm_tokenizer_bpe).
    Truth:  tests/parity/test_gguf_vocabularies.py (ids of llama.cpp on texts of many scripts).
    """

    def refuses(self, description: dict[str, Any]) -> str | None:
        model = description["model"]
        if model.get("type") != "BPE" or _cut(description)[-1:] != (BYTES,):
            return "it is no byte-level BPE"
        if not set(byte_alphabet().values()) <= set(model["vocab"]):
            return "it lacks some of the 256 bytes"
        if any(step["type"] != "NFC" for step in steps_of(description["normalizer"], "normalizers")):
            return "it changes text before it is cut"
        if _rule(description) is None:
            return "it cuts words by a rule that llama.cpp has no name for"
        return None

    def differs(self, description: dict[str, Any]) -> str | None:
        if description["normalizer"] is None:
            return None
        return "llama.cpp does not compose characters (NFC): text that is not composed gets other ids there"

    def fields(self, tokenizer: Any) -> dict[str, Any]:
        merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in _model(tokenizer)["merges"]]
        return {"pre": _rule(tokenizer.description), "merges": [" ".join(merge) for merge in merges]}

    def backend(self, said: dict[str, Any]) -> Backend:
        name = str(said.get("pre", "gpt-2"))
        rule = RULES.get(ALIKE.get(name, name))
        if rule is None:
            raise DataError(
                f"cuts words by the rule {name!r}, which is not built; there are: {', '.join([*RULES, *ALIKE])}"
            )
        steps, whole = rule
        vocab = {text: token for token, text in enumerate(said["tokens"])}
        engine = Backend(models.BPE(vocab, _pairs(said["merges"]), ignore_merges=whole))
        engine.pre_tokenizer = pre_tokenizers.Sequence([BUILT[kind](value) for kind, value in steps])
        engine.decoder = decoders.ByteLevel()
        for kind, special in ((CONTROL, True), (USER_DEFINED, False)):
            texts = [text for text, type_ in zip(said["tokens"], said["token_type"], strict=True) if type_ == kind]
            engine.add_tokens([AddedToken(text, special=special, normalized=False) for text in texts])
        return engine


BUILT: dict[str, Any] = {
    "Split": lambda pattern: pre_tokenizers.Split(Regex(pattern), "isolated"),
    "Digits": lambda how: pre_tokenizers.Digits(individual_digits=True),
    "ByteLevel": lambda none: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
}


def _cut(description: dict[str, Any]) -> tuple[Step, ...]:
    """How text is cut, one step after the other."""
    steps = steps_of(description["pre_tokenizer"], "pretokenizers")
    return tuple(found for step in steps for found in READ.get(step["type"], _unknown)(step))


def _split(step: dict[str, Any]) -> tuple[Step, ...]:
    plain = step["behavior"] == "Isolated" and not step["invert"]
    return (("Split", step["pattern"].get("Regex", "")),) if plain else _unknown(step)


def _digits(step: dict[str, Any]) -> tuple[Step, ...]:
    return (("Digits", "each" if step["individual_digits"] else "joined"),)


def _bytes(step: dict[str, Any]) -> tuple[Step, ...]:
    if step["add_prefix_space"]:
        return _unknown(step)
    return (("Split", GPT2), BYTES) if step["use_regex"] else (BYTES,)


def _unknown(step: dict[str, Any]) -> tuple[Step, ...]:
    return (("unknown", str(step)),)


READ = {"Split": _split, "Digits": _digits, "ByteLevel": _bytes}


def _rule(description: dict[str, Any]) -> str | None:
    """llama.cpp's name of how text is cut; one with \\p{N}{1} or so is spelled as ours."""
    here = _cut(description), bool(description["model"].get("ignore_merges"))
    return next((name for name, rule in RULES.items() if rule == here), None)


def _model(tokenizer: Any) -> dict[str, Any]:
    return tokenizer.description["model"]


def _pairs(merges: list[str]) -> list[tuple[str, str]]:
    """Halves of each merge; a piece never holds a space but as the letter Ġ."""
    return [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
