"""Closed forms of parameter counts: the pieces of a Transformer, and decoders of every common kind."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import ConfigError, unknown

NORMS = {"rmsnorm": 1, "layernorm": 2, "layernorm without bias": 1, "none": 0}
"""Vectors of numbers that a norm has."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """``active`` parameters take part in one token; ``looked_up`` are tables that are read, not multiplied;
    ``linear`` are the weights of the linear maps of blocks: what storages keep and adapters hang on."""

    total: int
    active: int
    looked_up: int
    linear: int


def linear(inputs: int, outputs: int, bias: bool = False) -> int:
    """Numbers of a linear map."""
    return inputs * outputs + bias * outputs


def norm(kind: str, width: int) -> int:
    """Numbers of a norm; raises ConfigError for an unknown kind."""
    if kind not in NORMS:
        raise unknown("norm", kind, list(NORMS))
    return NORMS[kind] * width


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """Hyper-parameters of a decoder, and what they count.

    attention = M·D·(H + 2K) + D·H·M + biases (+ 2·D with norms of q and k, + H sinks);
    ffn = (2 or 3)·M·F + biases; a mixture has E of them, a router M·E and shared ones; tables: V·M (+ P·M positions),
    V·M more for a head of its own. M hidden, D head_dim, H heads, K kv_heads, F ffn, E experts, P max_positions.

    ``embedding`` is the width of token vectors if it is not the model's (OPT-350M); ``norms`` those of a block
    (4 in a sandwich, 1 if parallel sublayers share it). The first ``first_dense_layers`` blocks of a mixture have a
    feed-forward of ``ffn`` instead of experts of ``moe_ffn``.

    Raises: ConfigError for sizes below 1, heads that kv_heads do not divide, an unknown norm.
    Source: Narayanan et al. 2021, arXiv:2104.04473, eq. 2; Touvron et al. 2023, arXiv:2302.13971; Fedus et al. 2021,
    arXiv:2101.03961, §2.
    Truth:  tests/truth/test_plan_cases.py (published counts to the last digit; the built model beside the closed form).
    """

    hidden: int
    layers: int
    heads: int
    vocab: int
    ffn: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    gated: bool = True
    norm: str = "rmsnorm"
    norms: int = 2
    tied: bool = False
    bias: bool = False
    qkv_bias: bool | None = None
    out_bias: bool | None = None
    ffn_bias: bool | None = None
    head_bias: bool = False
    qk_norm: bool = False
    sinks_per_head: int = 0
    max_positions: int = 0
    embedding: int = 0
    embedding_norm: bool = False
    final_norm: bool = True
    experts: int = 0
    top_k: int = 0
    moe_ffn: int = 0
    shared_experts: int = 0
    first_dense_layers: int = 0
    router_bias: bool = False

    def __post_init__(self) -> None:
        if min(self.hidden, self.layers, self.heads, self.vocab, self.ffn or self.moe_ffn) < 1:
            raise ConfigError("a decoder needs hidden, layers, heads, vocab and ffn of at least 1")
        if self.heads % (self.kv_heads or self.heads):
            raise ConfigError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        if not 0 <= self.top_k <= max(self.experts, 0) or (self.experts and not self.top_k):
            raise ConfigError(f"top_k ({self.top_k}) must lie within 1 … experts ({self.experts})")

    def _or(self, given: bool | None) -> bool:
        return self.bias if given is None else given

    @property
    def head(self) -> int:
        return self.head_dim or self.hidden // self.heads

    @property
    def attention(self) -> int:
        """Numbers of one attention, its biases and norms of heads included."""
        return self.attention_linear + self.attention_rest

    @property
    def attention_linear(self) -> int:
        wide, narrow = self.heads * self.head, (self.kv_heads or self.heads) * self.head
        return self.hidden * (wide + 2 * narrow) + wide * self.hidden

    @property
    def attention_rest(self) -> int:
        wide, narrow = self.heads * self.head, (self.kv_heads or self.heads) * self.head
        biases = self._or(self.qkv_bias) * (wide + 2 * narrow) + self._or(self.out_bias) * self.hidden
        return biases + 2 * self.head * self.qk_norm + self.sinks_per_head * self.heads

    def feed_forward(self, width: int) -> tuple[int, int]:
        """Weights and biases of a feed-forward of this width."""
        biases = (1 + self.gated) * width + self.hidden
        return (2 + self.gated) * self.hidden * width, self._or(self.ffn_bias) * biases

    def sublayers(self, visited: int | None = None) -> tuple[int, int]:
        """Weights and biases of all feed-forwards; of a mixture's experts only ``visited``, if that is given."""
        dense = self.first_dense_layers if self.experts else self.layers
        weights, biases = (dense * part for part in self.feed_forward(self.ffn)) if dense else (0, 0)
        if self.experts:
            one = self.feed_forward(self.moe_ffn or self.ffn)
            each = (self.experts if visited is None else visited) + self.shared_experts
            mixed = self.layers - dense
            weights += mixed * (each * one[0] + self.hidden * self.experts)
            biases += mixed * (each * one[1] + self.router_bias * self.experts)
        return weights, biases

    def counted(self) -> Counted:
        """All of it."""
        tables = self.vocab * (self.embedding or self.hidden) + self.max_positions * self.hidden
        bridge = 2 * self.embedding * self.hidden
        norms = self.layers * self.norms + self.final_norm + self.embedding_norm
        ends = tables + bridge + norm(self.norm, norms * self.hidden)
        ends += (not self.tied) * self.vocab * self.hidden + self.head_bias * self.vocab
        around = ends + self.layers * self.attention
        return Counted(
            total=around + sum(self.sublayers()),
            active=around + sum(self.sublayers(self.top_k)),
            looked_up=tables - self.tied * self.vocab * (self.embedding or self.hidden),
            linear=self.layers * self.attention_linear + self.sublayers()[0],
        )


@dataclass(frozen=True, kw_only=True)
class LatentDecoder(Decoder):
    """A decoder with multi-head latent attention: queries and keys pass through narrow vectors that are normalized.

    attention = M·Q + Q·H·(n + r) (or M·H·(n + r) without Q) + M·(R + r) + R·H·(n + v) + H·v·M + norms Q + R, with
    Q q_lora_rank, R kv_lora_rank, n qk_nope_head_dim, r qk_rope_head_dim, v v_head_dim.

    Source: DeepSeek-AI 2024, arXiv:2405.04434, §2.1.
    Truth:  tests/truth/test_plan_cases.py (DeepSeek-V3's 37 and V2-Lite's 2.4 billion active parameters).
    """

    kv_lora_rank: int
    q_lora_rank: int = 0
    qk_nope_head_dim: int
    qk_rope_head_dim: int
    v_head_dim: int

    @property
    def attention_linear(self) -> int:
        turned = self.heads * (self.qk_nope_head_dim + self.qk_rope_head_dim)
        queries = self.q_lora_rank * (self.hidden + turned) if self.q_lora_rank else self.hidden * turned
        keys = self.hidden * (self.kv_lora_rank + self.qk_rope_head_dim)
        opened = self.kv_lora_rank * self.heads * (self.qk_nope_head_dim + self.v_head_dim)
        return queries + keys + opened + self.heads * self.v_head_dim * self.hidden

    @property
    def attention_rest(self) -> int:
        return self.kv_lora_rank + self.q_lora_rank


@dataclass(frozen=True, kw_only=True)
class Block:
    """One block with LayerNorm and biases, as encoders and the first Transformers have; ``cross`` looks at another's.

    4·(M² + M) an attention, 2·M·F + F + M the feed-forward, 2·M a norm, one more with ``cross``.
    """

    hidden: int
    ffn: int
    cross: bool = False
    bias_of_keys: bool = True

    @property
    def count(self) -> int:
        attention = 4 * linear(self.hidden, self.hidden, True) - (not self.bias_of_keys) * self.hidden
        dense = linear(self.hidden, self.ffn, True) + linear(self.ffn, self.hidden, True)
        return (1 + self.cross) * attention + dense + (2 + self.cross) * norm("layernorm", self.hidden)
