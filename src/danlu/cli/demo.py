"""danlu demo                        the whole life of a small bilingual model, and its report page
danlu demo --text FOLDER          the same stages on your own text (.txt, .md, .jsonl …)
danlu demo --text F --instructions Q.jsonl …   and your own instruction files

Stopped or killed, the same command goes on in the stage where it was.
"""

from __future__ import annotations

import argparse
import functools

HELP = "take text to a small model that answers, and end in a report page"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Whose text, where to, and how much of it."""
    parser.add_argument("--text", metavar="FOLDER", help="your own text instead of the built-in world")
    parser.add_argument("--instructions", metavar="FILE", nargs="+", default=[], help="your own instruction files")
    parser.add_argument("--out", default="runs/demo", help="the folder of the run (runs/demo)")
    parser.add_argument("--seed", type=int, default=0, help="of the world and of training (0)")
    parser.add_argument("--fresh", action="store_true", help="delete what an earlier demo left there")
    parser.add_argument("--quick", action="store_true", help="a minute's worth: every stage, no accuracy to speak of")


def run(args: argparse.Namespace) -> None:
    from ..life import demo
    from ..life import run as live

    recipe = demo(args.text, args.instructions, out=args.out, seed=args.seed, quick=args.quick)
    print(live(recipe, fresh=args.fresh, say=functools.partial(print, flush=True)).closing)
