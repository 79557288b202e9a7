"""danlu bench                 every benchmark of this checkout against its peer
danlu bench training …      only these"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HELP = "measure danlu against its peers, side by side, and write the table"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", help="benchmarks to run: training, startup … (default: all)")


def run(args: argparse.Namespace) -> int:
    from ..core.errors import ConfigError

    script = Path(__file__).parents[3] / "benchmarks" / "run.py"
    if not script.is_file():
        raise ConfigError(
            "the benchmarks lie in danlu's repository, not in the installed package; clone it, then: make bench"
        )
    return subprocess.run([sys.executable, str(script), *args.names], check=False).returncode
