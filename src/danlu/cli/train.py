"""danlu train recipes/sft-full.yaml                          trains; the same command goes on after a kill
danlu train RECIPE train.steps=100 optim.lr=3e-4          with keys of the recipe changed
danlu train RECIPE --out runs/second --fresh              elsewhere; beginning anew"""

from __future__ import annotations

import argparse

HELP = "train a model as a recipe says; go on where a run was killed"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", help="a YAML recipe")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="changes to the recipe: train.steps=100")
    parser.add_argument("--out", metavar="DIR", help="the folder of the run (default: runs/<name of the recipe>)")
    parser.add_argument("--fresh", action="store_true", help="delete the run in that folder and begin anew")
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors")


def run(args: argparse.Namespace) -> None:
    from ..train import train

    done = train(args.recipe, args.changes, out=args.out, resume=not args.fresh, quiet=args.quiet)
    if args.quiet:
        return
    speed = f", tokens/s {rate:,.0f}" if (rate := done.report["tokens_per_s"]) else ""
    print(f"steps    {done.report['steps']:,}, tokens {done.report['tokens']:,}{speed}")
    if held := done.report["held_out_loss"]:
        print(f"held out loss {held['before']:.4f} before, {held['after']:.4f} after")
    planned, measured = done.report["planned"], done.report["this_process"]
    print(
        f"memory   {planned['peak_bytes'] / 2**20:,.0f} MiB planned at the peak ({planned['peak_phase']}), "
        f"{measured['peak_bytes'] / 2**20:,.0f} MiB measured ({measured['peak_of']})"
    )
    print(f"model    {done.folder / 'final'}\nreport   {done.folder / 'report.json'}, curves.png, metrics.jsonl")
    print(f'next     danlu generate {done.folder / "final"} "…"')
