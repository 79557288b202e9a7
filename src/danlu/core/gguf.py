"""GGUF files, llama.cpp's: their header read within the bounds of the file, their tensors one by one, written whole."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .errors import CheckpointError, MissingExtra
from .files import atomic

SUFFIX, MAGIC, VERSIONS, ALIGNMENT = ".gguf", b"GGUF", (2, 3), 32
NUMBERS = {0: "u1", 1: "i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8"}
STRING, ARRAY = 8, 9
DEEPEST = 4
"""Of tensors' dimensions, and of arrays in arrays."""


@dataclass(frozen=True)
class Held:
    """A tensor of a file: its shape as torch counts it, the number of its type, and where its bytes lie."""

    shape: tuple[int, ...]
    type: int
    start: int
    size: int


class GgufFile:
    """``fields``: key → value, ``tensors``: name → where it lies; ``read`` answers one tensor."""

    def __init__(self, path: Path, raw: mmap.mmap) -> None:
        self.path, self._raw, self._at = path, raw, 4
        self.fields: dict[str, Any] = {}
        self.tensors: dict[str, Held] = {}
        version, tensors, fields = self._unpack("<IQQ")
        if version not in VERSIONS:
            raise CheckpointError(f"{path}: is GGUF of version {version}, versions 2 and 3 are read; convert it anew")
        for _ in range(fields):
            key = self._string()
            self.fields[key] = self._value(*self._unpack("<I"), depth=0)
        found = {self._string(): self._info() for _ in range(tensors)}
        start = -(-self._at // self._alignment()) * self._alignment()
        for name, (shape, kind, offset) in found.items():
            self.tensors[name] = self._placed(name, shape, kind, start + offset)

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """A tensor as it is kept if in full or half precision, else as float32: what llama.cpp multiplies with."""
        held, quants = self.tensors[name], _quants()
        raw = np.frombuffer(self._raw, np.uint8, held.size, held.start)
        plain = {0: np.float32, 1: np.float16, 28: np.float64}.get(held.type)
        if plain is not None:
            return raw.view(plain).reshape(held.shape).copy()
        try:
            rows = raw.reshape(*held.shape[:-1], -1)
            return quants.dequantize(rows, _types()(held.type)).reshape(held.shape)
        except NotImplementedError:
            kind = _types()(held.type).name
            raise CheckpointError(
                f"{self.path}: the tensor {name!r} is kept as {kind}, which is not read; take a file in another type, "
                "for example Q8_0"
            ) from None

    def _placed(self, name: str, shape: tuple[int, ...], kind: int, start: int) -> Held:
        """Raises CheckpointError if the type is unknown or the bytes do not lie in the file."""
        from gguf import GGML_QUANT_SIZES

        try:
            block, size = GGML_QUANT_SIZES[_types()(kind)]
        except (ValueError, KeyError):
            raise CheckpointError(
                f"{self.path}: the tensor {name!r} is kept as type {kind}, which is not known; update the package gguf"
            ) from None
        whole = prod(shape) // block * size
        if start + whole > len(self._raw) or shape[-1] % block:
            raise CheckpointError(f"{self.path}: the tensor {name!r} is cut; fetch the file again")
        return Held(shape, kind, start, whole)

    def _alignment(self) -> int:
        value = self.fields.get("general.alignment", ALIGNMENT)
        return value if isinstance(value, int) and value > 0 else ALIGNMENT

    # ── reading on ───────────────────────────────────────────────────────────────────────────────────────────────
    def _unpack(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(form, self._raw, self._at)
        self._at += struct.calcsize(form)
        return values

    def _bytes(self, size: int) -> bytes:
        raw = self._raw[self._at : self._at + size]
        if len(raw) < size:
            raise struct.error("cut")
        self._at += size
        return raw

    def _string(self) -> str:
        (size,) = self._unpack("<Q")
        return self._bytes(size).decode("utf-8", "surrogateescape")

    def _info(self) -> tuple[tuple[int, ...], int, int]:
        (depth,) = self._unpack("<I")
        if not 0 < depth <= DEEPEST:
            raise struct.error(f"{depth} dimensions")
        shape = self._unpack(f"<{depth}Q")[::-1]
        kind, offset = self._unpack("<IQ")
        return shape, kind, offset

    def _value(self, kind: int, depth: int) -> Any:
        if kind == STRING:
            return self._string()
        if kind == ARRAY and depth < DEEPEST:
            inner, count = self._unpack("<IQ")
            if inner in NUMBERS:
                dtype = np.dtype(NUMBERS[inner])
                return np.frombuffer(self._bytes(count * dtype.itemsize), dtype).tolist()
            return [self._value(inner, depth + 1) for _ in range(count)]
        dtype = np.dtype(NUMBERS[kind])
        return np.frombuffer(self._bytes(dtype.itemsize), dtype)[0].item()


@contextmanager
def opened(path: str | Path) -> Iterator[GgufFile]:
    """A GGUF file; raises CheckpointError if it is none, cut, damaged, or one of several parts."""
    path = Path(path)
    _quants()
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise CheckpointError(f"{path}: is no GGUF file; give a file that llama.cpp opens")
        raw = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        found = GgufFile(path, raw)
    except (struct.error, KeyError, OverflowError, MemoryError):
        raise CheckpointError(f"{path}: is cut or damaged; fetch the file again") from None
    if found.fields.get("split.count", 0) > 1:
        raise CheckpointError(f"{path}: is one part of several; join them with llama-gguf-split --merge FIRST WHOLE")
    yield found


@dataclass(frozen=True)
class Planned:
    """A tensor to be written: its shape as torch counts it, and the name of its type."""

    shape: tuple[int, ...]
    type: str

    @property
    def bytes_(self) -> tuple[int, ...]:
        """The shape of the bytes."""
        from gguf import GGML_QUANT_SIZES

        block, size = GGML_QUANT_SIZES[_types()[self.type]]
        return (*self.shape[:-1], self.shape[-1] // block * size)


def write(
    path: Path,
    architecture: str,
    fields: Mapping[str, Any],
    plan: Mapping[str, Planned],
    tensors: Iterator[np.ndarray[Any, Any]],
) -> None:
    """A file that is whole or not there; ``tensors`` are the bytes of what is planned, in order, one by one."""
    _quants()
    from gguf import GGUFWriter

    with atomic(path) as draft:
        writer = GGUFWriter(draft, architecture)
        for key, value in fields.items():
            _add(writer, key, value)
        for name, planned in plan.items():
            shape = planned.bytes_
            writer.add_tensor_info(name, shape, np.dtype(np.uint8), prod(shape), raw_dtype=_types()[planned.type])
        try:
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for tensor in tensors:
                writer.write_tensor_data(np.ascontiguousarray(tensor).view(np.uint8))
        finally:
            writer.close()


def _add(writer: Any, key: str, value: Any) -> None:
    """Of the type that llama.cpp asks for: 32 bits, but for texts, truth values and lists."""
    from gguf import GGUFValueType

    kinds = {str: "STRING", bool: "BOOL", int: "UINT32", float: "FLOAT32"}
    if isinstance(value, list):
        writer.add_array(key, value)
    elif isinstance(value, bytes):
        writer.add_key_value(key, value, GGUFValueType.ARRAY, sub_type=GGUFValueType.UINT8)
    else:
        writer.add_key_value(key, value, GGUFValueType[kinds[type(value)]])


def _quants() -> Any:
    try:
        from gguf import quants
    except ImportError:
        raise MissingExtra("gguf", "gguf", "reading and writing GGUF files") from None
    return quants


def _types() -> Any:
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType
