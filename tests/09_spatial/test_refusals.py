"""What cannot be is refused in a sentence that holds what was given and how to mend it; never a bare Python message."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch import nn
from tinytorch.backend import BACKENDS, kernel, resolve, use_backend
from tinytorch.core.tensor import Tensor

try:
    resolve("fast")
except ValueError:
    pass
NAMES = [name for name in ("loops", "windows", "fast") if name in BACKENDS]
X, W = np.ones((2, 3, 6, 6), np.float32), np.ones((4, 3, 3, 3), np.float32)
NO_IMAGES = st.sampled_from(
    [None, "ab", 3, object(), X * 1j, np.array([None]), X[0, 0], X[None], X.transpose(0, 2, 3, 1), {"x": 1}, "images"]
)
NO_WEIGHT = st.sampled_from([None, "w", W[0], W[:0], W[:, :2], W * 1j, 1.5])
NO_PAIR = st.sampled_from(
    ["2", None, 1.5, True, -1, (1, 2, 3), (1,), (1, -1), (1.0, 2), "same", (None, 1), np.nan, b"1"]
)
BARE = (
    "has no attribute",
    "unpack",
    "object is not",
    "unsupported operand",
    "must be str",
    "argument",
    "not supported",
)


def told(function, *kinds):
    """The refusal, which is a sentence."""
    with pytest.raises((ValueError, TypeError)) as caught:
        function()
    said = str(caught.value)
    assert len(said) > 30 and not any(words in said for words in BARE), said
    return said


@given(st.sampled_from(NAMES), NO_IMAGES)
def test_images(name, x):
    with use_backend(name):
        told(lambda: kernel("conv2d")(x, W))
        told(lambda: nn.Conv2d(3, 4, 3)(x))
        told(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))(x))
        told(lambda: nn.SimpleCNN()(x))
        if np.ndim(x) != 4 or np.asarray(x).dtype.kind not in "biuf":
            for layer in (
                nn.MaxPool2d(2),
                nn.AvgPool2d(2),
                nn.MaxPool2d(2, ceil_mode=True),
                nn.AvgPool2d(2, ceil_mode=True),
            ):
                told(lambda layer=layer: layer(x))
            told(lambda: kernel("max_pool2d")(x, 2))
            told(lambda: kernel("avg_pool2d")(x, 2))


@given(st.sampled_from(NAMES), NO_WEIGHT)
def test_weights(name, weight):
    with use_backend(name):
        told(lambda: kernel("conv2d")(X, weight))


@given(st.sampled_from(NAMES), st.sampled_from([X[0, 0, 0, :3], "b", np.ones((4, 1)), 0.5]))
def test_biases(name, bias):
    with use_backend(name):
        assert "bias" in told(lambda: kernel("conv2d")(X, W, bias))


@given(st.sampled_from(NAMES), NO_PAIR, st.sampled_from(["stride", "padding", "dilation", "groups"]))
def test_settings_of_a_convolution(name, value, setting):
    with use_backend(name):
        assert setting in told(lambda: kernel("conv2d")(X, W, **{setting: value}))
    if (setting, value) != ("padding", "same"):
        assert setting in told(lambda: nn.Conv2d(3, 4, 3, **{setting: value}))


@given(st.sampled_from(NAMES), NO_PAIR, st.sampled_from(["kernel_size", "stride", "padding"]))
def test_settings_of_pooling(name, value, setting):
    if (setting, value) == ("stride", None):
        return  # the kernel's size
    settings = {"kernel_size": 2, setting: value}
    for kind in ("max_pool2d", "avg_pool2d"):
        with use_backend(name):
            assert setting in told(lambda kind=kind: kernel(kind)(X, **settings))
    for layer in (nn.MaxPool2d, nn.AvgPool2d):
        assert setting in told(lambda layer=layer: layer(**settings))


@given(st.sampled_from([0, -1, 1.5, "3", None, True, (1, 2), [3, 3]]), st.sampled_from(["in_channels", "out_channels"]))
def test_channels(value, name):
    assert name in told(lambda: nn.Conv2d(**{"in_channels": 1, "out_channels": 1, "kernel_size": 1, name: value}))


def test_lists_and_arrays_are_images_too():
    chain = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.MaxPool2d(2))
    for name in NAMES:
        with use_backend(name):
            for x in ([[[1, 2], [3, 4]]], np.ones((1, 1, 2, 2)), Tensor(np.ones((1, 2, 2), bool))):
                assert chain(x).shape[-3:] == (2, 1, 1)
            assert kernel("conv2d")(X.tolist(), W, stride=[1, 2]).shape == (2, 4, 4, 2)
