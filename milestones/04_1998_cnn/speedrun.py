"""The recipe of the speedrun: what the network of `networks.speed_cnn` starts from, is trained by and is asked with.

Source: K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, and his later form with Muon (K. Jordan and
others, "Muon: An optimizer for hidden layers in neural networks", 2024); made narrower here for one core.
"""

import math

import numpy as np

from tinytorch import Tensor, nn, no_grad, optim
from tinytorch.core.optimizers import Scheduler, momentum_
from tinytorch.data import loader

BATCH, EPOCHS = 400, 10
SIDES = (26,) * 4 + (32,) * 6  # of the pictures, tenth by tenth of the training: small ones cost less
SMOOTHING, FRAME = 0.2, 2
RATE, MOMENTUM = 0.1, 0.6  # of the filters, which Muon moves
BIAS, HEAD, DECAY, INERTIA = 0.053, 0.67, 2e-6, 0.85  # of the others, which SGD moves; for the *sum* over a batch
STOP = 3  # epochs for which the first bias is trained
SLOW = 11.5 / 1024 / (1 + 1 / (1 - INERTIA))  # as BIAS, for SGD of all that has no rate of its own


# The start --------------------------------------------------------------------------------------------------------


def whitening(images, eps=5e-4):
    """Filters (24, 3, 2, 2) that whiten the 2x2 patches of normalised images (N, 3, H, W), and their negatives.

    They are the eigenvectors of the patches' covariance over the roots of its eigenvalues.
    """
    patches = np.lib.stride_tricks.sliding_window_view(images, (2, 2), axis=(2, 3)).transpose(0, 2, 3, 1, 4, 5)
    patches = patches.reshape(-1, 12).astype(np.float32)
    values, vectors = np.linalg.eigh((patches.T @ patches / len(patches)).astype(np.float64))
    filters = (vectors / np.sqrt(values + eps)).T[::-1].reshape(12, 3, 2, 2)
    return np.concatenate([filters, -filters]).astype(np.float32)


def start(model, images, without=()):
    """Set the first filters by these normalised images; let the other convolutions hand channels on as they are.

    The last layer's weights are brought to a standard deviation of 1. without: ingredients to leave out.
    """
    learned = "whitening" in without
    model[0].weight.requires_grad = learned
    model[0].weight.data = model[0].weight.data / np.float32(6**0.5) if learned else whitening(images)
    for layer in model[1:]:
        weight = getattr(layer, "weight", None)
        if weight is not None and weight.ndim == 4:
            weight.data = weight.data / np.float32(6**0.5)  # as small as PyTorch's
            if "dirac" not in without:
                channels = np.arange(min(weight.shape[:2]))
                weight.data[channels] = 0
                weight.data[channels, channels, 1, 1] = 1
        elif weight is not None:
            weight.data = weight.data / weight.data.std()
        elif "biases" in without and isinstance(layer, nn.BatchNorm2d):
            layer.weight = nn.BatchNorm2d(layer.bias.size).weight


# The steps --------------------------------------------------------------------------------------------------------


def orthogonal(matrix, steps=3):
    """The nearest matrix to this (M, N) that goes equally far in every direction: U V^T of its SVD, roughly.

    Each Newton-Schulz step brings the singular values, at most 1 at first, nearer to 1. Three leave those of a random
    matrix between 0.6 and 1.3, which is near enough for a step of descent, and cost far less than an SVD.
    """
    x = matrix / max(np.linalg.norm(matrix), np.finfo(matrix.dtype).tiny)
    wide = x if len(x) <= x.shape[1] else x.T
    for _ in range(steps):
        square = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * square + 2.0315 * (square @ square)) @ wide
    return wide if len(x) <= x.shape[1] else wide.T


class Muon(optim.SGD):
    """For a `speed_cnn`: filters keep their length and turn by `orthogonal` steps, the rest takes steps of SGD.

    lr: of the filters, relative to their length. batch: pictures a step. stop: steps that train the first bias.
    without: ingredients to leave out.
    """

    settings = (*optim.SGD.settings, "batch", "stop")
    chunk = math.inf  # a step depends on all of a layer's filters

    def __init__(self, model, lr, batch, stop, without=()):
        super().__init__(model.parameters(), lr, INERTIA, nesterov=True, weight_decay=DECAY * batch / lr)
        self.batch, self.stop, self.first, self.rate = batch, stop, model[0].bias, lr
        self.rates = {1: SLOW if "biases" in without else BIAS, 2: HEAD, 4: SLOW if "muon" in without else None}

    def step(self):
        if not self.first.requires_grad:
            self.first.grad = None  # of several workers one may have set it
        super().step()
        self.stop_early()

    def update(self, w, grad, state):
        """Change `w` in place; `grad`, of a batch's mean loss, stays as it is."""
        if rate := self.rates[w.ndim]:
            super().update(w, grad * w.dtype.type(rate * self.batch / self.rate), state)
            return
        way = momentum_(grad, state["momentum_buffer"], MOMENTUM, nesterov=True).reshape(len(w), -1)
        w *= len(w) ** 0.5 / (np.linalg.norm(w) or 1)
        w -= self.lr * orthogonal(way).reshape(w.shape)

    def stop_early(self):
        """Train the first bias no more once its time is over: nothing then needs gradients before the second layer."""
        at = next(number for number, p in enumerate(self.parameters) if p is self.first)
        self.first.requires_grad = self.state[at].get("step", 0) < self.stop

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.stop_early()


class Falling(Scheduler):
    """The rate falls in a straight line, from the optimizer's to nothing after the last of the steps."""

    every = "step"

    def __init__(self, optimizer, total_steps):
        self.total_steps = total_steps
        super().__init__(optimizer)

    def get_lr(self, n):
        return self.base_lr * max(0.0, 1 - n / self.total_steps)


def recipe(label, model, epochs, steps, without=()):
    """(optimizer, scheduler) for `steps` batches in all."""
    stop = steps if "whitening" in without else steps * STOP // max(STOP + 1, epochs)
    optimizer = Muon(model, RATE, BATCH, stop, without)
    return optimizer, Falling(optimizer, steps)


# The pictures -----------------------------------------------------------------------------------------------------


def shrunk(images, side):
    """Float images (B, C, H, H) as (B, C, side, side): every new pixel is the mean of what it covers."""
    edges = np.linspace(0, images.shape[-1], side + 1)[:, None]
    pixels = np.arange(images.shape[-1])
    shares = np.clip(np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels), 0, None)
    shares = (shares / shares.sum(axis=1, keepdims=True)).astype(images.dtype)
    return shares @ images @ shares.T


class Alternating(loader.DataLoader):
    """Batches in a new order each epoch: small pictures first, shifted a little, mirrored by a coin, then in turns.

    without "turns", a coin decides in every epoch.
    """

    def __init__(self, dataset, normalize, seed, epochs, without=()):
        batch = min(BATCH, max(1, len(dataset) // 8))
        super().__init__(dataset, batch, shuffle=True, seed=seed, drop_last=True, prefetch=1)
        self.normalize, self.epochs, self.crop = normalize, epochs, loader.RandomCrop(32, FRAME)
        self.turns = "turns" not in without

    def batches(self, epoch):
        order = loader.epoch_batches(len(self.dataset), self.batch_size, True, True, loader.epoch_rng(self.seed, epoch))
        coins = loader.epoch_rng(self.seed, 0 if self.turns else epoch, len(self) + 1).random(len(self.dataset)) < 0.5
        side = SIDES[min(epoch * len(SIDES) // self.epochs, len(SIDES) - 1)]
        for number, indices in enumerate(order, start=1):
            images, labels = loader.fetch(self.dataset, indices)
            images = self.crop(images, loader.epoch_rng(self.seed, epoch, number))
            mirrored = coins[indices] ^ bool(self.turns and epoch % 2)
            images[mirrored] = images[mirrored, ..., ::-1]
            images = self.normalize(images)
            yield images if side == 32 else shrunk(images, side), labels


# The answers ------------------------------------------------------------------------------------------------------


def views(images):
    """[(images, weight)]: each picture as it is (half) and shifted by a pixel both ways (half), all mirrored too."""
    framed, (height, width) = loader.pad_images(images, 1), images.shape[2:]
    shown = (images, 0.25), (framed[..., :height, :width], 0.125), (framed[..., 2:, 2:], 0.125)
    return [(way, weight) for part, weight in shown for way in (part, part[..., ::-1])]


def accuracy_of_views(model, batches):
    """The share of pictures that is right where logits of all `views` are averaged; batches: of (images, labels)."""
    right = count = 0
    model.eval()
    with no_grad():
        for images, labels in batches:
            shown = views(images.numpy())
            logits = sum(weight * model(Tensor(np.ascontiguousarray(part))).numpy() for part, weight in shown)
            right, count = right + int((logits.argmax(axis=1) == labels.numpy()).sum()), count + len(logits)
    model.train()
    return right / count
