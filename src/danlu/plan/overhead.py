"""What comes on top of the tensors: the process itself, and what an allocator holds without using it."""

from __future__ import annotations

from collections.abc import Mapping

MIB = 2**20
STAYS = {"weights", "frozen weights", "optimizer", "master weights", "batch"}
"""Kinds that are laid down once: they leave no holes."""

PROCESS = 600 * MIB  # resident memory of a process that has imported torch; on a GPU, its context and libraries
SEGMENT, SHARE = 20 * MIB, {"cuda": 0.04, "cpu": 0.06}


def fragmentation(kinds: Mapping[str, int], place: str) -> int:
    """An allowance for holes: a share of the bytes that come and go in a phase, and one segment begun and not filled.

    CUDA's caching allocator rounds tensors up to 512 bytes and takes memory in segments of 20 MiB, or of 2 MiB steps
    for larger tensors: 4 %. On a CPU malloc gives large tensors back at once and keeps small ones: 6 % of resident
    memory. What stays for the whole run leaves no holes.

    Source: torch/c10/cuda/CUDACachingAllocator (kSmallSize, kLargeBuffer, kRoundLarge); the shares are allowances
    that danlu chose, not measurements.
    """
    moving = sum(bytes_ for kind, bytes_ in kinds.items() if kind not in STAYS)
    return round(SHARE[place] * moving) + SEGMENT
