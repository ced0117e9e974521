"""The Trainer with Module 08's DataLoader: stopped in mid-epoch with shuffling, crops, flips and prefetching on."""

import numpy as np
import pytest
from training_loaders import numbers, weights

from tinytorch.core.activations import ReLU
from tinytorch.core.layers import Dropout, Flatten, Linear, Sequential
from tinytorch.core.losses import cross_entropy
from tinytorch.core.optimizers import SGD, OneCycleLR
from tinytorch.core.tensor import manual_seed
from tinytorch.core.training import Trainer, TrainingInterrupted

loader = pytest.importorskip("tinytorch.data.loader", reason="module 08 is not exported")
pytest.importorskip("safetensors", reason="safetensors is not installed")


def pictures(prefetch):
    """A training loader with augmentation, and a test loader."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 120)
    images = rng.random((120, 1, 8, 8), dtype=np.float32) + labels[:, None, None, None] * np.eye(8, dtype=np.float32)
    try:
        augment = loader.Compose([loader.RandomCrop(8, padding=1), loader.RandomHorizontalFlip(0.2)])
        train = loader.DataLoader(loader.TensorDataset(images[:90], labels[:90]), 16, shuffle=True, seed=3,
                                  transform=augment, prefetch=prefetch)
        next(iter(train))
    except NotImplementedError:
        pytest.skip("module 08 is not finished")
    return train, loader.DataLoader(loader.TensorDataset(images[90:], labels[90:]), 16)


def trainer(loss=cross_entropy):
    manual_seed(6)
    model = Sequential(Flatten(), Linear(64, 16), ReLU(), Dropout(0.2), Linear(16, 2))
    sgd = SGD(model.parameters(), lr=0.1, momentum=0.9)
    return Trainer(model, sgd, loss=loss, scheduler=OneCycleLR(sgd, 0.1, 24))


def stopping_at(call):
    """Cross-entropy that is interrupted at its n-th call."""
    calls = []

    def loss(prediction, y):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return cross_entropy(prediction, y)

    return loss


@pytest.mark.parametrize("prefetch", [0, 2])
def test_resumed_bit_for_bit(tmp_path, prefetch):
    whole = trainer()
    expected = whole.fit(*pictures(0), epochs=4, progress=False)
    with pytest.raises(TrainingInterrupted, match="stopped in epoch 3 of 4"):
        trainer(stopping_at(2 * 8 + 4)).fit(*pictures(prefetch), epochs=4, checkpoint=tmp_path / "run", progress=False)
    again = trainer(stopping_at(-1))
    history = again.fit(*pictures(prefetch), epochs=4, checkpoint=tmp_path / "run", resume=True, progress=False)
    assert weights(again) == weights(whole)
    assert [row["train_loss"] for row in history] == [row["train_loss"] for row in expected]
    assert [row["test_loss"] for row in numbers(history)] == [row["test_loss"] for row in numbers(expected)]
