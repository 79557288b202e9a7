"""POST /v1/responses: what of it is a conversation; nothing is kept between requests."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .body import Body
from .chat import Chosen, Function, Named, Part
from .decoding import Ignored


class Said(Body):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part]
    type: Literal["message"] = "message"
    id: Ignored = None
    status: Ignored = None
    phase: Ignored = None


class CalledItem(Body):
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    id: Ignored = None
    status: Ignored = None


class Outcome(Body):
    type: Literal["function_call_output"]
    call_id: str
    output: str
    id: Ignored = None
    status: Ignored = None


class FlatTool(Function):
    """A function as /v1/responses writes it: not nested."""

    type: Literal["function"]


class FlatChosen(Named):
    type: Literal["function"]


class TextFormat(Body):
    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class TextSettings(Body):
    format: TextFormat | None = None
    verbosity: Ignored = None


class Responses(Body):
    input: str | Annotated[list[Said | CalledItem | Outcome], Field(min_length=1)]
    model: str | None = None
    instructions: str | None = None
    max_output_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    repetition_penalty: float | None = None
    stream: bool | None = None
    tools: list[FlatTool] | None = None
    tool_choice: Literal["none", "auto", "required"] | FlatChosen | None = None
    parallel_tool_calls: bool | None = None
    text: TextSettings | None = None
    previous_response_id: None = None
    conversation: None = None
    prompt: None = None
    background: Literal[False] | None = None
    truncation: Literal["disabled"] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    store: Ignored = None
    include: Ignored = None
    reasoning: Ignored = None
    stream_options: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None
    max_tool_calls: Ignored = None
    top_logprobs: Literal[0] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Responses:
        format_ = self.text.format if self.text else None
        if format_ is not None and (format_.type == "json_schema") != (format_.schema_ is not None):
            raise ValueError('text.format: schema goes with type "json_schema", and that with it')
        return self

    @property
    def chat(self) -> dict[str, Any]:
        """The same request as /v1/chat/completions has it."""
        names = ("model", "temperature", "top_p", "top_k", "min_p", "seed", "repetition_penalty", "parallel_tool_calls")
        same = {name: value for name in names if (value := getattr(self, name)) is not None}
        tools = [{"type": "function", "function": _plain(tool)} for tool in self.tools or ()] or None
        given = {"tools": tools, "tool_choice": self._choice, "response_format": self._format}
        rest = {name: value for name, value in given.items() if value is not None}
        return {**same, **rest, "messages": self._messages, "max_tokens": self.max_output_tokens}

    @property
    def _messages(self) -> list[dict[str, Any]]:
        begin = [{"role": "system", "content": self.instructions}] if self.instructions else []
        if isinstance(self.input, str):
            return [*begin, {"role": "user", "content": self.input}]
        return [*begin, *(_message(item) for item in self.input)]

    @property
    def _choice(self) -> Any:
        if isinstance(self.tool_choice, FlatChosen):
            return Chosen(function=Named(name=self.tool_choice.name)).model_dump()
        return self.tool_choice

    @property
    def _format(self) -> dict[str, Any] | None:
        format_ = self.text.format if self.text else None
        if format_ is None:
            return None
        if format_.schema_ is None:
            return {"type": format_.type}
        return {"type": "json_schema", "json_schema": {"name": format_.name, "schema": format_.schema_}}


def _plain(tool: FlatTool) -> dict[str, Any]:
    return tool.model_dump(exclude={"type"}, exclude_none=True)


def _message(item: Said | CalledItem | Outcome) -> dict[str, Any]:
    if isinstance(item, Outcome):
        return {"role": "tool", "tool_call_id": item.call_id, "content": item.output}
    if isinstance(item, CalledItem):
        function = {"name": item.name, "arguments": item.arguments}
        return {"role": "assistant", "tool_calls": [{"id": item.call_id, "type": "function", "function": function}]}
    content = item.content
    said = content if isinstance(content, str) else [part.model_dump(exclude_none=True) for part in content]
    return {"role": item.role, "content": said}
