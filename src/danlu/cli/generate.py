"""danlu generate runs/demo/final "Once upon a time"
danlu generate MODEL "first prompt" "second" --max-tokens 100 --temperature 0.8 --top-p 0.95 --seed 7
danlu generate MODEL --file prompts.txt --stop "\\n\\n" --json > completions.jsonl
danlu generate MODEL "A number: " --set constraint.regex='[0-9]+' --set search=beam --set search.width=4
danlu generate BASE "prompt" --adapter runs/lora --adapter law=PEFT-FOLDER     the answer of each adapter in turn"""

from __future__ import annotations

import argparse

HELP = "go on from prompts: greedy or sampled, many at a time, streamed"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model directory, a run or a hub id")
    parser.add_argument("prompts", nargs="*", metavar="PROMPT", help="texts to go on from")
    parser.add_argument("--file", metavar="F", help="more prompts, one a line; - reads standard input")
    adapters(parser)
    sampling(parser, max_tokens=128)
    parser.add_argument("--json", action="store_true", help="one JSON object a prompt: text, tokens, logprobs, reason")


def adapters(parser: argparse.ArgumentParser) -> None:
    """What generate and chat share about adapters."""
    parser.add_argument(
        "--adapter", action="append", default=[], metavar="[NAME=]FOLDER", help="an adapter for this base (repeatable)"
    )
    parser.add_argument("--base", metavar="DIR", help="where the base of the adapter MODEL lies now")
    parser.add_argument("--any-base", action="store_true", help="also on other weights than it was trained on")


def sampling(parser: argparse.ArgumentParser, *, max_tokens: int, temperature: float = 0.0) -> None:
    """The settings that generate and chat share."""
    parser.add_argument("--max-tokens", type=int, default=max_tokens, metavar="N", help=f"default {max_tokens}")
    parser.add_argument(
        "--temperature", type=float, default=temperature, metavar="T", help="0 is greedy (default %(default)s)"
    )
    parser.add_argument("--top-k", type=int, default=0, metavar="K", help="keep the K likeliest tokens (0: all)")
    parser.add_argument(
        "--top-p", type=float, default=1.0, metavar="P", help="keep the likeliest with this share (1: all)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first prompt; the next take the next numbers")
    parser.add_argument("--stop", action="append", default=[], metavar="TEXT", help="end before this text (repeatable)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="more",
        help="any other setting of docs/decoding.md: min_p=0.1, repetition_penalty=1.2, search=beam, … (repeatable)",
    )  # fmt: skip


def settings(args: argparse.Namespace) -> dict[str, object]:
    """The arguments as ``Sampling`` names them."""
    from ..core.config import changed

    names = ("max_tokens", "temperature", "top_k", "top_p", "seed", "stop")
    return changed({name: getattr(args, name) for name in names}, args.more)


def run(args: argparse.Namespace) -> None:
    from ..assembly import load_with
    from ..core.config import read
    from ..infer import Generation, Local, Sampling
    from ..peft.attached import activate

    asked = read(Sampling, settings(args), "generate")
    prompts = _prompts(args)
    model, tokenizer, names = load_with(args.model, args.adapter, base=args.base, any_base=args.any_base)
    local = Local(model, tokenizer, frozen=True)
    for name in names[-len(args.adapter) :] if args.adapter else [""]:
        if name:
            activate(local.model, name)
        if len(args.adapter) > 1 and not args.json:
            print(f"── {name}")
        answered = [prompt for prompt in prompts for _ in range(asked.n)]
        _show(Generation(local.serving, local.tokenizer, prompts, asked), answered, as_json=args.json, adapter=name)


def _show(generation: object, prompts: list[str], *, as_json: bool, adapter: str = "") -> None:
    import json
    import sys
    from dataclasses import asdict

    from ..infer import Generation

    assert isinstance(generation, Generation)
    live = len(prompts) == 1 and not as_json and sys.stdout.isatty()
    for _, piece in generation:
        if live:
            print(piece, end="", flush=True)
    if live:
        print()
        return
    for prompt, completion in zip(prompts, generation.completions, strict=True):
        if as_json:
            said = {"prompt": prompt, **({"adapter": adapter} if adapter else {}), **asdict(completion)}
            print(json.dumps(said, ensure_ascii=False))
        else:
            print(f"> {prompt}\n{completion.text}" if len(prompts) > 1 else completion.text)


def _prompts(args: argparse.Namespace) -> list[str]:
    import sys
    from pathlib import Path

    from ..core.errors import ConfigError, DataError

    try:
        text = sys.stdin.read() if args.file == "-" else Path(args.file).read_text("utf-8") if args.file else ""
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 at byte {error.start}; save it as UTF-8", file=args.file) from None
    prompts = [*args.prompts, *(line for line in text.split("\n") if line.strip())]
    if not prompts:
        raise ConfigError('no prompt; write one after the model, as in danlu generate MODEL "Once upon a time"')
    return prompts
