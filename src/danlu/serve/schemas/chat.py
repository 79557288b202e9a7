"""POST /v1/chat/completions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from .body import Body
from .decoding import Decoding, Ignored


class Part(Body):
    """A piece of a message: text alone; no request can name a file or a URL."""

    type: Literal["text", "input_text", "output_text"]
    text: str
    annotations: Ignored = None
    logprobs: Ignored = None


class Called(Body):
    name: str
    arguments: str | None = None


class Call(Body):
    id: str | None = None
    type: Literal["function"] = "function"
    function: Called
    index: Ignored = None


class Message(Body):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None
    name: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    refusal: Ignored = None
    annotations: Ignored = None
    audio: None = None
    function_call: None = None

    @model_validator(mode="after")
    def _says(self) -> Message:
        if self.content is None and not self.tool_calls:
            raise ValueError("a message has content, or an assistant's has tool_calls")
        if self.tool_calls and self.role != "assistant":
            raise ValueError("only an assistant's message has tool_calls")
        return self

    @property
    def text(self) -> str:
        parts = self.content or ""
        return parts if isinstance(parts, str) else "".join(part.text for part in parts)


class Function(Body):
    name: Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Body):
    type: Literal["function"]
    function: Function


class Named(Body):
    name: str


class Chosen(Body):
    """``tool_choice``: this tool and no other."""

    type: Literal["function"] = "function"
    function: Named


class Chat(Decoding):
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=0)
    max_completion_tokens: int | None = Field(None, ge=0)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[Tool] | None = Field(None, max_length=128)
    tool_choice: Literal["none", "auto", "required"] | Chosen | None = None
    parallel_tool_calls: bool | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool = False
    add_special_tokens: Ignored = None
    chat_template: None = None
    chat_template_kwargs: dict[str, str | int | float | bool | None] | None = Field(None, max_length=8)
    modalities: list[Literal["text"]] | None = None
    prediction: Ignored = None
    verbosity: Ignored = None
    reasoning_effort: Ignored = None
    moderation: Ignored = None
    audio: None = None
    web_search_options: None = None
    functions: None = None
    function_call: Literal["none", "auto"] | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Chat:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs goes with logprobs: true")
        if self.continue_final_message and self.add_generation_prompt:
            raise ValueError("continue_final_message and add_generation_prompt cannot both be true")
        if self.continue_final_message and self.messages[-1].role != "assistant":
            raise ValueError("continue_final_message goes on with an assistant's message, and the last is none")
        if self.best_of is not None and not self.use_beam_search:
            raise ValueError("best_of goes with use_beam_search here; /v1/completions has it for sampling")
        return self._with_tools()

    def _with_tools(self) -> Chat:
        if self.tool_choice not in (None, "none") and not self.tools:
            raise ValueError("tool_choice goes with tools")
        names = [tool.function.name for tool in self.tools or []]
        if len(set(names)) < len(names):
            raise ValueError("two tools have the same name")
        if isinstance(self.tool_choice, Chosen) and self.tool_choice.function.name not in names:
            raise ValueError(f"tool_choice names {self.tool_choice.function.name!r}, which is none of the tools")
        return self

    @property
    def limit(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def told(self) -> int | None:
        """How many likeliest tokens are told at each place; None: no log-probabilities at all."""
        return (self.top_logprobs or 0) if self.logprobs else None
