"""Hold our operations against the samples of PyTorch's own operator database, and write down how many agree.

`python tests/parity/run.py` runs all samples and rewrites table.json, whose counts may only grow.
"""

import importlib.util
import json
import sys
import types
import unittest
from pathlib import Path

import numpy as np
import torch

from tinytorch.core.tensor import Tensor

if importlib.util.find_spec("expecttest") is None:  # PyTorch's test tools import it, the samples do not need it
    sys.modules["expecttest"] = types.ModuleType("expecttest")
    sys.modules["expecttest"].TestCase = unittest.TestCase
sys.path.insert(0, str(Path(__file__).parent))

from adapters import ADAPTERS, NotOffered  # noqa: E402
from torch.testing._internal.common_methods_invocations import op_db  # noqa: E402

TABLE = Path(__file__).with_name("table.json")
OPERATORS = {f"{op.name}.{op.variant_test_name}".rstrip("."): op for op in op_db}


def rebuilt(x, make):
    """A sample's arguments, make(tensor) in place of every tensor."""
    if isinstance(x, torch.Tensor):
        return make(x)
    if isinstance(x, list | tuple):
        return [rebuilt(item, make) for item in x] if isinstance(x, list) else tuple(rebuilt(item, make) for item in x)
    return {name: rebuilt(item, make) for name, item in x.items()} if isinstance(x, dict) else x


def close(a, b):
    """Equal numbers, of the size that PyTorch's have, to float32's precision."""
    b = b.detach().numpy()
    scale = np.abs(b[np.isfinite(b)]).max(initial=1.0) if b.dtype.kind == "f" else 1.0
    return a.shape == b.shape and np.allclose(a, b, rtol=2e-5, atol=2e-6 * scale, equal_nan=True)


def filled(grad, like):
    """A gradient, zeros where there is none."""
    return grad if grad is not None else like * 0


def agrees(operator, adapter, sample):
    """Whether value and gradients of a sample are PyTorch's; NotOffered where we leave it out."""
    mine, theirs = [], []

    def ours(x):
        mine.append(Tensor(x.detach().numpy().copy(), str(x.dtype).split(".")[1], x.requires_grad))
        return mine[-1]

    def leaf(x):
        theirs.append(x.detach().clone().requires_grad_(x.requires_grad))
        return theirs[-1]

    arguments = sample.input, tuple(sample.args), sample.kwargs
    given, theirs_given = (rebuilt(arguments, make) for make in (ours, leaf))
    with np.errstate(all="ignore"):
        try:
            out = adapter(given[0], *given[1], **given[2])
        except (TypeError, ValueError, IndexError) as error:
            raise NotOffered(str(error)) from error
        want = operator(theirs_given[0], *theirs_given[1], **theirs_given[2])
        if want is NotImplemented:
            raise NotOffered("nor by PyTorch")
        if not close(out.data, want):
            return False
        if not want.requires_grad:
            return not out.requires_grad
        upstream = np.random.default_rng(0).uniform(0.5, 1.5, want.shape).astype(out.dtype)
        try:
            out.backward(upstream)
        except ValueError as error:
            raise NotOffered(str(error)) from error
    wanted = [x for x in theirs if x.requires_grad]
    grads = torch.autograd.grad(want, wanted, torch.tensor(upstream).to(want.dtype), allow_unused=True)
    found = [x for x in mine if x.requires_grad]
    return all(close(filled(a.grad, a.data), filled(b, its)) for a, b, its in zip(found, grads, wanted, strict=True))


def counted(name, kind="sample"):
    """{"tried", "agree", "not offered"} over an operation's samples (or "reference" inputs); and who disagreed."""
    operator, adapter = OPERATORS[name], ADAPTERS[name]
    counts, wrong = {"tried": 0, "agree": 0, "not offered": 0}, []
    torch.manual_seed(0)
    samples = getattr(operator, f"{kind}_inputs")("cpu", torch.float32, requires_grad=operator.supports_autograd)
    for sample in samples:
        counts["tried"] += 1
        try:
            if agrees(operator, adapter, sample):
                counts["agree"] += 1
            else:
                wrong.append(sample)
        except NotOffered:
            counts["not offered"] += 1
    return counts, wrong


if __name__ == "__main__":
    table = {}
    for key in ADAPTERS:
        table[key] = {}
        for kind in ("sample", "reference"):
            table[key][kind], differing = counted(key, kind)
            print(key, kind, table[key][kind], *(f"\n    {s.summary()}" for s in differing), flush=True)
    TABLE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
