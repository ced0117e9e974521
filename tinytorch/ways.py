"""Convolution, pooling and batch normalisation in ways that are fast and not taught: `core.fast` calls them.

NumPy, and what the layers stand on. First functions on arrays; then what they cost, by which `core.fast` chooses; then
what it asks before it puts layers together.
"""

import copy
import math
import sys
from functools import lru_cache
from types import SimpleNamespace

import numpy as np

from tinytorch import kernels, lines
from tinytorch.core.activations import GELU, ReLU, gelu, relu
from tinytorch.core.autograd import BACKWARD, gradient
from tinytorch.core.layers import Module, Sequential
from tinytorch.core.spatial import Conv2d, MaxPool2d, Window
from tinytorch.core.tensor import Tensor, grad_enabled, operation
from tinytorch.images import lowest, padded

CELLS = Window((2, 2), (2, 2))  # the pooling that core.fast has a way of its own for
PART = 1 << 19  # bytes of results made before they are used again: half of a second-level cache
SMALL = 1 << 16  # bytes up to which numbers are compared by their bytes, and weights are added up over several images
NORM = 1 << 14  # numbers from which on batch normalisation is worth a way of its own
PAIRS = 1 << 10  # weights of one pixel from which on convolution by pairs is quicker where pooling follows at once
FOLD = 1  # places of the images for each weight of a channel from which on normalising goes into the weights
FUSED = 1.35  # up to this loss in its convolution the fused block still wins


def as_rows(x):
    """Images (N, C, H, W) seen as (H, C, W, N), a view."""
    return x.transpose(2, 1, 3, 0)


def as_images(rows):
    """Rows (H, C, W, N) seen as (N, C, H, W), a view."""
    return rows.transpose(3, 1, 0, 2)


def in_rows(x):
    """Whether the numbers of images lie in the order of their rows."""
    return as_rows(x).flags.c_contiguous


def _parts(count, bytes_each):
    """[(first, last)]: 0 .. count cut into equal pieces of at most PART bytes, but at least one."""
    pieces = -(-count // max(1, PART // max(1, bytes_each)))
    size = -(-count // max(1, pieces))
    return [(first, min(first + size, count)) for first in range(0, count, size)] if count else []


# Pooling: each position of the window is one view over all places. The memory order of the images stays


def _padded_rows(x, padding, value):
    """The rows of x (N, C, H, W) in a frame of `value`: (H + 2 * vertical, C, W + 2 * horizontal, N)."""
    rows, (ph, pw) = as_rows(x), padding
    h, c, w, n = rows.shape
    out = np.full((h + 2 * ph, c, w + 2 * pw, n), value, x.dtype)
    out[ph : ph + h, :, pw : pw + w] = rows
    return out


def _unpadded(rows, x, padding):
    """Images of the shape of x, without the frame."""
    (ph, pw), (_, _, h, w) = padding, x.shape
    return as_images(np.ascontiguousarray(rows[ph : ph + h, :, pw : pw + w]))


def _line_taps(length, axis, size, step):
    """Where each of `size` kernel positions along one axis of that length lies, in reading order: indices of an array."""
    across = (length - size) // step * step + 1
    return [(slice(None),) * axis + (slice(i, i + across, step),) for i in range(size)]


def _taps(rows, window):
    """What each kernel position sees of the padded rows, in reading order: views (H_out, C, W_out, N)."""
    (kh, kw), (sh, sw) = window.kernel, window.stride
    down, across = (rows.shape[0] - kh) // sh * sh + 1, (rows.shape[2] - kw) // sw * sw + 1
    return [rows[i : i + down : sh, :, j : j + across : sw] for i in range(kh) for j in range(kw)]


def max_pool(x, window):
    """The largest of each window; and of each pass, for each position but the first, where it beat all before it. No NaN.

    The largest of a window is the largest of its rows' largest: one pass along the rows, one along the columns. Of equal
    ones the first in reading order wins, since in both passes the first does.
    """
    rows = in_rows(x)
    framed = (_padded_rows if rows else padded)(x, window.padding, lowest(x.dtype))
    passes = []
    for axis, size, step in zip((2, 0) if rows else (3, 2), window.kernel[::-1], window.stride[::-1], strict=True):
        first, *others = [framed[at] for at in _line_taps(framed.shape[axis], axis, size, step)]
        out, wins = first.copy(), []
        for tap in others:
            wins.append(tap > out)
            np.maximum(out, tap, out=out)
        passes.append((framed.shape, axis, step, wins))
        framed = out
    return as_images(framed) if rows else framed, passes


def max_pool_gradient(upstream, passes, x, window):
    """From the last position to the first: the winner takes the upstream, what is left passes on. Columns, then rows."""
    rows = passes[0][1] == 2
    g = np.ascontiguousarray(as_rows(upstream)) if rows else upstream
    for shape, axis, step, wins in reversed(passes):
        left, dx = g.copy(), np.zeros(shape, g.dtype)
        first, *others = _line_taps(shape[axis], axis, len(wins) + 1, step)
        for at, won in zip(reversed(others), reversed(wins), strict=True):
            part = left * won
            dx[at] += part
            left -= part
        dx[first] += left
        g = dx
    (ph, pw), (_, _, h, w) = window.padding, x.shape
    return _unpadded(g, x, window.padding) if rows else g[:, :, ph : ph + h, pw : pw + w]


def _counts(x, window, include_pad):
    """By what the sum of a window is divided: a number, or (H_out, 1, W_out, 1) where padding does not count."""
    if include_pad or window.padding == (0, 0):
        return math.prod(window.kernel)
    return sum(_taps(_padded_rows(np.ones((1, 1, *x.shape[2:]), x.dtype), window.padding, 0), window))


def avg_pool(x, window, include_pad):
    """The mean of each window."""
    if window.kernel == x.shape[2:] and window.padding == (0, 0):
        return x.mean(axis=(2, 3), keepdims=True)
    rows = _padded_rows(x, window.padding, 0) if any(window.padding) else np.ascontiguousarray(as_rows(x))
    first, *others = _taps(rows, window)
    out = first.copy()
    for tap in others:
        out += tap
    out /= _counts(x, window, include_pad)
    return as_images(out)


def avg_pool_gradient(upstream, x, window, include_pad):
    """Each window's upstream, shared out equally."""
    if window.kernel == x.shape[2:] and window.padding == (0, 0):
        return np.broadcast_to(upstream / math.prod(window.kernel), x.shape)
    share = np.ascontiguousarray(as_rows(upstream)) / _counts(x, window, include_pad)
    dx = _padded_rows(np.zeros(x.shape, upstream.dtype), window.padding, 0)
    for tap in _taps(dx, window):
        tap += share
    return _unpadded(dx, x, window.padding)


# Convolution with a kernel for each channel, as it strides: entry by entry. s: the Sizes of core.fast


def _entries(x, s):
    """(i, j, what kernel entry (i, j) sees of the padded images x (N, C, H, W)), in reading order."""
    down, across = (s.ho - 1) * s.sh + 1, (s.wo - 1) * s.sw + 1
    for i, j in np.ndindex(s.kh, s.kw):
        yield i, j, x[:, :, i * s.dh : i * s.dh + down : s.sh, j * s.dw : j * s.dw + across : s.sw]


def convolve_taps(x, weight, bias, s):
    """Multiply and add, entry by entry, as many channels at once as the cache holds."""
    x, out = padded(x, (s.ph, s.pw)), np.empty((s.n, s.o, s.ho, s.wo), x.dtype)
    for a, b in _parts(s.c, s.n * s.ho * s.wo * x.itemsize):
        part = out[:, a:b]
        part[...] = 0 if bias is None else bias[a:b, None, None]
        for i, j, seen in _entries(x[:, a:b], s):
            part += seen * weight[a:b, :, i, j, None]
    return out, x


def input_gradient_taps(g, weight, s):
    """The gradient of the images: what each kernel entry saw gets upstream times the entry."""
    dx = np.zeros((s.n, s.c, s.h + 2 * s.ph, s.w + 2 * s.pw), g.dtype)
    for a, b in _parts(s.c, s.n * s.ho * s.wo * g.itemsize):
        for i, j, seen in _entries(dx[:, a:b], s):
            seen += g[:, a:b] * weight[a:b, :, i, j, None]
    return dx[:, :, s.ph : s.ph + s.h, s.pw : s.pw + s.w]


def weight_gradient_taps(g, seen_x, x, s):
    """The gradient of the weight: how well upstream and what each entry saw agree."""
    total = np.empty((s.c, 1, s.kh, s.kw), g.dtype)
    for a, b in _parts(s.c, s.n * s.ho * s.wo * g.itemsize):
        for i, j, seen in _entries(seen_x[:, a:b], s):
            total[a:b, 0, i, j] = np.einsum("nchw,nchw->c", g[:, a:b], seen)
    return total


# Convolution with a product for each image: kernels of one pixel, whose images stay as they are, and single images


def _columns(x, s):
    """What each result of an image sees, side by side: (N, C * kh * kw, H_out * W_out), by one copy or none."""
    x = padded(x, (s.ph, s.pw))
    if s.kh * s.kw == 1:
        return x[:, :, :: s.sh, :: s.sw].reshape(s.n, s.c, s.ho * s.wo)
    x = np.ascontiguousarray(x)
    image, channel, down, across = x.strides
    seen = kernels.empty((s.n, s.c, s.kh, s.kw, s.ho, s.wo), x.dtype)
    strides = image, channel, s.dh * down, s.dw * across, s.sh * down, s.sw * across
    np.copyto(seen, np.ndarray(seen.shape, x.dtype, x, 0, strides))
    return seen.reshape(s.n, -1, s.ho * s.wo)


def convolve_points(x, weight, bias, s):
    """One product for each image."""
    seen, out = _columns(x, s), kernels.empty((s.n, s.o, s.ho, s.wo), x.dtype)
    np.matmul(weight.reshape(s.o, -1), seen, out=out.reshape(s.n, s.o, -1))
    if bias is not None:
        out += bias[:, None, None]
    return out, seen


def input_gradient_points(g, weight, s):
    """The gradient of the images; pixels that a stride leaves out get 0.

    Where no stride does and rows are long, upstream gets as wide as the frame: then what an entry saw of an image is one
    line of numbers, and adding it up takes one call instead of one for each row.
    """
    lines = weight.reshape(s.o, -1).T
    if s.kh * s.kw * s.sh * s.sw == 1 and not s.ph and not s.pw:
        return (lines @ g.reshape(s.n, s.o, -1)).reshape(s.n, s.c, s.h, s.w)
    high, wide = s.h + 2 * s.ph, s.w + 2 * s.pw
    if s.sh * s.sw > 1 or s.wo < 12:
        part = (lines @ g.reshape(s.n, s.o, -1)).reshape(s.n, s.c, s.kh, s.kw, s.ho, s.wo)
        dx = np.zeros((s.n, s.c, high, wide), g.dtype)
        for i, j, seen in _entries(dx, s):
            seen += part[:, :, i, j]
    else:
        upstream = np.zeros((s.n, s.o, s.ho, wide), g.dtype)
        upstream[..., : s.wo] = g
        part = (lines @ upstream.reshape(s.n, s.o, -1)).reshape(s.n, s.c, s.kh, s.kw, s.ho * wide)
        flat = np.zeros((s.n, s.c, high * wide + wide - s.wo), g.dtype)
        for i, j in np.ndindex(s.kh, s.kw):
            start = i * s.dh * wide + j * s.dw
            flat[..., start : start + s.ho * wide] += part[:, :, i, j]
        dx = flat[..., : high * wide].reshape(s.n, s.c, high, wide)
    return dx[:, :, s.ph : s.ph + s.h, s.pw : s.pw + s.w]


def weight_gradient_points(g, seen, x, s):
    """The gradient of the weight, added up over few images at a time."""
    g, shape = g.reshape(s.n, s.o, s.ho * s.wo), (s.o, s.c, s.kh, s.kw)
    if s.n == 1:
        return (g[0] @ seen[0].T).reshape(shape)
    total, size = np.zeros((s.o, seen.shape[1]), g.dtype), max(1, SMALL // math.prod(shape))
    for a in range(0, s.n, size):
        total += (g[a : a + size] @ seen[a : a + size].swapaxes(1, 2)).sum(axis=0)
    return total.reshape(shape)


# Convolution with a kernel for each channel, without a stride


def convolve_channels(x, weight, bias, s):
    """Nothing is saved: the frame is made again for the gradient of the weight."""
    return as_images(lines.convolve_channels(np.ascontiguousarray(as_rows(x)), weight, bias, s)), None


def input_gradient_channels(g, weight, s):
    """The gradient of the images: a convolution of upstream with the kernels turned round."""
    turned = SimpleNamespace(**vars(s))
    turned.h, turned.w, turned.ho, turned.wo = s.ho, s.wo, s.h, s.w
    turned.ph, turned.pw = s.dh * (s.kh - 1) - s.ph, s.dw * (s.kw - 1) - s.pw
    return convolve_channels(g, weight[:, :, ::-1, ::-1], None, turned)[0]


def weight_gradient_channels(g, seen, x, s):
    """The gradient of the weight."""
    return lines.weight_gradient_channels(np.ascontiguousarray(as_rows(g)), np.ascontiguousarray(as_rows(x)), s)


# Which way: arithmetic on the shapes


def worth_rows(x, window, few):
    """Whether these ways of pooling pay: images that lie in rows, or more than `few` positions in a window."""
    return in_rows(x) or math.prod(window.kernel) > few


def worth_pairs(s, pooled, relu):
    """Whether four products for two pixels pay, as `winograd` has them: three columns in a kernel, channels, places."""
    plain = s.kw == 3 and s.sh == s.sw == s.dh == s.dw == s.groups == 1 and s.ph < s.kh
    least = PAIRS if pooled and not relu else 2 * PAIRS if pooled else 4 * PAIRS
    return plain and s.c >= 16 and s.c * s.o >= least and s.n * s.wo >= 96 and min(s.ho, s.wo) > 1


def loss(s):
    """Rows over `windows`, forward and backward: what each copies and multiplies, in nanoseconds measured once."""
    places, weights, taps = s.n * s.ho * s.wo, s.o * s.cg * s.kh * s.kw, s.kh * s.kw
    maps, products = s.n * s.c * s.h * s.w + places * s.o, weights * places
    windows = 6e4 + 2500 * taps + 2.9 * places * s.c * taps + maps + 0.083 * products
    rows = 7.5e4 + 490 * s.kw * s.h + 0.56 * s.n * s.c * s.h * s.wo * s.kw + 2.7 * maps
    rows += 5.3 * weights + (0.078 + 0.57 / min(64, max(1, s.columns))) * products
    return (rows + (s.sh > 1) * 1.5 * places * s.c * taps) / windows


def choose(s, ordered):
    """How to convolve: "rows", "channels", "taps", "points", or "windows" where those would copy or call more than they save.

    ordered: whether the images lie in rows already.
    """
    one, places = s.kh * s.kw == 1, s.n * s.wo
    if s.cg == s.og == 1 < s.groups and (s.sh > 1 or one):
        return _of_depthwise_strides(s, one, places)
    if s.cg == s.og == 1 < s.groups and _long_lines(s):
        return "channels"
    if one and s.groups == 1 and not ordered and not s.ph and not s.pw:
        pixels = s.ho * s.wo
        if s.n * pixels * s.c * s.o < 64:
            return "windows"
        return "points" if s.n <= 12 or pixels >= 64 or pixels >= 9 and s.c * s.o <= 25_000 else "windows"
    if s.cg == 1 < s.groups:
        return "rows" if places >= 32 or places >= 12 and loss(s) < 0.5 else "windows"
    if places < 48 or s.sh > 1 and s.n < 8:
        return "rows" if loss(s) < 0.45 else "points" if s.n == s.groups == 1 else "windows"
    most = 1.5 if ordered else 1.0 if s.n >= 32 else 0.8 if s.sh == 1 else 0.7
    return "rows" if loss(s) < most else "points" if s.n == s.groups == 1 else "windows"


def _long_lines(s):
    """Whether lines of channels pay: long, with little frame between the rows, and kernels that can be turned round."""
    if s.sw > 1 or s.n * s.kh * s.kw <= 16:  # few images, few taps: more calls than numbers
        return False
    reach = s.dh * (s.kh - 1), s.dw * (s.kw - 1)
    return s.n * s.wo * s.ho >= 64 and s.w + 2 * s.pw <= 2 * s.wo and s.ph <= reach[0] and s.pw <= reach[1]


def _of_depthwise_strides(s, one, places):
    """Large kernels on few places as rows; what else is worth it, tap by tap, unless much is copied for four taps."""
    if not one and s.wo < 12 and places >= 10 and s.kh * s.kw >= 16 and s.c > 3:
        if loss(s) < (0.9 if places >= 24 else 0.8):
            return "rows"
    much = places * s.c * s.ho >= 1 << 14 and (s.kh * s.kw > 4 or s.n * s.c * s.h * s.w <= 1 << 22)
    return "taps" if one or s.wo >= 10 and much else "windows"


# Layers in one: a pass that makes several gradients, and whether the layers are what they seem


class SavedBlock:
    """What a fused forward saved, and gradients that one pass found and no rule has taken yet: three rules, one pass.

    Each is handed out once, and only for the upstream it was made from: another walk through the graph, which may want
    other gradients, has another one, even of the same numbers, and makes its own.
    """

    def __init__(self, find, *saved):
        self.find, self.saved, self.upstream, self.gradients = find, saved, None, {}

    def take(self, which, upstream, *inputs):
        """The gradient of input `which`. The rule for x runs first where it is wanted, so the pass knows whether it is."""
        if which not in self.gradients or upstream is not self.upstream:
            found = self.find(upstream, which == 0, *self.saved, *inputs)
            self.gradients, self.upstream = {i: found[i] for i in range(which, 3)}, upstream
        return self.gradients.pop(which)


def block_rules(operation):
    """Register the rules of an operation (x, weight, bias, ...) that keeps a SavedBlock."""
    for which, name in enumerate(("x", "weight", "bias")):

        def rule(upstream, saved, *inputs, which=which):
            return saved.take(which, upstream, *inputs)

        gradient(operation, wrt=name)(rule)


def both_ways(function, upstream, *inputs):
    """[result, gradient of each array among the inputs]: an operation on plain arrays, forward and backward."""
    result = function.__wrapped__(*inputs)
    out, saved = result if type(result) is tuple else (result, result)
    return [out] + [vjp(upstream, saved, *inputs) for vjp in BACKWARD[function] if vjp]


def agree(mine, right):
    """Whether two lists of arrays hold the same numbers."""
    return all(a.shape == b.shape and np.allclose(a, b) for a, b in zip(mine, right, strict=True))


def _as_written(method):
    """Whether a method is the one that stands in the file of its module."""
    return method is relu or method.__code__.co_filename == sys.modules[method.__module__].__file__


def _methods():
    """What the layers that the fused block stands for do; somebody may have put other functions in their place."""
    called = Module.__call__, Conv2d.__call__, MaxPool2d.__call__, ReLU.__call__
    return *called, Conv2d.forward, MaxPool2d.forward, ReLU.function


_WRITTEN = _methods() if all(map(_as_written, _methods())) else None


def is_block(layer, rest):
    """How many layers make a block with a Conv2d, exactly as written: 2x2 max pooling, with a ReLU before it or not."""
    if not rest or layer.crop != (0, 0) or "forward" in vars(layer) or _methods() != _WRITTEN:
        return 0
    used = 1 + (rest[0] is relu or type(rest[0]) is ReLU and not vars(rest[0]))
    if used == 1 and layer.in_channels * layer.out_channels < PAIRS or len(rest) < used:
        return 0
    pool = rest[used - 1]
    if type(pool) is not MaxPool2d or "forward" in vars(pool) or pool.ceil_mode:
        return 0
    cells = pool.kernel_size, pool.stride, pool.padding
    exact = type(cells[0]) is type(cells[1]) is type(cells[2]) is tuple and cells == ((2, 2), (2, 2), (0, 0))
    return used if exact else 0


def settings_of(layer):
    """A convolution's settings as keys of a cache: pairs may be lists or arrays."""
    given = layer.stride, layer.padding_pair, layer.dilation, layer.groups
    return tuple(
        [value if type(value) is int or _is_pair(value) else tuple(np.ravel(value).tolist()) for value in given]
    )


def _is_pair(value):
    return type(value) is tuple and len(value) == 2 and type(value[0]) is type(value[1]) is int


# Batch normalisation, with the activation after it


@operation
def norm_activation2d(x, weight, bias, mean, var, eps, use_batch_stats, activation):
    """Batch normalisation, then "relu", "gelu" or "none", as one operation; weight and bias (C,) or None."""
    weight, bias = (v if v is not None else np.full(len(mean), n, x.dtype) for v, n in ((weight, 1), (bias, 0)))
    scale = 1 / np.sqrt(var + x.dtype.type(eps))
    settings = weight, bias, mean, scale, activation
    out = lines.images_of(lines.normalise(lines.lines_of(x), *settings), x)
    return out, SavedBlock(_norm_gradients, *settings, use_batch_stats)


def _norm_gradients(upstream, wants_x, weight, bias, mean, scale, activation, use_batch_stats, x, *_):
    seen = lines.lines_of(x)
    g = np.ascontiguousarray(as_rows(upstream) if in_rows(x) else upstream)
    given = g.reshape(seen.shape), seen, weight, bias, mean, scale, activation, use_batch_stats, wants_x
    dx, *rest = lines.normalise_gradients(*given)
    return [dx if dx is None else lines.images_of(dx, x), *rest]


block_rules(norm_activation2d)


def _norm_written():
    """The module of BatchNorm2d, if there is one whose functions stand as written and give what this engine gives."""
    blocks = sys.modules.get("tinytorch.core.blocks")
    if not blocks or not hasattr(blocks, "BatchNorm2d") or not callable(getattr(blocks, "batch_norm2d", None)):
        return None
    norm = blocks.BatchNorm2d
    called = norm.__call__, norm.forward, norm.normalise_batch, Module.__call__, ReLU.__call__, GELU.__call__
    return blocks if _norm_agrees(blocks.batch_norm2d, ReLU.function, GELU.function, *called) else None


@lru_cache(16)
def _norm_agrees(batch_norm2d, act, curve, *methods):
    """Whether the layers and the engine agree on a small example, forward and backward, for each activation."""
    if act is not relu or curve is not gelu or getattr(batch_norm2d, "__code__", None) is not relu.__code__:
        return False
    numbers = np.random.default_rng(0)
    x, upstream = numbers.standard_normal((2, 2, 3, 2, 2))
    weight, bias, eps = numbers.standard_normal(3), numbers.standard_normal(3), 1e-3
    stats = x.mean((0, 2, 3)), x.var((0, 2, 3))
    try:
        homes = {"tinytorch.core.blocks", "tinytorch.images", Module.__module__, ReLU.__module__}
        if not all(method.__module__ in homes and _as_written(method) for method in methods):
            return False
        for own in (True, False):
            out, saved = batch_norm2d.__wrapped__(x, weight, bias, *stats, eps, own)
            for name, then in (("none", None), ("relu", relu), ("gelu", gelu)):
                g = BACKWARD[then][0](upstream, then.__wrapped__(out), out) if then else upstream
                rules = [rule(g, saved, x, weight, bias, *stats, eps, own) for rule in BACKWARD[batch_norm2d][:3]]
                right = [then.__wrapped__(out) if then else out, *rules]
                if not agree(both_ways(norm_activation2d, upstream, x, weight, bias, *stats, eps, own, name), right):
                    return False
    except Exception:  # not finished
        return False
    return True


def _activation(rest):
    """(name, number of layers) of the activation that follows."""
    if rest and (rest[0] is relu or type(rest[0]) is ReLU and not vars(rest[0])):
        return "relu", 1
    plain = rest and type(rest[0]) is GELU and not rest[0].settings and vars(rest[0]).keys() <= {"settings"}
    return ("gelu", 1) if plain else ("none", 0)


def _suits(layer, x):
    """Whether the engine normalises these images: floats of one kind, many, and lines worth the name."""
    held = [t for t in (layer.weight, layer.bias) if t is not None] + [layer.running_mean, layer.running_var]
    if x.ndim != 4 or x.shape[1] != layer.num_features or x.size < NORM or x.dtype.char not in "fd":
        return False
    long = in_rows(x.data) or x.data.flags.c_contiguous and x.shape[2] * x.shape[3] >= 64
    return long and all(isinstance(t, Tensor) and t.dtype == x.dtype and t.shape == x.shape[1:2] for t in held)


def _is_norm(layer):
    """Whether this is a BatchNorm2d exactly as written."""
    if not isinstance(layer, Module) or not (blocks := _norm_written()) or type(layer) is not blocks.BatchNorm2d:
        return False
    return not {"forward", "normalise_batch"} & vars(layer).keys() and isinstance(layer.eps, int | float | np.number)


def fuse_norm(layer, rest):
    """(function, number of layers) for a BatchNorm2d exactly as written and the activation after it, or None."""
    if not _is_norm(layer):
        return None
    activation, used = _activation(rest)

    def run(x):
        x = x if isinstance(x, Tensor) else Tensor(x)
        if not _suits(layer, x):
            x = layer.forward(x)
            return rest[0](x) if used else x
        mean, var = layer.running_mean, layer.running_var
        if layer.training:
            mean, var = (Tensor(value, x.dtype) for value in lines.moments(lines.lines_of(x.data)))
            seen, values = layer.num_batches_tracked.item(), x.size // layer.num_features
            rate = 1 / (seen + 1) if layer.momentum is None else layer.momentum
            layer.running_mean = layer.running_mean * (1 - rate) + mean * rate
            layer.running_var = layer.running_var * (1 - rate) + var * (rate * values / (values - 1))
            layer.num_batches_tracked = layer.num_batches_tracked + 1
        return norm_activation2d(x, layer.weight, layer.bias, mean, var, layer.eps, layer.training, activation)

    return run, used


# In use, nothing recorded: batch normalisation in the weights of the convolution before it. The layers stay as they are,
# and the weights are made anew at every call, so that they follow whatever changes: that costs a pass over them. Where
# there are fewer results than weights, the results are normalised in place instead.


def fold_norm(layer, rest):
    """(function, number of layers) for a Conv2d, a BatchNorm2d in use after it and the activation after that, or None.

    Max pooling may stand before the normalisation, or 2x2 of it after a ReLU. All exactly as written.
    """
    if grad_enabled.get() or not rest:
        return None
    at = int(type(rest[0]) is MaxPool2d and "forward" not in vars(rest[0]))
    if len(rest) <= at or not _is_norm(norm := rest[at]) or norm.training:
        return None
    if "forward" in vars(layer) or _methods() != _WRITTEN:
        return None
    activation, used = _activation(rest[at + 1 :])
    block = is_block(layer, rest[1:]) if not at and activation == "relu" else 0
    before, after = (layer, *rest[:at]), rest[at + 1 : at + 1 + max(used, block)]

    def run(x):
        x = x if isinstance(x, Tensor) else Tensor(x)
        scale = _scale(layer, norm, x)
        folded = None if scale is None else _folded(layer, norm, scale, x, at)
        if folded:
            out = _through(x, folded, *rest[:at], *after[:block])
            return out if block else _activated(out, activation, after)
        out = _through(x, *before)
        if scale is None or out.size >= NORM:
            return _through(out, norm, *after)
        mean, bias = norm.running_mean.data, norm.bias
        out.data -= mean[:, None, None]
        out.data *= scale[:, None, None]
        if bias is not None:
            out.data += bias.data[:, None, None]
        return _activated(out, activation, after)

    return run, at + 1 + len(after)


def _through(x, *layers):
    """x through the layers, as Sequential takes it; who listens to Sequential hears of the user's own alone."""
    for run in Sequential(*layers).plan():
        x = run(x)
    return x


def _scale(layer, norm, x):
    """(O,): what normalising multiplies by, if all are floats of one kind and fit; else None."""
    held = [t for t in (layer.bias, norm.weight, norm.bias) if t is not None] + [norm.running_mean, norm.running_var]
    if not isinstance(layer.weight, Tensor) or x.ndim not in (3, 4) or not x.size or x.dtype.char not in "fd":
        return None
    if x.dtype != layer.weight.dtype or layer.weight.ndim != 4 or len(layer.weight) != norm.num_features:
        return None
    if not _is_pair(layer.stride):
        return None
    if not all(isinstance(t, Tensor) and t.dtype == x.dtype and t.shape == (norm.num_features,) for t in held):
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / np.sqrt(norm.running_var.data + x.dtype.type(norm.eps))
        return scale if norm.weight is None else scale * norm.weight.data


def _folded(layer, norm, scale, x, pooled):
    """The convolution that normalises, too; None where that costs more, loses digits, or turns what is pooled round."""
    mean, bias, weight = norm.running_mean.data, layer.bias, layer.weight.data
    places = x.size // max(1, layer.in_channels * math.prod(layer.stride))
    if FOLD * places < weight[0].size or pooled and not (scale >= 0).all():
        return None
    with np.errstate(invalid="ignore"):
        far = np.abs(mean * scale) if bias is None else np.maximum(np.abs(mean), np.abs(bias.data)) * np.abs(scale)
    if not (far <= lines.NEAR).all():
        return None
    shift = (-mean if bias is None else bias.data - mean) * scale
    found, made = copy.copy(layer), kernels.empty(weight.shape, weight.dtype)
    np.multiply(weight, scale[:, None, None, None], out=made)
    found.weight = Tensor(made, made.dtype)
    found.bias = Tensor(shift if norm.bias is None else shift + norm.bias.data, shift.dtype)
    return found


def _activated(out, activation, layers):
    """The layers after the normalisation, the first of which is the activation: that one in place, as nobody else has out."""
    if activation != "none" and np.may_share_memory(flat := out.data.ravel("K"), out.data):
        lines.activate(flat, activation)
        layers = layers[1:]
    for layer in layers:
        out = layer(out)
    return out
