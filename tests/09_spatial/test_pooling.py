"""Max and average pooling: values, ties, NaN, the frame, gradients; windows held equal to loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch.backend import use_backend
from tinytorch.core.autograd import gradcheck
from tinytorch.core.spatial import (
    AvgPool2D,
    AvgPool2d,
    MaxPool2D,
    MaxPool2d,
    avg_pool2d,
    avg_pool2d_loops,
    max_pool2d,
    max_pool2d_loops,
)
from tinytorch.core.tensor import Tensor

SMALL = np.array([[1, 3, 2, 4], [5, 6, 7, 8], [2, 9, 1, 3], [0, 1, 9, 3]], np.float32)[None, None]
LAYERS = [MaxPool2d, AvgPool2d]
KERNELS = [(2, None, 0), ((3, 2), (1, 2), (1, 1)), ((1, 3), (2, 1), (0, 1)), (4, 3, 2)]

each_layer = pytest.mark.parametrize("kind", LAYERS)


def distinct(seed, shape):
    """Random images in which no two pixels are near to each other, so that no window ties."""
    return np.random.default_rng(seed).permutation(np.prod(shape, dtype=int)).reshape(shape).astype(np.float64)


@pytest.mark.parametrize("name", ["loops", "windows"])
def test_small_example(name):
    with use_backend(name):
        assert np.array_equal(MaxPool2d(2)(Tensor(SMALL)).numpy()[0, 0], [[6, 8], [9, 9]])
        assert np.array_equal(AvgPool2d(2)(Tensor(SMALL)).numpy()[0, 0], [[3.75, 5.25], [3.0, 4.0]])
        mean = AvgPool2d(2)(Tensor(np.array([[[0.1, 0.9], [0.3, 0.3]]]))).item()
        assert mean == pytest.approx(0.4)


@given(
    seed=st.integers(0, 9),
    images=st.integers(0, 2),
    size=st.tuples(st.integers(4, 7), st.integers(4, 7)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)) | st.none(),
    share=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    include=st.booleans(),
    order=st.permutations(range(4)),
)
def test_windows_equal_loops(seed, images, size, kernel, stride, share, include, order):
    padding = tuple(min(p, k // 2) for p, k in zip(share, kernel, strict=True))
    x = np.random.default_rng(seed).standard_normal((images, 2, *size)).astype(np.float32)
    x = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))
    want, winners = max_pool2d_loops(x, kernel, stride, padding)
    got = max_pool2d(Tensor(x), kernel, stride, padding).numpy()
    assert np.array_equal(got, want)
    assert winners.shape == (*want.shape, 2)
    got = avg_pool2d(Tensor(x), kernel, stride, padding, include).numpy()
    want = avg_pool2d_loops(x, kernel, stride, padding, include)
    assert got.dtype == want.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["loops", "windows"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), KERNELS)
@pytest.mark.parametrize("include", [True, False])
def test_gradients_equal_central_differences(name, kernel, stride, padding, include):
    x = distinct(1, (1, 2, 5, 4))
    with use_backend(name):
        assert gradcheck(AvgPool2d(kernel, stride, padding, include), x)
        assert not include or gradcheck(MaxPool2d(kernel, stride, padding), x)


@pytest.mark.parametrize("name", ["loops", "windows"])
def test_the_first_of_equal_maxima_gets_the_gradient(name):
    x = Tensor(
        np.array([[0, 5, 5, 0], [5, 0, 0, 0], [1, 1, 2, 2], [1, 1, 2, 2]], np.float32)[None, None], requires_grad=True
    )
    with use_backend(name):
        MaxPool2d(2)(x).backward(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert np.array_equal(x.grad[0, 0], [[0, 1, 2, 0], [0, 0, 0, 0], [3, 0, 4, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize("name", ["loops", "windows"])
def test_nan_shows_and_gets_the_gradient_of_its_window(name):
    x = Tensor(np.array([[9, np.nan, 1, 2], [np.nan, 3, 3, 4]], np.float32)[None, None], requires_grad=True)
    with use_backend(name):
        out = MaxPool2d(2)(x)
    assert np.isnan(out.numpy()).tolist() == [[[[True, False]]]]
    out.backward(np.array([[[[5.0, 7.0]]]]))
    assert np.array_equal(x.grad[0, 0], [[0, 5, 0, 0], [0, 0, 0, 7]])


def test_the_frame_of_max_pooling_loses_against_everything():
    x = np.full((1, 1, 3, 3), -7.0, np.float32)
    assert np.array_equal(MaxPool2d(3, 2, 1)(Tensor(x)).numpy(), np.full((1, 1, 2, 2), -7))
    whole = Tensor(np.full((1, 1, 3, 3), -7, np.int64))
    assert np.array_equal(MaxPool2d(3, 2, 1)(whole).numpy(), np.full((1, 1, 2, 2), -7))


def test_count_include_pad():
    ones = Tensor(np.ones((1, 1, 2, 2), np.float32))
    assert np.array_equal(AvgPool2d(2, 2, 1)(ones).numpy()[0, 0], [[0.25, 0.25], [0.25, 0.25]])
    assert np.array_equal(AvgPool2d(2, 2, 1, count_include_pad=False)(ones).numpy()[0, 0], [[1, 1], [1, 1]])


@each_layer
def test_rectangular_kernels_are_their_own_stride(kind):
    assert kind((2, 3))(Tensor(np.zeros((1, 1, 6, 6)))).shape == (1, 1, 3, 2)


@each_layer
def test_single_images_and_empty_batches(kind):
    x = np.random.default_rng(2).standard_normal((2, 3, 5, 6)).astype(np.float32)
    layer = kind(2)
    assert np.array_equal(layer(Tensor(x[1])).numpy(), layer(Tensor(x)).numpy()[1])
    assert layer(Tensor(x[:0])).shape == (0, 3, 2, 3)
    tensor = Tensor(x[:0], requires_grad=True)
    layer(tensor).backward(np.zeros((0, 3, 2, 3)))
    assert tensor.grad.shape == (0, 3, 5, 6)


@each_layer
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((0,), "kernel_size.*0"),
        ((2, 0), "stride.*0"),
        ((2, 2, -1), "padding.*-1"),
        ((3, 1, 2), r"padding may be at most half of the kernel, got \(2, 2\) for \(3, 3\)"),
    ],
)
def test_impossible_settings_fail_at_once(kind, settings, message):
    with pytest.raises(ValueError, match=message):
        kind(*settings)


@each_layer
def test_wrong_input_says_what_and_how_to_mend_it(kind):
    with pytest.raises(ValueError, match=r"(?=.*\(B, C, H, W\)).*\(4, 4\)"):
        kind(2)(Tensor(np.zeros((4, 4))))
    with pytest.raises(ValueError, match=r"\(2 \+ 2\*0 - 1\*\(3 - 1\) - 1\) // 3 \+ 1 = 0"):
        kind(3)(Tensor(np.zeros((1, 1, 5, 2))))


def test_repr():
    assert repr(MaxPool2d(2)) == "MaxPool2d(kernel_size=2, stride=2, padding=0)"
    assert repr(MaxPool2d((3, 2), 2, (1, 0))) == "MaxPool2d(kernel_size=(3, 2), stride=2, padding=(1, 0))"
    assert repr(AvgPool2d(2, 1)) == "AvgPool2d(kernel_size=2, stride=1, padding=0)"
    text = repr(AvgPool2d(3, 3, 1, count_include_pad=False))
    assert text == "AvgPool2d(kernel_size=3, stride=3, padding=1, count_include_pad=False)"
    assert MaxPool2D is MaxPool2d and AvgPool2D is AvgPool2d
