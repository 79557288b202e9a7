"""What several devices send each other, and wait for."""

from __future__ import annotations

from ..core.errors import ConfigError, unknown

COLLECTIVES = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1, "broadcast": 1, "all_to_all": 1}
"""Times that a ring passes (n - 1)/n of the data."""

ZERO_VOLUME = {0: 2.0, 1: 2.0, 2: 2.0, 3: 3.0}


def ring_bytes(bytes_: float, ranks: int, collective: str = "all_reduce") -> float:
    """Bytes that each rank sends in a ring: 2·(n - 1)/n of them for a sum that all get, (n - 1)/n for one half of it.

    Raises: ConfigError for an unknown collective or fewer ranks than one.
    Source: Patarasuk & Yuan 2009, "Bandwidth optimal all-reduce algorithms", J. Parallel Distrib. Comput. 69(2).
    Truth:  tests/truth/test_plan_cases.py (15 GB on 64 ranks).
    """
    if collective not in COLLECTIVES:
        raise unknown("collective", collective, list(COLLECTIVES))
    if ranks < 1:
        raise ConfigError(f"a collective needs at least one rank, found {ranks}")
    return COLLECTIVES[collective] * (ranks - 1) / ranks * bytes_


def zero_volume(stage: int) -> float:
    """What ZeRO sends relative to data parallelism: the same 2·N up to stage 2, 3·N in stage 3.

    Raises: ConfigError for a stage that does not exist.
    Source: Rajbhandari et al. 2020, arXiv:1910.02054, §7.
    Truth:  tests/truth/test_plan_cases.py.
    """
    if stage not in ZERO_VOLUME:
        raise ConfigError(f"ZeRO has the stages 0, 1, 2 and 3, found {stage}")
    return ZERO_VOLUME[stage] / ZERO_VOLUME[0]


def pipeline_bubble(*, stages: int, micros: int, virtual: int = 1) -> float:
    """Idle time of a pipeline relative to its useful time: (p - 1) / (v · m).

    Raises: ConfigError for sizes below 1.
    Source: Narayanan et al. 2021, arXiv:2104.04473, §2.2.
    Truth:  tests/truth/test_plan_cases.py (4 stages, 8 micro-batches: 3/8).
    """
    if min(stages, micros, virtual) < 1:
        raise ConfigError("a pipeline has at least one stage, micro-batch and chunk a stage")
    return (stages - 1) / (virtual * micros)
