"""danlu parts              every part, its one line and its source
danlu parts position     the parts of one kind, with their settings
danlu parts --families   every family: how many parameters it has, and a recipe line of a newborn model"""

from __future__ import annotations

import argparse

HELP = "list every registered part with its one line and source"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind", nargs="?", help="only the parts of this kind, with their settings")
    parser.add_argument("--families", action="store_true", help="a tour of the families of models")


def run(args: argparse.Namespace) -> None:
    _families() if args.families else _parts(args.kind)


def _parts(kind: str | None) -> None:
    from ..core.catalog import catalog

    for found, parts in catalog(kind).items():
        print(f"{found}")
        for part in parts:
            print(f"  {part.name:<18} {part.line}")
            if part.source:
                print(f"  {'':<18} {part.source}")
            if kind:
                print(f"  {'':<18} settings: {', '.join(part.settings) or 'none'}")
        print()


def _families() -> None:
    from ..models.tour import LEGEND, VOCAB, tour

    for stop in tour():
        print(f"{stop.name}\n  {stop.line}\n  {stop.source}")
        print(f"  parameters: {stop.counted}")
        print(f"  {stop.recipe}\n  # {stop.parameters:,} parameters with a vocabulary of {VOCAB:,}\n")
    print(LEGEND)
