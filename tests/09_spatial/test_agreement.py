"""The backends give the same: every dtype, NaN, -inf and ties, over random settings, forward and backward."""

import numpy as np
import pytest

from tinytorch.backend import BACKENDS, kernel, resolve, use_backend
from tinytorch.core.activations import ReLU
from tinytorch.core.layers import Sequential
from tinytorch.core.spatial import AvgPool2d, Conv2d, MaxPool2d
from tinytorch.core.tensor import Tensor

try:
    resolve("fast")
except ValueError:
    pass
NAMES = [name for name in ("loops", "windows", "fast") if name in BACKENDS]
DTYPES = ["uint8", "int64", "bool", "float16", "float32", "float64"]
RIGHT = {"float16": 2e-2, "float32": 1e-5, "float64": 1e-12}  # differences allowed, by the dtype of the result


def images(rng, dtype, shape, strange=False):
    """Whole numbers, so that many tie; some of them NaN and infinite if that is asked for."""
    x = rng.integers(0, 2 if dtype == "bool" else 5, shape).astype(dtype)
    if dtype.startswith("float"):
        x = x - x.dtype.type(2)
        if strange:
            x[rng.random(shape) < 0.3] = -np.inf
            x[rng.random(shape) < 0.05] = np.nan
    return np.ascontiguousarray(x.transpose(2, 1, 3, 0)).transpose(3, 1, 0, 2) if rng.random() < 0.5 else x


def outcome(name, build, x, dtype, seed):
    """[result, gradient of the images (None for integers), ... of what else is trained] on a backend."""
    tensor = Tensor(x, dtype=dtype, requires_grad=dtype.startswith("float"))
    with use_backend(name):
        layer = build()
        out = layer(tensor)
        if out.requires_grad:
            out.backward(np.random.default_rng(seed).standard_normal(out.shape).astype(out.dtype))
    parameters = getattr(layer, "parameters", list)()
    return [out.numpy(), tensor.grad, *(p.grad for p in parameters)]


def same(got, want):
    for a, b in zip(got, want, strict=True):
        if b is None:
            assert a is None
            continue
        assert a.dtype == b.dtype and a.shape == b.shape
        right = RIGHT.get(str(b.dtype), 0)
        np.testing.assert_allclose(a, b, rtol=right, atol=right * max(1, np.abs(b[np.isfinite(b)]).max(initial=0)))


@pytest.mark.parametrize("seed", range(80))
@pytest.mark.parametrize("kind", [MaxPool2d, AvgPool2d])
def test_pooling(kind, seed):
    rng = np.random.default_rng(seed)
    dtype, kernel, stride = DTYPES[seed % 6], tuple(rng.integers(1, 4, 2)), tuple(rng.integers(1, 4, 2))
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    settings = (2, 2, 0) if seed % 4 == 0 else (kernel, stride, padding)
    more = {"ceil_mode": bool(rng.integers(2))}
    if kind is AvgPool2d:
        more["count_include_pad"] = bool(rng.integers(2))
    x = images(rng, dtype, (int(rng.integers(1, 4)), 2, *rng.integers(3, 8, 2)), kind is MaxPool2d)
    with np.errstate(invalid="ignore"):
        first, *others = (outcome(name, lambda: kind(*settings, **more), x, dtype, seed) for name in NAMES)
    assert first[0].dtype == (dtype if kind is MaxPool2d or dtype.startswith("float") else "float32")
    for other in others:
        same(other, first)
        if kind is MaxPool2d and first[1] is not None:
            assert ((other[1] != 0) == (first[1] != 0)).all(), "another pixel won"


@pytest.mark.parametrize("seed", range(60))
def test_convolution(seed):
    rng = np.random.default_rng(seed)
    dtype, groups = DTYPES[seed % 6], int(rng.choice([1, 1, 2, 3]))
    channels = int(rng.integers(1, 3)) * groups, int(rng.integers(1, 3)) * groups
    kernel, stride, padding, dilation = (
        tuple(map(int, rng.integers(*ends, 2))) for ends in ((1, 4), (1, 3), (0, 3), (1, 3))
    )
    x = images(rng, dtype, (int(rng.integers(1, 4)), channels[0], *rng.integers(6, 9, 2)))

    def build():
        layer = Conv2d(*channels, kernel, stride, padding, dilation, groups, bias=seed % 3 > 0)
        for tensor in layer.parameters():
            tensor.data = np.random.default_rng(seed).standard_normal(tensor.shape).astype(np.float32)
        return layer.astype(dtype) if dtype in ("float16", "float64") else layer

    first, *others = (outcome(name, build, x, dtype, seed) for name in NAMES)
    assert first[0].dtype == (dtype if dtype.startswith("float") else "float32")
    for other in others:
        same(other, first)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool"])
def test_whole_weights_count_as_floats(dtype):
    x, weight = np.arange(50, dtype=np.float32).reshape(1, 2, 5, 5), np.ones((1, 2, 3, 3), dtype)
    for name in NAMES:
        with use_backend(name):
            tensor = Tensor(x, requires_grad=True)
            out = kernel("conv2d")(tensor, Tensor(weight))
            out.backward(np.full(out.shape, 0.5, np.float32))
        assert out.dtype == np.float32 and out.numpy()[0, 0, 0, 0] == x[0, :, :3, :3].sum()
        assert tensor.grad[0, 0, 2, 2] == 4.5 and tensor.grad[0, 1, 0, 0] == 0.5


@pytest.mark.parametrize("name", NAMES)
def test_whole_pixels_have_the_mean_of_real_numbers(name):
    with use_backend(name):
        for dtype in ("uint8", "int64", "float32"):
            x = Tensor(np.full((1, 1, 2, 2), 255, dtype))
            assert AvgPool2d(2)(x).item() == 255
        assert AvgPool2d(2)(Tensor(np.array([[[[True, False], [True, True]]]]))).item() == 0.75
        assert MaxPool2d(2)(Tensor(np.full((1, 1, 2, 2), 200, np.uint8))).numpy().dtype == np.uint8


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layout", [np.ascontiguousarray, lambda x: np.ascontiguousarray(x.T).T])
def test_the_frame_never_wins_and_the_first_nan_does(name, layout):
    lowest = Tensor(layout(np.full((2, 1, 2, 2), -np.inf, np.float32)), requires_grad=True)
    strange = np.array([[1, np.nan, np.nan, 5], [np.nan, 2, -np.inf, np.nan]], np.float32)[None, None]
    broken = Tensor(layout(strange), requires_grad=True)
    with use_backend(name):
        MaxPool2d(2, 2, 1)(lowest).backward(np.arange(1.0, 9).reshape(2, 1, 2, 2))
        MaxPool2d(2)(broken).backward(np.array([[[[1.0, 2.0]]]]))
    assert lowest.grad.ravel().tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert broken.grad[0, 0].tolist() == [[0, 1, 2, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("name", NAMES)
def test_sums_of_half_precision_neither_overflow_nor_stall(name):
    def half(values):
        return Tensor(np.asarray(values, np.float16), dtype="float16", requires_grad=True)

    with use_backend(name):
        bright = half(np.full((1, 1, 3, 3), 30000))
        for pool in (AvgPool2d(2), AvgPool2d(3, 1, 1, count_include_pad=False), AvgPool2d(2, ceil_mode=True)):
            assert (pool(bright).numpy() == 30000).all()
        assert AvgPool2d(64)(half(np.full((1, 1, 64, 64), 1.1))).item() == pytest.approx(1.1, abs=1e-3)
        many, layer = half(np.ones((1, 1, 64, 64))), Conv2d(1, 1, 64, bias=False).astype("float16")
        layer.weight.data[:] = 1
        assert layer(many).item() == 4096
        narrow = Conv2d(1, 1, 1).astype("float16")
        narrow(many).backward(np.ones(many.shape, np.float16))
        assert narrow.weight.grad.item() == narrow.bias.grad.item() == 4096


def test_gradients_of_half_precision_beside_single_agree():
    rng, found = np.random.default_rng(0), []
    x, weight, upstream = rng.random((4, 1, 16, 16)), rng.random((1, 1, 1, 1)), rng.random((4, 1, 16, 16))
    for name in NAMES:
        half = Tensor(weight, dtype="float16", requires_grad=True)
        with use_backend(name):
            kernel("conv2d")(Tensor(x.astype(np.float32)), half).backward(upstream.astype(np.float32))
        found.append(half.grad.item())
    np.testing.assert_allclose(found, (x * upstream).sum(), rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wrong", ["first", "second", "third", "fourth", "all"])
def test_the_first_nan_of_a_convolution_wins(name, wrong):
    x = np.arange(4, dtype=np.float32)
    x[slice(None) if wrong == "all" else ["first", "second", "third", "fourth"].index(wrong)] = np.nan
    x = Tensor(x.reshape(1, 1, 2, 2), requires_grad=True)
    net = Sequential(Conv2d(1, 1, 1), ReLU(), MaxPool2d(2))
    net[0].weight.data[:] = 1
    with use_backend(name):
        net(x).backward(np.full((1, 1, 1, 1), 7, np.float32))
    assert x.grad.ravel().tolist() == [7.0 if i == np.isnan(x.data).argmax() else 0.0 for i in range(4)]
    assert net[0].bias.grad.item() == 7


SETTINGS = {
    "weight": [
        Tensor(np.full((1, 1, 1, 1), 2, dtype), dtype=dtype) for dtype in ("int64", "uint8", "float16", "float64")
    ]
    + [Tensor(np.ones((1, 1, 1, 1), bool)), [[[[2.0]]]], np.full((1, 1, 1, 1), 2.0, np.float32), None],
    "bias": [Tensor(np.array([3])), [3.0], np.ones(1), None],
    "stride": [1, [1, 1], np.array([1, 2]), np.int64(2), 0],
    "padding_pair": [1, [1, 0]],
    "dilation": [[1, 1], np.int64(1)],
    "groups": [np.int64(1), 2],
}


@pytest.mark.parametrize(("setting", "value"), [(name, value) for name, values in SETTINGS.items() for value in values])
def test_what_is_set_by_hand_counts_alike(setting, value):
    seen, pixels = [], np.random.default_rng(0).standard_normal((2, 1, 6, 6)).astype(np.float32)
    for name in NAMES:
        layer, x = Conv2d(1, 1, 1), Tensor(pixels, requires_grad=True)
        layer.weight.data[:] = 1.5
        setattr(layer, setting, value)
        with use_backend(name):
            try:
                out = Sequential(layer, ReLU(), MaxPool2d(2))(x)
                out.backward(np.ones(out.shape, out.dtype))
                seen.append([out.numpy(), x.grad])
            except (TypeError, ValueError) as error:
                seen.append(str(error))
    for other in seen[1:]:
        assert type(other) is type(seen[0]), seen
        same(other, seen[0]) if type(other) is list else None
        assert type(other) is list or other == seen[0]
