"""Hold our layers and losses against the samples of PyTorch's own module database, and write down how many agree.

A layer is made here under the name and with the arguments of PyTorch's, and given its parameters and buffers; what we
do not offer, the layer or its call refuses. What works on images runs on every backend, in training and in use.

`python tests/parity/torch_modules.py` runs all samples and rewrites modules.json, whose counts may only grow.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from tinytorch import nn
from tinytorch.backend import BACKENDS, resolve, use_backend
from tinytorch.core.tensor import Tensor

sys.path.insert(0, str(Path(__file__).parent))

from adapters import NotOffered  # noqa: E402
from run import close, filled, rebuilt  # noqa: E402
from torch.testing._internal.common_modules import module_db  # noqa: E402

try:
    resolve("fast")
except ValueError:
    pass
TABLE = Path(__file__).with_name("modules.json")
KINDS = {info.module_cls.__name__: info for info in module_db}
OF_IMAGES = "Conv2d", "MaxPool2d", "AvgPool2d", "BatchNorm2d"
WHOLE = {"GELU": {"approximate": "none"}}  # PyTorch's defaults where ours are others


def cross_entropy(weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """PyTorch's order of settings."""
    return nn.CrossEntropyLoss(label_smoothing, weight, ignore_index, reduction)


def softmax(kind):
    """PyTorch's name for the axis."""
    return lambda dim: kind(dim)


MODULES = {
    name: getattr(nn, name)
    for name in (*OF_IMAGES, "Linear", "ReLU", "LeakyReLU", "Sigmoid", "Tanh", "GELU", "MSELoss", "BCEWithLogitsLoss")
} | {"Softmax": softmax(nn.Softmax), "LogSoftmax": softmax(nn.LogSoftmax), "CrossEntropyLoss": cross_entropy}


def ours(x):
    """A tensor of ours with the numbers of PyTorch's."""
    return Tensor(x.detach().numpy().copy(), str(x.dtype).split(".")[1], x.requires_grad)


def called(module, sample, made, make):
    """The module's result for a sample, whose tensors become make(tensor), noted in the list `made`."""

    def leaf(x):
        made.append(make(x))
        return made[-1]

    given = sample.forward_input
    return module(*rebuilt(tuple(given.args), leaf), *rebuilt(given.kwargs, leaf).values())


def agrees(name, sample, training):
    """Whether value, gradients and buffers of a sample are PyTorch's; NotOffered where we leave it out."""
    made, given = [], sample.constructor_input
    torch.manual_seed(0)
    theirs = KINDS[name].module_cls(*given.args, **given.kwargs).train(training)
    before = {key: ours(value) for key, value in theirs.state_dict(keep_vars=True).items()}
    want = called(theirs, sample, made, lambda x: x.detach().clone().requires_grad_(x.requires_grad))
    upstream = torch.rand(want.shape) if isinstance(want, torch.Tensor) else None
    if upstream is None:
        raise NotOffered("two results")
    wanted = [x for x in [*theirs.parameters(), *made] if x.requires_grad]
    grads = torch.autograd.grad(want, wanted, upstream, allow_unused=True)
    right, after = [], theirs.state_dict()
    for backend in sorted(BACKENDS) if name in OF_IMAGES else ["windows"]:
        found = []
        with use_backend(backend), np.errstate(all="ignore"):
            try:
                settings = {**(WHOLE.get(name, {}) if not given.args else {}), **rebuilt(given.kwargs, ours)}
                module = MODULES[name](*rebuilt(tuple(given.args), ours), **settings)
                own = dict(getattr(module, "named_tensors", list)())  # losses hold none
                if own.keys() != before.keys() and not isinstance(theirs, torch.nn.modules.loss._Loss):
                    raise NotOffered("other parameters")
                for key, tensor in own.items():
                    tensor.data = before[key].data.copy()
                module.train(training) if hasattr(module, "train") else None
                out = called(module, sample, found, ours)
                if close(out.data, want):
                    out.backward(upstream.numpy())
            except (TypeError, ValueError) as error:
                raise NotOffered(str(error)) from error
        leaves = [x for x in [*(own[key] for key, _ in theirs.named_parameters()), *found] if x.requires_grad]
        right.append(close(out.data, want))
        right += [close(filled(x.grad, x.data), filled(g, w)) for x, g, w in zip(leaves, grads, wanted, strict=True)]
        right += [close(tensor.data, after[key]) for key, tensor in getattr(module, "named_buffers", list)()]
    return all(right)


def counted(name):
    """{"tried", "agree", "not offered"} over a module's samples; and the descriptions of those that differ."""
    counts, wrong = {"tried": 0, "agree": 0, "not offered": 0}, []
    for training in (True, False):
        torch.manual_seed(0)
        settings = dict(device="cpu", dtype=torch.float32, requires_grad=True, training=training)
        for sample in KINDS[name].module_inputs_func(KINDS[name], **settings):
            counts["tried"] += 1
            try:
                if agrees(name, sample, training):
                    counts["agree"] += 1
                else:
                    wrong.append(f"{sample.desc} {sample.constructor_input.args} {sample.constructor_input.kwargs}")
            except NotOffered:
                counts["not offered"] += 1
    return counts, wrong


if __name__ == "__main__":
    table = {}
    for key in MODULES:
        table[key], differing = counted(key)
        print(key, table[key], *(f"\n    {each}" for each in differing), flush=True)
    TABLE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
