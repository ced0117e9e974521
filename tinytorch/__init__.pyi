"""The types of what `import tinytorch` gives: module by module they stand beside the exported files."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from os import PathLike
from typing import Any

from numpy.typing import NDArray

from tinytorch import backend as backend
from tinytorch import core as core
from tinytorch import data as data
from tinytorch import nn as nn
from tinytorch import optim as optim
from tinytorch import viz as viz
from tinytorch.core.autograd import gradcheck as gradcheck
from tinytorch.core.autograd import no_grad as no_grad
from tinytorch.core.layers import Module
from tinytorch.core.tensor import Tensor as Tensor
from tinytorch.core.tensor import generator as generator
from tinytorch.core.tensor import manual_seed as manual_seed
from tinytorch.core.tensor import ones as ones
from tinytorch.core.tensor import randn as randn
from tinytorch.core.tensor import zeros as zeros
from tinytorch.core.training import Trainer as Trainer
from tinytorch.data.loader import DataLoader as DataLoader
from tinytorch.data.loader import Dataset as Dataset
from tinytorch.data.loader import TensorDataset as TensorDataset

def use_backend(
    name: str, kernels: Mapping[str, Callable[..., Any]] | None = None
) -> AbstractContextManager[object]: ...
def save_weights(path: str | PathLike[str], state: Module | Mapping[str, Any]) -> None: ...
def load_weights(path: str | PathLike[str]) -> dict[str, NDArray[Any]]: ...
