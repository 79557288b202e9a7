"""Counts for Prometheus, in its text format; names begin with ``danlu_``."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping

BOUNDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)  # seconds
GAUGES = frozenset({"running", "waiting", "blocks", "blocks_used", "block_size"})


class Histogram:
    """How many values were at most each bound."""

    def __init__(self) -> None:
        self.counts, self.total = [0] * (len(BOUNDS) + 1), 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(BOUNDS, value)] += 1
        self.total += value

    def lines(self, name: str) -> Iterator[str]:
        below = 0
        for bound, count in zip([*map(str, BOUNDS), "+Inf"], self.counts, strict=True):
            below += count
            yield f'{name}_bucket{{le="{bound}"}} {below}'
        yield f"{name}_sum {self.total}"
        yield f"{name}_count {below}"


class Metrics:
    """Counted on the event loop; the engine's own figures are asked when they are shown."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.finishes: Counter[str] = Counter()
        self.first_token, self.whole = Histogram(), Histogram()

    def answered(self, route: str, status: int, seconds: float) -> None:
        self.requests[route, status] += 1
        self.whole.add(seconds)

    def began(self, seconds: float) -> None:
        self.first_token.add(seconds)

    def finished(self, why: str) -> None:
        self.finishes[why] += 1

    def text(self, engine: Mapping[str, float]) -> str:
        """``engine``: its figures by name."""
        return "\n".join([*self._counted(), *self._timed(), *_figures(engine)]) + "\n"

    def _counted(self) -> Iterator[str]:
        yield from _head("danlu_requests_total", "counter", "requests answered")
        for (route, status), count in sorted(self.requests.items()):
            yield f'danlu_requests_total{{route="{route}",status="{status}"}} {count}'
        yield from _head("danlu_answers_total", "counter", "texts that ended, by why")
        for why, count in sorted(self.finishes.items()):
            yield f'danlu_answers_total{{finish="{why}"}} {count}'

    def _timed(self) -> Iterator[str]:
        yield from _head("danlu_first_token_seconds", "histogram", "from a request to its first token")
        yield from self.first_token.lines("danlu_first_token_seconds")
        yield from _head("danlu_request_seconds", "histogram", "from a request to the end of its answer")
        yield from self.whole.lines("danlu_request_seconds")


def _figures(engine: Mapping[str, float]) -> Iterator[str]:
    for name, value in engine.items():
        gauge = name in GAUGES
        full = f"danlu_engine_{name}" + ("" if gauge else "_total")
        yield from _head(full, "gauge" if gauge else "counter", f"the engine's {name.replace('_', ' ')}")
        yield f"{full} {value}"


def _head(name: str, kind: str, said: str) -> Iterator[str]:
    yield f"# HELP {name} {said}"
    yield f"# TYPE {name} {kind}"
