"""Grammars are tried in a process of their own before anybody follows them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import weakref
from collections.abc import Mapping
from typing import Any

from . import grammar_trial

WALL = 30.0  # seconds of the clock: the processor's are counted in the trial itself
REFUSED = "it needs more time, memory or depth than a request may have"


class Trials:
    """One process, started at the first trial and again after one that it did not survive; any thread may ask.

    It knows the special tokens, id to name, of a vocabulary of this size.
    """

    def __init__(self, size: int, special: Mapping[int, str]) -> None:
        self._vocabulary = json.dumps([size, dict(special)])
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None

    def reason(self, grammar: str, limits: dict[str, Any]) -> str:
        """Why this grammar is not to be followed, "" for no reason."""
        with self._lock:
            if self._process is None:
                self._process = _started(self._vocabulary)
                self._stop = weakref.finalize(self, _end, self._process)
            answer = _asked(self._process, json.dumps([grammar, limits]))
            if not answer:
                self._process = None
                self._stop()
            return json.loads(answer) if answer else REFUSED


def _started(vocabulary: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-I", grammar_trial.__file__]
    quiet = subprocess.DEVNULL
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=quiet, text=True, encoding="utf-8")
    assert process.stdin is not None
    process.stdin.write(vocabulary + "\n")
    return process


def _asked(process: subprocess.Popen[str], line: str) -> str:
    """The answer, "" if the process ended instead."""
    assert process.stdin is not None
    assert process.stdout is not None
    clock = threading.Timer(WALL, process.kill)
    clock.start()
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
        return process.stdout.readline()
    except OSError:  # it ended while the line was written
        return ""
    finally:
        clock.cancel()


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:  # what was still to be written to it
                continue
