"""The ``data:`` part of a recipe: which files, in which shares, and how they are cut into rows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..core.errors import ConfigError

TooLong = Literal["drop_oldest_turns", "drop_row", "split", "error"]
LossOn = Literal["answers", "all", "last"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file, folder, glob, ``hf://`` address or ``dataset_info.json#name``, and its part in the mixture.

    ``share`` is relative to the other sources and counts trained rows' tokens; without any, every source is seen once
    an epoch. ``format`` is detected when absent; ``columns`` maps the format's fields to the file's columns, ``tags``
    the keys and role names of conversations; ``loss_on`` overrides the recipe's.
    """

    from_: str
    format: str | None = None
    columns: dict[str, str] | None = None
    tags: dict[str, str] | None = None
    share: float | None = None
    loss_on: LossOn | None = None

    def __post_init__(self) -> None:
        if self.share is not None and not self.share > 0:
            raise ConfigError(f"share of {self.from_} must be above 0, found {self.share}; strike the source instead")


@dataclass(frozen=True, kw_only=True)
class Pack:
    """How documents become rows of ``length`` tokens.

    ``rows: packed`` fills rows with whole documents that cannot see each other; ``rows: windows`` joins all text and
    cuts it into windows (pretraining on long text).
    """

    length: int = 512
    too_long: TooLong = "drop_oldest_turns"
    rows: Literal["packed", "windows"] = "packed"

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ConfigError(f"pack.length must be at least 2 tokens, found {self.length}")


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What is kept from training to be evaluated on: by the hash of each row, or the last ``share`` of each source."""

    share: float = 0.0
    by: Literal["hash", "tail"] = "hash"
    sources: list[Source] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ConfigError(f"held_out.share must lie in [0, 1), found {self.share}")


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """Sources, what the loss counts, how rows are packed, and what is held out."""

    parts: list[Source]
    loss_on: LossOn = "answers"
    pack: Pack = Pack()
    held_out: HeldOut = HeldOut()
    cache: str = "runs/data"

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigError("data.parts is empty; name at least one source: [{from: file.jsonl}]")
        without = [part.from_ for part in self.parts if part.share is None]
        if without and len(without) < len(self.parts):
            raise ConfigError(f"data.parts: {without[0]} has no share while others have; give one to all or to none")
