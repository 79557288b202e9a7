"""danlu run LIFE.yaml [key=value …]     several stages, from text to a report; finished ones are passed over

For example: danlu run recipes/life.yaml stages.pretrain.recipe.train.steps=100
"""

from __future__ import annotations

import argparse
import functools

HELP = "run the stages of a life, resumable: text, tokenizer, training, evaluation, report"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The recipe and what to change in it."""
    parser.add_argument("life", metavar="LIFE.yaml", help="a recipe with stages, for example recipes/life.yaml")
    parser.add_argument("overrides", metavar="key=value", nargs="*", help="for example seed=1")
    parser.add_argument("--out", help="the folder of the run (the recipe's)")
    parser.add_argument("--fresh", action="store_true", help="delete what an earlier run of it left there")


def run(args: argparse.Namespace) -> None:
    from ..life import run as live

    say = functools.partial(print, flush=True)
    print(live(args.life, args.overrides, out=args.out, fresh=args.fresh, say=say).closing)
