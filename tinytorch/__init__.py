"""TinyTorch: the deep-learning framework that its readers write themselves, notebook by notebook.

Names are looked up when first used, so a module that is not written yet breaks only its own names.
"""

from importlib import import_module

_HOME = {
    name: module
    for module, names in {
        "core.tensor": "Tensor manual_seed generator zeros ones randn",
        "core.autograd": "no_grad gradcheck",
        "core.training": "Trainer save_weights load_weights",
        "data.loader": "Dataset TensorDataset DataLoader",
        "backend": "use_backend",
    }.items()
    for name in names.split()
}
_PARTS = ("backend", "core", "data", "nn", "optim", "viz")

__all__ = [*_HOME, *_PARTS]


def __getattr__(name):
    if name in _HOME:
        return getattr(import_module(f"tinytorch.{_HOME[name]}"), name)
    if name in _PARTS:
        return import_module(f"tinytorch.{name}")
    raise AttributeError(f"tinytorch has no {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return __all__
