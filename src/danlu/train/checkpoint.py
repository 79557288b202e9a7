"""Checkpoints: a fresh folder a step, each a Hugging Face model directory with danlu/ beside it, sealed by hashes."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..assembly import read_into, write_into
from ..core.errors import CheckpointError
from ..core.files import atomic_folder, read_json, remove_drafts, seal, verify, write_json, write_text
from ..tokenize import Tokenizer
from . import state
from .trainer import Trainer

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Checkpoints:
    """The folder ``checkpoints/`` of a run. ``keep`` is how many stay (None: all); ``note`` is told what happens.

    ``recipe`` is the YAML of the run, kept in each.

    step-000200/    config.json, model.safetensors, tokenizer.json …: what ``danlu.load`` and transformers open
        danlu/      recipe.yaml, state.json, optimizer.safetensors, random.safetensors, companions.safetensors
        manifest.json   size and SHA-256 of every file, written last
    """

    def __init__(
        self, folder: Path, tokenizer: Tokenizer, recipe: str, *, keep: int | None, note: Callable[[str], None]
    ) -> None:
        self.folder, self.tokenizer, self.recipe, self.keep, self.note = folder, tokenizer, recipe, keep, note

    def save(self, trainer: Trainer) -> None:
        """Raises CheckpointError if the disk is full; what was there stays."""
        path = self.folder / f"step-{trainer.step:06d}"
        if path.exists():  # the run went back and came here again
            _discard(path)
        with _room(path, self.newest_step()), atomic_folder(path) as draft:
            write_into(trainer.model, self.tokenizer, draft)
            write_text(draft / "danlu" / "recipe.yaml", self.recipe)
            write_json(draft / "danlu" / "state.json", state.describe(trainer))
            for name, tensors in _parts(trainer).items():
                save_file(
                    {key: tensor.contiguous() for key, tensor in tensors.items()},
                    draft / "danlu" / f"{name}.safetensors",
                )
            seal(draft)
        self._prune()

    def load(self, trainer: Trainer) -> int:
        """Restores the newest whole checkpoint and answers its step; 0, and nothing changed, if there is none."""
        path = self.newest()
        if path is None:
            return 0
        read_into(trainer.model, path)
        parts = {name: load_file(path / "danlu" / f"{name}.safetensors") for name in ("optimizer", "random")}
        state.restore_optimizer(trainer, parts["optimizer"], str(path))
        if len(trainer.objective.companions):
            trainer.objective.companions.load_state_dict(load_file(path / "danlu" / "companions.safetensors"))
        state.restore(trainer, read_json(path / "danlu" / "state.json", "a checkpoint's state"))
        state.restore_random(parts["random"])
        return trainer.step

    def newest(self) -> Path | None:
        """The newest folder whose every byte is as it was written; says why it passes over others."""
        for path in reversed(self.all()):
            try:
                verify(path)
            except CheckpointError as error:
                self.note(f"{error} (passed over)")
                continue
            return path
        return None

    def newest_step(self) -> int:
        """The step of the last folder, unverified; 0 if there is none."""
        return int(self.all()[-1].name.removeprefix("step-")) if self.all() else 0

    def all(self) -> list[Path]:
        """Finished folders, oldest first."""
        return sorted(self.folder.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))

    def clean(self) -> None:
        """Removes what killed runs left half-written."""
        for name in remove_drafts(self.folder):
            self.note(f"removed {name}, which a killed run left half-written")

    def _prune(self) -> None:
        for path in self.all()[: -self.keep] if self.keep else []:
            _discard(path)


def _parts(trainer: Trainer) -> dict[str, dict[str, Tensor]]:
    parts = {"optimizer": state.optimizer_tensors(trainer), "random": state.random_tensors()}
    companions = trainer.objective.companions.state_dict()
    return {**parts, "companions": companions} if companions else parts


def _discard(path: Path) -> None:
    """Out of sight in one step, then deleted: a kill in between leaves nothing that looks like a checkpoint."""
    hidden = path.with_name(f".{path.name}.old.tmp")
    shutil.rmtree(hidden, ignore_errors=True)
    path.rename(hidden)
    shutil.rmtree(hidden)


@contextmanager
def _room(path: Path, before: int) -> Iterator[None]:
    """Turns a full disk into one sentence."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if not _is_full(error):
            raise
        rest = f"step {before} is intact" if before else "there is none before it"
        raise CheckpointError(
            f"{path}: the disk is full, so this checkpoint was not written ({rest}); free some space and give the same "
            "command again: it goes on from the last checkpoint"
        ) from None


def _is_full(error: OSError | SafetensorError) -> bool:
    if isinstance(error, OSError):
        return error.errno in FULL
    return any(f"os error {number}" in str(error) for number in FULL)
