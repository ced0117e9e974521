"""The losses beside PyTorch's, forward and backward."""

import numpy as np
import pytest

from tinytorch.core.losses import binary_cross_entropy_with_logits, cross_entropy, mse_loss
from tinytorch.core.tensor import Tensor

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.parity
functional = torch.nn.functional


def compare(mine, theirs, given):
    """Loss and gradient with respect to the given array, by ours and by PyTorch's function."""
    ours, other = Tensor(given, requires_grad=True), torch.tensor(given, requires_grad=True)
    loss, wanted = mine(ours), theirs(other)
    np.testing.assert_allclose(loss.numpy(), wanted.detach().numpy(), rtol=1e-5, atol=1e-6)
    try:
        loss.backward(np.float32(1.7))
    except NotImplementedError as error:
        pytest.skip(f"needs a finished module 05: {error}")
    wanted.backward(torch.tensor(1.7))
    assert ours.grad.dtype == np.float32
    np.testing.assert_allclose(ours.grad, other.grad.numpy(), rtol=1e-4, atol=1e-6)
    return ours.grad


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 4)], ids=str)
def test_mse(shape):
    prediction, target = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    t = torch.tensor(target)
    assert compare(lambda x: mse_loss(x, Tensor(target)), lambda x: functional.mse_loss(x, t), prediction).any()
    assert compare(lambda x: mse_loss(Tensor(target), x), lambda x: functional.mse_loss(t, x), prediction).any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("shape", [(1, 2), (6, 4), (9, 10)], ids=str)
def test_cross_entropy(shape, smoothing):
    random = np.random.default_rng(1)
    logits = random.normal(scale=5, size=shape).astype(np.float32)
    labels = random.integers(shape[1], size=shape[0])
    grad = compare(
        lambda x: cross_entropy(x, Tensor(labels), smoothing),
        lambda x: functional.cross_entropy(x, torch.tensor(labels), label_smoothing=smoothing),
        logits,
    )
    assert grad.any()


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 4)], ids=str)
def test_binary_cross_entropy(shape):
    random = np.random.default_rng(2)
    logits, target = random.normal(scale=5, size=shape).astype(np.float32), random.random(shape).astype(np.float32)
    grad = compare(
        lambda x: binary_cross_entropy_with_logits(x, Tensor(target)),
        lambda x: functional.binary_cross_entropy_with_logits(x, torch.tensor(target)),
        logits,
    )
    assert grad.any()


def test_binary_cross_entropy_with_boolean_targets():
    logits, target = np.float32([3.0, -2.0, 0.5]), np.array([True, True, False])
    grad = compare(
        lambda x: binary_cross_entropy_with_logits(x, Tensor(target)),
        lambda x: functional.binary_cross_entropy_with_logits(x, torch.tensor(target).float()),
        logits,
    )
    assert grad.any()
