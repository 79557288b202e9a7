"""Which sizes a newborn of a family may be given, and what fills those left out."""

from __future__ import annotations

from ...nn.dims import Dims


def plain(*, vocab: int, model: int, layers: int, heads: int, context: int, ffn: int = 0) -> Dims:
    """As many keys as queries, heads that share the width evenly, ffn = 4 · model unless given."""
    return Dims(vocab=vocab, model=model, layers=layers, heads=heads, context=context, ffn=ffn)


def gated(
    *, vocab: int, model: int, layers: int, heads: int, context: int, kv_heads: int = 0, head: int = 0, ffn: int = 0
) -> Dims:
    """ffn = 8/3 · model rounded up to a multiple of 64 unless given: as many weights as two maps of 4 · model."""
    return Dims(
        vocab=vocab, model=model, layers=layers, heads=heads, context=context,
        kv_heads=kv_heads, head=head, ffn=ffn or -(-8 * model // (3 * 64)) * 64,
    )  # fmt: skip
