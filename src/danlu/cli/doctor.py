"""danlu doctor             what this machine has, which extras are missing and how to install them"""

from __future__ import annotations

import argparse

HELP = "say what this machine has: torch, device, dtypes, cores, memory, extras"


def arguments(parser: argparse.ArgumentParser) -> None:
    """It needs none."""


def run(args: argparse.Namespace) -> None:
    from ..plan.doctor import examine

    for name, finding in examine().items():
        print(f"{name:<14} {finding}")
