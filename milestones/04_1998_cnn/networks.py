"""The networks of this milestone: `digits_cnn` is the lesson's, the wide and the deep one are for photographs."""

from importlib import import_module

from tinytorch import nn


def spatial():
    """Module 09, imported when it is first needed, so that a missing one is named by the stage."""
    return import_module("tinytorch.core.spatial")


def mlp_of(pixels, hidden, classes=10):
    """Make an MLP with one hidden layer, its last layer's weights scaled down as the CNNs' are."""

    def make():
        last = spatial().scale_init(nn.Linear(hidden, classes))
        return nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), last)

    return make


def wide_cnn(num_classes=10):
    """The wide form, for images (B, 3, 32, 32): 32 and 64 kernels, a hidden layer of 128; 545,098 parameters."""
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * 8 * 8, 128), nn.ReLU(), spatial().scale_init(nn.Linear(128, num_classes))),
    )


def deep_cnn(num_classes=10, channels=(64, 128, 256)):
    """Three blocks of convolution, ReLU, pooling and batch normalisation, a fourth without pooling, and channel means.

    Normalising comes after the pooling: it then has a quarter of the numbers to go through.
    """
    layers, before = [], 3
    for width in channels:
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(width)]
        before = width
    layers += [nn.Conv2d(before, before, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(before), nn.GlobalAvgPool2d()]
    return nn.Sequential(*layers, spatial().scale_init(nn.Linear(before, num_classes)))


def largest(x):
    """The largest pixel of each channel: (B, C, H, W) to (B, C)."""
    return x.max(axis=(-2, -1))


def shares(x):
    """Features (B, C) over their number: logits are then means, and the first guesses near to even."""
    return x / x.shape[-1]


INGREDIENTS = "whitening", "dirac", "muon", "biases", "turns"  # what of the speedrun can be left out


def speed_cnn(num_classes=10, channels=(64, 160, 256)):
    """The speedrun's: 24 fixed filters of 2x2 pixels, three blocks of two convolutions, pooling and a dense layer.

    Batch normalisation has a trained bias and no trained scale. `speedrun.start` sets the weights to start from.
    """
    first = nn.Conv2d(3, 24, 2)
    first.weight.requires_grad = False
    layers, before = [first, nn.GELU()], 24
    for width in channels:
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.MaxPool2d(2), _biased(width), nn.GELU()]
        layers += [nn.Conv2d(width, width, 3, padding=1, bias=False), _biased(width), nn.GELU()]
        before = width
    return nn.Sequential(*layers, largest, shares, nn.Linear(before, num_classes, bias=False))


def _biased(width):
    """Batch normalisation with a trained bias only."""
    norm = nn.BatchNorm2d(width, eps=1e-12)
    norm.weight = None
    return norm


NETWORKS = {
    "digits": lambda: spatial().digits_cnn(),
    "cifar10": wide_cnn,
    "cifar10-deep": deep_cnn,
    "cifar10-speedrun": speed_cnn,
}
