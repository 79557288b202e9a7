"""``python -m danlu.data.worker``: a process that tokenizes chunks from stdin to stdout until stdin ends."""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

from ..core.errors import DanluError, DataError
from ..tokenize import load_tokenizer
from .chunks import Chunk, encoded
from .encoding import Encoder
from .wire import receive, send


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """The first message says with which tokenizer and limits, every further one is a chunk."""
    first = receive(source)
    if first is None:
        return
    setup = first[0]
    encoder = Encoder(load_tokenizer(setup["tokenizer"]), length=setup["length"], too_long=setup["too_long"])
    while (message := receive(source)) is not None:
        try:
            send(sink, *encoded(Chunk.parse(*message), encoder).write())
        except DataError as error:
            send(sink, {"error": error.sentence, "file": str(error.file), "line": error.line}, [])
        except DanluError as error:
            send(sink, {"error": str(error), "file": None, "line": None}, [])


def main() -> None:
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up between the messages
    try:
        serve(sys.stdin.buffer, sink)
    except (BrokenPipeError, EOFError):
        os._exit(1)  # whoever asked has gone; nobody is left to be told


if __name__ == "__main__":
    main()
