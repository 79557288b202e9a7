"""Plans of a model that lies in a directory, on the hub, or is only a configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..core import config
from ..core.errors import ConfigError
from ..core.files import read_json
from ..core.spec import Spec
from ..models import Architecture, read_recipe
from ..models.families import of_type
from ..models.hub import configured
from ..models.published import Settings
from .devices import Device
from .methods import method
from .ranks import Ranks
from .report import Plan
from .work import Memory, Work

LONGEST = 2048  # tokens a row, where the request names none
HALF = ("bf16", "fp16")


@dataclass(frozen=True, kw_only=True)
class Request:
    """How a model without a recipe is to be trained: ``rows`` of ``length`` tokens at once, ``micros`` times a step;
    ``micro`` slots cut these rows as in a recipe.

    ``method`` is "full", "qlora" or the name of an adapter; ``adapter`` and ``storage`` refine it, as in a recipe.
    ``tokens`` of the whole run, or ``steps``, say how long it is.

    Raises: ConfigError for a size below 1, an unknown method, or both tokens and steps.
    """

    method: str = "full"
    length: int | None = None
    rows: int = 1
    micros: int = 1
    micro: int | None = None
    precision: Spec = field(default_factory=lambda: Spec("fp32"))
    recompute: str = "none"
    optim: Spec = field(default_factory=lambda: Spec("adamw"))
    chunk: int = 1024
    adapter: Spec | None = None
    storage: Spec | None = None
    also_train: tuple[str, ...] = ()
    offload: tuple[str, ...] = ()
    fused_step: bool = False
    tokens: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        for name, said in (
            ("rows", "--batch"),
            ("micros", "micros"),
            ("chunk", "chunk"),
            ("tokens", "--tokens"),
            ("steps", "--steps"),
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{said} must be at least 1, found {value:g}")
        if self.tokens and self.steps:
            raise ConfigError("give --tokens or --steps of the whole run, not both")

    def work(self, recipe: Architecture, device: Device) -> Work:
        """One step of it; raises ConfigError for a length that the model's context does not hold."""
        length = min(LONGEST, recipe.dims.context) if self.length is None else self.length
        if not 1 <= length <= recipe.dims.context:
            raise ConfigError(
                f"--length must lie between 1 and the model's context of {recipe.dims.context}, found {length}"
            )
        way, rows = method(self.method), self._rows(length)
        return Work(
            recipe=recipe,
            rows=rows,
            length=length,
            micros=-(-self.rows * self.micros // rows),
            precision=self.precision,
            recompute=self.recompute,
            chunk=self.chunk,
            optim=self.optim,
            adapter=_refined(way.adapter, self.adapter),
            storage=_refined(way.storage, self.storage),
            also_train=self.also_train,
            device=device.place,
            options=self._options,
        )

    def _rows(self, length: int) -> int:
        """Of a micro-batch."""
        if self.micro is not None and self.micro < length:
            raise ConfigError(
                f"train.micro is {self.micro} slots, fewer than one row of {length}; raise it to {length}"
            )
        return self.rows if self.micro is None else min(self.rows, self.micro // length)

    @property
    def _options(self) -> dict[str, object]:
        """The rest of what a recipe writes under ``train``, where it is not what it is by itself."""
        fused = {"fused_step": True, "clip": None} if self.fused_step else {}
        return {**fused, **({"offload": list(self.offload)} if self.offload else {})}


def _refined(chosen: Spec | None, given: Spec | None) -> Spec | None:
    """Settings given for the method's part; another part where another is named."""
    if chosen is None or given is None or chosen.use != given.use:
        return given or chosen
    return Spec(chosen.use, {**chosen.settings, **given.settings})


def requested(values: dict[str, object], changes: Sequence[str] = ()) -> Request:
    """From plain values and dotted changes like ``adapter.rank=64``; raises ConfigError for an unknown key."""
    raw = {key: value for key, value in values.items() if value is not None}
    way = method(str(raw.get("method", "full")))
    for key, part in (("adapter", way.adapter), ("storage", way.storage)):
        if part is not None and key not in raw:
            raw[key] = {"use": part.use}
    return config.read(Request, config.changed(raw, [change.removeprefix("train.") for change in changes]), "--model")


def of_model(
    path: str, request: Request, *, memory_of: Callable[[Work], Memory], device: Device, limit: float | None = None,
    ranks: Ranks | None = None, price: float = 0,
) -> Plan:  # fmt: skip
    """Training of a published model as ``request`` says, and generation with it.

    Raises: ConfigError for a length that the model's context does not hold, CheckpointError for what is no model.
    """
    work, count = request.work(recipe_at(path), device), ranks or Ranks()
    a_step = work.slots * work.micros * count.count
    steps = -(-int(request.tokens) // a_step) if request.tokens else request.steps
    return Plan(
        title=path, work=work, device=device, memory_of=memory_of, limit=limit, ranks=count, price=price, steps=steps,
        serve_rows=request.rows, serve_bytes=2 if request.precision.use in HALF else 4,
    )  # fmt: skip


def recipe_at(path: str) -> Architecture:
    """Of a model directory, a run, a hub id, or a Hugging Face configuration file of any name."""
    if not Path(path).is_file():
        return read_recipe(configured(path))[0]
    raw = read_json(path, "the settings of a model")
    if not isinstance(raw, dict) or "model_type" not in raw:
        raise ConfigError(f"{path}: names no model_type; give the config.json of a Hugging Face model")
    return of_type(str(raw["model_type"]), path).published.read(Settings(raw, path))
