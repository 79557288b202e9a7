"""Bytes that the keys and values of past tokens take while a model talks."""

from __future__ import annotations

from math import gcd

from ..core.errors import ConfigError
from ..core.spec import Spec
from ..models import Recipe


def kv_bytes(
    *, layers: int, kv_heads: int, head: int, tokens: int = 1, rows: int = 1, bytes_each: float = 4,
    window: int = 0, windowed: int | None = None, constants: float = 0,
) -> int:  # fmt: skip
    """Bytes of the key-value cache: two vectors of ``head`` a key-value head, layer and token.

    bytes = 2 · kv_heads · (head · bytes_each + constants) · rows · Σ_layers min(tokens, window): the query heads and
    the model size do not enter, which is what grouped (GQA) and multi-query attention (MQA, kv_heads = 1) save.
    ``windowed`` of the layers (all of them, if not given) keep only the last ``window`` tokens; 0 is no window.
    ``constants`` are bytes a vector beside its numbers: for int8 one scale, ``bytes_each=1, constants=4``.

    Raises: ConfigError for sizes below 1, or more windowed layers than layers.
    Source: Kwon et al. 2023, arXiv:2309.06180, §3 (OPT-13B: 800 KB a token); Shazeer 2019, arXiv:1911.02150; windows:
    Jiang et al. 2023, arXiv:2310.06825, §2.
    Truth:  tests/truth/test_plan_kv.py (published sizes a token of OPT-13B, Qwen3-4B, Gemma-2B, Llama-3.1-405B).
    """
    if min(layers, kv_heads, head, tokens, rows) < 1:
        raise ConfigError("kv cache: layers, kv_heads, head, tokens and rows must be at least 1")
    near = layers if windowed is None else windowed
    if not 0 <= near <= layers or window < 0:
        raise ConfigError(f"kv cache: windowed ({near}) must lie within 0 … layers ({layers}), window from 0 on")
    kept = near * min(tokens, window or tokens) + (layers - near) * tokens
    return round(2 * kv_heads * (head * bytes_each + constants) * rows * kept)


def rounded_kv_bytes(
    *, layers: int, kv_heads: int, head: int, tokens: int, bits: int, block: int = 16, rows: int = 1, fed: int = 0,
    whole: int = 32, bytes_each: float = 4,
) -> int:  # fmt: skip
    """Bytes of keys and values in ``bits``: keys with a grid a channel and block, values one a token and 32 channels.

    bytes = 2 · layers · kv_heads · head · (tokens · (bits / 8 + 2 / block + 2 / gcd(head, 32)) + fresh · bytes_each)
    A grid is two numbers of 16 bits. ``fresh`` tokens are as they came: a row's ``whole`` newest, rounded up to blocks,
    two blocks that are not full or on their way, and ``fed`` tokens of a step.

    Source: Liu et al. 2024, arXiv:2402.02750, §3.3.
    Truth:  tests/truth/test_plan_pool.py (bytes of the engine's pool as it lies in memory).
    """
    fresh = block * min(rows * (-(-whole // block) + 2) + -(-fed // block), tokens // block)
    rounded = tokens * (bits / 8 + 2 / block + 2 / gcd(head, 32))
    return round(2 * layers * kv_heads * head * (rounded + fresh * bytes_each))


def latent_kv_bytes(
    *, layers: int, rank: int, rope_head: int, tokens: int = 1, rows: int = 1, bytes_each: float = 2
) -> int:
    """Bytes of the cache of multi-head latent attention: one compressed vector and one rotated key a layer and token.

    bytes = layers · (rank + rope_head) · bytes_each · tokens · rows.

    Source: DeepSeek-AI 2024, arXiv:2405.04434, table 9 and §2.1.3.
    Truth:  tests/truth/test_plan_kv.py (DeepSeek-V2 34,560 elements, DeepSeek-V3 70,272 bytes a token).
    """
    return round(layers * (rank + rope_head) * bytes_each * tokens * rows)


def thumb_kv_bytes(*, layers: int, hidden: int, tokens: int, rows: int = 1) -> int:
    """The rule 4·b·l·h·(s + n): all heads in 16 bit. A model with grouped heads needs heads / kv_heads times less.

    Source: Pope et al. 2022, arXiv:2211.05102, §3.3, with two numbers of two bytes a layer, token and width.
    Truth:  tests/truth/test_plan_kv.py (OPT-13B; Llama-3-70B is an eighth of it).
    """
    return 4 * rows * layers * hidden * tokens


def windows_of(recipe: Recipe) -> list[int | None]:
    """The window of each layer; None sees everything."""
    return [_window(recipe.mask(layer)) for layer in range(recipe.dims.layers)]


def _window(mask: Spec) -> int | None:
    """The size of the window in a mask, which may be one of two that are joined."""
    if mask.use == "window":
        return mask.settings["size"]
    parts = [Spec.read(part) for part in mask.settings.values() if isinstance(part, (dict, Spec))]
    return next(filter(None, map(_window, parts)), None)


def kv_bytes_of(recipe: Recipe, *, tokens: int, rows: int = 1, bytes_each: float = 4) -> int:
    """The cache of a stack, layer by layer as its masks say; a cache that keeps all tokens needs ``kv_bytes``.

    Truth:  tests/truth/test_plan_kv.py (alternating windows by hand).
    """
    dims = recipe.dims
    return sum(
        kv_bytes(layers=1, kv_heads=dims.kv_heads, head=dims.head, tokens=tokens, rows=rows, bytes_each=bytes_each,
                 window=window or 0)
        for window in windows_of(recipe)
    )  # fmt: skip
