"""What a client is told when it is refused: OpenAI's shape, one sentence with the remedy."""

from __future__ import annotations

from typing import Any

from ..core.errors import DanluError

KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class Refused(Exception):
    """An answer other than 200; ``param`` names the field at fault, ``code`` is what programs compare."""

    def __init__(
        self,
        sentence: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(sentence)
        self.status, self.param, self.code, self.headers = status, param, code, headers or {}

    @property
    def body(self) -> dict[str, Any]:
        kind = KINDS.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


def refusal(error: DanluError, known: frozenset[str] = frozenset()) -> Refused:
    """A mistake that danlu found in a request; ``known`` are the fields whose names may begin its sentence."""
    first = str(error).partition(" ")[0].strip(":,'").partition(".")[0]
    return Refused(str(error), param=first if first in known else None)


def failed() -> Refused:
    """A fault of ours: the reason is in the server's log, not in the answer."""
    return Refused("the server failed on this request; its log says why", status=500, code="internal_error")


def too_long(sentence: str, param: str) -> Refused:
    return Refused(sentence, param=param, code="context_length_exceeded")
