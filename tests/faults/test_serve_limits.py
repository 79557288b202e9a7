"""Keys, sizes, times and strange connections: each limit holds, and says so."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from servers import Served, engine_of, serving

from danlu.serve import listening
from danlu.serve.limits import Limits

PROMPT = {"prompt": "the", "max_tokens": 2}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    limits = Limits(body=10_000, body_seconds=0.5, seconds=2.0, keys=("first", "second"))
    patience = listening.HEADER_SECONDS
    listening.HEADER_SECONDS = 0.5
    with serving(
        engine_of(tmp_path_factory.mktemp("limits"), context=2048), limits=limits, origins=("https://my.page",)
    ) as one:
        yield one
    listening.HEADER_SECONDS = patience


def post(served: Served, key: str | None = "first", **headers: str) -> httpx.Response:
    given = {"authorization": f"Bearer {key}"} if key is not None else {}
    return httpx.post(f"{served.url}/v1/completions", json=PROMPT, headers={**given, **headers}, timeout=20)


def wire(served: Served, said: bytes, wait: float = 5.0) -> bytes:
    """What comes back for these bytes until the connection is closed."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=wait) as line:
        line.sendall(said)
        got = b""
        while piece := line.recv(65536):
            got += piece
        return got


def test_keys(served: Served) -> None:
    assert post(served).status_code == post(served, "second").status_code == 200
    assert post(served, None, **{"x-api-key": "first"}).status_code == 200
    for key in (None, "third", "firs", "firstsecond", "first,second"):
        answer = post(served, key)
        assert answer.status_code == 401, key
        assert answer.json()["error"]["type"] == "authentication_error"
        assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/v1/models", "/metrics", "/votes", "/nowhere"):
        assert httpx.get(f"{served.url}{path}").status_code == 401
    assert httpx.get(f"{served.url}/health").status_code == 200


def test_browsers_of_one_page_may_call_and_no_others(served: Served) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    mine = httpx.options(f"{served.url}/v1/completions", headers={"origin": "https://my.page", **asked})
    assert mine.headers["access-control-allow-origin"] == "https://my.page"
    assert (
        "access-control-allow-origin"
        not in httpx.options(f"{served.url}/v1/completions", headers={"origin": "https://evil.page", **asked}).headers
    )
    assert post(served, origin="https://my.page").headers["access-control-allow-origin"] == "https://my.page"
    assert "access-control-allow-origin" not in post(served, origin="https://evil.page").headers
    refused = post(served, "third", origin="https://my.page")
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, "https://my.page")


def test_large_bodies_are_refused_declared_or_not(served: Served) -> None:
    url, headers = f"{served.url}/v1/completions", {"authorization": "Bearer first", "content-type": "application/json"}
    assert httpx.post(url, content=b"x" * 10_001, headers=headers).status_code == 413

    def pieces() -> Iterator[bytes]:
        for _ in range(20):
            yield b"x" * 1000

    answer = httpx.post(url, content=pieces(), headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")


def test_a_body_that_drips_is_not_waited_for(served: Served) -> None:
    head = (
        b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer first\r\ncontent-type: application/json\r\n"
    )
    began = time.monotonic()
    got = wire(served, head + b'content-length: 50\r\n\r\n{"prompt"')
    assert b" 408 " in got.split(b"\r\n")[0]
    assert time.monotonic() - began < 4


def test_a_head_that_drips_is_not_waited_for(served: Served) -> None:
    for said in (b"", b"POST /v1/compl", b"GET /health HTTP/1.1\r\nhost: x\r\nx-a: b\r\n"):
        began = time.monotonic()
        assert wire(served, said) == b""
        assert time.monotonic() - began < 4
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as line:
        line.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert line.recv(65536).startswith(b"HTTP/1.1 200")
        line.sendall(b"GET /hea")  # one that was answered, and then half of another
        while line.recv(65536):
            pass


def test_a_connection_that_is_used_is_not_closed(served: Served) -> None:
    """The time for a head begins when it is waited for, not when the connection was made."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as line:
        for _ in range(8):
            line.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            got = b""
            while b"}" not in got:
                piece = line.recv(65536)
                assert piece, "it was closed between two requests"
                got += piece
            time.sleep(0.15)


def test_who_is_no_http_is_told_and_nobody_else_suffers(served: Served) -> None:
    assert wire(served, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert wire(served, b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 66_000 + b"\r\n\r\n").startswith(b"HTTP/1.1 4")
    assert post(served).status_code == 200


def test_who_takes_too_long_is_ended(served: Served) -> None:
    body = {"prompt": "the", "max_tokens": 2000, "ignore_eos": True, "n": 8}
    answer = httpx.post(
        f"{served.url}/v1/completions", json=body, headers={"authorization": "Bearer first"}, timeout=20
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
    assert answer.headers["x-should-retry"] == "false"
    assert served.idle()


def test_a_clients_number_comes_back_if_it_is_a_plain_one(served: Served) -> None:
    assert post(served, **{"x-request-id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert post(served, **{"x-request-id": "a" * 100}).headers["x-request-id"] != "a" * 100


def test_figures_count_what_was_answered(tmp_path: Path) -> None:
    with serving(engine_of(tmp_path)) as one, httpx.Client(base_url=one.url) as client:
        for _ in range(3):
            client.post("/v1/completions", json=PROMPT)
        client.post("/v1/completions", json={"prompt": ""})
        client.get("/etc/passwd")
        figures = dict(
            line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#")
        )
        assert figures['danlu_requests_total{route="/v1/completions",status="200"}'] == "3"
        assert figures['danlu_requests_total{route="/v1/completions",status="400"}'] == "1"
        assert figures['danlu_requests_total{route="other",status="404"}'] == "1"
        assert figures["danlu_engine_new_tokens_total"] == "6"
        assert figures['danlu_answers_total{finish="length"}'] == "3"
        assert (
            figures["danlu_first_token_seconds_count"] == figures['danlu_first_token_seconds_bucket{le="+Inf"}'] == "3"
        )
        assert float(figures["danlu_engine_blocks_used"]) == 0


def test_a_small_cache_warns_and_says_what_it_cannot_hold(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="room for"):
        engine = engine_of(tmp_path, context=512, rows=4, cache_bytes=200_000)
    with serving(engine) as one, httpx.Client(base_url=one.url) as client:
        answer = client.post("/v1/completions", json={"prompt": "the", "max_tokens": 500})
        assert (answer.status_code, "blocks" in answer.json()["error"]["message"]) == (400, True)
        assert client.post("/v1/completions", json=PROMPT).status_code == 200
        assert one.idle()


def test_a_fault_of_ours_is_500_and_its_reason_stays_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(engine_of(tmp_path)) as one, httpx.Client(base_url=one.url) as client:
        with monkeypatch.context() as broken:
            broken.setattr(type(one.house.prompts), "encoded", lambda *_, **__: 1 / 0)
            answer = client.post("/v1/completions", json=PROMPT)
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
        assert "division" not in answer.text
        assert "division by zero" in caplog.text
        assert 'status="500"} 1' in client.get("/metrics").text
        assert client.post("/v1/completions", json=PROMPT).status_code == 200
