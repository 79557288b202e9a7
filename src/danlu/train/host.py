"""The host: memory beside that of the device, where tensors rest while nobody works with them."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._guards import detect_fake_mode

from ..core.errors import ConfigError


class Resting(ABC):
    """One tensor at the host. ``tensor`` is where it rests: to be read and saved, not to be worked with."""

    tensor: Tensor

    def start(self) -> None:  # noqa: B027  (only copies begin early)
        """It will be brought soon."""

    @abstractmethod
    def bring(self) -> Tensor:
        """Its values, to work with."""

    @abstractmethod
    def back(self, working: Tensor) -> None:
        """Keeps what became of it, and lets go."""

    def leave(self) -> None:  # noqa: B027  (only what lies where it is worked with has pages to drop)
        """Lets go of the memory it was worked with in; it has not changed."""


class Host(ABC):
    """A kind of memory to rest in. ``copies``: what rests there is worked with elsewhere."""

    copies: bool

    @abstractmethod
    def room(self, tensor: Tensor) -> Resting:
        """Room for a tensor of this shape, order of strides and dtype, with no values yet."""

    def rest(self, tensor: Tensor) -> Resting:
        """A copy that rests."""
        resting = self.room(tensor)
        resting.back(tensor)
        return resting

    def settle(self) -> None:  # noqa: B027  (only copies take their time)
        """Waits until all that was given back has arrived."""


class Disk(Host):
    """Where the device is the CPU: files mapped into memory, dropped from resident memory after each use.

    They lie in ``folder`` without a name, so that a killed run leaves none. The kernel keeps their pages as long as
    it has room, writes them out when it has not, and reads them back. If the folder is itself kept in memory (tmpfs),
    nothing is gained.
    Raises: ConfigError if the folder has no room, or the system maps files in another way (Windows).
    """

    copies = False

    def __init__(self, folder: Path | None = None) -> None:
        if os.name != "posix":
            raise ConfigError("train.offload and paged optimizers need Linux or macOS where the device is a CPU")
        self.folder = folder or Path(tempfile.gettempdir())

    def room(self, tensor: Tensor) -> Mapped:
        return Mapped(_mapped(self.folder, tensor.numel(), tensor.dtype).as_strided(tensor.shape, _strides(tensor)))


class Mapped(Resting):
    """A tensor in a mapped file: worked with where it lies."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def bring(self) -> Tensor:
        return self.tensor

    def back(self, working: Tensor) -> None:
        if working is not self.tensor:
            self.tensor.copy_(working)
        self.leave()

    def leave(self) -> None:
        if sys.platform == "linux":  # elsewhere the kernel drops pages by itself
            storage = self.tensor.untyped_storage()
            _libc().madvise(storage.data_ptr(), storage.nbytes(), mmap.MADV_DONTNEED)


class Pinned(Host):
    """Where the device is a GPU: pinned memory of the host, copied to and fro beside the computation."""

    copies = True

    def __init__(self, device: str) -> None:
        self.device, self.stream = torch.device(device), torch.cuda.Stream(device)

    def room(self, tensor: Tensor) -> Copied:
        empty = torch.empty_strided(tensor.shape, _strides(tensor), dtype=tensor.dtype, pin_memory=True)
        return Copied(empty, self.device, self.stream)

    def settle(self) -> None:
        torch.cuda.synchronize(self.device)


class Copied(Resting):
    """A tensor in pinned memory, of which the device gets a copy."""

    def __init__(self, tensor: Tensor, device: torch.device, stream: torch.cuda.Stream) -> None:
        self.tensor, self.device, self.stream = tensor, device, stream
        self.coming: tuple[Tensor, Any] | None = None  # and the event of its arrival

    def start(self) -> None:
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.stream):
            self.coming = self.tensor.to(self.device, non_blocking=True), self.stream.record_event()

    def bring(self) -> Tensor:
        if self.coming is None:
            self.start()
        assert self.coming is not None
        (working, arrived), self.coming = self.coming, None
        now = torch.cuda.current_stream(self.device)
        now.wait_event(arrived)
        working.record_stream(now)
        return working

    def back(self, working: Tensor) -> None:
        self.tensor.copy_(working, non_blocking=True)


class Imagined(Host):
    """For a plan, whose tensors have no memory: what comes to rest is told to ``told`` and lies nowhere."""

    told: ClassVar[list[Callable[[Tensor], None]]] = []

    def __init__(self, copies: bool) -> None:
        self.copies = copies

    def room(self, tensor: Tensor) -> Resting:
        lying = torch.empty_like(tensor)
        for listener in self.told:
            listener(lying)
        return Taken(lying) if self.copies else Lying(lying)


class Lying(Resting):
    """Worked with where it lies."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def bring(self) -> Tensor:
        return self.tensor

    def back(self, working: Tensor) -> None:
        pass


class Taken(Resting):
    """Worked with in a copy."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def bring(self) -> Tensor:
        return torch.empty_like(self.tensor)

    def back(self, working: Tensor) -> None:
        pass


@contextmanager
def telling(listener: Callable[[Tensor], None]) -> Iterator[None]:
    """Within, a planner hears of what comes to rest at an imagined host, whose bytes are not the device's."""
    Imagined.told.append(listener)
    try:
        yield
    finally:
        Imagined.told.remove(listener)


def host_of(device: str, folder: Path | None = None) -> Host:
    """The host of a device; ``folder`` is where files lie, if it needs any."""
    if detect_fake_mode() is not None:
        return Imagined(torch.device(device).type != "cpu")
    return Disk(folder) if torch.device(device).type == "cpu" else Pinned(device)


def _strides(tensor: Tensor) -> tuple[int, ...]:
    """The tensor's own where they leave no gap and meet no number twice; else their order without gaps."""
    return torch.empty_like(tensor, device="meta").stride()


def _mapped(folder: Path, numel: int, dtype: torch.dtype) -> Tensor:
    """A file of so many numbers, mapped and forgotten by the folder: it goes with the tensor.

    Not by ``mmap.mmap``, which keeps the file open: a run would have thousands.
    """
    handle, name = tempfile.mkstemp(prefix=".danlu-", dir=folder)
    try:
        bytes_ = numel * dtype.itemsize
        _reserve(handle, bytes_, folder)
        place = _libc().mmap(None, bytes_, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, handle, 0)
    finally:
        os.close(handle)
        os.unlink(name)
    if place == ctypes.c_void_p(-1).value:
        raise ConfigError(f"{folder}: cannot map a file of {bytes_} bytes ({os.strerror(ctypes.get_errno())})")
    pages = (ctypes.c_byte * bytes_).from_address(place)
    weakref.finalize(pages, _libc().munmap, place, bytes_)
    return torch.frombuffer(pages, dtype=dtype, count=numel)


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    whole, size, flag = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    libc.mmap.restype, libc.mmap.argtypes = whole, (whole, size, flag, flag, flag, ctypes.c_long)
    libc.munmap.argtypes, libc.madvise.argtypes = (whole, size), (whole, size, flag)
    return libc


def _reserve(handle: int, bytes_: int, folder: Path) -> None:
    """A disk that is full must say so now: a mapped page that finds no room kills the process."""
    try:
        if sys.platform == "linux":
            os.posix_fallocate(handle, 0, bytes_)
        else:
            os.truncate(handle, bytes_)
    except OSError as error:
        raise ConfigError(
            f"{folder}: no room for {bytes_} bytes that are to rest outside of memory ({error.strerror}); free some "
            "space, or offload less (train.offload)"
        ) from None
