"""llama.cpp's server: the llama-server on the path, or the one in the Python package xllamacpp; in a process apart."""

from __future__ import annotations

import importlib.util
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...core.errors import CheckpointError
from . import Answer, Consumer

HOST, SECONDS, TOLD = "127.0.0.1", 300.0, 2048
"""Where it listens; how long it may load, or answer; how many tokens of a law it tells."""
PACKAGE, SERVER = "xllamacpp", "llama-server"
PACKAGED = """
import sys
import xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.n_ctx, p.n_parallel, p.n_gpu_layers = sys.argv[1], int(sys.argv[2]), 1, 0
p.warmup, p.use_jinja = False, True
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = int(sys.argv[3])
p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
p.cache_type_k = p.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
server = xllamacpp.Server(p)
print("listens at", server.listening_address, flush=True)
sys.stdin.read()
"""


def installed() -> bool:
    """Whether there is a server to start."""
    return bool(importlib.util.find_spec(PACKAGE) or shutil.which(SERVER))


class LlamaServer(Consumer):
    """A GGUF file opened by llama.cpp, keys and values in full precision.

    Raises: CheckpointError with its words if it does not open the file.
    """

    name = "llama.cpp"

    def __init__(self, path: str | Path, context: int, *, threads: int = 1) -> None:
        self._program, self._address = _started(Path(path), context, threads)

    def ids(self, text: str) -> list[int]:
        return self._ask("/tokenize", {"content": text, "add_special": True, "parse_special": True})["tokens"]

    def answer(self, prompt: Sequence[int], steps: int) -> Answer:
        """Step by step; of a token that leaves a character unfinished the server tells no law."""
        tokens: list[int] = []
        laws: list[tuple[Tensor, Tensor] | None] = []
        while len(tokens) < steps:
            said = self._complete([*prompt, *tokens], n_predict=1, n_probs=TOLD)
            told = said.get("completion_probabilities", [])
            laws.append(_law(told[-1]["top_logprobs"]) if told else None)
            tokens += said["tokens"]
            if said["stop_type"] == "eos":
                break
        return Answer(tokens, laws)

    def conversation(self, messages: Sequence[Mapping[str, str]]) -> str:
        return self._ask("/apply-template", {"messages": [dict(message) for message in messages]})["prompt"]

    def stops(self, token: int) -> bool:
        return self._complete([token], n_predict=2, logit_bias=[[token, 1e4]])["stop_type"] == "eos"

    def close(self) -> None:
        self._program.end()

    def _complete(self, prompt: Sequence[int], **settings: Any) -> dict[str, Any]:
        plain = {"samplers": ["top_k"], "top_k": 1, "cache_prompt": True, "return_tokens": True}
        return self._ask("/completion", {"prompt": list(prompt), **plain, **settings})

    def _ask(self, place: str, body: dict[str, Any]) -> dict[str, Any]:
        asked = urllib.request.Request(
            self._address + place, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(asked, timeout=SECONDS) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise CheckpointError(f"llama.cpp refuses: {error.read().decode(errors='replace')[:300]}") from None
        except OSError as error:
            raise CheckpointError(
                f"llama.cpp has ended while it was asked ({error}); the file is not fit for it"
            ) from None


def _law(told: list[dict[str, Any]]) -> tuple[Tensor, Tensor]:
    return torch.tensor([token["id"] for token in told]), torch.tensor([token["logprob"] for token in told])


Ready = Callable[["_Program"], "str | None"]


class _Program:
    """A process whose words are taken in as they come, or it would wait for somebody to read them."""

    def __init__(self, path: Path, command: list[str]) -> None:
        pipe = subprocess.PIPE
        self.path, self.words = path, list[str]()
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        self._ear = threading.Thread(target=self._hear, daemon=True)
        self._ear.start()

    def wait_until(self, ready: Ready, seconds: float) -> str | None:
        """The address, once it answers; None if it does not in time.

        Raises: CheckpointError with the program's words if it ends instead.
        """
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            ended = self.process.poll() is not None
            if address := ready(self):
                return address
            if ended:
                raise self._unopened()
            time.sleep(0.02)
        return None

    def _unopened(self) -> CheckpointError:
        self.end()
        errors = [word for word in self.words if "error" in word.lower()]
        reason = (errors or ["it says nothing"])[-1][:300]
        return CheckpointError(f"{self.path}: llama.cpp does not open it: {reason}")

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._ear.join()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()

    def _hear(self) -> None:
        assert self.process.stdout is not None
        self.words.extend(line.strip() for line in self.process.stdout)


def _started(path: Path, context: int, threads: int) -> tuple[_Program, str]:
    """Tried several times: the packaged server now and then waits for itself when it starts."""
    for seconds in WAITS:
        command, ready = _way(path, context, threads)
        program = _Program(path, command)
        if address := program.wait_until(ready, seconds + path.stat().st_size / READ):
            return program, address
        program.end()
    raise CheckpointError(f"{path}: llama.cpp does not start with it in {WAITS[-1]:.0f} seconds; look at its size")


WAITS, READ = (5.0, 5.0, 10.0, 10.0, 30.0, SECONDS), 1e8
"""Seconds that a start may take, beside those for reading so many bytes a second."""


def _way(path: Path, context: int, threads: int) -> tuple[list[str], Ready]:
    """How it is started, and how its address is known."""
    if importlib.util.find_spec(PACKAGE):
        return [sys.executable, "-c", PACKAGED, str(path), str(context), str(threads)], _said
    found = shutil.which(SERVER)
    assert found is not None
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = str(free.getsockname()[1])
    plain = ["--host", HOST, "--port", port, "-np", "1", "--jinja", "--no-warmup", "-ngl", "0"]
    kept = ["-ctk", "f32", "-ctv", "f32", "-fa", "off", "-c", str(context), "-t", str(threads)]
    return [found, "-m", str(path), *plain, *kept], lambda program: _healthy(f"http://{HOST}:{port}")


def _said(program: _Program) -> str | None:
    """The address that the packaged server says when the model is loaded."""
    return next((word.split()[-1] for word in program.words[:] if word.startswith("listens at ")), None)


def _healthy(address: str) -> str | None:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5):
            return address
    except OSError:
        return None
