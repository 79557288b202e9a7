"""danlu chat runs/demo/final
danlu chat MODEL --system "Answer in one sentence." --temperature 0.7 --top-p 0.9
echo "Who are you?" | danlu chat MODEL

/reset forgets the conversation, /quit (or Ctrl-D) ends, Ctrl-C ends an answer."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from . import generate

if TYPE_CHECKING:
    from ..infer.conversation import Conversation

HELP = "talk to a model in the terminal"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model directory, a run or a hub id, with a chat template")
    parser.add_argument("--system", default="", metavar="TEXT", help="said to the model before the conversation")
    generate.sampling(parser, max_tokens=512)


def run(args: argparse.Namespace) -> None:
    from ..assembly import load
    from ..infer import Local
    from ..infer.conversation import Conversation

    conversation = Conversation(
        Local(*load(args.model), frozen=True), system=args.system, settings=generate.settings(args)
    )
    commands = {"/reset": conversation.reset}
    while (text := _read()) is not None and text != "/quit":
        if text in commands:
            commands[text]()
        elif text.startswith("/"):
            print("there are /reset and /quit")
        elif text:
            _answer(conversation, text)


def _read() -> str | None:
    """One line; None at the end of the input."""
    import sys

    from ..core.errors import DataError

    try:
        return input("you: " if sys.stdin.isatty() else "").strip()
    except EOFError:
        if sys.stdin.isatty():
            print()
        return None
    except UnicodeDecodeError as error:
        raise DataError(f"standard input is not UTF-8 at byte {error.start}; write UTF-8") from None


def _answer(conversation: Conversation, text: str) -> None:
    import sys

    from ..core.errors import DanluError

    dropped = conversation.dropped
    try:
        for piece in conversation.say(text):
            print(piece, end="", flush=True)
    except KeyboardInterrupt:
        print(" …", end="")
    except DanluError as error:
        if not sys.stdin.isatty():
            raise
        print(f"danlu: {error}", end="")
    print()
    if conversation.dropped > dropped:
        print(f"(the context is full; oldest turns forgotten so far: {conversation.dropped})", file=sys.stderr)
