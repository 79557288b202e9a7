"""Hours, days and money of a run on so many devices."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import ConfigError

HOURS_A_DAY = 24


@dataclass(frozen=True, kw_only=True)
class Bill:
    """``device_hours`` on ``devices`` of them, at ``price`` an hour of one, in whatever money the price is in.

    days = device_hours / devices / 24;  money = device_hours · price.

    Raises: ConfigError for fewer devices than one, or a negative price.
    Source: DeepSeek-AI 2024, arXiv:2412.19437, table 1 (2.788 million H800 hours at $2: $5.576 million).
    Truth:  tests/truth/test_plan_cases.py (3.7 days a trillion tokens on 2,048 devices; $5.576 million).
    """

    device_hours: float
    devices: int = 1
    price: float = 0

    def __post_init__(self) -> None:
        if self.devices < 1 or self.price < 0:
            raise ConfigError(
                f"a bill needs at least one device and a price from 0 on, found {self.devices} and {self.price}"
            )

    @property
    def days(self) -> float:
        return self.device_hours / self.devices / HOURS_A_DAY

    @property
    def money(self) -> float:
        return self.device_hours * self.price


def hours_a_trillion(device_hours: float, tokens: float) -> float:
    """Device hours a trillion tokens: how runs of different lengths are compared."""
    return device_hours / tokens * 1e12
