"""What earlier modules promise and only later ones can show: their own folders run before those are written."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from tinytorch.core.autograd import no_grad
from tinytorch.core.losses import binary_cross_entropy_with_logits, cross_entropy, mse_loss
from tinytorch.core.optimizers import SGD
from tinytorch.core.tensor import Tensor, manual_seed
from tinytorch.data.loader import DataLoader, TensorDataset

X = Tensor([1.0, 2.0], requires_grad=True)


def test_axes_in_any_form_have_gradients():
    for name in ("sum", "mean", "max"):
        for axis in ([0, 1], (0, 1), np.array([0, 1]), [np.int64(0), 1], [-3, 1]):
            for keepdims in (False, True):
                x = Tensor(np.arange(24.0).reshape(2, 3, 4), requires_grad=True)
                getattr(x, name)(axis=axis, keepdims=keepdims).sum().backward()
                assert x.grad.shape == x.shape and x.grad.sum() == (24 if name == "sum" else 4)


Net = runpy.run_path(Path(__file__).parents[1] / "03_layers" / "test_containers.py")["Net"]


def test_everything_is_trained_switched_and_loaded():
    manual_seed(0)
    net, other = Net(), Net()
    before = net.state_dict()
    net(Tensor([[1.0, 2.0], [3.0, -1.0]])).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    SGD(net.parameters(), 0.1).step()
    moved = [name for name, array in net.state_dict().items() if not np.array_equal(array, before[name])]
    assert "scales.0" in moved and "heads.right.0.bias" in moved and "shift.c" not in moved
    other.load_state_dict(net.state_dict())
    assert all(np.array_equal(a, net.state_dict()[name]) for name, a in other.state_dict().items())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    assert net.astype("float64").heads["left"].weight.dtype == net.scales[1]["b"].dtype == np.float64


def test_a_wider_target_is_not_rounded():
    for loss in (mse_loss, binary_cross_entropy_with_logits):
        grads = []
        for reduction in ("mean", "sum"):
            x = Tensor([1 / 3], requires_grad=True)
            loss(x, Tensor([1 / 3 + 1e-9], "float64"), reduction=reduction).backward()
            grads.append(x.grad.item())
        assert grads[0] == grads[1]
        assert loss is not mse_loss or np.isclose(grads[0], 1.787e-08, rtol=1e-3)


def test_labels_refilled_before_backward():
    for settings in ({}, {"reduction": "sum"}):
        for labels in (np.array([0, 0]), Tensor([0, 0])):
            x = Tensor(np.zeros((2, 3)), requires_grad=True)
            loss = cross_entropy(x, labels, **settings)
            (labels.data if isinstance(labels, Tensor) else labels)[:] = 2
            loss.backward()
            assert (x.grad[:, 0] < 0).all() and (x.grad[:, 1:] > 0).all()


def on():
    return (X * 2).requires_grad


def test_a_transform_that_uses_no_grad_does_not_reach_the_training_thread():
    def quiet(images, generator):
        with no_grad():
            return (Tensor(images) * 2).numpy()

    decorated = no_grad()(lambda images, generator: (Tensor(images) * 2).numpy())
    data = TensorDataset(np.ones((12, 3), np.float32), np.zeros(12, np.int64))
    for transform in (quiet, decorated):
        for x, _ in DataLoader(data, 2, transform=transform, prefetch=3):
            assert on() and x.numpy().max() == 2


def test_backward_names_what_it_takes():
    with pytest.raises(TypeError, match="^backward takes the inputs upstream=None, retain_graph=False: .*'retain'"):
        X.backward(retain=True)
