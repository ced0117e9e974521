"""Convolution: sizes, messages, values and gradients; windows held equal to the seven loops."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch.core.autograd import gradcheck, numeric_gradient
from tinytorch.core.spatial import (
    Conv2D,
    Conv2d,
    check_images,
    conv2d,
    conv2d_loops,
    conv2d_loops_backward,
    fold,
    output_size,
    padded,
    pair,
    windows,
)
from tinytorch.core.tensor import Tensor, manual_seed

SETTINGS = st.fixed_dictionaries(
    {
        "stride": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "padding": st.tuples(st.integers(0, 2), st.integers(0, 2)),
        "dilation": st.tuples(st.integers(1, 2), st.integers(1, 2)),
    }
)


def arrays(seed, images, groups, per_group, size, kernel, dtype=np.float32):
    """Random x, weight and bias for `per_group` input and two output channels a group."""
    rng = np.random.default_rng(seed)
    shapes = (images, per_group * groups, *size), (2 * groups, per_group, *kernel), (2 * groups,)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize(
    ("x", "kernel", "expected"),
    [
        ([[1, 2, 3, 4], [5, 6, 7, 8], [9, 0, 1, 2]], np.eye(2), [[7, 9, 11], [5, 7, 9]]),
        (
            [[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]] * 2 + [[1, 2, 3, 4, 5]],
            [[1, 0, -1]] * 3,
            [[-6, -6, 4], [-6, -6, 14], [-6, -6, 4]],
        ),
        ([[7]], [[3]], [[21]]),
    ],
)
def test_small_examples(x, kernel, expected):
    x, kernel = (np.array(a, np.float32)[None, None] for a in (x, kernel))
    assert np.array_equal(conv2d(Tensor(x), Tensor(kernel)).numpy()[0, 0], expected)
    assert np.array_equal(conv2d_loops(x, kernel)[0][0, 0], expected)


def test_multiply_accumulates_of_the_large_example_and_a_counted_one():
    side = output_size(224, 3, padding=1)
    assert 32 * 64 * side * side * 3 * 3 * 3 == 2_774_532_096
    x, weight, bias = arrays(0, 2, 2, 3, (5, 6), (2, 3))
    out, macs = conv2d_loops(x, weight, bias, stride=2, padding=1, groups=2)
    assert macs == out.size * x.shape[1] * 2 * 3, "the zeros of the other group are multiplied, too"


@given(
    seed=st.integers(0, 9), images=st.integers(0, 2), groups=st.integers(1, 2), per_group=st.integers(1, 2),
    size=st.tuples(st.integers(5, 7), st.integers(5, 7)), kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    settings=SETTINGS, dtype=st.sampled_from([np.float32, np.float64]), order=st.permutations(range(4)),
)  # fmt: skip
def test_windows_equal_loops(seed, images, groups, per_group, size, kernel, settings, dtype, order):
    x, weight, bias = arrays(seed, images, groups, per_group, size, kernel, dtype)
    expected, macs = conv2d_loops(x, weight, bias, groups=groups, **settings)
    x = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))  # another memory order
    got = conv2d(Tensor(x, dtype), Tensor(weight, dtype), Tensor(bias, dtype), groups=groups, **settings).numpy()
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype == dtype
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, settings["dilation"], strict=True)]
    assert macs == expected.size * groups * per_group * reach[0] * reach[1]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 if dtype == np.float32 else 1e-10)


@pytest.mark.parametrize("seed", range(8))
def test_gradients_of_windows_equal_loops(seed):
    rng = np.random.default_rng(seed)
    groups, images = 1 + seed % 2, seed % 4
    settings = {"stride": (1 + seed % 3, 1), "padding": (seed % 3, 1), "dilation": (1, 1 + seed % 2)}
    x, weight, bias = arrays(seed, images, groups, 2, (6, 7), (2, 3), np.float64)
    tensors = [Tensor(a, np.float64, requires_grad=True) for a in (x[:, :, ::-1], weight, bias)]
    out = conv2d(*tensors, groups=groups, **settings)
    upstream = rng.standard_normal(out.shape[::-1]).T
    out.backward(upstream)
    expected = conv2d_loops_backward(upstream, x[:, :, ::-1], weight, groups=groups, **settings)
    for tensor, want in zip(tensors, expected, strict=True):
        np.testing.assert_allclose(tensor.grad, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"stride": 2, "padding": 1},
        {"stride": (1, 2), "padding": (2, 0), "dilation": (2, 1)},
        {"groups": 2, "padding": (0, 1)},
    ],
)
def test_gradients_equal_central_differences(settings):
    x, weight, bias = arrays(1, 2, settings.get("groups", 1), 2, (5, 4), (2, 3), np.float64)
    assert gradcheck(lambda *inputs: conv2d(*inputs, **settings), x, weight, bias)
    assert gradcheck(lambda *inputs: conv2d(*inputs, None, **settings), x, weight)


def test_loops_backward_equals_central_differences():
    settings = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2}
    x, weight, bias = arrays(2, 2, 2, 1, (4, 5), (3, 2), np.float64)
    out = conv2d_loops(x, weight, bias, **settings)[0]
    upstream = np.random.default_rng(3).standard_normal(out.shape)
    got = conv2d_loops_backward(upstream, x, weight, **settings)
    for which in range(3):
        want = numeric_gradient(
            lambda *inputs: conv2d_loops(*inputs, **settings)[0], (x, weight, bias), which, upstream
        )
        np.testing.assert_allclose(got[which], want, atol=1e-6)


@given(seed=st.integers(0, 99), size=st.tuples(st.integers(6, 9), st.integers(6, 9)), settings=SETTINGS)
def test_fold_is_the_adjoint_of_windows(seed, size, settings):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, 3, *size))
    view = windows(padded(x, settings["padding"]), (3, 2), settings["stride"], settings["dilation"])
    pieces = rng.standard_normal(view.shape)
    assert np.vdot(view, pieces) == pytest.approx(np.vdot(x, fold(pieces, x.shape, **settings)))


def test_windows_are_a_read_only_view():
    x = np.zeros((2, 3, 8, 8), np.float32)
    view = windows(x, (3, 3), (2, 1), (1, 2))
    assert np.shares_memory(view, x)
    assert not view.flags.writeable


@given(
    size=st.integers(1, 40),
    kernel=st.integers(1, 9),
    stride=st.integers(1, 5),
    padding=st.integers(0, 4),
    dilation=st.integers(1, 3),
)
def test_output_size_counts_the_windows(size, kernel, stride, padding, dilation):
    starts = range(0, size + 2 * padding - dilation * (kernel - 1), stride)
    if starts:
        assert output_size(size, kernel, stride, padding, dilation) == len(starts)
    else:
        formula = f"({size} + 2*{padding} - {dilation}*({kernel} - 1) - 1) // {stride} + 1 = "
        with pytest.raises(ValueError, match=re.escape(formula) + r"(0|-\d+)\b"):
            output_size(size, kernel, stride, padding, dilation)


def test_pair():
    assert pair(3) == pair((3, 3)) == pair(np.array([3, 3])) == pair(np.int64(3)) == (3, 3)
    for wrong in ((1, 2, 3), (), "3", 1.5, True, None, -1, [1, -1]):
        with pytest.raises(ValueError, match=f"stride.*{re.escape(str(wrong))}"):
            pair(wrong, "stride")


LAYER_MESSAGES = {
    r"kernel_size.*0": dict(kernel_size=0),
    r"stride.*\(1, 0\)": dict(kernel_size=3, stride=(1, 0)),
    r"dilation.*-1": dict(kernel_size=3, dilation=-1),
    r'padding \(in numbers, or "same" or "valid"\).*-1': dict(kernel_size=3, padding=-1),
    r'padding \(in numbers, or "same" or "valid"\).*full': dict(kernel_size=3, padding="full"),
    r"groups must divide both channel counts, 4 and 6, got 3": dict(kernel_size=3, groups=3),
    r"groups must divide both channel counts, 4 and 6, got 4": dict(kernel_size=3, groups=4),
    r"groups.*0": dict(kernel_size=3, groups=0),
    r"padding='same' keeps the size, so it needs stride 1, got \(2, 2\)": dict(kernel_size=3, padding="same", stride=2),
}


@pytest.mark.parametrize("message", LAYER_MESSAGES)
def test_impossible_settings_fail_at_once(message):
    with pytest.raises(ValueError, match=message):
        Conv2d(4, 6, **LAYER_MESSAGES[message])


@pytest.mark.parametrize("channels", [0, -2, 1.5, (3, 4)])
def test_impossible_channels_fail_at_once(channels):
    with pytest.raises(ValueError, match="in_channels"):
        Conv2d(channels, 6, 3)


INPUT_MESSAGES = {
    r"expected 3 channels, got 4.*\(2, 4, 8, 8\)": (2, 4, 8, 8),
    r"NHWC.*x\.transpose\(0, 3, 1, 2\)": (2, 8, 8, 3),
    r"NHWC.*x\.transpose\(2, 0, 1\)": (8, 8, 3),
    r"(?=.*\(B, C, H, W\)).*\(8, 8\)": (8, 8),
    r"(?=.*\(B, C, H, W\)).*\(1, 1, 3, 8, 8\)": (1, 1, 3, 8, 8),
    r"\(2 \+ 2\*0 - 2\*\(3 - 1\) - 1\) // 1 \+ 1 = -2": (2, 3, 2, 8),
}


@pytest.mark.parametrize("message", INPUT_MESSAGES)
def test_wrong_input_says_what_and_how_to_mend_it(message):
    with pytest.raises(ValueError, match=message):
        Conv2d(3, 4, 3, dilation=2)(Tensor(np.zeros(INPUT_MESSAGES[message])))


def test_the_function_checks_too():
    with pytest.raises(ValueError, match="expected 6 channels, got 5"):
        conv2d(Tensor(np.zeros((1, 5, 4, 4))), Tensor(np.zeros((2, 3, 2, 2))), groups=2)
    with pytest.raises(ValueError, match=r"\(3, 3\)"):
        check_images((3, 3))


@pytest.mark.parametrize(
    ("layer", "text"),
    [
        (Conv2d(3, 16, 3, padding=1), "Conv2d(3, 16, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1))"),
        (Conv2d(3, 16, (3, 5), stride=2), "Conv2d(3, 16, kernel_size=(3, 5), stride=(2, 2))"),
        (
            Conv2d(4, 8, 3, padding="same", dilation=2),
            "Conv2d(4, 8, kernel_size=(3, 3), stride=(1, 1), padding=same, dilation=(2, 2))",
        ),
        (
            Conv2d(4, 8, 1, groups=4, bias=False),
            "Conv2d(4, 8, kernel_size=(1, 1), stride=(1, 1), groups=4, bias=False)",
        ),
    ],
)
def test_repr(layer, text):
    assert repr(layer) == text
    assert Conv2D is Conv2d


def test_single_images_empty_batches_and_lost_pixels():
    layer = Conv2d(2, 3, 3, stride=2)
    layer.bias = Tensor([1.0, -2.0, 3.0], requires_grad=True)
    x = np.random.default_rng(4).standard_normal((2, 2, 6, 7)).astype(np.float32)
    batch = layer(Tensor(x)).numpy()
    assert np.allclose(layer(Tensor(x[1])).numpy(), batch[1])
    assert layer(Tensor(x[:0])).shape == (0, 3, 2, 3)
    x[:, :, 5] = np.nan  # the sixth row fills no window of three at stride two
    assert np.array_equal(layer(Tensor(x)).numpy(), batch)


def test_single_image_gradients():
    layer = Conv2d(2, 3, 2, padding="same").astype(np.float64)
    x = np.random.default_rng(5).standard_normal((2, 4, 3))
    assert layer(Tensor(x, np.float64)).shape == (3, 4, 3)
    assert gradcheck(layer, x)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_integer_images_give_float32(dtype):
    x = np.random.default_rng(6).integers(0, 256, (2, 3, 5, 5)).astype(dtype)
    layer = Conv2d(3, 2, 3)
    out = layer(Tensor(x))
    assert out.dtype == np.float32
    np.testing.assert_allclose(out.numpy(), layer(Tensor(x.astype(np.float32))).numpy(), rtol=1e-4, atol=1e-2)


def test_initial_weights_are_he_normal_and_seeded():
    manual_seed(3)
    layer = Conv2d(8, 64, (3, 5), groups=2)
    weight = layer.weight.numpy()
    assert weight.std() == pytest.approx((2 / (4 * 3 * 5)) ** 0.5, rel=0.05)
    assert abs(weight.mean()) < 0.01
    assert not layer.bias.numpy().any()
    manual_seed(3)
    assert np.array_equal(Conv2d(8, 64, (3, 5), groups=2).weight.numpy(), weight)


def test_backward_twice_with_retained_graph():
    x, weight, bias = (Tensor(a, requires_grad=True) for a in arrays(7, 2, 1, 2, (4, 4), (2, 2)))
    out = conv2d(x, weight, bias).sum()
    out.backward(retain_graph=True)
    once = weight.grad.copy()
    out.backward()
    np.testing.assert_allclose(weight.grad, 2 * once, rtol=1e-6)
