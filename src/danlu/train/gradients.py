"""From sums of gradients to the gradient of the mean, clipped: one pass over memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

TINY = 1e-6


def norm(gradients: Sequence[Tensor]) -> Tensor:
    """The 2-norm of all of them as one vector."""
    if any(gradient.dtype is not torch.float32 for gradient in gradients):
        return joined([length(gradient) for gradient in gradients])
    return torch.nn.utils.get_total_norm(gradients) if gradients else torch.zeros(())


def length(gradient: Tensor) -> Tensor:
    """The 2-norm of one, in float32 at least."""
    return torch.linalg.vector_norm(gradient, dtype=torch.promote_types(gradient.dtype, torch.float32))


def joined(norms: Sequence[Tensor]) -> Tensor:
    """The 2-norm of all of several, of which these are the 2-norms."""
    return torch.linalg.vector_norm(torch.stack(list(norms))) if norms else torch.zeros(())


def settle(gradients: Sequence[Tensor], divisor: float, norm: float, clip: float | None) -> None:
    """Divides summed gradients by ``divisor``, and shortens them to ``clip`` if ``norm`` (after division) is longer.

    g ← g / divisor · min(1, clip / (norm + 1e-6)).

    Source: Pascanu et al. 2013, arXiv:1211.5063, algorithm 1.
    Truth:  tests/truth/test_gradients.py (torch.nn.utils.clip_grad_norm_ on the gradient of the mean).
    """
    factor = 1.0 if clip is None else min(1.0, clip / (norm + TINY))
    if (factor := factor / divisor) != 1.0:
        torch._foreach_mul_(list(gradients), factor)  # pyright: ignore[reportPrivateImportUsage]
