"""A process that only tries grammars: what would crash, stall or fill the memory does so here, not in the engine.

It is run as a script and imports llguidance alone: a line with a grammar comes in, a line with the reason against it
goes out. Recursion runs on a small stack, each trial has its own seconds, all share their bytes.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from typing import Any

STACK = 1 << 20  # bytes: an eighth of what threads usually have
MEMORY = 3 << 29  # bytes of address space
SECONDS = 1  # of the processor, a trial, and up to one more
STEPS = 48  # tokens of a walk


def reason(llguidance: Any, tokenizer: Any, grammar: str, limits: dict[str, Any]) -> str:
    """Why the grammar cannot be followed some steps at random; "" if it can."""
    matcher = llguidance.LLMatcher(
        tokenizer, grammar, log_level=0, limits=llguidance.LLParserLimits(verbose_errors=False, **limits)
    )
    dice = random.Random(0)
    for _ in range(STEPS):
        if matcher.is_error() or matcher.is_stopped():
            break
        bits = matcher.compute_bitmask()
        ids = [i for i in range(tokenizer.vocab_size) if bits[i >> 3] >> (i & 7) & 1 and i not in tokenizer.eos_tokens]
        if not ids:
            break
        matcher.consume_token(dice.choice(ids))
    return matcher.get_error()


def _try(llguidance: Any, tokenizer: Any, grammar: str, limits: dict[str, Any], answers: list[str]) -> None:
    answers.append(reason(llguidance, tokenizer, grammar, limits))


def main() -> None:
    import llguidance

    tokenizer = llguidance.LLTokenizer("byte")
    for line in sys.stdin:
        asked = json.loads(line)
        _limit()
        answers: list[str] = []
        threading.stack_size(STACK)
        trial = threading.Thread(target=_try, args=(llguidance, tokenizer, *asked, answers))
        trial.start()
        trial.join()
        sys.stdout.write(json.dumps(answers[0] if answers else "it cannot be tried") + "\n")
        sys.stdout.flush()


def _limit() -> None:
    """Counts the seconds from now."""
    try:
        import resource
    except ImportError:  # no such limits on this system: the parent's clock remains
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    seconds = int(used.ru_utime + used.ru_stime) + SECONDS + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.getrlimit(resource.RLIMIT_CPU)[1]))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    main()
