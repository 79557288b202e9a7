"""llama.cpp, by whichever way it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ...core.errors import DanluError
from . import Consumer
from .llama_python import LlamaPython
from .llama_server import LlamaServer, installed


def llama_cpp(path: str | Path, context: int) -> Consumer:
    """A GGUF file opened by llama.cpp; raises DanluError with how to install it where it is not."""
    if installed():
        return LlamaServer(path, context)
    if importlib.util.find_spec("llama_cpp"):
        return LlamaPython(path, context)
    raise DanluError(
        f"{path}: was written, but comparing it needs llama.cpp: pip install xllamacpp (or llama-cpp-python), or put "
        "llama-server on the PATH (brew install llama.cpp, or a release of ggml-org/llama.cpp)"
    )
