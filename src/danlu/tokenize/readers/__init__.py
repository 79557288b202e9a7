"""One file a format of vocabulary that others ship; each makes an engine of the ``tokenizers`` library."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

from tokenizers import Tokenizer

from ...core.registry import Registry
from ..profile import Profile


class Reader(ABC):
    """Reads one format. ``order`` says which wins in a folder that holds several: the lowest.

    ``whole``: the file says all, so that configurations that lie beside it are another's.
    """

    order: int = 50
    whole: bool = False

    @abstractmethod
    def finds(self, path: Path) -> Path | None:
        """The vocabulary file of this format in a folder, or the file itself if it is of this format."""

    @abstractmethod
    def read(self, file: Path, config: dict[str, object]) -> tuple[Tokenizer, Profile | None]:
        """The engine, and what the file itself says of special tokens (None where it says nothing).

        config: content of ``tokenizer_config.json`` beside it, empty if there is none.
        Raises: DataError if the file is damaged.
        """


READERS: Registry[type[Reader]] = Registry("vocabulary format", Reader, __name__)
