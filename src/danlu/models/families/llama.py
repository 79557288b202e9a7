"""LLaMA 1, 2, 3, 3.1 and 3.2."""

from __future__ import annotations

from ...core.spec import Spec
from ...nn.dims import Dims
from ..recipe import Recipe
from . import Published, family
from .llama_like import LLAMA, names, read, write
from .sizes import gated


@family("llama", Published("llama", "LlamaForCausalLM", read, write, names), gated, LLAMA)
def llama(dims: Dims, *, position: Spec | str | dict = "rope", eps: float = 1e-5, tied: bool = False) -> Recipe:
    """RMSNorm before each sublayer, rotary positions, SwiGLU, no biases, grouped queries from LLaMA 2 on.

    x ← x + attention(rms(x));  x ← x + swiglu(rms(x));  ffn = 8/3 · model rounded up to 64 unless given
    Source: Touvron et al. 2023, arXiv:2302.13971, §2.2; arXiv:2307.09288; Grattafiori et al. 2024, arXiv:2407.21783.
    Truth:  tests/parity/test_families_llama.py (logits and gradients of transformers).
    """
    return Recipe(
        dims=dims,
        family="llama",
        position=Spec.read(position),
        norm=Spec("rms", {"eps": eps}),
        ffn=Spec("swiglu"),
        tied=tied,
    )
