"""Values, stability and messages of the losses and the accuracy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tinytorch.core.losses import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    MSELoss,
    accuracy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    mse_loss,
)
from tinytorch.core.tensor import Tensor

FLOATS = st.floats(-1000, 1000, width=32)


@given(data=st.data(), shape=array_shapes(max_dims=4, max_side=4))
def test_mse_values(data, shape):
    prediction, target = (data.draw(arrays(np.float32, shape, elements=st.floats(-100, 100, width=32))) for _ in "ab")
    got = mse_loss(Tensor(prediction), Tensor(target)).numpy()
    assert got.shape == () and got.dtype == np.float32
    np.testing.assert_allclose(got, np.mean((prediction.astype(np.float64) - target) ** 2), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("loss", [mse_loss, binary_cross_entropy_with_logits])
@pytest.mark.parametrize("shapes", [((3, 1), (3,)), ((3,), (3, 1)), ((2, 3), (3, 2)), ((2, 3), (3,)), ((2,), ())])
def test_shapes_must_agree(loss, shapes):
    with pytest.raises(ValueError) as caught:
        loss(Tensor(np.zeros(shapes[0])), Tensor(np.zeros(shapes[1])))
    assert str(shapes[0]) in str(caught.value) and str(shapes[1]) in str(caught.value)
    assert "reshape" in str(caught.value)


@pytest.mark.parametrize("dtype", [bool, np.int64, np.uint8, np.float32])
def test_targets_of_any_dtype_stay_float32(dtype):
    target = np.array([0, 1, 1], dtype)
    for loss in (mse_loss, binary_cross_entropy_with_logits):
        got = loss(Tensor([0.5, 2.0, -1.0]), Tensor(target))
        assert got.dtype == np.float32
        assert np.isclose(got.item(), loss(Tensor([0.5, 2.0, -1.0]), Tensor(target.astype(np.float32))).item())


@given(data=st.data(), samples=st.integers(1, 6), classes=st.integers(1, 6), smoothing=st.sampled_from([0.0, 0.1, 1.0]))
def test_cross_entropy_values(data, samples, classes, smoothing):
    logits = data.draw(arrays(np.float32, (samples, classes), elements=FLOATS))
    labels = data.draw(arrays(np.int64, samples, elements=st.integers(0, classes - 1)))
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        got = cross_entropy(Tensor(logits), Tensor(labels), smoothing).numpy()
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    asked = (1 - smoothing) * np.eye(classes)[labels] + smoothing / classes
    assert got.shape == () and got.dtype == np.float32
    np.testing.assert_allclose(got, -(asked * logs).sum(axis=1).mean(), rtol=1e-4, atol=1e-5)


def test_cross_entropy_keeps_the_shares():
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    loss, shares = cross_entropy.__wrapped__(logits, np.array([0, 1, 2, 0]))
    want = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert shares.dtype == loss.dtype == np.float32
    np.testing.assert_allclose(shares, want, rtol=1e-5)


def test_a_fresh_network_starts_at_ln_of_the_classes():
    assert np.isclose(cross_entropy(Tensor(np.zeros((7, 10))), Tensor(np.arange(7))).item(), math.log(10))


LABEL_ERRORS = {
    "too large": (np.array([0, 4, 1]), ValueError, "labels must be 0 to 3 for 4 classes, got 4"),
    "negative": (np.array([0, -1, 1]), ValueError, "labels must be 0 to 3 for 4 classes, got -1"),
    "floats": (np.array([0.0, 1.0, 2.0]), TypeError, r"got float\d+: use labels.astype"),
    "booleans": (np.array([True, False, True]), TypeError, "got bool"),
    "one-hot": (np.eye(4)[:3], ValueError, r"got \(3, 4\): for one-hot rows use labels.argmax"),
    "column": (np.array([[0], [1], [2]]), ValueError, r"must be \(3,\).*got \(3, 1\)"),
    "too few": (np.array([0, 1]), ValueError, r"must be \(3,\).*got \(2,\)"),
    "single": (np.array(1), ValueError, r"got \(\)"),
}


@pytest.mark.parametrize("case", LABEL_ERRORS)
@pytest.mark.parametrize("function", [cross_entropy, accuracy])
def test_labels_that_do_not_fit(function, case):
    labels, kind, text = LABEL_ERRORS[case]
    with pytest.raises(kind, match=text):
        function(Tensor(np.zeros((3, 4))), Tensor(labels))


@pytest.mark.parametrize("shape", [(4,), (2, 3, 4), (0, 4), (3, 0)])
def test_logits_that_do_not_fit(shape):
    with pytest.raises(ValueError, match="logits must be"):
        cross_entropy(Tensor(np.zeros(shape)), Tensor(np.zeros(shape[0], np.int64)))


@pytest.mark.parametrize("labels", [[2, 0], np.array([2, 0], np.uint8), np.array([2, 0], np.int32), Tensor([2, 0])])
def test_labels_of_every_kind(labels):
    logits = Tensor([[1.0, 2.0, 3.0], [3.0, 1.0, 0.0]])
    assert np.isclose(cross_entropy(logits, labels).item(), cross_entropy(logits, np.array([2, 0])).item())
    assert accuracy(logits, labels) == 1.0


@pytest.mark.parametrize("smoothing", [-0.1, 1.1])
def test_smoothing_is_a_share(smoothing):
    with pytest.raises(ValueError, match=f"got {smoothing}"):
        cross_entropy(Tensor([[1.0, 2.0]]), [0], label_smoothing=smoothing)


@given(data=st.data(), shape=array_shapes(max_dims=3, max_side=4))
def test_bce_values(data, shape):
    logits = data.draw(arrays(np.float32, shape, elements=FLOATS))
    target = data.draw(arrays(np.float32, shape, elements=st.floats(0, 1, width=32)))
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        got = binary_cross_entropy_with_logits(Tensor(logits), Tensor(target)).numpy()
    z, t = logits.astype(np.float64), target.astype(np.float64)
    want = (t * np.logaddexp(0, -z) + (1 - t) * np.logaddexp(0, z)).mean()
    assert got.shape == () and got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("target", [[-1.0, 1.0], [0.0, 2.0]])
def test_bce_targets_are_shares(target):
    with pytest.raises(ValueError, match="targets must be from 0"):
        binary_cross_entropy_with_logits(Tensor([0.0, 0.0]), Tensor(target))


def test_accuracy():
    logits = np.float32([[0, 1], [3, 2], [5, 6], [1, 0]])
    assert accuracy(Tensor(logits), Tensor([1, 0, 1, 1])) == 0.75
    assert type(accuracy(logits, np.array([1, 0, 1, 0]))) is float


def test_the_object_is_the_function():
    logits, labels = Tensor([[1.0, 2.0, -1.0]]), Tensor([2])
    assert CrossEntropyLoss(0.2)(logits, labels).item() == cross_entropy(logits, labels, 0.2).item()
    assert CrossEntropyLoss()(logits, labels).item() == cross_entropy(logits, labels).item()
    target = Tensor([[1.0, 0.0, 1.0]])
    assert MSELoss()(logits, target).item() == mse_loss(logits, target).item()
    assert BCEWithLogitsLoss()(logits, target).item() == binary_cross_entropy_with_logits(logits, target).item()
    assert repr(CrossEntropyLoss(0.2)) == "CrossEntropyLoss(label_smoothing=0.2)"


@pytest.mark.parametrize("loss", [mse_loss, binary_cross_entropy_with_logits])
def test_results_remember_how_they_were_made(loss):
    assert loss(Tensor([1.0], requires_grad=True), Tensor([1.0])).requires_grad
    assert cross_entropy(Tensor([[1.0, 0.0]], requires_grad=True), [0]).requires_grad


def test_means_of_float16_have_room():
    half = lambda *shape: Tensor(np.full(shape, 200.0), "float16")  # noqa: E731
    no = lambda *shape: Tensor(np.zeros(shape), "float16")  # noqa: E731
    logits, labels = Tensor(np.tile([200.0, 0.0], (10_000, 1)), "float16"), np.ones(10_000, int)
    for got, want in (
        (mse_loss(half(10, 2), no(10, 2)), 40_000),
        (binary_cross_entropy_with_logits(half(10_000), no(10_000)), 200),
        (half(10_000).mean(), 200),
        (cross_entropy(logits, labels), 200),
        (cross_entropy(logits, labels, weight=[10.0, 20.0]), 200),
    ):
        assert got.item() == want and got.dtype == np.float16
    assert mse_loss(half(2), Tensor([0.0, 0.0], "float64")).dtype == np.float64


def test_labels_that_are_unsigned_and_passed_over():
    logits = np.zeros((3, 256), np.float32)
    logits[:, 255] = 5
    got = cross_entropy(Tensor(logits), np.array([0, 0, 1], np.uint8), ignore_index=1)
    assert np.isclose(got.item(), np.log(255 + np.exp(5)), rtol=1e-6) and np.isclose(got.item(), 5.99996, atol=1e-4)
    few = cross_entropy(Tensor(logits[:, :4]), np.array([0, 255, 1], np.uint8), ignore_index=255)
    assert np.isclose(few.item(), np.log(4))


def test_labels_with_options_are_named_as_they_were_typed():
    for labels, said in (
        (np.array([2**63, 0], np.uint64), "got 9223372036854775808"),
        (np.ma.array([0, 1], mask=[1, 0]), "masked entries"),
    ):
        with pytest.raises(ValueError, match=said):
            cross_entropy(X, labels, reduction="sum")
    assert str(cross_entropy(X, [0, 1], ignore_index=0, reduction="none").data[0]) == "0.0"


def test_the_class_gives_what_the_function_gives():
    logits = Tensor(np.random.default_rng(0).normal(size=(4, 3)), "float64")
    for weight in ([0.1, 0.2, 0.7], (0.1, 0.2, 0.7), np.array([0.1, 0.2, 0.7]), Tensor([0.1, 0.2, 0.7], "float64")):
        for x in (logits, logits.astype("float32")):
            got = CrossEntropyLoss(weight=weight)(x, [0, 1, 2, 0])
            want = cross_entropy(x, [0, 1, 2, 0], weight=weight)
            assert got.item() == want.item() and got.dtype == want.dtype


def test_sums_of_nothing():
    nothing = Tensor(np.zeros((0, 3)))
    for loss, target in (
        (mse_loss, nothing),
        (binary_cross_entropy_with_logits, nothing),
        (cross_entropy, np.zeros(0, int)),
    ):
        assert loss(nothing, target, reduction="sum").item() == 0 and loss(nothing, target, reduction="none").size == 0
        with pytest.raises(ValueError):
            loss(nothing, target)


X = Tensor(np.zeros((2, 3)), requires_grad=True)


@pytest.mark.parametrize(
    ("weight", "kind", "words"),
    [
        ([np.inf, 1, 1], ValueError, "each of them finite, got inf"),
        ([np.nan, 1, 1], ValueError, "each of them finite, got nan"),
        ([[1, 1, 1]], ValueError, r"got the shape \(1, 3\)"),
        ({0: 1}, TypeError, "in a list, an array or a tensor, got {0: 1}"),
        ("abc", TypeError, "got 'abc'"),
        (np.ma.array([1.0, 2.0, 3.0], mask=[1, 0, 0]), ValueError, "masked entries"),
        (Tensor([1.0, 1, 1], requires_grad=True), TypeError, "no gradient flows to it: .*detach"),
    ],
)
def test_weights_that_are_none(weight, kind, words):
    for act in (lambda: CrossEntropyLoss(weight=weight), lambda: cross_entropy(X, [0, 1], weight=weight)):
        with pytest.raises(kind, match=words):
            act()


def test_names_that_people_type():
    names = "logits, labels, label_smoothing, weight, ignore_index, reduction"
    for act, words in (
        (
            lambda: mse_loss(X, X, redction="sum"),
            "^mse_loss takes the inputs prediction, target, reduction: .*'redction'",
        ),
        (lambda: cross_entropy(X, [0, 1], weights=1), f"^cross_entropy takes the inputs {names}: .*'weights'"),
        (lambda: CrossEntropyLoss(ignore_index="a"), "ignore_index is a whole number"),
    ):
        with pytest.raises(TypeError, match=words):
            act()
    with pytest.raises(ValueError, match="label_smoothing is a share"):
        CrossEntropyLoss("a")
    assert "made by cross_entropy)" in repr(cross_entropy(X, [0, 1], reduction="sum"))
    assert "made by mse_loss)" in repr(mse_loss(X, X, reduction="none"))


@pytest.mark.parametrize("loss", [mse_loss, binary_cross_entropy_with_logits])
@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize("shapes", [((0, 2), (0, 3)), ((0, 1), (0, 3)), ((0,), (1,)), ((0, 2), (2, 0))])
def test_nothing_beside_another_shape_is_refused(loss, reduction, shapes):
    with pytest.raises(ValueError, match=f"{loss.__name__} compares entry with entry, got the shapes"):
        loss(*map(np.zeros, shapes), reduction=reduction)
