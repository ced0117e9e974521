"""The recipe of the speedrun: what the network of `networks.speed_cnn` starts from, is trained by and is asked with.

Source: K. Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024, made narrower here for one core.
"""

import numpy as np

from tinytorch import Tensor, no_grad, optim
from tinytorch.core.optimizers import Scheduler
from tinytorch.data import loader

BATCH, EPOCHS = 400, 10
SIDES = (20,) * 4 + (26,) * 3 + (32,) * 3  # of the pictures, tenth by tenth of the training: small ones cost less
MOMENTUM, SMOOTHING, FRAME = 0.85, 0.2, 2
KILOSTEP = 1024 * (1 + 1 / (1 - MOMENTUM))  # rate and decay are given for 1,024 pictures and all their echoes
RATE, DECAY = 11.5 / KILOSTEP, 0.0153 / KILOSTEP  # a picture
BIASES = 64  # times the rate for the biases of batch normalisation
EVERY, KEPT = 5, 0.95**5  # weights are averaged every so many steps; at the end so much of the average is kept
STOP = 3  # epochs for which the first bias is trained


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


def start(model, images):
    """Set the first filters by these normalised images; let the other convolutions hand channels on as they are.

    The rest of the weights starts as small as PyTorch's do.
    """
    model[0].weight.data = whitening(images)
    for layer in model[1:]:
        weight = getattr(layer, "weight", None)
        if weight is not None:
            weight.data = weight.data / np.float32(6**0.5)
            if weight.data.ndim == 4:
                channels = np.arange(min(weight.shape[:2]))
                weight.data[channels] = 0
                weight.data[channels, channels, 1, 1] = 1


# The steps --------------------------------------------------------------------------------------------------------


class Averaging(optim.SGD):
    """SGD for a `speed_cnn`: its norms' biases move faster, its first bias stops early, all weights are averaged.

    lr: for the mean loss of a batch. steps: of the whole run; stop: the step after which the first bias stays.
    """

    settings = (*optim.SGD.settings, "steps", "stop")
    buffers = ("momentum_buffer", "average")

    def __init__(self, model, lr, weight_decay, steps, stop):
        super().__init__(model.parameters(), lr, MOMENTUM, nesterov=True, weight_decay=weight_decay)
        self.steps, self.stop, self.first = steps, stop, model[0].bias
        self.biases = [p for p in self.parameters if p.ndim == 1 and p is not self.first]

    def step(self):
        for p in self.biases:
            p.grad = p.grad * np.float32(BIASES)
        if not self.first.requires_grad:
            self.first.grad = None  # of several workers one may have set it
        super().step()
        self.stop_early()

    def update(self, w, grad, state):
        """A step of SGD; after every fifth the weights become their running average, which begins as they began."""
        step, average = state["step"], state["average"]
        if step == 1:
            average[...] = w
        super().update(w, grad, state)
        if step % EVERY == 0:
            average += (1 - KEPT * (step / self.steps) ** 3) * (w - average)
        if step % EVERY == 0 or step == self.steps:
            w[...] = average

    def stop_early(self):
        """Train the first bias no more once its time is over: nothing then needs gradients before the second layer."""
        at = next(number for number, p in enumerate(self.parameters) if p is self.first)
        self.first.requires_grad = self.state[at].get("step", 0) < self.stop

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.stop_early()


class Triangle(Scheduler):
    """The rate rises from a fifth of the optimizer's to all of it over 23 % of the steps and falls to 7 %."""

    every = "step"

    def __init__(self, optimizer, total_steps):
        self.total_steps = total_steps
        super().__init__(optimizer)

    def get_lr(self, n):
        return self.base_lr * float(np.interp(n, (0, int(0.23 * self.total_steps), self.total_steps), (0.2, 1, 0.07)))


def recipe(label, model, epochs, steps):
    """(optimizer, scheduler) for `steps` batches in all."""
    optimizer = Averaging(model, RATE * BATCH, DECAY / RATE, steps, steps * STOP // max(STOP + 1, epochs))
    return optimizer, Triangle(optimizer, steps)


# The pictures -----------------------------------------------------------------------------------------------------


def shrunk(images, side):
    """Float images (B, C, H, H) as (B, C, side, side): every new pixel is the mean of what it covers."""
    edges = np.linspace(0, images.shape[-1], side + 1)[:, None]
    pixels = np.arange(images.shape[-1])
    shares = np.clip(np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels), 0, None)
    shares = (shares / shares.sum(axis=1, keepdims=True)).astype(images.dtype)
    return shares @ images @ shares.T


class Alternating(loader.DataLoader):
    """Batches in a new order each epoch: small pictures first, shifted a little, mirrored by a coin, then in turns."""

    def __init__(self, dataset, normalize, seed, epochs):
        batch = min(BATCH, max(1, len(dataset) // 8))
        super().__init__(dataset, batch, shuffle=True, seed=seed, drop_last=True, prefetch=1)
        self.normalize, self.epochs, self.crop = normalize, epochs, loader.RandomCrop(32, FRAME)
        self.coins = loader.epoch_rng(seed, 0, len(self) + 1).random(len(dataset)) < 0.5

    def batches(self, epoch):
        order = loader.epoch_batches(len(self.dataset), self.batch_size, True, True, loader.epoch_rng(self.seed, epoch))
        side = SIDES[min(epoch * len(SIDES) // self.epochs, len(SIDES) - 1)]
        for number, indices in enumerate(order, start=1):
            images, labels = loader.fetch(self.dataset, indices)
            images = self.crop(images, loader.epoch_rng(self.seed, epoch, number))
            mirrored = self.coins[indices] ^ bool(epoch % 2)
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
