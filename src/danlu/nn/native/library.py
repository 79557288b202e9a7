"""The C files of this folder, compiled when first needed for the machine at hand and kept in the user's cache."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ...core.files import atomic

HERE = Path(__file__).parent
FLAGS = ("-O3", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fopenmp", "-fPIC", "-shared")
"""Sums stay in the order they are written in; torch's OpenMP, already loaded, serves the threads."""

OFF, SWITCH = "DANLU_NATIVE is 0", "DANLU_NATIVE"
SECONDS = 600


class Unavailable(Exception):
    """Why there are no kernels here; torch does the work then."""


@functools.cache
def found() -> ctypes.CDLL | str:
    """The compiled kernels, or the reason why there are none, which is logged once."""
    try:
        if os.environ.get(SWITCH) == "0":
            return OFF
        return opened(built(FLAGS))
    except (Unavailable, OSError) as error:
        logging.getLogger("danlu").warning("no native kernels, torch's serve instead: %s", error)
        return str(error)


def ready() -> bool:
    """Whether this machine has kernels."""
    return not isinstance(found(), str)


def why() -> str | None:
    """Why there are none; None where there are."""
    reason = found()
    return reason if isinstance(reason, str) else None


def library() -> ctypes.CDLL:
    """The kernels; ask ``ready`` first."""
    there = found()
    assert not isinstance(there, str), there
    return there


def built(flags: Sequence[str], folder: Path | None = None) -> Path:
    """The shared library of these flags: from the cache, or compiled and tried in a process of its own.

    Raises: Unavailable if there is no compiler, or it fails, or its code does not run here.
    """
    sources = sorted([*HERE.glob("*.c"), *HERE.glob("*.h")])
    text = b"\0".join([*(source.read_bytes() for source in sources), *map(str.encode, flags), _machine()])
    file = (folder or _folder()) / f"native-{hashlib.sha256(text).hexdigest()[:24]}.so"
    if not file.exists():
        logging.getLogger("danlu").info("compiling native kernels for this machine, once: %s", file)
        with atomic(file) as draft:
            _compile(flags, [source for source in sources if source.suffix == ".c"], draft)
            _try(draft)
    return file


def opened(file: Path) -> ctypes.CDLL:
    """The library of a file, its functions told what they take."""
    from . import calls  # the structures of the C side

    opened = ctypes.CDLL(str(file))
    calls.declare(opened)
    return opened


def _compile(flags: Sequence[str], sources: Sequence[Path], to: Path) -> None:
    compiler = shutil.which(os.environ.get("CC") or "cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise Unavailable(
            "there is no C compiler; install gcc or clang, or set DANLU_NATIVE=0 to say that none is meant"
        )
    command = [compiler, *flags, *map(str, sources), "-o", str(to), "-lm"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{compiler} took longer than {SECONDS} s") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["nothing"]
        raise Unavailable(f"{compiler} failed: {said[0].strip()}")


def _try(file: Path) -> None:
    """Code for another processor would end the process: it is run in one of its own first."""
    code = "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).probe())"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(file)], capture_output=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unavailable("the compiled kernels did not answer") from None
    if done.returncode:
        raise Unavailable(f"the compiled kernels do not run here (exit {done.returncode})")


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "danlu"


def _machine() -> bytes:
    """What the compiler makes of -march=native depends on: a home directory may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        flags = platform.processor()
    return f"{platform.machine()} {flags}".encode()
