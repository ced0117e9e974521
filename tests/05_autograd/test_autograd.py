"""Gradients of every operation of 01-05, the engine's order and memory, and its messages."""

import gc
import math
import threading
import tracemalloc
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tinytorch.core import activations, layers, losses, tensor
from tinytorch.core.autograd import BACKWARD, backward, gradcheck, gradient, no_grad, show
from tinytorch.core.tensor import Tensor, index, operation, power

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((2, 3)), RNG.standard_normal((2, 3))
POSITIVE = RNG.uniform(0.5, 2, (2, 3))
LABELS = np.array([2, 0])
X1 = Tensor([1.0], requires_grad=True)
CASES = {
    "add": (lambda a, b: a + b, X, Y[0]),
    "sub": (lambda a, b: a - b, X[:, :1], Y),
    "multiply": (lambda a, b: a * b, X, Y[:1]),
    "divide": (lambda a, b: a / b, X, POSITIVE),
    "neg": (lambda a: -a, X),
    "power": (lambda a: a**3, X),
    "power, exponent": (lambda a, e: a**e, POSITIVE, Y[0]),
    "exp": (lambda a: a.exp(), X),
    "log": (lambda a: a.log(), POSITIVE),
    "sqrt": (lambda a: a.sqrt(), POSITIVE),
    "matmul": (lambda a, b: a @ b, X, Y.T),
    "matmul, batch": (lambda a, b: a @ b, RNG.standard_normal((4, 1, 2, 3)), RNG.standard_normal((5, 3, 2))),
    "matmul, vectors": (lambda a, b: (a @ b) * 2, X[0], Y[0]),
    "sum": (lambda a: a.sum(axis=1), X),
    "mean": (lambda a: a.mean(axis=(0, 1), keepdims=True), X),
    "max": (lambda a: a.max(axis=0), X),
    "reshape": (lambda a: a.T.reshape(6), X),
    "transpose": (lambda a: a.reshape(1, 2, 3).transpose(2, 0, 1), X),
    "index": (lambda a: a[np.array([0, 1, 1]), 1:], X),
    "relu": (activations.relu, X),
    "leaky_relu": (lambda x: activations.leaky_relu(x, 0.2), X),
    "sigmoid": (activations.sigmoid, X),
    "tanh": (activations.tanh, X),
    "gelu": (activations.gelu, X),
    "softmax": (lambda x: activations.softmax(x, axis=0), X),
    "log_softmax": (activations.log_softmax, X),
    "linear": (layers.linear, RNG.standard_normal((4, 2, 3)), Y, X[:, 0]),
    "linear, no bias": (layers.linear, X, Y),
    "mse_loss": (losses.mse_loss, X, Y),
    "cross_entropy": (lambda x: losses.cross_entropy(x, LABELS), X),
    "cross_entropy, smooth": (lambda x: losses.cross_entropy(x, LABELS, label_smoothing=0.1), X),
    "bce": (losses.binary_cross_entropy_with_logits, X, POSITIVE / 2),
}


@pytest.mark.parametrize("name", CASES)
def test_gradient_equals_central_differences(name):
    function, *inputs = CASES[name]
    assert gradcheck(function, *inputs)


def test_every_operation_has_a_rule_for_every_input_that_can_want_one():
    unwanted = {"axis", "axes", "keepdims", "shape", "where", "slope", "labels", "label_smoothing", "like"}
    unwanted |= {"smoothing", "reduction"}
    seen = 0
    for module in (tensor, activations, layers, losses):
        for name, run in vars(module).items():
            if hasattr(run, "__wrapped__") and run.__module__ == module.__name__:
                inputs = run.__wrapped__.__code__.co_varnames[: run.__wrapped__.__code__.co_argcount]
                missing = [i for i, vjp in zip(inputs, BACKWARD[run], strict=True) if vjp is None and i not in unwanted]
                missing = [i for i in missing if (name, i) != ("weighted_cross_entropy", "weight")]  # nor has PyTorch
                assert not missing, f"{name} has no gradient for {missing}"
                seen += 1
    assert seen >= 26


def test_a_chain_of_100_000_operations_is_walked_and_dropped():
    x = Tensor(1.0, requires_grad=True)
    for walk in (True, False):
        y = x
        for _ in range(100_000):
            y = y + 1.0
        if walk:
            backward(y)
        del y
    assert x.grad == 1.0


def test_a_diamond_is_visited_once():
    calls = []

    @operation
    def doubled(a):
        return a + a

    @gradient(doubled, wrt="a")
    def doubled_a(upstream, out, a):
        calls.append(1)
        return 2 * upstream

    y = x = Tensor(1.0, requires_grad=True)
    for _ in range(18):
        y = doubled(y) + y * 0.0
    backward(y)
    assert x.grad == 2**18 and len(calls) == 18


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_random_graphs_equal_central_differences(seed):
    made = [lambda p, q: p + q, lambda p, q: p * q * 0.5, lambda p, q: activations.tanh(p - q)]

    def build(a, b):
        rng, nodes = np.random.default_rng(seed), [a, b, a * 0.5]
        for _ in range(8):
            left, right = (nodes[i] for i in rng.integers(0, len(nodes), 2))
            nodes.append(made[rng.integers(3)](left, right))
        return nodes[-1] + nodes[-2]

    assert gradcheck(build, X * 0.5, Y[0] * 0.5, rtol=1e-4, atol=1e-6)


@given(arrays.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3))
def test_gradients_have_the_shapes_of_their_inputs(shapes):
    a, b = (Tensor(np.ones(shape), requires_grad=True) for shape in shapes.input_shapes)
    (a * b - a / (b + 1.0)).sum().backward()
    assert a.grad.shape == a.shape and b.grad.shape == b.shape and a.grad.dtype == np.float32


def test_gradients_accumulate_and_are_copies():
    x, y = Tensor([1.0, 2.0], requires_grad=True), Tensor([3.0, 4.0], requires_grad=True)
    (x + y).sum().backward()
    (x + y).sum().backward()
    assert x.grad.tolist() == [2, 2] and x.grad is not y.grad
    x.grad += 1
    assert y.grad.tolist() == [2, 2]


def test_no_grad_forgets_and_nests():
    x = Tensor([1.0], requires_grad=True)
    with no_grad():
        with no_grad():
            pass
        assert not (x * 2).requires_grad
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert (x * 2).requires_grad and not no_grad()(lambda: x * 2)().requires_grad


def test_no_grad_decorates_a_function_that_is_called_again_and_calls_itself():
    x = Tensor([1.0], requires_grad=True)

    @no_grad()
    def deep(n):
        return [(x * 2).requires_grad, *(deep(n - 1) if n else ())]

    for _ in range(2):
        assert deep(2) == [False] * 3 and (x * 2).requires_grad


def test_no_grad_is_for_its_own_thread():
    x, seen = Tensor([1.0], requires_grad=True), {}

    def work(name):
        seen[name] = (x * 2).requires_grad

    def other():
        work("before")
        with no_grad():
            held.set()
            assert done.wait(60)
            work("inside")

    held, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=other)
    with no_grad():
        thread.start()
        assert held.wait(60)
    work("here, while the other is in no_grad")
    done.set()
    thread.join(10)
    assert seen == {"before": True, "here, while the other is in no_grad": True, "inside": False}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_keep_the_dtype(dtype):
    x = Tensor(X, dtype, requires_grad=True)
    losses.mse_loss(activations.gelu(x * 2.5), Tensor([[0, 1, 0], [1, 0, 1]])).backward()
    assert x.grad.dtype == dtype


def test_memory_order_survives_reshape_and_arithmetic():
    base = np.asfortranarray(X.astype(np.float32))
    x = Tensor(base, requires_grad=True)
    activations.relu(x * 2 + 1).reshape(6).sum().backward()
    assert x.grad.flags.f_contiguous


def test_the_graph_is_freed_by_backward_and_holds_no_cycles():
    gc.collect()
    gc.disable()
    try:
        x = Tensor(np.ones(250_000), requires_grad=True)
        tracemalloc.start()
        y = x
        for _ in range(10):
            y = activations.relu(y + 1.0)
        middle, loss = weakref.ref(y), y.sum()
        held = tracemalloc.get_traced_memory()[0]
        del y
        loss.backward()
        assert held > 15e6 and tracemalloc.get_traced_memory()[0] < 2e6 and middle() is None
    finally:
        tracemalloc.stop()
        gc.enable()


def _cube(name="cube"):
    def cube(a):
        return a**3

    cube.__name__ = name
    return operation(cube)


def _wrong(rule):
    cube = _cube()
    gradient(cube, wrt="a")(rule)
    return lambda: cube(Tensor([1.0, 2.0], requires_grad=True)).sum().backward()


def _changed(**values):
    """A parameter to which somebody assigned."""
    x = Tensor([1.0, 2.0], requires_grad=True)
    for name, value in values.items():
        setattr(x, name, value)
    return x


def test_a_grad_of_0_is_as_good_as_none():
    x = _changed(grad=0)
    (x * 2.5).sum().backward()
    assert x.grad.tolist() == [2.5, 2.5]


@pytest.mark.parametrize(
    ("act", "kind", "words"),
    [
        (lambda: _cube()(X1).backward(), NotImplementedError, r"@gradient\(cube, wrt='a'\)"),
        (lambda: _cube("all_")(X1).backward(), NotImplementedError, r"all has no .* @gradient\(all_, wrt='a'\)"),
        (lambda: gradient(_cube(), wrt="q"), ValueError, "has the inputs a; there is no 'q'"),
        (_wrong(lambda upstream, out, a: None), TypeError, "is there a return"),
        (_wrong(lambda upstream, out, a: np.ones((5, 2))), ValueError, r"shape \(5, 2\), its input has \(2,\)"),
        (lambda: (Tensor([1.0, 2.0], requires_grad=True) * 2).backward(), RuntimeError, "pass upstream"),
        (lambda: Tensor([1.0]).sum().backward(), RuntimeError, "no_grad, or detached"),
        (lambda: (X1 * np.ones(2)).backward([1.0]), ValueError, r"shape \(1,\), the tensor \(2,\)"),
        (lambda: power(Tensor([-1.0]), Tensor([2.0], requires_grad=True)).backward(), ValueError, "positive base"),
        (lambda: (X1 * 2).backward(np.array([1j, 1])), TypeError, "upstream is of dtype complex128"),
        (lambda: (X1 * 2).backward(np.ma.array([1.0, 2.0], mask=[1, 0])), ValueError, "upstream: .* masked entries"),
        (lambda: (X1 * 2).backward([None, 1.0]), TypeError, r"upstream holds \[None, 1.0\]: expected real numbers"),
        (lambda: X1.sum().backward(retain_graph="no"), TypeError, "retain_graph takes True or False, got 'no'"),
        (
            lambda: (_changed(data=np.array([1, 2])) * 2.5).sum().backward(),
            TypeError,
            "gradients holds int64: .*astype",
        ),
        (lambda: (_changed(data=np.array([True, False])) * 1.0).sum().backward(), TypeError, "gradients holds bool"),
        (lambda: _changed(grad=np.ones(1)).sum().backward(), ValueError, r"has shape \(1,\) and should have \(2,\)"),
        (lambda: _changed(grad=np.ones((3, 2))).sum().backward(), ValueError, r"has shape \(3, 2\) and should"),
        (lambda: _changed(grad=[1.0, 2.0]).sum().backward(), TypeError, r"is an array of shape \(2,\), or None, got"),
        (lambda: _changed(grad=Tensor([1.0, 2.0])).sum().backward(), TypeError, "got Tensor.*: a Tensor has .data"),
    ],
)
def test_messages(act, kind, words):
    with pytest.raises(kind, match=words):
        act()


def test_a_failing_rule_is_named_and_leaves_no_half_written_gradient():
    cube, x, w = _cube(), Tensor([1.0, 2.0], requires_grad=True), Tensor([1.0, 1.0], requires_grad=True)

    @gradient(cube, wrt="a")
    def cube_a(upstream, out, a):
        raise ArithmeticError("broken")

    with pytest.raises(ArithmeticError) as caught:
        (cube(x) + w).sum().backward()
    assert "rule cube_a of cube: upstream (2,), inputs (2,)" in caught.value.__notes__[0]
    assert x.grad is None and w.grad is None


def test_a_second_walk_is_refused_unless_the_graph_was_retained():
    x = Tensor([2.0], requires_grad=True)
    y = x * x
    z = (y * 3).sum()
    z.backward(retain_graph=True)
    z.backward()
    assert x.grad.tolist() == [24.0]
    for again in (z, y):
        with pytest.raises(RuntimeError, match="retain_graph=True"):
            again.sum().backward()


def test_gradcheck_names_the_entry_that_is_wrong():
    @operation
    def shifted(a):
        return index.__wrapped__(a, slice(None)) * 2

    @gradient(shifted, wrt="a")
    def shifted_a(upstream, out, a):
        return upstream[::-1] * 2  # right for an upstream of ones only

    with pytest.raises(AssertionError, match=r"input 0, entry \(0,\).*measured"):
        gradcheck(shifted, np.array([1.0, 2.0, 3.0]))


@pytest.mark.parity
@pytest.mark.parametrize("name", ["gelu", "softmax", "log_softmax", "sigmoid"])
def test_activation_gradients_equal_pytorch(name):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    functions = torch.nn.functional
    theirs = {"gelu": lambda t: functions.gelu(t, approximate="tanh"), "sigmoid": torch.sigmoid}
    x, t = Tensor(X, requires_grad=True), torch.tensor(X, dtype=torch.float32, requires_grad=True)
    upstream = Y.astype(np.float32)
    getattr(activations, name)(x).backward(upstream)
    theirs.get(name, lambda t: getattr(functions, name)(t, dim=-1))(t).backward(torch.from_numpy(upstream))
    np.testing.assert_allclose(x.grad, t.grad, atol=1e-6)


@pytest.mark.parity
def test_a_small_network_equals_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, labels = RNG.standard_normal((8, 5)).astype(np.float32), RNG.integers(0, 3, 8)
    ours = [Tensor(RNG.standard_normal(s), requires_grad=True) for s in ((6, 5), (6,), (3, 6), (3,))]
    theirs = [torch.tensor(w.data, requires_grad=True) for w in ours]
    hidden = activations.relu(layers.linear(Tensor(x), *ours[:2]))
    losses.cross_entropy(layers.linear(hidden, *ours[2:]), labels, label_smoothing=0.1).backward()
    f = torch.nn.functional
    out = f.linear(f.relu(f.linear(torch.from_numpy(x), *theirs[:2])), *theirs[2:])
    f.cross_entropy(out, torch.from_numpy(labels), label_smoothing=0.1).backward()
    for w, t in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(w.grad, t.grad, atol=1e-6)


def test_show_prints_an_operation_and_its_rules(capsys):
    show(tensor.multiply)
    printed = capsys.readouterr().out
    assert all(f"def {name}(" in printed for name in ("multiply", "multiply_a", "multiply_b"))


@pytest.mark.parametrize(
    "exponent", [(1, 0, 2), range(3), np.array([True, False, True]), Tensor([True, False, True])], ids=str
)
def test_exponents_of_any_kind(exponent):
    x = Tensor([2.0, 3.0, 4.0], requires_grad=True)
    (x**exponent).sum().backward()
    e = np.asarray(exponent, np.float32)
    assert x.grad.tolist() == (e * x.data ** (e - (e != 0))).tolist()


def test_indices_refilled_before_backward():
    for where in (np.array([0, 0]), Tensor([0, 0])):
        x = Tensor([2.0, 3.0], requires_grad=True)
        y = index(x, where)
        (where.data if isinstance(where, Tensor) else where)[:] = 1
        y.sum().backward()
        assert x.grad.tolist() == [2, 0]


def test_the_gradient_of_a_number_stays_an_array():
    x = Tensor(2.0, requires_grad=True)
    for times in (1, 2, 3):
        (x * 2).backward()
        assert type(x.grad) is np.ndarray and x.grad == 2 * times


@pytest.mark.parametrize(
    ("weight", "bias", "words"),
    [
        ((2, 2), (1,), r"bias is \(2,\), one number for each row of weight \(2, 2\), got \(1,\)"),
        ((2, 2), (), r"got \(\)"),
        ((2, 2), (2, 2), r"bias is \(2,\)"),
        ((1, 2, 2), None, r"weight is \(out, in\), got \(1, 2, 2\)"),
        ((2,), None, r"weight is \(out, in\), got \(2,\)"),
    ],
)
def test_linear_of_shapes_without_a_gradient(weight, bias, words):
    bias = None if bias is None else Tensor(np.ones(bias))
    with pytest.raises(ValueError, match=f"^linear: .*{words}"):
        layers.linear(Tensor(np.ones((2, 2))), Tensor(np.ones(weight), requires_grad=True), bias)


def test_what_is_no_tensor_and_no_operation(capsys):
    for act, words in (
        (lambda: backward(5), "backward expected a tensor, got 5"),
        (lambda: show(5), "show takes an operation, .*got 5"),
        (lambda: gradcheck(lambda x: 5, [1.0]), "a tensor from the function, got 5"),
        (lambda: gradcheck(lambda x: None, [1.0]), "a tensor from the function, got None"),
    ):
        with pytest.raises(TypeError, match=words):
            act()
    show(tensor.add)
    assert capsys.readouterr().out.count("def add_ab") == 1


def gelu_and_slope(x, form):
    """Both in float64, from the formulas."""
    if form == "none":
        share = 0.5 * np.vectorize(math.erfc)(-x / math.sqrt(2))
        return x * share, share + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    c, k = math.sqrt(2 / math.pi), 0.044715
    share = 0.5 * (1 + np.tanh(c * (x + k * x**3)))
    return x * share, share + 2 * x * share * (1 - share) * c * (1 + 3 * k * x * x)


@pytest.mark.parametrize("form", ["tanh", "none"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_gelu_of_a_large_array_is_exact(dtype, order, form):
    shape = np.array([70, 41, 43])[list(order)]
    x = (3 * np.random.default_rng(0).standard_normal(shape)).astype(dtype).transpose(np.argsort(order))
    x[0, 0, :9] = np.array([0, -0.0, 30, -30, 1e3, -1e3, 5.5, -5.5, 1e-30], dtype)
    upstream = np.random.default_rng(1).standard_normal(x.shape).astype(dtype)
    tensor = Tensor(x, dtype=dtype, requires_grad=True)
    out = activations.gelu(tensor, form)
    out.backward(upstream)
    assert out.data.strides == x.strides and out.dtype == x.dtype == tensor.grad.dtype
    with no_grad():
        assert np.array_equal(activations.gelu(tensor, form).data, out.data)
    right, slope = gelu_and_slope(x.astype("float64"), form)
    close = 1e-6 if dtype == "float32" else 1e-13
    assert (np.abs(out.data - right) / np.maximum(1, np.abs(x))).max() < close
    assert (np.abs(tensor.grad - upstream * slope) / np.maximum(1, np.abs(upstream))).max() < 2 * close
    part = Tensor(x[0], dtype=dtype, requires_grad=True)
    activations.gelu(part, form).backward(upstream[0])  # fewer numbers go another way
    for mine, whole in ((part.grad, tensor.grad[0]), (activations.gelu(part, form).data, out.data[0])):
        np.testing.assert_allclose(mine, whole, rtol=2 * close, atol=4 * close)


def test_gelu_of_many_numbers_that_are_none():
    x = np.zeros(20_000, np.float32)
    x[[5, 7_000, 19_999]] = np.nan, np.inf, np.nan
    for form in ("tanh", "none"):
        out = activations.gelu(Tensor(x), form).data
        assert np.isnan(out[[5, 19_999]]).all() and np.isinf(out[7_000]) and not out[6:7_000].any()


def test_a_gelu_that_is_another_function_runs_itself_everywhere():
    def gelu(x):
        return x + 1

    out = tensor.operation(gelu, real="x")(Tensor(np.zeros(20_000), requires_grad=True))
    assert (out.data == 1).all() and out.grad_fn[2][0].base is None


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize(("spread", "middle"), [(1, 0), (30, 0), (1, 500), (1, -500), (400, 0)])
def test_softmax_of_many_is_that_of_each_row(name, axis, spread, middle, dtype):
    rng = np.random.default_rng(0)
    x = (middle + spread * rng.standard_normal((70, 900))).astype(dtype)
    upstream = rng.standard_normal(x.shape).astype(dtype)
    whole = Tensor(x, dtype=dtype, requires_grad=True)
    out = getattr(activations, name)(whole, axis)
    out.backward(upstream)
    logs = x.astype("float64") - x.max(axis=axis, keepdims=True)
    logs -= np.log(np.exp(logs).sum(axis=axis, keepdims=True))
    shares = np.exp(logs)
    right = shares if name == "softmax" else logs
    mean = (upstream * shares).sum(axis=axis, keepdims=True)
    back = shares * (upstream - mean) if name == "softmax" else upstream - shares * upstream.sum(axis, keepdims=True)
    close = dict(rtol=2e-5, atol=1e-5) if dtype == "float32" else dict(rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(out.data, right, **close)
    np.testing.assert_allclose(whole.grad, back, **close)


def test_gelu_of_a_part_of_an_array_and_of_a_single_number():
    x = Tensor(np.random.default_rng(0).standard_normal((4, 100_000), dtype="float32")[:, ::2], requires_grad=True)
    activations.gelu(x).sum().backward()
    one = Tensor(x.data[1, 2], requires_grad=True)
    activations.gelu(one).backward()
    assert one.grad.shape == () and one.grad == x.grad[1, 2]
