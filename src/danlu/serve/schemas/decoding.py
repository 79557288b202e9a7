"""How to go on with a prompt: the fields that chat and completions share, OpenAI's and those of vLLM's dialect."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .body import IGNORED, Body

Text = Annotated[str, Field(min_length=1, max_length=1000)]
Ids = list[Annotated[int, Field(ge=0)]]
MOST = 1 << 31
Ignored = Annotated[Any, Field(description=IGNORED)]


class StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: Ignored = None
    continuous_usage_stats: Ignored = None


class Structured(Body):
    """vLLM's ``structured_outputs``: exactly one."""

    json_: str | dict[str, Any] | None = Field(default=None, alias="json")
    regex: str | None = None
    choice: list[Text] | None = None
    grammar: str | None = None
    json_object: bool | None = None


class JsonSchema(Body):
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] = Field(default={}, alias="schema")
    strict: bool | None = None


class ResponseFormat(Body):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _whole(self) -> ResponseFormat:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError('json_schema goes with type "json_schema", and that with it')
        return self


class Decoding(Body):
    """Every field is named as its users name it; absent ones are OpenAI's defaults."""

    model: str | None = None
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=MOST)
    min_p: float | None = Field(None, ge=0, le=1)
    typical_p: float | None = Field(None, gt=0, le=1)
    n: int | None = Field(None, ge=1, le=128)
    seed: int | None = Field(None, ge=-(1 << 63), lt=1 << 63)
    stop: Text | Annotated[list[Text], Field(max_length=64)] | None = None
    stop_token_ids: Ids | None = Field(None, max_length=1000)
    ignore_eos: bool = False
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    spaces_between_special_tokens: Ignored = None
    detokenize: Ignored = None
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    repetition_penalty: float | None = Field(None, gt=0, le=100)
    no_repeat_ngram_size: int | None = Field(None, ge=0, le=MOST)
    logit_bias: dict[str, float] | None = None
    bad_words: list[Text] | None = Field(None, max_length=1000)
    min_tokens: int | None = Field(None, ge=0, le=MOST)
    prompt_logprobs: int | None = Field(None, ge=0, le=20)
    truncate_prompt_tokens: int | None = Field(None, ge=1)
    return_token_ids: bool = False

    stream: bool | None = None
    stream_options: StreamOptions | None = None

    use_beam_search: bool = False
    best_of: int | None = Field(None, ge=1, le=128)
    length_penalty: float | None = Field(None, ge=-10, le=10)
    early_stopping: bool | Literal["never"] | None = None
    search: dict[str, Any] | None = None
    contrast: dict[str, Any] | None = None

    response_format: ResponseFormat | None = None
    guided_json: str | dict[str, Any] | None = None
    guided_regex: str | None = None
    guided_choice: list[Text] | None = Field(None, min_length=1)
    guided_grammar: str | None = None
    guided_decoding_backend: Ignored = None
    guided_whitespace_pattern: Ignored = None
    structured_outputs: Structured | None = None

    cache_salt: Text | None = None
    priority: int | None = Field(None, ge=-MOST, le=MOST)
    request_id: Ignored = None
    user: Ignored = None
    metadata: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_options: Ignored = None
    prompt_cache_retention: Ignored = None

    @model_validator(mode="after")
    def _fits(self) -> Decoding:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options goes with stream: true")
        return self

    @property
    def answers(self) -> int:
        return self.n or 1

    @property
    def with_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage
