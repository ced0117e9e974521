"""What cannot be is refused in a sentence that holds what was given and how to mend it; never a bare Python message."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch import nn
from tinytorch.backend import BACKENDS, backend, kernel, resolve, use_backend
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


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda no: nn.Conv2d(1, 1, 1, bias=no), "bias takes True or False"),
        (lambda no: nn.Linear(1, 1, bias=no), "bias takes True or False"),
        (lambda no: nn.MaxPool2d(2, ceil_mode=no), "ceil_mode takes"),
        (lambda no: nn.AvgPool2d(2, ceil_mode=no), "ceil_mode takes"),
        (lambda no: nn.AvgPool2d(2, count_include_pad=no), "count_include_pad takes"),
        (lambda no: nn.BatchNorm2d(1, affine=no), "affine takes"),
    ],
)
def test_switches(make, said):
    for no in ("no", "False", 0.5, 2, np.nan, [0], np.zeros(2), ()):
        with pytest.raises(TypeError, match=said):
            make(no)
    for value in (True, False, 1, 0, np.True_):
        make(value)


def test_settings_of_any_kind_of_whole_number():
    """np.uint8(200) * 9 is 8 in NumPy, and weights started 15 times too large."""
    small, two = np.uint8(200), np.array([2, 2])
    conv = nn.Conv2d(small, small, np.uint8(3), padding=two, bias=None)
    assert conv.padding_pair == (2, 2) and abs(conv.weight.data.std() * 30 - 1) < 0.01 and conv.bias is None
    assert type(conv.in_channels) is type(nn.Linear(small, np.int64(2)).in_features) is int
    for name in ("in_channels", "out_channels", "groups"):
        with pytest.raises(ValueError, match=f"{name} must be one whole number, got array"):
            nn.Conv2d(**{"in_channels": 2, "out_channels": 2, "kernel_size": 1, name: two})
    with pytest.raises(ValueError, match="num_features must be one whole number"):
        nn.BatchNorm2d(two)


def test_every_backend_names_the_kernel_that_was_typed():
    for name in NAMES:
        with use_backend(name), pytest.raises(ValueError, match=re.escape("(6 + 2*1 - 4*(3 - 1) - 1) // 1 + 1 = 0")):
            nn.Conv2d(3, 2, 3, padding=1, dilation=4)(X)


def test_use_backend_is_no_decorator():
    before = backend()
    with pytest.raises(TypeError, match="use_backend is no decorator: write `with use_backend"):

        @use_backend("loops")
        def act():
            pass

    assert backend() == before


def test_lists_and_arrays_are_images_too():
    chain = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.MaxPool2d(2))
    for name in NAMES:
        with use_backend(name):
            for x in ([[[1, 2], [3, 4]]], np.ones((1, 1, 2, 2)), Tensor(np.ones((1, 2, 2), bool))):
                assert chain(x).shape[-3:] == (2, 1, 1)
            assert kernel("conv2d")(X.tolist(), W, stride=[1, 2]).shape == (2, 4, 4, 2)
