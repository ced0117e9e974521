"""Whatever is passed to a public call of 01 to 08: it works, or a TypeError or ValueError says why not."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytorch import nn
from tinytorch.core import activations, layers, losses, tensor
from tinytorch.core.autograd import gradcheck, numeric_gradient
from tinytorch.core.optimizers import (
    SGD,
    Adam,
    AdamW,
    CosineAnnealingLR,
    OneCycleLR,
    StepLR,
    clip_grad_norm,
)
from tinytorch.core.tensor import Tensor
from tinytorch.core.training import Trainer, evaluate, load_weights, train_epoch
from tinytorch.data.loader import (
    Compose,
    DataLoader,
    Normalize,
    RandomBrightness,
    RandomCrop,
    RandomHorizontalFlip,
    TensorDataset,
    channel_statistics,
)

WORDS = st.sampled_from(["", "a", "mean", "float32", b"bytes", "cuda:0"])
NUMBERS = st.sampled_from(
    [0, 1, -1, 2, 7, 10**30, -(10**30), 0.5, -0.5, 1e308, np.inf, -np.inf, np.nan, True, 1j, 3 - 2j]
)
SCALARS = st.sampled_from([np.float32(0.5), np.float64(-1), np.int64(3), np.uint8(200), np.bool_(True), np.float16(2)])
OTHERS = st.sampled_from(
    [None, ..., object(), Tensor, print, {}, {"a": 1}, set(), {1, 2}, slice(2), np.dtype("f4"), len]
)
SHAPES = st.sampled_from([(), (0,), (1,), (2,), (2, 3), (3, 2), (0, 3), (2, 0), (2, 3, 4, 4), (1, 1, 1, 1, 1)])
DTYPES = st.sampled_from(
    ["float32", "float64", "float16", "int64", "uint8", "bool", "complex64", "U3", "M8[s]", "object"]
)
ARRAYS = st.builds(lambda shape, dtype: np.zeros(shape, dtype), SHAPES, DTYPES)
TENSORS = st.builds(lambda shape, d: Tensor(np.ones(shape), d), SHAPES, st.sampled_from(["float32", "int64", "bool"]))
LISTS = st.lists(st.one_of(NUMBERS, WORDS, st.just(None)), max_size=3) | st.sampled_from(
    [[[1], [1, 2]], (1, "a"), [[]]]
)
ANYTHING = st.one_of(WORDS, NUMBERS, SCALARS, OTHERS, ARRAYS, TENSORS, LISTS)

X = Tensor([[1.0, 2.0, 3.0], [0.5, -1.0, 2.0]])
W = Tensor(np.ones((2, 3)), requires_grad=True)
IMAGES = np.zeros((2, 3, 4, 4), np.float32)


def optimizer():
    return SGD([Tensor([1.0], requires_grad=True)], 0.1)


def trained(**changed):
    model = nn.Linear(3, 2)
    made = Trainer(model, SGD(model.parameters(), 0.1), losses.mse_loss)
    given = {"train": [(X, Tensor(np.zeros((2, 2))))], "epochs": 0, "progress": False} | changed
    return made.fit(**given)


CALLS = {  # name: a call with one thing replaced by anything
    "Tensor": Tensor,
    "Tensor, dtype": lambda v: Tensor([1.0], v),
    "astype": X.astype,
    "zeros": tensor.zeros,
    "ones of two": lambda v: tensor.ones(2, v),
    "randn": tensor.randn,
    **{
        f"X {name} v": getattr(X, f"__{name}__")
        for name in ("add", "sub", "mul", "truediv", "matmul", "pow", "rpow", "eq")
    },
    **{f"{name}(v)": getattr(tensor, name) for name in ("exp", "log", "sqrt", "neg", "sum_", "mean", "max_", "abs_")},
    **{f"X.{name}(v)": getattr(X, name) for name in ("sum", "mean", "max", "reshape", "transpose")},
    "index": lambda v: X[v],
    "backward": lambda v: (W * 2.0).backward(v),
    **{
        f"{name}(v)": getattr(activations, name)
        for name in ("relu", "leaky_relu", "sigmoid", "tanh", "gelu", "softmax")
    },
    "log_softmax": activations.log_softmax,
    "softmax, axis": lambda v: activations.softmax(X, v),
    "leaky_relu, slope": lambda v: activations.leaky_relu(X, v),
    "gelu, approximate": lambda v: activations.gelu(X, v),
    "linear, x": lambda v: layers.linear(v, W),
    "linear, weight": lambda v: layers.linear(X, v),
    "linear, bias": lambda v: layers.linear(X, W, v),
    "Linear, in": lambda v: nn.Linear(v if not isinstance(v, int) or abs(v) < 99 else 1, 2),
    "Linear, out": lambda v: nn.Linear(2, v if not isinstance(v, int) or abs(v) < 99 else 1),
    "Linear(v)": nn.Linear(3, 2),
    "Flatten": nn.Flatten,
    "Flatten(v)": nn.Flatten(),
    "Dropout": nn.Dropout,
    "Dropout(v)": nn.Dropout(0.5),
    "Sequential": lambda v: nn.Sequential(v),
    "load_state_dict": lambda v: nn.Linear(3, 2).load_state_dict(v),
    "load_state_dict, value": lambda v: nn.Linear(1, 1, False).load_state_dict({"weight": v}),
    "mse, prediction": lambda v: losses.mse_loss(v, X),
    "mse, target": lambda v: losses.mse_loss(X, v),
    "mse, reduction": lambda v: losses.mse_loss(X, X, reduction=v),
    "cross_entropy, logits": lambda v: losses.cross_entropy(v, [0, 1]),
    "cross_entropy, labels": lambda v: losses.cross_entropy(X, v),
    "cross_entropy, smoothing": lambda v: losses.cross_entropy(X, [0, 1], v),
    "cross_entropy, weight": lambda v: losses.cross_entropy(X, [0, 1], weight=v),
    "cross_entropy, ignore_index": lambda v: losses.cross_entropy(X, [0, 1], ignore_index=v),
    "bce, logits": lambda v: losses.binary_cross_entropy_with_logits(v, X),
    "bce, target": lambda v: losses.binary_cross_entropy_with_logits(X, v),
    "accuracy, logits": lambda v: losses.accuracy(v, [0, 1]),
    "accuracy, labels": lambda v: losses.accuracy(X, v),
    "SGD": lambda v: SGD(v, 0.1),
    "SGD, lr": lambda v: SGD([W], v),
    "SGD, momentum": lambda v: SGD([W], 0.1, v),
    "Adam, betas": lambda v: Adam([W], betas=v),
    "AdamW, eps": lambda v: AdamW([W], eps=v),
    "optimizer state": lambda v: optimizer().load_state_dict(v),
    "clip": lambda v: clip_grad_norm(v, 1.0),
    "clip, norm": lambda v: clip_grad_norm([W], v),
    "StepLR": lambda v: StepLR(v, 1),
    "StepLR, steps": lambda v: StepLR(optimizer(), v),
    "StepLR, gamma": lambda v: StepLR(optimizer(), 1, v),
    "Cosine": lambda v: CosineAnnealingLR(optimizer(), v),
    "OneCycle": lambda v: OneCycleLR(optimizer(), v, 10),
    "OneCycle, factor": lambda v: OneCycleLR(optimizer(), 1.0, 10, div_factor=v),
    "schedule state": lambda v: StepLR(optimizer(), 1).load_state_dict(v),
    "fit": lambda v: trained(train=v),
    "fit, epochs": lambda v: trained(epochs=v if not isinstance(v, int | np.integer) else min(v, 1)),
    "fit, patience": lambda v: trained(patience=v),
    "evaluate": lambda v: evaluate(nn.Linear(3, 2), v, losses.mse_loss),
    "train_epoch": lambda v: train_epoch(nn.Linear(3, 2), optimizer(), losses.mse_loss, v),
    "TensorDataset": TensorDataset,
    "DataLoader, size": lambda v: DataLoader(TensorDataset(IMAGES), v),
    "DataLoader, prefetch": lambda v: DataLoader(TensorDataset(IMAGES), 1, prefetch=v),
    "DataLoader": lambda v: len(DataLoader(v)),
    "Normalize": lambda v: Normalize(v, 1.0),
    "Normalize, std": lambda v: Normalize(0.0, v),
    "Normalize(v)": Normalize(0.0, 1.0),
    "flip": RandomHorizontalFlip,
    "flip(v)": RandomHorizontalFlip(),
    "crop": RandomCrop,
    "crop, padding": lambda v: RandomCrop(2, v),
    "crop(v)": RandomCrop(2),
    "brightness": RandomBrightness,
    "brightness(v)": RandomBrightness(),
    "Compose": Compose,
    "statistics": channel_statistics,
    "gradcheck": lambda v: gradcheck(tensor.exp, v),
    "numeric_gradient": lambda v: numeric_gradient(np.exp, [v], 0, 1.0),
}
NAMED = (TypeError, ValueError, IndexError)


@pytest.mark.parametrize("name", CALLS)
@settings(max_examples=25)
@given(value=ANYTHING)
def test_it_works_or_says_why_not(name, value):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            CALLS[name](value)
        except NAMED as error:
            said = str(error)
            assert len(said.split()) >= 4, f"{name} of {value!r}: {type(error).__name__}: {said}"
        except AssertionError as error:
            assert name == "gradcheck", error


def test_files_that_are_none(tmp_path):
    for path in (None, 3, tmp_path):
        with pytest.raises((TypeError, OSError)):
            load_weights(path)
