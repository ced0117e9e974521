"""Our calls under the names of PyTorch's operator database: one function per operation, with PyTorch's own arguments.

A function takes a sample's input, arguments and keywords, in which tensors are ours by now, and returns our result.
What we do not offer it leaves out of its parameters, or refuses by raising NotOffered. To add an operation, add a
function here (its key is the database's name, with the variant behind a dot) and run `python tests/parity/run.py`.
"""

from tinytorch.core import activations, layers, losses, tensor
from tinytorch.core.tensor import Tensor


class NotOffered(Exception):
    """An argument, a shape or a dtype that this package leaves out."""


def _offered(condition, what):
    if not condition:
        raise NotOffered(what)


def _reduction(function):
    def run(a, dim=None, keepdim=False, *, dtype=None):
        _offered(dtype is None, "dtype")
        _offered(dim not in ((), []), "no axis for all")
        return function(a, dim, keepdim)

    return run


def _along(function):
    def run(a, dim, dtype=None, _stacklevel=3):
        _offered(dtype is None, "dtype")
        return function(a, dim)

    return run


def _compared(name):
    return lambda a, b: getattr(tensor_of(a), name)(b)


def tensor_of(x):
    """A sample's input may be a Python number."""
    return x if isinstance(x, Tensor) else Tensor(x)


def _plain(name):
    return lambda a: getattr(tensor, name)(a)


def add(a, b, *, alpha=1):
    """alpha scales the second input."""
    return tensor.add(a, b if alpha == 1 else tensor.multiply(b, alpha))


def sub(a, b, *, alpha=1):
    """alpha scales the second input."""
    return tensor.sub(a, b if alpha == 1 else tensor.multiply(b, alpha))


def transpose(a, first, second):
    """PyTorch's transpose swaps two axes."""
    axes = list(range(a.ndim))
    if a.ndim:
        axes[first], axes[second] = axes[second], axes[first]
    return a.transpose(axes)


def getitem(a, where):
    """Booleans and None by NumPy's rules, as PyTorch's."""
    return a[where]


def cross_entropy(
    logits,
    labels,
    weight=None,
    size_average=None,
    ignore_index=-100,
    reduce=None,
    reduction="mean",
    label_smoothing=0.0,
):
    """Classes along the second axis of two."""
    _offered(logits.ndim == 2, "axes beyond (B, C)")
    _offered(labels.dtype.kind in "iu", "labels as shares")
    return losses.cross_entropy(logits, labels, label_smoothing, weight, ignore_index, reduction)


def mse_loss(prediction, target, *, reduction="mean", weight=None):
    """Without weights, of equal shapes."""
    _offered(weight is None, "weight")
    _offered(prediction.shape == target.shape, "broadcasting")
    return losses.mse_loss(prediction, target, reduction=reduction)


def bce(logits, target, *, weight=None, pos_weight=None, reduction="mean"):
    """Without weights."""
    _offered(weight is None and pos_weight is None, "weight")
    return losses.binary_cross_entropy_with_logits(logits, target, reduction=reduction)


def div(a, b, *, rounding_mode=None):
    """Without rounding."""
    _offered(rounding_mode is None, "rounding_mode")
    return tensor.divide(a, b)


ADAPTERS = {
    "add": add,
    "sub": sub,
    "mul": tensor.multiply,
    "div.no_rounding_mode": div,
    "neg": tensor.neg,
    "abs": tensor.abs_,
    "pow": tensor.power,
    "__rpow__": lambda a, b: tensor.power(b, a),
    "__rsub__": lambda a, b: tensor.sub(b, a),
    "__radd__": lambda a, b: tensor.add(b, a),
    "__rmul__": lambda a, b: tensor.multiply(b, a),
    "__rdiv__": lambda a, b: tensor.divide(b, a),
    "__rmatmul__": lambda a, b: tensor.matmul(b, a),
    "exp": _plain("exp"),
    "log": _plain("log"),
    "sqrt": _plain("sqrt"),
    "square": lambda a: a**2,
    "reciprocal": lambda a: 1 / a,
    "rsqrt": lambda a: 1 / a.sqrt(),
    "matmul": tensor.matmul,
    "mm": tensor.matmul,
    "bmm": tensor.matmul,
    "mv": tensor.matmul,
    "dot": lambda a, b: a @ b,
    "sum": _reduction(tensor.sum_),
    "mean": _reduction(tensor.mean),
    "amax": _reduction(tensor.max_),
    "reshape": lambda a, shape: a.reshape(shape),
    "view": lambda a, shape: a.reshape(shape) if isinstance(shape, tuple | list) else _offered(False, "dtype"),
    "permute": lambda a, dims: a.transpose(dims) if a.ndim else a.reshape(()),
    "transpose": transpose,
    "t": lambda a: a.T,
    "__getitem__": getitem,
    "double": lambda a: a.astype("float64"),
    "float": lambda a: a.astype("float32"),
    "eq": _compared("__eq__"),
    "ne": _compared("__ne__"),
    "lt": _compared("__lt__"),
    "le": _compared("__le__"),
    "gt": _compared("__gt__"),
    "ge": _compared("__ge__"),
    "nn.functional.relu": lambda a, inplace=False: activations.relu(a),
    "nn.functional.leaky_relu": lambda a, negative_slope=0.01, inplace=False: activations.leaky_relu(a, negative_slope),
    "sigmoid": activations.sigmoid,
    "tanh": activations.tanh,
    "nn.functional.gelu": lambda a, approximate="none": activations.gelu(a, approximate=approximate),
    "softmax": _along(activations.softmax),
    "log_softmax": _along(activations.log_softmax),
    "nn.functional.linear": layers.linear,
    "nn.functional.cross_entropy": cross_entropy,
    "nn.functional.mse_loss": mse_loss,
    "nn.functional.binary_cross_entropy_with_logits": bce,
}
