"""A data file as a stream of bytes or text, plain or compressed, with errors that name file and line."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from ..core.errors import DataError, MissingExtra

COMPRESSIONS = (".gz", ".zst")
BLOCK = 1 << 20


@dataclass(frozen=True)
class Opened:
    """An open data file: ``handle`` gives its content, ``source`` is the file on disk (for progress)."""

    path: Path
    handle: BinaryIO
    source: BinaryIO

    @property
    def position(self) -> int:
        """Bytes of the file on disk read so far."""
        return 0 if self.source.closed else self.source.tell()


@contextmanager
def opened(path: Path) -> Iterator[Opened]:
    """The file, decompressed by its suffix; raises DataError if it is absent, forbidden or damaged."""
    try:
        with open(path, "rb") as source:
            yield Opened(path, _unpacked(path, source), source)
    except FileNotFoundError:
        raise DataError("no such file; check the path", file=path) from None
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(f"cannot be read ({error.strerror}); check the path and its rights", file=path) from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"is cut or damaged ({error}); compress it again", file=path) from None


def suffix_of(path: Path) -> str:
    """``jsonl`` for rows.jsonl, rows.jsonl.gz and rows.JSONL.zst."""
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    return inner.suffix.lower().removeprefix(".")


def texts(file: Opened) -> Iterator[str]:
    """The content as UTF-8 text in blocks, line ends as ``\\n``, a byte-order mark dropped."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")("strict"), translate=True)
    line = 1
    while True:
        block = file.handle.read(BLOCK)
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise not_utf8(error, file.path, line + error.object[: error.start].count(b"\n")) from None
        if text:
            yield text
        if not block:
            return
        line += block.count(b"\n")


def lines(file: Opened) -> Iterator[str]:
    """The text line by line, each with its line end."""
    held: list[str] = []
    for text in texts(file):
        head, *rest = _split(text)
        held.append(head)
        for piece in rest:
            yield "".join(held)
            held = [piece]
        if text.endswith("\n"):
            yield "".join(held)
            held = []
    if held:
        yield "".join(held)


def not_utf8(error: UnicodeDecodeError, path: Path | str, line: int) -> DataError:
    """The sentence for bytes that are no UTF-8."""
    byte = error.object[error.start]
    return DataError(
        f"not UTF-8 (byte 0x{byte:02x}); convert the file, for example with: iconv -f GB18030 -t UTF-8",
        file=path,
        line=line,
    )


def _split(text: str) -> list[str]:
    """At ``\\n`` only: ``splitlines`` would also cut at form feeds and Unicode separators."""
    pieces = text.split("\n")
    return [f"{piece}\n" for piece in pieces[:-1]] + ([pieces[-1]] if pieces[-1] else [])


def _unpacked(path: Path, source: BinaryIO) -> BinaryIO:
    if path.suffix.lower() == ".gz":
        return gzip.GzipFile(fileobj=source)  # type: ignore[return-value]
    if path.suffix.lower() == ".zst":
        return _zst(path, source)
    return source


def _zst(path: Path, source: BinaryIO) -> Any:
    try:
        import zstandard
    except ImportError:
        raise MissingExtra("zstandard", "zstd", f"{path}: reading .zst") from None
    stream = zstandard.ZstdDecompressor().stream_reader(source, read_across_frames=True)
    return io.BufferedReader(_Zst(stream, path, zstandard.ZstdError), BLOCK)


class _Zst(io.RawIOBase):
    """A zstd stream whose damage is a DataError with the file's name."""

    def __init__(self, stream: Any, path: Path, damage: type[Exception]) -> None:
        self.stream, self.path, self.damage = stream, path, damage

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self.stream.read(len(buffer))
        except self.damage as error:
            raise DataError(f"is cut or damaged ({error}); compress it again", file=self.path) from None
        buffer[: len(data)] = data
        return len(data)
