"""Tensor: dtype rules, operators both ways round, broadcasting, shapes, recipes and messages."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tinytorch.core.tensor import Tensor, manual_seed, max_, neg, operation, randn, sub, sum_

SHAPES = arrays.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=4)


@pytest.mark.parametrize(
    ("data", "dtype", "expected"),
    [
        (1.5, None, "float32"),
        ([1, 2], None, "int64"),
        ([True], None, "bool"),
        (np.float64(2), None, "float32"),
        (np.zeros(2), None, "float32"),
        (np.zeros(2), "float64", "float64"),
        (np.zeros(2, np.uint8), None, "uint8"),
        (Tensor([1.0], dtype="float64"), "float64", "float64"),
    ],
)
def test_dtype_rules(data, dtype, expected):
    assert Tensor(data, dtype).dtype == expected


def test_array_is_shared_where_it_fits():
    array = np.ones(3, np.float32)
    tensor = Tensor(array)
    assert tensor.data is array, "an array that fits comes back itself: astype copies unless it is told copy=False"
    assert tensor.numpy() is array and tensor.detach().data is array


@pytest.mark.parametrize(
    ("act", "kind", "words"),
    [
        (lambda: Tensor(["cat"]), TypeError, "number"),
        (lambda: Tensor([[1.0], [2.0, 3.0]]), ValueError, "length|row|size|shape"),
        (lambda: Tensor([1, 2], requires_grad=True), TypeError, "dtype='float32'"),
        (lambda: Tensor([1.0, 2.0]).item(), ValueError, None),
        (lambda: Tensor(np.ones((2, 3))) @ Tensor(np.ones((2, 3))), ValueError, r"\(2, 3\).*\(2, 3\)"),
        (lambda: Tensor(1.0) @ Tensor([1.0]), ValueError, None),
        (lambda: Tensor([1.0]).__setitem__(0, 2.0), TypeError, "build a new one"),
        (lambda: len(Tensor(1.0)), TypeError, "no length"),
        (lambda: bool(Tensor([1.0, 2.0])), ValueError, None),
    ],
)
def test_messages(act, kind, words):
    with pytest.raises(kind, match=words):
        act()


def test_a_failing_operation_names_itself_and_its_shapes():
    with pytest.raises(ValueError) as caught:
        Tensor([1.0, 2.0]) + Tensor([1.0, 2.0, 3.0])
    assert str(caught.value).startswith("add of (2,), (3,): ") and "lengths must be equal" in str(caught.value)


def test_operations_are_called_what_people_type_and_pickle_by_name():
    x = Tensor([[1.0, 2.0]], requires_grad=True)
    assert Tensor.sum.__name__ == sum_.__name__ == "sum" and Tensor.max.__name__ == max_.__name__ == "max"
    assert sub.__name__ == "sub" and neg.__name__ == "neg"
    assert repr(x.sum()).endswith("made by sum)") and repr(x.max(1)).endswith("made by max)")
    with pytest.raises(ValueError) as caught:
        x.sum(axis=5)
    assert str(caught.value).startswith("sum: axis=5 does not fit the shape (1, 2)")
    for run in (sum_, max_, sub, neg):
        assert pickle.loads(pickle.dumps(run)) is run


@given(SHAPES)
def test_operators_follow_numpy(shapes):
    rng = np.random.default_rng(0)
    a, b = (rng.uniform(0.5, 2, shape).astype(np.float32) for shape in shapes.input_shapes)
    x, y = Tensor(a), Tensor(b)
    for got, expected in ((x + y, a + b), (x - y, a - b), (x * y, a * b), (x / y, a / b), (x**y, a**b), (-x, -a)):
        assert got.shape == np.shape(expected) and got.dtype == np.float32
        np.testing.assert_allclose(got.data, expected, rtol=1e-6)


@given(arrays.array_shapes(min_dims=1, max_dims=4, max_side=4), st.data())
def test_reductions_follow_numpy(shape, data):
    array = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    axis = data.draw(st.none() | arrays.valid_tuple_axes(len(shape), min_size=1))
    keepdims = data.draw(st.booleans())
    for method in ("sum", "mean", "max"):
        got = getattr(Tensor(array), method)(axis=axis, keepdims=keepdims)
        expected = getattr(array, method)(axis=axis, keepdims=keepdims)
        assert got.shape == np.shape(expected)
        np.testing.assert_allclose(got.data, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("left", [2, 2.0, np.float64(2), np.float32(2), np.array([2.0, 2.0]), [2.0, 2.0]])
def test_numbers_and_arrays_on_the_left(left):
    x = Tensor([1.0, 4.0], requires_grad=True)
    for got, expected in (
        (left + x, [3, 6]), (left - x, [1, -2]), (left * x, [2, 8]), (left / x, [2, 0.5]), (left**x, [2, 16])
    ):  # fmt: skip
        assert isinstance(got, Tensor) and got.requires_grad
        assert got.dtype == np.float32 and np.allclose(got.data, expected)


def test_arrays_matmul_tensors_both_ways():
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal((a @ Tensor(a.T)).data, a @ a.T) and np.array_equal((Tensor(a) @ a.T).data, a @ a.T)


def test_integers_and_float64_do_not_leak():
    whole, single = Tensor([1, 2]), Tensor([0.5, 1.0])
    for result in (whole / 2, whole * 2.5, whole * single, whole / whole, whole.mean(), whole.exp()):
        assert result.dtype == np.float32
    assert (whole + whole).dtype == np.int64 and whole.sum().item() == 3
    assert (Tensor([1.0], "float64") * single).dtype == np.float64


def test_comparisons_are_boolean_tensors_without_memory():
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    cases = (x == 2, [0, 1, 0]), (x != 2, [1, 0, 1]), (x < 2, [1, 0, 0]), (x >= Tensor(2.0), [0, 1, 1])
    for result, expected in cases:
        assert result.dtype == bool and result.data.tolist() == [bool(e) for e in expected] and result.grad_fn is None
    assert x in {x: "tensors are keys by identity"}


def test_shapes_and_indexing():
    a = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    x = Tensor(a, requires_grad=True)
    assert x.reshape(4, -1).shape == x.reshape((4, 6)).shape == (4, 6)
    assert x.transpose(2, 0, 1).shape == (4, 2, 3) and x.T.shape == (4, 3, 2) and len(x) == 2
    assert np.array_equal(x[Tensor([1, 0])].data, a[[1, 0]]) and np.array_equal(x[..., Tensor([0])].data, a[..., [0]])
    assert all(part.requires_grad for part in (x[0], x[:, 1:], x.T, x.reshape(-1)))


def test_results_remember_and_detach_forgets():
    x = Tensor([1.0, 2.0], requires_grad=True)
    y = x.exp()
    assert y.grad_fn[0].__name__ == "exp" and y.grad_fn[1] == (x,) and repr(y).endswith("made by exp)")
    assert (Tensor([1.0]) + 1).grad_fn is None and not y.detach().requires_grad
    kept = y.astype("float64")
    assert kept.grad_fn[0].__name__ == "astype" and kept.requires_grad and kept.dtype == np.float64
    assert not y.astype("int64").requires_grad


def test_keywords_and_defaults_reach_the_grad_fn_by_position():
    x = Tensor([[1.0, 2.0]], requires_grad=True)
    assert x.sum(keepdims=True).grad_fn[1] == (x, None, True) and x.sum(1).grad_fn[1] == (x, 1, False)


def test_an_operation_may_save_something_for_its_gradient():
    @operation
    def halved(a):
        return a / 2, "saved"

    assert halved(Tensor([2.0], requires_grad=True)).grad_fn[3] == "saved"
    assert halved(Tensor([2.0])).data.tolist() == [1.0]


def test_copies_hold_numbers_not_history():
    y = Tensor([1.0, 2.0], requires_grad=True) * 2
    for again in (copy.deepcopy(y), pickle.loads(pickle.dumps(y))):
        assert again.data.tolist() == [2, 4] and again.grad_fn is None and again.requires_grad


def test_seed_repeats():
    manual_seed(3)
    first = randn(2, 2)
    manual_seed(3)
    assert np.array_equal(first.data, randn(2, 2).data)


@pytest.mark.parity
def test_matmul_equals_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(0)
    for left, right in (((2, 3), (3, 4)), ((5, 1, 2, 3), (4, 3, 2)), ((3,), (4, 3, 2)), ((4, 2, 3), (3,))):
        a, b = rng.standard_normal(left, np.float32), rng.standard_normal(right, np.float32)
        np.testing.assert_allclose((Tensor(a) @ Tensor(b)).data, torch.from_numpy(a) @ torch.from_numpy(b), atol=1e-5)


def test_an_operation_of_a_known_name_may_take_other_inputs():
    @operation
    def linear(a, slope):
        return a * slope

    @operation
    def gelu(x, width):
        return x * width

    @operation
    def reshape(x):
        return x.reshape(-1)

    x = Tensor(np.ones((2, 3)), requires_grad=True)
    assert linear(x, 3).data.sum() == gelu(x, 3).data.sum() == 18 and reshape(x).shape == (6,)
