"""The same numbers for TensorBoard."""

from __future__ import annotations

from ...core.errors import MissingExtra
from ..numbers import Numbers
from . import HOOKS, Ask, Hook, Sight


@HOOKS.add("tensorboard")
class TensorBoard(Hook):
    """Writes every number of metrics.jsonl as a scalar into the run's folder tensorboard/.

    Raises: MissingExtra if tensorboard is not installed.
    Source: Abadi et al. 2016, arXiv:1605.08695, §9.1.
    Truth:  tests/truth/test_log.py (the event files read back hold the losses of metrics.jsonl).
    """

    turn = 40

    def begin(self, sight: Sight) -> Ask:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise MissingExtra("tensorboard", "tensorboard", "the hook tensorboard") from None
        self._writer = SummaryWriter(str(sight.folder / "tensorboard"), purge_step=sight.start + 1)
        return super().begin(sight)

    def after(self, numbers: Numbers) -> Ask:
        for line in reversed(self.sight.recorded()):
            if line["step"] != numbers.step:
                break
            for name, value in line.items():
                if name != "step" and value is not None:
                    self._writer.add_scalar(name, value, numbers.step)
        return Ask()

    def end(self) -> None:
        self._writer.close()
