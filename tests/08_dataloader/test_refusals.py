"""Transforms, loaders and data sets of the wrong kind are named; what counts as images is one rule."""

import numpy as np
import pytest

from tinytorch.data.loader import (
    Compose,
    DataLoader,
    Normalize,
    RandomBrightness,
    RandomCrop,
    RandomHorizontalFlip,
    TensorDataset,
    channel_statistics,
    collate,
    digits,
    pad_images,
)

X = np.zeros((4, 1, 6, 6), np.uint8)


def batch_of(batch):
    """The first batch of a dataset with this method."""
    rows = type("Rows", (list,), {"batch": lambda self, indices: batch(indices)})([1, 2, 3])
    return next(iter(DataLoader(rows, 2)))


@pytest.mark.parametrize(
    ("act", "kind", "said"),
    [
        (lambda: channel_statistics(np.zeros((9, 32, 32, 3), np.uint8)), ValueError, "have their channels last"),
        (lambda: channel_statistics(X[:0]), ValueError, "needs at least one image"),
        (lambda: channel_statistics(X, -1), ValueError, "chunk must be a whole number, at least 1"),
        (lambda: RandomBrightness(np.nan), ValueError, "amount must be a finite number, got nan"),
        (lambda: RandomBrightness("a"), TypeError, "amount must be a number"),
        (lambda: RandomBrightness(-0.1), ValueError, "amount must be at least 0"),
        (lambda: Normalize(None, 1), TypeError, "mean holds None"),
        (lambda: Normalize(np.nan, 1), ValueError, "mean holds finite numbers"),
        (lambda: Normalize(0, np.inf), ValueError, "std holds finite numbers"),
        (lambda: Normalize([], []), ValueError, "mean holds finite numbers"),
        (lambda: Normalize("a", 1), TypeError, "mean holds 'a'"),
        (lambda: Normalize([[1, 2], [3, 4]], 1), ValueError, r"one for each channel, got shape \(2, 2\)"),
        (lambda: pad_images(X, 1, mode="wrap"), ValueError, "mode is .*, got 'wrap'"),
        (lambda: pad_images(X, -1), ValueError, "padding must be a whole number, at least 0"),
        (lambda: pad_images(X[0], 1), ValueError, "pad_images takes a batch of images"),
        (lambda: RandomCrop("a"), ValueError, "size must be a whole number, at least 1, got 'a'"),
        (lambda: RandomCrop((1, 2, 3)), ValueError, "one number, or height and width"),
        (lambda: RandomCrop(4, padding="a"), ValueError, "padding must be a whole number"),
        (lambda: RandomHorizontalFlip("a"), TypeError, "p is a probability, a number"),
        (lambda: RandomHorizontalFlip(np.nan), ValueError, "p is a probability"),
        (lambda: Compose(None), TypeError, "Compose takes a list of transforms, got NoneType"),
        (lambda: Compose([5]), TypeError, "transform 0 is a function .* got int"),
        (lambda: Compose([RandomHorizontalFlip]), TypeError, "transform 0 is .* got the class RandomHorizontalFlip"),
        (lambda: DataLoader(TensorDataset(X), transform="a"), TypeError, "transform is a function .* got str"),
        (lambda: DataLoader(TensorDataset(X), shuffle="no"), TypeError, "shuffle takes True or False, got 'no'"),
        (lambda: DataLoader(TensorDataset(X), drop_last=None), TypeError, "drop_last takes True or False"),
        (lambda: DataLoader({"x": X}), TypeError, "a dataset has .* got dict"),
        (lambda: collate([np.zeros(2), np.zeros(3)]), ValueError, r"one shape, got \(2,\) and \(3,\)"),
        (lambda: digits("a"), ValueError, "seed must be a whole number"),
        (lambda: collate([(1, 2), (3,)]), ValueError, "equally many parts, got some with 1 and some with 2"),
        (lambda: TensorDataset([[1], [1, 2]]), ValueError, "expected rows of one length"),
        (lambda: TensorDataset(np.ma.array([1, 2], mask=[0, 1])), ValueError, "masked entries"),
        (lambda: RandomBrightness(10**400), ValueError, "amount must be a finite number"),
        (
            lambda: batch_of(lambda i: X[i]),
            TypeError,
            r"Rows.batch of 2 indices .* a tuple .* got the shape \(2, 1, 6, 6\)",
        ),
        (lambda: batch_of(lambda i: (X[i], X[:1])), ValueError, r"one row for each, got the shapes .*, \(1, 1, 6, 6\)"),
        (lambda: batch_of(lambda i: None), TypeError, "should return a tuple of arrays .*, got None"),
        (lambda: batch_of(lambda i: ()), TypeError, r"should return a tuple of arrays .*, got \(\)"),
    ],
)
def test_refusals(act, kind, said):
    with pytest.raises(kind, match=said):
        act()


@pytest.mark.parametrize(("shape", "scaled"), [((4, 2, 2), True), ((4, 1, 2, 2), True), ((4,), False), ((4, 5), False)])
def test_bytes_of_images_become_floats_and_other_bytes_stay(shape, scaled):
    (batch,) = next(iter(DataLoader(TensorDataset(np.full(shape, 51, np.uint8)), batch_size=4)))
    assert batch.dtype == (np.float32 if scaled else np.uint8)
    assert np.allclose(batch.numpy(), 0.2 if scaled else 51)
