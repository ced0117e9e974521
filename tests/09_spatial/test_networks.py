"""The networks."""

import numpy as np
import pytest

from tinytorch.core import layers, spatial
from tinytorch.core.autograd import gradcheck, no_grad
from tinytorch.core.losses import accuracy, cross_entropy
from tinytorch.core.spatial import Conv2d, MaxPool2d, SimpleCNN, digits_cnn
from tinytorch.core.tensor import Tensor, manual_seed

NETWORKS = {
    "simple": (SimpleCNN, (3, 32, 32), 25_578),
    "digits": (digits_cnn, (1, 8, 8), 810),
}

each_network = pytest.mark.parametrize("name", NETWORKS)


def made(name, images=4):
    """A seeded network, images like photographs (0 to 1) and labels."""
    manual_seed(1)
    build, shape, _ = NETWORKS[name]
    rng = np.random.default_rng(2)
    return build(), rng.random((images, *shape)).astype(np.float32), rng.integers(0, 10, images)


def train(net, x, labels, steps, rate):
    """Plain gradient descent on one batch; returns the losses."""
    losses = []
    for _ in range(steps):
        net.zero_grad()
        loss = cross_entropy(net(Tensor(x)), labels)
        loss.backward()
        for tensor in net.parameters():
            tensor.data = tensor.data - rate * tensor.grad
        losses.append(loss.item())
    return losses


@each_network
def test_parameter_counts_and_logits(name):
    net, x, _ = made(name)
    assert net.parameter_count() == NETWORKS[name][2]
    assert net(Tensor(x)).shape == (4, 10)
    assert NETWORKS[name][0](num_classes=3)(Tensor(x[:0])).shape == (0, 3)


@each_network
def test_initial_loss_is_near_ln_10_and_every_parameter_gets_a_gradient(name):
    net, x, labels = made(name, 32)
    loss = cross_entropy(net(Tensor(x)), labels)
    assert loss.item() == pytest.approx(np.log(10), abs=0.15)
    loss.backward()
    assert [
        key for key, tensor in net.named_parameters() if tensor.grad is None or not np.abs(tensor.grad).max() > 0
    ] == []


def test_a_small_batch_can_be_learned_by_heart():
    net, x, labels = made("digits", 20)
    losses = train(net, x, labels, 300, 0.5)
    assert losses[-1] < 0.05 < losses[0]
    assert accuracy(net(Tensor(x)), labels) == 1.0


def test_simple_cnn_learns_a_batch_by_heart():
    net, x, labels = made("simple", 8)
    losses = train(net, x, labels, 30, 0.05)
    assert losses[-1] < 0.3 * losses[0]


def test_gradients_of_a_whole_net_equal_central_differences():
    manual_seed(5)
    net = digits_cnn(3).astype(np.float64)
    x = np.random.default_rng(6).standard_normal((2, 1, 8, 8))
    assert gradcheck(net, x)


def test_simple_cnn_features_and_sizes():
    net, x, _ = made("simple")
    assert net.features(Tensor(x)).shape == (4, 2048)
    assert net.features(Tensor(x[:, :, :16, :16])).shape == (4, 512)
    assert np.allclose(net(Tensor(x[2])).numpy(), net(Tensor(x)).numpy()[2], atol=1e-5)
    with pytest.raises(ValueError, match="(?=.*32).*16"):
        net(Tensor(x[:, :, :16, :16]))
    with pytest.raises(ValueError, match="NHWC"):
        net(Tensor(x.transpose(0, 2, 3, 1)))


def test_state_round_trip_and_flatten_is_the_layers_own():
    net, x, _ = made("simple")
    other = SimpleCNN()
    other.load_state_dict(net.state_dict())
    assert np.array_equal(other(Tensor(x)).numpy(), net(Tensor(x)).numpy())
    assert spatial.Flatten is layers.Flatten
    assert all(layer.fuse([]) is None for layer in (Conv2d(1, 1, 1), MaxPool2d(2)))


def test_no_grad_keeps_no_columns():
    with no_grad():
        assert Conv2d(1, 1, 1)(Tensor(np.ones((1, 1, 2, 2)))).grad_fn is None
