"""Floor 4: models with their adapters and storages, put together from folders and written to them."""

from .loading import attach_folder, load, load_with
from .merging import merge
from .writing import read_into, save, write_into

__all__ = ["attach_folder", "load", "load_with", "merge", "read_into", "save", "write_into"]
