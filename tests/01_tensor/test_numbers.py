"""What numbers a tensor is made of, and what it says to what it can't do."""

import copy
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from tinytorch.core.tensor import (
    Tensor,
    abs_,
    index,
    manual_seed,
    multiply,
    ones,
    operation,
    power,
    randn,
    reshape,
    sum_,
    zeros,
)  # fmt: skip

X = Tensor([[1.0, -2.0, 3.0], [4.0, 5.0, 6.0]])
MASKED = np.ma.array([1.0, 2.0], mask=[True, False])


def test_float64_tensors_meet_arrays_exactly():
    x, a = Tensor([0.1, 0.7], "float64"), np.array([0.1, 0.7])
    third = np.array([1 / 3, 2 / 3])
    assert (x == a).data.all() and not (x < a).data.any() and (a == x).data.all() and (x <= [0.1, 0.7]).data.all()
    for got, want in ((x + third, a + third), (third * x, third * a), (x / third, a / third), (x**third, a**third)):
        assert got.dtype == np.float64 and np.array_equal(got.data, want)
    assert np.array_equal((x @ third).data, a @ third) and np.array_equal((x * [1 / 3, 2 / 3]).data, a * third)
    assert np.array_equal((x * np.float64(1 / 3)).data, a / 3) and (x * third.astype("f4")).dtype == np.float64
    assert np.array_equal((x * np.longdouble(0.1)).data, a * 0.1) and (x * np.longdouble(0.1)).dtype == np.float64
    y = Tensor([0.1, 0.7])
    assert (y * third).dtype == np.float32 and (y == a).data.all() and (y + np.float64(0.1)).dtype == np.float32


def test_a_number_has_no_axis_to_walk_and_is_not_empty():
    loss = Tensor(2.5)
    for act in (lambda: list(loss), lambda: sum(loss), lambda: max(loss), lambda: next(iter(loss)), lambda: [*loss]):
        with pytest.raises(TypeError, match=r"shape \(\) has no axis"):
            act()
    with pytest.raises(TypeError, match="no length"):
        len(loss)
    assert bool(loss) and [row.shape for row in X] == [(3,), (3,)] and sum(Tensor([1.0, 2.0])).item() == 3
    x = Tensor([1.0, 2.0], requires_grad=True)
    assert all(entry.requires_grad for entry in x)


def test_numbers_print_and_convert():
    loss = Tensor(0.123456)
    assert f"{loss:.4f}" == "0.1235" and f"{Tensor([7]):03d}" == "007" and f"{loss}" == repr(loss)
    assert int(Tensor(3.7)) == 3 and float(Tensor([[2.5]])) == 2.5 and type(int(Tensor(True))) is int
    for act, said in (
        (lambda: f"{X:.4f}", "the format '.4f' needs exactly one element"),
        (lambda: int(X), r"int\(\) needs exactly one element, got the shape \(2, 3\)"),
        (lambda: float(X), r"float\(\) needs"),
        (lambda: bool(X), r"bool\(\)"),
    ):
        with pytest.raises(ValueError, match=said):
            act()


def test_abs_is_an_operation():
    assert np.array_equal(abs(X).data, np.abs(X.data)) and abs_(Tensor([-3])).dtype == np.int64
    assert repr(abs(Tensor([-1.0], requires_grad=True))).endswith("made by abs)")


@pytest.mark.parametrize("make", [zeros, ones, randn])
def test_makers_take_a_shape_in_any_form(make):
    for made in (make(2, 3), make((2, 3)), make([2, 3]), make((2, 3), requires_grad=True)):
        assert made.shape == (2, 3) and made.dtype == np.float32
    assert make().shape == make(()).shape == () and make(0, 3).size == 0 and make(np.int64(2)).shape == (2,)
    for shape in ((-1,), (2.5,), ("a",), (None,), ((2, -3),), ([2.0],)):
        with pytest.raises((TypeError, ValueError), match=f"{make.__name__} takes a shape, whole numbers from 0 on"):
            make(*shape)


def test_axes_in_any_form():
    x = Tensor(np.arange(24.0).reshape(2, 3, 4), requires_grad=True)
    for name in ("sum", "mean", "max"):
        for axis in ([0, 1], (0, 1), np.array([0, 1]), [np.int64(0), 1], [-3, 1]):
            for keepdims in (False, True):
                got = getattr(x, name)(axis=axis, keepdims=keepdims)
                assert np.array_equal(got.data, getattr(x.data, name)(axis=(0, 1), keepdims=keepdims))
        assert getattr(x, name)(axis=np.int64(2)).shape == (2, 3) and getattr(Tensor(2.0), name)(axis=-1).item() == 2
    assert (
        np.array_equal(np.sum(x, axis=1).data, x.data.sum(1)) and np.mean(x).item() == 11.5 and np.max(x).item() == 23
    )
    assert x.transpose([2, 0, 1]).shape == (4, 2, 3) and x.transpose(None).shape == (4, 3, 2)
    assert np.transpose(x).shape == (4, 3, 2)


@pytest.mark.parametrize(
    ("act", "kind", "said"),
    [
        (lambda: X.sum(axis=5), ValueError, r"sum: axis=5 does not fit the shape \(2, 3\), whose axes are 0 to 1"),
        (lambda: X.max(axis=(0, 0)), ValueError, r"max: axis=\(0, 0\) .* each named once"),
        (lambda: X.mean(axis="rows"), TypeError, "mean: axis='rows' does not fit"),
        (lambda: X.sum(axis=1.0), TypeError, "sum: axis=1.0"),
        (lambda: X.max(axis=[0, 7]), ValueError, r"axis=\(0, 7\)"),
        (lambda: zeros(0, 3).max(), ValueError, r"max of the shape \(0, 3\) over axis=None: there are no entries"),
        (lambda: zeros(0, 3).mean(axis=0), ValueError, r"mean of the shape \(0, 3\) over axis=0"),
        (lambda: zeros(2, 0).max(axis=[1]), ValueError, "no entries"),
        (lambda: X + zeros(2), ValueError, r"add of \(2, 3\), \(2,\): .*; from the right, two lengths must be equal"),
        (lambda: X == zeros(2), ValueError, r"equal of \(2, 3\), \(2,\): .*must be equal"),
        (lambda: X.reshape(4), ValueError, r"reshape of \(2, 3\), \(4,\): .*as many numbers"),
        (lambda: X.reshape(-1, -1), ValueError, "only one length may be -1"),
        (lambda: X.transpose(0, 0), ValueError, "name every axis once"),
        (lambda: X.transpose(0), ValueError, "name every axis once"),
        (lambda: X[5], IndexError, r"index of \(2, 3\), 5: .*; indices count from 0"),
        (lambda: X[0, 0, 0], IndexError, "at most one for each axis"),
        (lambda: X["a"], IndexError, "indices are whole numbers"),
        (lambda: X[1.5], IndexError, "indices are whole numbers"),
        (lambda: X + "a", TypeError, r"add of \(2, 3\), 'a': .*expected tensors, arrays or numbers"),
        (lambda: X + None, TypeError, "expected tensors, arrays or numbers"),
        (lambda: X * 1j, TypeError, "expected real numbers, got 1j"),
        (lambda: X * np.array(["a"]), TypeError, "expected .*numbers"),
        (lambda: Tensor(np.uint8([1])) + 300, ValueError, "add of .*stay within its range, or use astype"),
        (lambda: -Tensor([True]), TypeError, "use astype"),
        (lambda: Tensor([2]) ** -1, ValueError, "astype\\('float32'\\) first"),
        (lambda: X < "a", TypeError, "'<' not supported between instances of 'Tensor' and 'str'"),
        (lambda: Tensor([1], "float23"), TypeError, "expected a dtype of real numbers, got 'float23'"),
        (lambda: Tensor([1], "complex64"), TypeError, "say 'float32'"),
        (lambda: Tensor([300], "uint8"), ValueError, "cannot hold \\[300\\]"),
        (lambda: X.astype(None), TypeError, "expected a dtype of real numbers, got None"),
        (lambda: X.sum(axis=0, where=[True]), TypeError, "sum takes the inputs a, axis, keepdims: .*'where'"),
        (lambda: multiply(X), TypeError, "multiply takes the inputs a, b: missing a required argument: 'b'"),
        (lambda: reshape(X, "a"), TypeError, "reshape of"),
        (lambda: Tensor(MASKED), ValueError, r"masked entries: fill them first, x.filled\(0\)"),
        (lambda: MASKED * Tensor([1.0, 2.0]), ValueError, "masked entries"),
        (lambda: X * Fraction(1, 2), TypeError, r"multiply of \(2, 3\), Fraction\(1, 2\): expected .* use float\(\)"),
        (
            lambda: X ** Decimal(2),
            TypeError,
            r"power of \(2, 3\), Decimal\('2'\).* expected tensors, arrays or numbers",
        ),
        (lambda: Tensor(np.array([1, 2], object)), TypeError, "expected real numbers, got object"),
        (lambda: Tensor(10**400), ValueError, "no whole-number dtype can hold 10.*: float32 ends at"),
        (lambda: Tensor([1.0], requires_grad="no"), TypeError, "requires_grad takes True or False, got 'no'"),
        (lambda: X[..., ...], IndexError, "single ellipsis .*; write ... once"),
        (lambda: X[::0], ValueError, "step cannot be zero; a step is"),
        (lambda: X["a":], TypeError, "slice indices .*; use whole numbers"),
        (lambda: X.reshape(True, 6), TypeError, "reshape of .*; use whole numbers"),
        (lambda: X.reshape(2**70), ValueError, "reshape of .*; the new shape must hold as many numbers"),
        (lambda: X.sum(0, []), TypeError, "sum of .*; use whole numbers"),
    ],
)
def test_refusals_name_what_was_typed(act, kind, said):
    with pytest.raises(kind, match=said):
        act()


def test_what_is_in_a_tensor():
    for x in (X, X[0], Tensor(3.0), Tensor([3, 4])):
        assert 3 in x and np.float32(3) in x and 7 not in x and None not in x and "3" not in x
    assert [4.0, 5.0, 6.0] in X and 1.0 not in Tensor([])
    whole = np.ma.array([1.0, 2.0])  # nothing is masked
    assert (Tensor([1.0, 2.0]) * whole).dtype == np.float32 and Tensor(whole).data.tolist() == [1, 2]


def test_what_python_answers_by_itself():
    assert (X == None) is False and (X != "a") is True  # noqa: E711
    assert X[[]].shape == (0, 3) and X[np.int64(1)].shape == (3,) and (X == 1).data.sum() == 1


def test_an_operations_own_message_stays_with_a_note():
    @operation
    def picky(a):
        raise ValueError("shapes that do not broadcast, reshape them")

    with pytest.raises(ValueError) as caught:
        picky(X)
    assert str(caught.value) == "shapes that do not broadcast, reshape them"
    assert caught.value.__notes__ == ["in picky of (2, 3)"]


def test_options_take_over_further_inputs():
    def more(a, times=1, shift=0):
        return simple(a) * times + shift

    @operation(real="a", options=more)
    def simple(a):
        return a + a

    assert simple(Tensor([1])).data.tolist() == [2.0] and simple(Tensor([1]), 3).data.tolist() == [6.0]
    assert simple(Tensor([1]), shift=4).data.tolist() == [6.0] and simple(a=Tensor([2])).dtype == np.float32


def test_index_and_sum_as_functions():
    x = Tensor([1.0, 2.0, 4.0], requires_grad=True)
    assert sum_(index(x, [0, 2]), axis=[0]).item() == 5 and power(x, np.float64(2)).dtype == np.float32
    assert copy.deepcopy(x).data.tolist() == [1, 2, 4]


def test_sums_of_unsigned_numbers_and_booleans_are_signed():
    for dtype in ("uint8", "uint16", "uint32", "uint64", "bool", "int8"):
        x = Tensor(np.array([[1, 1], [0, 1]], dtype))
        assert (x.sum() - 5).item() == -2 and x.sum(axis=0).dtype == np.int64, dtype
    assert Tensor(np.uint8([200, 100])).sum().item() == 300 and Tensor(np.uint8([2])).max().dtype == np.uint8


def test_a_list_of_tensors_does_not_lose_their_gradients_in_silence():
    w = Tensor([2.0, 3.0], requires_grad=True)
    for act in (lambda: w * [w[0]], lambda: w * (w[0], 1.0), lambda: Tensor([w[0], w[1]]),
                lambda: Tensor([[1.0], (w[0],)]), lambda: sum_([w[0]]), lambda: w ** [1.0, w[0]]):  # fmt: skip
        with pytest.raises(TypeError, match="gradients to them would be lost: .*detach"):
            act()
    assert Tensor([Tensor(1.0), Tensor(2.0)]).data.tolist() == [1, 2]
    assert (w == [w[0], 0.0]).data.tolist() == [True, False]


def test_tuples_and_ranges_are_numbers_as_lists_are():
    x = Tensor([2.0, 3.0, 4.0])
    for other in ([1, 2, 3], (1, 2, 3), range(1, 4)):
        assert (
            (x + other).data.tolist() == [3, 5, 7] and (x > other).data.all() and (x**other).data.tolist() == [2, 9, 64]
        )
    third = Tensor([0.1, 0.7], "float64")
    assert (third == (0.1, 0.7)).data.all() and (third == [0.1, 0.7]).data.all()


@pytest.mark.parametrize(
    ("act", "kind", "words"),
    [
        (lambda: Tensor(np.nan, "int64"), ValueError, "int64 cannot hold nan: pass dtype='float32'"),
        (lambda: Tensor([1, np.inf], "int64"), ValueError, "int64 cannot hold inf: pass dtype='float32'"),
        (lambda: Tensor(2**70), ValueError, "no whole-number dtype can hold 11805.*pass dtype='float32'"),
        (lambda: X.sum(axis=True), TypeError, "axis=True is no axis: .*keepdims=True"),
        (lambda: X[[[0], [0, 1]]], IndexError, "rows of one length"),
        (lambda: X.reshape(-2), ValueError, r"one -1 for the rest, got \(-2,\)"),
        (lambda: reshape(X, (-2,)), ValueError, r"one -1 for the rest, got \(-2,\)"),
        (lambda: reshape(X, [3, -2]), ValueError, r"one -1 for the rest, got \(3, -2\)"),
        (lambda: reshape(X, -3), ValueError, r"one -1 for the rest, got \(-3,\)"),
        (lambda: int(Tensor(np.inf)), OverflowError, "int.. of inf: .*use float"),
        (lambda: f"{Tensor(2.0):d}", ValueError, "the format 'd' of 2.0: .*such as '.3f'"),
        (lambda: X.reshape(size=(6,)), TypeError, r"^reshape takes the inputs \*shape: .*'size'"),
        (lambda: X.transpose(dim=1), TypeError, r"^transpose takes the inputs \*axes: .*'dim'"),
        (lambda: manual_seed("a"), TypeError, "a whole number from 0 on, got 'a'"),
        (lambda: manual_seed(1.5), TypeError, "a whole number from 0 on, got 1.5"),
        (lambda: manual_seed(-1), ValueError, "a whole number from 0 on, got -1"),
    ],
)
def test_a_sentence_that_says_what_helps(act, kind, words):
    with pytest.raises(kind, match=words):
        act()


def test_shapes_may_be_arrays():
    assert X.transpose(np.array([1, 0])).shape == (3, 2) and X.transpose(None).shape == (3, 2)
    assert X.reshape(np.array([3, 2])).shape == (3, 2) == zeros(np.array([3, 2])).shape and X.reshape(-1).shape == (6,)
