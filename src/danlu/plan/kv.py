"""Bytes that the keys and values of past tokens take while a model talks."""

from __future__ import annotations


def kv_bytes(*, layers: int, kv_heads: int, head: int, tokens: int = 1, rows: int = 1, bytes_each: float = 4) -> int:
    """Bytes of the key-value cache: two vectors of ``head`` a key-value head, layer and token.

    bytes = 2 · layers · kv_heads · head · bytes_each · tokens · rows: the query heads and the model size do not enter,
    which is what grouped (GQA) and multi-query attention (MQA, kv_heads = 1) save.

    Source: Kwon et al. 2023, arXiv:2309.06180, §3 (OPT-13B: 800 KB a token); Shazeer 2019, arXiv:1911.02150.
    Truth:  tests/truth/test_plan_kv.py (published sizes a token of OPT-13B, Qwen3-4B, Gemma-2B, Llama-3.1-405B).
    """
    return round(2 * layers * kv_heads * head * bytes_each * tokens * rows)


def latent_kv_bytes(
    *, layers: int, rank: int, rope_head: int, tokens: int = 1, rows: int = 1, bytes_each: float = 2
) -> int:
    """Bytes of the cache of multi-head latent attention: one compressed vector and one rotated key a layer and token.

    bytes = layers · (rank + rope_head) · bytes_each · tokens · rows.

    Source: DeepSeek-AI 2024, arXiv:2405.04434, table 9 and §2.1.3.
    Truth:  tests/truth/test_plan_kv.py (DeepSeek-V2 34,560 elements, DeepSeek-V3 70,272 bytes a token).
    """
    return round(layers * (rank + rope_head) * bytes_each * tokens * rows)
