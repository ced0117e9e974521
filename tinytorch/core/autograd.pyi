"""The types of Module 05's public names; what is not listed is Any."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar, overload

from tinytorch.core.tensor import Tensor, _Operand

_Function = TypeVar("_Function", bound=Callable[..., Any])

class _NoGrad:
    @overload
    def __call__(self, function: None = None) -> AbstractContextManager[None]: ...
    @overload
    def __call__(self, function: _Function) -> _Function: ...

no_grad: _NoGrad

def gradcheck(
    function: Callable[..., Tensor], *inputs: _Operand, seed: int = 0, rtol: float = 1e-5, atol: float = 1e-7
) -> bool: ...
def __getattr__(name: str) -> Any: ...
