"""What a life is made of: named stages in order, each a part with settings."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.errors import ConfigError
from ..core.spec import Spec


@dataclass(frozen=True, kw_only=True)
class LifeRecipe:
    """Stages by name, run in the order they are written; ``out`` is the folder in which each has a folder of its name.

    Where a stage's setting is a path that begins with the name of another stage (``corpus/text.jsonl``), it means that
    stage's folder; any other path is the user's.
    """

    stages: dict[str, Spec]
    seed: int = 0
    out: str = "runs/life"

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError(
                "stages is empty; name at least one stage, for example corpus: {use: files, text: [FOLDER]}"
            )
        wrong = [name for name in self.stages if not name.isidentifier() or name == "stages"]
        if wrong:
            raise ConfigError(
                f"stages.{wrong[0]}: a stage's name is its folder: letters, digits and _, and not 'stages'"
            )
