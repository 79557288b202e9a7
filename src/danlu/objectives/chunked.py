"""Cross-entropy without the logits: a chunk of tokens at a time, its gradient taken before the next chunk exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

Head = Callable[[Tensor], Tensor]


def cross_entropy(head: Head, hidden: Tensor, targets: Tensor, weight: Tensor, chunk: int) -> Tensor:
    """Σ weight · -log softmax(head(hidden))[targets], in nats; at most ``chunk`` · V logits exist at a time.

    hidden: (N, M); targets, weight: (N,). ``head`` maps (n, M) to (n, V) and may be anything differentiable: which
    parameters it uses is read off its graph. The gradient is taken during the forward pass, so logits are computed
    once; only float16 waits for the backward pass, because its gradient must carry the loss scale.

    Truth: tests/truth/test_chunked.py (torch's own cross-entropy on whole logits, value and gradients).
    """
    if not len(targets):
        return hidden.new_zeros((), dtype=_wide(hidden))
    if not torch.is_grad_enabled():
        return _sum(_nll(head(hidden[a:b]), targets[a:b], weight[a:b]) for a, b in _edges(len(targets), chunk))
    if _half(hidden):
        parts = ((hidden[a:b], targets[a:b], weight[a:b]) for a, b in _edges(len(targets), chunk))
        return _sum(checkpoint(_scored, head, *part, use_reentrant=False) for part in parts)
    parameters = leaves(head(hidden[:1].detach()))
    if not (hidden.requires_grad or parameters):
        with torch.no_grad():
            return cross_entropy(head, hidden, targets, weight, chunk)
    return _Chunked.apply(head, hidden, targets, weight, chunk, *parameters)


def leaves(output: Tensor) -> list[Tensor]:
    """The leaf tensors that require a gradient and took part in ``output``, each once, in a fixed order."""
    found: dict[Tensor, None] = {}
    stack, seen = [output.grad_fn], set()
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        leaf = getattr(node, "variable", None)  # only AccumulateGrad nodes hold one
        if leaf is not None:
            found[leaf] = None
        stack.extend(parent for parent, _ in node.next_functions)
    return list(found)


class _Chunked(torch.autograd.Function):
    """Loss and gradient in one pass over chunks; backward only multiplies by what comes from above."""

    @staticmethod
    def forward(
        ctx: Any, head: Head, hidden: Tensor, targets: Tensor, weight: Tensor, chunk: int, *parameters: Tensor
    ) -> Tensor:
        total = hidden.new_zeros((), dtype=_wide(hidden))
        d_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[1] else None
        sums: list[Tensor | None] = [None] * len(parameters)
        for a, b in _edges(len(targets), chunk):
            nll, grads = _with_gradient(head, hidden[a:b], targets[a:b], weight[a:b], parameters)
            total += nll
            if d_hidden is not None:
                d_hidden[a:b] = grads[0]
            for i, held in enumerate(sums):
                sums[i] = grads[i + 1] if held is None else held.add_(grads[i + 1])
            del grads  # or the next chunk's would exist beside them
        ctx.held = (d_hidden, *sums)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        held, ctx.held = ctx.held, None
        if held is None:
            raise RuntimeError("this loss was differentiated before; its gradient is kept for one backward pass only")
        d_hidden, *sums = (g if g is None else g.mul_(grad) for g in held)
        return None, d_hidden, None, None, None, *sums


def _with_gradient(
    head: Head, hidden: Tensor, targets: Tensor, weight: Tensor, parameters: tuple[Tensor, ...]
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The chunk's loss, and its gradient with respect to hidden and the parameters.

    d nll / d logits = weight · (softmax(logits) - onehot(target)).  (n, V)
    """
    with torch.enable_grad():
        hidden = hidden.detach().requires_grad_()
        logits = head(hidden)
    with torch.no_grad():
        slope = F.log_softmax(logits, -1, dtype=_wide(logits))
        nll = -(slope.gather(-1, targets[:, None]).squeeze(-1) * weight).sum()
        slope.exp_().scatter_add_(-1, targets[:, None], slope.new_full((len(slope), 1), -1.0))
        slope = slope.mul_(weight[:, None]).to(logits.dtype)
    return nll, torch.autograd.grad(logits, (hidden, *parameters), slope)


def _nll(logits: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    return (F.cross_entropy(logits.to(_wide(logits)), targets, reduction="none") * weight).sum()


def _scored(head: Head, hidden: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    return _nll(head(hidden), targets, weight)


def _wide(tensor: Tensor) -> torch.dtype:
    """Losses are summed in fp32, or in fp64 where a model is."""
    return torch.promote_types(tensor.dtype, torch.float32)


def _half(hidden: Tensor) -> bool:
    kind = hidden.device.type
    return hidden.dtype is torch.float16 or (
        torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) is torch.float16
    )


def _edges(tokens: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Chunks of equal size but for the last."""
    return ((a, min(a + chunk, tokens)) for a in range(0, tokens, chunk))


def _sum(parts: Iterator[Tensor]) -> Tensor:
    total = next(parts)
    for part in parts:
        total = total + part
    return total
