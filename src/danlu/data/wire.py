"""Messages between processes: a JSON header and blobs, each with its size; nothing that could run code."""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

COUNT = struct.Struct("<I")
SIZE = struct.Struct("<Q")


def send(stream: BinaryIO, header: dict[str, Any], blobs: list[bytes]) -> None:
    """Writes one message and flushes it."""
    parts = [json.dumps(header).encode(), *blobs]
    stream.write(COUNT.pack(len(parts)) + b"".join(SIZE.pack(len(part)) for part in parts))
    for part in parts:
        stream.write(part)
    stream.flush()


def receive(stream: BinaryIO) -> tuple[dict[str, Any], list[bytes]] | None:
    """The next message; None if the other side has gone."""
    head = stream.read(COUNT.size)
    if len(head) < COUNT.size:
        return None
    count = COUNT.unpack(head)[0]
    sizes = [SIZE.unpack(_exactly(stream, SIZE.size))[0] for _ in range(count)]
    parts = [_exactly(stream, size) for size in sizes]
    return json.loads(parts[0]), parts[1:]


def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("the other side has gone in the middle of a message")
    return data
