"""What is fast or exact, and not taught: functions on arrays, and a mode for a block. NumPy only."""

import contextvars
import functools
import inspect
import math

import numpy as np

# Modules 02 and 05: entry by entry. NumPy takes one operation after the other, each through the whole array: of some
# megabytes, every pass comes from memory. A piece at a time stays in the cache from the first to the last.

PIECE = 96 << 10  # bytes of a piece: with what is made on the way it fits a second-level cache
empty = np.empty  # `core.fast` puts its own in this place: new memory costs more than the arithmetic on it


def empty_like(array):
    """An array of this shape, dtype and order in memory, with arbitrary content."""
    axes = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    out = empty(tuple([array.shape[axis] for axis in axes]), array.dtype)
    return out.transpose(sorted(range(array.ndim), key=axes.__getitem__))


def in_pieces(function, *arrays):
    """function(*arrays), which works entry by entry on arrays of one shape and order, piece by piece."""
    first, flat = arrays[0], [array.ravel("K") for array in arrays]
    alike = all(array.shape == first.shape and array.strides == first.strides for array in arrays)
    size = PIECE // max(1, first.itemsize)
    if first.size < 2 * size or not alike or not np.may_share_memory(first, flat[0]):
        return function(*arrays)
    out = empty_like(first)
    whole = out.ravel("K")
    for start in range(0, first.size, size):
        part = function(*(array[start : start + size] for array in flat))
        target = whole[start : start + size]
        if getattr(part, "dtype", None) != out.dtype or part.shape != target.shape:
            return function(*arrays)  # it does something else
        target[...] = part
    return out


def gelu_gradient(upstream, x):
    """Gradient of gelu, tanh form: with t = tanh(u), u = x * (c + k * x²), the slope is (1 + t + (1 - t²) * x * u') / 2."""
    if not x.ndim:
        return _gelu_gradient(np.reshape(upstream, 1), x.reshape(1)).reshape(())
    return in_pieces(_gelu_gradient, upstream, x)


def _gelu_gradient(upstream, x):
    c, k = math.sqrt(2 / math.pi), 0.044715
    slope, t, rest = (empty(x.shape, x.dtype) for _ in range(3))
    np.multiply(x, x, out=slope)
    np.multiply(slope, k * c, out=t)
    t += c
    t *= x
    np.tanh(t, out=t)
    slope *= 3 * k * c
    slope += c
    slope *= x
    np.multiply(t, t, out=rest)
    np.subtract(1, rest, out=rest)
    slope *= rest
    slope += t
    slope += 1
    slope *= 0.5
    slope *= upstream
    return slope


# Module 09: batch normalisation and an activation, piece by piece: the images are read once for the mean, once for the
# variance and once for the result, and nothing but them is kept for backward, which works the rest out again.


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
    """[(lines, channels)]: slices of the first two axes that cut lines (A, C, L) into parts of at most about PIECE."""
    (rows, channels, length), most = lines.shape, PIECE // lines.itemsize
    wide = min(channels, max(1, most // length))
    high = max(1, most // (wide * length))
    cuts = [[slice(a, a + size) for a in range(0, whole, size)] for whole, size in ((rows, high), (channels, wide))]
    return [(a, c) for a in cuts[0] for c in cuts[1]]


def _minus(part, mean):
    return np.subtract(part, mean, out=empty(part.shape, part.dtype))


def moments(lines):
    """Mean and variance of each channel of lines (A, C, L), (C,) each in their dtype."""
    count, squares = lines.size // lines.shape[1], np.zeros(lines.shape[1])
    mean = (lines.sum(axis=2).sum(axis=0, dtype=np.float64) / count).astype(lines.dtype)
    for a, c in _parts(lines):
        centred = _minus(lines[a, c], mean[c, None])
        squares[c] += np.einsum("acl,acl->ac", centred, centred).sum(axis=0, dtype=np.float64)
    return mean, (squares / count).astype(lines.dtype)


def _gelu_(y):
    t = empty(y.shape, y.dtype)
    np.multiply(y, y, out=t)
    t *= 0.044715 * math.sqrt(2 / math.pi)
    t += math.sqrt(2 / math.pi)
    t *= y
    np.tanh(t, out=t)
    t += 1
    t *= 0.5
    y *= t


ACTIVATIONS = {  # written into y; gradient for y
    "none": (lambda y: None, lambda upstream, y: upstream),
    "relu": (lambda y: np.maximum(y, 0, out=y), lambda upstream, y: upstream * ~(y <= 0)),
    "gelu": (_gelu_, _gelu_gradient),
}


def normalise(lines, weight, bias, mean, scale, activation):
    """activation(weight * (lines - mean) * scale + bias), for lines (A, C, L); the others are (C,)."""
    out, factor = empty(lines.shape, lines.dtype), weight * scale
    for a, c in _parts(lines):
        target = out[a, c]
        np.subtract(lines[a, c], mean[c, None], out=target)
        target *= factor[c, None]
        target += bias[c, None]
        ACTIVATIONS[activation][0](target)
    return out


def normalise_gradients(upstream, lines, weight, bias, mean, scale, activation, use_batch_stats, wants_x):
    """(gradient of the lines or None, of the weight, of the bias); mean and scale are the lines' own: use_batch_stats."""
    g, (sums, products) = empty(lines.shape, lines.dtype), np.zeros((2, lines.shape[1]))
    for a, c in _parts(lines):
        normal, through, part = _minus(lines[a, c], mean[c, None]), upstream[a, c], g[a, c]
        normal *= scale[c, None]
        if activation != "none":
            out = np.multiply(normal, weight[c, None], out=empty(normal.shape, normal.dtype))
            out += bias[c, None]
            through = ACTIVATIONS[activation][1](through, out)
        part[...] = through
        sums[c] += part.sum(axis=2).sum(axis=0, dtype=np.float64)
        products[c] += np.einsum("acl,acl->ac", part, normal).sum(axis=0, dtype=np.float64)
    count, factor = lines.size // lines.shape[1], weight * scale
    slope, shared = (scale * products / count).astype(g.dtype), (sums / count).astype(g.dtype)
    for a, c in _parts(lines) if wants_x else ():
        part = g[a, c]
        if use_batch_stats:
            normal = _minus(lines[a, c], mean[c, None])
            normal *= slope[c, None]
            normal += shared[c, None]
            part -= normal
        part *= factor[c, None]
    return g if wants_x else None, products.astype(g.dtype), sums.astype(g.dtype)


# Module 02: the error function

_ERF = (  # numerator and denominator, highest power first, for |x| up to 0.47, up to 4, and above (in 1 / x²)
    ([0.185777706184603153, 3.16112374387056560, 113.864154151050156, 377.485237685302021, 3209.37758913846947],
     [1.0, 23.6012909523441209, 244.024637934444173, 1282.61652607737228, 2844.23683343917062]),
    ([2.15311535474403846e-8, 0.564188496988670089, 8.88314979438837594, 66.1191906371416295, 298.635138197400131,
      881.95222124176909, 1712.04761263407058, 2051.07837782607147, 1230.33935479799725],
     [1.0, 15.7449261107098347, 117.693950891312499, 537.181101862009858, 1621.38957456669019, 3290.79923573345963,
      4362.61909014324716, 3439.36767414372164, 1230.33935480374942]),
    ([0.0163153871373020978, 0.305326634961232344, 0.360344899949804439, 0.125781726111229246, 0.0160837851487422766,
      0.000658749161529837803],
     [1.0, 2.56852019228982242, 1.87295284992346725, 0.527905102951428412, 0.0605183413124413191, 0.00233520497626869185]),
)  # fmt: skip


def erfc(x):
    """1 - erf(x), in float64, with full relative accuracy also where it is small.

    Source: W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23, 1969.
    """
    x = np.asarray(x, np.float64)
    y, (small, middle, large) = np.abs(x), [lambda z, p=p, q=q: np.polyval(p, z) / np.polyval(q, z) for p, q in _ERF]
    near, mid = np.minimum(y, 0.46875), np.clip(y, 0.46875, 4.0)
    far = np.clip(y, 4.0, 30.0)  # beyond, exp(-y²) is 0
    tail = (1 / math.sqrt(math.pi) - large(1 / far**2) / far**2) / far
    above = np.exp(-(np.minimum(y, 30.0) ** 2)) * np.where(y <= 4, middle(mid), tail)
    upper = np.where(y <= 0.46875, 1 - near * small(near**2), above)
    return np.where(np.isnan(x), x, np.where(x < 0, 2 - upper, upper))


# Modules 04 and 05: losses with settings, and their gradients


def squared_errors(prediction, target):
    """(prediction - target) ** 2, entry by entry."""
    return (prediction - target) ** 2


def squared_errors_prediction(upstream, out, prediction, target):
    """Gradient of squared_errors with respect to prediction; to the target, it is the negative."""
    return 2 * upstream * (prediction - target)


def squared_errors_target(upstream, out, prediction, target):
    """Gradient of squared_errors with respect to target."""
    return 2 * upstream * (target - prediction)


def binary_cross_entropies(logits, target):
    """The losses of binary_cross_entropy_with_logits, entry by entry."""
    return np.maximum(logits, 0) - logits * target + np.log1p(np.exp(-np.abs(logits)))


def binary_cross_entropies_logits(upstream, out, logits, target):
    """Gradient of binary_cross_entropies with respect to logits."""
    return upstream * (0.5 * (1 + np.tanh(0.5 * logits)) - target)


def binary_cross_entropies_target(upstream, out, logits, target):
    """Gradient of binary_cross_entropies with respect to target."""
    return -upstream * logits


def weighted_cross_entropy(logits, labels, smoothing, weight, reduction):
    """cross_entropy with all its settings; keeps (shares (B, C), targets (B, C), what the sum is divided by).

    A row of targets is its label's weight at the label, smoothed over all classes by weight; zeros for label -1.
    """
    count, classes = logits.shape
    weight = np.ones(classes, logits.dtype) if weight is None else weight
    used = labels >= 0
    target = np.tile(smoothing / classes * weight, (count, 1)).astype(logits.dtype)
    target[np.arange(count), np.where(used, labels, 0)] += (1 - smoothing) * weight[np.where(used, labels, 0)]
    target[~used] = 0
    shifted = logits - logits.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    losses = -np.multiply(target, logs, where=target != 0, out=np.zeros_like(logs)).sum(axis=1)
    whole = weight[labels[used]].sum() if reduction == "mean" else 1
    if reduction == "mean" and not whole:
        raise ValueError("cross_entropy: every label is ignored, or of a class with weight 0: there is no mean")
    return losses if reduction == "none" else losses.sum() / whole, (np.exp(logs), target, whole)


def weighted_cross_entropy_logits(upstream, saved, logits, *settings):
    """Gradient of weighted_cross_entropy with respect to logits."""
    shares, target, whole = saved
    per_row = upstream[:, None] if settings[-1] == "none" else upstream / whole
    return (shares * target.sum(axis=1, keepdims=True) - target) * per_row


# Module 05: a mode for a block


class Within:
    """A context variable set within a block, or while the decorated function's own code runs.

    Decorated generators and coroutines have it while their own code runs, not while they wait.
    """

    _open = contextvars.ContextVar("open", default=())  # of this thread or task: the blocks, and the values before them

    def __init__(self, variable, value):
        self.variable, self.value, self.entered = variable, value, 0

    def __enter__(self):
        self._open.set((*self._open.get(), (self, self.variable.get())))
        self.variable.set(self.value)
        self.entered += 1

    def __exit__(self, *error):
        blocks = list(self._open.get())
        mine = [i for i, (block, _) in enumerate(blocks) if block is self]
        if not self.entered:
            raise RuntimeError("this block was left without having been entered: use it in a `with` statement")
        self.entered -= 1
        if not mine:
            return  # entered in another thread or task: here is nothing to bring back
        _, before = blocks.pop(mine[-1])
        later = [i for i in range(mine[-1], len(blocks)) if blocks[i][0].variable is self.variable]
        if later:  # one that was entered within this one is still open
            blocks[later[0]] = blocks[later[0]][0], before
        else:
            self.variable.set(before)
        self._open.set(tuple(blocks))

    def __call__(self, function):
        """Decorate a function, a generator function or an `async` one, a method of any kind."""
        if isinstance(function, classmethod | staticmethod):
            return type(function)(self(function.__func__))
        if isinstance(function, type) or not callable(function):
            kind = "a class: decorate its methods" if isinstance(function, type) else f"{function!r:.60}"
            raise TypeError(f"a function to decorate was expected, got {kind}; a block is `with no_grad():`")
        fresh = functools.partial(Within, self.variable, self.value)

        @functools.wraps(function)
        def run(*inputs, **named):
            with fresh():
                result = function(*inputs, **named)
            for known, steps in _STEPS:
                if known(result):
                    return steps(fresh, result)
            return result

        @functools.wraps(function)
        async def run_async(*inputs, **named):
            return await _Awaited(fresh, function(*inputs, **named))

        return run_async if inspect.iscoroutinefunction(function) else run


class BracketsNeeded:
    """A function that gives a block: `with` refuses it without its brackets."""

    def __init__(self, function):
        functools.update_wrapper(self, function)

    def __call__(self, *inputs, **named):
        return self.__wrapped__(*inputs, **named)

    def __repr__(self):
        return f"<function {self.__name__}>"

    def __enter__(self):
        raise TypeError(f"`with {self.__name__}:` lacks its brackets: write `with {self.__name__}():`")

    def __exit__(self, *error):
        pass


def _stepwise(fresh, steps):
    """Yield what a generator or a coroutine yields, with the mode set during each of its steps only."""
    resume, value = steps.send, None
    while True:
        try:
            with fresh():
                out = resume(value)
        except StopIteration as done:
            return done.value
        try:
            resume, value = steps.send, (yield out)
        except GeneratorExit:
            with fresh():
                steps.close()
            raise
        except BaseException as error:
            resume, value = steps.throw, error


class _Awaited:
    def __init__(self, fresh, coroutine):
        self.fresh, self.coroutine = fresh, coroutine

    def __await__(self):
        return _stepwise(self.fresh, self.coroutine.__await__())


async def _awaited(fresh, coroutine):
    return await _Awaited(fresh, coroutine)


async def _async_steps(fresh, steps):
    resume, value = steps.asend, None
    try:
        while True:
            try:
                out = await _Awaited(fresh, resume(value))
            except StopAsyncIteration:
                return
            try:
                resume, value = steps.asend, (yield out)
            except GeneratorExit:
                raise
            except BaseException as error:
                resume, value = steps.athrow, error
    finally:
        await _Awaited(fresh, steps.aclose())


_STEPS = (  # what a decorated function may return that runs later; tasks and futures run on their own
    (inspect.isgenerator, _stepwise),
    (inspect.isasyncgen, _async_steps),
    (inspect.iscoroutine, _awaited),
    (lambda result: hasattr(type(result), "__await__") and not hasattr(result, "add_done_callback"), _Awaited),
)
