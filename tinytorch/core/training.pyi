"""The types of Module 07's public names; what is not listed is Any."""

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tinytorch.core.layers import Module
from tinytorch.core.optimizers import Optimizer, Scheduler
from tinytorch.core.tensor import Tensor, _Operand

class Trainer:
    model: Module
    optimizer: Optimizer
    history: Any
    def __init__(
        self,
        model: Module,
        optimizer: Optimizer,
        loss: Callable[..., Tensor] = ...,
        scheduler: Scheduler | None = None,
        metrics: Mapping[str, Callable[..., float]] | None = None,
        clip_norm: float | None = None,
        scheduler_every: str | None = None,
    ) -> None: ...
    def evaluate(self, loader: Iterable[Any]) -> dict[str, float]: ...
    def run_epoch(self, train: Any, test: Any, report: Any) -> Any: ...
    def watched(self) -> Any: ...
    def best(self) -> dict[str, Any]: ...
    def save(self, path: str | os.PathLike[str], batches: int) -> None: ...
    def resume(self, path: str | os.PathLike[str], batches: int | None = None) -> None: ...
    def fit(
        self,
        train: Iterable[Any],
        test: Iterable[Any] | None = None,
        epochs: int = 1,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = False,
        patience: int | None = None,
        progress: bool | Callable[[dict[str, Any]], object] | None = None,
    ) -> Any: ...
    def run(self, train: Any, test: Any, epochs: int, checkpoint: Any, patience: int | None, report: Any) -> None: ...

def training_step(
    model: Module,
    optimizer: Optimizer,
    loss: Callable[..., Tensor],
    x: _Operand,
    y: _Operand,
    clip_norm: float | None = None,
) -> float: ...
def __getattr__(name: str) -> Any: ...
