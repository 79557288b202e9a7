"""What training need not hold in the device's memory all the time: activations, and frozen weights of blocks."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from ..core.errors import ConfigError
from ..nn.model import Model
from ..nn.remade import Lodging
from ..nn.wirings import Wiring
from .host import Host, Resting

SMALLEST = 1 << 14
"""Tensors of fewer bytes stay: to move them costs more than they hold."""


class Away(Lodging):
    """Activations rest at the host from the forward pass until backward needs them.

    Parameters and small tensors stay. What several operations save is kept once.
    Truth: tests/truth/test_offload.py (the same gradients in bits; the allocator's peak).
    """

    def __init__(self, host: Host, module: nn.Module) -> None:
        self.host = host
        self.stays = {p.untyped_storage()._cdata for p in [*module.parameters(), *module.buffers()]}
        self.known: dict[tuple[Any, ...], tuple[StorageWeakRef, Resting]] = {}

    def pack(self, tensor: Tensor) -> Tensor | Resting:
        storage = tensor.untyped_storage()
        if tensor.nbytes < SMALLEST or storage._cdata in self.stays:
            return tensor
        place = (storage._cdata, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype, tensor._version)
        alive, resting = self.known.get(place, (None, None))
        if resting is None or alive is None or alive.expired():
            resting = self.host.rest(tensor.detach())
            self.known[place] = StorageWeakRef(storage), resting
        return resting

    def unpack(self, ticket: Tensor | Resting) -> Tensor:
        return ticket if isinstance(ticket, Tensor) else ticket.bring()

    def forget(self) -> None:
        """The forward pass is through: only backward holds what rests."""
        self.known.clear()


class Weights:
    """Frozen weights of blocks rest at the host and come while their block computes, forward and backward.

    On a GPU blocks must be recomputed: backward then fetches a block the way forward does. On a CPU they are mapped
    files, computed with where they lie and dropped from resident memory after each use.
    Raises: ConfigError if no block has frozen weights, or a GPU's blocks are not recomputed.
    Truth:  tests/truth/test_offload.py (the same gradients in bits; no weight of a block left in memory).
    """

    def __init__(self, model: Model, host: Host) -> None:
        if host.copies and model.recompute not in ("blocks", True):
            raise ConfigError("train.offload: [parameters] on a GPU needs train.recompute: blocks")
        known: dict[Tensor, Resting] = {}  # blocks may share tensors
        self.blocks = [_Block(part, host, known) for part in model.modules() if isinstance(part, Wiring)]
        if not known:
            raise ConfigError(
                "train.offload: [parameters] moves frozen weights of blocks, and this run has none; add an adapter, or "
                "offload activations and optimizer"
            )

    def to(self, model: Model, device: str) -> Model:
        """Moves the model to its device, but for what rests."""
        for block in self.blocks:
            block.empty()
        model.to(device)
        for block in self.blocks:
            block.leave()
        return model

    def holds(self, tensor: Tensor) -> bool:
        return any(tensor is other for block in self.blocks for other in block.resting)

    def leave(self) -> None:
        """After a step: what backward brought last goes too."""
        for block in self.blocks:
            block.leave()


class _Block:
    def __init__(self, block: nn.Module, host: Host, known: dict[Tensor, Resting]) -> None:
        tensors = [*(p for p in block.parameters() if not p.requires_grad), *block.buffers()]
        large = [tensor for tensor in tensors if tensor.nbytes >= SMALLEST]
        known.update({tensor: host.rest(tensor.detach()) for tensor in large if tensor not in known})
        self.resting = {tensor: known[tensor] for tensor in large}
        self.leave()
        block.register_forward_pre_hook(self._enter)
        block.register_forward_hook(self._exit, always_call=True)  # what is computed again may stop half-way

    def empty(self) -> None:
        for tensor in self.resting:
            tensor.data = tensor.data.new_empty(0)

    def leave(self) -> None:
        for tensor, resting in self.resting.items():
            tensor.data = resting.tensor
            resting.leave()

    def _enter(self, block: nn.Module, given: tuple[Any, ...]) -> None:
        for resting in self.resting.values():
            resting.start()
        for tensor, resting in self.resting.items():
            tensor.data = resting.bring()
        if given[0].requires_grad:
            given[0].register_hook(self._graded)

    def _exit(self, block: nn.Module, given: tuple[Any, ...], answer: Any) -> None:
        self.leave()

    def _graded(self, grad: Tensor) -> None:
        """The gradient of what went into the block is there: its backward is through."""
        self.leave()
