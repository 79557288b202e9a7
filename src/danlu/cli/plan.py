"""danlu plan recipes/pretrain.yaml                          what the run will cost and whether it fits here
danlu plan RECIPE train.micro=8192 --on a100              with keys changed, on a named device
danlu plan --model runs/first/final --length 1024 --batch 4 --precision bf16
danlu plan --model config.json --on rtx4090 --json plan.json"""

from __future__ import annotations

import argparse

HELP = "say before a run what it costs: bytes, arithmetic, time, and what fits"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", help="a YAML recipe; or give --model")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="changes to the recipe: train.micro=4096")
    parser.add_argument("--model", metavar="DIR", help="a model directory, run, hub id or config.json")
    parser.add_argument("--length", type=int, help="tokens a row (with --model; default: the context, at most 2,048)")
    parser.add_argument("--batch", type=int, default=1, help="rows at once (with --model)")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "tf32", "bf16", "fp16"), help="with --model")
    parser.add_argument("--recompute", action="store_true", help="recompute blocks (with --model)")
    parser.add_argument("--on", metavar="DEVICE", help="a named device: a100, h100, rtx4090 … (default: this machine)")
    parser.add_argument("--memory", metavar="24GiB", help="what it must fit into (default: the device's memory)")
    parser.add_argument("--json", metavar="FILE", help="write the plan as JSON too")


def run(args: argparse.Namespace) -> None:
    from ..plan.report import Plan
    from ..plan.request import bytes_of, of_model

    limit = bytes_of(args.memory) if args.memory else None
    plan: Plan
    if args.model:
        plan = of_model(
            args.model, length=args.length, rows=args.batch, precision=args.precision, recompute=args.recompute,
            on=args.on, limit=limit,
        )  # fmt: skip
    else:
        from ..core.errors import ConfigError
        from ..train.forecast import plan as plan_of

        if not args.recipe:
            raise ConfigError("name a recipe, or a model with --model DIR; danlu plan --help shows both")
        plan = plan_of(args.recipe, args.changes, on=args.on, limit=limit)
    print(plan.table())
    if args.json:
        plan.write(args.json)
