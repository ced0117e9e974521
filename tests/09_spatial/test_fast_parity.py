"""The fast backend held against PyTorch: values, gradients and ties over random settings, one by one and fused."""

import numpy as np
import pytest

from tinytorch.backend import BACKENDS, use_backend
from tinytorch.core.activations import ReLU
from tinytorch.core.layers import Sequential
from tinytorch.core.spatial import AvgPool2d, Conv2d, MaxPool2d, output_size
from tinytorch.core.tensor import Tensor

pytest.importorskip("tinytorch.core.fast", reason="fast_dev.ipynb has not been exported", exc_type=ImportError)
torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = [pytest.mark.parity, pytest.mark.skipif("fast" not in BACKENDS, reason="fast_dev.ipynb is not finished")]


def both(own, theirs, x):
    """Run two nets forward and backward on x with one random upstream gradient; compare everything."""
    dtype, tolerance = x.dtype, 1e-10 if x.dtype == np.float64 else 1e-5
    own.astype(dtype).load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    mine, other = Tensor(x, dtype=dtype, requires_grad=True), torch.tensor(np.ascontiguousarray(x), requires_grad=True)
    with use_backend("fast"):
        got = own(mine)
    want = theirs(other)
    upstream = np.random.default_rng(0).standard_normal(got.shape).astype(dtype)
    got.backward(upstream)
    want.backward(torch.tensor(upstream))
    pairs = [(got.numpy(), want.detach().numpy()), (mine.grad, other.grad.numpy())]
    pairs += [(p.grad, q.grad.numpy()) for p, q in zip(own.parameters(), theirs.parameters(), strict=True)]
    for a, b in pairs:
        assert a.shape == b.shape and a.dtype == dtype
        assert a.size == 0 or np.abs(a - b).max() <= tolerance * max(1, np.abs(b).max())


def random_case(seed):
    """Settings of a convolution, and images of either float, every third time whole numbers."""
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2, 3]))
    pairs = (tuple(map(int, rng.integers(low, high, 2))) for low, high in ((1, 5), (1, 4), (0, 3), (1, 3)))
    settings = dict(zip(("kernel_size", "stride", "padding", "dilation"), pairs, strict=True), groups=groups)
    channels = int(rng.integers(1, 4)) * groups, int(rng.integers(1, 4)) * groups
    x = rng.standard_normal((int(rng.choice([0, 1, 2, 3, 7, 16])), channels[0], *rng.integers(9, 14, 2)))
    x = (np.round(x) if seed % 3 == 0 else x).astype([np.float32, np.float64][seed % 2])
    return channels, {**settings, "bias": seed % 4 > 0}, x[..., ::-1] if seed % 5 == 0 else x


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_convolution(seed, fused):
    channels, settings, x = random_case(seed)
    kernel, stride, dilation = settings["kernel_size"], settings["stride"], settings["dilation"]
    axes = zip(x.shape[2:], kernel, stride, settings["padding"], dilation, strict=True)
    fused = fused and min(output_size(*axis) for axis in axes) > 1
    dtype = torch.float64 if x.dtype == np.float64 else torch.float32
    theirs = torch.nn.Sequential(torch.nn.Conv2d(*channels, **settings, dtype=dtype))
    own = [Conv2d(*channels, **settings)]
    if fused:
        own += [ReLU(), MaxPool2d(2)]
        theirs.extend([torch.nn.ReLU(), torch.nn.MaxPool2d(2)])
    both(Sequential(*own), theirs, x)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling(kind, seed):
    rng = np.random.default_rng(seed)
    kernel, stride = (tuple(map(int, rng.integers(1, high, 2))) for high in (5, 4))
    padding = tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    settings = (2, 2, 0) if seed % 3 == 0 else (kernel, stride, padding)
    x = np.round(rng.standard_normal((3, 3, *rng.integers(5, 11, 2)))).astype([np.float32, np.float64][seed % 2])
    if kind == "max":
        both(MaxPool2d(*settings), torch.nn.MaxPool2d(*settings), x)  # many ties
    else:
        include = bool(seed % 2)
        both(AvgPool2d(*settings, include), torch.nn.AvgPool2d(*settings, count_include_pad=include), x)
