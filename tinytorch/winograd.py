"""Convolution with two thirds of the multiplications, a block of images at a time: fast and not taught, `core.fast` calls it.

Two neighbours in a row of the result, y0 and y1, see four numbers of the images, d0 .. d3, through w0, w1, w2:

    m0 = (d0 - d2) w0       m1 = (d1 + d2) (w0 + w1 + w2) / 2       y0 = m0 + m1 + m2
    m3 = (d3 - d1) w2       m2 = (d2 - d1) (w0 - w1 + w2) / 2       y1 = m1 - m2 + m3

Four products in place of six, each of them a matrix product over all channels and the kernel's rows. The gradients are
the same four, read backwards. BLAS likes matrices that lie in one piece in the cache: so few images at a time are taken
through all that follows, pooling, too, and nothing but the result and who won is kept.
Source: Winograd, "Arithmetic complexity of computations", 1980; Lavin and Gray, "Fast algorithms for convolutional neural
networks", 2016.
"""

import math
from functools import lru_cache

import numpy as np

from . import kernels
from .core.tensor import operation
from .ways import PART, SavedBlock, as_images, as_rows, block_rules, worth_pairs

COLUMNS = 512  # of a matrix product, about


class Plan:
    """How a convolution of Sizes s is cut, `pooled` by 2x2 or not: rows and columns of the result, images of a block."""

    def __init__(self, s, pooled):
        self.s, self.pooled = s, pooled
        self.ho, self.wo = (s.ho // 2 * 2, s.wo // 2 * 2) if pooled else (s.ho, s.wo)  # no pool sees an odd last one
        self.pairs = -(-self.wo // 2)
        count = -(-s.n // max(1, COLUMNS // self.pairs))
        size = -(-s.n // count)
        self.blocks = [slice(a, min(a + size, s.n)) for a in range(0, s.n, size)]
        self.columns = [self._columns(odd) for odd in (0, 1)]

    def _columns(self, odd):
        """(first and last place, columns of the images): what the even or the odd columns in their frame hold of them."""
        s = self.s
        low = max(0, (s.pw - odd + 1) // 2)
        high = max(low, min(self.pairs + 1, (s.w - 1 - odd + s.pw) // 2 + 1))
        first = 2 * low + odd - s.pw
        return low, high, slice(first, max(0, first + 2 * (high - low) - 1), 2)

    def room(self, channels, rows, images, dtype):
        """Four matrices for each row, one for each of the products: (4, rows, channels, pairs, images)."""
        return kernels.empty((4, rows, channels, self.pairs, images), dtype)

    def steps(self, rows, channels, images, itemsize):
        """[(first, last)] rows whose four results, of that many channels, fit the cache; pairs where they are pooled."""
        size = max(1, PART // (8 * channels * self.pairs * images * itemsize)) * (1 + self.pooled)
        return [(a, min(a + size, rows)) for a in range(0, rows, size)]


@lru_cache(256)
def meets(first, last, others, depth, frame):
    """[(row, how many, first of the other rows, kernel rows from, to)] for rows first .. last, alike ones together.

    Row r meets the `depth` other rows from r - frame on, as far as there are such.
    """
    found = []
    for r in range(first, last):
        low, high = max(0, r - frame), min(others, r - frame + depth)
        if found and found[-1][3:] == [low - r + frame, high - r + frame]:
            found[-1][1] += 1
        elif low < high:
            found.append([r, 1, low, low - r + frame, high - r + frame])
    return found


def four_weights(columns):
    """(4, ...): what the four products multiply by, of weights (3, ...) whose columns come first, in the order of those."""
    first, middle, last = np.array(columns, order="C")  # a copy, to be changed in place
    four = np.empty((4, *first.shape), first.dtype)
    four[0], four[3] = first, last
    first += last
    first *= 0.5
    middle *= 0.5
    np.add(first, middle, out=four[1])
    np.subtract(first, middle, out=four[2])
    return four


def gradient_of_weights(four):
    """(O, C, kh, 3) from the gradients of the four, (4, O, C, kh)."""
    both = (four[1] + four[2]) / 2
    return np.stack([four[0] + both, (four[1] - four[2]) / 2, four[3] + both], axis=-1)


def seen_by(four, low, rows, depth):
    """Overlapping matrices, `depth` rows in one, of four (4, rows, channels, pairs, images): a view."""
    product, down, _, _, each = four.strides
    columns = four.shape[3] * four.shape[4]
    shape = 4, rows, depth * four.shape[2], columns
    return np.ndarray(shape, four.dtype, four, low * down, (product, down, columns * each, each))


def multiply(lines, four, first, last, frame, out):
    """Write the products for rows first .. last into out (4, rows, channels, pairs, images).

    lines: (4, channels, depth, other channels), the kernel's rows in the order in which the other rows come.
    """
    depth, channels = lines.shape[2:]
    flat, out = lines.reshape(4, 1, lines.shape[1], -1), out.reshape(*out.shape[:3], -1)
    for row, count, low, i, j in meets(first, last, four.shape[1], depth, frame):
        matrices = seen_by(four, low, count, j - i)
        np.matmul(flat[..., i * channels : j * channels], matrices, out=out[:, row - first : row - first + count])


def spread_images(rows, plan, four):
    """What the four products see of some rows (H, C, W, N): into four (4, H, C, pairs, N)."""
    halves = kernels.empty((2, *four.shape[1:3], plan.pairs + 1, four.shape[4]), four.dtype)
    for half, (low, high, columns) in zip(halves, plan.columns, strict=True):
        np.copyto(half[:, :, low:high], rows[:, :, columns])
        half[:, :, :low] = half[:, :, high:] = 0
    d0, d1, d2, d3 = (half[:, :, a : a + plan.pairs] for a in (0, 1) for half in halves)
    np.subtract(d0, d2, out=four[0])
    np.add(d1, d2, out=four[1])
    np.subtract(d2, d1, out=four[2])
    np.subtract(d3, d1, out=four[3])


def gather_images(four, plan, rows):
    """The way back of spread_images, for gradients; four is used up."""
    halves = kernels.empty((2, *four.shape[1:3], plan.pairs + 1, four.shape[4]), four.dtype)
    even, odd = halves
    even[:, :, plan.pairs] = odd[:, :, 0] = 0
    np.copyto(even[:, :, :-1], four[0])
    np.copyto(odd[:, :, 1:], four[3])
    np.subtract(four[1], four[3], out=four[3])
    four[3] -= four[2]
    odd[:, :, :-1] += four[3]
    four[1] += four[2]
    four[1] -= four[0]
    even[:, :, 1:] += four[1]
    for half, (low, high, columns) in zip(halves, plan.columns, strict=True):
        np.copyto(rows[:, :, columns], half[:, :, low:high])


def pairs_of(four):
    """(y0, y1) of the four products; they are used up."""
    four[3] += four[1]
    four[3] -= four[2]
    four[0] += four[1]
    four[0] += four[2]
    return four[0], four[3]


def convolve(x, weight, bias, s, pooled, relu):
    """(N, C, H, W) to (N, O, H_out, W_out), and which pixels won, block by block; as `pooled`, with `relu`, of half the size."""
    plan, rows = Plan(s, pooled), as_rows(x)
    lines = four_weights(weight.transpose(3, 0, 2, 1))
    out, won = kernels.empty((plan.ho >> pooled, s.o, plan.wo >> pooled, s.n), x.dtype), []
    for block in plan.blocks:
        images = block.stop - block.start
        seen, ready = plan.room(s.c, s.h, images, x.dtype), 0
        if pooled:
            won.append(_masks(out[..., block].shape))
        for a, b in plan.steps(plan.ho, s.o, images, x.itemsize):
            last = min(s.h, b - s.ph + s.kh - 1)
            if last > ready:
                spread_images(rows[ready:last, ..., block], plan, seen[:, ready:last])
                ready = last
            four = plan.room(s.o, b - a, images, x.dtype)
            multiply(lines, seen, a, b, s.ph, four)
            part = out[a >> pooled : b >> pooled, ..., block]
            if pooled:
                _pool(four, part, *(mask[a >> 1 : b >> 1] for mask in won[-1]))
            else:
                even, odd = pairs_of(four)
                np.copyto(part[:, :, ::2], even)
                np.copyto(part[:, :, 1::2], odd[:, :, : plan.wo // 2])
            if bias is not None:
                part += bias[:, None, None]
            if relu:
                np.maximum(part, 0, out=part)
    return as_images(out), won


def gradients(upstream, wants_x, out, won, x, weight, bias, s, pooled, relu):
    """[dx or None, dweight, dbias or None]; out, won: of `convolve`."""
    plan, rows, upstream, out = Plan(s, pooled), as_rows(x), as_rows(upstream), as_rows(out)
    lines = four_weights(weight[:, :, ::-1].transpose(3, 1, 2, 0))
    dx = kernels.empty((s.h, s.c, s.w, s.n), x.dtype) if wants_x else None
    if wants_x:
        dx[:, :, 2 * plan.pairs + 2 - s.pw :] = 0  # columns that no result saw
    total, shift = np.zeros((4, s.kh, s.c, s.o), x.dtype), None if bias is None else np.zeros(s.o, x.dtype)
    for number, block in enumerate(plan.blocks):
        images = block.stop - block.start
        seen, ready = plan.room(s.c, s.h, images, x.dtype), 0
        g, done = plan.room(s.o, plan.ho, images, x.dtype), 0
        for a, b in plan.steps(plan.ho, max(s.o, s.c), images, x.itemsize):
            last = min(s.h, b - s.ph + s.kh - 1)
            if last > ready:
                spread_images(rows[ready:last, ..., block], plan, seen[:, ready:last])
                ready = last
            at = slice(a >> pooled, b >> pooled), ..., block
            part = upstream[at] * (out[at] > 0) if relu else np.ascontiguousarray(upstream[at])
            if bias is not None:
                shift += part.sum(axis=(0, 2, 3))
            if pooled:
                _unpool(part, *(mask[a >> 1 : b >> 1] for mask in won[number]), g[:, a:b])
            else:
                _spread_upstream(part, g[:, a:b])
            _add_weights(total, seen, g, a, b, s)
            if wants_x:
                end = s.h if b == plan.ho else max(done, min(s.h, b - s.ph))
                if end > done:
                    four = plan.room(s.c, end - done, images, x.dtype)
                    _multiply_upstream(lines, g, done, end, s, four)
                    gather_images(four, plan, dx[done:end, ..., block])
                    done = end
    return [as_images(dx) if wants_x else None, gradient_of_weights(total.transpose(0, 3, 2, 1)), shift]


def _multiply_upstream(lines, g, first, last, s, four):
    frame = s.kh - 1 - s.ph
    if last - frame > g.shape[1]:
        four[...] = 0  # rows that no result saw
    multiply(lines, g, first, last, frame, four)


def _add_weights(total, seen, g, a, b, s):
    flat = g.reshape(*g.shape[:3], -1)
    for row, count, low, i, j in meets(a, b, s.h, s.kh, s.ph):
        matrices = seen_by(seen, low, count, j - i)
        parts = np.matmul(matrices, flat[:, row : row + count].swapaxes(-1, -2))
        total[:, i:j] += (parts[:, 0] if count == 1 else parts.sum(axis=1)).reshape(4, j - i, s.c, s.o)


def _masks(shape):
    rows, *rest = shape
    return kernels.empty((rows, 2, *rest), np.dtype(bool)), kernels.empty(shape, np.dtype(bool))


def _pool(four, out, left, top):
    even, odd = (half.reshape(left.shape) for half in pairs_of(four))
    np.greater_equal(even, odd, out=left)
    np.maximum(even, odd, out=even)
    np.greater_equal(even[:, 0], even[:, 1], out=top)
    np.maximum(even[:, 0], even[:, 1], out=out)


def _unpool(part, left, top, g):
    first, both, last = (g[k].reshape(left.shape) for k in (0, 1, 3))
    np.copyto(both[:, 0], top)
    both[:, 0] *= part
    np.subtract(part, both[:, 0], out=both[:, 1])
    np.copyto(first, left)
    first *= both
    np.subtract(both, first, out=last)
    np.subtract(g[0], g[3], out=g[2])


def _spread_upstream(part, g):
    odd = part.shape[2] // 2
    np.copyto(g[0], part[:, :, ::2])
    np.copyto(g[3][:, :, :odd], part[:, :, 1::2])
    g[3][:, :, odd:] = 0
    np.add(g[0], g[3], out=g[1])
    np.subtract(g[0], g[3], out=g[2])


@operation
def convolve_pairs(x, weight, bias, s, pooled, relu):
    """Convolution of Sizes s, with 2x2 max pooling and then a ReLU where they are asked for, as one operation."""
    out, won = convolve(x, weight, bias, s, pooled, relu)
    return out, SavedBlock(gradients, out if relu else kernels.shape_of(out), won)


block_rules(convolve_pairs)


def offered(x, weight, bias, s, pooled=False, relu=False):
    """The result of convolve_pairs, or None where other ways are quicker, or right: of numbers without end it makes NaN."""
    if not worth_pairs(s, pooled, relu) or x.dtype != weight.dtype or bias is not None and np.shape(bias) != (s.o,):
        return None
    out = convolve_pairs(x, weight, bias, s, pooled, relu)
    return None if math.isnan(out.data.min()) else out
