"""Tools of a request: what the model is told of them, the form of its calls, and who reads them out of its text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ..core.errors import DanluError
from .call_forms import CallForm
from .call_reader import Fragment, Said
from .errors import Refused
from .house import House
from .schemas.chat import Chat, Chosen
from .tools import Tools


class Reads(Protocol):
    """Takes the text of one answer apart, as it comes."""

    def push(self, piece: str, /) -> Said: ...

    def flush(self) -> Said: ...

    @property
    def called(self) -> bool: ...

    def message(self) -> list[dict[str, Any]]: ...


class Silent:
    """Where there are no tools, all is text."""

    called = False

    def push(self, text: str) -> Said:
        return Said(text)

    def flush(self) -> Said:
        return Said()

    def message(self) -> list[dict[str, Any]]:
        return []


@dataclass(frozen=True)
class Calling:
    """The tools of one request; none of them may be there."""

    tools: Tools
    form: CallForm

    @classmethod
    def of(cls, house: House, body: Chat) -> Calling:
        """Raises: Refused that names what is wrong with the tools, or that the model is never told of any."""
        choice = body.tool_choice
        given = [tool.model_dump(exclude_none=True) for tool in body.tools or ()]
        chosen = choice.model_dump() if isinstance(choice, Chosen) else choice
        try:
            tools = Tools.read(given, chosen, parallel=body.parallel_tool_calls)
        except DanluError as error:
            place = "tool_choice" if str(error).startswith("tool_choice") else "tools"
            raise Refused(str(error), param=place) from None
        if tools and not house.shows_tools:
            raise Refused("the chat template of this model tells it of no tools; leave them out", param="tools")
        return cls(tools, house.form)

    @property
    def shown(self) -> list[dict[str, Any]]:
        return self.tools.shown

    @property
    def shown_ids(self) -> tuple[int, ...]:
        """Special tokens that stay in the text, as they tell where calls are."""
        return self.form.shown_ids if self.tools else ()

    @property
    def constraint(self) -> dict[str, Any] | None:
        return self.form.constraint(self.tools) if self.tools else None

    def reader(self) -> Reads:
        """For one answer."""
        return self.form.reader(self.tools) if self.tools else Silent()


def fragment(call: Fragment) -> dict[str, Any]:
    """A piece of a call as a chunk tells it: id and name once, then arguments in pieces."""
    function: dict[str, Any] = {} if call.name is None else {"name": call.name}
    begin = {} if call.id is None else {"id": call.id, "type": "function"}
    return {"index": call.index, **begin, "function": {**function, "arguments": call.arguments}}
