"""What a call takes, and what it says when its input does not fit: given, not taught.

The notebooks import from here what their lessons do not explain. Of tinytorch only `kernels` is imported: a tensor is
known by its `data`, and a notebook's own functions are passed in.
"""

import functools
import inspect
import json
import linecache
import math
import operator
import os
import sys
import types
from collections import abc
from inspect import Parameter

import numpy as np

from . import kernels

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)
PLAIN = frozenset((int, float, bool, tuple, slice, str, type(None), type(Ellipsis)))  # go to NumPy as they are
AXES = frozenset((int, tuple, type(None)))
OPERANDS = frozenset("a b x exponent slope weight bias prediction target logits labels label_smoothing".split())


# Module 01: what goes into a tensor


def checked_dtype(dtype):
    """A NumPy dtype of real numbers from its name, or TypeError."""
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if dtype is None or found is None or found.kind not in "biuf":
        raise TypeError(f"expected a dtype of real numbers, got {dtype!r}: say 'float32', 'float64', 'int64' or 'bool'")
    return found


def tensor_data(data, dtype, as_array):
    """The array of a new tensor, by as_array; what it cannot hold is a sentence."""
    dtype = dtype if dtype is None else checked_dtype(dtype)
    if hasattr(data, "grad_fn"):
        data = data.data
    elif isinstance(data, list | tuple):
        check_nothing_lost(data)
    elif data.__class__ is not np.ndarray:
        check_unmasked(data)
    try:
        return as_array(data, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        try:
            leaves = np.array(data, object).ravel()
        except ValueError:
            raise error from None
        strange = [x for x in leaves if isinstance(x, float | np.floating) and not math.isfinite(x)]
        if strange and dtype is not None and dtype.kind in "iu":
            raise ValueError(f"a Tensor of dtype {dtype} cannot hold {strange[0]}: pass dtype='float32'") from error
        if isinstance(error, OverflowError):
            raise ValueError(f"a Tensor of dtype {dtype} cannot hold {data!r:.80}: pass a wider dtype") from error
        large = next((x for x in leaves if isinstance(x, int) and not -(1 << 63) <= x < 1 << 64), None)
        if dtype is None and large is not None:
            mend = "pass dtype='float32'" if abs(large) < 3e38 else "float32 ends at 3.4e+38, scale it down"
            raise ValueError(f"no whole-number dtype can hold {data!r:.80}: {mend}") from error
        raise


def check_unmasked(x):
    """ValueError for an array with masked entries, which would count like any others."""
    masked = sys.modules.get("numpy.ma")  # NumPy loads it when it is first used
    if masked and isinstance(x, masked.MaskedArray) and masked.is_masked(x):
        raise ValueError(f"expected numbers everywhere, got an array {x.shape} with masked entries: fill them first, "
                         "x.filled(0), or leave them out, x.compressed()")  # fmt: skip


_NUMBERS = {int, float, bool}


def check_nothing_lost(data):
    """TypeError if a list holds tensors that require gradients: an array made of them would not remember them."""
    if set(map(type, data)) <= _NUMBERS:
        return
    for item in data:
        if isinstance(item, list | tuple):
            check_nothing_lost(item)
        elif getattr(item, "requires_grad", False):
            raise TypeError("a list of tensors becomes an array, and the gradients to them would be lost: calculate "
                            "with the tensors themselves, or take .detach() or .item() of each")  # fmt: skip


def to_operand(x, beside, as_array):
    """An input that is not a tensor, made ready: arrays follow the dtype rules, NumPy's scalars become Python's.

    Beside a float64 tensor, arrays of floats keep (or get) 64 bits: nothing is rounded on the way.
    """
    if isinstance(x, np.generic):
        x = float(x) if x.dtype.kind == "f" else x.item()
    if isinstance(x, complex):
        raise TypeError(f"expected real numbers, got {x}: take the real and the imaginary part one by one")
    if isinstance(x, (list, tuple)):
        check_nothing_lost(x)
    elif not isinstance(x, (np.ndarray, range)):
        return x
    elif x.__class__ is not np.ndarray:
        check_unmasked(x)
    array = as_array(x)
    if array.dtype.kind == "f" and any(hasattr(t, "grad_fn") and t.data.dtype is FLOAT64 for t in beside):
        return as_array(x, FLOAT64)
    return array


def to_compare(x, beside, as_array):
    """to_operand for a comparison, which has no gradient to lose: a list may hold any tensors."""
    if isinstance(x, list | tuple):
        x = as_array(x, FLOAT64) if beside.data.dtype is FLOAT64 else as_array(x)
    return to_operand(x, (beside,), as_array)


def to_real(x, beside, as_array):
    """An array for real arithmetic: integers and booleans become float32. None stays."""
    if x is None:
        return x
    if not isinstance(x, np.ndarray):
        x = as_array(x, FLOAT64 if any(getattr(a, "dtype", None) == "float64" for a in beside) else None)
    return x.astype(np.float32) if x.dtype.kind in "biu" else x


def one_shape(lengths):
    """(2, 3) from f(2, 3), f((2, 3)) or f([2, 3])."""
    if len(lengths) == 1 and isinstance(lengths[0], tuple | list | np.ndarray) and np.ndim(lengths[0]):
        return tuple(plain(length) for length in lengths[0])
    return lengths


def made(name, make, shape):
    """make(shape), with the shape in any form, or an error that names the maker."""
    shape = one_shape(shape)
    try:
        return make(shape)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name} takes a shape, whole numbers from 0 on, got {shape!r:.60} ({error})") from None


def as_index(where):
    """An index as a recipe may keep it: arrays are copied, since whose they are may refill them."""
    if isinstance(where, tuple):
        return tuple(map(as_index, where))
    if isinstance(where, list):
        try:
            return np.array(where, None if where else np.intp)
        except ValueError as error:
            raise IndexError(f"an index has rows of one length, got {where!r:.60}: mend the rows") from error
    keep = isinstance(where, np.generic) or not hasattr(where, "__array__")
    return where if keep else np.array(where)


def number_of(item, kind, name):
    """A method: the only element as a Python number of that kind."""

    def number(self, *spec):
        if self.size != 1:
            raise ValueError(f"{name} needs exactly one element, got the shape {self.shape}")
        value = item(self)
        try:
            return kind(value, *spec)
        except (ValueError, OverflowError) as error:
            mend = f"use float({value!r}), or a format such as '.3f'" if kind is format else "use float()"
            raise type(error)(f"{name or kind.__name__} of {value!r}: {error}; {mend}") from None

    return number


def seeded(seed):
    """A NumPy Generator from a seed."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        raise type(error)(f"manual_seed takes a whole number from 0 on, got {seed!r:.60}") from None


def patch_class(known):
    """Decorator: add what a class holds to the class `known`, which comes back. So one is written over several cells."""

    def add(more):
        for name, value in vars(more).items():
            if callable(value) or not name.startswith("__"):  # methods; not the docstring, the line number, ...
                setattr(known, name, value)
        return known

    return add


def method(function):
    """The function under the name that people type; a keyword that it does not have is answered with those it has."""
    name, signature = function.__name__.strip("_"), inspect.signature(function)
    known = [str(p) for p in signature.parameters.values() if p.name != "self"]

    @functools.wraps(function)
    def run(*inputs, **named):
        if named:
            bound(name, signature, inputs, named, known)
        return function(*inputs, **named)

    del run.__wrapped__  # which operations have
    run.__name__ = run.__qualname__ = name
    run.__signature__ = signature
    return run


def bound(name, signature, inputs, named, known=None):
    """The inputs in their places, or TypeError that names what there is."""
    try:
        return signature.bind(*inputs, **named)
    except TypeError as error:
        raise TypeError(f"{name} takes the inputs {', '.join(known or signature.parameters)}: {error}") from None


# Module 01: what an operation says


_TYPED = {  # operations that stand behind another one: the name that people type
    "gelu_erf": "gelu",
    "squared_errors": "mse_loss",
    "binary_cross_entropies": "binary_cross_entropy_with_logits",
    "weighted_cross_entropy": "cross_entropy",
}


def _in_float32(forward):
    """forward, a mean: for float16 it is worked out in float32, where the sum on the way has room."""

    def call(*arrays):
        if getattr(arrays[0], "dtype", None) != np.float16 or not all(map(_is_half, arrays[:2])):
            return forward(*arrays)
        result = forward(*(a.astype(np.float32) if getattr(a, "dtype", None) == np.float16 else a for a in arrays))
        if not isinstance(result, tuple):
            return result.astype(np.float16)
        return result[0].astype(np.float16), _narrow(result[1])

    return call


def _by_lengths(forward):
    """forward, a reshape, in which -1 is the only negative length: NumPy takes others for it."""

    def call(a, shape):
        result = forward(a, shape)
        if shape.__class__ is not tuple or getattr(result, "shape", None) != shape:
            lengths = one_shape((shape,))
            if any(length < -1 for length in lengths):
                raise ValueError(f"reshape takes lengths from 0 on, and one -1 for the rest, got {lengths}: write -1")
        return result

    return call


def _with_bias(forward):
    """forward, a linear, whose bias has one number for each row of the weight: another may broadcast."""

    def call(x, weight, bias):
        if np.ndim(weight) != 2:
            raise ValueError(f"linear: weight is (out, in), got {np.shape(weight)}: reshape it to two axes")
        if bias is not None and np.shape(bias) != weight.shape[:1]:
            raise ValueError(f"linear: bias is {weight.shape[:1]}, one number for each row of weight {weight.shape}, "
                             f"got {np.shape(bias)}: reshape it")  # fmt: skip
        return forward(x, weight, bias)

    return call


def _is_half(a):
    return not isinstance(a, np.ndarray) or a.dtype.kind != "f" or a.dtype == np.float16


def _narrow(saved):
    if isinstance(saved, tuple):
        return tuple(map(_narrow, saved))
    return saved.astype(np.float16) if isinstance(saved, np.ndarray) and saved.dtype == np.float32 else saved


def _keep_labels(arrays):
    if arrays[1].__class__ is not int:
        arrays[1] = as_index(arrays[1])  # a copy
    return arrays


def _keep_exponent(arrays):
    if getattr(getattr(arrays[1], "dtype", None), "kind", "") == "b":
        arrays[1] = arrays[1].astype(np.float32)
    return arrays


_CALLS = {  # functions with more to them than stands in the lesson, by name and inputs: another of that name is left alone
    ("gelu", "x"): kernels.QuickGelu,
    ("softmax", "x", "axis"): kernels.quick_rows_of,
    ("log_softmax", "x", "axis"): kernels.quick_rows_of,
    ("reshape", "a", "shape"): _by_lengths,
    ("linear", "x", "weight", "bias"): _with_bias,
    ("mse_loss", "prediction", "target"): _in_float32,
    ("binary_cross_entropy_with_logits", "logits", "target"): _in_float32,
    ("cross_entropy", "logits", "labels", "label_smoothing"): _in_float32,
    ("weighted_cross_entropy", "logits", "labels", "smoothing", "weight", "reduction"): _in_float32,
}
def _keep_shape(arrays):
    return [kernels.shape_of(arrays[0]), *arrays[1:]]


_KEEP = {  # what a recipe holds, where it is not just the arrays
    "index": _keep_labels,
    "cross_entropy": _keep_labels,
    "power": _keep_exponent,
    "max_pool2d_": _keep_shape,  # of core.fast: who won is saved
}


class Inputs:
    """What a function on arrays takes, for `operation`: its name, its inputs, and what is said of those that do not fit.

    real: names of inputs for real arithmetic. rules: how many inputs there are, how many have no default, all the
    defaults, which inputs are real, which one is an axis (0: none), the types that go to NumPy as they are, the function
    itself with room for its sums, and what makes the inputs fit to be kept in a recipe, or None.
    """

    def __init__(self, forward, real):
        its = forward.__name__
        self.signature, self.name = inspect.signature(forward), _TYPED.get(its, its.rstrip("_"))
        self.names, parameters = list(self.signature.parameters), self.signature.parameters.values()
        self.defaults = tuple(p.default for p in parameters)
        self.needed = self.defaults.count(Parameter.empty)
        self.operands = sum(name in OPERANDS for name in self.names[: self.needed])
        self.axis_at = self.names.index("axis") if "axis" in self.names else 0
        real_at = tuple(map(self.names.index, real.split()))
        as_is = PLAIN - {tuple} if OPERANDS.issuperset(self.names) else PLAIN  # where no axis or shape is, numbers
        call = _CALLS.get((its, *self.names), lambda function: function)(forward)
        keep = getattr(call, "keep", _KEEP.get(its))
        self.rules = len(self.names), self.needed, self.defaults, real_at, self.axis_at, as_is, call, keep

    def further(self, inputs, named):
        """Whether there are inputs that the function does not have."""
        return len(inputs) > len(self.names) or not named.keys() <= set(self.names)

    def in_order(self, inputs, named):
        """All inputs by position, defaults too. NumPy's own functions (np.sum(x)) send out=None and dtype=None along."""
        named = {key: value for key, value in named.items() if key in self.names or value is not None}
        rest = self.names[len(inputs) :]
        whole = (*inputs, *map(named.get, rest, self.defaults[len(inputs) :]))
        if len(whole) == len(self.names) and named.keys() <= set(rest):
            if not any(x is Parameter.empty for x in whole):
                return whole
        placed = bound(self.name, self.signature, inputs, named)
        placed.apply_defaults()
        return placed.args

    def by(self, options, inputs, named):
        """What `options` makes of inputs that the function does not have."""
        bound(self.name, inspect.signature(options), inputs, named)
        return options(*inputs, **named)

    def narrow(self, result, arrays):
        """The result by the dtype rules: float64 only if an input was, and sums of whole numbers are int64."""
        if result.dtype is FLOAT64 and not any(getattr(a, "dtype", None) == "float64" for a in arrays):
            return result.astype(np.float32)
        if result.dtype.kind not in "biuf":  # of a Fraction, for one, NumPy makes an array of objects
            given = ", ".join(str(a.shape) if isinstance(a, np.ndarray) else f"{a!r:.60}" for a in arrays)
            raise TypeError(f"{self.name} of {given}: expected tensors, arrays or numbers: use float()")
        return result.astype(np.int64) if result.dtype.kind == "u" and self.name == "sum" else result

    def checked_axis(self, arrays):
        """The axis among the inputs, checked."""
        return checked_axis(self.name, arrays[0], arrays[self.axis_at])

    def explain(self, error, arrays):
        """Raise what the function ended with, see `explain`; of an axis, what `checked_axis` says.

        A softmax of nothing is nothing, and comes back.
        """
        if self.axis_at:
            self.checked_axis(arrays)
            if self.name in ("softmax", "log_softmax") and getattr(arrays[0], "size", 1) == 0 and arrays[0].ndim:
                return np.zeros_like(arrays[0])
        explain(error, self.name, arrays, self.operands)


def checked_axis(name, a, axis):
    """`axis` as an int, a tuple of ints or None, if the array has such axes, with entries where they are needed."""
    if not isinstance(a, np.ndarray) or (axis is None and name not in ("mean", "max")):
        return axis
    if isinstance(axis, bool | np.bool_):
        raise TypeError(f"{name}: axis={axis!r} is no axis: name one by its number, or say keepdims={axis}")
    if axis.__class__ is not int and axis is not None:
        axis = axis.tolist() if isinstance(axis, np.ndarray | np.generic) else axis
        axis = tuple(axis) if isinstance(axis, list) else axis
    if not a.ndim and axis in (0, -1, (0,), (-1,)):
        return None  # a single number has no axes; NumPy and PyTorch take these two all the same
    try:
        axes = range(a.ndim) if axis is None else np.lib.array_utils.normalize_axis_tuple(axis, a.ndim)
    except (TypeError, ValueError, OverflowError) as error:
        told = f"0 to {a.ndim - 1}, or {-a.ndim} to -1 from the end, each named once" if a.ndim else "none"
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: axis={axis!r} does not fit the shape {a.shape}, whose axes are {told}") from error
    if name in ("mean", "max") and any(not a.shape[i] for i in axes):
        raise ValueError(f"{name} of the shape {a.shape} over axis={axis}: there are no entries to take it of")
    return axis


_MENDS = {  # NumPy's own phrases: what helps
    "truth value of an array": "Python's max, min and if ask one number, NumPy's functions go entry by entry",
    "does not support ufuncs": "NumPy's functions take arrays, and this is a Tensor, as every operation returns one",
    "be broadcast": "from the right, two lengths must be equal, or one of them 1",
    "could not broadcast": "from the right, two lengths must be equal, or one of them 1",
    "cannot reshape": "the new shape must hold as many numbers",
    "one unknown dimension": "only one length may be -1",
    "zero-size array": "take away the axes of length 0",
    "axes don't match": "name every axis once",
    "repeated axis": "name every axis once",
    "array of dimension": "axes count from 0, or from -1 backwards",
    "negative integer powers": "use astype('float32') first",
    "boolean index did not match": "a mask has the lengths of the axes that it masks",
    "valid indices": "indices are whole numbers, slices or masks, at most one for each axis",
    "used as indices": "indices are whole numbers, slices or masks, at most one for each axis",
    "too many indices": "indices are whole numbers, slices or masks, at most one for each axis",
    "numpy boolean": "use astype('int64') first",
    "out of bounds for axis": "indices count from 0, or from -1 backwards",
    "out of bounds for": "stay within its range, or use astype for a wider dtype",
    "unsupported operand": "expected tensors, arrays or numbers",
    "did not contain a loop": "expected tensors, arrays or numbers",
    "interpreted as an integer": "use whole numbers",
    "an integer is required": "use whole numbers",
    "only integer scalar arrays": "use whole numbers",
    "slice indices must be": "use whole numbers",
    "slice step cannot be zero": "a step is 1, 2, ... forwards, or -1, -2, ... backwards",
    "single ellipsis": "write ... once",
    "dimension exceeded": "the new shape must hold as many numbers",
}
_KINDS = {AttributeError: TypeError, OverflowError: ValueError, TypeError: TypeError, ValueError: ValueError}


def _origin(error):
    """The line that made the error: "numpy" for one of NumPy's, "" if its source is not at hand."""
    place = error.__traceback__
    while place.tb_next:
        place = place.tb_next
    if place.tb_frame.f_globals.get("__name__", "").startswith("numpy"):
        return "numpy"
    return linecache.getline(place.tb_frame.f_code.co_filename, place.tb_lineno)


def explain(error, name, arrays, needed):
    """Raise what an operation ended with: NumPy's words with the inputs and what helps, or its own with a note.

    needed: how many of the inputs are to be arrays or numbers, the first ones.
    """
    __tracebackhide__ = True
    given = ", ".join(str(a.shape) if isinstance(a, np.ndarray) else f"{a!r:.60}" for a in arrays)
    line = _origin(error)
    if isinstance(error, (*_KINDS, IndexError)) and "raise " not in line:  # else it is the operation's own sentence
        mend = next((mend for words, mend in _MENDS.items() if words in str(error)), None)
        kinds = np.ndarray if isinstance(error, AttributeError) else np.ndarray | int | float
        if line and not all(isinstance(a, kinds) for a in arrays[:needed]):
            mend = mend or "expected tensors, arrays or numbers"
        if isinstance(error, OverflowError):
            mend = mend or "the number is too large"
        if mend:
            kind = next((its for k, its in _KINDS.items() if isinstance(error, k)), IndexError)
            raise kind(f"{name} of {given}: {str(error).strip()}; {mend}") from error
    if isinstance(error, (*_KINDS, IndexError)):
        error.add_note(f"in {name} of {given}")
    raise error


# Modules 02 and 04: settings


def check_choice(name, value, choices):
    """ValueError unless the value is one of two or more words."""
    if not isinstance(value, str) or value not in choices:
        words = [f'"{word}"' for word in choices]
        raise ValueError(f"{name} is {', '.join(words[:-1])} or {words[-1]}, got {value!r:.60}")


def check_reduction(reduction):
    """ValueError unless the losses can be put together so."""
    check_choice("reduction", reduction, ("mean", "sum", "none"))


def check_smoothing(label_smoothing):
    """ValueError unless it is a share."""
    if not isinstance(label_smoothing, (int, float)) or not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is a share, from 0 to 1, got {label_smoothing!r:.60}")


def check_entries(name, x):
    """ValueError if there is nothing to take the mean of."""
    if not x.size:
        raise ValueError(f"{name} needs at least one entry, got the shape {x.shape}: there is no mean of nothing")


def reduced(mean, losses, reduction, *inputs):
    """A loss by its reduction; the mean is taken in any case, for its checks, unless there is nothing to take it of."""
    check_reduction(reduction)
    shapes = [getattr(x, "shape", None) or np.shape(x) for x in inputs]
    empty = 0 in shapes[0] and reduction != "mean"
    if empty and shapes[0] != shapes[1]:
        raise ValueError(f"{mean.__name__} compares entry with entry, got the shapes {shapes[0]} and {shapes[1]}: "
                         "reshape one of them to the other's shape")  # fmt: skip
    value = None if empty else mean(*inputs)
    return value if reduction == "mean" else losses(*inputs).sum() if reduction == "sum" else losses(*inputs)


def class_weights(weight):
    """One weight for each class, as it will be an input: a tensor, or an array that keeps 64 bits. None stays."""
    if weight is None:
        return None
    if getattr(weight, "requires_grad", False):
        raise TypeError("weight is a setting, no gradient flows to it: pass weight.detach()")
    told = "weight has one number for each class, in a list, an array or a tensor"
    check_unmasked(weight)
    try:
        array = np.array(weight.data if hasattr(weight, "grad_fn") else weight)
    except ValueError:
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{told}, got {weight!r:.60}")
    if array.ndim != 1:
        raise ValueError(f"{told}, got the shape {array.shape}")
    wrong = array[~np.isfinite(array)]
    if wrong.size:
        raise ValueError(f"{told}, each of them finite, got {wrong[0]}")
    return weight if hasattr(weight, "grad_fn") else array


def check_ignore_index(ignore_index):
    """TypeError unless it is a label, or None."""
    if not isinstance(ignore_index, int | np.integer | None) or isinstance(ignore_index, bool):
        raise TypeError(f"ignore_index is a whole number, the label to pass over, got {ignore_index!r:.60}")


def loss_options(label_smoothing, weight, ignore_index, reduction):
    """The settings of a loss, without those that are as they are by default: None, and the mean."""
    check_reduction(reduction)
    check_smoothing(plain(label_smoothing))
    check_ignore_index(ignore_index)
    reduction = None if reduction == "mean" else reduction
    options = {"weight": class_weights(weight), "ignore_index": ignore_index, "reduction": reduction}
    return {name: value for name, value in options.items() if value is not None}


def settings_of(check_labels, logits, labels, label_smoothing, weight, ignore_index, reduction):
    """The inputs of `weighted_cross_entropy`, checked: labels that are passed over are -1."""
    check_reduction(reduction)
    logits, labels = (plain_array(x.data if hasattr(x, "grad_fn") else x) for x in (logits, labels))
    check_ignore_index(ignore_index)
    if labels.dtype.kind == "u" and labels.max(initial=0) < 1 << 62:
        labels = labels.astype(np.int64)  # so that -1 is a label of its own
    if reduction == "mean" or logits.ndim != 2 or len(logits) or labels.shape != (0,):
        ignored = np.zeros(labels.shape, bool) if ignore_index is None else labels == ignore_index
        labels = np.where(ignored, -1, check_labels(logits, np.where(ignored, labels.dtype.type(0), labels)))
    labels = labels.astype(np.int64, copy=False)
    weight = class_weights(weight)
    if weight is not None and np.shape(weight) != logits.shape[1:]:
        raise ValueError(f"weight has one number for each of the {logits.shape[1]} classes, got {np.shape(weight)}")
    label_smoothing = plain(label_smoothing)
    check_smoothing(label_smoothing)
    return labels, label_smoothing, weight, reduction


# Module 05: the engine's inputs


def check_tensor(name, x, what="a tensor"):
    """TypeError unless x is a tensor."""
    if not hasattr(x, "grad_fn"):
        raise TypeError(f"{name} expected {what}, got {x!r:.60}")


def check_leaves(leaves):
    """TypeError or ValueError, before anything is written, unless each (tensor, gradient) can be added to its .grad."""
    for leaf, gradient in leaves:
        kind = getattr(leaf.data, "dtype", None)
        if kind is not FLOAT32 and (kind is None or kind.kind != "f"):
            raise TypeError(f"a tensor that requires gradients holds {kind or type(leaf.data).__name__}: what is assigned "
                            "to .data is an array of floats, see .astype('float32')")  # fmt: skip
        if leaf.grad is not None and (leaf.grad.__class__ is not np.ndarray or leaf.grad.shape != gradient.shape):
            check_grad("a tensor", leaf.grad, gradient.shape)


def check_grad(name, grad, shape):
    """TypeError or ValueError unless .grad is an array of real numbers of that shape, or the number 0."""
    if not isinstance(grad, np.ndarray | np.generic) or grad.dtype.kind not in "biuf":
        if type(grad) in (int, float) and not grad:
            return
        raise TypeError(f"the .grad of {name} is an array of shape {shape}, or None, got {grad!r:.60}: a Tensor has .data")
    if grad.shape != shape:
        raise ValueError(f"the .grad of {name} has shape {grad.shape} and should have {shape}: assign None, or reshape it")


def check_operation(operation):
    """TypeError unless it is made with @operation."""
    if not hasattr(operation, "__wrapped__"):
        raise TypeError(f"show takes an operation, such as add of tinytorch.core.tensor, got {operation!r:.60}")


# Module 03: the tree of layers

_ONCE = (types.GeneratorType, map, filter, zip)
_PLAIN, _TENSOR, _MODULE, _SEQUENCE, _MAPPING, _ODD = range(6)  # what a value is to a walk


@functools.lru_cache(512)
def _kind_of(cls, tensor, module):
    """_PLAIN: nothing stands in it; _ODD: what stands in it has no names."""
    if issubclass(cls, module):
        return _MODULE
    if issubclass(cls, tensor):
        return _TENSOR
    if issubclass(cls, str | bytes | bytearray | memoryview | range):
        return _PLAIN
    if issubclass(cls, abc.Mapping | abc.Sequence):
        return _MAPPING if issubclass(cls, abc.Mapping) else _SEQUENCE
    odd = (*_ONCE, abc.Set, abc.MappingView, np.ndarray, types.SimpleNamespace)
    return _ODD if issubclass(cls, odd) or hasattr(cls, "__dataclass_fields__") else _PLAIN


def leaves(attributes, tensor, module, unnamed=()):
    """All values as a list of (name, value); those in sequences and mappings, however deep, as "layers.0.left".

    A sequence of numbers, such as a shape, is a value itself.
    unnamed: attributes whose own names are left out. TypeError for layers or parameters where no walk finds them,
    ValueError for two values of the same name and for a container that holds itself.
    """
    found, parts = {}, []  # name -> (path, value); names of the tensors and modules

    def walk(name, path, value, holders):
        kind = _kind_of(type(value), tensor, module)
        if kind in (_SEQUENCE, _MAPPING):
            if any(value is holder for holder in holders):
                raise ValueError(
                    f"{_shown(path)} is the {type(value).__name__} that it stands in: keep layers in a tree"
                )
            prefix = "" if name in unnamed and len(path) == 1 else f"{name}."
            for key, item in list(value.items() if kind == _MAPPING else enumerate(value)):
                walk(f"{prefix}{key}", (*path, key), item, (*holders, value))
            return
        if kind == _ODD:
            _check_hidden(name, value, tensor, module)
        if name in found:
            raise ValueError(f"{_shown(found[name][0])} and {_shown(path)} are both called {name!r}: rename one")
        found[name] = path, value
        if kind in (_TENSOR, _MODULE):
            parts.append(name)

    for name, value in attributes.items():
        kind = _kind_of(value.__class__, tensor, module)
        if name in found or kind > _MODULE and not (kind == _SEQUENCE and _NUMBERS.issuperset(map(type, value))):
            walk(name, (name,), value, ())
        else:
            found[name] = (name,), value
            if kind in (_TENSOR, _MODULE):
                parts.append(name)
    modules = {name for name in parts if isinstance(found[name][1], module)}
    for name in parts if modules else ():
        for holder in (name[:i] for i, letter in enumerate(name) if letter == "."):
            if holder in modules:
                inside = f"{_shown(found[holder][0])}, whose parts are called so,"
                raise ValueError(
                    f"{_shown(found[name][0])} is called {name!r} like a part of {inside} might be: rename one"
                )
    return [(name, value) for name, (_, value) in found.items()]


def _shown(path):
    return path[0] + "".join(f"[{key!r}]" for key in path[1:])


def _check_hidden(name, value, tensor, module):
    """TypeError for layers or parameters in something that the walk does not enter."""
    kind, inside = type(value).__name__, ()
    if isinstance(value, _ONCE):
        raise TypeError(f"{name} is a {kind}, which gives its items only once: make it a list")
    a_set = isinstance(value, abc.Set | abc.MappingView)
    if a_set or isinstance(value, np.ndarray):
        inside = list(value) if a_set else value.ravel().tolist() if value.dtype.kind == "O" else ()
    else:
        names = getattr(value, "__dataclass_fields__", None) or vars(value)
        inside = [getattr(value, key, None) for key in names]
    for item in _flat(inside):
        if isinstance(item, module) or (isinstance(item, tensor) and (a_set or item.requires_grad)):
            raise TypeError(f"{name} is a {kind}, in which layers and tensors have no names: make it a list or a dict")


def _flat(items, depth=3):
    """What stands in a list, in lists, tuples and dicts in it too."""
    for item in items:
        if isinstance(item, list | tuple | dict) and depth:
            yield from _flat(item.values() if isinstance(item, dict) else item, depth - 1)
        else:
            yield item


def children_of(parent, tensor, module):
    """The modules among a module's parts, (name, child) each; ValueError if one leads back to the module.

    The names of its tensors would then have no end.
    """

    def inside(value, kind):
        """What stands in a value, and may have more in it."""
        held = vars(value).values() if kind == _MODULE else value.values() if kind == _MAPPING else value
        found = []
        for item in list(held):
            kind = _kind_of(item.__class__, tensor, module)
            if kind > _TENSOR and not (kind == _SEQUENCE and _NUMBERS.issuperset(map(type, item))):
                found.append((item, kind))
        return found

    def leads_back(value):
        seen, ahead = {}, inside(value, _SEQUENCE)
        while ahead:
            value, kind = ahead.pop()
            if value is parent:
                return True
            if id(value) not in seen and kind != _ODD:
                seen[id(value)] = value
                ahead += inside(value, kind)
        return False

    if not inside(parent, _MODULE):
        return []
    children = [(name, part) for name, part in parent.named_parts() if isinstance(part, module)]
    if leads_back([child for _, child in children]):
        name = next(name for name, child in children if leads_back([child]))
        raise ValueError(f"{name} leads back to the {type(parent).__name__} that holds it, so the names of its tensors have "
                         "no end: hand a parent over in a function, or as weakref.ref(parent)")  # fmt: skip
    return children


def check_layers(layers):
    """TypeError for what is no layer of a chain."""
    for i, layer in enumerate(layers):
        kind = layer.__name__ if isinstance(layer, type) else type(layer).__name__
        if isinstance(layer, type):
            raise TypeError(f"layer {i} is the class {kind} itself: make a layer of it, {kind}(...)")
        if not callable(layer):
            raise TypeError(f"layer {i} can't be called, it is a {kind}: write Sequential(a, b)")


def item_of(layers, i):
    """layers[i]; IndexError or TypeError with the number of layers."""
    try:
        return layers[operator.index(i)]
    except TypeError:
        raise TypeError(f"a layer has a whole number, or take a slice, got [{i!r:.60}]") from None
    except IndexError:
        raise IndexError(f"there is no layer {i}: the chain has {len(layers)}, counted from 0") from None


def switch(name, value):
    """`value` as a bool; TypeError unless it is one, or 0 or 1."""
    if not isinstance(value, bool | int | np.bool_) or value not in (0, 1):
        raise TypeError(f"{name} takes True or False, got {value!r:.60}")
    return bool(value)


def checked_float(dtype):
    """A dtype of floats, for weights."""
    found = checked_dtype(dtype)
    if found.kind != "f":
        raise TypeError(
            f"expected a dtype of floats, got {dtype!r}: weights of whole numbers can't be trained, say 'float32' or 'float64'"
        )
    return found


def real_array(name, value):
    """An entry of a state as an array of real numbers; TypeError, naming it, for anything else."""
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # of PyTorch's tensors, or of lists of unequal length
        raise TypeError(f"{name} can't be made an array of numbers ({error}): for a tensor of PyTorch, pass "
                        "x.detach().float().cpu().numpy()") from None  # fmt: skip
    try:
        check_unmasked(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if array.dtype.kind not in "biuf":
        kind = f"holds {value!r:.60}" if array.dtype.kind in "OUS" else f"is of dtype {array.dtype}"
        raise TypeError(f"{name} {kind}: expected real numbers")
    return array


def real_entries(state, own):
    """The state with the entries that a module has as arrays, checked; the others as they are."""
    return {name: real_array(name, state[name]) if name in own else state[name] for name in state}


# Modules 03 and 06: sizes, rates, states


def check_own(number, p, state):
    """TypeError or ValueError unless what was assigned to a parameter's .data can be trained, with the state it has."""
    if not isinstance(p.data, np.ndarray | np.generic) or p.data.dtype.kind != "f":
        given = getattr(p.data, "dtype", None) or type(p.data).__name__
        raise TypeError(f"the .data of parameter {number} is an array of floats, got {given}: see .astype('float32')")
    for name, values in state.items():
        if np.shape(values) not in ((), p.data.shape):
            raise ValueError(f"parameter {number} has shape {p.data.shape}, its {name} {np.shape(values)}: "
                             "make a new optimizer for other weights")  # fmt: skip


def check_size(name, value, smallest=1):
    """TypeError or ValueError unless the value is a whole number from `smallest` on."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{name} is a whole number, got {value!r:.60}")
    if value < smallest:
        raise ValueError(f"{name} must be at least {smallest}, got {value}")


def plain(value):
    """NumPy's scalars, and arrays without axes, as Python numbers, which JSON can hold; anything else as it is."""
    return (
        value.item() if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim) else value
    )


def check_state(part, state):
    """TypeError unless the state is a dictionary."""
    if not hasattr(state, "keys") or not all(isinstance(key, str) for key in state):
        raise TypeError(f"the state of {type(part).__name__} is a dict from state_dict(), got {state!r:.60}")


def checked_number(name, value, below=math.inf):
    """`value` as a float; TypeError if it is no number, ValueError unless 0 <= value < below."""
    if not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name} must be a number, got {value!r:.60}")
    try:
        finite = math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        finite = False
    if not finite:
        raise ValueError(f"{name} must be a finite number, got {value!s:.60}")
    if not 0 <= value < below:
        limit = "" if below == math.inf else f" and below {below:g}"
        raise ValueError(f"{name} must be at least 0{limit}, got {value}")
    return float(value)


def checked_limit(name, value):
    """`value` as a float above 0, which may be infinite."""
    value = value if isinstance(value, float) and value == math.inf else checked_number(name, value)
    if not value > 0:
        raise ValueError(f"{name} must be more than 0, got {value}: leave clipping out instead")
    return float(value)


def checked_count(name, value, usual="", smallest=1):
    """`value` as an int; TypeError or ValueError unless it is a whole number from `smallest` on."""
    if not isinstance(value, int | np.integer):
        raise TypeError(f"{name} counts steps, so it is a whole number{usual}, got {value!r:.60}")
    if value < smallest:
        raise ValueError(f"{name} counts steps, so it is at least {smallest}{usual}, got {value}")
    if value >= 1 << 53:
        raise ValueError(f"{name} counts steps{usual}, got {value!r:.60}: no run has so many")
    return int(value)


_RATE, _SHARE = checked_number, functools.partial(checked_number, below=1)
_SETTINGS = {
    **dict.fromkeys(("lr", "weight_decay", "eps", "base_lr", "gamma", "eta_min", "max_lr"), _RATE),
    **dict.fromkeys(("momentum", "beta1", "beta2"), _SHARE),
    **dict.fromkeys(("step_size", "T_max", "total_steps"), checked_count),
    "last_step": functools.partial(checked_count, smallest=0),
    "nesterov": switch,
}


class Checked:
    """What has settings that are numbers: one that is assigned later is checked as it is at first."""

    def __setattr__(self, name, value):
        super().__setattr__(name, _SETTINGS[name](name, value) if name in _SETTINGS else value)


def checked_settings(part, state):
    """The numbers of a saved optimizer or schedule, as its own __init__ would take them; TypeError or ValueError."""
    found = {}
    for name, value in state.items():
        value, mine = plain(value), getattr(part, name, None)
        if name in _SETTINGS:
            value = _SETTINGS[name](name, value)
        elif isinstance(mine, int | float | np.number) and not isinstance(value, int | float):
            raise TypeError(f"{name} must be a number, got {value!r:.60}")
        found[name] = value
    if found.get("nesterov") and not found.get("momentum"):
        raise ValueError("nesterov=True looks ahead along the momentum, and momentum is 0 in this state")
    return found


def without_overflow(clip):
    """`clip` for gradients whose squares their own dtype can't hold too: it gets them in float64, in units of the largest."""

    @functools.wraps(clip)
    def clipped(parameters, max_norm):
        if hasattr(parameters, "__iter__") and not hasattr(parameters, "grad"):
            parameters = list(parameters)
        among = parameters if isinstance(parameters, list) else [parameters]
        for number, p in enumerate(among):
            if getattr(p, "grad", None) is not None and hasattr(p, "grad_fn"):
                check_grad(f"parameter {number}", p.grad, np.shape(p.data))
        held = {id(p): (p, p.grad) for p in among if isinstance(getattr(p, "grad", None), np.ndarray)}.values()
        with np.errstate(over="ignore", invalid="ignore"):
            norm = clip(parameters, max_norm)
        small = any(grad.dtype.itemsize < 4 for _, grad in held)
        if not small and not (isinstance(norm, float) and math.isinf(norm)):
            return norm
        largest = max((float(np.abs(grad).max(initial=0)) for _, grad in held), default=0.0)
        if not 0 < largest < math.inf:
            return norm
        before = {}
        for p, grad in held:
            p.grad = before[id(p)] = grad.astype(np.float64) / largest
        norm = clip(parameters, max(float(max_norm) / largest, 1e-300)) * largest
        for p, grad in held:
            p.grad = grad if p.grad is before[id(p)] else (p.grad * largest).astype(grad.dtype)
        return norm

    return clipped


def listed(parameters, kind):
    """A Tensor (that is `kind`), or an iterable of them, as a list."""
    if not isinstance(parameters, kind) and not hasattr(parameters, "__iter__"):
        raise TypeError(f"expected Tensors, got {type(parameters).__name__}: pass model.parameters()")
    parameters = [parameters] if isinstance(parameters, kind) else list(parameters)
    for p in parameters:
        if not isinstance(p, kind):
            raise TypeError(f"expected Tensors, got a {type(p).__name__} among them: pass model.parameters()")
    return parameters


# Module 07: loaders and files


def check_fit(train, test, epochs, patience, checkpoint=None):
    """TypeError or ValueError for what `fit` can't work with."""
    for name, loader in (("training", train), ("test", test)):
        if loader is None and name == "test":
            continue
        if not hasattr(loader, "__len__") or not hasattr(loader, "__iter__"):
            raise TypeError(f"the {name} loader is a {type(loader).__name__}, which gives its batches only once or has no "
                            "length: pass a DataLoader, or a list of (x, y) batches")  # fmt: skip
        if not len(loader):
            raise ValueError(f"the {name} loader has no batch: fewer samples than batch_size with drop_last=True?")
    check_size("epochs", epochs, 0)
    if patience is not None:
        check_size("patience", patience, 1)
    if checkpoint is not None:
        check_path("checkpoint", checkpoint)


def check_path(what, path, reading=False):
    """TypeError, ValueError or OSError unless it is a path at which there can be a file."""
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"the path of the {what} is text or a Path and comes first, got {type(path).__name__}")
    if not str(path) or "\0" in str(path):
        raise ValueError(f"the path of the {what} names no file, got {str(path)!r}")
    if os.path.isdir(path) and not reading:
        raise IsADirectoryError(f"{path} is a folder: the {what} needs the name of a file in it")
    if reading and not os.path.isfile(path):
        raise FileNotFoundError(
            f"{path} is a folder, not a file" if os.path.isdir(path) else f"there is no file {path}"
        )


def entries_of(path, state):
    """The arrays of a state_dict(), or of what has one, checked for a file."""
    if hasattr(path, "keys") or hasattr(path, "state_dict"):
        raise TypeError("save_weights(path, state): the path comes first")
    state = state.state_dict() if hasattr(state, "state_dict") and not isinstance(state, type) else state
    if not hasattr(state, "keys") or not all(isinstance(name, str) for name in state):
        raise TypeError(f"save_weights takes a model or a {{name: array}}, got {state!r:.60}")
    arrays = {name: real_array(name, state[name]) for name in state}
    for name, array in arrays.items():
        if name == "__metadata__":
            raise ValueError("the file's own notes are called __metadata__: rename that entry")
        if array.dtype.itemsize > 8:
            raise TypeError(f"{name} is of dtype {array.dtype}, which no safetensors file holds: use astype('float64')")
    return arrays


def history_rows(path, text):
    """The rows of a saved history; ValueError, naming the file, for anything else."""
    try:
        rows = json.loads(text.decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{path} is no history, it is not JSON: save it anew ({error})") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} is no history, which is a list of one {{name: number}} per epoch: save it anew")
    return rows


def check_trained(model, optimizer=None):
    """TypeError unless a loop can work with the two."""
    if isinstance(model, type) or not all(hasattr(model, name) for name in ("train", "eval", "training", "parameters")):
        raise TypeError(f"the model is a Module, got {_kind(model)}: a function goes into Sequential(...)")
    if optimizer is not None and not all(
        hasattr(optimizer, name) for name in ("step", "zero_grad", "parameters", "lr")
    ):
        raise TypeError(f"the optimizer is one such as SGD(model.parameters(), lr), got {_kind(optimizer)}")


def _kind(value):
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def check_trainer(model, optimizer, loss, scheduler, metrics, clip_norm):
    """TypeError or ValueError for parts of a Trainer that are of the wrong kind."""
    check_trained(model)
    if optimizer is None or isinstance(optimizer, type):
        raise TypeError(f"the optimizer is one such as SGD(model.parameters(), lr), got {optimizer!r:.60}")
    check_trained(model, optimizer)
    if not model.parameters():
        raise ValueError(f"this {type(model).__name__} has no parameters, so there is nothing to train")
    functions_of(loss, metrics)
    if scheduler is not None and not (hasattr(scheduler, "optimizer") and hasattr(scheduler, "step")):
        raise TypeError(f"the scheduler is one such as StepLR(optimizer, 10), got {_kind(scheduler)}")
    if clip_norm is not None:
        checked_limit("clip_norm", clip_norm)


def functions_of(loss, metrics):
    """{"loss": loss, name: metric, ...}, functions whose results are numbers; TypeError or ValueError if they can't be."""
    if metrics is not None and not hasattr(metrics, "keys"):
        raise TypeError(f"metrics are {{name: function(prediction, y)}}, got {metrics!r:.60}")
    if "loss" in (metrics or ()):
        raise ValueError("a metric is called 'loss', which is the name of the loss itself: rename it")
    return {name: _number_from(name, function) for name, function in {"loss": loss, **(metrics or {})}.items()}


def _check_function(name, function):
    if not callable(function) or (isinstance(function, type) and name == "loss"):
        raise TypeError(f"{name} is a function of (prediction, y), got {_kind(function)}")


def _number_from(name, function):
    """`function`, with a TypeError for a result that is no number."""
    _check_function(name, function)

    def measured(prediction, y):
        value = function(prediction, y)
        try:
            float(value)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name} should give one number for a batch, got {value!r:.60} ({error})") from None
        return value

    return measured


def tensor_from(loss):
    """`loss`, with a TypeError for a result that has no backward pass."""
    _check_function("loss", loss)

    def measured(prediction, y):
        value = loss(prediction, y)
        if not hasattr(value, "backward") or not hasattr(value, "item"):
            raise TypeError(
                f"the loss should give a Tensor with one entry, which backward() can start from, got {value!r:.60}"
            )
        return value

    return measured


class Pairs:
    """A loader whose batches are pairs; ValueError names one that is not."""

    def __init__(self, loader):
        if not hasattr(loader, "__iter__"):
            raise TypeError(f"a loader gives (x, y) batches, got {_kind(loader)}: pass a DataLoader, or a list")
        self.loader = loader

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        for number, batch in enumerate(self.loader, 1):
            if not isinstance(batch, tuple | list) or len(batch) != 2:
                parts = f"{len(batch)} parts" if isinstance(batch, tuple | list) else _kind(batch)
                raise ValueError(f"batch {number} should be a pair (x, y), got {parts}")
            yield batch


def history_text(rows):
    """The rows as JSON, NumPy's numbers as Python's."""

    def python(value):
        if isinstance(value, np.generic | np.ndarray):
            return value.tolist()
        raise TypeError(f"the history holds {type(value).__name__}, which JSON cannot: keep numbers and text")

    return json.dumps(rows, indent=1, default=python)


def numbers_text(state, extra):
    """What is no array, as JSON; NumPy's numbers become Python's. TypeError names what no file can hold."""
    numbers = {name: value for name, value in state.items() if not isinstance(value, np.ndarray)}

    def python(value):
        if isinstance(value, np.generic | np.ndarray):
            return value.tolist()
        where = next((f"{name} is a" for name, its in numbers.items() if its is value), "the history holds a")
        raise TypeError(f"{where} {type(value).__name__}, which a checkpoint cannot hold: keep numbers, text or arrays")

    return json.dumps({"state": numbers, "extra": extra}, default=python)


_SAVE = ": save the weights with save_weights, or with safetensors.torch.save_file from PyTorch"
_UNPACK = ": unpack it first"
_FOREIGN = {  # how a file begins: what it is
    b"PK": "but a zip archive, as of torch.save or np.savez" + _SAVE,
    b"\x80": "but a pickle, as of torch.save" + _SAVE,
    b"\x93NUMPY": "but one array of np.save" + _SAVE,
    b"\x89HDF": "but an HDF5 file" + _SAVE,
    b"\x1f\x8b": "but a gzip archive" + _UNPACK,
    b"\xfd7zXZ": "but an xz archive" + _UNPACK,
    b"BZh": "but a bzip2 archive" + _UNPACK,
    b"%PDF": "but a PDF" + _SAVE,
    b"\x89PNG": "but a picture, PNG" + _SAVE,
    b"\xff\xd8\xff": "but a picture, JPEG" + _SAVE,
    b"\xef\xbb\xbf": "but a text, or it was saved as one by an editor: make it anew, or use an older copy",
    b"<!": "but a web page, perhaps the error page of a download: load the file again",
    b"<html": "but a web page, perhaps the error page of a download: load the file again",
    b"version https://git-lfs": "but a pointer of Git LFS to the file: git lfs pull fetches it",
}
_KNOWN_DTYPES = ("BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64", "F16", "F32", "F64")


def what_is_wrong(path):
    """What a file is that the safetensors library could not read, and what helps."""
    with open(path, "rb") as file:
        start = file.read(32)
        length = int.from_bytes(start[:8], "little")
        if not start:
            return "it is empty: make it anew, or use an older copy"
        for mark, kind in _FOREIGN.items():
            if start.lstrip().startswith(mark) and length > path.stat().st_size:
                return kind
        file.seek(8)
        header = file.read(length) if length <= path.stat().st_size else b""
    try:
        entries = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        strange = {name: entry["dtype"] for name, entry in entries.items() if entry["dtype"] not in _KNOWN_DTYPES}
        end = 8 + length + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, AttributeError, TypeError, KeyError, IndexError):
        return "perhaps cut short or of another kind: make it anew, or use an older copy"
    if strange:
        name, dtype = next(iter(strange.items()))
        return f"since {name} is of dtype {dtype}, which NumPy does not have: save it as float32, x.float() in PyTorch"
    size = path.stat().st_size
    fault = "its table does not fit its numbers" if size == end else "longer than it says" if size > end else "cut short"
    return f"{fault}: make it anew, or use an older copy"


# Module 08: batches of images


def check_int(name, value, smallest):
    """Return `value`, or raise ValueError unless it is a whole number from `smallest` on."""
    if not isinstance(value, (int, np.integer)) or value < smallest:
        raise ValueError(f"{name} must be a whole number, at least {smallest}, got {value!r}")
    return int(value)


def check_batch(name, images):
    """Raise TypeError or ValueError unless the images are an array of numbers with an axis."""
    if not isinstance(images, np.ndarray) or images.dtype.kind not in "biuf":
        raise TypeError(f"{name} takes an array of images, got {images!r:.60}: a Tensor has .numpy()")
    if not images.ndim:
        raise ValueError(f"{name} takes a batch of images, got a single number")


def check_channels(name, images, channels):
    """Raise ValueError unless the images are (B, C, H, W) with the given number of channels; 1 fits any."""
    check_batch(name, images)
    if images.ndim != 4:
        raise ValueError(f"{name} takes a batch of images (B, C, H, W), got shape {images.shape}")
    if channels not in (1, images.shape[1]):
        raise ValueError(f"{name} has values for {channels} channels, the images {images.shape} have {images.shape[1]}")


def check_statistics(images, chunk):
    """TypeError or ValueError unless there are images (N, C, H, W) to take statistics of."""
    check_channels("channel_statistics", images, 1)
    check_int("chunk", chunk, 1)
    if not images.size:
        raise ValueError(
            f"channel_statistics needs at least one image, got shape {images.shape}: there is no mean of nothing"
        )
    if images.shape[-1] in (3, 4) and images.shape[1] == images.shape[2] > 4:
        raise ValueError(f"the images {images.shape} have their channels last: use images.transpose(0, 3, 1, 2)")


def checked_values(name, values):
    """One number, or one per channel, as float32 (C, 1, 1)."""
    array = real_array(name, values).astype(np.float32)
    if array.ndim > 1 and array.size != max(array.shape):
        raise ValueError(f"{name} is one number, or one for each channel, got shape {array.shape}")
    if not array.size or not np.all(np.isfinite(array)):
        raise ValueError(f"{name} holds finite numbers, one or one for each channel, got {values!r:.60}")
    return array.reshape(-1, 1, 1)


def checked_share(p):
    """A probability as a float."""
    if not isinstance(p, int | float | np.integer | np.floating):
        raise TypeError(f"p is a probability, a number between 0 and 1, got {p!r:.60}")
    if not 0 <= p <= 1:
        raise ValueError(f"p is a probability, between 0 and 1, got {p}")
    return float(p)


def checked_transforms(transforms):
    """Transforms as a list; TypeError if one can't be called."""
    if not hasattr(transforms, "__iter__"):
        raise TypeError(f"Compose takes a list of transforms, got {_kind(transforms)}")
    transforms = list(transforms)
    for i, transform in enumerate(transforms):
        check_transform(f"transform {i}", transform)
    return transforms


def check_transform(name, transform):
    """TypeError unless it can be called with images and a generator."""
    if isinstance(transform, type) or not callable(transform):
        raise TypeError(f"{name} is a function (images, generator) -> images, got {_kind(transform)}")


def checked_loader(dataset, transform, shuffle, drop_last):
    """shuffle and drop_last as bools; TypeError for what a loader can't take batches of, or change them with."""
    if (
        not hasattr(dataset, "__len__")
        or not hasattr(dataset, "__getitem__")
        or isinstance(dataset, abc.Mapping | str | type)
    ):
        raise TypeError(
            f"a dataset has len() and [i] for i = 0, 1, ..., got {_kind(dataset)}: see Dataset, or pass a list"
        )
    if transform is not None:
        check_transform("transform", transform)
    return switch("shuffle", shuffle), switch("drop_last", drop_last)


def plain_array(values):
    """Values as an array; ValueError for rows of different lengths, or masked entries."""
    check_unmasked(values)
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"expected rows of one length, got {values!r:.60}: crop or pad them alike") from error


def columns(rows):
    """The first parts of all samples, then the second ones, ...; ValueError if the samples have not equally many."""
    few, many = min(map(len, rows)), max(map(len, rows))
    if few != many:
        raise ValueError(f"samples of one batch have equally many parts, got some with {few} and some with {many}")
    return zip(*rows, strict=True)


def checked_rows(dataset, arrays, count, plain_array):
    """What a dataset's batch gave as a tuple of arrays; TypeError or ValueError unless each has `count` rows."""
    its = f"{type(dataset).__name__}.batch of {count} indices should return a tuple of arrays (B, ...)"
    if not isinstance(arrays, tuple | list) or not arrays:
        raise TypeError(f"{its}, got {f'the shape {arrays.shape}' if hasattr(arrays, 'shape') else repr(arrays)[:60]}")
    arrays = tuple(map(plain_array, arrays))
    shapes = [array.shape for array in arrays]
    if any(shape[:1] != (count,) for shape in shapes):
        raise ValueError(f"{its} with one row for each, got the shapes {', '.join(map(str, shapes))}")
    return arrays


def stacked(arrays):
    """np.stack, or ValueError with the shapes if they differ."""
    shapes = list(dict.fromkeys(np.shape(array) for array in arrays))
    if len(shapes) > 1:
        raise ValueError(
            f"samples of one batch have one shape, got {shapes[0]} and {shapes[1]}: crop or pad them alike"
        )
    return np.stack(arrays)


def checked_window(size):
    """(height, width) from one number or two."""
    size = tuple(size) if isinstance(size, tuple | list | np.ndarray) and np.ndim(size) else (size, size)
    if len(size) != 2:
        raise ValueError(f"size is one number, or height and width, got {size!r:.60}")
    return tuple(check_int("size", length, 1) for length in size)
