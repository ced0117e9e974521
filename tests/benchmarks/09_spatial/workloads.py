"""What is measured, on which shapes, and the marks to reach: the one place that says so."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MILESTONE = Path(__file__).resolve().parents[3] / "milestones" / "04_1998_cnn" / "networks.py"
BATCH = 64
CLASSES = 10
CHAIN = 200  # small operations recorded one after the other
BATCHES = (16, 32, 64, 128, 256)  # growth: the block below at 16x16, time per image
SIDES = (16, 32, 64, 128)  # growth: the same at batch 64, time per pixel

# (required, aim): the most that is allowed, as a part of PyTorch's time on NCHW; None: no mark.
MARKS = {
    "step A": (0.60, 0.50),
    "step B": (0.75, 0.65),
    "step C": (0.30, 0.20),
    "step A by hand": (0.95, 0.85),
    "step B by hand": (1.10, 0.95),
    "step C by hand": (0.30, 0.20),
    "step A, channels last": (0.90, None),
    "step B, channels last": (1.00, None),
    "step deep, batch 32": (0.90, 0.75),
    "step deep": (0.75, 0.65),
    "step deep, batch 32, channels last": (1.20, None),
    "step deep, channels last": (1.00, None),
    "step modern": (1.00, 0.85),
    "step modern, channels last": (1.30, None),
    "few images": (1.30, 1.00),
    "other layers": (1.50, 1.00),
    "elementwise": (1.20, 0.80),
    "forward, 3 channels": (1.1, 0.8),
    "forward": (1.6, 1.1),
    "weight gradient": (1.5, 1.2),
    "input gradient": (1.5, 1.25),
    "pool forward": (0.2, 0.08),
    "pool backward": (2.2, 1.6),
    "recording": (0.8, None),
    "recording, microseconds": (2.5, 1.5),
    "memory": (0.75, 0.50),
    "product": (1 / 0.85, None),  # time at the best rate that BLAS shows for the same M and K: at least 85 % of it
    "growth": (1.5, 1.15),  # the dearest of a series over the cheapest
    "batch 1": (1.0, 0.7),
    "epoch": (None, None),
    "shapes": (1.10, None),  # fast over windows
    "shapes, mean": (0.70, None),
}


@dataclass(frozen=True)
class Convolution:
    """One convolution of square images and kernels; `first` says that it meets raw images, never a layer's output."""

    name: str
    channels: int
    out: int
    side: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    dilation: int = 1
    groups: int = 1
    batch: int = BATCH

    @property
    def first(self) -> bool:
        return self.channels < 16

    @property
    def out_side(self) -> int:
        return (self.side + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    def arrays(self, batch: int) -> tuple[np.ndarray, ...]:
        """x, weight, bias, upstream in NCHW; `batch` takes the place of the usual one."""
        images = batch if self.batch == BATCH else self.batch
        x, out = (images, self.channels, self.side, self.side), (images, self.out, self.out_side, self.out_side)
        weight = self.out, self.channels // self.groups, self.kernel, self.kernel
        return tuple(map(noise, (x, weight, (self.out,), out)))


CONVOLUTIONS = (
    Convolution("A1 3-16 32x32", 3, 16, 32),
    Convolution("A2 16-32 16x16", 16, 32, 16),
    Convolution("B1 3-32 32x32", 3, 32, 32),
    Convolution("B2 32-64 16x16", 32, 64, 16),
    Convolution("1x1 64-64 16x16", 64, 64, 16, kernel=1, padding=0),
    Convolution("5x5 16-32 16x16", 16, 32, 16, kernel=5, padding=2),
    Convolution("stride 2 32-64 32x32", 32, 64, 32, stride=2),
    Convolution("dilation 2 32-32 16x16", 32, 32, 16, padding=2, dilation=2),
    Convolution("4 groups 32-64 16x16", 32, 64, 16, groups=4),
    Convolution("batch 1 32-64 32x32", 32, 64, 32, batch=1),
)
PRODUCTS = (  # those of A, B, the deep network and the modern one
    *CONVOLUTIONS[1:4:2],
    Convolution("64-64 32x32", 64, 64, 32),
    Convolution("128-128 16x16", 128, 128, 16),
    Convolution("256-256 8x8", 256, 256, 8),
    Convolution("24-48 31x31", 24, 48, 31),
    Convolution("48-48 15x15", 48, 48, 15),
    Convolution("128-128 7x7", 128, 128, 7),
    Convolution("256-256 3x3", 256, 256, 3),
)
WIDTHS = tuple(2**n for n in range(6, 14))  # of the products that BLAS is measured with
POOLS = (("A1", 16, 32), ("A2", 32, 16), ("B1", 32, 32), ("B2", 64, 16))  # name, channels, side: what they pool
# (network, form): as the package builds it, in a Sequential, or the layers called one by one in a user's forward
STEPS = (
    *(("A", "SimpleCNN"), ("A", "Sequential"), ("A", "by hand")),
    *(("B", "Sequential"), ("B", "by hand")),
    *(("C", "Sequential"), ("C", "by hand")),
)
NETWORKS = (("deep", 32), ("deep", 128), ("deep", 512), ("modern", 32), ("modern", 128), ("modern", 512))
# Layers of shapes.TABLE against PyTorch: name there, mark
LAYERS = (
    ("3 x 512-512, 4x4, batch 1", "few images"),
    ("3 x 512-512, 4x4, batch 8", "few images"),
    ("3 x 128-128, 14x14, batch 1", "few images"),
    ("3 x depthwise, 256, 14x14, batch 8", "other layers"),
    ("mean pool 32x32", "other layers"),
    ("max pool 13x13 stride 1", "other layers"),
)


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Standard normal float32."""
    return np.random.default_rng((seed, *shape)).standard_normal(shape, dtype=np.float32)


def batch_of(network: str, images: int) -> tuple[np.ndarray, np.ndarray]:
    """(x, labels) as network A, B or C takes them."""
    shape = (1, 8, 8) if network == "C" else (3, 32, 32)
    return noise((images, *shape)), np.random.default_rng(images).integers(0, CLASSES, images)


def usual_batch(network: str, batch: int) -> int:
    """Images in a step: half as many for the digits."""
    return max(batch // 2, 1) if network == "C" else batch


def layers(model) -> list:
    """The layers of a TinyTorch network in the order in which they run."""
    parts = [part for _, part in getattr(model, "named_parts", list)()]
    return [layer for part in parts for layer in layers(part)] if parts else [model]


def of_the_milestone(name: str):
    """A network for photographs of milestone 04, made."""
    spec = importlib.util.spec_from_file_location("networks", MILESTONE)
    networks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(networks)
    return networks.NETWORKS[name]()


def modern():
    """Convolution 2x2; three times convolution, max pool, batch norm, GELU, convolution, batch norm, GELU; Linear."""
    from tinytorch import nn

    layers, before = [nn.Conv2d(3, 24, 2), nn.GELU()], 24
    for width in (48, 128, 256):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(width), nn.GELU()]
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.GELU()]
        before = width
    return nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten(), nn.Linear(before, CLASSES))


def network(name: str, form: str = "Sequential"):
    """A: SimpleCNN 16/32. B: the wide net 32/64 with 4096-128-10. C: the digits' net of 810 parameters. Seeded.

    deep: milestone 04's network with batch norm, 64-128-256-256. modern: see there.
    """
    import tinytorch
    from tinytorch.core import spatial
    from tinytorch.core.layers import Module, Sequential

    tinytorch.manual_seed(0)
    photographs = {"B": "cifar10", "deep": "cifar10-deep"}
    made = {"A": spatial.SimpleCNN, "C": spatial.digits_cnn, "modern": modern}
    model = made[name]() if name in made else of_the_milestone(photographs[name])
    if form == "SimpleCNN":
        return model
    if form == "Sequential":
        return Sequential(*layers(model))

    class ByHand(Module):
        """A user's network that calls one layer after the other."""

        def __init__(self):
            self.chain = layers(model)

        def forward(self, x):
            for layer in self.chain:
                x = layer(x)
            return x

    return ByHand()
