"""Arrays that came from the student's process, and comparisons that such an array cannot slip through.

`np.allclose(np.zeros((0, 1, 1)), anything)` is True in NumPy: the shapes broadcast to nothing, and all of nothing is
close. So in the tester's process an array of the student's is a `Reading`. A test's own number may be
compared with each of its entries; a test's own array has to have its shape (unless the test itself adds axes, as in
bias[:, None]), and what comes of that is an ordinary array, as it has been held against one. Nothing is concluded from
an empty one. `guard` gives this process NumPy's comparisons with the same rules.
"""

import functools

import numpy as np

ARRAYS = ("array", "asarray", "ascontiguousarray", "asfortranarray", "copy")  # they would forget where an array is from
COMPARE = ("allclose", "array_equal", "array_equiv")  # the answer is yes or no: no, for other shapes
COMPARING = {"subtract", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
EMPTY_IS_FINE = {"shape", "ndim", "size", "array_repr", "array_str", "array2string", "concatenate", "stack", "copy"}
EMPTY_IS_FINE |= {"zeros_like", "ones_like", "empty_like", "full_like", "ravel", "reshape", "transpose", "result_type"}


class RefusedError(AssertionError):
    """A comparison that would say nothing."""


class Reading(np.ndarray):
    """An array from the student's process, which nothing of the test's own has been held against yet."""

    stretches = False  # whether the test has added axes, as in bias[:, None]

    def __getitem__(self, key):
        part = super().__getitem__(key)
        if key is None or type(key) is tuple and any(one is None for one in key):
            part.stretches = True
        return part

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **named):
        met = False
        if method == "__call__" and ufunc.signature is None:
            met = ufunc.nin > 1 and _meet(ufunc, inputs)
        elif method in ("reduce", "accumulate", "reduceat"):
            _not_empty(inputs)
        if out is not None:
            named["out"] = tuple(map(plain, out))
        result = getattr(ufunc, method)(*map(plain, inputs), **named)
        if out is not None:
            return out[0] if len(out) == 1 else out
        return result if met else _marked(result)

    def __array_function__(self, function, types, inputs, named):
        if function.__name__ not in EMPTY_IS_FINE:
            _not_empty((*inputs, *named.values()))
        return _marked(function(*map(plain, inputs), **{name: plain(value) for name, value in named.items()}))

    def __iter__(self):
        _not_empty((self,))
        return super().__iter__()

    def var(self, *inputs, **named):
        _not_empty((self,))
        return _marked(plain(self).var(*inputs, **named))

    def std(self, *inputs, **named):
        _not_empty((self,))
        return _marked(plain(self).std(*inputs, **named))

    def __repr__(self):
        return repr(plain(self))


Reading.__name__ = Reading.__qualname__ = "ndarray"  # as a test sees it


def plain(value):
    """A value whose readings, also those in lists, are ordinary arrays."""
    if isinstance(value, Reading):
        return value.view(np.ndarray)
    if type(value) in (list, tuple) and any(isinstance(item, Reading | list | tuple) for item in value):
        return type(value)(map(plain, value))
    return value


def _marked(value):
    """What NumPy made of a reading is one."""
    if type(value) is np.ndarray:
        return value.view(Reading)
    return type(value)(map(_marked, value)) if type(value) in (list, tuple) else value


def _not_empty(values) -> None:
    for value in values:
        if isinstance(value, Reading) and not value.size:
            raise RefusedError(f"your array of shape {value.shape} is empty: nothing follows from it")
        if type(value) in (list, tuple):
            _not_empty(value)


def _meet(ufunc, values) -> bool:
    """Whether readings meet an array of the test's own and have its shape.

    RefusedError if one has another shape and is compared (a difference is a comparison), or is empty.
    """
    readings = [value for value in values if isinstance(value, Reading)]
    own = next((shape for value in values if not isinstance(value, Reading) and (shape := np.shape(value))), None)
    strange = [value for value in readings if value.shape != own]
    if own is None and len(readings) == 1 or not strange:
        return own is not None
    for value in strange:
        if own is not None and ufunc.__name__ in COMPARING and not value.stretches:
            raise RefusedError(f"your array has the shape {value.shape}, and {own} is expected here")
    _not_empty(strange)
    return False


def alike(one, other) -> bool:
    """Whether two values may be compared at all: equal shapes, or entries, of which there are some, with one number."""
    first, second = np.shape(one), np.shape(other)
    if first == second:
        return not (0 in first and isinstance(one, Reading) and isinstance(other, Reading))
    if second == () and not isinstance(other, Reading):
        return 0 not in first
    return first == () and isinstance(other, Reading) and not isinstance(one, Reading) and 0 not in second


def guard(read) -> None:
    """From now on, NumPy's comparisons in this process are strict. `read(value)`: a stand-in's array, or the value."""
    for name in COMPARE:
        setattr(np, name, _strict(getattr(np, name), read, False))
    np.isclose = _strict(np.isclose, read, None)
    for name in ARRAYS:
        setattr(np, name, _keeping(getattr(np, name), read))
    for name in ("assert_allclose", "assert_array_equal", "assert_equal", "assert_almost_equal",
                 "assert_array_almost_equal"):  # fmt: skip
        setattr(np.testing, name, _strict(getattr(np.testing, name), read, None))


def _strict(function, read, refusal):
    """A comparison that answers `refusal`, or raises if that is None, where shapes differ or nothing is there."""

    @functools.wraps(function)
    def compare(one, other, *rest, **named):
        one, other = read(one), read(other)
        try:
            fits = alike(one, other)
        except ValueError:  # ragged lists have no shape
            fits = False
        if fits:
            return function(plain(one), plain(other), *rest, **named)
        if refusal is None:
            raise RefusedError(f"the shapes are {np.shape(one)} and {np.shape(other)}, where they should be the same")
        return refusal

    return compare


def _keeping(function, read):
    """A function that makes an array: what it makes of a reading is one."""

    @functools.wraps(function)
    def make(value, *rest, **named):
        value = read(value)
        inside = type(value) in (list, tuple)
        if inside:
            value = type(value)(map(read, value))
        if type(value) in (int, float) or isinstance(value, np.generic):  # whose number it is, is not known here
            return function(value, *rest, **named).view(Reading)
        if isinstance(value, Reading) or inside and any(isinstance(item, Reading) for item in value):
            return function(plain(value), *rest, **named).view(Reading)
        return function(value, *rest, **named)

    return make
