"""The optimizer's step parameter by parameter: what a parameter needs is there while it moves, and only then."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import product
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from .gradients import length
from .host import Host, Resting

States = dict[nn.Parameter, dict[str, Tensor]]


class Care(ABC):
    """Something done around the step of each parameter."""

    @abstractmethod
    def around(self, parameter: nn.Parameter) -> AbstractContextManager[object]:
        """Entered before the optimizer moves the parameter, left afterwards."""

    def ahead(self, parameter: nn.Parameter) -> None:  # noqa: B027  (most prepare nothing)
        """This parameter comes next."""

    def after(self) -> None:  # noqa: B027  (most have nothing to wait for)
        """All have moved."""


class Stepping:
    """Moves parameters by an optimizer, under ``cares``; without any, all at once.

    ``states`` are what each parameter has besides: the optimizer's own, and what cares keep.
    Truth: tests/truth/test_stepping.py (one by one, in backward and all at once: the same bits).
    """

    def __init__(self, optimizer: Optimizer, cares: list[Care], *more: States) -> None:
        self.optimizer, self.cares, self.states = optimizer, cares, [optimizer.state, *more]
        self.group = {p: group for group in optimizer.param_groups for p in group["params"]}

    def step(self) -> None:
        """Moves every parameter that has a gradient."""
        if not self.cares:
            self.optimizer.step()
            return
        graded = [p for p in self.group if p.grad is not None]
        for number, parameter in enumerate(graded):
            for care, following in product(self.cares, graded[number + 1 : number + 2]):
                care.ahead(following)
            self.one(parameter)
        self.done()

    def one(self, parameter: nn.Parameter) -> None:
        """Moves this parameter alone."""
        with ExitStack() as stack:
            for care in self.cares:
                stack.enter_context(care.around(parameter))
            stack.enter_context(self._only(parameter))
            self.optimizer.step()

    def done(self) -> None:
        for care in self.cares:
            care.after()

    def backward(self, loss: Tensor, settle: Callable[[Tensor], None]) -> list[Tensor]:
        """Differentiates a loss; each parameter moves as soon as its gradient is whole, which is then freed.

        ``settle`` is given each gradient before; answers their norms before that.
        """
        norms: dict[nn.Parameter, Tensor] = {}

        def graded(parameter: Tensor) -> None:
            owner = cast("nn.Parameter", parameter)
            assert owner.grad is not None
            norms[owner] = length(owner.grad)
            settle(owner.grad)
            self.one(owner)
            owner.grad = None

        handles = [parameter.register_post_accumulate_grad_hook(graded) for parameter in self.group]
        try:
            loss.backward()
        finally:
            for handle in handles:
                handle.remove()
        self.done()
        return [norms[parameter] for parameter in self.group if parameter in norms]

    @contextmanager
    def _only(self, parameter: nn.Parameter) -> Iterator[None]:
        groups = self.optimizer.param_groups
        self.optimizer.param_groups = [{**self.group[parameter], "params": [parameter]}]
        try:
            yield
        finally:
            self.optimizer.param_groups = groups


class Paged(Care):
    """States rest at the host and come by parameter; single numbers stay.

    Truth: tests/truth/test_stepping.py (the same bits as states that stay; resident memory falls).
    """

    def __init__(self, host: Host, *states: States) -> None:
        self.host, self.states = host, states
        self.resting: dict[int, Resting] = {}
        for held in states:
            for parameter in held:
                self._rest(held[parameter])

    def holds(self, tensor: Tensor) -> bool:
        return id(tensor) in self.resting

    def _rest(self, state: dict[str, Tensor]) -> None:
        for key, value in state.items():
            if value.numel() > 1 and id(value) not in self.resting:
                resting = self.host.rest(value)
                state[key] = resting.tensor
                self.resting[id(resting.tensor)] = resting

    def _all(self, parameter: nn.Parameter) -> Iterator[tuple[dict[str, Tensor], str, Resting]]:
        for held in self.states:
            state = held.get(parameter, {})
            yield from ((state, key, self.resting[id(v)]) for key, v in [*state.items()] if id(v) in self.resting)

    def ahead(self, parameter: nn.Parameter) -> None:
        for _, _, resting in self._all(parameter):
            resting.start()

    @contextmanager
    def around(self, parameter: nn.Parameter) -> Iterator[None]:
        away = list(self._all(parameter))
        for state, key, resting in away:
            state[key] = resting.bring()
        try:
            yield
        finally:
            for state, key, resting in away:
                resting.back(state[key])
                state[key] = resting.tensor
        for held in self.states:
            self._rest(held.get(parameter, {}))  # what an optimizer made at its first step

    def after(self) -> None:
        self.host.settle()


class Widened(Care, ABC):
    """Narrow weights are float32 while they move, and so are their gradients."""

    @abstractmethod
    def wide(self, parameter: nn.Parameter) -> Tensor:
        """The weights in float32."""

    @abstractmethod
    def narrow(self, wide: Tensor, dtype: torch.dtype) -> Tensor:
        """What is kept of moved weights."""

    @contextmanager
    def around(self, parameter: nn.Parameter) -> Iterator[None]:
        if parameter.dtype is torch.float32:
            yield
            return
        kept, grad = parameter.data, parameter.grad
        assert grad is not None
        wide, parameter.grad = self.wide(parameter), None
        parameter.data = wide
        parameter.grad_dtype = torch.float32
        parameter.grad = grad.float()
        del grad
        try:
            yield
            kept.copy_(self.narrow(wide, kept.dtype))
        finally:
            parameter.grad = None
            parameter.data = kept
            parameter.grad_dtype = kept.dtype


class Masters(Widened):
    """float32 copies of narrow weights, which move; the weights are those, rounded to nearest."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        narrow = [p for p in parameters if p.dtype is not torch.float32]
        self.states: States = {p: {"master": p.detach().float()} for p in narrow}

    def wide(self, parameter: nn.Parameter) -> Tensor:
        return self.states[parameter]["master"]

    def narrow(self, wide: Tensor, dtype: torch.dtype) -> Tensor:
        return wide.to(dtype)


class Stochastic(Widened):
    """No copies: moved weights are rounded up or down by chance, so that small steps count in the mean.

    Source: Gupta et al. 2015, arXiv:1502.02551, §3; for bf16 weights: Zamirai et al. 2020, arXiv:2010.06192.
    Truth:  tests/truth/test_stochastic_rounding.py (its expectation; a step far below the spacing survives).
    """

    def wide(self, parameter: nn.Parameter) -> Tensor:
        return parameter.detach().float()

    def narrow(self, wide: Tensor, dtype: torch.dtype) -> Tensor:
        return stochastic_bf16(wide)


def stochastic_bf16(wide: Tensor) -> Tensor:
    """One of the two bfloat16 neighbors of each float32, the nearer with the higher chance: E[answer] = wide.

    bfloat16 is the upper half of float32's bits: a uniform number added to the lower half carries by just that chance.
    """
    chance = torch.randint(0, 1 << 16, wide.shape, dtype=torch.int32, device=wide.device)
    return chance.add_(wide.view(torch.int32)).bitwise_and_(-(1 << 16)).view(torch.float32).to(torch.bfloat16)
