"""The types of Module 09's public names; what is not listed is Any."""

from typing import Any, TypeAlias

from tinytorch.core.layers import Flatten as Flatten
from tinytorch.core.layers import Sequential
from tinytorch.core.tensor import Tensor, _Operand
from tinytorch.images import ConvSettings, ImageLayer, PoolSettings

_Pair: TypeAlias = int | tuple[int, int]

class Conv2d(ConvSettings):
    weight: Tensor
    bias: Tensor | None
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Pair,
        stride: _Pair = 1,
        padding: _Pair | str = 0,
        dilation: _Pair = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None: ...
    def forward(self, x: _Operand) -> Tensor: ...

class MaxPool2d(PoolSettings):
    def __init__(
        self, kernel_size: _Pair, stride: _Pair | None = None, padding: _Pair = 0, ceil_mode: bool = False
    ) -> None: ...
    def forward(self, x: _Operand) -> Tensor: ...

class AvgPool2d(PoolSettings):
    def __init__(
        self,
        kernel_size: _Pair,
        stride: _Pair | None = None,
        padding: _Pair = 0,
        count_include_pad: bool = True,
        ceil_mode: bool = False,
    ) -> None: ...
    def forward(self, x: _Operand) -> Tensor: ...

Conv2D = Conv2d
MaxPool2D = MaxPool2d
AvgPool2D = AvgPool2d

class SimpleCNN(ImageLayer):
    conv1: Conv2d
    conv2: Conv2d
    pool: MaxPool2d
    fc: Any
    def __init__(self, num_classes: int = 10) -> None: ...
    def features(self, x: _Operand) -> Tensor: ...
    def forward(self, x: _Operand) -> Tensor: ...

def digits_cnn(num_classes: int = 10) -> Sequential: ...
def __getattr__(name: str) -> Any: ...
