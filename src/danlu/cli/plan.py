"""danlu plan recipes/pretrain.yaml                          what the run will cost and whether it fits here
danlu plan RECIPE train.micro=8192 --gpu a100             with keys changed, on a named device
danlu plan --model owner/name --method qlora --length 2048 --gpu 24GiB
danlu plan --model config.json adapter.rank=64 --method lora --gpu rtx4090 --json plan.json
danlu plan --cases figures.json                           published figures held against the calculators"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..plan.report import Plan

HELP = "say before a run what it costs: bytes, arithmetic, time, money, and what fits"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", help="a YAML recipe; or give --model")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="changes: train.micro=4096, adapter.rank=64")
    parser.add_argument(
        "--gpu", "--on", dest="gpu", metavar="DEVICE", help="rtx4090, a100 … or a size: 24GiB (default: this machine)"
    )
    parser.add_argument("--memory", metavar="24GiB", help="what it must fit into (default: the device's memory)")
    parser.add_argument("--ranks", type=int, default=1, metavar="N", help="devices that train together (default: 1)")
    parser.add_argument("--zero", type=int, default=0, metavar="0-3", help="ZeRO stage between them (default: 0)")
    parser.add_argument("--price", type=float, default=0, metavar="PER-HOUR", help="of one device, in any money")
    parser.add_argument("--json", metavar="FILE", help="write the plan as JSON too")
    parser.add_argument("--cases", metavar="FILE", help="hold published figures against the calculators, and no more")
    model = parser.add_argument_group("without a recipe")
    model.add_argument("--model", metavar="DIR", help="a model directory, run, hub id or config.json")
    model.add_argument("--method", metavar="NAME", help="full, qlora or the name of an adapter (default: full)")
    model.add_argument("--length", type=int, help="tokens a row (default: the context, at most 2,048)")
    model.add_argument("--batch", type=int, dest="rows", metavar="ROWS", help="rows at once (default: 1)")
    model.add_argument("--micros", type=int, metavar="N", help="micro-batches a step (default: 1)")
    model.add_argument("--precision", metavar="NAME", help="fp32, tf32, bf16, fp16 (default: fp32)")
    model.add_argument("--recompute", nargs="?", const="blocks", metavar="WHAT", help="recompute blocks")
    model.add_argument("--optim", metavar="NAME", help="the optimizer (default: adamw)")
    model.add_argument("--tokens", type=float, metavar="N", help="of the whole run: 1e9")
    model.add_argument("--steps", type=int, metavar="N", help="of the whole run")


REQUEST = ("method", "length", "rows", "micros", "precision", "recompute", "optim", "tokens", "steps")


def run(args: argparse.Namespace) -> None:
    if args.cases:
        held(args.cases)
        return
    plan = planned(args)
    print(plan.table())
    if args.json:
        plan.write(args.json)


def planned(args: argparse.Namespace) -> Plan:
    """The plan that the words ask for."""
    from ..core.errors import ConfigError
    from ..plan.devices import bytes_of, device
    from ..plan.ranks import Ranks
    from ..plan.request import of_model, requested
    from ..train.forecast import memory_of
    from ..train.forecast import plan as plan_of

    limit = bytes_of(args.memory) if args.memory else None
    around = {"limit": limit, "ranks": Ranks(args.ranks, args.zero), "price": args.price}
    given = {key: getattr(args, key) for key in REQUEST if getattr(args, key) is not None}
    if not args.model:
        if not args.recipe:
            raise ConfigError("name a recipe, or a model with --model DIR; danlu plan --help shows both")
        if given:
            raise ConfigError(f"--{next(iter(given))} goes with --model; change the recipe with key=value instead")
        return plan_of(args.recipe, args.changes, on=args.gpu, **around)
    request = requested(given, [args.recipe, *args.changes] if args.recipe else [])
    on = device(args.gpu, precision=request.precision.use)
    return of_model(args.model, request, memory_of=memory_of, device=on, **around)


def held(path: str) -> None:
    """One line a published figure."""
    from ..core.errors import ConfigError
    from ..plan.cases import hold_all

    found = hold_all(path)
    for case in found:
        print(f"{'holds' if case.holds else 'FAILS'}  {case.name}: {case.found} ({case.expected} published)")
    failing = sum(not case.holds for case in found)
    print(f"{len(found) - failing} of {len(found)} hold; cases marked doubtful are left out")
    if failing:
        raise ConfigError(f"{path}: {failing} figures do not hold")
