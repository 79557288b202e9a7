"""danlu parts              every part, its one line and its source
danlu parts position     the parts of one kind, with their settings"""

from __future__ import annotations

import argparse

HELP = "list every registered part with its one line and source"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", help="only the parts of this kind, with their settings")


def run(args: argparse.Namespace) -> None:
    from ..core.catalog import catalog

    for kind, parts in catalog(args.kind).items():
        print(f"{kind}")
        for part in parts:
            print(f"  {part.name:<18} {part.line}")
            if part.source:
                print(f"  {'':<18} {part.source}")
            if args.kind:
                print(f"  {'':<18} settings: {', '.join(part.settings) or 'none'}")
        print()
