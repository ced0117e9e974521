"""Layers, activations and losses in one place, under the names that PyTorch gives them."""

from importlib import import_module

_HOME = {
    name: module
    for module, names in {
        "core.layers": "Module Linear Sequential Flatten Dropout",
        "core.activations": "ReLU LeakyReLU Sigmoid Tanh GELU Softmax LogSoftmax",
        "core.losses": "MSELoss CrossEntropyLoss BCEWithLogitsLoss",
        "core.spatial": "Conv2d MaxPool2d AvgPool2d SimpleCNN Conv2D MaxPool2D AvgPool2D",
        "core.blocks": "BatchNorm2d GlobalAvgPool2d DepthwiseSeparable2d ResidualBlock",
    }.items()
    for name in names.split()
}
__all__ = list(_HOME)


def __getattr__(name):
    if name in _HOME:
        return getattr(import_module(f"tinytorch.{_HOME[name]}"), name)
    raise AttributeError(f"tinytorch.nn has no {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return __all__
