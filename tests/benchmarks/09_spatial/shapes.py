"""Convolutions and poolings of many shapes, each forward and backward: the backend `fast` against `windows`.

A table of shapes on which a fixed way lost, and random ones. What is compared is the CPU time of one thread.
"""

from dataclasses import dataclass

import numpy as np
from workloads import noise

ROUNDS = 7
RANDOM = 200
MOST = 60e6  # multiply-accumulates of one random forward pass: larger draws get fewer images


@dataclass(frozen=True)
class Shape:
    """`repeat` layers of one kind, one after the other: a convolution (out channels) or a pooling ("max", "mean")."""

    name: str
    batch: int
    channels: int
    side: int
    kernel: int
    out: int | str
    stride: int = 1
    padding: int = 0
    groups: int = 1
    repeat: int = 1
    backward: bool = True

    def layers(self) -> list:
        """The layers, seeded."""
        import tinytorch
        from tinytorch import nn

        tinytorch.manual_seed(0)
        settings = dict(stride=self.stride, padding=self.padding)
        if isinstance(self.out, str):
            kind = {"max": nn.MaxPool2d, "mean": nn.AvgPool2d}[self.out]
            return [kind(self.kernel, **settings) for _ in range(self.repeat)]
        return [
            nn.Conv2d(self.channels, self.out, self.kernel, groups=self.groups, **settings) for _ in range(self.repeat)
        ]

    def handed_over(self) -> bool:
        """Whether `fast` leaves the first layer to `windows`."""
        from tinytorch.backend import use_backend
        from tinytorch.core import spatial
        from tinytorch.core.tensor import Tensor

        x = Tensor(noise((self.batch, self.channels, self.side, self.side)), requires_grad=True)
        with use_backend("fast"):
            return self.layers()[0](x).grad_fn[0] in (spatial.conv2d, spatial.max_pool2d, spatial.avg_pool2d)

    def work(self, backend: str):
        """A function that runs all layers once, with every gradient."""
        from tinytorch.backend import use_backend
        from tinytorch.core.autograd import no_grad
        from tinytorch.core.tensor import Tensor

        layers = self.layers()
        images = noise((self.batch, self.channels, self.side, self.side))
        x = Tensor(images, requires_grad=True)

        def forward():
            out = x
            for layer in layers:
                out = layer(out)
            return out

        with use_backend(backend), no_grad():
            upstream = noise(forward().shape)
        tensors = [x, *(tensor for layer in layers for tensor in layer.parameters())]

        def run():
            with use_backend(backend):
                if not self.backward:
                    with no_grad():
                        return forward()
                for tensor in tensors:
                    tensor.grad = None
                forward().backward(upstream)

        return run


TABLE = (
    Shape("3 x 512-512, 4x4, batch 1", 1, 512, 4, 3, 512, padding=1, repeat=3),
    Shape("3 x 512-512, 4x4, batch 8", 8, 512, 4, 3, 512, padding=1, repeat=3),
    Shape("3 x 128-128, 14x14, batch 1", 1, 128, 14, 3, 128, padding=1, repeat=3),
    Shape("1x1 stride 2, 64-128, batch 32", 32, 64, 32, 1, 128, stride=2),
    Shape("16x16 patches of 224", 4, 3, 224, 16, 192, stride=16),
    Shape("max pool 13x13 stride 1", 8, 64, 13, 13, "max", stride=1, padding=6),
    Shape("mean pool 32x32", 32, 64, 32, 32, "mean", stride=32),
    Shape("3 x depthwise, 256, 14x14, batch 8", 8, 256, 14, 3, 256, padding=1, groups=256, repeat=3),
)


def random_shapes(count: int = RANDOM, seed: int = 0) -> list[Shape]:
    """Convolutions of every size: half of them with sizes spread evenly, half with their logarithms spread evenly."""
    rng, shapes = np.random.default_rng(seed), []

    def draw(high: int, even: bool) -> int:
        return int(rng.integers(1, high + 1)) if even else int(np.exp(rng.uniform(0, np.log(high + 1))))

    while len(shapes) < count:
        even = len(shapes) % 2 == 0
        batch, channels, out, side = (draw(high, even) for high in (64, 512, 512, 64))
        kernel, stride = int(rng.integers(1, 8)), int(rng.integers(1, 3))
        padding, depthwise = int(rng.integers(0, kernel // 2 + 1)), rng.random() < 0.35
        if kernel > side + 2 * padding:
            continue
        groups, out = (channels, channels) if depthwise else (1, out)
        places = ((side + 2 * padding - kernel) // stride + 1) ** 2
        an_image = places * out * channels // groups * kernel**2
        if an_image > MOST or places * channels // groups * kernel**2 * (groups if depthwise else 1) > 3e7:
            continue
        batch = max(1, min(batch, int(MOST // an_image), int(3e7 // (places * channels * kernel**2))))
        name = f"{batch} x {channels}-{out} {side}px {kernel}x{kernel} stride {stride} padding {padding}"
        shapes.append(Shape(f"{name} groups {groups}", batch, channels, side, kernel, out, stride, padding, groups))
    return shapes
