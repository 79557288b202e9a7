"""What tuning gave and what it took: the same texts scored before and after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.ports import Scorer
from .perplexity import Perplexity, perplexity


@dataclass(frozen=True)
class Change:
    """How one kind of text is coded before and after; ``gain`` in bits a byte is above 0 where it became easier."""

    kind: str
    before: Perplexity
    after: Perplexity

    @property
    def gain(self) -> float:
        return self.before.bits_per_byte - self.after.bits_per_byte

    def write(self) -> dict[str, Any]:
        return {"before": self.before.write(), "after": self.after.write(), "gain_bits_per_byte": self.gain}


def forgetting(
    before: Scorer, after: Scorer, texts: Mapping[str, Sequence[str]], *, stride: int | None = None, quiet: bool = True
) -> list[Change]:
    """One change a kind of text; the two may have different tokenizers, because bits a byte compare.

    gain = nats_before / (ln 2 · bytes) - nats_after / (ln 2 · bytes)
    Raises: as ``perplexity``.
    Source: McCloskey, Cohen 1989, "Catastrophic interference in connectionist networks", Psychology of Learning and
    Motivation 24 (what is learned later costs what was known).
    Truth:  tests/truth/test_forgetting.py (two counted models whose gain is worked by hand).
    """
    return [
        Change(
            kind,
            perplexity(before, found, stride=stride, quiet=quiet),
            perplexity(after, found, stride=stride, quiet=quiet),
        )
        for kind, found in texts.items()
    ]
