"""Values, stability, dtype, memory order and shapes of the activations."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tinytorch import kernels
from tinytorch.core import activations
from tinytorch.core.tensor import Tensor
from tinytorch.kernels import erfc

ONE_BY_ONE = {
    "relu": lambda v: max(v, 0.0),
    "leaky_relu": lambda v: v if v > 0 else 0.01 * v,
    "sigmoid": lambda v: 1 / (1 + math.exp(-v)) if v >= 0 else math.exp(v) / (1 + math.exp(v)),
    "tanh": math.tanh,
    "gelu": lambda v: 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))),
}
ALONG_AN_AXIS = ("softmax", "log_softmax")
CLASSES = {
    "relu": activations.ReLU,
    "leaky_relu": activations.LeakyReLU,
    "sigmoid": activations.Sigmoid,
    "tanh": activations.Tanh,
    "gelu": activations.GELU,
    "softmax": activations.Softmax,
    "log_softmax": activations.LogSoftmax,
}
FLOATS = st.floats(-1000, 1000, width=32)
ALL = [*ONE_BY_ONE, *ALONG_AN_AXIS]


def of(name):
    return getattr(activations, name)


@pytest.mark.parametrize("name", ONE_BY_ONE)
@given(data=st.data())
def test_values_and_shapes(name, data):
    x = data.draw(arrays(np.float32, array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4), elements=FLOATS))
    got = of(name)(Tensor(x)).numpy()
    want = np.array([ONE_BY_ONE[name](v) for v in x.ravel().tolist()]).reshape(x.shape)
    assert got.shape == x.shape
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=3e-7)


@pytest.mark.parametrize("name", ALONG_AN_AXIS)
@given(data=st.data())
def test_shares_along_any_axis(name, data):
    x = data.draw(arrays(np.float32, array_shapes(min_dims=1, max_dims=4, max_side=5), elements=FLOATS))
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    got = of(name)(Tensor(x), axis).numpy()
    shares = np.exp(x.astype(np.float64) - x.max(axis=axis, keepdims=True))
    shares /= shares.sum(axis=axis, keepdims=True)
    assert got.shape == x.shape
    assert got.dtype == np.float32
    if name == "softmax":
        np.testing.assert_allclose(got, shares, rtol=1e-4, atol=1e-7)
    else:
        assert np.isfinite(got).all()
        np.testing.assert_allclose(np.exp(got), shares, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", ALL)
def test_extremes_raise_no_floating_point_error(name):
    x = np.float32([[-1000, -100, 0, 100, 1000], [1000, 1000, 1000, 1000, 1000]])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        got = of(name)(Tensor(x)).numpy()
    assert np.isfinite(got).all()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_formula_itself_keeps_the_dtype(name, dtype):
    forward, x = of(name).__wrapped__, np.ones((3, 2), dtype)
    settings = {"leaky_relu": (0.01,), "softmax": (-1,), "log_softmax": (-1,)}.get(name, ())
    assert forward(x, *settings).dtype == dtype


@pytest.mark.parametrize("name", ALL)
def test_memory_order_is_kept(name):
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype(np.float32).transpose(3, 0, 1, 2)
    got = of(name)(Tensor(x)).numpy()
    assert got.strides == x.strides


@pytest.mark.parametrize("name", ALL)
def test_the_input_is_left_alone(name):
    x = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    before = x.copy()
    of(name)(Tensor(x))
    assert np.array_equal(x, before)


@pytest.mark.parametrize("name", ALL)
def test_nan_stays_visible(name):
    assert np.isnan(of(name)(Tensor([np.nan, 1.0])).numpy()[0])


@pytest.mark.parametrize("name", ALL)
def test_results_remember_how_they_were_made(name):
    out = of(name)(Tensor([[1.0, -2.0]], requires_grad=True))
    assert out.requires_grad
    assert not of(name)(Tensor([[1.0, -2.0]])).requires_grad


@pytest.mark.parametrize("name", ALL)
def test_the_layer_is_the_function(name):
    x = Tensor(np.random.default_rng(2).normal(size=(3, 4)))
    layer = CLASSES[name]()
    assert np.array_equal(layer(x).numpy(), of(name)(x).numpy())
    assert repr(layer).startswith(type(layer).__name__ + "(")


def test_layers_hold_their_settings():
    x = Tensor([[1.0, -2.0], [3.0, 0.0]])
    assert np.array_equal(activations.LeakyReLU(0.5)(x).numpy(), [[1, -1], [3, 0]])
    assert np.allclose(activations.Softmax(axis=0)(x).numpy().sum(axis=0), 1)
    assert np.allclose(np.exp(activations.LogSoftmax(0)(x).numpy()).sum(axis=0), 1)
    assert repr(activations.LeakyReLU(0.5)) == "LeakyReLU(slope=0.5)"
    assert repr(activations.Softmax()) == "Softmax(axis=-1)"
    assert repr(activations.ReLU()) == "ReLU()"


def test_a_layer_without_settings_takes_none():
    with pytest.raises(TypeError):
        activations.ReLU(True)


@pytest.mark.parametrize("slope", [0.0, 0.2, 1.0, 3.0, -1.0])
def test_leaky_relu_is_right_for_every_slope(slope):
    x = np.linspace(-3, 3, 13, dtype=np.float32)
    got = activations.leaky_relu(Tensor(x), slope=slope).numpy()
    np.testing.assert_allclose(got, np.where(x > 0, x, slope * x), rtol=1e-6)


def test_sigmoid_keeps_its_small_tail():
    got = activations.sigmoid(Tensor([-20.0, -80.0])).numpy()
    np.testing.assert_allclose(got, [math.exp(-20), math.exp(-80)], rtol=1e-5)


def test_the_error_function_is_exact():
    """W. J. Cody's approximations against the C library's, which computes in another way."""
    x = np.concatenate([np.linspace(-12, 12, 5001), [0.46875, -0.46875, 4, -4, 27, 0, 1e-300, np.inf, -np.inf]])
    want = np.array([math.erf(v) for v in x])
    assert np.abs(1 - erfc(x) - want).max() < 1e-14
    tails = np.array([math.erfc(v) for v in x])
    np.testing.assert_allclose(erfc(x), tails, rtol=1e-13, atol=1e-300)
    assert np.isnan(erfc(np.nan)) and erfc(np.float32(1)).dtype == np.float64


@pytest.mark.parametrize("power", [(np.exp2, math.log2(math.e)), (np.exp, 1)], ids=["of 2", "of e"])
def test_many_numbers_with_either_power(power, monkeypatch):
    """The exact GELU and its slope, and softmax, whichever power NumPy finds many of at once on this machine."""
    monkeypatch.setattr(kernels, "_powers", lambda dtype: power)
    x = np.concatenate([np.linspace(-14, 14, 20_001), [60, -60, 1e4, -1e4, 1e-30, -0.0]]).astype(np.float32)
    exact = x.astype(np.float64)
    share, density = 0.5 * erfc(exact / -math.sqrt(2)), np.exp(-0.5 * exact**2) / math.sqrt(2 * math.pi)
    with np.errstate(all="raise", under="ignore"):
        out, slope = kernels.gelu(x, "erf")
        shares = kernels.softmax(x[None, :20_001], -1)
    np.testing.assert_allclose(out, exact * share, rtol=3e-7, atol=3e-7)
    np.testing.assert_allclose(slope.values, share + exact * density, rtol=4e-7, atol=4e-7)
    powers = np.exp(exact[:20_001] - 14)
    np.testing.assert_allclose(shares[0], powers / powers.sum(), rtol=4e-6)


def test_gelu_is_offered_in_both_forms():
    x = np.linspace(-6, 6, 241)
    share = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])
    np.testing.assert_allclose(
        activations.gelu(Tensor(x, "float64"), approximate="none").data, x * share, rtol=1e-13, atol=1e-15
    )
    np.testing.assert_allclose(activations.gelu(Tensor(x), "none").data, x * share, atol=3e-7)
    assert np.array_equal(activations.gelu(Tensor(x), approximate="tanh").data, activations.gelu(Tensor(x)).data)
    assert np.array_equal(activations.GELU("none")(Tensor(x)).data, activations.gelu(Tensor(x), "none").data)
    assert repr(activations.GELU()) == "GELU()" and repr(activations.GELU("none")) == "GELU(approximate=none)"
    for act in (lambda: activations.GELU("erf"), lambda: activations.gelu(Tensor(x), approximate=True)):
        with pytest.raises(ValueError, match='"tanh" or "none"'):
            act()


@pytest.mark.parametrize("length", [10, 100, 319, 320, 1000, 9000])
def test_long_lines_and_short_ones(length):
    x, before = np.random.default_rng(4).normal(scale=3, size=(20_000 // length + 3, length)), np.getbufsize()
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    shares = powers / powers.sum(axis=-1, keepdims=True)
    got = activations.softmax(Tensor(x)).data, activations.log_softmax(Tensor(x)).data
    np.testing.assert_allclose(got[0], shares, rtol=2e-6, atol=1e-8)
    np.testing.assert_allclose(got[1], np.log(shares), rtol=1e-6, atol=2e-6)
    assert np.getbufsize() == before, "NumPy's settings are left as they were"


@pytest.mark.parametrize("length", [40, 9000, 40_000])
@pytest.mark.parametrize("middle", [-1e4, -5, 0, 10, 40, 60, 80, 1e4])
def test_shares_are_as_exact_wherever_the_row_lies(middle, length):
    """And the sum of a long row, the largest of which comes first."""
    x = np.random.default_rng(2).normal(middle, 2, size=(20_000 // length + 2, length))
    x[:, 0] = middle + (2 if length < 100 else 13)
    x = x.astype(np.float32)
    powers = np.exp(x.astype(np.float64) - x.max(axis=-1, keepdims=True))
    shares = powers / powers.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(activations.softmax(Tensor(x)).data, shares, rtol=0, atol=6e-7)
    np.testing.assert_allclose(activations.log_softmax(Tensor(x)).data, np.log(shares), rtol=1e-6, atol=1e-6)


def test_softmax_of_nothing_is_nothing():
    for function in (activations.softmax, activations.log_softmax):
        for shape in ((2, 0), (0, 2), (0,)):
            assert function(Tensor(np.zeros(shape))).shape == shape
        with pytest.raises(ValueError, match="axis=5 does not fit"):
            function(Tensor(np.zeros((2, 0))), 5)


def test_gelu_is_called_gelu():
    x = Tensor([1.0], requires_grad=True)
    assert "made by gelu)" in repr(activations.gelu(x, approximate="none"))
    with pytest.raises(TypeError, match="^gelu takes the inputs x, approximate: .*'approx'"):
        activations.gelu(x, approx="none")
    with pytest.raises(ValueError, match='"tanh" or "none", got array'):
        activations.GELU(np.array(["tanh"]))
