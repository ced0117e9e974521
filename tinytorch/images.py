"""What convolution and pooling need besides their mathematics: checks, frames, the settings of layers. Given, not taught.

`spatial_dev.ipynb` imports from here what its lesson uses and does not explain. What runs over windows is the lesson's
own and is passed in.
"""

import functools
import math
import operator

import numpy as np

from tinytorch.core.autograd import gradient
from tinytorch.core.layers import Module
from tinytorch.core.tensor import Tensor, as_array, operation
from tinytorch.refusals import switch

# Arguments


def pair(value, name="value", minimum=0):
    """One whole number, or two, as a tuple (vertical, horizontal) of ints.

    value: an int, or a tuple, list or array of two ints; name: how messages call it; minimum: the least that is allowed
    Raises ValueError for anything else; the message holds the name and the value that was given.
    """
    if type(value) is int and value >= minimum:
        return value, value  # as most are, in a tenth of the time
    several = isinstance(value, tuple | list) or isinstance(value, np.ndarray) and value.ndim == 1
    values = tuple(value) if several else (value, value)
    try:
        values = tuple(-1 if isinstance(v, bool) else operator.index(v) for v in values)
    except TypeError:
        values = ()
    if len(values) != 2 or min(values) < minimum:
        raise ValueError(f"{name} must be a whole number of at least {minimum}, or a pair of them, got {value!r}")
    return values


def one(value, name):
    """A whole number from 1 on, of any kind, as an int; ValueError, as in `pair`, for anything else."""
    if isinstance(value, tuple | list) or isinstance(value, np.ndarray) and value.ndim:
        raise ValueError(f"{name} must be one whole number, got {value!r}")
    return pair(value, name, 1)[0]


def statistics(x):
    """Mean and variance of each channel of images (B, C, H, W), floats: (C,) each, in their dtype.

    The sums are those of float64: a mean that is off by a digit of float32 makes noise of a constant channel.
    """
    mean = np.mean(x, (0, 2, 3), np.float64, keepdims=True).astype(x.dtype)
    return mean.ravel(), np.var(x, (0, 2, 3), mean=mean)


def as_float(array):
    """The array itself if it holds floats; integers and booleans, which have no fractions, as float32."""
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
        array = as_array(array)  # which says what is wrong with it, if anything is
    return array if array.dtype.kind == "f" else array.astype(np.float32)


def check_images(shape, channels=None):
    """Raise ValueError unless shape is (B, C, H, W) or (C, H, W) with C == channels (None: any number).

    The message names what was given and expected; for channels-last input it shows the transpose that helps.
    """
    if len(shape) not in (3, 4):
        raise ValueError(
            f"expected images (B, C, H, W), or a single one (C, H, W), got {len(shape)} axes in {shape}: "
            "add or remove axes with reshape"
        )
    if channels is not None and shape[-3] != channels:
        message = f"expected {channels} channels, got {shape[-3]} in {shape}"
        if shape[-1] == channels:
            axes = "0, 3, 1, 2" if len(shape) == 4 else "2, 0, 1"
            raise ValueError(f"{message}: this looks like NHWC, channels last: x.transpose({axes})")
        raise ValueError(f"{message}: the channels are axis {len(shape) - 3}; in_channels must equal their number")


def check_batch(shape):
    """Raise ValueError for a single image: functions take batches, layers take both."""
    if len(shape) == 3:
        raise ValueError(f"expected a batch (B, C, H, W), got {shape}: x.reshape(1, *x.shape), or use the layer")


def check_conv(x_shape, weight_shape, bias_shape, groups):
    """Raise ValueError unless a batch (B, C, H, W), the weights (O, C // groups, kh, kw) and the bias go together."""
    if len(weight_shape) != 4 or not all(weight_shape):
        raise ValueError(f"expected weights (O, C // groups, kh, kw), none of them 0, got {weight_shape}: reshape them")
    if weight_shape[0] % one(groups, "groups"):
        raise ValueError(f"groups must be one number that divides {weight_shape[0]} output channels, got {groups!r}")
    check_images(x_shape, weight_shape[1] * groups)
    check_batch(x_shape)
    if bias_shape not in (None, weight_shape[:1]):
        raise ValueError(f"expected a bias {weight_shape[:1]}, one number per output channel, got {bias_shape}")


def conv_arrays(x, weight, bias, groups):
    """Images and weights as arrays of floats, after checking that they go together."""
    x, weight = as_float(x), as_float(weight)
    check_conv(x.shape, weight.shape, bias if bias is None else np.shape(bias), groups)
    return x, weight


def conv_settings(x, weight, bias, stride, padding, dilation, groups):
    """(x, weight, stride, padding, dilation) of a convolution: arrays of floats and pairs, after checking everything."""
    x, weight = conv_arrays(x, weight, bias, groups)
    return x, weight, pair(stride, "stride", 1), pair(padding, "padding"), pair(dilation, "dilation", 1)


def check_pool_padding(kernel, padding):
    """Raise ValueError if a window could lie in the frame alone: padding is at most half of the kernel."""
    if 2 * padding[0] > kernel[0] or 2 * padding[1] > kernel[1]:
        raise ValueError(f"padding may be at most half of the kernel, got {padding} for {kernel}: make it smaller")


def pool_settings(x, kernel_size, stride, padding):
    """kernel, stride (None: the kernel) and padding as pairs, after checking them and the images."""
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "biuf":
        raise TypeError(f"expected an array of real numbers, got {x!r:.60}: pass a tensor or an array")
    check_images(x.shape)
    check_batch(x.shape)
    kernel, padding = pair(kernel_size, "kernel_size", 1), pair(padding, "padding")
    check_pool_padding(kernel, padding)
    return kernel, kernel if stride is None else pair(stride, "stride", 1), padding


# Frames and kernels


def padded(x, padding, value=0):
    """Images in a frame: (B, C, H, W) becomes (B, C, H + 2 * vertical, W + 2 * horizontal).

    padding: (vertical, horizontal), pixels added on each side; value: what the frame holds. The dtype stays.
    Without padding, x itself comes back.
    """
    vertical, horizontal = padding
    if not vertical and not horizontal:
        return x
    images, channels, height, width = x.shape
    out = np.full((images, channels, height + 2 * vertical, width + 2 * horizontal), value, x.dtype)
    out[:, :, vertical : vertical + height, horizontal : horizontal + width] = x
    return out


def lowest(dtype):
    """The frame's value in max pooling, which loses against every number."""
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min if dtype.kind in "iu" else False


def _places(shape, dilation, groups):
    """Where the pixels of kernels (O, C // groups, kh, kw) stand in widened ones seen as (O, groups, C // groups, ...)."""
    kernels = np.arange(shape[0])
    return (
        kernels,
        kernels * groups // shape[0],
        slice(None),
        slice(None, None, dilation[0]),
        slice(None, None, dilation[1]),
    )


def _wide(shape, dilation, groups):
    reach = (d * (k - 1) + 1 for k, d in zip(shape[2:], dilation, strict=True))
    return (shape[0], groups, shape[1], *reach)


def widened(weight, dilation=(1, 1), groups=1):
    """Kernels (O, C // groups, kh, kw) as kernels (O, C, reach down, reach across) that need neither setting.

    Between a dilated kernel's pixels, and for the channels of other groups, stand zeros.
    """
    out = np.zeros(_wide(weight.shape, dilation, groups), weight.dtype)
    out[_places(weight.shape, dilation, groups)] = weight
    return out.reshape(len(weight), -1, *out.shape[3:])


def narrowed(wide, shape, dilation=(1, 1), groups=1):
    """What stands in the places of the kernels' own pixels: the opposite of widened. shape: (O, C // groups, kh, kw)."""
    return wide.reshape(_wide(shape, dilation, groups))[_places(shape, dilation, groups)]


def weight_matrix(weight, groups):
    """The kernels as rows of one matrix per group: (groups, O // groups, C // groups * kh * kw)."""
    return weight.reshape(groups, len(weight) // groups, math.prod(weight.shape[1:]))


def grad_matrix(upstream, groups):
    """(B, O, H, W) as (groups, O // groups, B * H * W): one row per output channel, in the columns' order."""
    images, channels, height, width = upstream.shape
    return upstream.transpose(1, 0, 2, 3).reshape(groups, channels // groups, images * height * width)


def half_as_single(function):
    """The function, but float16 is reckoned in float32 and rounded at the end: sums of many pixels would leave its range."""

    @functools.wraps(function)
    def run(*inputs):
        dtypes = {v.dtype for v in inputs if np.ndim(v) == 4 and isinstance(v, np.ndarray)}
        if np.dtype(np.float16) not in dtypes:
            return function(*inputs)
        result = function(*(v.astype(np.float32) if np.ndim(v) == 4 and v.dtype == np.float16 else v for v in inputs))
        return result if len(dtypes) > 1 else _as_half(result)

    return run


def _as_half(value):
    """An array as float16; in a tuple, every array."""
    if isinstance(value, tuple):
        return tuple(map(_as_half, value))
    return value.astype(np.float16) if isinstance(value, np.ndarray) else value


# Pooling


def window_pixels(x, i, j, window):
    """The pixels (row, column) of window (i, j) that lie inside the images x (B, C, H, W), in reading order."""
    (kh, kw), (sh, sw), (ph, pw) = window.kernel, window.stride, window.padding
    top, left = i * sh - ph, j * sw - pw
    return [
        (row, column)
        for row in range(max(top, 0), min(top + kh, x.shape[2]))
        for column in range(max(left, 0), min(left + kw, x.shape[3]))
    ]


def counts(x, window, include_pad):
    """How many pixels to divide by: the kernel's size, or for each window (H_out, W_out) the number inside x."""
    if include_pad or window.padding == (0, 0):
        return math.prod(window.kernel)
    return window.view(np.ones((1, 1, *x.shape[2:]), x.dtype))[0, 0].sum(axis=(2, 3))


def without_frame(view, out, x, window):
    """The windows `view` of images whose frame is the lowest number, changed so that no pixel of the frame equals out."""
    if not any(window.padding) or not np.isneginf(out).any():
        return view
    inside = window.view(np.ones((1, 1, *x.shape[2:]), bool))
    return np.where(inside, view, (out == 0)[..., None, None])


@operation
def extended(x, rows, columns, value):
    """Images with `rows` rows more below and `columns` columns more on the right, which hold the value."""
    out = np.empty_like(x, shape=(*x.shape[:2], x.shape[2] + rows, x.shape[3] + columns))
    out[:, :, : x.shape[2], : x.shape[3]] = x
    out[:, :, x.shape[2] :] = out[:, :, :, x.shape[3] :] = value
    return out


@gradient(extended, wrt="x")
def extended_x(upstream, out, x, *_):
    """Gradient of the images: what was added is left out."""
    return upstream[:, :, : x.shape[2], : x.shape[3]]


def extend(x, layer, value):
    """For ceil_mode: images with so many rows and columns more, which hold the value, that the last windows are whole.

    A window counts if it begins inside the image, or in the frame before it.
    """
    check_images(x.shape)
    more = []
    for n, k, s, p in zip(x.shape[-2:], layer.kernel_size, layer.stride, layer.padding, strict=True):
        last = -(-(n + 2 * p - k) // s) * s  # where the last window starts
        more.append(max(0, (last if last < n + p else last - s) + k - n - 2 * p))
    return one_or_many(extended, x, *more, value) if any(more) else x


def avg_pool_ceil(x, layer, avg_pool2d, window):
    """Average pooling with ceil_mode: what lies beyond the frame never counts. window: the layer's, without padding."""
    whole = extend(x, layer, 0)
    out = one_or_many(avg_pool2d, whole, layer.kernel_size, layer.stride, layer.padding)
    inside = np.zeros((1, 1, *(n + 2 * p for n, p in zip(whole.shape[-2:], layer.padding, strict=True))), out.dtype)
    real = padded(np.ones((1, 1, *x.shape[-2:]), out.dtype), layer.padding, int(layer.count_include_pad))
    inside[:, :, : real.shape[2], : real.shape[3]] = real
    count = window.view(inside)[0, 0].sum(axis=(2, 3))
    return out * Tensor(math.prod(window.kernel) / count, out.dtype)


# The backend "loops": the lesson's loops as operations


def loops_conv(conv2d_loops, conv2d_loops_backward):
    """conv2d by seven loops: the same inputs, result and gradients as the fast one, and very slow."""

    @operation
    def loops_conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
        """conv2d by seven loops."""
        return half_as_single(lambda *inputs: conv2d_loops(*inputs)[0])(
            x, weight, bias, stride, padding, dilation, groups
        )

    backward = half_as_single(conv2d_loops_backward)
    for number, name in enumerate(("x", "weight", "bias")):

        def rule(upstream, out, x, weight, bias, *settings, number=number):
            return backward(upstream, x, weight, *settings)[number]

        gradient(loops_conv2d, wrt=name)(rule)
    return loops_conv2d


def loops_pools(max_pool2d_loops, avg_pool2d_loops, Window):
    """{name: operation}: both poolings by loops, with their gradients. Window: the lesson's class."""

    @operation
    def loops_max_pool2d(x, kernel_size, stride=None, padding=0):
        """max_pool2d by loops."""
        return max_pool2d_loops(x, kernel_size, stride, padding)

    @gradient(loops_max_pool2d, wrt="x")
    def loops_max_pool2d_x(upstream, winners, x, kernel_size, stride, padding):
        out = np.zeros(x.shape, upstream.dtype)
        for b, c, i, j in np.ndindex(upstream.shape):
            out[b, c, *winners[b, c, i, j]] += upstream[b, c, i, j]
        return out

    @operation
    def loops_avg_pool2d(x, kernel_size, stride=None, padding=0, count_include_pad=True):
        """avg_pool2d by loops."""
        return half_as_single(avg_pool2d_loops)(x, kernel_size, stride, padding, count_include_pad)

    @gradient(loops_avg_pool2d, wrt="x")
    def loops_avg_pool2d_x(upstream, out, x, kernel_size, stride, padding, count_include_pad):
        window = Window(*pool_settings(x, kernel_size, stride, padding))
        back = np.zeros(x.shape, upstream.dtype)
        for b, c, i, j in np.ndindex(upstream.shape):
            pixels = window_pixels(x, i, j, window)
            for row, column in pixels:
                count = math.prod(window.kernel) if count_include_pad else len(pixels)
                back[b, c, row, column] += upstream[b, c, i, j] / count
        return back

    return {"max_pool2d": loops_max_pool2d, "avg_pool2d": loops_avg_pool2d}


# Layers


def one_or_many(function, x, *rest):
    """function(x, *rest) for images (B, C, H, W); a single image (C, H, W) travels as a batch of one."""
    if x.ndim != 3:
        return function(x, *rest)
    out = function(x.reshape(1, *x.shape), *rest)
    return out.reshape(*out.shape[1:])


class ImageLayer(Module):
    """A layer of images: a tensor, or an array or nested lists, of which it makes one.

    alone: from how many numbers on the backend in force may have something even for this layer without followers.
    """

    alone = math.inf

    def __call__(self, x):
        x = x if isinstance(x, Tensor) else Tensor(x)
        offer = self.fuse(()) if x.size >= self.alone else None
        return offer[0](x) if offer else super().__call__(x)


def _padding_and_crop(padding, kernel, dilation):
    """(pixels to add on all sides, outputs to crop at the start), both pairs, for a padding in numbers or words.

    "same" keeps the size. An even reach has no middle: PyTorch then pads more at the end; padding all sides alike and
    cropping the first output row or column comes to the same.
    """
    if isinstance(padding, str) and padding == "same":
        extra = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return tuple((e + 1) // 2 for e in extra), tuple(e % 2 for e in extra)
    return (0, 0) if isinstance(padding, str) and padding == "valid" else pair(
        padding, 'padding (in numbers, or "same" or "valid")'
    ), (0, 0)


class ConvSettings(ImageLayer):
    """The settings of a convolution: checked, completed to pairs, shown by repr. `Conv2d` adds the parameters.

    Raises ValueError for sizes below 1, negative padding, groups that do not divide the channels, "same" with a stride.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride, padding, dilation, groups):
        in_channels, out_channels = one(in_channels, "in_channels"), one(out_channels, "out_channels")
        groups = one(groups, "groups")
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"groups must divide both channel counts, {in_channels} and {out_channels}, got {groups}")
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.dilation = pair(kernel_size, "kernel_size", 1), pair(dilation, "dilation", 1)
        self.stride = pair(stride, "stride", 1)
        self.padding_pair, self.crop = _padding_and_crop(padding, self.kernel_size, self.dilation)
        self.padding = padding if isinstance(padding, str) else self.padding_pair
        if self.padding == "same" and self.stride != (1, 1):
            raise ValueError(f"padding='same' keeps the size, so it needs stride 1, got {self.stride}: give numbers")

    def cropped(self, out):
        """The output without its first rows and columns, if "same" with an even reach asks for that."""
        return out if self.crop == (0, 0) else out[..., self.crop[0] :, self.crop[1] :]

    def extra_repr(self):
        """As PyTorch shows it: what stands at its default is left out, stride excepted."""
        optional = {"padding": (0, 0), "dilation": (1, 1), "groups": 1}
        named = ["kernel_size", "stride", *(name for name, usual in optional.items() if getattr(self, name) != usual)]
        shown = [str(self.in_channels), str(self.out_channels), *(f"{name}={getattr(self, name)}" for name in named)]
        return ", ".join(shown + ["bias=False"] * (self.bias is None))


class PoolSettings(ImageLayer):
    """The settings of a pooling layer: pairs, checked; repr shows one number where both directions agree.

    Raises ValueError for sizes below 1, negative padding, or padding larger than half of the kernel.
    """

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False):
        self.kernel_size = pair(kernel_size, "kernel_size", 1)
        self.stride = self.kernel_size if stride is None else pair(stride, "stride", 1)
        self.padding = pair(padding, "padding")
        check_pool_padding(self.kernel_size, self.padding)
        self.ceil_mode = switch("ceil_mode", ceil_mode)

    def extra_repr(self):
        """kernel_size, stride and padding; ceil_mode where it is on, count_include_pad where it is off."""
        settings = {name: getattr(self, name) for name in ("kernel_size", "stride", "padding")}
        shown = [f"{name}={a if a == b else (a, b)}" for name, (a, b) in settings.items()]
        shown += ["count_include_pad=False"] * (not getattr(self, "count_include_pad", True))
        return ", ".join(shown + ["ceil_mode=True"] * self.ceil_mode)
