"""What is fast or exact, and not taught: functions on arrays, and a mode for a block. NumPy only."""

import contextvars
import functools
import inspect
import math

import numpy as np

# Modules 02 and 05: entry by entry. NumPy takes one operation after the other, each through the whole array: of some
# megabytes, every pass comes from memory. A piece at a time stays in the cache from the first to the last, and memory
# that is at hand costs less than what NumPy asks for on the way.

PIECE = 512 << 10  # bytes of a piece: few stay in a cache, but every call takes a microsecond besides its work
FEW = 1 << 13  # numbers up to which the lesson's own function is as quick
recording = None  # `core.tensor` puts the variable here that says whether results remember how they were made
empty = np.empty  # `core.fast` puts its own in this place: new memory costs more than the arithmetic on it


def empty_like(array):
    """An array of this shape, dtype and order in memory, with arbitrary content."""
    axes = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
    out = empty(tuple([array.shape[axis] for axis in axes]), array.dtype)
    return out.transpose(sorted(range(array.ndim), key=axes.__getitem__))


def shape_of(array):
    """An array of its shape and dtype that holds a single number: a recipe keeps it where it needs no more."""
    return np.broadcast_to(array.dtype.type(0), array.shape)


def copied(array, dtype):
    """A copy in the order in which the array lies."""
    if array.size < FEW or array.dtype != dtype or not np.may_share_memory(array, array.ravel("K")):
        return np.array(array, dtype)
    out = empty_like(array)
    np.copyto(out, array)
    return out


def in_lines(length):
    """Within np.errstate, which takes it back: arithmetic on lines of that many numbers, one number for each line.

    NumPy would first copy that number for each of a buffer's 8,192, which takes longer than the arithmetic. With a buffer
    shorter than a line it does not; short lines are quicker with it.
    """
    if length >= 320:
        np.setbufsize(16)


def in_pieces(function, made, room, *arrays):
    """Call function(results, inputs, room) for piece after piece of arrays that lie alike; returns the `made` results.

    room: how many arrays for what is made on the way.
    """
    out = [empty_like(arrays[0]) for _ in range(made)]
    flat, size = [array.ravel("K") for array in (*out, *arrays)], max(1, PIECE // arrays[0].itemsize)
    own = [empty((min(size, arrays[0].size),), arrays[0].dtype) for _ in range(room)]
    for start in range(0, arrays[0].size, size):
        pieces = [array[start : start + size] for array in flat]
        function(pieces[:made], pieces[made:], [array[: pieces[0].size] for array in own])
    return out


def _many(*arrays):
    """Whether these are many floats each, of one shape, kind and order in memory, without gaps."""
    first = arrays[0]
    if not isinstance(first, np.ndarray) or first.size < FEW or first.dtype.char not in "fd":
        return False
    alike = all(a.shape == first.shape and a.strides == first.strides and a.dtype == first.dtype for a in arrays[1:])
    return alike and np.may_share_memory(first, first.ravel("K"))


def _too_few(x):
    """ValueError, for a function that is quicker on many numbers and no answer to an exercise on few."""
    if np.size(x) < FEW:
        raise ValueError(f"made for {FEW:,} numbers or more, got {np.size(x):,}: call the one of tinytorch.core")


class Quick:
    """A function of a lesson on few numbers; on many another one, which gives the same in less time.

    quick: takes what the lesson's function takes; suits: whether it takes these inputs; example: inputs on which both
    must agree, or the lesson's own runs everywhere. quick may return NotImplemented. Tests hold them against each other.
    """

    def __init__(self, function, quick, suits, example):
        functools.update_wrapper(self, function)
        self.function, self.quick, self.suits, self.example, self.agreed = function, quick, suits, example, None

    def __call__(self, *inputs):
        many = getattr(inputs[0], "size", 0) >= FEW
        return self.quick(*inputs) if many and self.serves(inputs) else self.function(*inputs)

    def serves(self, inputs):
        """Whether `quick` does these."""
        if not self.suits(*inputs):
            return False
        if self.agreed is None:
            self.agreed = self._agree()
        return self.agreed

    def _agree(self):
        example = self.example()
        try:
            mine, right = self.quick(*example), self.function(*example)
        except Exception:  # not finished
            return False
        mine, right = (found[0] if type(found) is tuple else found for found in (mine, right))
        return np.shape(mine) == np.shape(right) and np.allclose(mine, right, rtol=1e-5, atol=1e-6)


class QuickSaving(Quick):
    """Where `quick` saves all that a recipe needs: the recipe holds that in place of the input."""

    def keep(self, arrays):
        """What the recipe holds: the shape and dtype of x, and the rest."""
        return [shape_of(arrays[0]), *arrays[1:]] if self.serves(arrays) else arrays


def quick_gelu(function):
    """For `refusals`: the lesson's gelu. On many numbers the slope is found on the way."""
    return QuickSaving(function, gelu, _many, lambda: (np.linspace(-6, 6, FEW),))


class Slope:
    """The slopes of a function at its inputs, in place of a saved result."""

    def __init__(self, values):
        self.values = values


def gelu(x, form="tanh"):
    """(gelu of many floats, Slope), "tanh" or "erf"; without a slope where nothing is recorded.

    "erf" is that of float32, exact to 3e-7 of the result or of 1.
    """
    _too_few(x)
    way, wanted = _GELU[form], recording is None or recording.get()

    def piece(results, inputs, room):
        way(inputs[0], *results, *[None] * (not wanted), *room)

    with np.errstate(over="ignore", invalid="ignore"):
        out, *slope = in_pieces(piece, 1 + wanted, 2, x)
    return out, Slope(slope[0]) if wanted else None


@functools.cache
def _powers(dtype):
    """(function, factor): function(factor * x) is e to the power x, in the quickest way for this dtype.

    Of float32, powers of 2 take half the time of powers of e, where NumPy finds many at once.
    """
    known = np.lib.introspect.opt_func_info("^exp2$", "float32").get("exp2", {}).get("ff", {})
    many = dtype == np.float32 and "baseline" not in known.get("current", "baseline")
    return (np.exp2, math.log2(math.e)) if many else (np.exp, 1)


def _exp(x, out):
    """Powers of e, to 1e-7 * (2 + |x|) of each in float32."""
    power, unit = _powers(x.dtype)
    power(x if unit == 1 else np.multiply(x, unit, out=out), out=out)


def gelu_tanh(x, out, slope, square, share):
    """x * (1 + t) / 2 with t = tanh(u), u = x * (c + k * x²); the slope is (1 + t) / 2 * (1 + (1 - t) * x * u')."""
    c, k = math.sqrt(2 / math.pi), 0.044715 * math.sqrt(2 / math.pi)
    np.multiply(x, x, out=square)
    np.multiply(square, k, out=share)
    share += c
    share *= x
    np.tanh(share, out=share)
    if slope is not None:
        square *= 3 * k
        square += c
        square *= x
        np.subtract(1, share, out=slope)
        square *= slope
        square += 1
    share += 1
    share *= 0.5
    if slope is not None:
        np.multiply(share, square, out=slope)
    np.multiply(share, x, out=out)


# atanh(erf(x / √2)) = x * (a + b * s + c / (s + d + e / (s + f))) with s = x²: least squares, reweighted until the errors
# were even, 1.3e-7 of x * share or of the share. A polynomial as exact takes four passes more over the piece.
_ERF = (
    1.2294941336289207, 0.017456772996470055, -4.087931903938723,
    -10.129370016837015, 655.7487231490986, 33.45525678152023,
)  # fmt: skip


def _gelu_erf(x, out, slope, square, share):
    """x * share, the share of the normal distribution below x: 1 / (1 + exp(-2 * atanh(erf(x / √2)))).

    The slope is share + x * density.
    """
    power, unit = _powers(x.dtype)
    a, b, c, d, e, f = _ERF
    np.multiply(x, x, out=square)
    np.add(square, f, out=share)
    np.divide(e, share, out=share)
    share += square
    share += d
    np.divide(-2 * unit * c, share, out=share)
    np.multiply(square, -2 * unit * b, out=out)
    share += out
    share -= 2 * unit * a
    share *= x
    power(share, out=share)
    share += 1
    np.divide(1, share, out=share)
    if slope is not None:
        square *= -0.5 * unit
        power(square, out=square)
        square *= 1 / math.sqrt(2 * math.pi)
        np.multiply(square, x, out=slope)
        slope += share
    np.multiply(share, x, out=out)


_GELU = {"tanh": gelu_tanh, "erf": _gelu_erf}


def gelu_erf(x):
    """x times the share of the normal distribution below x, and its Slope."""
    if _many(x) and x.dtype == np.float32:
        return gelu(x, "erf")
    share = (0.5 * erfc(x / -math.sqrt(2))).astype(x.dtype)
    return x * share, Slope(share + x * np.exp(-0.5 * x * x) * (1 / math.sqrt(2 * math.pi)))


def gelu_gradient(upstream, saved, x):
    """Gradient of gelu, either form; of x alone, where the lesson's own function made the result, the tanh form's."""
    if isinstance(saved, Slope):
        return np.multiply(upstream, saved.values, out=empty_like(saved.values))
    c, k = math.sqrt(2 / math.pi), 0.044715 * math.sqrt(2 / math.pi)
    dtype, x = x.dtype, x.astype(np.float32) if x.dtype == np.float16 else x  # whose squares end at 65,504
    t = np.tanh(x * (c + k * x * x))
    slope = 0.5 * (1 + t + (1 - t * t) * x * (c + 3 * k * x * x))
    return upstream * slope.astype(dtype, copy=False)


# Modules 02 and 05: along the rows


def _rows(*inputs):
    """Whether these are arrays of many floats in rows, all of one shape, and at the end the number of the last axis."""
    *arrays, axis = inputs
    first = arrays[0]
    if not _many(*arrays) or not first.flags.c_contiguous or not first.ndim:
        return False
    return type(axis) is int and axis in (-1, first.ndim - 1) and first.shape[-1] >= 32


def _by_rows(function, made, room, *arrays):
    """function(ones, *results, *room, *arrays) for as many rows as the cache holds, one piece after the other.

    ones: sum a row by a product with them; room: how many arrays for what is made on the way. Returns the `made` results.
    """
    shape, dtype = arrays[0].shape, arrays[0].dtype
    length, out = shape[-1], [empty(shape, dtype) for _ in range(made)]
    count, size = arrays[0].size // length, max(1, 2 * PIECE // (length * dtype.itemsize))
    ones, flat = np.ones(length, dtype), [array.reshape(count, -1) for array in (*out, *arrays)]
    own = [empty((min(size, count), length), dtype) for _ in range(room)]
    with np.errstate(over="ignore"):
        in_lines(length)
        for start in range(0, count, size):
            pieces = [array[start : start + size] for array in flat]
            function(ones, *pieces[:made], *[array[: len(pieces[0])] for array in own], *pieces[made:])
    return out


def softmax(x, axis):
    """softmax of many floats along the last axis."""
    _too_few(x)
    return _by_rows(_softmax, 1, 0, x)[0]


def _sums(ones, x):
    """The sum of each row, 1,024 numbers at a time: a product adds up one after the other, and thousands cost a digit."""
    return sum(x[:, a : a + 1024] @ ones[a : a + 1024] for a in range(0, len(ones), 1024))


def _softmax(ones, out, x):
    _exp(x, out)
    sums = _sums(ones, out)
    if not _between(1e-3, sums, 6e4 if x.dtype == np.float32 else 1e30):  # then they are shifted: digits would be lost
        np.subtract(x, x.max(axis=1)[:, None], out=out)
        _exp(out, out)
        sums = _sums(ones, out)
    out *= np.reciprocal(sums, out=sums)[:, None]


def _between(low, values, high):
    return low < np.minimum.reduce(values) and np.maximum.reduce(values) < high  # not, if one is NaN


def _softmax_gradient(ones, out, upstream, shares):
    np.subtract(upstream, np.vecdot(upstream, shares)[:, None], out=out)
    out *= shares


class Powers:
    """Powers of e and the reciprocals of their sums along the last axis: a softmax not yet divided, as a saved result."""

    def __init__(self, values, reciprocals):
        self.values, self.reciprocals = values, reciprocals


def log_softmax(x, axis):
    """(log_softmax of many floats along the last axis, Powers); without them where nothing is recorded."""
    _too_few(x)
    wanted, reciprocals = recording is None or recording.get(), []
    out, *powers = _by_rows(functools.partial(_log_softmax, reciprocals), 1 + wanted, 1 - wanted, x)
    return out, Powers(powers[0], np.concatenate(reciprocals)) if wanted else None


def _log_softmax(reciprocals, ones, out, powers, x):
    sums, narrow = None, x.dtype == np.float32
    if narrow:
        _exp(x, powers)
        sums = _sums(ones, powers)
    if narrow and _between(3.4e-4, sums, 6e4):  # logarithms from -8 to 11 lose no more than 9e-7 of 1
        np.subtract(x, np.log(sums)[:, None], out=out)
    else:
        np.subtract(x, x.max(axis=1)[:, None], out=out)
        _exp(out, powers)
        sums = _sums(ones, powers)
        out -= np.log(sums)[:, None]
    reciprocals.append(np.reciprocal(sums, out=sums))


def _log_softmax_gradient(ones, out, upstream, powers, reciprocals):
    np.multiply(powers, (_sums(ones, upstream) * reciprocals[:, 0])[:, None], out=out)
    np.subtract(upstream, out, out=out)


def quick_rows_of(function):
    """For `refusals`: the lesson's softmax or log_softmax (x, axis), quick for many numbers along the last axis."""
    kind, quick = {"softmax": (Quick, softmax), "log_softmax": (QuickSaving, log_softmax)}[function.__name__]
    return kind(function, quick, _rows, lambda: (np.random.default_rng(0).standard_normal((2, FEW // 64, 32)), -1))


def quick_softmax_gradient(rule):
    """The lesson's rule (upstream, out, x, axis)."""
    upstream, x = np.random.default_rng(0).standard_normal((2, 3, 7))
    return Quick(rule, lambda upstream, out, x, axis: _by_rows(_softmax_gradient, 1, 0, upstream, out)[0],
                 lambda upstream, out, x, axis: _rows(upstream, out, axis),
                 lambda: (upstream, np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True), x, -1))  # fmt: skip


def log_softmax_gradient(upstream, saved, x, axis):
    """Gradient of log_softmax with respect to x; saved: its Powers, or the result of the lesson's own function."""
    if not isinstance(saved, Powers):
        return upstream - np.exp(saved) * upstream.sum(axis=axis, keepdims=True)
    upstream = np.ascontiguousarray(upstream)
    return _by_rows(_log_softmax_gradient, 1, 0, upstream, saved.values, saved.reciprocals)[0]


# Module 02: the error function

_ERFC = (  # numerator and denominator, highest power first, for |x| up to 0.47, up to 4, and above (in 1 / x²)
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
    y, (small, middle, large) = np.abs(x), [lambda z, p=p, q=q: np.polyval(p, z) / np.polyval(q, z) for p, q in _ERFC]
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
    counts = target != 0
    counts[np.arange(count), labels] |= used  # a label of weight 0 does not hide a NaN
    losses = 0 - np.multiply(target, logs, where=counts, out=np.zeros_like(logs)).sum(axis=1)
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
