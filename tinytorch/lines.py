"""Fast functions on the lines of images that are not taught: batch normalisation, and a kernel for each channel.

NumPy, and what `kernels` says about pieces and memory.
"""

import math

import numpy as np

from . import kernels

NEAR = 4  # standard deviations between 0 and a mean up to which no digits are lost by taking the mean away last


class _Room:
    """Arrays for what is made on the way, one after the other for every part."""

    def __init__(self, count, size, dtype):
        self.arrays, self.seen = [kernels.empty((size,), dtype) for _ in range(count)], {}

    def views(self, shape):
        """As arrays of that shape, which is no larger."""
        if shape not in self.seen:
            size = math.prod(shape)
            self.seen[shape] = [array[:size].reshape(shape) for array in self.arrays]
        return self.seen[shape]


# Batch normalisation and an activation, piece by piece: the images are read once for their mean and variance
# and once for the result, and nothing but them is kept for backward, which works the rest out again.


def lines_of(x):
    """Images (N, C, H, W) as (H, C, W * N) or (N, C, H * W), a view in the order in which they lie; a copy otherwise."""
    rows = x.transpose(2, 1, 3, 0)
    if rows.flags.c_contiguous:
        return rows.reshape(*rows.shape[:2], -1)
    return np.ascontiguousarray(x).reshape(*x.shape[:2], -1)


def images_of(lines, x):
    """The lines as images of the shape of x, whose lines_of they are like."""
    n, c, h, w = x.shape
    in_rows = x.transpose(2, 1, 3, 0).flags.c_contiguous
    return lines.reshape(h, c, w, n).transpose(3, 1, 0, 2) if in_rows else lines.reshape(x.shape)


def _parts(lines):
    """[(lines, channels)]: slices of the first two axes that cut lines (A, C, L) into parts of at most about kernels.PIECE."""
    (rows, channels, length), most = lines.shape, kernels.PIECE // lines.itemsize
    wide = -(-channels // -(-channels // max(1, min(channels, most // length))))  # as equal as possible
    high = max(1, most // (wide * length))
    cuts = [[slice(a, a + size) for a in range(0, whole, size)] for whole, size in ((rows, high), (channels, wide))]
    return [(a, c) for a in cuts[0] for c in cuts[1]]


def _room(count, lines):
    """Room for parts of the lines, the first of which is as large as any."""
    a, c = _parts(lines)[0]
    return _Room(count, lines[a, c].size, lines.dtype)


def moments(lines):
    """Mean and variance of each channel of lines (A, C, L), (C,) each in their dtype.

    From the sums of the numbers and of their squares, in one pass. Where the mean is far from 0 that would lose digits:
    then once more, with the mean taken away.
    """
    mean, squares = _means_of_powers(lines)
    var = squares - mean**2
    if not (mean**2 <= NEAR**2 * var).all():
        near = mean.astype(lines.dtype)
        rest, squares = _means_of_powers(lines, near)
        mean, var = near + rest, squares - rest**2
    return mean.astype(lines.dtype), np.maximum(var, 0).astype(lines.dtype)


def _means_of_powers(lines, near=None):
    """The means of (lines - near) and of its square over each channel, (C,) in float64."""
    sums, squares = np.empty((2, *lines.shape[:2]))
    room, ones = _room(near is not None, lines), np.ones(lines.shape[2], lines.dtype)
    with np.errstate():
        kernels.in_lines(lines.shape[2])
        for a, c in _parts(lines):
            part = lines[a, c]
            if near is not None:
                part = np.subtract(part, near[c, None], out=room.views(part.shape)[0])
            sums[a, c], squares[a, c] = part @ ones, np.vecdot(part, part)
    count = lines.size // lines.shape[1]
    return sums.sum(axis=0) / count, squares.sum(axis=0) / count


def _relu(y, room):
    np.maximum(y, 0, out=y)


def _gelu(y, room):
    kernels.gelu_tanh(y, y, None, *room[:2])


def _no_slope(upstream, y, out, room):
    return upstream


def _relu_slope(upstream, y, out, room):
    return np.multiply(upstream, ~(y <= 0), out=out)


def _gelu_slope(upstream, y, out, room):
    kernels.gelu_tanh(y, y, out, *room[:2])
    return np.multiply(upstream, out, out=out)


ACTIVATIONS = {  # written into y; gradient for y, which may be written into out
    "none": (lambda y, room: None, _no_slope),
    "relu": (_relu, _relu_slope),
    "gelu": (_gelu, _gelu_slope),
}


def activate(flat, activation):
    """Write the activation of an array (n,) into it, piece by piece."""
    act, size = ACTIVATIONS[activation][0], kernels.PIECE // flat.itemsize
    room = _Room(2 if activation == "gelu" else 0, min(size, flat.size), flat.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, flat.size, size):
            part = flat[start : start + size]
            act(part, room.views(part.shape))


class _Centred:
    """(lines - mean) * factor + bias, part by part: in two passes where mean * scale is small, so that nothing is lost."""

    def __init__(self, lines, mean, scale):
        self.lines, self.mean = lines, mean
        self.direct = bool((np.abs(mean * scale) <= NEAR).all())

    def write(self, at, out, factor, bias):
        """Write the part of all that slices `at` tell into out; factor, bias: (C,)."""
        c, start = at[1], self.lines[at]
        if self.direct:
            np.multiply(start, factor[c, None], out=out)
            out += (bias - self.mean * factor)[c, None]
        else:
            np.subtract(start, self.mean[c, None], out=out)
            out *= factor[c, None]
            out += bias[c, None]


def normalise(lines, weight, bias, mean, scale, activation):
    """activation(weight * (lines - mean) * scale + bias), for lines (A, C, L); the others are (C,)."""
    out, centred, act = (
        kernels.empty(lines.shape, lines.dtype),
        _Centred(lines, mean, scale),
        ACTIVATIONS[activation][0],
    )
    room, factor = _room(2 if activation == "gelu" else 0, lines), weight * scale
    with np.errstate(over="ignore", invalid="ignore"):
        kernels.in_lines(lines.shape[2])
        for at in _parts(lines):
            centred.write(at, out[at], factor, bias)
            act(out[at], room.views(out[at].shape))
    return out


def normalise_gradients(upstream, lines, weight, bias, mean, scale, activation, use_batch_stats, wants_x):
    """(gradient of the lines or None, of the weight, of the bias); mean and scale are the lines' own: use_batch_stats."""
    count, slope = lines.size // lines.shape[1], ACTIVATIONS[activation][1]
    centred, plain = _Centred(lines, mean, scale), activation == "none"
    g = kernels.empty(lines.shape, lines.dtype) if wants_x or not plain else None
    sums, products = np.empty((2, *lines.shape[:2]))
    room, ones, factor = _room(1 if plain else 3, lines), np.ones(lines.shape[2], lines.dtype), weight * scale
    with np.errstate(over="ignore", invalid="ignore"):
        kernels.in_lines(lines.shape[2])
        for at in _parts(lines):
            through = upstream[at]
            if not plain:
                out, *more = room.views(through.shape)
                centred.write(at, out, factor, bias)
                through = slope(through, out, g[at], more)
            seen = lines[at]
            if not centred.direct:
                seen = np.subtract(seen, mean[at[1], None], out=room.views(seen.shape)[0])
            sums[at], products[at] = through @ ones, np.vecdot(through, seen)
    sums, products = sums.sum(axis=0), products.sum(axis=0)
    products = (products - mean * sums if centred.direct else products) * scale
    if wants_x:
        each = -factor / count if use_batch_stats else 0 * factor
        tilt, shared = (products * scale * each).astype(g.dtype), (sums * each).astype(g.dtype)
        with np.errstate():
            kernels.in_lines(lines.shape[2])
            for at in _parts(lines):
                part = g[at]
                np.multiply(upstream[at] if plain else part, factor[at[1], None], out=part)
                if use_batch_stats:
                    (rest, *_) = room.views(part.shape)
                    centred.write(at, rest, tilt, shared)
                    part += rest
    return g if wants_x else None, products.astype(lines.dtype), sums.astype(lines.dtype)


# A kernel for each channel. A channel in its frame is one line of numbers, in which what a kernel entry sees
# is a shifted piece: all of them together are one view, and einsum adds them up without storing products. Between two
# image rows the line runs through the frame: what comes out there is left out. Framed are few channels at a time.


def _cut(room, *shape):
    """The beginning of a flat array in that shape."""
    return room[: math.prod(shape)].reshape(shape)


def _framed(rows, s, c, a, b, room):
    """What rows a .. b of the result see of channels c of rows (H, C, W, N): (channels, lines, W + 2 * pw, N), in room."""
    first, last = a - s.ph, b + s.dh * (s.kh - 1) - s.ph
    out = _cut(room, c.stop - c.start, last - first, s.w + 2 * s.pw, s.n)
    real = slice(max(0, first), max(0, first, min(last, s.h)))
    top, end = real.start - first, real.stop - first
    out[:, :top] = out[:, end:] = out[:, top:end, : s.pw] = out[:, top:end, s.pw + s.w :] = 0
    out[:, top:end, s.pw : s.pw + s.w] = rows[real, c].swapaxes(0, 1)
    return out


def _shifts(framed, s, high):
    """What the kernel entries see for `high` rows of the result: (channels, kh, kw, length), a view."""
    channel, down, across, image = framed.strides
    length = ((high - 1) * framed.shape[2] + s.wo) * s.n
    strides = channel, s.dh * down, s.dw * across, image
    return np.ndarray((len(framed), s.kh, s.kw, length), framed.dtype, framed, 0, strides)


def _blocks(s, itemsize):
    """[(channels, first row, last row)]: as many as the cache holds beside their result."""
    row, reach = (s.w + 2 * s.pw) * s.n * itemsize, s.dh * (s.kh - 1)
    wide = max(1, min(s.c, 4 * kernels.PIECE // (row * (s.ho + reach))))
    high = max(1, min(s.ho, 4 * kernels.PIECE // (row * wide) - reach))
    return [
        (slice(c, min(s.c, c + wide)), a, min(s.ho, a + high))
        for c in range(0, s.c, wide)
        for a in range(0, s.ho, high)
    ]


def _block_room(s, blocks, dtype):
    """Two flat arrays, for a block in its frame and for its result: the first block is as large as any."""
    c, a, b = blocks[0]
    size = c.stop * (b - a + s.dh * (s.kh - 1)) * (s.w + 2 * s.pw) * s.n
    return kernels.empty((size,), dtype), kernels.empty((size,), dtype)


def convolve_channels(rows, weight, bias, s):
    """Rows (H, C, W, N) with weight (C, 1, kh, kw) and stride 1: rows (H_out, C, W_out, N)."""
    out, blocks = kernels.empty((s.ho, s.c, s.wo, s.n), rows.dtype), _blocks(s, rows.itemsize)
    room, more = _block_room(s, blocks, rows.dtype)
    for c, a, b in blocks:
        framed = _framed(rows, s, c, a, b, room)
        seen = _shifts(framed, s, b - a)
        sums = _cut(more, len(seen), b - a, *framed.shape[2:])
        np.einsum("cij,cijl->cl", weight[c, 0], seen, out=sums.reshape(len(seen), -1)[:, : seen.shape[3]])
        np.add(sums[:, :, : s.wo].swapaxes(0, 1), 0 if bias is None else bias[c, None, None], out=out[a:b, c])
    return out


def weight_gradient_channels(g, rows, s):
    """Gradient of the weight, (C, 1, kh, kw), from upstream rows g (H_out, C, W_out, N)."""
    total, blocks = np.zeros((s.c, s.kh, s.kw), g.dtype), _blocks(s, rows.itemsize)
    room, more = _block_room(s, blocks, rows.dtype)
    for c, a, b in blocks:
        framed = _framed(rows, s, c, a, b, room)
        seen = _shifts(framed, s, b - a)
        lines = _cut(more, len(seen), b - a, *framed.shape[2:])
        lines[:, :, s.wo :] = 0
        lines[:, :, : s.wo] = g[a:b, c].swapaxes(0, 1)
        flat = lines.reshape(len(seen), -1)[:, : seen.shape[3]]
        for i in range(s.kh):
            for j in range(s.kw):
                total[c, i, j] += np.vecdot(flat, seen[:, i, j])
    return total[:, None]
