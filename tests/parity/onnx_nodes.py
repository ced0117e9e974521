"""Hold our operations against ONNX's own node tests, and write down how many agree.

A function here takes a node's attributes, {name: value}, and its inputs, and returns our outputs. What we do not offer
it refuses by raising NotOffered. What works on images runs on every backend. Left out beforehand: cases with three axes
of pixels, which take long to be made, and those that spell an operator out in smaller ones, on the same numbers.

`python tests/parity/onnx_nodes.py` runs all cases and rewrites onnx.json, whose counts may only grow.
"""

import json
import warnings
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import numpy as np
from onnx import helper
from onnx.backend.test.case import base

from tinytorch.backend import BACKENDS, kernel, resolve, use_backend
from tinytorch.core import activations, tensor
from tinytorch.core.blocks import BatchNorm2d, global_avg_pool2d
from tinytorch.core.spatial import AvgPool2d, MaxPool2d
from tinytorch.core.tensor import Tensor

try:
    resolve("fast")
except ValueError:
    pass
TABLE = Path(__file__).with_name("onnx.json")
CASES = "onnx.backend.test.case.node"


class NotOffered(Exception):
    """An attribute, a shape or a dtype that this package leaves out."""


def _offered(condition, what):
    if not condition:
        raise NotOffered(what)


def _padding(given, x, kernel, strides, dilations):
    """The pads, alike at both ends, of a node whose attributes are `given`: in numbers, or such that the size stays."""
    word = given.get("auto_pad", b"NOTSET").decode()
    if not word.startswith("SAME"):
        pads = given.get("pads", [0, 0, 0, 0])
        _offered(pads[:2] == pads[2:], "other pads at the end")
        return tuple(pads[:2])
    missing = [
        max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        for n, k, s, d in zip(x.shape[2:], kernel, strides, dilations, strict=True)
    ]
    _offered(not any(m % 2 for m in missing), "other pads at the end")
    return tuple(m // 2 for m in missing)


def _settings(given, x, kernel):
    """(strides, padding, dilations) of a convolution or pooling of images."""
    _offered(x.ndim == 4, "other than two axes of pixels")
    strides, dilations = given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    return tuple(strides), _padding(given, x, kernel, strides, dilations), tuple(dilations)


def conv(given, x, weight, bias=None):
    """As the layer calls it."""
    strides, padding, dilations = _settings(given, x, weight.shape[2:])
    return kernel("conv2d")(x, weight, bias, strides, padding, dilations, given.get("group", 1))


def max_pool(given, x):
    """Without the places of the maxima."""
    size = given["kernel_shape"]
    strides, padding, dilations = _settings(given, x, size)
    _offered(dilations == (1, 1), "dilation")
    return MaxPool2d(size, strides, padding, ceil_mode=given.get("ceil_mode", 0))(x)


def average_pool(given, x):
    """Unlike PyTorch's, the frame does not count unless that is asked for."""
    size = given["kernel_shape"]
    strides, padding, dilations = _settings(given, x, size)
    _offered(dilations == (1, 1), "dilation")
    include = bool(given.get("count_include_pad", 0))
    return AvgPool2d(size, strides, padding, include, given.get("ceil_mode", 0))(x)


def global_average_pool(given, x):
    """ONNX keeps the axes."""
    out = global_avg_pool2d(x)
    return out.reshape(*out.shape, 1, 1)


def batch_normalization(given, x, weight, bias, mean, var):
    """ONNX's momentum is the share of what was, and it takes the variance of the batch itself, without n / (n - 1)."""
    before, share = var.data, 1 - given.get("momentum", 0.9)
    layer = BatchNorm2d(x.shape[1], given.get("epsilon", 1e-5), share)
    layer.weight, layer.bias, layer.running_mean, layer.running_var = weight, bias, mean, var
    out = layer.train(bool(given.get("training_mode", 0)))(x)
    if not layer.training:
        return out
    values = x.size // x.shape[1]
    newest = (layer.running_var.data - (1 - share) * before) * np.float32((values - 1) / values)
    return out, layer.running_mean, Tensor((1 - share) * before + newest, before.dtype)


def gemm(given, a, b, c=None):
    """alpha * a @ b + beta * c, transposed on demand."""
    a, b = (x.T if given.get(name, 0) else x for x, name in ((a, "transA"), (b, "transB")))
    out = tensor.matmul(a, b) * given.get("alpha", 1.0)
    return out if c is None else out + c * given.get("beta", 1.0)


def _reduction(function):
    def run(given, x, axes=None):
        _offered(axes is None or axes.size or not given.get("noop_with_empty_axes", 0), "nothing to do")
        axes = None if axes is None or not axes.size else tuple(axes.data.tolist())
        return function(x, axes, bool(given.get("keepdims", 1)))

    return run


ADAPTERS = {
    "Conv": conv,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average_pool,
    "BatchNormalization": batch_normalization,
    "Gemm": gemm,
    "Relu": lambda given, x: activations.relu(x),
    "LeakyRelu": lambda given, x: activations.leaky_relu(x, given.get("alpha", 0.01)),
    "Sigmoid": lambda given, x: activations.sigmoid(x),
    "Tanh": lambda given, x: activations.tanh(x),
    "Gelu": lambda given, x: activations.gelu(x, approximate=given.get("approximate", b"none").decode()),
    "Softmax": lambda given, x: activations.softmax(x, given.get("axis", -1)),
    "LogSoftmax": lambda given, x: activations.log_softmax(x, given.get("axis", -1)),
    "ReduceSum": _reduction(tensor.sum_),
    "ReduceMean": _reduction(tensor.mean),
    "ReduceMax": _reduction(tensor.max_),
}
OF_IMAGES = "Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "BatchNormalization"
FILES = {"batchnormalization": ("batchnorm", "batch_normalization")}  # other names, which changed with time


@cache
def cases(operator):
    """The cases of an operator: importing ONNX's file makes them."""
    usual = base._Exporter.__init__

    def without_3d(self, name, bases, made):
        usual(self, name, bases, {key: value for key, value in made.items() if "_3d" not in key})

    base._Exporter.__init__ = without_3d
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            there = {file.name for file in iter_modules(import_module(CASES).__path__)}
            (file,) = there.intersection(FILES.get(operator.lower(), (operator.lower(),)))
            import_module(f"{CASES}.{file}")
    finally:
        base._Exporter.__init__ = usual
    made = import_module(CASES)._NodeTestCases
    return [case for case in made if [node.op_type for node in case.model.graph.node] == [operator]]


def agrees(operator, case):
    """Whether a case has ONNX's outputs, as closely as it asks, on every backend; NotOffered where we leave it out."""
    (node,), right = case.model.graph.node, []
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    for backend in sorted(BACKENDS) if operator in OF_IMAGES else ["windows"]:
        for inputs, wanted in case.data_sets:
            _offered(len(wanted) == 1 or operator == "BatchNormalization", "a second output")
            with use_backend(backend), np.errstate(all="ignore"):
                try:
                    out = ADAPTERS[operator](given, *(Tensor(x.copy(), x.dtype) for x in inputs))
                except (TypeError, ValueError) as error:
                    raise NotOffered(str(error)) from error
            for a, b in zip(out if isinstance(out, tuple) else (out,), wanted, strict=True):
                close = a.shape == b.shape and np.allclose(a.data, b, rtol=case.rtol, atol=case.atol, equal_nan=True)
                right.append(close and a.dtype == b.dtype)
    return all(right)


def counted(operator):
    """{"tried", "agree", "not offered"} over the cases of an operator; and the names of those that differ."""
    counts, wrong = {"tried": 0, "agree": 0, "not offered": 0}, []
    for case in cases(operator):
        counts["tried"] += 1
        try:
            if agrees(operator, case):
                counts["agree"] += 1
            else:
                wrong.append(case.name)
        except NotOffered:
            counts["not offered"] += 1
    return counts, wrong


if __name__ == "__main__":
    table = {}
    for key in ADAPTERS:
        table[key], differing = counted(key)
        print(key, table[key], *differing, flush=True)
    TABLE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
