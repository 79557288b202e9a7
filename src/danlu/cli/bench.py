"""danlu bench                 every benchmark of this checkout against its peer
danlu bench training …      only these
danlu bench peft            every method of fine-tuning on one base and one task, as a table and a plot
danlu bench memory | plan   what saves memory, and what it costs | predicted against measured bytes"""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from pathlib import Path

HELP = "measure danlu: against its peers side by side, or its own methods against each other"
LAB = {"peft": "peft", "memory": "memory", "plan": "plan_accuracy"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", help="peft, memory, plan, or names of benchmarks (default: all of these)")
    parser.add_argument("--out", metavar="DIR", help="folder of peft, memory and plan (default: runs/bench/NAME)")
    parser.add_argument("--quick", action="store_true", help="these three at smoke size")


def run(args: argparse.Namespace) -> int:
    from ..core.errors import ConfigError

    mine = [name for name in args.names if name in LAB]
    for name in mine:
        folder = Path(args.out or f"runs/bench/{name}")
        importlib.import_module(f"..lab.{LAB[name]}", __package__).run(folder, quick=args.quick)
        print((folder / f"{name}.md").read_text(encoding="utf-8"))
    others = [name for name in args.names if name not in LAB]
    if mine and not others:
        return 0
    script = Path(__file__).parents[3] / "benchmarks" / "run.py"
    if not script.is_file():
        raise ConfigError(
            "these benchmarks lie in danlu's repository, not in the installed package; clone it, then: make bench"
        )
    return subprocess.run([sys.executable, str(script), *others], check=False).returncode
