"""The types of Module 06's public names; what is not listed is Any."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from tinytorch.core.tensor import Tensor, _Array
from tinytorch.refusals import Checked

class Optimizer(Checked):
    settings: ClassVar[tuple[str, ...]]
    buffers: Any
    chunk: float
    parameters: list[Tensor]
    lr: float
    state: list[dict[str, Any]]
    def __init__(self, parameters: Iterable[Tensor], lr: float) -> None: ...
    def step(self) -> None: ...
    def own_data(self, number: int) -> None: ...
    def update(self, w: _Array, grad: _Array, state: dict[str, Any]) -> None: ...
    def zero_grad(self) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

class SGD(Optimizer):
    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None: ...
    @property
    def buffers(self) -> tuple[str, ...]: ...

class Adam(Optimizer):
    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None: ...
    def adam_step(self, w: _Array, grad: _Array, state: dict[str, Any]) -> Any: ...

class AdamW(Adam):
    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None: ...

class Scheduler(Checked):
    every: ClassVar[str]
    def __init__(self, optimizer: Optimizer) -> None: ...
    def get_lr(self, n: int) -> float: ...
    def step(self) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

class StepLR(Scheduler):
    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None: ...

class CosineAnnealingLR(Scheduler):
    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None: ...

class OneCycleLR(Scheduler):
    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 10000.0,
    ) -> None: ...

def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float: ...
def __getattr__(name: str) -> Any: ...
