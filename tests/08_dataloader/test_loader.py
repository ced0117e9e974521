"""The loader: order, epochs, augmentation, and the thread that works ahead."""

import gc
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinytorch.core.tensor import Tensor
from tinytorch.data.loader import (
    Compose,
    DataLoader,
    Normalize,
    RandomCrop,
    RandomHorizontalFlip,
    TensorDataset,
    prefetched,
)


def data(count=50, side=6):
    images = np.random.default_rng(0).integers(0, 256, (count, 3, side, side), dtype=np.uint8)
    return TensorDataset(images, np.arange(count))


def arrays(loader):
    return [tuple(tensor.numpy() for tensor in batch) for batch in loader]


def same(first, second):
    return len(first) == len(second) and all(
        np.array_equal(a, b) for one, two in zip(first, second, strict=True) for a, b in zip(one, two, strict=True)
    )


def prefetchers():
    return [thread for thread in threading.enumerate() if thread.name == "tinytorch-prefetch"]


AUGMENT = Compose([RandomCrop(6, 2), RandomHorizontalFlip(), Normalize(0.5, 0.25)])


@given(st.integers(0, 40), st.integers(1, 12), st.booleans(), st.booleans(), st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_length_and_samples(count, size, shuffle, drop_last, prefetch):
    source = TensorDataset(np.arange(count, dtype=np.float32) * 2, np.arange(count))
    loader = DataLoader(source, size, shuffle, drop_last=drop_last, prefetch=prefetch)
    batches = arrays(loader)
    assert len(batches) == len(loader)
    assert all(np.array_equal(x, 2 * y) for x, y in batches)
    taken = [int(i) for _, y in batches for i in y]
    assert len(set(taken)) == len(taken) == (count - count % size if drop_last else count)


def test_batches_are_tensors_of_the_right_types():
    x, y = next(iter(DataLoader(data(), batch_size=8)))
    assert isinstance(x, Tensor) and isinstance(y, Tensor)
    assert x.shape == (8, 3, 6, 6) and x.dtype == np.float32 and y.dtype == np.int64
    assert np.allclose(x.numpy(), data().arrays[0][:8] / 255, atol=1e-6)
    assert not x.requires_grad


def test_integer_features_and_byte_labels_stay():
    x, y = next(iter(DataLoader(TensorDataset(np.arange(6).reshape(3, 2), np.array([1, 2, 3], np.uint8)), 3)))
    assert x.dtype == np.int64 and y.dtype == np.uint8


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_order_and_augmentation_depend_on_seed_and_epoch_alone(prefetch):
    def loader(seed=1):
        return DataLoader(data(), 8, shuffle=True, seed=seed, transform=AUGMENT, prefetch=prefetch)

    one = loader()
    epochs = [arrays(one) for _ in range(3)]
    assert not same(epochs[0], epochs[1]) and not same(epochs[1], epochs[2])
    for number in (2, 0, 1):
        fresh = loader()
        fresh.set_epoch(number)
        next(iter(fresh))  # a pass that is broken off
        fresh.set_epoch(number)
        np.random.default_rng().random(10)
        assert same(arrays(fresh), epochs[number])
    assert not same(arrays(loader(seed=2)), epochs[0])


def test_prefetch_changes_no_number():
    plain = DataLoader(data(), 8, shuffle=True, transform=AUGMENT)
    ahead = DataLoader(data(), 8, shuffle=True, transform=AUGMENT, prefetch=2)
    assert same(arrays(plain), arrays(ahead)) and same(arrays(plain), arrays(ahead))
    assert not prefetchers()


def test_augmentation_of_a_batch_ignores_earlier_batches():
    whole = DataLoader(data(48), 8, transform=AUGMENT)
    half = DataLoader(data(24), 8, transform=AUGMENT)
    assert same(arrays(whole)[:3], arrays(half))


def test_images_and_labels_stay_together():
    source = data()
    for x, y in arrays(DataLoader(source, 7, shuffle=True)):
        assert np.allclose(x, source.arrays[0][y] / 255, atol=1e-6)


def test_dataset_is_never_changed():
    floats = np.random.default_rng(0).random((20, 3, 6, 6), dtype=np.float32)
    before = floats.copy()
    for transform in (None, AUGMENT, Normalize(0.5, 0.1), RandomHorizontalFlip(1.0)):
        arrays(DataLoader(TensorDataset(floats, np.arange(20)), 20, transform=transform))
    assert np.array_equal(floats, before)


def test_early_break_leaves_no_thread():
    for _ in range(5):
        for number, _batch in enumerate(DataLoader(data(200), 4, prefetch=2)):
            if number == 3:
                break
    iterator = iter(DataLoader(data(200), 4, prefetch=1))
    next(iterator)
    assert prefetchers()
    iterator.close()
    assert not prefetchers()


def test_an_iterator_that_is_never_used_starts_no_thread():
    iterator = iter(DataLoader(data(), 4, prefetch=2))
    assert not prefetchers()
    del iterator


def test_consumer_that_fails_leaves_no_thread():
    with pytest.raises(KeyError):
        for _batch in DataLoader(data(200), 4, prefetch=2):
            raise KeyError("in the step")
    gc.collect()
    assert not prefetchers()


def test_error_in_the_thread_reaches_the_consumer():
    def broken(images, generator):
        if 24 in images[:, 0, 0, 0]:
            raise ZeroDivisionError("in the transform")
        return images

    images = np.broadcast_to(np.arange(40, dtype=np.float32)[:, None, None, None], (40, 1, 2, 2))
    seen = []
    with pytest.raises(ZeroDivisionError, match="in the transform"):
        for _x, y in DataLoader(TensorDataset(images, np.arange(40)), 8, transform=broken, prefetch=4):
            seen.extend(y.numpy().tolist())
    assert seen == list(range(24))  # the batches before the error still came, in order
    assert not prefetchers()


def test_the_queue_is_bounded():
    made = []

    def source():
        for number in range(100):
            made.append(number)
            yield number

    ahead = prefetched(source(), 3)
    assert next(ahead) == 0
    time.sleep(0.1)
    assert len(made) <= 1 + 3 + 1  # the one taken, three waiting, one in hand
    ahead.close()
    assert not prefetchers()


def test_preparing_overlaps_the_step():
    def slow(images, generator):
        time.sleep(0.02)
        return images

    def duration(prefetch):
        start = time.perf_counter()
        for _batch in DataLoader(data(40), 4, transform=slow, prefetch=prefetch):
            time.sleep(0.02)
        return time.perf_counter() - start

    assert duration(2) < 0.8 * duration(0)


WRONG = [("batch_size", 0), ("batch_size", 2.5), ("prefetch", -1), ("seed", -3), ("seed", None)]


@pytest.mark.parametrize("name, value", WRONG)
def test_wrong_arguments_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a whole number.*got {value}"):
        DataLoader(data(), **{name: value})


def test_wrong_epoch():
    with pytest.raises(ValueError, match="epoch must be a whole number, at least 0, got -1"):
        DataLoader(data()).set_epoch(-1)


@pytest.mark.parametrize("prefetch", [0, 2])
def test_wrong_transforms_are_explained(prefetch):
    with pytest.raises(TypeError, match="must return an array, got NoneType: is there a return"):
        arrays(DataLoader(data(), 8, transform=lambda images, generator: None, prefetch=prefetch))
    with pytest.raises(ValueError, match=r"given 8 images and returned shape \(7, 3, 6, 6\)"):
        arrays(DataLoader(data(), 8, transform=lambda images, generator: images[1:], prefetch=prefetch))


@pytest.mark.parity
@pytest.mark.parametrize("drop_last", [False, True])
def test_unshuffled_batches_equal_pytorch(drop_last):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    x, y = np.random.default_rng(0).normal(size=(23, 2, 3)).astype(np.float32), np.arange(23)
    theirs = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=5, drop_last=drop_last
    )
    ours = DataLoader(TensorDataset(x, y), batch_size=5, drop_last=drop_last)
    assert len(ours) == len(theirs)
    assert same(arrays(ours), arrays(theirs))


@pytest.mark.slow
def test_throughput():
    """Crop, flip and normalise CIFAR-10's shape in batches of 64: images per second of CPU time."""
    images = np.random.default_rng(0).integers(0, 256, (20_000, 3, 32, 32), dtype=np.uint8)
    augment = Compose([RandomCrop(32, 4), RandomHorizontalFlip(), Normalize([0.5] * 3, [0.25] * 3)])
    loader = DataLoader(TensorDataset(images, np.zeros(20_000, int)), 64, shuffle=True, transform=augment)
    start = time.process_time()
    count = sum(len(y) for _, y in loader)
    rate = count / (time.process_time() - start)
    print(f"{rate:,.0f} images per second of CPU time")
    assert rate > 20_000
