"""A process that only tries grammars: what would crash, stall or fill the memory does so here, not in the engine.

It is run as a script and imports llguidance alone: after a line that describes the vocabulary, a line with a grammar
comes in and a line with the reason against it goes out. Recursion runs on a small stack, each trial has its own
seconds, all share their bytes.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from typing import Any

STACK = 1 << 20  # bytes: an eighth of what threads usually have
MEMORY = 3 << 29  # bytes of address space
SECONDS = 1  # of the processor, a trial, and up to one more
SLOW = 0.25  # seconds of the processor for a walk
STEPS = 48  # tokens of a walk


class Bytes:
    """A vocabulary with the special tokens of another at their ids, and single bytes for all the rest."""

    def __init__(self, size: int, special: dict[str, str]) -> None:
        named = {int(token): name for token, name in special.items()}
        free = [token for token in range(size + len(named) + 256) if token not in named]
        self.letters = free[:256]
        self.tokens = [b""] * (max(size, free[255] + 1) + 1)
        for byte, token in enumerate(self.letters):
            self.tokens[token] = bytes([byte]) if byte < 255 else b""  # a first byte of 255 would mark it as special
        for token, name in named.items():
            self.tokens[token] = b"\xff" + name.encode()
        self.eos_token_id, self.bos_token_id = len(self.tokens) - 1, None
        self.tokens[-1] = b"\xff<over>"
        self.special_token_ids = [*named, self.eos_token_id]

    def __call__(self, text: bytes | str) -> list[int]:
        return [self.letters[byte] for byte in (text.encode() if isinstance(text, str) else text)]


def reason(llguidance: Any, tokenizer: Any, letters: list[int], grammar: str, limits: dict[str, Any]) -> str:
    """Why the grammar cannot be followed some steps at random; "" if it can."""
    matcher = llguidance.LLMatcher(
        tokenizer, grammar, log_level=0, limits=llguidance.LLParserLimits(verbose_errors=False, **limits)
    )
    dice = random.Random(0)
    begun = time.thread_time()
    for _ in range(STEPS):
        if matcher.is_error() or matcher.is_stopped():
            break
        bits = matcher.compute_bitmask()
        ids = [token for token in letters if bits[token >> 3] >> (token & 7) & 1]
        if not ids:
            break
        matcher.consume_token(dice.choice(ids))
    return matcher.get_error() or ("it takes too long to follow" if time.thread_time() - begun > SLOW else "")


def main() -> None:
    import llguidance

    pieces = Bytes(*json.loads(sys.stdin.readline()))
    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(pieces))
    threading.stack_size(STACK)
    for line in sys.stdin:
        _limit()
        answers: list[str] = []
        asked = (llguidance, tokenizer, pieces.letters, *json.loads(line))
        trial = threading.Thread(target=lambda asked=asked, out=answers: out.append(reason(*asked)))
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
