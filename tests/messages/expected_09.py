"""The given cases of module 09, made from plain references, and what typical mistakes make of them.

`tito dev expected` turns them into tinytorch/expected.py. This file stays here: its references are solutions.
"""

import numpy as np

IMAGES, PIXELS = ("image", "channel", "row", "column"), ("row", "column")
WEIGHTS = ("kernel", "channel", "kernel row", "kernel column")
WINDOWS = (*IMAGES, "kernel row", "kernel column")


def conv(x, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """One window at a time against each kernel, stretched by its dilation."""
    (O, C, kh, kw), (sh, sw), (dh, dw) = weight.shape, stride, dilation
    kernel = np.zeros((O, C, dh * (kh - 1) + 1, dw * (kw - 1) + 1))
    kernel[:, :, ::dh, ::dw] = weight
    x = np.pad(x.astype(float), ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    height, width = (x.shape[2] - kernel.shape[2]) // sh + 1, (x.shape[3] - kernel.shape[3]) // sw + 1
    out = np.zeros((len(x), O, height, width))
    for o, i, j in np.ndindex(O, height, width):
        first = o // (O // groups) * C
        window = x[:, first : first + C, i * sh :, j * sw :][:, :, : kernel.shape[2], : kernel.shape[3]]
        out[:, o, i, j] = (window * kernel[o]).sum(axis=(1, 2, 3)) + (0 if bias is None else bias[o])
    return out


def windows(x, kernel, stride=(1, 1), dilation=(1, 1)):
    """Every window, cut out on its own."""
    (kh, kw), (sh, sw), (dh, dw) = kernel, stride, dilation
    tops, lefts = range(0, x.shape[2] - dh * (kh - 1), sh), range(0, x.shape[3] - dw * (kw - 1), sw)
    out = np.zeros((*x.shape[:2], len(tops), len(lefts), kh, kw))
    for i, j in np.ndindex(len(tops), len(lefts)):
        down, across = (
            slice(tops[i], tops[i] + dh * (kh - 1) + 1, dh),
            slice(lefts[j], lefts[j] + dw * (kw - 1) + 1, dw),
        )
        out[:, :, i, j] = x[:, :, down, across]
    return out


def fold(pieces, shape, stride=(1, 1), padding=(0, 0), dilation=(1, 1), keep=1):
    """Window by window; with keep=0, a window wipes out what was there."""
    (B, C, height, width), (_, _, _, _, kh, kw), (ph, pw) = shape, pieces.shape, padding
    out = np.zeros((B, C, height + 2 * ph, width + 2 * pw))
    for i, j in np.ndindex(pieces.shape[2:4]):
        top, left = i * stride[0], j * stride[1]
        part = out[:, :, top :: dilation[0], left :: dilation[1]][:, :, :kh, :kw]
        part[...] = keep * part + pieces[:, :, i, j]
    return out[:, :, ph : ph + height, pw : pw + width]


def pool(x, kernel_size, stride=None, padding=(0, 0), fill=-np.inf, best=np.max):
    """Pooling, one window at a time."""
    stride = stride or kernel_size
    x = np.pad(x.astype(float), ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2), constant_values=fill)
    shape = [(n - k) // s + 1 for n, k, s in zip(x.shape[2:], kernel_size, stride, strict=True)]
    out = np.zeros((*x.shape[:2], *shape))
    for i, j in np.ndindex(*shape):
        top, left = i * stride[0], j * stride[1]
        out[:, :, i, j] = best(x[:, :, top : top + kernel_size[0], left : left + kernel_size[1]], axis=(2, 3))
    return out


def average(x, kernel_size, stride=None, padding=(0, 0), count_include_pad=True):
    """Average pooling: sums over counts."""
    total = pool(x, kernel_size, stride, padding, 0, np.sum)
    inside = pool(np.ones(x.shape), kernel_size, stride, padding, 0, np.sum)
    return total / (np.prod(kernel_size) if count_include_pad else inside)


def norm(x, weight, bias, mean, var):
    """Batch normalisation by given statistics."""
    w, b, m, v = (np.reshape(a, (-1, 1, 1)) for a in (weight, bias, mean, var))
    return (x - m) / np.sqrt(v + 1e-5) * w + b


def slope(function, array, upstream, step=0.5):
    """d(Σ upstream · function) / d array by central differences: exact for what is linear in the array."""
    out = np.zeros(array.shape)
    for entry in np.ndindex(array.shape):
        up, down = array.copy(), array.copy()
        up[entry] += step
        down[entry] -= step
        out[entry] = (upstream * (function(up) - function(down))).sum() / (2 * step)
    return out


def one_for_both(key, pair, make):
    """What comes out when one of the two directions serves for both; make(**{key: pair}) gives a result, or []."""
    if pair[0] == pair[1]:
        return {}
    ways = {"vertical": (pair[0],) * 2, "horizontal": (pair[1],) * 2}
    return {f"the {way} {key} is used for both directions": make(**{key: both}) for way, both in ways.items()}


def cropped(array, shape):
    """The first rows and columns, [] if there are too few: a size that is right, and an index that is not."""
    array = np.asarray(array)
    if array.ndim != 4 or array.shape[2] < shape[2] or array.shape[3] < shape[3]:
        return []
    return array[:, :, : shape[2], : shape[3]]


def short_loops(weight, what="the loop over"):
    """{cause: the kernels that are left} when a loop ends one too early."""
    found = {}
    for axis, name in ((1, "the input channels"), (2, "the kernel's rows"), (3, "the kernel's columns")):
        if weight.shape[axis] > (2 if axis == 1 else 1):
            kept = np.arange(weight.shape[axis]) < weight.shape[axis] - 1
            found[f"{what} {name} ends one too early"] = weight * kept.reshape(-1, *(1,) * (3 - axis))
    return found


# Cases


def draw(seed, *shapes):
    """Whole numbers from -9 to 9: every product and sum is exact."""
    rng = np.random.default_rng(seed)
    return [rng.integers(-9, 10, shape).astype(float) for shape in shapes]


def case(name, arrays, settings, expected, mistakes, axes):
    return {
        "name": name,
        "arrays": arrays,
        "settings": settings,
        "expected": expected,
        "mistakes": mistakes,
        "axes": axes,
    }


def named(settings):
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "no settings"


def filter_image():
    edge = np.array([[1, 1, 1, 7, 7, 7]] * 5), np.array([[-1, 0, 1]] * 3)
    cases = [("a picture of 4×4", *draw(42, (4, 4), (2, 2))), ("the edge of the first picture", *edge)]
    cases += [("a kernel of 2×3", *draw(40, (4, 6), (2, 3))), ("a kernel of 3×2", *draw(41, (5, 5), (3, 2)))]
    for name, image, kernel in cases:

        def out(weight=kernel, image=image):
            return conv(image[None, None], weight[None, None])[0, 0]

        right, first = out(), np.zeros(kernel.shape)
        first[-1, -1] = 1
        mistakes = {
            "the kernel is flipped: in a network nothing is flipped": out(kernel[::-1, ::-1]),
            "the kernel's rows and columns are swapped": out(kernel.reshape(kernel.shape[::-1]).T),
            "the mean of the products is taken, not the sum": right / kernel.size,
            "the sum goes on from window to window": right.cumsum().reshape(right.shape),
            "only the last product counts: = where += belongs": out(kernel * first),
            "window and kernel are multiplied as matrices, not number by number": (
                (windows(image[None, None], kernel.shape)[0, 0] @ kernel).sum(axis=(2, 3))
                if kernel.shape == (2, 2) else []
            ),
            "the last row of the kernel is left out": out(kernel * (np.arange(len(kernel)) < len(kernel) - 1)[:, None]),
            "the last column of the kernel is left out": out(kernel * (np.arange(kernel.shape[1]) < kernel.shape[1] - 1)),
        }  # fmt: skip
        yield case(name, {"image": image, "kernel": kernel}, {}, {"out": right}, {"out": mistakes}, {"out": PIXELS})


def output_size():
    for n, k, s, p, d in ((7, 3, 1, 0, 1), (8, 3, 2, 0, 1), (7, 3, 1, 2, 1), (12, 3, 1, 0, 3), (32, 2, 2, 0, 1),
                          (9, 4, 3, 1, 2), (11, 3, 2, 1, 2)):  # fmt: skip
        reach = d * (k - 1) + 1
        mistakes = {
            "the + 1 is missing": (n + 2 * p - reach) // s,
            "it is rounded up: windows that hang over do not count": -((reach - n - 2 * p) // s) + 1,
            "the stride is ignored": n + 2 * p - reach + 1,
            "the padding is added on one side only": (n + p - reach) // s + 1,
            "the padding is forgotten": (n - reach) // s + 1,
            "the dilation is ignored": (n + 2 * p - k) // s + 1,
            "the reach is taken for dilation * kernel": (n + 2 * p - d * k) // s + 1,
        }
        mistakes = mistakes if s == 1 or d == 1 else {}  # several at once could not be told apart
        settings = {"size": n, "kernel": k, "stride": s, "padding": p, "dilation": d}
        shown = ", ".join(
            f"{key}={value}"
            for key, value in settings.items()
            if key in ("size", "kernel") or value > (key != "padding")
        )
        yield case(
            f"output_size({shown})", {}, settings, {"windows": (n + 2 * p - reach) // s + 1}, {"windows": mistakes}, {}
        )


def conv_mistakes(x, weight, bias, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    def but(x=x, weight=weight, bias=bias, stride=stride, padding=padding, dilation=dilation):
        return conv(x, weight, bias, stride, padding, dilation, groups)

    right, (O, C, kh, kw), zero = but(), weight.shape, 0 * (bias if bias is not None else np.zeros(len(weight)))
    b = zero if bias is None else bias
    plain, first = but(bias=zero), np.arange(max(len(x), C)).reshape(-1, 1, 1) == 0
    last = np.zeros(weight.shape)
    last[:, -1, -1, -1] = 1
    turns = np.arange(O).reshape(-1, groups).T.ravel()
    window, turned = but(stride=(1, 1)), but(stride=stride[::-1])
    framed = np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))
    more = {cause: but(weight=kept) for cause, kept in short_loops(weight).items()}
    if groups == 1:
        view, rows = windows(framed, (kh, kw), stride, dilation), weight.reshape(O, -1)
        axes = ("B", "C", "H_out", "W_out", "kh", "kw")
        orders = (0, 1, 4, 5, 2, 3), (1, 0, 4, 5, 2, 3), (0, 2, 3, 1, 4, 5), (1, 4, 5, 2, 3, 0), (1, 4, 5, 0, 3, 2)
        for order in orders if len(x) > 1 else ():
            product = rows @ view.transpose(order).reshape(rows.shape[1], -1)
            out = product.reshape(O, len(x), *right.shape[2:]).swapaxes(0, 1) + b.reshape(-1, 1, 1)
            names = ", ".join(axes[n] for n in order)
            more[f"the view is reshaped in the order ({names}), not (C, kh, kw, B, H_out, W_out)"] = out
    sizes = {"padding": padding, "dilation": dilation}
    for key, pair in (("stride", stride), *sizes.items()):
        more |= one_for_both(key, pair, lambda **both: but(**both) if both_fit(x, weight, **sizes | both) else [])
    for cause, out in one_for_both("stride", stride, but).items():
        if out.shape != right.shape:
            more[f"in the index, {cause}"] = cropped(out, right.shape)
    if max(stride) > 1:
        more["the stride multiplies the kernel's index, too: only i and j are multiplied"] = cropped(
            conv(framed[:, :, :: stride[0], :: stride[1]], weight, bias, dilation=dilation, groups=groups)
            if framed.shape[2] > stride[0] * (kh - 1) * dilation[0] and framed.shape[3] > stride[1] * (kw - 1) * dilation[1]
            else [], right.shape)  # fmt: skip
    if C > 1 and b.any():
        more["the bias is added once for each input channel; it belongs to the output, once"] = but(bias=b * C)
        more["the bias is added once for each product, and once more"] = but(bias=b * (C * kh * kw + 1))
        more["every channel gets the bias of the first one"] = plain + b[0]
        for axis, name in ((3, "columns"), (2, "rows"), (0, "images")):
            if right.shape[axis] == O and (axis or len(x) == O):
                shape = (-1, *(1,) * (3 - axis))
                more[f"the bias is added along the {name}, not along the channels"] = plain + b.reshape(shape)
    return more | {
        "only the first image is computed": right * first[: len(x), None],
        "the bias is missing": plain,
        "the bias is added to every product; it belongs to the output, once": but(bias=b * C * kh * kw),
        "the bias is subtracted": but(bias=-b),
        "the kernel is flipped: in a network nothing is flipped": but(weight=weight[:, :, ::-1, ::-1]),
        "kh and kw are swapped": but(weight=weight.reshape(O, C, kw, kh).transpose(0, 1, 3, 2)),
        "the last product replaces the others: = where += belongs": but(weight=weight * last),
        "the sum goes on from output to output: set it to 0 for each": (
            plain.cumsum().reshape(plain.shape) + b.reshape(-1, 1, 1)
        ),
        "the sum goes on from output to output, and so does the bias": right.cumsum().reshape(right.shape)
        if b.any()
        else [],
        "the sum leaves out all input channels but the first": but(weight=weight * first[:C]),
        "the sum runs over the wrong axis: over output channels": but(weight=weight.swapaxes(0, 1)) if O == C else [],
        "the products are averaged, not summed": but(weight=weight / (C * kh * kw)),
        "the padding is forgotten": but(padding=(0, 0)),
        "the padding's two directions are swapped": but(padding=padding[::-1]),
        "the padding is read from x, not from the framed images: the window starts in the image": [],
        "the stride is ignored": window,
        "the stride is in the size, but not in the index": window[:, :, : right.shape[2], : right.shape[3]],
        "the stride's two directions are swapped": but(stride=stride[::-1]),
        "the stride's two directions are swapped in the index": turned[:, :, : right.shape[2], : right.shape[3]]
        if turned.shape != right.shape
        else [],
        "the dilation is ignored": but(dilation=(1, 1)),
        "the dilation is in the size, but not in the index": but(dilation=(1, 1))[
            :, :, : right.shape[2], : right.shape[3]
        ],
        "the dilation's two directions are swapped": but(dilation=dilation[::-1]),
        "the groups are ignored: all kernels see the first channels": but(np.tile(x[:, :C], (1, groups, 1, 1))),
        "the groups take turns; kernel o belongs to group o // (O // groups)": (
            conv(x, weight[turns], b[turns], stride, padding, dilation, groups)[:, turns.argsort()]
        ),
        "only one group is computed": right * (np.arange(O) < O // groups).reshape(O, 1, 1),
        "batch and channels are exchanged by reshape, which moves no axes: transpose does": (
            right.swapaxes(0, 1).reshape(right.shape)
        ),
        "batch and channels are exchanged by reshape, which moves no axes (the bias is right)": (
            plain.swapaxes(0, 1).reshape(right.shape) + b.reshape(-1, 1, 1)
        ),
        "the numbers of a window stand in another order (kh, kw, C) than the weights (C, kh, kw)": (
            but(weight=weight.reshape(O, kh, kw, C).transpose(0, 3, 1, 2))
        ),
    }


def both_fit(x, weight, padding, dilation, stride=(1, 1)):
    """Whether a window fits with these settings."""
    sizes = zip(x.shape[2:], weight.shape[2:], padding, dilation, strict=True)
    return all(n + 2 * p > d * (k - 1) for n, k, p, d in sizes)


CONVOLUTIONS = [
    ((2, 3, 6, 7), (4, 3, 3, 2), {}),
    ((2, 3, 5, 4), (3, 3, 2, 3), {}),
    ((2, 2, 5, 6), (3, 2, 3, 2), {"padding": (1, 2)}),
    ((2, 2, 5, 7), (3, 2, 2, 2), {"stride": (2, 3)}),
    ((1, 2, 6, 5), (3, 2, 3, 2), {"stride": (1, 2), "padding": (2, 0)}),
    ((2, 2, 6, 8), (2, 2, 2, 3), {"dilation": (2, 3)}),
    ((1, 4, 5, 5), (6, 2, 3, 2), {"groups": 2}),
]


def convolution():
    digits = np.array([[1, 2, 3, 0], [4, 5, 6, 1], [7, 8, 9, 2]]).reshape(1, 1, 3, 4)
    powers = np.array([[1, 10], [100, 1000]]).reshape(1, 1, 2, 2)
    given = [("digits and powers of ten", {"x": digits, "weight": powers, "bias": None}, {})]
    for seed, (x, weight, settings) in enumerate(CONVOLUTIONS, 50):
        arrays = dict(zip(("x", "weight", "bias"), draw(seed, x, weight, weight[:1]), strict=True))
        arrays["bias"][arrays["bias"] == 0] = 4
        given.append((named(settings), arrays, settings))
    for name, arrays, settings in given:
        out, weight = conv(**arrays, **settings), arrays["weight"]
        dilation, groups = settings.get("dilation", (1, 1)), settings.get("groups", 1)
        reach = [d * (k - 1) + 1 for k, d in zip(weight.shape[2:], dilation, strict=True)]
        each = weight.shape[1] * groups * int(np.prod(reach))
        counts = {
            "outputs are counted, not products": out.size,
            "each output is counted, too": out.size * (each + 1),
            "nothing is counted": 0,
            "only the products of one output are counted": each,
        }
        mistakes = {"out": conv_mistakes(**arrays, **settings), "macs": counts}
        yield case(name, arrays, settings, {"out": out, "macs": out.size * each}, mistakes, {"out": IMAGES})


def convolution_gradients():
    given = [
        ((2, 4, 5, 5), (2, 4, 3, 2), {"stride": (3, 2), "padding": (1, 0)}),
        ((1, 1, 5, 4), (2, 1, 2, 2), {"stride": (1, 2), "padding": (1, 1)}),
        ((2, 2, 4, 5), (3, 2, 2, 3), {}),
        ((2, 2, 5, 4), (2, 1, 3, 2), {"groups": 2, "dilation": (1, 2), "padding": (0, 1)}),
        ((2, 2, 5, 5), (2, 2, 3, 3), {"stride": (2, 2), "padding": (1, 1)}),
    ]
    for seed, (x_shape, w_shape, settings) in enumerate(given, 70):
        x, weight, bias = arrays = draw(seed, x_shape, w_shape, w_shape[:1])
        (upstream,) = draw(seed + 100, conv(*arrays, **settings).shape)
        forward = [
            lambda a, w=weight, b=bias, s=settings: conv(a, w, b, **s),
            lambda a, x=x, b=bias, s=settings: conv(x, a, b, **s),
            lambda a, x=x, w=weight, s=settings: conv(x, w, a, **s),
        ]
        d_x, d_weight, d_bias = (slope(f, a, upstream) for f, a in zip(forward, arrays, strict=True))
        b, _, i, j = np.ogrid[tuple(map(slice, upstream.shape))]
        last, (O, C, kh, kw) = (b == b.max()) & (i == i.max()) & (j == j.max()), weight.shape
        wrong = {
            "upstream is left out, as if it were all ones": np.ones(upstream.shape),
            "only the first image counts; the gradients of a batch are summed": upstream * (b == 0),
            "the last output replaces the others: = where += belongs": upstream * last,
            "the gradients of a batch are averaged, not summed": upstream / len(upstream),
            "the sign is wrong": -upstream,
        }
        all_of = {
            name: {cause: slope(f, a, other) for cause, other in wrong.items()}
            for name, f, a in zip(("x", "weight", "bias"), forward, arrays, strict=True)
        }

        def kernel(other, x=x, bias=bias, settings=settings, upstream=upstream):
            return slope(lambda a: conv(a, other, bias, **settings), x, upstream)

        def but(x=x, weight=weight, bias=bias, settings=settings, upstream=upstream, **changed):
            changed = {**settings, **changed}
            if conv(x, weight, bias, **changed).shape == upstream.shape:
                return slope(lambda a: conv(a, weight, bias, **changed), x, upstream)
            return []

        pieces = np.einsum("boij,ocrs->bcijrs", upstream, weight) if settings.get("groups", 1) == 1 else None
        plain = {key: settings.get(key, (1, 1) if key == "stride" else (0, 0)) for key in ("stride", "padding")}
        all_of["x"] |= {
            "the kernel is flipped": kernel(weight[:, :, ::-1, ::-1]),
            "kh and kw are swapped": kernel(weight.reshape(O, C, kw, kh).swapaxes(2, 3)),
            "the kernels' gradients are not summed: only output channel 0 counts": kernel(
                weight * np.eye(O)[0].reshape(O, 1, 1, 1)
            ),
        }
        if pieces is not None:
            all_of["x"] |= {
                "the stride is ignored": fold(pieces, x.shape, padding=plain["padding"]),
                "fold is called without the padding": fold(pieces, x.shape, plain["stride"])
                if fits(pieces, x.shape, plain["stride"]) else [],
                "a window wipes out those before it: = where += belongs": fold(pieces, x.shape, **plain, keep=0),
            }  # fmt: skip
        all_of["x"] |= {cause: kernel(kept) for cause, kept in short_loops(weight).items()}
        if pieces is not None:

            def back(x=x, pieces=pieces, plain=plain, **changed):
                changed = {**plain, **changed}
                return fold(pieces, x.shape, **changed) if fits(pieces, x.shape, **changed) else []

            def meet(x=x, weight=weight, upstream=upstream, plain=plain, **changed):
                """The gradient of the weight, if output (i, j) meets the pixels that these settings tell."""
                (ph, pw), stride = changed.get("padding", plain["padding"]), changed.get("stride", plain["stride"])
                framed = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
                view = windows(framed, weight.shape[2:], stride)[:, :, : upstream.shape[2], : upstream.shape[3]]
                return np.einsum("boij,bcijrs->ocrs", upstream, view) if view.shape[2:4] == upstream.shape[2:] else []

            columns = pieces.transpose(1, 4, 5, 0, 2, 3)  # (C, kh, kw, B, H_out, W_out)
            B, height, width = columns.shape[3:]
            for cause, order, turn in (
                ("kh and kw are exchanged where the columns are reshaped", (C, kw, kh, B, height, width), (3, 0, 4, 5, 1, 2)),
                ("the columns are reshaped as (B, C, kh, kw, H_out, W_out)", (B, C, kh, kw, height, width), (0, 1, 4, 5, 2, 3)),
                ("the columns are reshaped as (B, C, H_out, W_out, kh, kw), without a transpose", pieces.shape, (0, 1, 2, 3, 4, 5)),
                ("H_out and W_out are exchanged where the columns are reshaped", (C, kh, kw, B, width, height), (3, 0, 4, 5, 1, 2)),
                ("kh and kw stand in the wrong order for fold", columns.shape, (3, 0, 4, 5, 2, 1)),
                ("H_out and W_out stand in the wrong order for fold", columns.shape, (3, 0, 5, 4, 1, 2)),
            ):  # fmt: skip
                turned = columns.reshape(order).transpose(turn)
                sound = fits(turned, x.shape, **plain)
                all_of["x"][cause] = fold(turned, x.shape, **plain) if sound else []

            for name, make in (("x", back), ("weight", meet)):
                for key, pair in plain.items():
                    all_of[name] |= one_for_both(key, pair, make)
                    all_of[name][f"the {key}'s two directions are swapped"] = make(**{key: pair[::-1]})
            all_of["weight"]["the stride is ignored"] = meet(stride=(1, 1))
            all_of["weight"]["the padding is ignored"] = meet(padding=(0, 0))
        all_of["weight"] |= {
            "the kernel's rows and columns run backwards: it is flipped": d_weight[:, :, ::-1, ::-1],
            "a mean is taken over the places, not a sum": d_weight / upstream[:, 0].size,
        }
        all_of["bias"] |= {
            "the bias collects once per product; it belongs to the output, once": d_bias * C * kh * kw,
            "the bias collects once for each input channel; it belongs to the output, once": d_bias * C if C > 1 else [],
            "the bias collects once for each row of the kernel; it belongs to the output, once": d_bias * kh,
            "the sum leaves out the batch: it runs over rows and columns only": upstream.sum(axis=(2, 3)),
            "the sum runs over the channels; theirs is the axis that stays": upstream.sum(axis=(1, 2, 3)),
            "the sum runs over the wrong axes: (0, 1, 2) leaves the columns": upstream.sum(axis=(0, 1, 2)),
            "the sum runs over the batch only": upstream.sum(axis=0),
            "a mean is taken, not a sum": d_bias * O / upstream.size,
            "the bias gradient is forgotten": 0 * d_bias,
        }
        yield case(
            named(settings),
            {"x": x, "weight": weight, "bias": bias, "upstream": upstream},
            settings,
            {"d_x": d_x, "d_weight": d_weight, "d_bias": d_bias},
            {f"d_{name}": mistakes for name, mistakes in all_of.items()},
            {"d_x": IMAGES, "d_weight": WEIGHTS, "d_bias": ("channel",)},
        )


def fits(pieces, shape, stride, padding=(0, 0)):
    """Whether the windows lie within the framed images."""
    sizes = zip(pieces.shape[2:4], pieces.shape[4:], shape[2:], stride, padding, strict=True)
    return all((count - 1) * s + k <= n + 2 * p for count, k, n, s, p in sizes)


def spans(pieces, shape, stride=(1, 1), padding=(0, 0), dilation=(1, 1)):
    """Whether the windows, stretched by the dilation, lie within the framed images."""
    sizes = zip(pieces.shape[2:4], pieces.shape[4:], shape[2:], stride, padding, dilation, strict=True)
    return all((count - 1) * s + d * (k - 1) + 1 <= n + 2 * p for count, k, n, s, p, d in sizes)


def windows_cases():
    x = np.arange(70.0).reshape(1, 2, 5, 7)
    for kernel, stride, dilation in (
        ((2, 2), (1, 1), (1, 1)), ((2, 3), (1, 1), (1, 1)), ((2, 2), (2, 3), (1, 1)), ((2, 2), (1, 1), (2, 3)),
    ):  # fmt: skip
        settings = {"kernel": kernel, "stride": stride, "dilation": dilation}
        reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
        right = windows(x, **settings)
        mistakes = {
            "kh and kw are swapped": windows(x, kernel[::-1], stride, dilation),
            "the stride is ignored": windows(x, kernel, (1, 1), dilation),
            "the stride's two directions are swapped": windows(x, kernel, stride[::-1], dilation),
            "stride and dilation stand on each other's axes": windows(x, kernel, dilation, stride)
            if all(d * (k - 1) < n for d, k, n in zip(stride, kernel, x.shape[2:], strict=True)) else [],
            "the dilation is ignored": windows(x, kernel, stride),
            "the dilation's two directions are swapped": windows(x, kernel, stride, dilation[::-1]),
            "the window reaches far enough, but its pixels are not thinned out by the dilation": windows(x, reach, stride),
        }  # fmt: skip
        for key, pair in (("stride", stride), ("dilation", dilation)):
            mistakes |= one_for_both(key, pair, lambda kernel=kernel, settings=settings, **both: windows(
                x, **settings | both) if all(d * (k - 1) < n for d, k, n in zip(
                    (settings | both)["dilation"], kernel, x.shape[2:], strict=True)) else [])  # fmt: skip
        yield case(named(settings), {"x": x}, settings, {"windows": right}, {"windows": mistakes}, {"windows": WINDOWS})


def fold_cases():
    ones = np.array([1.0, 2, 3, 4]).reshape(1, 1, 2, 2, 1, 1) * np.ones((2, 2))  # each window brings its number
    (pieces,) = draw(90, (2, 3, 2, 3, 3, 2))
    for name, given, settings in (
        ("four windows of 2×2", ones, {"shape": (1, 1, 3, 3)}),
        ("no stride", pieces, {"shape": (2, 3, 6, 6)}),
        ("stride (2, 3)", pieces, {"shape": (2, 3, 6, 8), "stride": (2, 3)}),
        ("stride (2, 2), padding (1, 1)", pieces, {"shape": (2, 3, 4, 6), "stride": (2, 2), "padding": (1, 1)}),
        ("dilation (2, 3)", pieces, {"shape": (2, 3, 8, 7), "dilation": (2, 3)}),
    ):
        shape, stride = settings["shape"], settings.get("stride", (1, 1))
        rest = {key: settings[key] for key in ("padding", "dilation") if key in settings}
        right, exchanged = fold(given, **settings), given.transpose(0, 1, 4, 5, 2, 3)
        mistakes = {
            "a window wipes out those before it: = where += belongs": fold(given, shape, stride, **rest, keep=0),
            "the pieces are averaged, not summed": right / np.maximum(fold(np.ones(given.shape), **settings), 1),
            "rows and columns of each piece are swapped": fold(given.swapaxes(4, 5), **settings)
            if given.shape[4] == given.shape[5] else [],
            "the stride is ignored": fold(given, shape, **rest),
            "the stride's two directions are swapped": fold(given, shape, stride[::-1], **rest)
            if fits(given, shape, stride[::-1], rest.get("padding", (0, 0))) else [],
            "the dilation is ignored": fold(given, shape, stride, rest.get("padding", (0, 0))),
            "the frame is not cut off at the start": fold(given, (*shape[:2], *(n + 2 for n in shape[2:])), stride)[
                :, :, : shape[2], : shape[3]
            ] if "padding" in rest else [],
        }  # fmt: skip
        dilation, padding = rest.get("dilation", (1, 1)), rest.get("padding", (0, 0))
        for key, pair in (("stride", stride), ("dilation", dilation)):
            mistakes |= one_for_both(key, pair, lambda given=given, settings=settings, **both: fold(
                given, **settings | both) if spans(given, **settings | both) else [])  # fmt: skip
        kh, kw = given.shape[4:]
        mistakes |= {
            "stride and dilation are exchanged": fold(given, shape, dilation, padding, stride)
            if stride != dilation and spans(given, shape, dilation, padding, stride) else [],
            "the dilation's two directions are swapped": fold(given, shape, stride, padding, dilation[::-1])
            if spans(given, shape, stride, padding, dilation[::-1]) else [],
            "the windows are put back upside down": fold(given[..., ::-1, ::-1], **settings),
            "the last row of each piece is left out": fold(given * (np.arange(kh) < kh - 1)[:, None], **settings),
            "the last column of each piece is left out": fold(given * (np.arange(kw) < kw - 1), **settings),
        }  # fmt: skip
        if not rest:
            mistakes["a pixel keeps the last piece only: = where += belongs"] = fold(
                exchanged, shape, (1, 1), (0, 0), stride, keep=0
            )
        yield case(name, {"pieces": given}, settings, {"images": right}, {"images": mistakes}, {"images": IMAGES})


def small():
    return np.array([[1, 3, 2, 4], [5, 6, 7, 8], [2, 9, 1, 3], [0, 1, 9, 3]], float).reshape(1, 1, 4, 4)


def first_winners(x, kernel_size, stride=None, padding=(0, 0), last=False):
    """(B, C, H_out, W_out, 2): row and column in the image of each window's first (or last) maximum."""
    stride, (kh, kw) = stride or kernel_size, kernel_size
    out = pool(x, kernel_size, stride, padding)
    winners = np.zeros((*out.shape, 2))
    for b, c, i, j in np.ndindex(out.shape):
        pixels = [
            (r, s)
            for r in range(i * stride[0] - padding[0], i * stride[0] - padding[0] + kh)
            for s in range(j * stride[1] - padding[1], j * stride[1] - padding[1] + kw)
            if 0 <= r < x.shape[2] and 0 <= s < x.shape[3]
        ]
        best = [p for p in pixels if np.array_equal(x[b, c, p[0], p[1]], out[b, c, i, j], equal_nan=True)]
        winners[b, c, i, j] = best[-1 if last else 0]
    return winners


def handed_back(x, upstream, winners):
    out = np.zeros(x.shape)
    for b, c, i, j in np.ndindex(upstream.shape):
        r, s = map(int, winners[b, c, i, j])
        out[b, c, r, s] += upstream[b, c, i, j]
    return out


def alternating(image, upstream, kernel, stride, padding, out):
    """The gradient of a max pooling that forgets every winner but the last one."""
    framed = np.pad(image, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2), constant_values=-np.inf)
    view, free = windows(framed, kernel, stride), np.ones(out.shape, bool)
    pieces = np.zeros((*out.shape, *kernel))
    for r, s in np.ndindex(kernel):
        wins = free & (view[..., r, s] == out)
        pieces[..., r, s] = np.where(wins, upstream, 0)
        free = ~wins
    return fold(pieces, image.shape, stride, padding)


def pooling_mistakes(x, kernel, stride, padding, plain, fill=-np.inf, best=np.max):
    """best(pixels of a window, axis): what is reduced; fill: the frame's value."""
    framed = np.pad(x.astype(float), ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2), constant_values=fill)
    view, places = windows(framed, kernel, stride), plain(x, kernel, stride, padding).shape
    more = {}
    if kernel != (2, 2):
        more["the maximum or mean runs over axes 2 and 3 of the view, the places, not over the last two"] = best(view, (2, 3))
        more["only the last axis of the view is reduced"] = best(view, (-1,))
    for name, part in {
        "the last row": view[..., :-1, :], "the last column": view[..., :-1], "the first row": view[..., 1:, :],
        "the first column": view[..., 1:],
    }.items():  # fmt: skip
        more[f"{name} of each window is left out"] = best(part, (-2, -1)) if part.size else []
    if kernel[0] != kernel[1]:
        side = min(kernel)
        more[f"the kernel's {'vertical' if kernel[0] == side else 'horizontal'} size is used for both directions"] = best(
            view[..., :side, :side], (-2, -1))  # fmt: skip
    for key, pair in (("stride", stride), ("padding", padding)):
        more |= one_for_both(key, pair, lambda **both: plain(x, kernel, **{"stride": stride, "padding": padding} | both))
    more = {cause: out for cause, out in more.items() if np.size(out) and np.shape(out)[:2] == places[:2]}
    return more | {
        "the padding is forgotten": plain(x, kernel, stride, (0, 0)),
        "the stride is 1": plain(x, kernel, (1, 1), padding),
        "the stride is the kernel": plain(x, kernel, kernel, padding),
        "the stride's two directions are swapped": plain(x, kernel, stride[::-1], padding),
        "kh and kw are swapped": plain(x, kernel[::-1], stride, padding),
        "the padding's two directions are swapped": plain(x, kernel, stride, padding[::-1]),
        "the first pixel of each window is taken": plain(x, (1, 1), stride, (0, 0)) if not any(padding) else [],
    }


def max_pooling():
    (x,), (y,), (z,) = draw(110, (2, 2, 7, 7)), draw(111, (1, 2, 5, 4)), draw(112, (2, 1, 5, 5))
    given = [
        ("the 4×4 example", small(), {"kernel_size": (2, 2)}),
        ("all pixels equal", np.zeros((1, 1, 4, 4)), {"kernel_size": (2, 2)}),
        ("kernel (4, 2), stride (2, 3)", x, {"kernel_size": (4, 2), "stride": (2, 3)}),
        ("negative pixels, padding (1, 1)", -1 - y * y, {"kernel_size": (3, 3), "stride": (2, 2), "padding": (1, 1)}),
        ("kernel (2, 4), padding (1, 2)", z, {"kernel_size": (2, 4), "padding": (1, 2)}),
        ("two NaNs in a window", np.array([[[[1, np.nan], [np.nan, 5]]]]), {"kernel_size": (2, 2)}),
    ]
    for seed, (name, image, settings) in enumerate(given, 120):
        kernel, padding = settings["kernel_size"], settings.get("padding", (0, 0))
        stride = settings.get("stride", kernel)
        out, winners = pool(image, **settings), first_winners(image, **settings)
        upstream = draw(seed, out.shape)[0] if seed > 121 else np.array([[[[10.0, 20], [30, 40]]]])
        d_x, latest = handed_back(image, upstream, winners), first_winners(image, **settings, last=True)
        corner = winners - np.stack(
            np.meshgrid(
                *(np.arange(n) * s - p for n, s, p in zip(out.shape[2:], stride, padding, strict=True)), indexing="ij"
            ),
            axis=-1,
        )  # noqa: E501
        wrong = pooling_mistakes(image, kernel, stride, padding, pool) | {
            "the mean is taken": average(image, kernel, stride, padding),
            "the smallest pixel is taken": pool(image, kernel, stride, padding, np.inf, np.min),
            "the frame holds 0, not -inf": pool(image, kernel, stride, padding, 0) if any(padding) else [],
            "the sum is taken": pool(image, kernel, stride, padding, 0, np.sum),
        }
        inside = np.minimum(np.maximum(winners * 0 + np.stack(np.meshgrid(*(
            np.arange(n) * s - p for n, s, p in zip(out.shape[2:], stride, padding, strict=True)), indexing="ij"), axis=-1), 0),
            np.array(image.shape[2:]) - 1).astype(int)  # fmt: skip
        first = np.take_along_axis(image.reshape(*image.shape[:2], -1), (
            inside[..., 0] * image.shape[3] + inside[..., 1]).reshape(*image.shape[:2], -1), -1).reshape(out.shape)  # fmt: skip
        if not np.isnan(image).any() and (out < 0).any():
            zero = np.maximum(out, 0)
            if not any(padding) or not np.array_equal(zero, wrong["the frame holds 0, not -inf"]):
                wrong["the search begins with 0, which beats every negative number: begin with the first pixel"] = zero
            kept = np.where(out > 0, out, first)
            wrong["the search begins with 0, which beats every negative number, so the first pixel stays"] = kept
        places = {
            "row and column are counted from the window's corner, not from the image's": corner,
            "the column stands before the row": winners[..., ::-1],
            "the last of equal pixels wins; the first one should": latest,
        }
        ties = fold(
            upstream[..., None, None]
            * (
                windows(
                    np.pad(image, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2), constant_values=-np.inf),
                    kernel,
                    stride,
                )
                == out[..., None, None]
            ),
            image.shape,
            stride,
            padding,
        )  # noqa: E501
        shared = fold(
            np.broadcast_to(upstream[..., None, None], (*upstream.shape, *kernel)), image.shape, stride, padding
        )
        slopes = {
            "upstream is left out: the winners get 1": handed_back(image, np.ones(out.shape), winners),
            "every pixel of the window gets the gradient": shared if image.any() else [],
            "the gradient is shared out equally, as for the mean": shared / np.prod(kernel),
            "all but the winners get it: the comparison is turned round": shared - d_x,
            "the last of equal pixels wins; the first one should": handed_back(image, upstream, latest),
            "all equal pixels win; mark a window that has its winner": ties,
            "free knows only the pixel before: free = ~wins, where free = free & ~wins belongs": alternating(
                image, upstream, kernel, stride, padding, out),
            "the sign is wrong": -d_x,
        }
        if np.isnan(image).any():
            wrong = {"a NaN loses: it must beat every number": np.full(out.shape, 5.0)}
            places = {"the last NaN wins; the first one should": latest}
            slopes = {
                "the last NaN wins; the first one should": handed_back(image, upstream, latest),
                "both NaNs win; mark a window that has its winner": upstream * np.isnan(image),
                "a NaN gets nothing: it equals nothing, itself included": 0 * upstream * np.ones(image.shape),
            }
        yield case(
            name, {"x": image, "upstream": upstream}, settings, {"out": out, "winners": winners, "d_x": d_x},
            {"out": wrong, "winners": places, "d_x": slopes},
            {"out": IMAGES, "winners": (*IMAGES, "row or column"), "d_x": IMAGES},
        )  # fmt: skip


def avg_pooling():
    (x,), (y,) = draw(130, (2, 2, 7, 6)), draw(131, (1, 2, 5, 4))
    given = [
        ("the 4×4 example", small(), {"kernel_size": (2, 2)}),
        ("kernel (4, 2), stride (2, 3)", x, {"kernel_size": (4, 2), "stride": (2, 3)}),
        (
            "kernel (2, 4), stride (2, 3), padding (1, 2)",
            x,
            {"kernel_size": (2, 4), "stride": (2, 3), "padding": (1, 2)},
        ),
        (
            "count_include_pad=False",
            y,
            {"kernel_size": (3, 2), "stride": (2, 2), "padding": (1, 0), "count_include_pad": False},
        ),  # noqa: E501
    ]
    for seed, (name, image, settings) in enumerate(given, 140):
        kernel, padding = settings["kernel_size"], settings.get("padding", (0, 0))
        stride, include = settings.get("stride", kernel), settings.get("count_include_pad", True)
        out = average(image, **settings)
        (upstream,) = draw(seed, out.shape)

        def back(upstream=upstream, include=include, image=image, kernel=kernel, stride=stride, padding=padding):
            inside = pool(np.ones(image.shape), kernel, stride, padding, 0, np.sum)
            share = upstream / (np.prod(kernel) if include else inside)
            return fold(np.broadcast_to(share[..., None, None], (*share.shape, *kernel)), image.shape, stride, padding)

        def plain(x, kernel, stride, padding, include=include):
            return average(x, kernel, stride, padding, include)

        right = back()
        number = np.prod(kernel) if include else pool(np.ones(image.shape), kernel, stride, padding, 0, np.sum)

        def shared(part, axes, number=number):
            total = part.sum(axis=axes)
            return total / number if np.ndim(number) == 0 or total.shape == number.shape else np.zeros(0)

        wrong = pooling_mistakes(image, kernel, stride, padding, plain, 0, shared) | {
            "the largest pixel is taken": pool(image, kernel, stride, padding),
            "the sum is taken, not divided by the count": pool(image, kernel, stride, padding, 0, np.sum),
            "the frame's pixels are counted, and count_include_pad is False": plain(
                image, kernel, stride, padding, True
            ),
            "the frame's pixels are not counted, and count_include_pad is True": plain(
                image, kernel, stride, padding, False
            ),
            "the mean runs over other axes of the view than the last two": [],
        }
        slopes = {
            "every pixel gets the whole upstream: divide it by the count": right * np.prod(kernel),
            "the gradient is divided twice": right / np.prod(kernel),
            "the frame's pixels are counted, and count_include_pad is False": back(include=True),
            "the frame's pixels are not counted, and count_include_pad is True": back(include=False),
            "upstream is left out, as if it were all ones": back(np.ones(out.shape)),
            "only the first image counts": back(upstream * (np.arange(len(upstream)) == 0).reshape(-1, 1, 1, 1)),
            "the sign is wrong": -right,
        }
        yield case(
            name, {"x": image, "upstream": upstream}, settings, {"out": out, "d_x": right}, {"out": wrong, "d_x": slopes},
            {"out": IMAGES, "d_x": IMAGES},
        )  # fmt: skip


def batch_norm():
    x, (weight, bias) = 3 + 0.5 * draw(150, (3, 2, 2, 3))[0], np.array([[1.5, -0.5], [0.25, -2.0]])
    (upstream,) = draw(151, x.shape)
    own = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    for use_batch_stats, (mean, var) in ((False, np.array([[0.5, 0.25], [0.01, 3.0]])), (True, own)):
        m, v, w = (np.reshape(a, (-1, 1, 1)) for a in (mean, var, weight))
        out = norm(x, weight, bias, mean, var)
        g, n = upstream * w / np.sqrt(v + 1e-5), (x - m) / np.sqrt(v + 1e-5)

        def over(array):
            return array.mean(axis=(0, 2, 3), keepdims=True)

        def apart(array):
            return array.mean(axis=(2, 3), keepdims=True)

        def single(array):
            return array.mean(axis=0, keepdims=True)

        through = g - over(g) - n * over(g * n)
        wrong = {
            "it is divided by the variance, not by its root": (x - m) / (v + 1e-5) * w + np.reshape(bias, (-1, 1, 1)),
            "the mean is not subtracted": norm(x, weight, bias, 0 * mean, var),
            "eps is added outside of the root": (x - m) / (np.sqrt(v) + 1e-5) * w + np.reshape(bias, (-1, 1, 1)),
            "eps is left out": (x - m) / np.sqrt(v) * w + np.reshape(bias, (-1, 1, 1)),
            "the bias is added before the weight multiplies": (n + np.reshape(bias, (-1, 1, 1))) * w,
            "weight and bias are left out": norm(x, weight * 0 + 1, bias * 0, mean, var),
            "the bias is left out": norm(x, weight, bias * 0, mean, var),
            "weight and bias have exchanged places": norm(x, bias, weight, mean, var),
            "the weight is left out": norm(x, weight * 0 + 1, bias, mean, var),
        }
        slopes = {
            "mean and variance count as constants, and with use_batch_stats=True they depend on x": g,
            "mean and variance are taken through although use_batch_stats is False": through,
            "only the mean's way back is counted": g - over(g),
            "only the variance's way back is counted": g - n * over(g * n),
            "the means are taken in each image by itself; they run over the batch, too": g - apart(g) - n * apart(g * n),
            "the means run over the batch only, one for each pixel": g - single(g) - n * single(g * n),
            "the last mean is that of g alone, not of g · n": g - over(g) - n * over(g),
            "n is left out before the last mean": g - over(g) - over(g * n),
            "the weight is left out": (through if use_batch_stats else g) / w,
            "the scale is left out": (through if use_batch_stats else g) * np.sqrt(v + 1e-5),
            "upstream is left out, as if it were all ones": w / np.sqrt(v + 1e-5) + 0 * x,
        }
        yield case(
            f"use_batch_stats={use_batch_stats}",
            {"x": x, "weight": weight, "bias": bias, "mean": mean, "var": var, "upstream": upstream},
            {"use_batch_stats": use_batch_stats},
            {"out": out, "d_x": through if use_batch_stats else g, "d_weight": (upstream * n).sum(axis=(0, 2, 3)),
             "d_bias": upstream.sum(axis=(0, 2, 3))},
            {"out": wrong, "d_x": slopes,
             "d_weight": {"x is taken, not the normalised images": (upstream * x).sum(axis=(0, 2, 3)),
                          "a mean is taken, not a sum": (upstream * n).mean(axis=(0, 2, 3))},
             "d_bias": {"a mean is taken, not a sum": upstream.mean(axis=(0, 2, 3)),
                        "the sum leaves out the batch": upstream.sum(axis=(2, 3))}},
            {"out": IMAGES, "d_x": IMAGES, "d_weight": ("channel",), "d_bias": ("channel",)},
        )  # fmt: skip


def batch_norm_layer():
    (x,) = draw(160, (4, 2, 3, 3))
    x, (weight, bias) = 3 + 0.5 * x, np.array([[1.5, -0.5], [0.25, -2.0]])
    mean, var, unbiased = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3)), x.var(axis=(0, 2, 3), ddof=1)

    def over(*axes, ddof=0):
        m, v = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True, ddof=ddof)
        return (x - m) / np.sqrt(v + 1e-5) * weight.reshape(2, 1, 1) + bias.reshape(2, 1, 1)

    (upstream,) = draw(161, x.shape)
    w, n = weight.reshape(2, 1, 1), (x - mean.reshape(2, 1, 1)) / np.sqrt(var.reshape(2, 1, 1) + 1e-5)
    g = upstream * w / np.sqrt(var.reshape(2, 1, 1) + 1e-5)
    through = g - g.mean(axis=(0, 2, 3), keepdims=True) - n * (g * n).mean(axis=(0, 2, 3), keepdims=True)
    ways = (
        ("momentum and 1 - momentum are exchanged", 0.75),
        ("it is replaced, not moved on", 1),
        ("it is not moved on", 0),
    )
    yield case(
        "in training", {"x": x, "weight": weight, "bias": bias, "upstream": upstream}, {},
        {"out": norm(x, weight, bias, mean, var), "d_x": through, "running mean": 0.25 * mean, "running variance": 0.75 + 0.25 * unbiased,
         "in use": norm(x[0], weight, bias, 0.25 * mean, 0.75 + 0.25 * unbiased)},
        {"out": {
            "the statistics are those of each image; a channel has one mean for the batch": over(2, 3),
            "the statistics run over the batch only, one for each pixel": over(0),
            "the statistics run over the wrong axes, channels included": over(0, 1, 2, 3),
            "the variance is over n - 1; that is for the running one": over(0, 2, 3, ddof=1),
            "the running statistics normalise, which is for eval()": norm(x, weight, bias, 0 * mean, 0 * var + 1),
        },
         "running mean": {cause: rate * mean for cause, rate in ways},
         "running variance": {"the variance is over n; the running one is over n - 1": 0.75 + 0.25 * var}
         | {cause: 1 - rate + rate * unbiased for cause, rate in ways},
         "d_x": {"mean and variance count as constants: is use_batch_stats=True handed on?": g},
         "in use": {"the batch's own statistics normalise in use, too": norm(x, weight, bias, mean, var)[0]}},
        {"out": IMAGES, "running mean": ("channel",), "running variance": ("channel",), "in use": IMAGES[1:], "d_x": IMAGES},
    )  # fmt: skip


def global_pooling():
    (x,), (upstream,) = draw(170, (2, 3, 4, 5)), draw(171, (2, 3))
    mistakes = {
        "the two axes are kept, with one place": x.mean(axis=(2, 3), keepdims=True),
        "the mean runs over the channels": x.mean(axis=1),
        "the mean runs over the batch": x.mean(axis=0),
        "the sum is taken": x.sum(axis=(2, 3)),
        "the maximum is taken": x.max(axis=(2, 3)),
        "only the last axis is averaged": x.mean(axis=3),
    }
    d_x = np.broadcast_to(upstream[..., None, None] / 20, x.shape)
    yield case("images of 4×5", {"x": x, "upstream": upstream}, {}, {"out": x.mean(axis=(2, 3)), "d_x": d_x},
               {"out": mistakes, "d_x": {}}, {"out": IMAGES[:2], "d_x": IMAGES})  # fmt: skip


def depthwise():
    x, weight, bias, mix, shift = draw(180, (2, 3, 4, 6), (3, 1, 3, 2), (3,), (5, 3, 1, 1), (5,))
    middle = conv(x, weight, bias, (1, 2), (1, 0), (1, 1), 3)
    mistakes = {
        "the channels are not mixed: the second step is missing": middle,
        "the stride stands in the second step, too": conv(middle, mix, shift, (1, 2)),
        "ReLU stands between the steps": conv(np.maximum(middle, 0), mix, shift),
    }
    arrays = {
        "x": x,
        "depthwise.weight": weight,
        "depthwise.bias": bias,
        "pointwise.weight": mix,
        "pointwise.bias": shift,
    }
    yield case("kernel (3, 2), stride (1, 2), padding (1, 0)", arrays, {}, {"out": conv(middle, mix, shift)},
               {"out": mistakes}, {"out": IMAGES})  # fmt: skip


def residual():
    (x,) = draw(190, (3, 2, 4, 5))
    center = np.zeros((2, 2, 3, 3))
    center[[0, 1], [0, 1], 1, 1] = 1  # each channel hands itself on

    def scaled(a):
        return (a - a.mean(axis=(0, 2, 3), keepdims=True)) / np.sqrt(a.var(axis=(0, 2, 3), keepdims=True) + 1e-5)

    second = scaled(np.maximum(scaled(x), 0))
    for name, kernel, branch in (
        ("a branch that gives zero", 0 * center, 0 * x),
        ("kernels that hand a channel on", center, second),
    ):
        mistakes = {
            "the input is not added": np.maximum(branch, 0),
            "ReLU is not applied at the end": x + branch,
            "the input is added twice": np.maximum(2 * x + branch, 0),
            "ReLU is applied to the branch, not to the sum": x + np.maximum(branch, 0) if branch.any() else [],
            "ReLU is applied to the input before the sum": np.maximum(x, 0) + branch,
            "the ReLU within the branch is missing": np.maximum(x + scaled(scaled(x)), 0),
        }
        yield case(
            name, {"x": x, "kernel": kernel}, {}, {"out": np.maximum(x + branch, 0)}, {"out": mistakes}, {"out": IMAGES}
        )


def patches():
    images, maps = np.arange(4 * 7 * 8.0).reshape(4, 7, 8), np.zeros((4, 3, 3))
    maps[[0, 1, 2, 3], [2, 0, 1, 1], [1, 2, 0, 1]] = [3, 5, 4, 1]
    maps[2, 2, 2] = 2

    def cut(order, step, reach=3):
        places = {0: (2, 1), 1: (0, 2), 2: (1, 0), 3: (1, 1)}
        return np.stack(
            [
                images[b, step * i : step * i + reach, step * j : step * j + reach]
                for b, (i, j) in ((b, places[b]) for b in order)
            ]
        )  # noqa: E501

    mistakes = {
        "they stand in the images' order": cut((0, 1, 2), 2),
        "they go from the weakest up": cut((3, 0, 2), 2),
        "the step is ignored": cut((1, 2, 0), 1),
        "the step is added, not multiplied": np.stack([images[b, 2 + i : 5 + i, 2 + j : 5 + j] for b, i, j in (
            (1, 0, 2), (2, 1, 0), (0, 2, 1))]),
        "row and column are exchanged": np.stack([images[b, 2 * j : 2 * j + 3, 2 * i : 2 * i + 3] for b, i, j in (
            (1, 0, 2), (2, 1, 0), (0, 2, 1))]),
        "every patch is cut out of the first image": np.stack([images[0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] for i, j in (
            (0, 2), (1, 0), (2, 1))]),
        "they go from the weakest of the strongest up": cut((0, 2, 1), 2),
    }
    axes = {"patches": ("patch", "row", "column")}
    yield case("three patches of 3×3, step 2", {"maps": maps, "images": images}, {"reach": 3, "step": 2, "count": 3},
               {"patches": cut((1, 2, 0), 2)}, {"patches": mistakes}, axes)  # fmt: skip
    yield case("as many as there are", {"maps": maps, "images": images}, {"reach": 4}, {"patches": cut((1, 2, 0, 3), 1, 4)},
               {"patches": {}}, axes)  # fmt: skip


def train_epoch():
    """One weight w, loss (w·x - y)², a step of rate 0.1 after each of three batches."""
    weight, losses, batches = 0.5, [], np.array([[1.0, 2.0], [2.0, -1.0], [0.5, 3.0]])
    single = 0.5
    for x, y in batches:
        losses.append((weight * x - y) ** 2)
        weight -= 0.1 * 2 * (weight * x - y) * x
        single -= 0.1 * 2 * (0.5 * x - y) * x
    yield case(
        "an epoch of three batches", {"start": np.array([[0.5]]), "batches": batches}, {},
        {"weight": np.array([[weight]]), "loss": np.mean(losses)},
        {"weight": {"the weight is as it was: step() is not called, or before backward() has filled the gradients": np.array([[0.5]])},
         "loss": {"the last loss is returned": losses[-1], "no step is taken": np.mean((0.5 * batches[:, 0] - batches[:, 1]) ** 2)}},
        {},
    )  # fmt: skip


CASES = {
    "train_epoch": train_epoch,
    "filter_image": filter_image, "output_size": output_size, "convolution": convolution,
    "convolution_gradients": convolution_gradients, "windows": windows_cases, "fold": fold_cases,
    "max_pooling": max_pooling, "avg_pooling": avg_pooling, "batch_norm2d": batch_norm, "BatchNorm2d": batch_norm_layer,
    "global_avg_pool2d": global_pooling, "DepthwiseSeparable2d": depthwise, "ResidualBlock": residual,
    "strongest_patches": patches,
}  # fmt: skip
