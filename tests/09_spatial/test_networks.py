"""BatchNorm2d and the networks."""

import numpy as np
import pytest

from tinytorch.core import layers, spatial
from tinytorch.core.autograd import gradcheck, no_grad
from tinytorch.core.losses import accuracy, cross_entropy
from tinytorch.core.spatial import BatchNorm2d, Conv2d, MaxPool2d, SimpleCNN, digits_cnn
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
    assert all(layer.fuse([]) is None for layer in (Conv2d(1, 1, 1), MaxPool2d(2), BatchNorm2d(1)))


def test_batch_norm_in_training_and_in_use():
    rng = np.random.default_rng(7)
    x = 5 + 3 * rng.standard_normal((6, 4, 3, 5)).astype(np.float32)
    layer = BatchNorm2d(4)
    out = layer(Tensor(x)).numpy()
    np.testing.assert_allclose(out.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(axis=(0, 2, 3)), 1, atol=1e-4)
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.1 * x.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.9 + 0.1 * x.var(axis=(0, 2, 3), ddof=1), rtol=1e-4)
    layer.eval()
    kept = layer.state_dict()
    both = layer(Tensor(x)).numpy()
    np.testing.assert_allclose(layer(Tensor(x[:1])).numpy(), both[:1], rtol=1e-5, atol=1e-5)
    assert all(np.array_equal(kept[name], value) for name, value in layer.state_dict().items())


def test_batch_norm_gradients():
    x = np.random.default_rng(8).standard_normal((3, 2, 2, 3))
    for mode in (True, False):
        layer = BatchNorm2d(2).astype(np.float64).train(mode)
        layer.weight, layer.bias = (Tensor(v, np.float64, requires_grad=True) for v in ([1.5, -0.7], [0.2, 2.0]))
        assert gradcheck(layer, x)
        assert layer.running_var.dtype == np.float64
        for name in ("weight", "bias"):

            def forward(value, name=name, layer=layer):
                setattr(layer, name, value)
                return layer(Tensor(x, np.float64))

            assert gradcheck(forward, np.array([0.4, -1.2]))


def test_batch_norm_messages_and_repr():
    assert repr(BatchNorm2d(3)) == "BatchNorm2d(3, eps=1e-05, momentum=0.1)"
    with pytest.raises(ValueError, match="expected 3 channels, got 2"):
        BatchNorm2d(3)(Tensor(np.zeros((4, 2, 3, 3))))
    with pytest.raises(ValueError, match=r"one value per channel has no variance, got \(1, 3, 1, 1\)"):
        BatchNorm2d(3)(Tensor(np.zeros((1, 3, 1, 1))))
    with pytest.raises(ValueError, match="num_features.*0"):
        BatchNorm2d(0)
    assert BatchNorm2d(3)(Tensor(np.zeros((0, 3, 2, 2)))).shape == (0, 3, 2, 2)
    assert [name for name, _ in BatchNorm2d(3).named_buffers()] == [
        "running_mean",
        "running_var",
        "num_batches_tracked",
    ]


def test_batch_norm_settings():
    rng = np.random.default_rng(9)
    batches = [3 + rng.standard_normal((4, 2, 3, 3)).astype(np.float32) for _ in range(3)]
    layer = BatchNorm2d(2, momentum=None, affine=False)
    for batch in batches:
        layer(Tensor(batch))
    np.testing.assert_allclose(layer.running_mean.numpy(), np.mean([b.mean((0, 2, 3)) for b in batches], 0), rtol=1e-5)
    np.testing.assert_allclose(
        layer.running_var.numpy(), np.mean([b.var((0, 2, 3), ddof=1) for b in batches], 0), rtol=1e-4
    )
    assert layer.parameters() == [] and repr(layer) == "BatchNorm2d(2, eps=1e-05, momentum=None, affine=False)"
    assert layer.eval()(Tensor(batches[0])).shape == (4, 2, 3, 3)
    assert gradcheck(BatchNorm2d(2, affine=False), batches[0].astype(np.float64)[:2])
    for wrong in ({"eps": 0}, {"eps": -1e-5}, {"eps": float("nan")}, {"eps": "small"}, {"eps": None}):
        with pytest.raises(ValueError, match="eps keeps the root away from 0"):
            BatchNorm2d(2, **wrong)
    for wrong in (-0.1, 1.1, float("nan"), "0.1"):
        with pytest.raises(ValueError, match="momentum is a share, from 0 to 1, or None"):
            BatchNorm2d(2, momentum=wrong)


def test_batch_norm_keeps_the_dtype_of_its_buffers():
    layer = BatchNorm2d(2)
    layer(Tensor(np.random.default_rng(1).standard_normal((4, 2, 3, 3)), dtype="float64"))
    assert layer.running_mean.dtype == layer.running_var.dtype == np.float32
    assert layer(Tensor(np.ones((4, 2, 3, 3)))).dtype == np.float32


def test_statistics_of_a_later_batch_do_not_change_an_earlier_gradient():
    layer, x = BatchNorm2d(1).eval(), Tensor(np.ones((2, 1, 2, 2)), requires_grad=True)
    out = layer(x)
    layer.train()(Tensor(np.random.default_rng(2).standard_normal((8, 1, 3, 3)) * 9))
    out.sum().backward()
    np.testing.assert_allclose(x.grad, 1, rtol=1e-4)


def test_no_grad_keeps_no_columns():
    with no_grad():
        assert Conv2d(1, 1, 1)(Tensor(np.ones((1, 1, 2, 2)))).grad_fn is None


def test_an_empty_batch_counts_as_one_and_changes_no_statistics():
    layer = BatchNorm2d(2, momentum=None)
    out = layer(Tensor(np.zeros((0, 2, 3, 3))))
    out.sum().backward()
    assert out.shape == (0, 2, 3, 3) and layer.num_batches_tracked.item() == 1
    assert layer.weight.grad.tolist() == layer.bias.grad.tolist() == [0, 0]
    layer(Tensor(np.full((2, 2, 1, 1), 4.0)))
    assert layer.running_mean.numpy().tolist() == [2, 2] and layer.num_batches_tracked.item() == 2
    layer.eval()(Tensor(np.zeros((0, 2, 3, 3))))
    assert layer.num_batches_tracked.item() == 2


@pytest.mark.parametrize("setting", ["eps", "momentum"])
def test_numbers_of_every_kind_are_settings_of_batch_norm_and_truth_values_are_not(setting):
    for value in (1, 0.5, np.float32(0.5), np.int64(1)):
        assert getattr(BatchNorm2d(2, **{setting: value}), setting) == value
    for value in (True, np.True_, "0.1", [0.1], np.nan):
        with pytest.raises(ValueError, match=setting):
            BatchNorm2d(2, **{setting: value})
