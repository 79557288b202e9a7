"""Several threads that ask a registry for the first time all find every part."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import threading
from danlu.infer.filters import FILTERS
found, start = [], threading.Barrier(8)
def ask():
    start.wait()
    found.append(len(list(FILTERS)))
threads = [threading.Thread(target=ask) for _ in range(8)]
[one.start() for one in threads], [one.join() for one in threads]
assert len(found) == 8 and min(found) == max(found) > 5, found
"""


def test_the_first_look_up_may_come_from_many_threads() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120)
    assert not done.returncode, done.stderr
