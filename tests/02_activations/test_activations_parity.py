"""The activations beside PyTorch's, forward and backward."""

import numpy as np
import pytest

from tinytorch.core import activations
from tinytorch.core.tensor import Tensor

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.parity

PAIRS = {
    "relu": torch.relu,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "gelu": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    "softmax": lambda x: torch.softmax(x, -1),
    "log_softmax": lambda x: torch.log_softmax(x, -1),
}
SHAPES = [(7,), (3, 5), (2, 3, 4), (2, 3, 4, 5)]


def backward_or_skip(out, upstream):
    try:
        out.backward(upstream)
    except NotImplementedError as error:
        pytest.skip(f"needs a finished module 05: {error}")


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward(name, shape):
    x = np.random.default_rng(0).normal(scale=4, size=shape).astype(np.float32)
    got = getattr(activations, name)(Tensor(x)).numpy()
    want = PAIRS[name](torch.tensor(x)).numpy()
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_backward(name, shape):
    random = np.random.default_rng(1)
    x, upstream = random.normal(scale=2, size=(2, *shape)).astype(np.float32)
    mine, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    backward_or_skip(getattr(activations, name)(mine), upstream)
    PAIRS[name](theirs).backward(torch.tensor(upstream))
    assert mine.grad.dtype == np.float32
    np.testing.assert_allclose(mine.grad, theirs.grad.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("scale", [0.1, 1, 1.5, 3, 10])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_many_rows_and_odd_ones(name, scale):
    random = np.random.default_rng(2)
    x, upstream = random.standard_normal((2, 10, 30, 333), np.float32)
    x *= scale
    x[0, 0, 0], x[1, 2, 3], x[2, 3, 4], x[3, 4], x[5, 5] = np.nan, np.inf, -np.inf, -np.inf, np.inf
    x[6, 6], x[7, 7], x[8, 8, 1] = x[6, 6] - 500, x[7, 7] + 500, 200
    mine, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    out, want = getattr(activations, name)(mine), PAIRS[name](theirs)
    np.testing.assert_allclose(out.data, want.detach().numpy(), rtol=1e-6, atol=1e-6)
    backward_or_skip(out, upstream)
    want.backward(torch.tensor(upstream))
    np.testing.assert_allclose(mine.grad, theirs.grad.numpy(), rtol=1e-5, atol=1e-5)
