"""Every operation of 01 to 08 at the edges of its domain beside PyTorch, forward and backward."""

import numpy as np
import pytest

from tinytorch.core import activations, layers, losses, tensor
from tinytorch.core.tensor import Tensor

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
F = torch.nn.functional
pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("ignore::RuntimeWarning")]

INF, NAN, TINY, HUGE = np.inf, np.nan, 1e-38, 3e38
LINE = [0.0, -0.0, 1.0, -1.0, 2.5, -3.0, 30.0, -30.0, 100.0, -100.0, TINY, -TINY, HUGE, -HUGE, INF, -INF, NAN]
POINTS = {
    "line": LINE,
    "empty": [],
    "a number": 0.0,
    "another": -2.0,
    "one": [0.0],
    "matrix": [[0.0, 2.0], [-1.0, 0.5]],
}
ONE = {  # name: (ours, PyTorch's), of one input of any shape
    "neg": (lambda x: -x, lambda x: -x),
    "abs": (abs, torch.abs),
    "exp": (tensor.exp, torch.exp),
    "log": (tensor.log, torch.log),
    "sqrt": (tensor.sqrt, torch.sqrt),
    "relu": (activations.relu, F.relu),
    "leaky_relu": (activations.leaky_relu, F.leaky_relu),
    "sigmoid": (activations.sigmoid, torch.sigmoid),
    "tanh": (activations.tanh, torch.tanh),
    "gelu": (activations.gelu, lambda x: F.gelu(x, approximate="tanh")),
    "exact gelu": (lambda x: activations.gelu(x, "none"), F.gelu),
    **{f"** {e}": (lambda x, e=e: x**e,) * 2 for e in (0, 0.0, 1, 2, 3, 0.5, -1, -0.5, 1.5)},
    "1 - x + x ** 0": (lambda x: 1 - x + x**0,) * 2,
    "2 ** x": (lambda x: 2.0**x,) * 2,
    "1 / x": (lambda x: 1.0 / x,) * 2,
    "x / 0": (lambda x: x / 0.0,) * 2,
    "sum": (lambda x: x.sum(),) * 2,
    "reshape": (lambda x: x.reshape(-1),) * 2,
    "astype": (lambda x: x.astype("float64"), lambda x: x.double()),
    "softmax": (lambda x: activations.softmax(x, 0), lambda x: torch.softmax(x, 0)),
    "log_softmax": (lambda x: activations.log_softmax(x, 0), lambda x: torch.log_softmax(x, 0)),
    "mean": (lambda x: x.mean(), lambda x: x.mean()),
    "max": (lambda x: x.max(), torch.amax),
}
# Points where PyTorch's vector code, or its order of products, is off: see test_where_ours_is_the_right_value.
OTHERWISE = {"exact gelu": (HUGE, INF), "** 2": (HUGE, -HUGE), "** 0.5": (-0.0, -INF), "** -0.5": (-0.0, -INF)}
REFUSED = {("mean", "empty"), ("max", "empty")}  # with a sentence
ROWS = [[0, 0, 0], [INF, 0, 1], [-INF, 0, 1], [-INF, -INF, 2], [-INF] * 3, [INF, INF, 0], [NAN, 0, 1], [HUGE, -HUGE, 0]]
TIES = [[1, 1, 0], [2, 2, 2], [-INF, -INF, -INF], [INF, INF, 1], [0.0, -0.0, -1], [NAN, NAN, 1], [NAN, 2, 2]]


def without(points, values):
    """A list without some numbers; -0.0 is not 0.0."""
    return [v for v in values if str(v) not in map(str, points)] if values is LINE else values


TABLE = {  # name: (ours, PyTorch's, arrays): of one or more inputs, each of which wants a gradient
    **{
        f"{name}, {points}": (*functions, [without(OTHERWISE.get(name, ()), values)])
        for name, functions in ONE.items()
        for points, values in POINTS.items()
        if (name, points) not in REFUSED
    },
    **{
        f"{name} of rows": (ours, its, [ROWS + TIES])
        for name, ours, its in (
            ("softmax", activations.softmax, lambda x: torch.softmax(x, -1)),
            ("log_softmax", activations.log_softmax, lambda x: torch.log_softmax(x, -1)),
            ("amax", lambda x: x.max(axis=1), lambda x: torch.amax(x, 1)),
            ("mean", lambda x: x.mean(axis=1), lambda x: x.mean(1)),
            ("sum", lambda x: x.sum(axis=[0, 1]), lambda x: x.sum([0, 1])),
        )
    },
    "products of all pairs": (lambda a, b: a * b, lambda a, b: a * b, [np.array(LINE)[:, None], LINE]),
    "quotients of all pairs": (lambda a, b: a / b, lambda a, b: a / b, [np.array(LINE)[:, None], LINE]),
    "sums of all pairs": (lambda a, b: a + b, lambda a, b: a + b, [np.array(LINE)[:, None], LINE]),
    "differences of all pairs": (lambda a, b: a - b, lambda a, b: a - b, [np.array(LINE)[:, None], LINE]),
    "powers with both gradients": (
        lambda a, b: a**b,
        lambda a, b: a**b,
        [np.array([0.0, 1.0, 2.0, 0.5, INF])[:, None], [0.0, 1.0, 2.0, 0.5, -1.0, -0.5, INF]],
    ),
    "no rows @": (lambda a, b: a @ b, lambda a, b: a @ b, [np.zeros((0, 3)), np.ones((3, 2))]),
    "nothing inside @": (lambda a, b: a @ b, lambda a, b: a @ b, [np.zeros((2, 0)), np.ones((0, 2))]),
    "inf @ 0": (lambda a, b: a @ b, lambda a, b: a @ b, [[[INF, 1.0]], [[0.0], [1.0]]]),
    "vectors @": (lambda a, b: a @ b, lambda a, b: a @ b, [[1.0, INF], [2.0, 3.0]]),
    "linear of no rows": (layers.linear, F.linear, [np.zeros((0, 3)), np.ones((2, 3)), np.ones(2)]),
    "linear with inf": (layers.linear, F.linear, [[[INF, 0.0, NAN]], np.ones((2, 3)), np.ones(2)]),
    "an empty part": (lambda x: x[1:1], lambda x: x[1:1], [[1.0, 2.0]]),
    "the same entry twice": (lambda x: x[[0, 0]], lambda x: x[[0, 0]], [[1.0, 2.0]]),
    "sum of no rows": (lambda x: x.sum(axis=0), lambda x: x.sum(0), [np.zeros((0, 3))]),
    "mean of no columns": (lambda x: x.mean(axis=1), lambda x: x.mean(1), [np.zeros((0, 3))]),
    "mse at inf": (losses.mse_loss, F.mse_loss, [[INF, 1.0], [1.0, 1.0]]),
    "mse of inf and inf": (losses.mse_loss, F.mse_loss, [[INF, 1.0], [INF, 1.0]]),
    "mse of a number": (losses.mse_loss, F.mse_loss, [1.0, 3.0]),
    "cross_entropy of NaN, its label of weight 0": (
        lambda x: losses.cross_entropy(x, [1, 0], weight=[1.0, 0.0, 2.0], reduction="none"),
        lambda x: F.cross_entropy(x, torch.tensor([1, 0]), torch.tensor([1.0, 0.0, 2.0]), reduction="none"),
        [[[NAN, 0.0, 1.0], [0.0, 1.0, 2.0]]],
    ),
}
for z in without((HUGE, -HUGE), LINE):
    for t in (0.0, 1.0, 0.3):
        both = losses.binary_cross_entropy_with_logits, F.binary_cross_entropy_with_logits
        if np.isinf(z) and t != (z > 0):  # the lesson's formula: NaN for inf, inf for -inf; PyTorch's is the reverse
            continue
        TABLE[f"bce of {z} and {t}"] = (*both, [[z, 0.5], [t, 1.0]])
for row in ROWS:
    for smoothing in (0.0, 0.2):
        for label in (0, 2):
            TABLE[f"cross_entropy of {row}, label {label}, smoothing {smoothing}"] = (
                lambda x, y=label, s=smoothing: losses.cross_entropy(x, [y, 1], s),
                lambda x, y=label, s=smoothing: F.cross_entropy(x, torch.tensor([y, 1]), label_smoothing=s),
                [[row, [0.0, 1.0, 2.0]]],
            )


@pytest.mark.parametrize("name", TABLE)
def test_forward_and_backward_at_the_edge(name):
    ours, its, arrays = TABLE[name]
    arrays = [np.array(a, np.float32) for a in arrays]
    mine = [Tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    out, want = ours(*mine), its(*theirs)
    np.testing.assert_allclose(out.data, want.detach().numpy(), rtol=1e-5, atol=1e-6)
    upstream = np.random.default_rng(0).uniform(0.5, 1.5, want.shape).astype(want.detach().numpy().dtype)
    out.backward(upstream)
    want.backward(torch.tensor(upstream))
    for which, (a, b) in enumerate(zip(mine, theirs, strict=True)):
        assert a.grad.dtype == np.float32
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=2e-5, atol=1e-6, err_msg=f"input {which}")


@pytest.mark.parametrize("name", [*activations.__all__[:5], "exact gelu", "** 2", "abs", "exp"])
def test_half_precision_at_its_ends(name):
    """The slope of gelu was NaN at 1e4: its squares left the range of float16."""
    ours, its = ONE[name]
    ends = np.array([0, -0.0, 1, -2, 20, -20, 300, -300, 1e4, -1e4, 6e4, -6e4, 6e-8, INF, -INF, NAN], np.float16)
    ends = ends[np.isfinite(ends)] if name == "exact gelu" else ends
    x, t = Tensor(ends, "float16", requires_grad=True), torch.tensor(ends, requires_grad=True)
    out, want = ours(x), its(t)
    out.backward(np.ones_like(ends))
    want.backward(torch.ones_like(t))
    np.testing.assert_allclose(out.data, want.detach().numpy(), rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(x.grad, t.grad.numpy(), rtol=2e-3, atol=1e-4)
    assert out.dtype == x.grad.dtype == np.float16


@pytest.mark.parametrize(("name", "points"), sorted(REFUSED))
def test_nothing_to_take_it_of(name, points):
    with pytest.raises(ValueError, match="no entries|length 0"):
        ONE[name][0](Tensor(POINTS[points]))


def test_ties_are_shared_evenly_as_by_amax():
    x = Tensor([[3.0, 3.0, 1.0]], requires_grad=True)
    x.max().backward()
    assert x.grad.tolist() == [[0.5, 0.5, 0.0]]


@pytest.mark.parametrize(
    ("function", "x", "value", "slope"),
    [
        (ONE["exact gelu"][0], HUGE, HUGE, 1),
        (ONE["** 2"][0], 1e19, 1e38, 2e19),
        (ONE["** 0.5"][0], -0.0, 0.0, INF),
        (ONE["relu"][0], NAN, NAN, 1),
        (ONE["abs"][0], NAN, NAN, 0),
    ],
)
def test_where_ours_is_the_right_value(function, x, value, slope):
    x = Tensor(np.float32(x), requires_grad=True)
    out = function(x)
    out.backward()
    np.testing.assert_allclose([out.data, x.grad], [value, slope], rtol=1e-6)
