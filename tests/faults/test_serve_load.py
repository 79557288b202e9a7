"""Many clients, many that leave, and bodies of noise: everyone else is answered, and no block is lost."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from servers import Served, engine_of, serving

LONG = {"prompt": "the ", "max_tokens": 400, "ignore_eos": True, "stream": True}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(engine_of(tmp_path_factory.mktemp("load"), rows=32), queue=256) as one:
        yield one


def used(served: Served) -> int:
    return served.engine.stats.blocks_used


def raw(served: Served, body: dict[str, Any], path: str = "/v1/completions") -> socket.socket:
    """A request that was sent and not read."""
    line = socket.create_connection(("127.0.0.1", served.port), timeout=20)
    said = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(said)}\r\n\r\n"
    line.sendall(head.encode() + said)
    return line


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_stops_at_once(served: Served, stream: bool) -> None:
    line = raw(served, {**LONG, "stream": stream})
    until = time.monotonic() + 10
    while not served.engine.stats.running and time.monotonic() < until:
        time.sleep(0.005)
    assert served.engine.stats.running == 1
    told, steps = served.engine.stats.aborted, served.engine.stats.steps
    line.close()
    assert served.idle()
    assert served.engine.stats.aborted == told + 1
    assert served.engine.stats.steps - steps < 200  # of 400


def test_a_hundred_streams_of_which_thirty_leave(served: Served) -> None:
    """Who stays reads to the end, each its own text: that of a request by itself."""
    body = {"prompt": "the", "max_tokens": 24, "temperature": 1.0, "stream": True, "ignore_eos": True}

    async def one(client: httpx.AsyncClient, number: int, leaves: bool) -> str | None:
        text = ""
        async with client.stream("POST", "/v1/completions", json={**body, "seed": number}) as answer:
            assert answer.status_code == 200
            async for line in answer.aiter_lines():
                if leaves and line:
                    return None
                if line.startswith("data: {"):
                    text += json.loads(line[6:])["choices"][0]["text"]
                elif line == "data: [DONE]":
                    return text
        raise AssertionError("the stream ended early")

    async def everyone() -> list[str | None]:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        async with httpx.AsyncClient(base_url=served.url, timeout=60, limits=limits) as client:
            return await asyncio.gather(*(one(client, n, leaves=n % 10 < 3) for n in range(100)))

    told = asyncio.run(everyone())
    assert served.idle()
    assert [n for n, text in enumerate(told) if text is None] == [n for n in range(100) if n % 10 < 3]
    with httpx.Client(base_url=served.url, timeout=30) as client:
        for number in (3, 57, 99):
            alone = client.post("/v1/completions", json={**body, "stream": False, "seed": number}).json()
            assert alone["choices"][0]["text"] == told[number]


def test_two_hundred_are_killed_and_the_next_is_answered(served: Served) -> None:
    lines = [raw(served, {**LONG, "prompt": f"the {n}"}) for n in range(200)]
    time.sleep(0.5)
    for line in lines:
        line.close()
    began = time.monotonic()
    answer = httpx.post(f"{served.url}/v1/completions", json={"prompt": "the", "max_tokens": 3}, timeout=20)
    assert answer.status_code == 200
    assert time.monotonic() - began < 5
    assert served.idle()


def test_beyond_the_queue_is_429_with_a_time(tmp_path: Any) -> None:
    with serving(engine_of(tmp_path, rows=4), queue=3) as small, httpx.Client(base_url=small.url, timeout=20) as client:
        lines = [raw(small, LONG) for _ in range(3)]
        until = time.monotonic() + 10
        while small.house.service.taken < 3 and time.monotonic() < until:
            time.sleep(0.005)
        answer = client.post("/v1/completions", json={"prompt": "the"})
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert answer.json()["error"]["code"] == "rate_limit_exceeded"
        assert client.post("/v1/completions", json={"prompt": ["a"] * 4}).status_code == 400
        for line in lines:
            line.close()
        assert small.idle()
        assert client.post("/v1/completions", json={"prompt": "the"}).status_code == 200


# ── noise ────────────────────────────────────────────────────────────────────────────────────────────────────────
WORDS = [
    "prompt", "messages", "model", "max_tokens", "temperature", "top_p", "top_k", "n", "stop", "stream", "logprobs",
    "echo", "logit_bias", "seed", "role", "content", "user", "input", "tools", "tool_choice", "response_format",
    "min_tokens", "best_of", "use_beam_search", "search", "guided_choice", "bad_words", "presence_penalty", "typical_p",
    "no_repeat_ngram_size", "repetition_penalty", "stop_token_ids", "prompt_logprobs", "truncate_prompt_tokens",
]  # fmt: skip
PLAUSIBLE: dict[str, list[Any]] = {
    "max_tokens": [0, 1, 3], "temperature": [0, 1, 2.5], "top_p": [0, 0.5, 1], "top_k": [-1, 1, 5], "n": [1, 3],
    "stop": ["a", ["b", "c"]], "stream": [True, False], "logprobs": [2, True], "echo": [True], "logit_bias": [{"5": -3}],
    "seed": [1, -5], "min_tokens": [1], "best_of": [2], "use_beam_search": [True], "bad_words": [["a"]], "typical_p": [0.5],
    "search": [{"use": "beam", "width": 2}], "presence_penalty": [1, -2], "no_repeat_ngram_size": [2], "repetition_penalty": [2],
    "stop_token_ids": [[5], [5, 266]], "prompt_logprobs": [0, 3], "truncate_prompt_tokens": [1], "user": ["me"],
}  # fmt: skip
PATHS = [
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/rerank",
    "/tokenize",
    "/detokenize",
    "/votes",
]
SCALARS = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    5,
    0.5,
    1e308,
    -1e308,
    10**25,
    "",
    "a",
    "the",
    "\0",
    "你",
    "auto",
    "tiny",
    {},
    [],
]


def value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.random()
    if kind < 0.6 or depth > 3:
        return rng.choice(SCALARS)
    if kind < 0.8:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(WORDS): value(rng, depth + 1) for _ in range(rng.randrange(4))}


def body(rng: random.Random, path: str) -> dict[str, Any]:
    """Nearly right: a body that is served, with some fields changed."""
    good: dict[str, Any] = {
        "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2},
        "/v1/completions": {"prompt": "the", "max_tokens": 2},
        "/v1/responses": {"input": "hi", "max_output_tokens": 2},
        "/v1/embeddings": {"input": "hi"},
        "/v1/rerank": {"query": "a", "documents": ["b"]},
        "/tokenize": {"prompt": "a"},
        "/detokenize": {"tokens": [5]},
    }.get(path, {})
    for _ in range(rng.randrange(1, 4)):
        word = rng.choice([*PLAUSIBLE] if rng.random() < 0.6 else WORDS)
        good[word] = rng.choice(PLAUSIBLE[word]) if word in PLAUSIBLE and rng.random() < 0.8 else value(rng)
    return good


@pytest.mark.slow
def test_two_thousand_bodies_of_noise(served: Served) -> None:
    rng = random.Random(5)
    statuses: dict[int, int] = {}
    with httpx.Client(base_url=served.url, timeout=30) as client:
        for _ in range(2000):
            path = rng.choice(PATHS)
            said = json.dumps(body(rng, path)).encode()
            if rng.random() < 0.2:
                at = rng.randrange(len(said))
                said = said[:at] + bytes([rng.randrange(256)]) + said[at + rng.randrange(3) :]
            answer = client.post(path, content=said, headers={"content-type": "application/json"})
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            assert answer.status_code in (200, 400, 404), (answer.status_code, path, said, answer.text)
        assert served.idle()
        assert client.post("/v1/completions", json={"prompt": "the"}).status_code == 200
    assert statuses[200] > 100
    assert statuses[400] > 500
