"""Milestone 04's own networks: their sizes, and that they begin to learn."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tinytorch import Tensor, manual_seed, no_grad
from tinytorch.core.losses import cross_entropy

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "milestones" / "04_1998_cnn"))

from networks import NETWORKS, deep_cnn, mlp_of, speed_cnn, wide_cnn

PARAMETERS = {wide_cnn: 545_098, deep_cnn: 964_874, speed_cnn: 1_335_256}

each_network = pytest.mark.parametrize("build", PARAMETERS)


def made(build, images):
    """A seeded network, images like photographs (0 to 1) and labels."""
    manual_seed(1)
    rng = np.random.default_rng(2)
    return build(), rng.random((images, 3, 32, 32)).astype(np.float32), rng.integers(0, 10, images)


@each_network
def test_parameter_counts_and_logits(build):
    net, x, _ = made(build, 4)
    assert net.parameter_count() == PARAMETERS[build]
    assert net(Tensor(x)).shape == (4, 10)
    assert build(num_classes=3)(Tensor(x[:0])).shape == (0, 3)


@each_network
def test_initial_loss_is_near_ln_10_and_every_parameter_gets_a_gradient(build):
    net, x, labels = made(build, 32)
    loss = cross_entropy(net(Tensor(x)), labels)
    assert loss.item() == pytest.approx(np.log(10), abs=0.15)
    loss.backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not np.abs(p.grad).max() > 0] == []


def test_every_task_has_its_network_and_an_mlp_of_about_as_many_parameters():
    sizes = {name: make().parameter_count() for name, make in NETWORKS.items()}
    names = "cifar10", "cifar10-deep", "cifar10-speedrun"
    assert sizes == {"digits": 810, **dict(zip(names, PARAMETERS.values(), strict=True))}
    for name, pixels, hidden in (("digits", 64, 11), ("cifar10", 3072, 177), ("cifar10-deep", 3072, 313)):
        mlp = mlp_of(pixels, hidden)()
        assert mlp.parameter_count() == pytest.approx(sizes[name], rel=0.05)
        with no_grad():
            assert np.abs(mlp(Tensor(np.ones((1, pixels)))).numpy()).max() < 1
