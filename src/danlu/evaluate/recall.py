"""Whether a model finds again what it read so many tokens ago: copies of noise, and values asked for by their keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import ConfigError
from ..core.ports import Scorer
from ..core.progress import bar
from .passages import LETTERS, MARK, SHORTEST, Passages
from .picture import Panel

ROWS = 16  # passages given to the scorer at once
ASKED = 4  # passages with a key that is asked for, to each that is copied: they have one answer only

Row = tuple[list[int], list[int]]


@dataclass(frozen=True)
class Found:
    """What was right of what was asked, every answer ``distance`` tokens after its source; ``reads`` tokens in all."""

    distance: int
    right: int
    asked: int
    reads: int

    @property
    def accuracy(self) -> float:
        return self.right / self.asked

    def write(self) -> dict[str, Any]:
        return {"distance": self.distance, "accuracy": self.accuracy, "asked": self.asked, "reads": self.reads}


@dataclass(frozen=True)
class Recall:
    """Accuracies by distance: of symbols copied, and of values recalled; over ``letters`` different symbols."""

    copy: list[Found]
    recall: list[Found]
    letters: int

    def write(self) -> dict[str, Any]:
        return {
            "copy": [found.write() for found in self.copy],
            "recall": [found.write() for found in self.recall],
            "letters": self.letters,
        }


def panels(curves: Mapping[str, Recall], *, trained: int) -> list[Panel]:
    """Both accuracies by distance, one curve a name; a copy reads twice its distance."""
    copies = {name: [(one.distance, one.accuracy) for one in found.copy] for name, found in curves.items()}
    values = {name: [(one.distance, one.accuracy) for one in found.recall] for name, found in curves.items()}
    return [
        Panel("distance (tokens)", "copy accuracy", copies, trained / 2, doubling=True, share=True),
        Panel("distance (tokens)", "key–value recall accuracy", values, trained, doubling=True, share=True),
    ]


def reads(distance: int) -> int:
    """How many tokens the longest passage of a distance has, a beginning included: those of a copy."""
    return 2 * distance


def usual(trained: int, limit: int | None) -> list[int]:
    """Distances from an eighth of the trained length, doubling, to four times it or as far as a table reaches."""
    furthest = min(4 * trained, (limit or 8 * trained) // 2)
    first = max(trained // 8, SHORTEST)
    return [first << power for power in range(6) if first << power <= furthest]


def recall(
    scorer: Scorer, distances: Sequence[int], *, passages: int = 32, seed: int = 0, quiet: bool = True
) -> Recall:
    """Which share of answers is the likeliest token, each given all before it, by the distance to its source.

    copy:    x_1 … x_n | x_1 … x_n over random letters, every x after the mark answered n + 1 = distance tokens later.
    recall:  key value noise … | key → value, with up to seven other pairs in the noise.
    Passages are drawn over characters that the tokenizer writes as one token each; ``passages`` copies a distance and
    four times as many recalls. Chance is one in the letters, or one in the values.

    Raises: ConfigError if a distance is below 4 or beyond what the scorer may read, or the letters are too few.
    Source: written for danlu; copying noise: Graves et al. 2014, arXiv:1410.5401, §4.1; pairs: Arora et al. 2023,
        arXiv:2312.04927 (associative recall).
    Truth:  tests/truth/test_recall.py (scorers that look exactly so far back; the passages read back by hand).
    """
    begin, letters, mark = alphabet(scorer)
    _check(distances, passages, scorer.context)
    drawn = Passages(letters, mark, seed=seed)
    count = passages * (1 + ASKED) * len(distances)
    with bar("recall", count, unit="passages", quiet=quiet) as progress:

        def found(draw: Callable[[int, int], Row], many: int) -> Iterator[Found]:
            for distance in distances:
                rows = [draw(number, distance) for number in range(many)]
                rows = [([*begin, *context], answer) for context, answer in rows]
                hits: list[bool] = []
                for at in range(0, many, ROWS):
                    scores = scorer.score(rows[at : at + ROWS])
                    hits += [hit for score in scores for hit in score.likeliest]
                    progress.advance(len(scores))
                yield Found(distance, sum(hits), len(hits), sum(map(len, rows[0])))

        copies = list(found(drawn.copy, passages))
        return Recall(copies, list(found(drawn.recall, ASKED * passages)), len(letters))


def alphabet(scorer: Scorer) -> tuple[list[int], list[int], int]:
    """How a document begins (BOS or nothing), the ids of characters that are one token each, and that of the mark.

    Raises: ConfigError if the mark is not one token.
    """
    known = {c: ids for c in (MARK, *LETTERS) if (ids := scorer.encode(c)) and scorer.byte_count(ids[-1:])}
    size = min(map(len, known.values()), default=1)
    begin = next((ids[:-1] for ids in known.values() if len(ids) == size), [])
    single = {c: ids[-1] for c, ids in known.items() if ids[:-1] == begin}
    if MARK not in single:
        raise ConfigError(
            f"the tokenizer does not write {MARK!r} as one token; recall needs it between passage and answer"
        )
    mark = single.pop(MARK)
    return begin, [i for i in dict.fromkeys(single.values()) if i != mark], mark


def _check(distances: Sequence[int], passages: int, context: int) -> None:
    if not distances or passages < 1:
        raise ConfigError("recall needs a distance and a passage at least, for example --recall 16 32 64")
    if min(distances) < SHORTEST:
        raise ConfigError(f"a distance of {min(distances)} leaves no room for a passage; ask for {SHORTEST} or more")
    if reads(max(distances)) > context:
        raise ConfigError(
            f"a copy over {max(distances)} tokens reads {reads(max(distances))}, but the model may read {context}; ask "
            f"for distances up to {context // 2}"
        )
