"""Solutions of module 09 written in other ways than the reference, each with a switch for a typical mistake.

Without one they pass the notebook's graded cells; test_09_spatial.py plants them and reads what the cells say.
"""

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view


def output_size(size, kernel, stride, padding, dilation, mistake=""):
    """The starts are listed, not computed."""
    padding = {"no padding": 0, "padding on one side": padding / 2}.get(mistake, padding)
    stride, dilation = 1 if mistake == "no stride" else stride, 1 if mistake == "no dilation" else dilation
    beyond = int(size + 2 * padding) - dilation * (kernel - 1)
    count = len(range(0, beyond, stride))
    if mistake == "rounded up" and (beyond - 1) % stride:
        count += 1
    return count - (mistake == "fence post")


def conv_loops(x, weight, bias, stride, dilation, groups, out, mistake=""):
    """The kernel's positions outside, all windows at once inside, by slices; x is padded, out is zeros. (out, macs)"""
    (sh, sw), (dh, dw), (_, kernels, height, width) = stride, dilation, out.shape
    sh, sw = {"no stride in the index": (1, 1), "stride swapped": (sw, sh)}.get(mistake, (sh, sw))
    dh, dw = (1, 1) if mistake == "no dilation in the index" else (dh, dw)
    macs, count = 0, weight.shape[1]
    for o, kernel in enumerate(weight):
        group = {"no groups": 0, "groups in turns": o % groups}.get(mistake, o * groups // kernels)
        kernel = {"flipped": kernel[:, ::-1, ::-1], "kh and kw": kernel.swapaxes(1, 2)}.get(mistake, kernel)
        kernel = weight[:, o] if mistake == "wrong axis" and kernels == count else kernel
        for (c, r, s), w in np.ndenumerate(kernel[:1] if mistake == "first channel" else kernel):
            rows, columns = np.arange(height) * sh + r * dh, np.arange(width) * sw + s * dw
            products = w * x[:, group * count + c][:, rows[:, None], columns]
            out[:, o] = products if mistake == "overwritten" else out[:, o] + products
            out[:, o] += bias[o] if mistake == "bias per product" and bias is not None else 0
            macs += products.size
    if mistake == "total goes on":
        out = out.cumsum().reshape(out.shape).astype(out.dtype)
    if bias is not None and mistake not in ("no bias", "bias per product"):
        out = out + bias[:, None, None]
    if mistake == "first image":
        out[1:] = 0
    return out.transpose(0, 2, 3, 1) if mistake == "NHWC" else out, out.size if mistake == "outputs counted" else macs


def conv_loops_backward(upstream, framed, weight, stride, dilation, groups, mistake=""):
    """One kernel position at a time, by slices; (d_framed, d_weight, d_bias)."""
    (sh, sw), (dh, dw), (_, kernels, height, width) = stride, dilation, upstream.shape
    if mistake == "upstream left out":
        upstream = np.ones_like(upstream)
    d_framed, d_weight, d_bias = np.zeros_like(framed), np.zeros_like(weight), np.zeros(kernels, weight.dtype)
    for (o, c, r, s), w in np.ndenumerate(weight[:, :, ::-1, ::-1] if mistake == "flipped" else weight):
        part = slice(r * dh, r * dh + (height - 1) * sh + 1, sh), slice(s * dw, s * dw + (width - 1) * sw + 1, sw)
        channel, up = o * groups // kernels * weight.shape[1] + c, upstream[:, o]
        d_framed[:, channel][:, *part] += up * w
        agree = framed[:, channel][:, *part] * up
        d_weight[o, c, r, s] = agree[-1, -1, -1] if mistake == "overwritten" else agree.sum()
        if mistake == "bias per product" or (c, r, s) == (0, 0, 0):
            d_bias[o] += up.sum()
    return d_framed, d_weight, d_bias


def windows(x, kernel, stride, dilation, mistake=""):
    """By strides in bytes."""
    (kh, kw), (sh, sw), (dh, dw) = kernel, stride, dilation
    sh, sw = {"no stride": (1, 1), "stride swapped": (sw, sh)}.get(mistake, (sh, sw))
    dh, dw = {"no dilation": (1, 1), "dilation swapped": (dw, dh)}.get(mistake, (dh, dw))
    kh, kw = (kw, kh) if mistake == "kh and kw" else (kh, kw)
    down, across = x.strides[2:]
    places = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1, (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    steps = *x.strides[:2], sh * down, sw * across, dh * down, dw * across
    view = as_strided(x, (*x.shape[:2], *places, kh, kw), steps, writeable=False)
    orders = {"kernel axes first": (0, 1, 4, 5, 2, 3), "window transposed": (0, 1, 2, 3, 5, 4)}
    return view.transpose(orders.get(mistake, range(6)))


def conv(x, weight, bias, stride, padding, dilation, groups, mistake=""):
    """By einsum over windows of its own padding."""
    ph, pw = {"no padding": (0, 0), "padding swapped": padding[::-1]}.get(mistake, padding)
    sh, sw = (1, 1) if mistake == "no stride" else stride
    x = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    dilation = (1, 1) if mistake == "no dilation" else dilation
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    view = sliding_window_view(x, reach, (2, 3))[:, :, ::sh, ::sw, :: dilation[0], :: dilation[1]]
    if mistake == "columns in another order":
        kernels, C, kh, kw = weight.shape
        weight = weight.reshape(kernels, kh, kw, C).transpose(0, 3, 1, 2)
    if mistake == "kh and kw":
        weight = weight.reshape(*weight.shape[:2], *weight.shape[:1:-1]).swapaxes(2, 3)
    weight = weight[:, :, ::-1, ::-1] if mistake == "flipped" else weight
    pairs = zip(np.split(view, groups, 1), np.split(weight, groups), strict=True)
    out = np.concatenate([np.einsum("bcijrs,ocrs->boij", *pair, optimize=True) for pair in pairs], axis=1)
    out = out / weight[0].size if mistake == "averaged" else out
    if bias is not None and mistake != "no bias":
        out = out - bias[:, None, None] if mistake == "minus bias" else out + bias[:, None, None]
    if mistake == "reshape":
        return out.swapaxes(0, 1).reshape(out.shape)
    orders = {"NHWC": (0, 2, 3, 1), "batch and channels": (1, 0, 2, 3), "rows and columns": (0, 1, 3, 2)}
    return out.transpose(orders.get(mistake, range(4)))


def fold(pieces, out, stride, dilation, mistake=""):
    """Window by window into `out`, which is zeros with its frame."""
    (sh, sw), (dh, dw), (kh, kw) = stride, dilation, pieces.shape[4:]
    sh, sw = {"no stride": (1, 1), "stride swapped": (sw, sh)}.get(mistake, (sh, sw))
    count = np.zeros(out.shape)
    for i, j in np.ndindex(pieces.shape[2:4]):
        rows, columns = i * sh + dh * np.arange(kh), j * sw + dw * np.arange(kw)
        part = np.s_[:, :, rows[:, None], columns]
        out[part] = pieces[:, :, i, j] if mistake == "overwritten" else out[part] + pieces[:, :, i, j]
        count[part] += 1
    return out / np.maximum(count, 1) if mistake == "averaged" else out


def weight_gradient(upstream, x, weight, stride, padding, dilation, groups, mistake=""):
    """Each weight agrees with one shifted image."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    d_weight, (B, kernels, height, width) = np.zeros(weight.shape, upstream.dtype), upstream.shape
    for o, c, r, s in np.ndindex(weight.shape):
        top, left = r * dilation[0], s * dilation[1]
        shifted = x[:, o * groups // kernels * weight.shape[1] + c, top :: stride[0], left :: stride[1]][
            :, :height, :width
        ]
        d_weight[o, c, r, s] = (upstream[:, o] * shifted)[: 1 if mistake == "first image" else B].sum()
    d_weight = d_weight / B if mistake == "averaged" else d_weight
    return {"flipped": d_weight[:, :, ::-1, ::-1], "kh and kw": d_weight.swapaxes(2, 3)}.get(mistake, d_weight)


def bias_gradient(upstream, mistake=""):
    """A product with ones."""
    if mistake == "mean":
        return upstream.mean((0, 2, 3))
    axes = {"wrong axes": "bohw->b", "batch left out": "bohw->bo"}.get(mistake, "bohw->o")
    return np.einsum(axes, upstream)


def input_gradient(upstream, x, weight, stride, padding, dilation, groups, mistake=""):
    """Each output hands its gradient back through its window."""
    (ph, pw), (dh, dw), (kernels, C, kh, kw) = padding, dilation, weight.shape
    out = np.zeros((*x.shape[:2], x.shape[2] + 2 * ph, x.shape[3] + 2 * pw), upstream.dtype)
    weight = weight[:, :, ::-1, ::-1] if mistake == "x flipped" else weight
    for o, i, j in np.ndindex(1 if mistake == "first kernel" else kernels, *upstream.shape[2:]):
        rows, columns = i * stride[0] + dh * np.arange(kh), j * stride[1] + dw * np.arange(kw)
        first = o * groups // kernels * C
        out[:, first : first + C, rows[:, None], columns] += upstream[:, o, i, j].reshape(-1, 1, 1, 1) * weight[o]
    return out[:, :, ph : ph + x.shape[2], pw : pw + x.shape[3]]


def he_weights(rng, shape, mistake=""):
    """Scaled by the size of one kernel, written out."""
    kernels, C, kh, kw = shape
    inputs = {"area": C, "outputs": kernels * kh * kw}.get(mistake, C * kh * kw)
    gain = 1 if mistake == "gain" else 2
    scale = gain / inputs if mistake == "no root" else np.sqrt(gain / inputs)
    return (rng.standard_normal(shape) * scale).astype(np.float32)


def best_pixel(values, pixels, mistake=""):
    """(value, place) of the first maximum, by argmax; `values` are those of the pixels, in their order."""
    values = np.array(values)
    at = values.argmax() if mistake != "last wins" else len(values) - 1 - values[::-1].argmax()
    top, left = pixels[0] if mistake == "counted from the corner" else (0, 0)
    return values.mean() if mistake == "mean" else values[at], (pixels[at][0] - top, pixels[at][1] - left)


def max_pool(x, kernel, stride, padding, mistake=""):
    """By reductions of a padded image's windows. Returns out."""
    stride = {"stride 1": (1, 1), "stride swapped": stride[::-1]}.get(mistake, stride)
    kernel = kernel[::-1] if mistake == "kh and kw" else kernel
    frame = 0 if mistake == "zeros in the frame" else -np.inf
    x = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2), constant_values=frame)
    view = sliding_window_view(x, kernel, (2, 3))[:, :, :: stride[0], :: stride[1]]
    out = view.mean((4, 5)) if mistake == "mean" else view.max((4, 5))
    return out.transpose(0, 2, 3, 1) if mistake == "NHWC" else out


def winner(pixels, out, free, upstream, mistake=""):
    """What this pixel of every window gets; `free` (in place) are the windows that still look for their winner."""
    best = (pixels == out) | np.isnan(pixels)
    share = np.where(best if mistake == "all of them" else best & free, upstream, 0)
    free[best] = False
    return {"all pixels": upstream, "upstream left out": (share != 0) * 1.0, "shared": upstream / 4}.get(mistake, share)


def avg_pool(view, divisor, mistake=""):
    """One sum over both axes."""
    return {"sum": view.sum((4, 5)), "maximum": view.max((4, 5))}.get(mistake, view.sum((4, 5)) / divisor)


def batch_statistics(x, mistake=""):
    """(mean, variance) per channel of a batch, as arrays."""
    flat = x.transpose(1, 0, 2, 3).reshape(x.shape[1], -1)
    return flat.mean(axis=1), flat.var(axis=1, ddof=1 if mistake == "unbiased" else 0)
