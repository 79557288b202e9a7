"""What the server says of its model, against the model itself."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from servers import Served, engine_of, serving
from talkers import small_model, small_tokenizer

from danlu.infer.generation import generate
from danlu.infer.scoring import log_likelihoods
from danlu.serve.reader import Reader

PROMPT = "the 你好 hat"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(engine_of(tmp_path_factory.mktemp("truth"))) as one:
        yield one


@pytest.fixture(scope="module")
def ask(served: Served) -> Iterator[Any]:
    with httpx.Client(base_url=served.url, timeout=30) as client:

        def asked(path: str, **body: Any) -> Any:
            answer = client.post(path, json=body)
            assert answer.status_code == 200, answer.text
            return answer.json()

        yield asked


def streamed(served: Served, path: str, **body: Any) -> list[dict[str, Any]]:
    with httpx.stream("POST", f"{served.url}{path}", json={**body, "stream": True}, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_greedy_text_is_that_of_generate(served: Served, ask: Any) -> None:
    engine = served.engine
    expected = generate(engine.model, engine.tokenizer, [PROMPT], max_tokens=20)[0]
    choice = ask("/v1/completions", prompt=PROMPT, max_tokens=20, temperature=0, return_token_ids=True)["choices"][0]
    assert choice["text"] == expected.text
    assert choice["token_ids"] == list(expected.tokens)
    assert choice["finish_reason"] == expected.finish_reason


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_echoed_logprobs_are_those_of_scoring(served: Served, ask: Any, limit: int) -> None:
    """lm_eval reads them so; max_tokens 0 asks for the prompt alone."""
    tokenizer, model = served.engine.tokenizer, served.engine.model
    ids = tokenizer.encode(PROMPT)
    told = ask(
        "/v1/completions", prompt=ids, max_tokens=limit, echo=True, logprobs=2, temperature=0, return_token_ids=True
    )
    choice, logprobs = told["choices"][0], told["choices"][0]["logprobs"]
    whole = ids + choice["token_ids"]
    assert len(choice["token_ids"]) == told["usage"]["completion_tokens"] == limit
    expected = log_likelihoods(model, [(whole[:1], whole[1:])])[0].logprobs
    assert logprobs["token_logprobs"][0] is logprobs["top_logprobs"][0] is None
    assert logprobs["token_logprobs"][1:] == pytest.approx(list(expected), abs=1e-4)
    assert all(
        max(top.values()) >= one - 1e-6
        for top, one in zip(logprobs["top_logprobs"][1:], logprobs["token_logprobs"][1:], strict=True)
    )
    assert choice["text"].startswith(PROMPT)
    assert logprobs["text_offset"][0] == 0
    assert logprobs["text_offset"] == sorted(logprobs["text_offset"])
    assert len(logprobs["tokens"]) == len(whole)


def test_streamed_echo_is_the_whole(served: Served, ask: Any) -> None:
    body = {
        "prompt": [PROMPT, "the"],
        "max_tokens": 5,
        "echo": True,
        "logprobs": 1,
        "n": 2,
        "seed": 4,
        "temperature": 1.0,
    }
    whole = ask("/v1/completions", **body)["choices"]
    pieces: dict[int, list[dict[str, Any]]] = {}
    for chunk in streamed(served, "/v1/completions", **body):
        for choice in chunk["choices"]:
            pieces.setdefault(choice["index"], []).append(choice)
    for choice in whole:
        parts = pieces[choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        joined = [value for part in parts if part["logprobs"] for value in part["logprobs"]["token_logprobs"]]
        assert joined == pytest.approx(choice["logprobs"]["token_logprobs"], abs=1e-5)
        assert parts[-1]["finish_reason"] == choice["finish_reason"]


def test_prompt_logprobs_of_vllm(ask: Any) -> None:
    told = ask(
        "/v1/chat/completions",
        messages=[{"role": "user", "content": "the"}],
        max_tokens=1,
        prompt_logprobs=1,
        return_token_ids=True,
    )
    assert told["prompt_logprobs"][0] is None
    for token, found in zip(told["prompt_token_ids"][1:], told["prompt_logprobs"][1:], strict=True):
        assert str(token) in found
        assert all(one["logprob"] <= 0 for one in found.values())


def test_best_of_is_the_best_of_as_many_answers(ask: Any) -> None:
    """With one seed n answers are the first n of more; the best has the largest mean log-probability."""
    body = {"prompt": PROMPT, "max_tokens": 6, "seed": 11, "temperature": 1.5, "logprobs": 0}
    every = ask("/v1/completions", **body, n=6)["choices"]
    means = [sum(one["logprobs"]["token_logprobs"]) / len(one["logprobs"]["token_logprobs"]) for one in every]
    order = sorted(range(6), key=lambda n: -means[n])
    best = ask("/v1/completions", **body, n=2, best_of=6)["choices"]
    assert [one["text"] for one in best] == [every[n]["text"] for n in order[:2]]


def test_stop_strings_are_left_out_unless_they_are_asked_for(served: Served, ask: Any) -> None:
    text = ask("/v1/completions", prompt=PROMPT, max_tokens=20, temperature=0)["choices"][0]["text"]
    stop = next(
        text[i : i + 2] for i in range(4, 18) if "�" not in text[i : i + 2] and text.index(text[i : i + 2]) == i
    )
    before = text[: text.index(stop)]
    choice = ask("/v1/completions", prompt=PROMPT, max_tokens=20, temperature=0, stop=[stop, "never"])["choices"][0]
    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == (before, "stop", stop)
    kept = ask(
        "/v1/completions", prompt=PROMPT, max_tokens=20, temperature=0, stop=stop, include_stop_str_in_output=True
    )
    assert kept["choices"][0]["text"] == before + stop
    shown = ""
    for chunk in streamed(served, "/v1/completions", prompt=PROMPT, max_tokens=20, temperature=0, stop=stop):
        shown += chunk["choices"][0]["text"]
        assert before.startswith(shown)
    assert shown == before


def test_stop_ids_join_the_tokenizers_own(ask: Any) -> None:
    ids = ask("/v1/completions", prompt=PROMPT, max_tokens=8, temperature=0, return_token_ids=True)["choices"][0][
        "token_ids"
    ]
    choice = ask(
        "/v1/completions", prompt=PROMPT, max_tokens=8, temperature=0, stop_token_ids=[ids[3]], return_token_ids=True
    )["choices"][0]
    assert choice["token_ids"] == ids[: ids.index(ids[3]) + 1]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", ids[3])


def test_a_template_renders_what_the_model_reads(served: Served, ask: Any) -> None:
    messages = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "the "}, {"type": "text", "text": "hat"}]},
    ]
    plain = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "the hat"}]
    expected = served.engine.tokenizer.template.render(plain, prompt=True).tokens
    assert ask("/tokenize", messages=messages)["tokens"] == expected
    told = ask("/v1/chat/completions", messages=messages, max_tokens=1, return_token_ids=True)
    assert told["prompt_token_ids"] == expected
    begun = [*plain, {"role": "assistant", "content": "Well,"}]
    going = ask(
        "/v1/chat/completions", messages=begun, max_tokens=1, return_token_ids=True, continue_final_message=True
    )
    assert going["prompt_token_ids"] == expected + served.engine.tokenizer.encode("Well,")


def test_a_cached_prompt_is_told_and_salt_keeps_it_apart(ask: Any) -> None:
    body = {"prompt": list(range(60, 130)), "max_tokens": 2, "temperature": 0}
    cached = [
        ask("/v1/completions", **body, cache_salt=salt)["usage"]["prompt_tokens_details"]["cached_tokens"]
        for salt in "aab"
    ]
    assert cached == [0, 64, 0]


def test_beam_search_by_vllms_fields_is_the_engines(ask: Any) -> None:
    body = {"prompt": PROMPT, "max_tokens": 5}
    one = ask("/v1/completions", **body, use_beam_search=True, best_of=3, n=2, length_penalty=0.5)["choices"]
    two = ask("/v1/completions", **body, search={"use": "beam", "width": 3, "length_penalty": 0.5}, n=2, temperature=0)[
        "choices"
    ]
    assert [choice["text"] for choice in one] == [choice["text"] for choice in two]
    assert len({choice["text"] for choice in one}) == 2


def test_embeddings_are_means_of_states(served: Served, ask: Any) -> None:
    model, tokenizer = served.engine.model, served.engine.tokenizer
    told = ask("/v1/embeddings", input=[PROMPT, "the"], encoding_format="float")
    for text, found in zip([PROMPT, "the"], told["data"], strict=True):
        with torch.no_grad():
            state = model.hidden(torch.tensor([tokenizer.encode(text)]))[0].double().mean(0)
        assert found["embedding"] == pytest.approx((state / state.norm()).tolist(), abs=1e-5)


def test_rerank_orders_by_cosine(ask: Any) -> None:
    texts = ["the hat", "你好", "the 你好 hat", "xyz"]
    told = ask("/v1/rerank", query=PROMPT, documents=[texts[0], {"text": texts[1]}, *texts[2:]], top_n=3)["results"]
    vectors = [
        one["embedding"] for one in ask("/v1/embeddings", input=[PROMPT, *texts], encoding_format="float")["data"]
    ]
    cosines = [math.fsum(a * b for a, b in zip(vectors[0], other, strict=True)) for other in vectors[1:]]
    order = sorted(range(4), key=lambda n: -cosines[n])[:3]
    assert [one["index"] for one in told] == order
    assert told[0]["index"] == 2
    assert [one["relevance_score"] for one in told] == pytest.approx([cosines[n] for n in order], abs=1e-5)
    assert [one["document"]["text"] for one in told] == [texts[n] for n in order]
    assert [one["index"] for one in ask("/rerank", query=PROMPT, texts=texts)][:3] == order


def test_votes_are_lines_of_a_file(tmp_path: Path) -> None:
    side = {"model": "tiny", "text": "the\n你好", "settings": {"temperature": 0.5}}
    vote = {"conversation": [{"role": "user", "content": "?"}], "left": side, "right": side, "vote": "left"}
    file = tmp_path / "votes.jsonl"
    for expected in (1, 3):
        with serving(engine_of(tmp_path / "words"), votes=file) as one, httpx.Client(base_url=one.url) as client:
            assert client.get("/votes").json() == {"kept": expected - 1}
            assert client.post("/votes", json=vote).status_code == 201
            assert client.post("/votes", json={**vote, "vote": "both"}).status_code == 400
            if expected == 1:
                with open(file, "a") as handle:
                    handle.write('{"cut": ')  # a line that a crash left
    lines = file.read_text("utf-8").splitlines()
    assert [json.loads(lines[n])["vote"] for n in (0, 2)] == ["left", "left"]
    assert json.loads(lines[0])["left"] == side
    with serving(engine_of(tmp_path / "words")) as one:
        assert httpx.get(f"{one.url}/votes").json() == {"kept": None}
        assert httpx.post(f"{one.url}/votes", json=vote).json()["error"]["code"] == "votes_off"


def test_top_k_of_one_is_temperature_zero(ask: Any) -> None:
    """vllm#5404."""
    texts = {
        ask("/v1/completions", prompt=PROMPT, max_tokens=12, **more)["choices"][0]["text"]
        for more in (
            {"temperature": 0},
            {"top_k": 1, "temperature": 1.7},
            {"top_p": 0, "temperature": 2},
            {"temperature": 1e-9},
        )
    }
    assert len(texts) == 1


def test_prompt_logprobs_do_not_know_of_the_cache(ask: Any) -> None:
    """vllm#3251, #13105, #42019: not whatever was asked before, nor in which order."""
    prompt = list(range(70, 140))
    body = {"prompt": prompt, "max_tokens": 2, "temperature": 0, "echo": True, "logprobs": 1}
    first = ask("/v1/completions", **body, cache_salt="fresh")["choices"][0]["logprobs"]["token_logprobs"]
    ask("/v1/completions", prompt=prompt, max_tokens=2)
    again = ask("/v1/completions", **body)["choices"][0]["logprobs"]["token_logprobs"]
    assert again[1:] == pytest.approx(first[1:], abs=1e-4)
    assert len(again) == len(prompt) + 2


def test_a_prompt_that_ends_within_a_character_is_not_said_again(served: Served, ask: Any) -> None:
    """vllm#48853: only what was generated is in the text, whatever bytes the prompt ends with."""
    tokenizer = served.engine.tokenizer
    half = next(i for i in range(tokenizer.vocab_size) if tokenizer.piece_bytes(i) == "你".encode()[:2])
    told = ask(
        "/v1/completions", prompt=[*tokenizer.encode("the "), half], max_tokens=6, temperature=0, return_token_ids=True
    )["choices"][0]
    decoder = tokenizer.decoder()
    assert told["text"] == "".join(map(decoder.push, told["token_ids"])) + decoder.flush()
    pieces = streamed(served, "/v1/completions", prompt=[*tokenizer.encode("the "), half], max_tokens=6, temperature=0)
    assert "".join(piece["choices"][0]["text"] for piece in pieces) == told["text"]


def test_an_encoder_decoder_is_served_with_two_contexts(tmp_path: Path) -> None:
    engine = engine_of(tmp_path, model=small_model("t5", context=32))
    ids = list(range(60, 90))
    expected = generate(engine.model, engine.tokenizer, [ids], max_tokens=20)[0]
    with serving(engine) as one, httpx.Client(base_url=one.url, timeout=30) as client:
        told = client.post("/v1/completions", json={"prompt": ids, "max_tokens": 20, "temperature": 0}).json()
        assert told["choices"][0]["text"] == expected.text
        assert (
            client.post("/v1/completions", json={"prompt": ids, "max_tokens": 33}).json()["error"]["param"]
            == "max_tokens"
        )
        assert (
            client.post("/v1/completions", json={"prompt": ids * 2}).json()["error"]["code"]
            == "context_length_exceeded"
        )
        vector = client.post("/v1/embeddings", json={"input": "the", "encoding_format": "float"}).json()["data"][0][
            "embedding"
        ]
        assert math.fsum(x * x for x in vector) == pytest.approx(1, abs=1e-5)


def test_an_encoder_reads_and_says_why_it_does_not_speak(tmp_path: Path) -> None:
    model, words = small_model("bert", context=32), small_tokenizer(tmp_path)
    with serving(Reader(model, words)) as one, httpx.Client(base_url=one.url, timeout=30) as client:
        told = client.post("/v1/embeddings", json={"input": [PROMPT], "encoding_format": "float"}).json()["data"][0]
        with torch.no_grad():
            state = model.hidden(torch.tensor([words.encode(PROMPT)]))[0].double().mean(0)
        assert told["embedding"] == pytest.approx((state / state.norm()).tolist(), abs=1e-5)
        assert (
            client.post("/v1/rerank", json={"query": "the", "documents": ["the", "你"]}).json()["results"][0]["index"]
            == 0
        )
        refused = client.post("/v1/completions", json={"prompt": "the"})
        assert (refused.status_code, "/v1/embeddings" in refused.json()["error"]["message"]) == (400, True)
        assert (
            client.post(
                "/v1/chat/completions", json={"messages": [{"role": "user", "content": "a"}], "stream": True}
            ).status_code
            == 400
        )
        assert client.get("/metrics").status_code == 200
