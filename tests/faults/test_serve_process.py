"""``danlu serve`` as a process: its address, its end, and what it says when it cannot begin."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from adapted import adapter_in, base_in

from danlu.cli import main

pytestmark = pytest.mark.slow
LORA = {"use": "lora", "at": "blocks.*.{q,v}", "rank": 4}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_in(tmp_path_factory.mktemp("served") / "base", context=512)


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "danlu", "serve", *map(str, words)]


@contextmanager
def started(*words: object, **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and its address."""
    process = subprocess.Popen(
        command(*words, "--port", 0),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, (line, process.stderr and process.stderr.read())
        yield process, found[0]
    finally:
        process.kill()
        process.communicate()


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["serve", *map(str, words)]) == 2
    told = capsys.readouterr().err
    assert len(told.strip().splitlines()) == 1, told
    return told


def test_a_taken_port_is_said_before_the_model_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert f"port {port} of 127.0.0.1 is in use" in refused(capsys, tmp_path / "no-model", "--port", port)


def test_what_cannot_be_served_is_one_sentence(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "does not exist" in refused(capsys, tmp_path / "no-model", "--port", 0)
    assert "no such address" in refused(capsys, base, "--host", "999.1.1.1", "--port", 0)
    assert "no folder to take adapters from" in refused(capsys, base, "--shelf", tmp_path / "nothing", "--port", 0)
    assert "votes cannot be kept there" in refused(capsys, base, "--votes", base, "--port", 0)
    assert "GiB" in refused(capsys, base, "--cache-gib", "0.0000001", "--port", 0)


def test_sigterm_lets_answers_end_and_takes_no_new_ones(base: Path) -> None:
    body = {"prompt": "the", "max_tokens": 300, "ignore_eos": True, "stream": True}
    with started(base, "--quiet") as (process, url), httpx.Client(timeout=60) as client:
        with client.stream("POST", f"{url}/v1/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{url}/health")
            rest = [line for line in lines if line.startswith("data: ")]
        assert rest[-1] == "data: [DONE]"
        assert json.loads(rest[-2][6:])["choices"][0]["finish_reason"] == "length"
        assert process.wait(20) == 0


def test_what_does_not_end_in_time_is_told(base: Path) -> None:
    body = {"prompt": "the", "max_tokens": 500, "ignore_eos": True, "stream": True, "n": 64}
    with started(base, "--quiet", "--drain", "0.2") as (process, url), httpx.Client(timeout=60) as client:
        with client.stream("POST", f"{url}/v1/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line.startswith("data: ")]
        assert json.loads(rest[-2][6:])["error"]["code"] == "stopping"
        assert process.wait(20) == 0


def test_ctrl_c_when_idle_ends_at_once(base: Path) -> None:
    with started(base) as (process, url):
        assert httpx.get(f"{url}/health").status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_adapters_keys_names_and_curl(base: Path, tmp_path: Path) -> None:
    if (curl := shutil.which("curl")) is None:
        pytest.skip("curl is not here")
    one, two = (adapter_in(tmp_path / "shelf" / name, base, LORA, seed=seed) for name, seed in (("one", 1), ("two", 2)))
    words = (
        base,
        "--adapter",
        f"law={one}",
        "--adapter",
        f"med={two}",
        "--name",
        "mine",
        "--votes",
        tmp_path / "v" / "votes.jsonl",
    )
    with started(*words, DANLU_API_KEY="secret") as (_, url):

        def ask(path: str, body: dict[str, object], key: str = "secret") -> dict[str, object]:
            said = subprocess.run(
                [curl, "-sS", f"{url}{path}", "-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {key}", "-d", json.dumps(body)],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            return json.loads(said.stdout)

        assert ask("/v1/completions", {"prompt": "the"}, "wrong")["error"]["code"] == "invalid_api_key"
        told = {
            name: ask("/v1/completions", {"model": name, "prompt": "the", "temperature": 0, "max_tokens": 8})[
                "choices"
            ][0]["text"]
            for name in ("mine", "law", "med")
        }
        assert len(set(told.values())) == 3
        side = {"model": "law", "text": "a"}
        assert ask(
            "/votes", {"conversation": [{"role": "user", "content": "x"}], "left": side, "right": side, "vote": "tie"}
        ) == {"kept": 1}
        assert json.loads((tmp_path / "v" / "votes.jsonl").read_text())["vote"] == "tie"


def test_drafts_a_companion_and_a_small_cache_change_no_greedy_text(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {"prompt": "the hat the hat the", "temperature": 0, "max_tokens": 24}
    told = set()
    for words in (
        (),
        ("--draft", "ngram"),
        ("--draft", "{use: model, tokens: 3}", "--companion", base, "--context", 128, "--rows", 2),
    ):
        with started(base, "--quiet", *words) as (_, url):
            told.add(httpx.post(f"{url}/v1/completions", json=body, timeout=60).json()["choices"][0]["text"])
    assert len(told) == 1
    assert "smaller one" in refused(capsys, base, "--draft", "model", "--port", 0)
    assert "no drafter named" in refused(capsys, base, "--draft", "nothing", "--port", 0)
    assert "nothing" in refused(capsys, base, "--cache", "nothing", "--port", 0)


def test_long_beginnings_survive_the_process(base: Path, tmp_path: Path) -> None:
    """A second server finds on disk what the first one's requests shared."""
    kept = tmp_path / "prompts"
    system = {"role": "system", "content": "the 你好 " * 40}
    for wanted in (0, 1):
        with started(base, "--prompt-cache", kept) as (process, url):
            cached = []
            for word in ("a", "b", "c"):
                body = {"messages": [system, {"role": "user", "content": word}], "max_tokens": 2}
                usage = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).json()["usage"]
                cached.append(usage["prompt_tokens_details"]["cached_tokens"])
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        assert bool(cached[0]) == bool(wanted), "only a server that finds a file knows the first prompt"
        assert cached[1]
        assert len(list(kept.glob("*.safetensors"))) == 1
