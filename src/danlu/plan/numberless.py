"""How operations go on without numbers: which run as they are, and what stands where a number is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

aten: Any = torch.ops.aten


def moved(module: nn.Module, change: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """What ``module.to`` does; torch's own exchanges the insides of tensors, which those without memory refuse."""
    for child in module.children() if recurse else ():
        child._apply(change)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            with torch.no_grad():
                new = change(parameter)
            if new is not parameter:
                module._parameters[name] = nn.Parameter(new, parameter.requires_grad)
    for name, buffer in module._buffers.items():
        module._buffers[name] = None if buffer is None else change(buffer)
    return module


def runs_really(func: Any, kwargs: dict[str, Any], given: list[Tensor]) -> bool:
    """Whether an operation has nothing to do with tensors without memory."""
    if given:
        return not any(isinstance(t, FakeTensor) or t.device.type == "meta" for t in given)
    kind = kwargs.get("dtype")
    if kind is None:
        return func._schema.name in _WHOLE
    return kind in _COUNTS and str(kwargs.get("device")) != "meta"


_COUNTS = frozenset({torch.int64, torch.int32, torch.bool})  # narrower ones are codes of real numbers
_WHOLE = frozenset({"aten::arange", "aten::randint", "aten::randperm", "aten::tril_indices", "aten::triu_indices"})
INDEXED = frozenset({aten.index.Tensor, aten.index_put.default, aten.index_put_.default})


def written(func: Any, args: Any, kwargs: dict[str, Any]) -> Tensor | None:
    """The tensor that an operation writes into, if it has memory: it stays the one it is, whatever was written."""
    for number, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[number] if number < len(args) else kwargs.get(argument.name)
            if isinstance(value, Tensor) and not isinstance(value, FakeTensor):
                return value
    return None


PLACES = frozenset({
    aten.topk.default, aten.sort.default, aten.sort.stable, aten.argsort.default, aten.argmax.default,
    aten.argmin.default, aten.max.dim, aten.min.dim, aten.multinomial.default,
})  # fmt: skip


def compared(func: Any, args: Any, kwargs: dict[str, Any]) -> int:
    """Along which dimension values are compared."""
    names = [argument.name for argument in func._schema.arguments]
    values = {**dict(zip(names, args, strict=False)), **kwargs}
    return -1 if values.get("dim") is None else int(values["dim"])


def placed(out: Any, size: int) -> Any:
    """Places among values that are not there are spread evenly, and are real numbers."""
    if isinstance(out, (tuple, list)):
        return tuple(placed(each, size) for each in out)
    if out.is_floating_point():
        return out
    with unset_fake_temporarily():
        return (torch.arange(out.numel()) % size).view(out.shape)


def indices(args: Any) -> Any:
    """Places instead of masks, which say only by their numbers how many they choose."""
    chosen: list[Any] = []
    for index in args[1]:
        if index is None or index.dtype is not torch.bool or isinstance(index, FakeTensor):
            chosen.append(index)
        else:
            chosen.extend(index.nonzero().unbind(-1))
    return (args[0], chosen, *args[2:])


def summed(given: list[Any]) -> tuple[Tensor, Tensor] | None:
    """The sum that torch's engine takes of two gradients of one tensor is written into one that nobody else holds.

    For tensors without memory it would make a third.
    """
    if torch._C._current_autograd_node() is not None:
        return None
    for one, other in (given, given[::-1]):
        alone = one._use_count() <= ALONE and one.untyped_storage()._cdata != other.untyped_storage()._cdata
        if alone and one.shape == other.shape and one.dtype == other.dtype:
            return one, other
    return None


ALONE = 2


def leaves(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from leaves(value)
        else:
            yield value
