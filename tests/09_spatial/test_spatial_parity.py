"""The layers held against PyTorch: values, gradients, saved state, refusals."""

import numpy as np
import pytest

from tinytorch.backend import BACKENDS, use_backend
from tinytorch.core.spatial import AvgPool2d, Conv2d, MaxPool2d, SimpleCNN
from tinytorch.core.tensor import Tensor

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore:Using padding=.same.")]


def both(own, theirs, x, tolerance=1e-4):
    """Run two layers forward and backward on x with one random upstream gradient; compare everything."""
    mine, other = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    got, want = own(mine), theirs(other)
    assert got.shape == tuple(want.shape)
    np.testing.assert_allclose(got.numpy(), want.detach().numpy(), rtol=tolerance, atol=tolerance)
    upstream = np.random.default_rng(0).standard_normal(got.shape).astype(np.float32)
    got.backward(upstream)
    want.backward(torch.tensor(upstream))
    np.testing.assert_allclose(mine.grad, other.grad.numpy(), rtol=tolerance, atol=tolerance)
    for name, parameter in theirs.named_parameters():
        np.testing.assert_allclose(
            getattr(own, name).grad, parameter.grad.numpy(), rtol=tolerance, atol=10 * tolerance, err_msg=name
        )


def pair_of(rng, low, high):
    return int(rng.integers(low, high)), int(rng.integers(low, high))


@pytest.mark.parametrize("seed", range(40))
def test_conv2d(seed):
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2, 3]))
    channels = int(rng.integers(1, 4)) * groups, int(rng.integers(1, 4)) * groups
    kernel, stride, dilation = pair_of(rng, 1, 5), pair_of(rng, 1, 4), pair_of(rng, 1, 3)
    padding = [pair_of(rng, 0, 3), "same", "valid"][int(rng.choice([0, 0, 0, 1, 2]))]
    stride = (1, 1) if padding == "same" else stride
    settings = dict(
        kernel_size=kernel, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=seed % 4 > 0
    )
    own, theirs = Conv2d(*channels, **settings), torch.nn.Conv2d(*channels, **settings)
    own.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    shape = int(rng.integers(1, 5)), channels[0], int(rng.integers(9, 13)), int(rng.integers(9, 13))
    x = rng.standard_normal(shape[seed % 5 == 0 :]).astype(np.float32)
    both(own, theirs, x)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling(kind, seed):
    rng = np.random.default_rng(seed)
    kernel = pair_of(rng, 1, 5)
    stride = None if seed % 3 == 0 else pair_of(rng, 1, 4)
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    x = rng.standard_normal((2, 3, *pair_of(rng, 5, 11))).astype(np.float32)
    if kind == "max":
        both(MaxPool2d(kernel, stride, padding), torch.nn.MaxPool2d(kernel, stride, padding), np.round(x))  # many ties
    else:
        settings = kernel, stride, padding
        include = bool(seed % 2)
        both(AvgPool2d(*settings, include), torch.nn.AvgPool2d(*settings, count_include_pad=include), x)


@pytest.mark.parametrize("name", ["windows", "loops", "fast"])
@pytest.mark.parametrize("seed", range(60))
def test_ceil_mode(seed, name):
    rng = np.random.default_rng(seed)
    kernel, stride = pair_of(rng, 1, 5), pair_of(rng, 1, 5)
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    x = np.round(rng.standard_normal((2, 2, *pair_of(rng, 2, 9)))).astype(np.float32)
    include, settings = bool(rng.integers(2)), {"stride": stride, "padding": padding, "ceil_mode": True}
    if name not in BACKENDS:
        pytest.skip("fast_dev.ipynb is not finished")
    with use_backend(name):
        for own, theirs in (
            (MaxPool2d(kernel, **settings), torch.nn.MaxPool2d(kernel, **settings)),
            (
                AvgPool2d(kernel, **settings, count_include_pad=include),
                torch.nn.AvgPool2d(kernel, **settings, count_include_pad=include),
            ),
        ):
            try:
                want = theirs(torch.tensor(x))
            except RuntimeError:
                with pytest.raises(ValueError):
                    own(Tensor(x))
                continue
            assert own(Tensor(x[0])).shape == tuple(want.shape[1:])
            both(own, theirs, x)


def test_whole_numbers_are_pooled_as_there():
    for dtype in (np.uint8, np.int64, np.int16):
        x = np.random.default_rng(3).integers(0, 200, (2, 3, 7, 7)).astype(dtype)
        got, want = MaxPool2d(3, 2, 1)(Tensor(x)).numpy(), torch.nn.MaxPool2d(3, 2, 1)(torch.tensor(x)).numpy()
        assert got.dtype == want.dtype and np.array_equal(got, want)


def test_the_frame_loses_against_minus_infinity_as_there():
    x = np.full((1, 1, 5, 5), -np.inf, np.float32)
    x[0, 0, 0, 1], x[0, 0, 4, 4] = np.nan, 1
    for settings in ((3, 2, 1), (2, 1, 1), (3, 3, 1)):
        mine, other = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        got, want = MaxPool2d(*settings)(mine), torch.nn.MaxPool2d(*settings)(other)
        np.testing.assert_array_equal(got.numpy(), want.detach().numpy())
        upstream = np.arange(1, got.size + 1, dtype=np.float32).reshape(got.shape)
        got.backward(upstream)
        want.backward(torch.tensor(upstream))
        # PyTorch takes the last of several NaN; there is one here.
        np.testing.assert_array_equal(mine.grad, other.grad.numpy())


def test_nan_in_max_pooling():
    x = np.random.default_rng(1).standard_normal((1, 2, 6, 6)).astype(np.float32)
    x[0, 0, 2, 3] = np.nan
    want = torch.nn.MaxPool2d(3, 2, 1)(torch.tensor(x)).numpy()
    np.testing.assert_array_equal(MaxPool2d(3, 2, 1)(Tensor(x)).numpy(), want)


def test_saved_state_travels_both_ways():
    own = SimpleCNN()
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
        torch.nn.Conv2d(16, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(2048, 10),
    )  # fmt: skip
    state = {
        name.replace("convolutions.", "").replace("classifier", "7"): value for name, value in own.state_dict().items()
    }
    theirs.load_state_dict({name: torch.tensor(value) for name, value in state.items()}, strict=True)
    x = np.random.default_rng(2).random((2, 3, 32, 32)).astype(np.float32)
    np.testing.assert_allclose(own(Tensor(x)).numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=1e-5)


REFUSED = [
    (lambda nn: nn.Conv2d(4, 6, 3, groups=3), None),
    (lambda nn: nn.Conv2d(3, 4, 3, stride=2, padding="same"), None),
    (lambda nn: nn.Conv2d(3, 4, 3), (2, 4, 8, 8)),
    (lambda nn: nn.Conv2d(3, 4, 3), (8, 8)),
    (lambda nn: nn.Conv2d(3, 4, 5), (2, 3, 4, 8)),
    (lambda nn: nn.MaxPool2d(3, 1, 2), (2, 3, 8, 8)),
    (lambda nn: nn.MaxPool2d(3), (2, 3, 2, 8)),
    (lambda nn: nn.AvgPool2d(3), (2, 3, 2, 8)),
]


@pytest.mark.parametrize(("make", "shape"), REFUSED, ids=[str(n) for n in range(len(REFUSED))])
def test_what_is_refused_is_refused_there_too(make, shape):
    import tinytorch.nn

    x = np.zeros(shape or (2, 3, 8, 8), np.float32)
    for nn, tensor in ((tinytorch.nn, Tensor), (torch.nn, torch.tensor)):
        with pytest.raises((ValueError, RuntimeError)):
            make(nn)(tensor(x))
