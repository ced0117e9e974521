"""The fast backend held equal to loops and windows: values, gradients, ties, layouts; fusing; cached memory."""

import functools
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch import backend, kernels, winograd
from tinytorch.backend import BACKENDS, resolve, use_backend
from tinytorch.core.activations import ReLU, Sigmoid, relu
from tinytorch.core.autograd import no_grad
from tinytorch.core.layers import Module, Sequential
from tinytorch.core.spatial import AvgPool2d, Conv2d, MaxPool2d, SimpleCNN, digits_cnn
from tinytorch.core.tensor import Tensor, manual_seed

fast = pytest.importorskip("tinytorch.core.fast", reason="fast_dev.ipynb has not been exported", exc_type=ImportError)
pytestmark = pytest.mark.skipif("fast" not in BACKENDS, reason="fast_dev.ipynb is not finished")

PAIR = st.tuples
SETTINGS = st.fixed_dictionaries(
    {
        "stride": PAIR(st.integers(1, 3), st.integers(1, 3)),
        "padding": PAIR(st.integers(0, 2), st.integers(0, 2)),
        "dilation": PAIR(st.integers(1, 2), st.integers(1, 2)),
        "groups": st.sampled_from([1, 1, 2, 3]),
    }
)
DTYPES = st.sampled_from([np.float32, np.float64])
SEEDS = st.integers(0, 2**32 - 1)
LAYOUTS = {
    "images": np.ascontiguousarray,
    "rows": lambda x: np.ascontiguousarray(x.transpose(2, 1, 3, 0)).transpose(3, 1, 0, 2),
    "fortran": np.asfortranarray,
    "every second": lambda x: np.repeat(np.repeat(x, 2, axis=0), 2, axis=3)[::2, :, :, ::2],
    "turned": lambda x: np.ascontiguousarray(x[:, :, ::-1])[:, :, ::-1],
}


def outcome(name, build, arrays, upstream_seed):
    """What build(*tensors) gives on a backend: [result, gradient of every tensor]."""
    tensors = [Tensor(a, dtype=a.dtype, requires_grad=True) for a in arrays]
    with use_backend(name):
        out = build(*tensors)
        upstream = np.random.default_rng(upstream_seed).standard_normal(out.shape).astype(out.dtype)
        out.backward(upstream)
    return [out.numpy(), *(t.grad for t in tensors)]


def same(got, want):
    """Equal to 1e-5 (float32) or 1e-10 (float64) of the largest number."""
    for a, b in zip(got, want, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        tolerance = 1e-5 if a.dtype == np.float32 else 1e-10
        assert a.size == 0 or np.abs(a - b).max() <= tolerance * max(1, np.abs(b).max())


def draw(rng, dtype, *shapes):
    """Normal arrays; every third time whole numbers, so that many tie."""
    whole = rng.random() < 1 / 3
    return [(np.round(a) if whole else a).astype(dtype) for a in map(rng.standard_normal, shapes)]


def convolution(settings):
    def run(x, weight, bias):
        return backend.kernel("conv2d")(x, weight, bias, **settings)

    return run


@given(SETTINGS, DTYPES, SEEDS, st.sampled_from([0, 1, 2, 3, 5, 17]), st.sampled_from(sorted(LAYOUTS)))
def test_convolution_equals_windows(settings, dtype, seed, images, layout):
    rng = np.random.default_rng(seed)
    g, (cg, og, kh, kw) = settings["groups"], rng.integers(1, 4, 4)
    shapes = (images, cg * g, *rng.integers(6, 11, 2)), (og * g, cg, kh, kw), (og * g,)
    x, weight, bias = draw(rng, dtype, *shapes)
    arrays = LAYOUTS[layout](x), weight, bias
    same(*(outcome(name, convolution(settings), arrays, seed) for name in ("fast", "windows")))


@pytest.mark.parametrize("blocks", [False, True])
@given(
    PAIR(st.integers(1, 4), st.integers(1, 4)),
    PAIR(st.integers(0, 3), st.integers(0, 3)),
    PAIR(st.integers(1, 2), st.integers(1, 2)),
    DTYPES,
    SEEDS,
    st.sampled_from([1, 2, 5, 17]),
    st.sampled_from(sorted(LAYOUTS)),
)
def test_a_kernel_for_each_channel_equals_windows(blocks, kernel, padding, dilation, dtype, seed, images, layout):
    rng = np.random.default_rng(seed)
    channels, sides = rng.integers(2, 7), rng.integers(8, 14, 2)
    x, weight, bias = draw(rng, dtype, (images, channels, *sides), (channels, 1, *kernel), (channels,))
    settings = {"padding": padding, "dilation": dilation, "groups": int(channels)}
    with pytest.MonkeyPatch.context() as patch:
        if blocks:  # one channel and one row at a time
            patch.setattr(kernels, "PIECE", 1)
        arrays = LAYOUTS[layout](x), weight, bias
        same(*(outcome(name, convolution(settings), arrays, seed) for name in ("fast", "windows")))


@pytest.mark.parametrize("stride", [(1, 2), (2, 1), (1, 3)])
@pytest.mark.parametrize("kernel", [(2, 1), (3, 2)])
def test_a_kernel_for_each_channel_with_a_stride_one_way(kernel, stride):
    """Of images so narrow that what a stride leaves out is little more than a frame."""
    x, *others = draw(np.random.default_rng(1), np.float64, (20, 3, 11, 7), (3, 1, *kernel), (3,))
    arrays, settings = (x, *others), {"stride": stride, "groups": 3}
    same(*(outcome(name, convolution(settings), arrays, 0) for name in ("fast", "windows")))


def test_kernels_for_each_channel_go_their_own_way():
    x = Tensor(np.ones((4, 3, 9, 9)), requires_grad=True)
    with use_backend("fast"):
        out = Conv2d(3, 3, 3, padding=1, groups=3)(x)
    assert "channels" in out.grad_fn[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("kernel", [(3, 3), (1, 2), (5, 3)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("padding", [0, (1, 2)])
def test_one_image_is_one_product(kernel, stride, dilation, padding, layout, dtype):
    x, *others = draw(np.random.default_rng(0), dtype, (1, 16, 15, 18), (24, 16, *kernel), (24,))
    settings = dict(stride=stride, padding=padding, dilation=dilation, groups=1)
    arrays = LAYOUTS[layout](x), *others
    same(*(outcome(name, convolution(settings), arrays, 0) for name in ("fast", "windows")))


def test_who_convolves_image_by_image():
    conv, ways = Conv2d(64, 64, 3, padding=1), []
    for images in (1, 2):
        with use_backend("fast"):
            ways.append(conv(Tensor(np.ones((images, 64, 14, 14)), requires_grad=True)).grad_fn[1])
    assert "points" in ways[0] and "points" not in ways[1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", range(6))
def test_convolution_equals_the_loops(seed, dtype):
    rng = np.random.default_rng(seed)
    groups = 1 + seed % 2
    settings = dict(stride=(1 + seed % 2, 1), padding=(1, seed % 3), dilation=(1, 1 + seed // 4), groups=groups)
    arrays = draw(rng, dtype, (2, 2 * groups, 5, 6), (2 * groups, 2, 3, 2), (2 * groups,))
    same(*(outcome(name, convolution(settings), arrays, seed) for name in ("fast", "loops")))


@given(DTYPES, SEEDS, st.booleans(), st.sampled_from(["max", "average"]), st.sampled_from(sorted(LAYOUTS)))
def test_pooling_equals_windows_and_ties_fall_alike(dtype, seed, plain, kind, layout):
    rng = np.random.default_rng(seed)
    kernel = (2, 2) if plain else tuple(map(int, rng.integers(1, 4, 2)))
    stride = None if plain else tuple(map(int, rng.integers(1, 4, 2)))
    padding = (0, 0) if plain else tuple(int(rng.integers(0, k // 2 + 1)) for k in kernel)
    images = np.round(rng.standard_normal((int(rng.integers(0, 5)), 2, *rng.integers(3, 9, 2))))
    x = LAYOUTS[layout](images.astype(dtype))
    layer = MaxPool2d(kernel, stride, padding) if kind == "max" else AvgPool2d(kernel, stride, padding, seed % 2 == 0)
    mine, right = (outcome(name, layer, [x], seed) for name in ("fast", "windows"))
    same(mine, right)
    assert kind != "max" or (mine[0] == right[0]).all() and ((mine[1] != 0) == (right[1] != 0)).all()


def test_a_nan_passes_on_and_whole_numbers_are_pooled():
    x = np.random.default_rng(1).standard_normal((2, 2, 6, 6)).astype(np.float32)
    x[0, 0, 2, 3] = np.nan
    for layer in (MaxPool2d(2), MaxPool2d(3, 2, 1), AvgPool2d(2)):
        for images in (x, np.nan_to_num(x * 9).astype(int)):
            with use_backend("windows"):
                want = layer(Tensor(images)).numpy()
            with use_backend("fast"):
                np.testing.assert_allclose(layer(Tensor(images)).numpy(), want, rtol=1e-6)


def test_half_precision_and_mixed_inputs_have_the_dtype_of_windows():
    layer = Conv2d(1, 2, 3)
    for x in (Tensor(np.arange(50).reshape(2, 1, 5, 5)), Tensor(np.ones((2, 1, 5, 5)), dtype="float64")):
        with use_backend("windows"):
            want = layer(x)
        with use_backend("fast"):
            got = layer(x)
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-5)


@pytest.fixture
def narrow(monkeypatch):
    """Blocks, chunks and tiles so small that a little image needs many of each."""
    caches = fast.chunks, fast.tiles, fast.sizes, fast._checked
    for name, size in (("BLOCK", 1 << 13), ("CHUNK", 1 << 11), ("COLUMNS", 32), ("SMALL", 1 << 8)):
        monkeypatch.setattr(fast, name, size)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize("dilation", [1, 2])
def test_large_images_are_done_block_by_block_and_tile_by_tile(narrow, dilation):
    x, weight, bias = draw(np.random.default_rng(2), np.float32, (7, 4, 23, 22), (6, 2, 3, 3), (6,))
    settings = {"padding": 1, "groups": 2, "dilation": dilation}
    net = Sequential(Conv2d(4, 6, 3, **settings), ReLU(), MaxPool2d(2))
    assert len(fast.split(22 * 7, fast.COLUMNS)) > 2 and 9 * x.nbytes > 8 * fast.BLOCK
    same(*(outcome(name, convolution(settings), (x, weight, bias), 0) for name in ("fast", "windows")))
    same(*(outcome(name, net, [x], 0) for name in ("fast", "windows")))


def test_tiles_are_small_products_unless_only_slivers_would_be_left():
    for columns, lines, depth, least, width in (
        (1024, 32, 144, 64, 128),
        (1024, 32, 400, 64, 64),
        (4096, 64, 288, 64, 1024),
        (1024, 16, 27, 64, 1024),
        (1024, 72, 16, 512, 512),
        (1024, 144, 32, 512, 1024),
    ):
        found = fast.tiles(columns, lines, depth, least)
        assert found == [slice(a, a + width) for a in range(0, columns, width)], (lines, depth)
    assert fast.tiles(0, 0, 0) == [] and fast.tiles(100, 0, 5) == [slice(0, 100)]


@pytest.mark.parametrize(("stride", "dilation", "groups", "phases"), [(1, 1, 1, 2), (3, 1, 2, 1), (2, 2, 1, 2)])
def test_unfolding_without_padding_is_one_copy_of_the_same_numbers(stride, dilation, groups, phases):
    (x,) = draw(np.random.default_rng(3), np.float32, (5, 4, 13, 14))
    s = fast.sizes(x.shape, (2, 4 // groups, 3, 2), (stride,) * 2, (0, 0), (dilation,) * 2, groups, phases)
    for first, last in ((0, s.ho), (1, s.ho - 1)):
        args = fast.to_hcwn(x), s, first, last
        np.testing.assert_array_equal(fast.unfold_inside(*args), fast.unfold(*args))


@pytest.mark.parametrize("images", [1, 15, 16, 37])
def test_rows_are_reordered_whole_whatever_the_number_of_images(images):
    (x,) = draw(np.random.default_rng(4), np.float32, (images, 3, 9, 160))
    rows = fast.to_hcwn(x)
    assert rows.flags.c_contiguous and x.nbytes * 4 > fast.SMALL
    np.testing.assert_array_equal(rows, x.transpose(2, 1, 3, 0))


# The fused block


@given(SETTINGS, DTYPES, SEEDS, st.sampled_from([0, 1, 3, 16]))
def test_the_fused_block_equals_its_three_layers(settings, dtype, seed, images):
    rng = np.random.default_rng(seed)
    g, (cg, og, k) = settings["groups"], map(int, rng.integers(1, 4, 3))
    layers = Conv2d(cg * g, og * g, k, bias=seed % 4 > 0, **settings), ReLU(), MaxPool2d(2)
    net = Sequential(*layers).astype(dtype)
    for parameter in net.parameters():
        parameter.data = rng.standard_normal(parameter.shape).astype(dtype)
    (x,) = draw(rng, dtype, (images, cg * g, *rng.integers(10, 14, 2)))

    def one_by_one(x):
        for layer in layers:
            x = layer(x)
        return x

    def both(name, run):
        net.zero_grad()
        return outcome(name, run, [x], seed) + [p.grad for p in net.parameters()]

    fused = both("fast", net)
    same(fused, both("fast", one_by_one))
    same(fused, both("windows", net))


# Four products for two pixels


@pytest.mark.parametrize(("pooled", "clipped"), [(False, False), (True, False), (True, True)])
@given(PAIR(st.integers(1, 4), st.integers(0, 3), st.integers(0, 2)), DTYPES, SEEDS, st.integers(1, 6), st.booleans())
def test_four_products_for_two_pixels_equal_windows(pooled, clipped, kernel, dtype, seed, images, blocks):
    rng, (kh, ph, pw) = np.random.default_rng(seed), kernel
    channels, out, height, width = map(int, rng.integers((1, 1, 5, 5), (5, 5, 9, 10)))
    shapes = (images, channels, height, width), (out, channels, kh, 3), (out,)
    layout = LAYOUTS[sorted(LAYOUTS)[seed % len(LAYOUTS)]]
    x, weight, bias = draw(rng, dtype, *shapes)
    arrays = (layout(x), weight, bias) if seed % 3 else (layout(x), weight)
    s = fast.sizes(x.shape, weight.shape, (1, 1), (min(ph, kh - 1), pw))

    def mine(x, weight, bias=None):
        return winograd.convolve_pairs(x, weight, bias, s, pooled, clipped)

    def right(x, weight, bias=None):
        out = backend.kernel("conv2d")(x, weight, bias, padding=(s.ph, s.pw))
        out = relu(out) if clipped else out
        return backend.kernel("max_pool2d")(out, 2) if pooled else out

    with pytest.MonkeyPatch.context() as patch:
        if blocks:  # one image and few rows at a time
            patch.setattr(winograd, "COLUMNS", 1)
            patch.setattr(winograd, "PART", 1)
        found = outcome("windows", mine, arrays, seed)
    same(found, outcome("windows", right, arrays, seed))


def test_who_convolves_by_pairs():
    x, conv = Tensor(np.random.default_rng(0).standard_normal((16, 32, 8, 8))), Conv2d(32, 64, 3, padding=1)
    with use_backend("fast"):
        whole = conv(x).max().item()
        for net, count in ((Sequential(conv, MaxPool2d(2)), 1), (Sequential(conv, ReLU(), MaxPool2d(2)), 2)):
            assert len(list(net.plan())) == 1
            out = net(x)
            assert out.grad_fn[0] is winograd.convolve_pairs and out.max().item() == pytest.approx(whole), count
            assert net(x[0]).shape == (64, 4, 4)
    with use_backend("windows"):
        np.testing.assert_allclose(out.numpy(), net(x).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("clipped", [False, True])
def test_pairs_leave_what_arrives_as_it_is(clipped):
    x, weight, upstream = draw(np.random.default_rng(0), np.float64, (4, 2, 6, 6), (3, 2, 3, 3), (4, 3, 3, 3))
    upstream, before = LAYOUTS["rows"](upstream), upstream.copy()
    s = fast.sizes(x.shape, weight.shape, (1, 1), (1, 1))
    x = Tensor(x, dtype=x.dtype, requires_grad=True)
    winograd.convolve_pairs(x, Tensor(weight, dtype=x.dtype), None, s, True, clipped).backward(upstream)
    np.testing.assert_array_equal(upstream, before)


@pytest.mark.parametrize("layers", [(), (MaxPool2d(2),), (ReLU(), MaxPool2d(2))], ids=len)
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_numbers_without_end_go_another_way(value, layers):
    x = np.ascontiguousarray(np.random.default_rng(0).standard_normal((8, 12, 64, 24)).astype("float32"))
    x[3, 4, 5, 6] = value
    net = Sequential(Conv2d(64, 64, 3, padding=1), *layers)
    found = []
    for name in ("fast", "windows"):
        with use_backend(name), np.errstate(invalid="ignore"):
            found.append(net(Tensor(x.transpose(3, 2, 0, 1))).numpy())
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-4)


def steps(*layers):
    """How many functions a chain calls on the fast backend."""
    with use_backend("fast"):
        return len(list(Sequential(*layers).plan()))


def test_sequential_fuses_what_it_may_and_nothing_else():
    conv, pool = Conv2d(1, 1, 3), MaxPool2d(2)
    assert steps(conv, ReLU(), pool) == steps(conv, relu, pool) == 1
    assert steps(ReLU(), conv, ReLU(), pool, conv, ReLU(), pool, ReLU()) == 4
    kept = [(conv, pool), (conv, ReLU()), (conv, Sigmoid(), pool), (conv, ReLU(), ReLU(), pool)]
    kept += [(conv, ReLU(), other) for other in (MaxPool2d(3), MaxPool2d(2, 1), MaxPool2d(2, 2, 1), AvgPool2d(2))]
    kept += [(Conv2d(1, 1, 2, padding="same"), ReLU(), pool), (conv, ReLU(), type("Own", (MaxPool2d,), {})(2))]
    assert [steps(*layers) for layers in kept] == [len(layers) for layers in kept]
    assert steps(Conv2d(1, 1, 3, padding="same"), ReLU(), pool) == 1
    for name in ("windows", "loops"):
        with use_backend(name):
            assert len(list(Sequential(conv, ReLU(), pool).plan())) == 3


class Doubled(Conv2d):
    def forward(self, x):
        return super().forward(x) * 2


class Louder(ReLU):
    def __call__(self, x):
        return super().__call__(x) * 2


def own_forward(layer):
    """The layer with a forward of its own, put there by hand."""
    usual = layer.forward
    layer.forward = lambda x: usual(x) * 2
    return layer


def own_function(layer):
    layer.function = lambda x: relu(x) * 2
    return layer


@pytest.mark.parametrize(
    "layers",
    [
        lambda: (Doubled(1, 1, 1), ReLU(), MaxPool2d(2)),
        lambda: (own_forward(Conv2d(1, 1, 1)), ReLU(), MaxPool2d(2)),
        lambda: (Conv2d(1, 1, 1), Louder(), MaxPool2d(2)),
        lambda: (Conv2d(1, 1, 1), own_function(ReLU()), MaxPool2d(2)),
        lambda: (Conv2d(1, 1, 1), ReLU(), own_forward(MaxPool2d(2))),
    ],
)
def test_what_a_user_changed_in_a_layer_runs(layers):
    net = Sequential(*layers())
    net[0].weight.data[:] = 1
    for mode in (True, False):
        net.train(mode)
        with use_backend("fast"):
            assert net(Tensor(np.ones((1, 1, 2, 2)))).item() == 2


@pytest.mark.parametrize(
    ("kind", "name"), [(Conv2d, "forward"), (MaxPool2d, "forward"), (Module, "__call__"), (ReLU, "__call__")]
)
def test_what_a_user_put_in_the_place_of_a_method_runs(kind, name, monkeypatch):
    net, called, usual = Sequential(Conv2d(1, 1, 1), ReLU(), MaxPool2d(2)), [], getattr(kind, name)

    @functools.wraps(usual)
    def hooked(self, x):
        called.append(type(self))
        return usual(self, x)

    with use_backend("fast"):
        net(Tensor(np.ones((1, 1, 2, 2))))
        monkeypatch.setattr(kind, name, hooked)
        net(Tensor(np.ones((1, 1, 2, 2))))
        monkeypatch.undo()
        assert set(called) & {Conv2d, MaxPool2d, ReLU}
        assert len(list(net.train().plan())) == len(list(net.eval().plan())) == 1


STRANGE = [(2, 4, 9, 9), (4, 3, 9), (2, 9, 9, 3), (9, 9), (2, 3, 2, 2), (2, 3, 3, 3), (3, 9, 9)]


@pytest.mark.parametrize("shape", STRANGE)
def test_messages_and_single_images_are_those_of_windows(shape):
    net, x, seen = Sequential(Conv2d(3, 2, 3), ReLU(), MaxPool2d(2)), Tensor(np.ones(shape)), []
    for name in ("fast", "windows"):
        with use_backend(name):
            try:
                seen.append(net(x).numpy().round(4).tolist())
            except ValueError as error:
                seen.append(str(error))
    assert seen[0] == seen[1]


def test_a_second_upstream_through_the_same_graph():
    manual_seed(1)
    net = Sequential(Conv2d(2, 3, 3), ReLU(), MaxPool2d(2))
    x = Tensor(np.random.default_rng(3).standard_normal((2, 2, 6, 6)), requires_grad=True)
    with use_backend("fast"):
        out = net(x)
    ones = np.ones(out.shape, np.float32)
    out.backward(ones, retain_graph=True)
    first = x.grad.copy(), net[0].weight.grad.copy(), net[0].bias.grad.copy()
    out.backward(2 * ones)
    for tensor, grad in zip((x, net[0].weight, net[0].bias), first, strict=True):
        np.testing.assert_allclose(tensor.grad, 3 * grad, rtol=1e-5, atol=1e-5)


def test_a_refilled_upstream_gives_its_own_gradient():
    net, seen = Sequential(Conv2d(1, 1, 1), ReLU(), MaxPool2d(2)), {}
    for name in ("fast", "windows"):
        net[0].weight.data[:], net[0].bias.data[:] = 1, 0
        net.zero_grad()
        x = Tensor(np.arange(16.0).reshape(1, 1, 4, 4), requires_grad=True)
        with use_backend(name):
            out, buffer = net(x), np.ones((1, 1, 2, 2), np.float32)
            for factor in (1, 10, 100):
                buffer[...] = factor
                out.backward(buffer, retain_graph=True)
        seen[name] = [x.grad, *(p.grad for p in net.parameters())]
        assert x.grad.max() == 111
    same(seen["fast"], seen["windows"])


@pytest.mark.parametrize("walks", [("x weight", "bias"), ("weight", "bias"), ("x", "weight bias"), ("weight", "x")])
def test_what_one_walk_left_is_not_handed_to_another(walks):
    net, x = Sequential(Conv2d(1, 1, 1), ReLU(), MaxPool2d(2)), Tensor(np.ones((1, 1, 2, 2)), requires_grad=True)
    net[0].weight.data[:] = 1
    leaves, buffer = {"x": x, "weight": net[0].weight, "bias": net[0].bias}, np.empty((1, 1, 1, 1), np.float32)
    with use_backend("fast"):
        out = net(x)
    for factor, wanted in zip((1, 5), walks, strict=True):
        for name, tensor in leaves.items():
            tensor.requires_grad, tensor.grad = name in wanted, None
        buffer[:] = factor
        out.backward(buffer, retain_graph=True)
        assert {n: t.grad.max() for n, t in leaves.items() if t.grad is not None} == dict.fromkeys(
            wanted.split(), factor
        )


@pytest.mark.parametrize("name", ["conv2d", "max_pool2d"])
def test_another_kernel_is_called(name):
    net, kernels = Sequential(Conv2d(1, 1, 1), ReLU(), MaxPool2d(2)), dict(fast.backends.table["fast"])
    net[0].weight.data[:] = 1
    usual = kernels[name]
    kernels[name] = lambda *inputs: usual(*inputs) * 2
    with use_backend("fast", kernels):
        assert net(Tensor(np.ones((1, 1, 2, 2)))).item() == 2


def test_only_what_is_wanted_of_the_block_changes_from_walk_to_walk():
    net, x = Sequential(Conv2d(1, 1, 1), ReLU(), MaxPool2d(2)), Tensor(np.ones((1, 1, 2, 2)), requires_grad=True)
    net[0].weight.data[:] = 1
    with use_backend("fast"):
        out = net(x)
    for factor, wants_x in ((1, True), (2, False), (4, True)):
        x.requires_grad = wants_x
        out.backward(np.full(out.shape, factor, np.float32), retain_graph=True)
    assert x.grad.max() == 5 and net[0].weight.grad.item() == 7 and net[0].bias.grad.item() == 7


@pytest.mark.parametrize("make, shape", [(SimpleCNN, (3, 3, 32, 32)), (digits_cnn, (5, 1, 8, 8))])
def test_networks_give_the_same_with_and_without_recording(make, shape):
    manual_seed(0)
    net, x = make(), np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    same(*(outcome(name, net, [x], 5) for name in ("fast", "windows")))
    with use_backend("fast"), no_grad():
        quiet = net(Tensor(x))
    with use_backend("windows"):
        assert quiet.grad_fn is None
        np.testing.assert_allclose(quiet.numpy(), net(Tensor(x)).numpy(), atol=1e-5)


# Which backend


def test_an_engine_that_is_not_finished_serves_nobody(monkeypatch):
    def unwritten(*inputs):
        raise NotImplementedError

    monkeypatch.setattr(fast, "conv_relu_pool", unwritten)
    assert fast.self_check().keys() == {"conv2d", "max_pool2d", "avg_pool2d"}
    monkeypatch.setattr(fast, "pool_cells", lambda cells, out, left, top: out.fill(0))
    assert fast.self_check() == {}
    monkeypatch.setattr(fast, "unfold", unwritten)
    monkeypatch.delitem(BACKENDS, "fast")
    fast.register_fast()
    assert "fast" not in BACKENDS
    missing = "there is no backend 'fast': tinytorch.core.fast is not there, or not finished"
    with pytest.raises(ValueError, match=missing):
        resolve("fast")


def test_layers_ask_the_backend_in_force(monkeypatch):
    called = []
    monkeypatch.setitem(BACKENDS["fast"], "fuse", lambda layer, rest: called.append(len(rest)))
    net = Sequential(Conv2d(1, 1, 1), ReLU(), MaxPool2d(2))
    for name in ("windows", "fast"):
        with use_backend(name):
            net(Tensor(np.ones((1, 1, 2, 2))))
    assert called == [2]


# Cached memory


SHAPES = [(3, 64, 32, 32), (200, 200), (70000,), (2, 5)]
ACTIONS = st.lists(st.tuples(st.sampled_from(SHAPES), st.sampled_from(["keep", "view", "drop", "forget"])), max_size=25)


@given(ACTIONS)
def test_memory_in_use_is_never_lent(actions):
    held = []
    for number, (shape, action) in enumerate(actions):
        array = fast.empty_cached(shape, np.dtype(np.float32))
        array.fill(number)
        if action in ("keep", "view"):
            held.append((number, array[-1:].T[::3] if action == "view" else array))
        if action == "forget" and held:
            held.pop(number % len(held))
        del array
        assert all((kept == value).all() for value, kept in held)


def test_memory_that_nobody_uses_is_lent_again_and_never_hoarded():
    shape, dtype = (300, 1000), np.dtype(np.float32)
    first = fast.empty_cached(shape, dtype)
    address = first.ctypes.data
    view = first[5:, ::2]
    del first
    assert fast.empty_cached(shape, dtype).ctypes.data != address
    del view
    assert address in {array.ctypes.data for array in [fast.empty_cached(shape, dtype) for _ in range(30)]}
    for exponent in range(20, 30):
        fast.empty_cached((1 << exponent,), np.dtype(bool))
    fast.make_room()
    assert sum(size * count for size, count in fast.workspaces().items()) <= fast.KEEP


def test_a_huge_step_leaves_no_more_than_a_usual_one():
    conv = Conv2d(16, 32, 3, padding=1)
    x = Tensor(np.zeros((64, 16, 96, 96), np.float32), requires_grad=True)
    with use_backend("fast"):
        out = conv(x)
        out.backward(np.zeros(out.shape, np.float32))
    del out
    assert sum(size * count for size, count in fast.workspaces().items()) <= fast.KEEP


def test_results_of_earlier_steps_stay_as_they_were():
    manual_seed(0)
    net, rng = SimpleCNN(), np.random.default_rng(6)
    batches = [rng.standard_normal((16, 3, 32, 32)).astype(np.float32) for _ in range(5)]
    with use_backend("fast"):
        results = []
        for x in batches:
            net.zero_grad()
            features = net.features(Tensor(x, requires_grad=True))
            features.backward(np.ones(features.shape, np.float32))
            kept = [features.numpy(), *(p.grad for p in net.convolutions.parameters())]
            results.append((kept, [a.copy() for a in kept]))
    assert all((a == b).all() for kept, copies in results for a, b in zip(kept, copies, strict=True))


def test_threads_do_not_share_memory():
    conv, wrong = Conv2d(3, 8, 3, padding=1), []
    inputs = [Tensor(np.random.default_rng(i).standard_normal((16, 3, 32, 32))) for i in range(3)]

    def work(x, want):
        wrong.extend(1 for _ in range(8) if not (conv(x).numpy() == want).all())

    with use_backend("fast"):
        threads = [threading.Thread(target=work, args=(x, conv(x).numpy().copy())) for x in inputs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("in_rows", [True, False])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((3, 3), (2, 2), (1, 1)), ((2, 4), (1, 3), (1, 2)), ((5, 1), (1, 1), (2, 0)), ((7, 6), (2, 1), (0, 3))],
)
def test_max_pooling_in_two_passes_gives_ties_to_the_first_in_reading_order(kernel, stride, padding, in_rows, dtype):
    rng = np.random.default_rng(7)
    images = rng.integers(-2, 3, (3, 2, 9, 8)).astype(dtype)
    images = fast.as_images(np.ascontiguousarray(fast.as_rows(images))) if in_rows else images
    seen = []
    for name in ("fast", "windows"):
        x = Tensor(images, dtype=dtype, requires_grad=True)
        with use_backend(name):
            out = backend.kernel("max_pool2d")(x, kernel, stride, padding)
        out.backward(np.random.default_rng(8).integers(1, 9, out.shape))
        seen.append([out.data, x.grad])
    assert all(np.array_equal(mine, right) for mine, right in zip(*seen, strict=True))
