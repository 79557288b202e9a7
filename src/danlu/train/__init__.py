"""Floor 5: the one training loop, and what stands around it: optimizers, schedules, precisions, hooks, checkpoints."""

from .recipe import Recipe, TrainRecipe
from .run import Run, train
from .trainer import Trainer

__all__ = ["Recipe", "Run", "TrainRecipe", "Trainer", "train"]
