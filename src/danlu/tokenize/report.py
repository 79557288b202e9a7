"""What a tokenizer is like, in lines for people."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from ..core.errors import DanluError
from .corpus import texts
from .extend import Extended, tokens_per_character
from .template import Rendered
from .tokenizer import Tokenizer

SAMPLE = 4_000_000  # characters measured of a text
EXAMPLE = [{"role": "user", "content": "What is 7 × 6?"}, {"role": "assistant", "content": "42"}]


def summary(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """Name and value of what one wants to know first."""
    model = tokenizer.description["model"]
    roles = {"bos": tokenizer.bos, "eos": tokenizer.eos, "pad": tokenizer.pad, "unk": tokenizer.unk}
    said = [f"{role} {tokenizer.piece(token)} ({token})" for role, token in roles.items() if token is not None]
    return [
        ("source", tokenizer.source or "trained"),
        ("kind", model["type"] + (" with byte fallback" if model.get("byte_fallback") else "")),
        ("pieces", f"{tokenizer.vocab_size:,}"),
        ("special", f"{len(tokenizer.special)}: " + " ".join(islice(tokenizer.special, 12))),
        ("roles", ", ".join(said) or "none"),
        ("stops", ", ".join(f"{tokenizer.piece(token)} ({token})" for token in tokenizer.stops) or "none"),
        ("engine", type(tokenizer.engine).__name__.lower()),
        ("template", f"writes {', '.join(tokenizer.template.roles)}" if tokenizer.template.exists else "none"),
        ("fingerprint", tokenizer.fingerprint()[:16]),
    ]


def sample(files: Sequence[str]) -> list[str]:
    """The beginning of some files: at most SAMPLE characters."""
    taken, kept = 0, []
    for text in texts(list(files)):
        kept.append(text[: SAMPLE - taken])
        taken += len(kept[-1])
        if taken >= SAMPLE:
            break
    return kept


def shortness(tokenizer: Tokenizer, given: list[str]) -> str:
    rate = tokens_per_character(tokenizer, given)
    per_byte = rate * sum(map(len, given)) / max(sum(len(text.encode("utf-8", "replace")) for text in given), 1)
    return f"{rate:.4f} tokens a character, {per_byte:.4f} a byte, on {sum(map(len, given)):,} characters"


def growth(base: Tokenizer, grown: Extended, given: list[str]) -> list[tuple[str, str]]:
    """Before and after an extension."""
    after = grown.tokenizer
    lines = [("pieces", f"{base.vocab_size:,} → {after.vocab_size:,} ({len(grown.pieces):,} new, no old id moved)")]
    if grown.unreached:
        lines.append(("unreached", f"{grown.unreached:,} new pieces that no text becomes: pieces between are missing"))
    if given:
        rates = [tokens_per_character(tokenizer, given) for tokenizer in (base, after)]
        change = f"{(rates[1] / rates[0] - 1):+.1%}" if rates[0] else "no change"
        lines.append(("tokens a character", f"{rates[0]:.4f} → {rates[1]:.4f} ({change})"))
    return lines


def shown_pieces(tokenizer: Tokenizer, text: str) -> list[tuple[str, list[int]]]:
    """The pieces of a text as readable text with their ids; pieces of one character come together."""
    pieces: list[tuple[str, list[int]]] = []
    raw, ids = b"", []
    for token in tokenizer.encode_marked(text):
        raw, ids = raw + tokenizer.piece_bytes(token), [*ids, token]
        try:
            pieces.append((raw.decode(), ids))
        except UnicodeDecodeError:
            continue
        raw, ids = b"", []
    return [*pieces, (raw.decode("utf-8", "replace"), ids)] if ids else pieces


def preview(tokenizer: Tokenizer) -> list[tuple[str, float]] | str:
    """A small conversation as pieces of text with their weights; a sentence where the template does not write it."""
    try:
        rendered: Rendered = tokenizer.template.render(EXAMPLE)
    except DanluError as error:
        return str(error)
    decoder = tokenizer.decoder(skip_special=False)
    return [(decoder.push(t), weight) for t, weight in zip(rendered.tokens, rendered.weights, strict=True)]
