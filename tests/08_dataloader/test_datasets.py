"""Datasets, the digits, and the batches of an epoch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinytorch.data.loader
from tinytorch.core.tensor import Tensor
from tinytorch.data.loader import Dataset, TensorDataset, collate, digits, epoch_batches, epoch_rng, fetch


def test_tensor_dataset_rows_belong_together():
    x, y = np.arange(12.0).reshape(6, 2), np.arange(6) * 10
    data = TensorDataset(x, y)
    assert len(data) == 6
    row, label = data[4]
    assert np.array_equal(row, [8.0, 9.0]) and label == 40
    rows, labels = data.batch(np.array([5, 1, 1]))
    assert np.array_equal(rows, x[[5, 1, 1]]) and np.array_equal(labels, [50, 10, 10])
    assert [int(label) for _, label in data] == y.tolist()  # ends by IndexError, as a sequence does


def test_tensor_dataset_takes_tensors():
    data = TensorDataset(Tensor([[1.0, 2.0], [3.0, 4.0]]), Tensor([1, 0]))
    rows, labels = data.batch(np.array([1, 0]))
    assert isinstance(rows, np.ndarray) and np.array_equal(rows, [[3.0, 4.0], [1.0, 2.0]])
    assert np.array_equal(labels, [0, 1])


@pytest.mark.parametrize("lengths", [(3, 4), (5, 5, 6), (0, 1)])
def test_lengths_that_differ_are_all_named(lengths):
    with pytest.raises(ValueError) as error:
        TensorDataset(*[np.zeros((length, 2)) for length in lengths])
    assert all(str(length) in str(error.value) for length in lengths)


@pytest.mark.parametrize("arrays", [(), (np.float32(3),), (np.zeros(2), np.int64(1))])
def test_no_array_and_no_axis_are_refused(arrays):
    with pytest.raises(ValueError):
        TensorDataset(*arrays)


def test_dataset_says_what_to_write():
    class Empty(Dataset):
        pass

    with pytest.raises(NotImplementedError, match="Empty needs a __len__"):
        len(Empty())
    with pytest.raises(NotImplementedError, match="Empty needs a __getitem__"):
        Empty()[0]


def test_fetch_equals_sample_by_sample():
    x, y = np.random.default_rng(0).normal(size=(9, 2, 3)).astype(np.float32), np.arange(9)
    indices = np.array([8, 0, 3])
    whole = fetch(TensorDataset(x, y), indices)
    single = fetch([(x[i], int(y[i])) for i in range(9)], indices)
    assert all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in zip(whole, single, strict=True))


def test_collate_accepts_single_arrays_and_tensors():
    (rows,) = collate([np.ones(2), np.zeros(2)])
    assert np.array_equal(rows, [[1, 1], [0, 0]])
    (rows,) = collate([(Tensor([1.0, 2.0]),), (Tensor([3.0, 4.0]),)])
    assert np.array_equal(rows, [[1, 2], [3, 4]]) and rows.dtype == np.float32


@given(st.integers(0, 200), st.integers(1, 50), st.booleans(), st.booleans(), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_epoch_batches_partition_the_samples(count, size, shuffle, drop_last, seed):
    batches = epoch_batches(count, size, shuffle, drop_last, seed)
    taken = np.concatenate([np.empty(0, int), *batches])
    assert len(np.unique(taken)) == len(taken) == (count - count % size if drop_last else count)
    assert all(len(batch) == size for batch in batches[:-1])
    assert taken.size == 0 or (taken.min() >= 0 and taken.max() < count)
    if not shuffle:
        assert np.array_equal(taken, np.arange(len(taken)))


def test_every_position_sees_every_sample():
    orders = [np.concatenate(epoch_batches(6, 4, True, False, epoch_rng(1, epoch))) for epoch in range(300)]
    seen = np.array([[np.sum(np.array(orders)[:, place] == i) for i in range(6)] for place in range(6)])
    assert seen.min() > 20 and seen.max() < 90  # 50 expected everywhere


def test_streams_are_independent_and_repeatable():
    keys = [(0, 0), (0, 1), (1, 0), (0, 0, 1), (0, 1, 1), (1, 0, 1)]
    draws = {key: tuple(epoch_rng(*key).integers(0, 2**62, 3)) for key in keys}
    assert len(set(draws.values())) == len(draws)
    assert draws[(0, 0)] == tuple(epoch_rng(0, 0, 0).integers(0, 2**62, 3))


def test_digits_split():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    train_x, train_y, test_x, test_y = digits()
    assert train_x.shape == (1437, 1, 8, 8) and test_x.shape == (360, 1, 8, 8)
    assert train_x.dtype == test_x.dtype == np.float32 and train_y.dtype == test_y.dtype == np.int64
    assert train_x.min() == 0 and train_x.max() == 1
    share = np.bincount(train_y) / np.bincount(np.concatenate([train_y, test_y]))
    assert np.all(abs(share - 0.8) < 0.01)
    again, other = digits(0), digits(1)
    assert np.array_equal(again[0], train_x) and not np.array_equal(other[0], train_x)
    whole = np.concatenate([train_x, test_x]).reshape(-1, 64)
    assert np.array_equal(np.sort(whole.sum(1)), np.sort(np.concatenate([other[0], other[2]]).reshape(-1, 64).sum(1)))


def test_digits_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="scikit-learn.*pip install scikit-learn"):
        digits()


def test_import_needs_numpy_only():
    root = Path(tinytorch.data.loader.__file__).parents[2]
    code = f"""
import sys
sys.path.insert(0, {str(root)!r})
for name in ("sklearn", "pooch", "requests", "matplotlib", "rich"):
    sys.modules[name] = None
from tinytorch.data.loader import DataLoader, TensorDataset
import numpy as np
print(sum(len(y) for x, y in DataLoader(TensorDataset(np.zeros((5, 2)), np.arange(5)), 2, prefetch=1)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.strip() == "5", done.stderr
