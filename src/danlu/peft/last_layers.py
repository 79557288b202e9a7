"""Training the last layers only."""

from __future__ import annotations

from torch import nn

from ..core.errors import ConfigError
from ..nn.cells import Cell
from ..nn.model import Model
from ..nn.wirings import Wiring
from . import ADAPTERS
from .choosing import Choosing, parameters, refuse_stored


@ADAPTERS.add("last_layers")
class LastLayers(Choosing):
    """Trains the last layers and all that comes after them, final norm and head; backward ends where they begin.

    h_l = f_l(h_(l-1)) with weights of its own for l > L - n;  n is ``layers``. A head that is tied to the embedding
    stays as it is: its table is also where tokens enter (add it with ``also_train: [embed]``).

    Raises: ConfigError if the model has fewer layers, or all of them share their weights.
    Source: Howard, Ruder 2018, arXiv:1801.06146, §3.3 (last layers hold what is least general); Lee et al. 2019,
    arXiv:1911.03090, §3.
    Truth:  tests/truth/test_peft_choosing.py (counts in closed form; nothing is kept for backward below).
    """

    def __init__(self, *, layers: int = 1) -> None:
        if layers < 1:
            raise ConfigError(f"adapter last_layers: layers is at least 1, found {layers}")
        self.layers = layers

    def chosen(self, model: Model) -> dict[str, nn.Parameter]:
        places = [place for place, part in model.named_modules() if isinstance(part, (Wiring, Cell))]
        if self.layers > len(places):
            raise ConfigError(f"adapter last_layers: this model has {len(places)} layers, found layers: {self.layers}")
        names = list(whole := parameters(model))
        first = f"{places[-self.layers]}."
        begin = next((number for number, name in enumerate(names) if name.startswith(first)), None)
        if begin is None:
            raise ConfigError(
                f"adapter last_layers: the layers of this {model.recipe.family} share their weights, so the last ones "
                "are also the first; use an adapter that adds numbers, such as houlsby"
            )
        for place in places[-self.layers :]:
            refuse_stored(model, f"{place}.*")
        return {name: whole[name] for name in names[begin:]}
