"""Layers beside PyTorch's: the same state dictionary, the same outputs, the same gradients."""

import numpy as np
import pytest

from tinytorch.core.activations import ReLU
from tinytorch.core.layers import Flatten, Linear, Sequential
from tinytorch.core.tensor import Tensor, manual_seed

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.parity


def pair(bias):
    """The same network twice, the weights handed from ours to PyTorch's."""
    manual_seed(0)
    mine = Sequential(Flatten(), Linear(12, 7, bias=bias), ReLU(), Linear(7, 3, bias=bias))
    for _, tensor in mine.named_parameters():
        tensor.data = tensor.data + np.random.default_rng(1).normal(size=tensor.shape).astype(np.float32)
    nn = torch.nn
    theirs = nn.Sequential(nn.Flatten(), nn.Linear(12, 7, bias=bias), nn.ReLU(), nn.Linear(7, 3, bias=bias))
    theirs.load_state_dict({name: torch.tensor(array) for name, array in mine.state_dict().items()})
    return mine, theirs


@pytest.mark.parametrize("bias", [True, False])
def test_state_and_outputs(bias):
    mine, theirs = pair(bias)
    x = np.random.default_rng(2).normal(size=(5, 3, 2, 2)).astype(np.float32)
    np.testing.assert_allclose(mine(Tensor(x)).numpy(), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-5)


def test_pytorch_state_loads_back():
    mine, theirs = pair(True)
    other = Sequential(Flatten(), Linear(12, 7), ReLU(), Linear(7, 3))
    other.load_state_dict({name: tensor.detach().numpy() for name, tensor in theirs.state_dict().items()})
    assert all(np.array_equal(array, other.state_dict()[name]) for name, array in mine.state_dict().items())


@pytest.mark.parametrize("bias", [True, False])
def test_gradients(bias):
    mine, theirs = pair(bias)
    random = np.random.default_rng(3)
    x, upstream = random.normal(size=(5, 3, 2, 2)).astype(np.float32), random.normal(size=(5, 3)).astype(np.float32)
    given, wanted = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    try:
        mine(given).backward(upstream)
    except NotImplementedError as error:
        pytest.skip(f"needs a finished module 05: {error}")
    theirs(wanted).backward(torch.tensor(upstream))
    np.testing.assert_allclose(given.grad, wanted.grad.numpy(), rtol=1e-4, atol=1e-5)
    for (name, tensor), (_, other) in zip(mine.named_parameters(), theirs.named_parameters(), strict=True):
        np.testing.assert_allclose(tensor.grad, other.grad.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("shape", [(4,), (3, 4), (2, 3, 4), (2, 2, 3, 4)], ids=str)
def test_linear_over_any_leading_axes(shape):
    random = np.random.default_rng(4)
    x, layer = random.normal(size=shape).astype(np.float32), Linear(4, 6)
    layer.bias.data = random.normal(size=6).astype(np.float32)
    want = torch.nn.functional.linear(*map(torch.tensor, (x, layer.weight.data, layer.bias.data))).numpy()
    np.testing.assert_allclose(layer(Tensor(x)).numpy(), want, rtol=1e-5, atol=1e-5)
