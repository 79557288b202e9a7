"""GGUF, the files of llama.cpp: models read from them and written to them."""

from .reading import load_gguf
from .writing import save_gguf

__all__ = ["load_gguf", "save_gguf"]
