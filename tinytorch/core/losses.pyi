"""The types of Module 04's public names; what is not listed is Any."""

from typing import Any

from numpy.typing import ArrayLike

from tinytorch.core.tensor import Tensor, _Operand

class MSELoss:
    function: Any
    def __init__(self, reduction: str = "mean") -> None: ...
    def __call__(self, prediction: _Operand, target: _Operand) -> Tensor: ...

class BCEWithLogitsLoss(MSELoss): ...

class CrossEntropyLoss:
    label_smoothing: float
    def __init__(
        self,
        label_smoothing: float = 0.0,
        weight: ArrayLike | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
    ) -> None: ...
    def __call__(self, logits: _Operand, labels: _Operand) -> Tensor: ...

def accuracy(logits: _Operand, labels: _Operand) -> float: ...
def __getattr__(name: str) -> Any: ...
