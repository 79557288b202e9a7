"""The official client of OpenAI against a server of danlu: what it sends is understood, what it reads is all there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from servers import Served, engine_of, serving

openai = pytest.importorskip("openai", reason="the official client; pip install openai")
MESSAGES = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "the 你好"}]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(engine_of(tmp_path_factory.mktemp("openai"))) as one:
        yield one


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as one:
        yield one


def ask(client: Any, **more: Any) -> Any:
    return client.chat.completions.create(
        **{"model": "tiny", "messages": MESSAGES, "max_tokens": 12, "seed": 7, **more}
    )


def test_chat_streamed_is_chat(client: Any) -> None:
    whole = ask(client, n=2, logprobs=True, top_logprobs=3)
    text, tokens, finish, usage = {}, {}, {}, None
    for chunk in ask(client, n=2, logprobs=True, top_logprobs=3, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage
        for choice in chunk.choices:
            assert chunk.usage is None
            text[choice.index] = text.get(choice.index, "") + (choice.delta.content or "")
            if choice.logprobs:
                tokens.setdefault(choice.index, []).extend(choice.logprobs.content)
            finish[choice.index] = choice.finish_reason
    for choice in whole.choices:
        assert choice.message.content == text[choice.index]
        assert [one.token for one in choice.logprobs.content] == [one.token for one in tokens[choice.index]]
        streamed = [one.logprob for one in tokens[choice.index]]  # the prompt came from the cache: not to the last bit
        assert [one.logprob for one in choice.logprobs.content] == pytest.approx(streamed, abs=1e-4)
        assert choice.finish_reason == finish[choice.index] == "length"
        said = b"".join(bytes(one.bytes) for one in choice.logprobs.content)
        assert said.decode("utf-8", "replace") == choice.message.content
        assert all(len(one.top_logprobs) == 3 for one in choice.logprobs.content)
        assert all(one.top_logprobs[0].logprob >= one.logprob - 1e-6 for one in choice.logprobs.content)
    assert (usage.completion_tokens, usage.prompt_tokens) == (24, whole.usage.prompt_tokens)
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + 24
    assert text[0] != text[1]


def test_one_id_a_stream_and_the_role_first(client: Any) -> None:
    chunks = list(ask(client, stream=True))
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].choices[0].delta.content == ""
    assert [chunk.choices[0].finish_reason for chunk in chunks][-2:] == [None, "length"]
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}


def test_the_same_seed_says_the_same_and_another_does_not(client: Any) -> None:
    first, again, other = (
        ask(client, seed=seed).choices[0].message.content for seed in (-9007199254740991, -9007199254740991, 8)
    )
    assert first == again != other


def test_raw_helper_and_stream_helper(client: Any) -> None:
    assert client.chat.completions.with_raw_response.create(model="tiny", messages=MESSAGES, max_tokens=1).headers[
        "x-request-id"
    ]
    ends = {"stop_token_ids": list(range(100, 267))}
    with client.chat.completions.stream(model="tiny", messages=MESSAGES, seed=1, extra_body=ends) as stream:
        shown = "".join(event.delta for event in stream if event.type == "content.delta")
        final = stream.get_final_completion().choices[0]
    assert (final.message.content, final.finish_reason) == (shown, "stop")


def test_completions_of_texts_and_of_ids(client: Any) -> None:
    texts = client.completions.create(model="tiny", prompt=["the", "你好"], max_tokens=6, temperature=0)
    ids = client.completions.create(model="tiny", prompt=[[86, 260], [266]], max_tokens=6, temperature=0)
    one = client.completions.create(model="tiny", prompt=[86, 260], max_tokens=6, temperature=0)
    assert [choice.text for choice in texts.choices] == [choice.text for choice in ids.choices]
    assert one.choices[0].text == ids.choices[0].text
    assert [choice.index for choice in ids.choices] == [0, 1]
    assert ids.usage.prompt_tokens == 3


def test_embeddings_in_base64_are_those_in_floats(client: Any) -> None:
    """The client asks for base64 by itself."""
    coded = client.embeddings.create(model="tiny", input=["the", "你好 the"])
    plain = client.embeddings.create(model="tiny", input=["the", "你好 the"], encoding_format="float")
    for a, b in zip(coded.data, plain.data, strict=True):
        assert a.embedding == pytest.approx(b.embedding, abs=1e-7)
        assert sum(x * x for x in a.embedding) == pytest.approx(1, abs=1e-5)
    short = client.embeddings.create(model="tiny", input="the", dimensions=8).data[0].embedding
    assert len(short) == 8
    assert sum(x * x for x in short) == pytest.approx(1, abs=1e-5)


def test_models(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"
    with pytest.raises(openai.NotFoundError) as told:
        client.models.retrieve("other")
    assert told.value.code == "model_not_found"


def test_responses_streamed_are_responses(client: Any) -> None:
    asked = {
        "model": "tiny",
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "the"}]}],
        "instructions": "Be.",
        "max_output_tokens": 9,
        "temperature": 0,
    }
    whole = client.responses.create(**asked)
    events = list(client.responses.create(**asked, stream=True))
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert events[-1].response.output_text == whole.output_text
    assert (whole.status, whole.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert whole.usage.output_tokens == events[-1].response.usage.output_tokens == 9


@pytest.mark.parametrize(
    ("more", "kind", "param"),
    [
        ({"model": "other"}, "NotFoundError", "model"),
        ({"temperature": -1}, "BadRequestError", "temperature"),
        ({"extra_body": {"top_k": 1.5}}, "BadRequestError", "top_k"),
        ({"extra_body": {"temprature": 1}}, "BadRequestError", "temprature"),
        ({"logit_bias": {"foo": 0}}, "BadRequestError", "logit_bias"),
        ({"logit_bias": {"267": 1}}, "BadRequestError", "logit_bias"),
        ({"max_tokens": 100_000}, "BadRequestError", "max_tokens"),
        ({"stop": ""}, "BadRequestError", "stop"),
        ({"stream_options": {"include_usage": True}}, "BadRequestError", "stream_options"),
    ],
)
def test_errors_are_the_clients_own_exceptions(client: Any, more: dict[str, Any], kind: str, param: str) -> None:
    with pytest.raises(getattr(openai, kind)) as told:
        ask(client, **more)
    assert told.value.param == param
    assert told.value.body.keys() == {"message", "type", "param", "code"}


def test_a_stream_that_fails_raises_in_the_client(client: Any, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = served.engine.step, []

    def failing() -> list[Any]:
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("the device is on fire")
        return real()

    monkeypatch.setattr(served.engine, "step", failing)
    with pytest.raises(openai.APIError) as told:
        list(ask(client, stream=True, max_tokens=50))
    assert "on fire" not in str(told.value)
    assert served.idle()
    assert ask(client).choices[0].message.content


def test_extra_fields_of_vllm(client: Any) -> None:
    told = ask(
        client,
        extra_body={
            "top_k": 5,
            "min_p": 0.01,
            "repetition_penalty": 1.1,
            "min_tokens": 3,
            "return_token_ids": True,
            "cache_salt": "a",
        },
    )
    assert len(told.choices[0].token_ids) == 12


def test_async_client_in_parallel(served: Served) -> None:
    import asyncio

    async def all_of_them() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0) as client:
            answers = await asyncio.gather(*(ask(client, temperature=0) for _ in range(8)))
            return [answer.choices[0].message.content for answer in answers]

    assert len(set(asyncio.run(all_of_them()))) == 1


def test_an_unknown_path_is_404(served: Served, tmp_path: Path) -> None:
    import httpx

    told = httpx.post(f"{served.url}/v1/images/generations", json={})
    assert (told.status_code, told.json()["error"]["code"]) == (404, "not_found")
