"""What preparing did: files, rows, tokens, lengths, and every cut by reason."""

from __future__ import annotations

from typing import Any

import numpy as np

from .chunks import SIDES
from .encoding import Notes
from .store import Documents
from .tokenizing import Stored

PERCENTILES = (5, 25, 50, 75, 95, 99, 100)
SAMPLE = 1 << 20


def source_report(stored: Stored) -> dict[str, Any]:
    """One source, both sides."""
    shards, notes = stored.facts["shards"], Notes()
    for shard in shards:
        notes.merge(shard["notes"])
    counts = {
        kind: {side: sum(shard[kind][i] for shard in shards) for i, side in enumerate(SIDES)}
        for kind in ("documents", "tokens", "supervised")
    }
    return {
        "from": stored.source.from_,
        "files": len(stored.facts["files"]),
        "skipped": stored.facts["skipped"],
        "formats": sorted(set(stored.facts["formats"])),
        "rows": sum(shard["rows"] for shard in shards),
        "characters": sum(shard["characters"] for shard in shards),
        **counts,
        "lengths": lengths(stored.train),
        "cut": notes.reasons,
        "cached": stored.cached,
        "store": str(stored.train.folder),
    }


def lengths(documents: Documents) -> dict[str, int]:
    """Percentiles of the documents' tokens, of every document or of a million evenly spread ones."""
    if not len(documents):
        return {}
    index = np.arange(0, len(documents), max(1, len(documents) // SAMPLE))
    sizes = documents.starts[index + 1] - documents.starts[index]
    return {
        f"p{p}": int(v) for p, v in zip(PERCENTILES, np.percentile(sizes, PERCENTILES, method="lower"), strict=True)
    }
