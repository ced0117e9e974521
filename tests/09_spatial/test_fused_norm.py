"""Batch normalisation and an activation as one operation of the fast engine: the numbers of the layers one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


# In use: normalising in the weights of the convolution before it


def in_use(settings, seed, dtype, pool=(), after=(), bias=True, weight=True, shift=True, near_zero=False, eps=1e-5):
    """(chain in evaluation mode with drawn weights and statistics, the norm)."""
    rng = np.random.default_rng(seed)
    manual_seed(seed)
    conv = nn.Conv2d(*settings.pop("channels"), settings.pop("kernel"), bias=bias, **settings)
    norm = nn.BatchNorm2d(conv.out_channels, eps=eps)
    for tensor in (conv.bias, norm.weight, norm.bias, norm.running_mean):
        if tensor is not None:
            tensor.data = rng.standard_normal(tensor.shape).astype("float32")
    norm.running_var.data = (1e-30 if near_zero else 1) * rng.random(norm.running_var.shape, "float32")
    if seed % 2:
        norm.weight.data = np.abs(norm.weight.data)
    norm.weight, norm.bias = norm.weight if weight else None, norm.bias if shift else None
    return nn.Sequential(conv, *pool, norm, *after).eval().astype(dtype), norm


def used(name, net, x):
    with use_backend(name), no_grad():
        return net(Tensor(x, dtype=x.dtype)).data


def same(mine, right):
    """Equal to 1e-5 (float32) or 1e-10 (float64) of the largest number."""
    assert mine.dtype == right.dtype and mine.shape == right.shape
    np.testing.assert_array_equal(np.isnan(mine), np.isnan(right))
    close = 1e-5 if mine.dtype == np.float32 else 1e-10
    assert not mine.size or np.nanmax(np.abs(mine - right)) <= close * max(1, np.nanmax(np.abs(right)))


POOLS = {"none": (), "2x2": (nn.MaxPool2d(2),), "3x2": (nn.MaxPool2d((3, 2), 1, (1, 0), ceil_mode=True),)}
AFTER = {
    "none": (), "ReLU": (ReLU(),), "relu": (relu,), "GELU": (GELU(),), "block": (ReLU(), nn.MaxPool2d(2)),
    "exact": (GELU("none"),), "norm": (nn.BatchNorm2d(16), ReLU()),
}  # fmt: skip


@pytest.mark.parametrize("fold", [0, ways.FOLD, np.inf])
@given(
    st.fixed_dictionaries(
        {
            "channels": st.sampled_from([(1, 16), (16, 16), (64, 16)]),
            "kernel": st.sampled_from([(1, 1), (3, 3), (2, 3)]),
            "stride": st.integers(1, 2),
            "padding": st.integers(0, 1),
            "dilation": st.integers(1, 2),
        }
    ),
    st.sampled_from(["float32", "float64"]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([None, 0, 1, 2, 17]),
    st.sampled_from([1, 6, 11]),
    st.sampled_from(sorted(POOLS)),
    st.sampled_from(sorted(AFTER)),
    st.tuples(st.booleans(), st.booleans(), st.booleans(), st.booleans()),
)
def test_normalising_in_the_weights_equals_windows(fold, settings, dtype, seed, images, side, pool, after, given):
    bias, weight, shift, near_zero = given
    if side == 1:  # pictures of one pixel
        settings, pool, after = settings | {"kernel": 1}, "none", "ReLU" if after == "block" else after
    eps = 1e-12 if near_zero else 1e-5
    net, norm = in_use(dict(settings), seed, dtype, POOLS[pool], AFTER[after], bias, weight, shift, near_zero, eps)
    if near_zero:  # as of channels that are dead, or nearly: the deviation from the mean is all that counts
        norm.running_mean.data = np.zeros_like(norm.running_mean.data)
    shape = settings["channels"][0], side, side
    x = np.random.default_rng(seed).standard_normal(shape if images is None else (images, *shape)).astype(dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ways, "FOLD", fold)
        try:
            right = used("windows", net.astype(dtype), x)
        except ValueError as error:
            with pytest.raises(ValueError) as mine:
                used("fast", net, x)
            assert str(mine.value) == str(error)
        else:
            same(used("fast", net, x), right)


def folds(net, x):
    """How often normalising goes into weights."""
    with pytest.MonkeyPatch.context() as patch:
        made, usual = [], ways._folded
        patch.setattr(ways, "_folded", lambda *given: made.append(usual(*given)) or made[-1])
        used("fast", net, x)
    return sum(folded is not None for folded in made)


def plain(**more):
    """A chain with a scale above 0, and many images for it."""
    net, norm = in_use({"channels": (3, 8), "kernel": 3}, 1, "float32", **more)
    return net, norm, np.random.default_rng(0).standard_normal((32, 3, 9, 9)).astype("float32")


def test_when_normalising_goes_into_weights():
    for pool in POOLS.values():
        net, norm, x = plain(pool=pool, after=(GELU(),))
        assert folds(net, x) == 1 and folds(net.train(), x) == 0
        assert folds(net.eval(), x.astype("float64")) == 0 and folds(net, x[0, :, :5, :5]) == 0
        with use_backend("fast"):
            assert net(Tensor(x)).requires_grad  # recorded: layer by layer
        norm.weight.data[2] = -1
        assert folds(net, x) == (not pool)  # the largest is not the largest any more
        norm.running_mean.data[:] = 1e6
        assert folds(net, x) == 0  # it would lose digits
    net, norm, x = plain(after=(ReLU(), nn.MaxPool2d(2)))
    with use_backend("fast"), no_grad():
        assert len(list(net.plan())) == 1 and len(list(net.train().plan())) == 3


def test_weights_that_normalise_follow_every_change():
    net, norm, x = plain(pool=POOLS["2x2"], after=(GELU(),))
    conv, seen = net[0], [used("fast", net, x)]
    for array in (conv.weight.data, conv.bias.data, norm.weight.data, norm.bias.data, norm.running_mean.data):
        before = conv.weight.data.copy()
        array += 0.25  # in place, which no tensor notices
        seen.append(used("fast", net, x))
        same(seen[-1], used("windows", net, x))
        assert not np.allclose(seen[-1], seen[-2], atol=1e-3)
        assert array is conv.weight.data or np.array_equal(before, conv.weight.data)
    norm.running_var.data, norm.eps = norm.running_var.data + 1, 0.5
    same(used("fast", net, x), used("windows", net, x))
    used("fast", net.train(), x), net.eval()  # the statistics move
    same(used("fast", net, x), used("windows", net, x))


def test_what_is_not_as_written_is_not_put_into_weights(monkeypatch):
    net, norm, x = plain()
    for kind, name in ((nn.Conv2d, "forward"), (nn.BatchNorm2d, "forward"), (nn.Module, "__call__")):
        usual, called = getattr(kind, name), []
        monkeypatch.setattr(
            kind, name, lambda self, x, usual=usual, called=called: called.append(self) or usual(self, x)
        )
        used("fast", net, x)
        assert (net[0] if kind is nn.Conv2d else norm) in called
        monkeypatch.undo()
    norm.forward = lambda x: x * 0
    assert not used("fast", net, x).any()
    del norm.forward
    norm.running_mean = None  # statistics that are not there: whatever the layer itself says
    for name in ("fast", "windows"):
        with pytest.raises(Exception, match="."):
            used(name, net, x)
    assert folds(nn.Sequential(nn.Conv2d(3, 8, 3), Louder(8)).eval(), x) == 0
    wrong = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(7)).eval()
    with pytest.raises(ValueError, match="expected 7 channels, got 8"):
        used("fast", wrong, x)


@pytest.mark.parametrize(
    "change",
    [
        lambda conv, norm: setattr(conv, "stride", 2),
        lambda conv, norm: setattr(conv, "weight", Tensor(conv.weight.data[:1])),
        lambda conv, norm: setattr(conv, "weight", Tensor(conv.weight.data[0])),
        lambda conv, norm: setattr(norm, "eps", np.full((8, 1, 1), 1e-3, "float32")),
        lambda conv, norm: setattr(norm, "eps", None),
    ],
    ids=["stride", "few kernels", "no kernels", "eps for each channel", "no eps"],
)
def test_settings_that_somebody_set_later_are_taken_as_windows_takes_them(change):
    net, norm, x = plain(after=(ReLU(),))
    change(net[0], norm)
    try:
        right = used("windows", net, x)
    except (TypeError, ValueError) as error:
        with pytest.raises(type(error)) as mine:
            used("fast", net, x)
        assert str(mine.value) == str(error)
    else:
        same(used("fast", net, x), right)


def test_who_listens_to_sequential_hears_of_the_chain_alone(monkeypatch):
    net, norm, x = plain()
    usual, called = nn.Sequential.forward, []
    monkeypatch.setattr(nn.Sequential, "forward", lambda self, x: called.append(self) or usual(self, x))
    used("fast", net, x)
    assert called == [net]
