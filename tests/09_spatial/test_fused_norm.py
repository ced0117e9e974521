"""Batch normalisation and an activation as one operation of the fast engine: the numbers of the layers one by one."""

import numpy as np
import pytest

from tinytorch import lines, nn, ways
from tinytorch.backend import BACKENDS, use_backend
from tinytorch.core.activations import GELU, ReLU, gelu, relu
from tinytorch.core.autograd import no_grad
from tinytorch.core.tensor import Tensor, manual_seed

fast = pytest.importorskip("tinytorch.core.fast", reason="fast_dev.ipynb has not been exported", exc_type=ImportError)
pytestmark = pytest.mark.skipif("fast" not in BACKENDS, reason="fast_dev.ipynb is not finished")
SHAPES = [(6, 5, 32, 33), (64, 4, 9, 8), (2, 16, 40, 41)]


def net_of(channels, activation, affine=True, momentum=0.1):
    manual_seed(0)
    norm = nn.BatchNorm2d(channels, momentum=momentum, affine=affine)
    if affine:
        norm.weight.data, norm.bias.data = (np.linspace(a, 2, channels, dtype=np.float32) for a in (-1, 0.5))
    return nn.Sequential(norm, *activation)


def outcome(name, net, x, upstream, fused):
    """Result, gradients and buffers; in training, and in use."""
    x = Tensor(x, dtype=x.dtype, requires_grad=True)
    with use_backend(name):
        assert len(list(net.plan())) == (1 if fused else len(net))
        out = net(x)
        out.backward(upstream)
        found = [out.data, x.grad, *(p.grad for p in net.parameters()), *(b.data for _, b in net.named_buffers())]
        net.zero_grad()
        return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("in_rows", [True, False])
@pytest.mark.parametrize("activation", [(), (ReLU(),), (relu,), (GELU(),)], ids=["none", "ReLU", "relu", "GELU"])
@pytest.mark.parametrize("shape", SHAPES)
def test_numbers_are_those_of_the_layers(shape, activation, in_rows, dtype):
    rng = np.random.default_rng(len(shape))
    images = (3 + 2 * rng.standard_normal(shape)).astype(dtype)
    images = fast.as_images(np.ascontiguousarray(fast.as_rows(images))) if in_rows else images
    upstream = rng.standard_normal(shape).astype(dtype)
    nets = [net_of(shape[1], activation).astype(dtype) for _ in range(2)]
    for mode in (True, True, False):
        both = [
            outcome(name, net.train(mode), images, upstream, fused)
            for name, net, fused in zip(("fast", "windows"), nets, (True, False), strict=True)
        ]
        for mine, right in zip(*both, strict=True):
            assert mine.dtype == right.dtype and mine.shape == right.shape
            close = dict(rtol=1e-4, atol=2e-5) if dtype == "float32" else dict(rtol=1e-10, atol=1e-10)
            np.testing.assert_allclose(mine, right, **close)


@pytest.mark.parametrize(("affine", "momentum"), [(False, 0.1), (True, None), (False, None)])
def test_settings(affine, momentum):
    shape, rng = SHAPES[0], np.random.default_rng(1)
    images, upstream = rng.standard_normal((2, *shape)).astype("float32")
    nets = [net_of(shape[1], (GELU(),), affine, momentum) for _ in range(2)]
    for _ in range(2):
        both = [
            outcome(n, net, images, upstream, n == "fast") for n, net in zip(("fast", "windows"), nets, strict=True)
        ]
        for mine, right in zip(*both, strict=True):
            np.testing.assert_allclose(mine, right, rtol=1e-4, atol=2e-5)


def test_what_does_not_suit_runs_layer_by_layer():
    rng = np.random.default_rng(2)
    for shape, dtype in (((2, 3, 4, 4), "float32"), ((3, 90, 90), "float32"), ((2, 3, 70, 70), "float16")):
        net, x = net_of(3, (GELU(),)), Tensor(rng.standard_normal(shape), dtype=dtype)
        with use_backend("fast"), no_grad():
            out = net(x)
        with use_backend("windows"), no_grad():
            right = net_of(3, (GELU(),))(x)
        assert out.dtype == right.dtype and np.array_equal(out.data, right.data)
    with pytest.raises(ValueError, match="expected 3 channels, got 4"):
        net(Tensor(np.ones((2, 4, 70, 70))))


class Louder(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) * 2


def test_what_is_not_as_written_is_not_fused(monkeypatch):
    from tinytorch.core import blocks

    def steps(*layers):
        with use_backend("fast"):
            return len(list(nn.Sequential(*layers).plan()))

    assert steps(nn.BatchNorm2d(2), GELU()) == 1 and steps(Louder(2), GELU()) == 2
    assert steps(nn.BatchNorm2d(2), GELU("none")) == 2 and steps(nn.BatchNorm2d(2), gelu) == 2
    own = nn.BatchNorm2d(2)
    own.forward = lambda x: x
    assert steps(own, ReLU()) == 2
    usual = nn.BatchNorm2d.normalise_batch
    monkeypatch.setattr(nn.BatchNorm2d, "normalise_batch", lambda self, x: usual(self, x) * 2)
    assert steps(nn.BatchNorm2d(2), ReLU()) == 2
    monkeypatch.undo()
    wrong = fast.operation(lambda x, weight, bias, mean, var, eps=1e-5, use_batch_stats=False: (x, (x, x)))
    monkeypatch.setattr(blocks, "batch_norm2d", wrong)
    assert steps(nn.BatchNorm2d(2), ReLU()) == 2


def test_another_walk_makes_its_own_gradients():
    shape = SHAPES[0]
    net, x = net_of(shape[1], (GELU(),)), Tensor(np.random.default_rng(3).standard_normal(shape), requires_grad=True)
    with use_backend("fast"):
        out = net(x)
    buffer, weight = np.ones(shape, np.float32), net[0].weight
    out.backward(buffer, retain_graph=True)
    first = weight.grad.copy()
    x.requires_grad, net[0].bias.requires_grad = False, True
    buffer[...] = 10
    out.backward(buffer, retain_graph=True)
    np.testing.assert_allclose(weight.grad, 11 * first, rtol=1e-4)


@pytest.mark.parametrize("in_rows", [True, False])
@pytest.mark.parametrize(("middle", "spread"), [(0, 1), (3, 1), (50, 1), (-1000, 2), (1, 0), (0, 0)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_statistics_wherever_the_mean_lies(middle, spread, in_rows, dtype):
    rng = np.random.default_rng(3)
    images = (middle + spread * rng.standard_normal((16, 4, 13, 12))).astype(dtype)
    images[:, 1] -= 7
    before = np.getbufsize()
    given = fast.as_images(np.ascontiguousarray(fast.as_rows(images))) if in_rows else images
    mean, var = lines.moments(lines.lines_of(given))
    exact = images.astype("float64")
    assert mean.dtype == var.dtype == dtype and (var >= 0).all() and np.getbufsize() == before
    close = 3e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(mean, exact.mean((0, 2, 3)), rtol=close, atol=close)
    np.testing.assert_allclose(var, exact.var((0, 2, 3)), rtol=close, atol=close * (1 + abs(middle)))


@pytest.mark.parametrize("middle", [0, 30])
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_alone_gives_what_it_gives_in_a_chain(training, middle):
    rng, found = np.random.default_rng(5), []
    images = (middle + rng.standard_normal((20, 4, 16, 16))).astype("float32")
    upstream = rng.standard_normal(images.shape).astype("float32")
    for name, build in (("fast", lambda layer: layer), ("fast", nn.Sequential), ("windows", lambda layer: layer)):
        layer = nn.BatchNorm2d(4).train(training)
        x = Tensor(images, requires_grad=True)
        with use_backend(name):
            out = build(layer)(x)
            assert (out.grad_fn[0] is ways.norm_activation2d) == (name == "fast")
            out.backward(upstream)
        found.append([out.data, x.grad, layer.running_mean.data, layer.running_var.data])
    for mine, chained, right in zip(*found, strict=True):
        np.testing.assert_array_equal(mine, chained)
        np.testing.assert_allclose(mine, right, rtol=1e-4, atol=2e-5)
