"""What a GGUF file says of a model: typed look-ups, so that nothing unfit is built."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from ...core.errors import CheckpointError
from ...core.gguf import GgufFile

T = TypeVar("T")


class Fields:
    """The fields of a file's architecture, without its name before them, and the file's tensors."""

    def __init__(self, file: GgufFile) -> None:
        self.file, self.where = file, str(file.path)
        self.architecture = str(file.fields.get("general.architecture", ""))

    def need(self, key: str, kind: type[T]) -> T:
        """Raises CheckpointError if the field is missing or of another kind."""
        if (value := self._found(key)) is None:
            raise CheckpointError(f"{self.where}: the field {self._name(key)!r} is missing; fetch the file again")
        return self._typed(key, value, kind)

    def take(self, key: str, default: T) -> T:
        """The value, or the default where it is absent, which must be of the default's kind."""
        value = self._found(key)
        return default if value is None else self._typed(key, value, type(default))

    def require(self, key: str, value: Any, because: str) -> None:
        """Refuses every value of a field but one."""
        if self._found(key) not in (None, value):
            raise self.refusal(key, because)

    def refusal(self, key: str, because: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: {self._name(key)} = {self._found(key)!r} cannot be served: {because}")

    def has(self, tensor: str) -> bool:
        return tensor in self.file.tensors

    def rows(self, tensor: str) -> int:
        """The first dimension of a tensor that every file has; raises CheckpointError if this one has not."""
        if not self.has(tensor):
            raise CheckpointError(f"{self.where}: the tensor {tensor!r} is missing; fetch the file again")
        return self.file.tensors[tensor].shape[0]

    def tensor(self, name: str) -> Tensor:
        return torch.from_numpy(self.file.read(name))

    def _found(self, key: str) -> Any:
        return self.file.fields.get(self._name(key))

    def _name(self, key: str) -> str:
        return f"{self.architecture}.{key}"

    def _typed(self, key: str, value: Any, kind: type[T]) -> T:
        if isinstance(value, list) and kind is int and value and all(one == value[0] for one in value):
            value = value[0]  # some files give a number for each layer
        if kind is float and type(value) in (int, float):
            return float(f"{value:.6g}")  # type: ignore[return-value]  # 1e-05, of which single precision made 9.99e-06
        if type(value) is not kind:
            raise CheckpointError(
                f"{self.where}: {self._name(key)} must be {kind.__name__}, found {str(value)[:40]!r}; fetch the file "
                "again"
            )
        return value
