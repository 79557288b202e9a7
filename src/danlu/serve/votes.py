"""Which of two answers people took: one line of JSON a vote, kept for evaluation."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from ..core.errors import ConfigError


class Votes:
    """A file that is only added to; each line is on the disk before the vote is confirmed.

    Raises: ConfigError if it cannot be written.
    """

    def __init__(self, file: str | Path) -> None:
        self.file, self._lock = Path(file), threading.Lock()
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            text = self.file.read_bytes() if self.file.exists() else b""
            with open(self.file, "ab") as handle:
                if text and not text.endswith(b"\n"):
                    handle.write(b"\n")  # the last line was cut: it ends here
        except OSError as error:
            raise ConfigError(f"{file}: votes cannot be kept there ({error.strerror}); give --votes FILE") from None
        self.kept = sum(1 for line in text.split(b"\n") if line.strip())

    def add(self, vote: dict[str, Any]) -> int:
        """How many there are now."""
        told = {"id": uuid.uuid4().hex, "time": round(time.time(), 3), **vote}
        line = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
        with self._lock:
            with open(self.file, "ab") as handle:
                handle.write(line.encode() + b"\n")
                handle.flush()
                os.fsync(handle.fileno())
            self.kept += 1
            return self.kept
