"""Optimizers, learning-rate schedules and gradient clipping, all from `tinytorch.core.optimizers`."""

__all__ = "Optimizer SGD Adam AdamW StepLR CosineAnnealingLR OneCycleLR clip_grad_norm".split()


def __getattr__(name):
    if name in __all__:
        from ..core import optimizers

        return getattr(optimizers, name)
    raise AttributeError(f"tinytorch.optim has no {name!r}; it has {', '.join(__all__)}")


def __dir__():
    return __all__
