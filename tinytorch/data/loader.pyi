"""The types of Module 08's public names; what is not listed is Any."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from tinytorch.core.tensor import Tensor, _Array

class Dataset:
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Any: ...

class TensorDataset(Dataset):
    def __init__(self, *arrays: Any) -> None: ...
    def batch(self, indices: Any) -> tuple[_Array, ...]: ...

class DataLoader:
    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        transform: Callable[..., Any] | None = None,
        prefetch: int = 0,
    ) -> None: ...
    def set_epoch(self, epoch: int) -> None: ...
    def __len__(self) -> int: ...
    def batches(self, epoch: int) -> Iterator[tuple[_Array, ...]]: ...
    def __iter__(self) -> Iterator[tuple[Tensor, ...]]: ...

class CIFAR10(TensorDataset):
    classes: ClassVar[tuple[str, ...]]
    url: ClassVar[str]
    md5: ClassVar[str]
    records: ClassVar[int]
    folder: Path
    train: bool
    images: np.ndarray[Any, np.dtype[np.uint8]]
    labels: np.ndarray[Any, np.dtype[np.int64]]
    def __init__(self, root: str | os.PathLike[str], train: bool = True, download: bool = False) -> None: ...

def digits(seed: int = 0) -> Any: ...
def __getattr__(name: str) -> Any: ...
