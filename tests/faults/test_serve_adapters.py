"""Adapters that come and go while requests are served: nobody is answered by another one, and nothing stays behind."""

from __future__ import annotations

import gc
import shutil
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from adapted import adapter_in, base_in
from servers import Served, engine_of, serving

import danlu
from danlu.infer.generation import generate

LORA = {"use": "lora", "at": "blocks.*.{q,v}", "rank": 4}
GREEDY = {"prompt": list(range(40, 90)), "max_tokens": 8, "temperature": 0}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_in(tmp_path_factory.mktemp("shelf") / "base", context=512)


@pytest.fixture
def shelf(base: Path, tmp_path: Path) -> Path:
    for seed, name in enumerate(("one", "two"), 1):
        adapter_in(tmp_path / "shelf" / name, base, LORA, seed=seed)
    return tmp_path / "shelf"


@pytest.fixture
def served(base: Path, shelf: Path) -> Iterator[Served]:
    model, _ = danlu.load(base)
    with serving(engine_of(base.parent / "words", model=model), shelf=shelf, base=str(base)) as one:
        yield one


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=30) as one:
        yield one


def text(client: httpx.Client, model: str, **more: Any) -> str:
    answer = client.post("/v1/completions", json={"model": model, **GREEDY, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["text"]


def load(client: httpx.Client, name: str, **more: Any) -> httpx.Response:
    return client.post("/v1/load_lora_adapter", json={"lora_name": name, **more})


def alone(folder: Path) -> str:
    model, tokenizer = danlu.load(folder)
    assert tokenizer is not None
    return generate(model, tokenizer, [GREEDY["prompt"]], max_tokens=8)[0].text


def test_each_answers_as_it_does_alone(client: httpx.Client, base: Path, shelf: Path) -> None:
    assert load(client, "one").status_code == load(client, "second", lora_path="two").status_code == 200
    assert {"one", "second"} <= {model["id"] for model in client.get("/v1/models").json()["data"]}
    assert text(client, "tiny") == alone(base)
    assert text(client, "one") == alone(shelf / "one")
    assert text(client, "second") == alone(shelf / "two")
    assert client.get("/v1/adapters").json() == {"loaded": ["one", "second"], "shelf": ["one", "two"]}


def test_a_name_that_is_given_anew_finds_no_old_prompt(client: httpx.Client, base: Path, shelf: Path) -> None:
    load(client, "one")
    first = text(client, "one")
    shutil.rmtree(shelf / "one")
    shutil.copytree(shelf / "two", shelf / "one")
    assert load(client, "one").status_code == 400
    assert load(client, "one", load_inplace=True).status_code == 200
    told = client.post("/v1/completions", json={"model": "one", **GREEDY}).json()
    assert told["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    assert told["choices"][0]["text"] == alone(shelf / "two") != first


def test_what_is_taken_off_is_gone(served: Served, client: httpx.Client) -> None:
    load(client, "one")
    text(client, "one")
    switch = served.engine.model.switch
    assert switch is not None
    parts = [part for name, part in served.engine.model.named_parameters() if "one" in name.split(".")]
    kept = [weakref.ref(switch.adapters["one"]), *map(weakref.ref, parts)]
    del parts
    assert len(kept) > 2
    assert client.post("/v1/unload_lora_adapter", json={"lora_name": "one"}).status_code == 200
    gc.collect()
    assert not [one for one in kept if one() is not None]
    assert client.post("/v1/completions", json={"model": "one", **GREEDY}).status_code == 404
    assert client.post("/v1/unload_lora_adapter", json={"lora_name": "one"}).status_code == 404
    assert not [name for name, _ in served.engine.model.named_parameters() if "one" in name.split(".")]


def test_who_is_being_answered_is_answered_to_the_end(served: Served, client: httpx.Client, shelf: Path) -> None:
    load(client, "one")
    told: list[str] = []
    long = {"max_tokens": 200, "ignore_eos": True}
    asking = threading.Thread(target=lambda: told.append(text(client, "one", **long)))
    asking.start()
    while not served.engine.stats.running:
        time.sleep(0.002)
    with httpx.Client(base_url=served.url, timeout=30) as other:
        assert other.post("/v1/unload_lora_adapter", json={"lora_name": "one"}).status_code == 200
    asking.join()
    load(client, "one")
    assert told == [text(client, "one", **long)]


@pytest.mark.parametrize("path", ["../base", "/etc", "..", ".", "a/b", "one/..", "", "http://x/y", "three", "link"])
def test_no_request_names_a_path(client: httpx.Client, base: Path, shelf: Path, path: str) -> None:
    (shelf / "link").symlink_to(
        adapter_in(base.parent / "outside", base, LORA)
        if not (base.parent / "outside").exists()
        else base.parent / "outside"
    )
    answer = load(client, "x", lora_path=path)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "lora_path"), answer.text
    assert client.get("/v1/adapters").json()["loaded"] == []


def test_one_of_another_base_and_one_that_is_damaged_are_refused(
    served: Served, client: httpx.Client, shelf: Path, tmp_path: Path
) -> None:
    other = base_in(tmp_path / "other" / "base", context=512, seed=9)
    adapter_in(shelf / "foreign", other, LORA)
    assert "other weights" in load(client, "foreign").json()["error"]["message"]
    for state in (shelf / "two").rglob("*.safetensors"):
        state.write_bytes(state.read_bytes()[:100])
    assert load(client, "two").status_code == 400
    assert load(client, "tiny", lora_path="one").status_code == 400
    assert load(client, "one").status_code == 200
    assert served.engine.adapters == ["one"]
    assert text(client, "one") == alone(shelf / "one")
