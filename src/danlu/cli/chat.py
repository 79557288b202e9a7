"""danlu chat runs/demo/final
danlu chat MODEL --system "Answer in one sentence." --temperature 0.7 --top-p 0.9
echo "Who are you?" | danlu chat MODEL

danlu chat BASE --adapter runs/lora --adapter law=PEFT-FOLDER     /adapter law answers with the other one from then on

/reset forgets the conversation, /adapter lists adapters, /adapter NAME switches, /adapter none asks the base alone,
/quit (or Ctrl-D) ends, Ctrl-C ends an answer."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from . import generate

if TYPE_CHECKING:
    from ..infer import Local
    from ..infer.conversation import Conversation

HELP = "talk to a model in the terminal"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model directory, a run or a hub id, with a chat template")
    parser.add_argument("--system", default="", metavar="TEXT", help="said to the model before the conversation")
    generate.adapters(parser)
    generate.sampling(parser, max_tokens=512)


def run(args: argparse.Namespace) -> None:
    from ..assembly import load_with
    from ..infer import Local
    from ..infer.conversation import Conversation

    model, tokenizer, names = load_with(args.model, args.adapter, base=args.base, any_base=args.any_base)
    local = Local(model, tokenizer, frozen=True)
    conversation = Conversation(local, system=args.system, settings=generate.settings(args))
    commands = {"/reset": lambda _: conversation.reset(), "/adapter": lambda name: _switch(local, names, name)}
    while (text := _read()) is not None and text != "/quit":
        command, _, rest = text.partition(" ")
        if command in commands:
            commands[command](rest.strip())
        elif text.startswith("/"):
            print("there are /reset, /adapter NAME and /quit")
        elif text:
            _answer(conversation, text)


def _switch(local: Local, names: list[str], name: str) -> None:
    """Another adapter acts from now on; a name that is none is one sentence, and nothing changes."""
    from ..core.errors import DanluError
    from ..peft.attached import activate

    try:
        if name:
            activate(local.model, *([] if name == "none" else [name]))
    except DanluError as error:
        print(f"danlu: {error}")
    acting = local.model.switch.active if local.model.switch else ()
    print(f"adapters: {', '.join(names) or 'none'}; now answers {', '.join(acting) or 'the base alone'}")


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
