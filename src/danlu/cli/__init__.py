"""Floor 7: one file a verb; it parses, calls and prints. Nothing heavy is imported before a verb runs."""

from __future__ import annotations

import argparse
import errno
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from types import ModuleType

from ..core.errors import DanluError, unknown

USER_MISTAKE, MACHINE_FAULT, INTERRUPTED = 2, 1, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb; the exit code is 0, 2 for a user's mistake, 1 for a fault of the machine, 130 for Ctrl-C."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words)
    except DanluError as error:
        return _say(error, USER_MISTAKE)
    except KeyboardInterrupt:
        return _say("interrupted; what was written stays, the same command goes on from there", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output left; nothing is wrong
        return 0
    except OSError as error:
        return _say(_sentence(error), MACHINE_FAULT)


def verbs() -> list[str]:
    """The names of the verbs: the files of this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def _run(words: list[str]) -> int:
    first = words[0] if words else "--help"
    if first in ("-h", "--help"):
        return _help()
    if first in ("-V", "--version"):
        from .. import __version__

        print(f"danlu {__version__}")
        return 0
    if first not in verbs():
        raise unknown("verb", first, verbs())
    verb = _verb(first)
    parser = argparse.ArgumentParser(prog=f"danlu {first}", description=verb.HELP, epilog=verb.__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    verb.arguments(parser)
    return verb.run(parser.parse_args(words[1:])) or 0


def _verb(name: str) -> ModuleType:
    return importlib.import_module(f".{name}", __package__)


def _help() -> int:
    print("danlu: a language model's whole life, from text to a talking model\n\nusage: danlu VERB …\n")
    for name in verbs():
        print(f"  {name:<10} {_verb(name).HELP}")
    print("\ndanlu VERB --help tells more; danlu demo shows it all in a few minutes")
    return 0


def _say(sentence: object, code: int) -> int:
    print(f"danlu: {sentence}", file=sys.stderr)
    return code


def _sentence(error: OSError) -> str:
    place = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{place}the disk is full; free some space and run the same command again, it goes on from the last save"
    return f"{place}{error.strerror or error}"
