"""A small loader with the protocol that the Trainer expects, and models to train; used by several tests."""

import numpy as np

from tinytorch.core.activations import ReLU
from tinytorch.core.layers import Dropout, Linear, Sequential
from tinytorch.core.optimizers import SGD, OneCycleLR
from tinytorch.core.tensor import Tensor, manual_seed
from tinytorch.core.training import Trainer


def blobs(count, seed, features=6, classes=3):
    """(count, features) points around one centre per class, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    centres = np.random.default_rng(0).standard_normal((classes, features))
    return (centres[labels] + rng.normal(0, 0.7, (count, features))).astype(np.float32), labels


class Batches:
    """Shuffled batches with random noise on them; order and noise are functions of (seed, epoch) alone."""

    def __init__(self, x, y, size, seed=0, noise=0.1, before_batch=None):
        self.x, self.y, self.size, self.seed, self.noise, self.epoch = x, y, size, seed, noise, 0
        self.before_batch = before_batch or (lambda epoch, batch: None)

    def __len__(self):
        return -(-len(self.x) // self.size)

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __iter__(self):
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(len(self.x))
        for batch, start in enumerate(range(0, len(order), self.size)):
            self.before_batch(self.epoch, batch)
            rows = order[start : start + self.size]
            x = self.x[rows] + self.noise * rng.standard_normal((len(rows), self.x.shape[1]), dtype=np.float32)
            yield Tensor(x), Tensor(self.y[rows])


def loaders(before_batch=None):
    return Batches(*blobs(90, 1), 16, before_batch=before_batch), Batches(*blobs(50, 2), 20, noise=0.0)


def model(hidden=12):
    return Sequential(Linear(6, hidden), ReLU(), Dropout(0.3), Linear(hidden, 3))


def trainer(seed=4, epochs=6, hidden=12, momentum=0.9, schedule=True, **settings):
    """A Trainer with dropout, Nesterov momentum, weight decay, clipping and a one-cycle schedule."""
    manual_seed(seed)
    network = model(hidden)
    optimizer = SGD(network.parameters(), lr=0.1, momentum=momentum, nesterov=bool(momentum), weight_decay=1e-3)
    scheduler = OneCycleLR(optimizer, max_lr=0.2, total_steps=epochs * 6) if schedule else None
    return Trainer(network, optimizer, scheduler=scheduler, **{"clip_norm": 1.0, **settings})


def numbers(history):
    """The rows without their timings."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in history]


def weights(trained):
    return [p.data.tobytes() for p in trained.model.parameters()]
