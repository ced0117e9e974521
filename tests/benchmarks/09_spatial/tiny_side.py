"""TinyTorch's side of every measurement, on the backend that it was made for: functions without arguments."""

import functools

import numpy as np
from workloads import CHAIN, batch_of, network, noise

from tinytorch import Tensor
from tinytorch.backend import kernel, use_backend
from tinytorch.core import spatial
from tinytorch.core.autograd import BACKWARD, no_grad
from tinytorch.core.layers import Sequential
from tinytorch.core.losses import cross_entropy
from tinytorch.core.optimizers import SGD


class TinySide:
    """Work on one backend ("windows", "fast"). What is made here may be called in turns with another backend's."""

    def __init__(self, backend: str):
        self.name = backend
        with use_backend(backend):
            probe = kernel("conv2d")(Tensor(noise((64, 8, 16, 16))), Tensor(noise((16, 8, 3, 3)))).data
        self._axes = np.argsort([-stride for stride in probe.strides], kind="stable")

    def _here(self, function):
        """The function, always run on this backend."""

        @functools.wraps(function)
        def run():
            with use_backend(self.name):
                return function()

        return run

    def as_found(self, array: np.ndarray) -> np.ndarray:
        """The array in the memory order in which this backend's layers hand images on."""
        return np.ascontiguousarray(array.transpose(self._axes)).transpose(np.argsort(self._axes))

    def convolution(self, shape, batch: int) -> dict:
        """Forward on images as layers hand them on and as people bring them; gradients of weight (with bias) and input.

        Each by the backend's own operation and rules.
        """
        x, weight, bias, upstream = shape.arrays(batch)
        x, upstream = self.as_found(x), self.as_found(upstream)
        with use_backend(self.name):
            operation = kernel("conv2d")
        inputs = Tensor(x), Tensor(weight, requires_grad=True), Tensor(bias)
        raw = Tensor(np.ascontiguousarray(x)), *inputs[1:]
        settings = shape.stride, shape.padding, shape.dilation, shape.groups
        out = operation(*inputs, *settings)
        chosen, _, arrays, saved = out.grad_fn
        by_x, by_weight, by_bias, *_ = BACKWARD[chosen]

        def forward(given):
            with no_grad():
                return operation(*given, *settings)

        return {
            "forward": lambda: forward(inputs),
            "forward from NCHW": lambda: forward(raw),
            "weight gradient": lambda: (by_weight(upstream, saved, *arrays), by_bias(upstream, saved, *arrays)),
            "input gradient": lambda: by_x(upstream, saved, *arrays),
        }

    def pooling(self, channels: int, side: int, batch: int) -> dict:
        """2x2 max pooling, forward and backward."""
        x = Tensor(self.as_found(noise((batch, channels, side, side))), requires_grad=True)
        upstream = self.as_found(noise((batch, channels, side // 2, side // 2)))
        with use_backend(self.name):
            operation = kernel("max_pool2d")
        chosen, _, arrays, saved = operation(x, 2).grad_fn
        by_x = BACKWARD[chosen][0]
        return {"forward": lambda: operation(x, 2), "backward": lambda: by_x(upstream, saved, *arrays)}

    @staticmethod
    def products(shape, batch: int) -> dict:
        """The matrix products of a convolution, cut as the engine cuts them: {part: (work, M, K, multiplications)}."""
        from tinytorch.core import fast

        x, weight, _, upstream = shape.arrays(batch)
        s = fast.sizes(x.shape, weight.shape, (1, 1), (shape.padding,) * 2)
        u, g, lines = (
            fast.unfold(fast.to_hcwn(x), s, 0, s.ho),
            fast.to_hcwn(upstream)[None],
            fast.weight_lines(weight, s),
        )
        out, total, size = np.empty_like(g), fast.no_gradient(weight, s), x.itemsize
        back, grouped = fast.input_lines(weight, s, 0, s.kh), fast.by_group(g, s)

        def forward():
            for a, b in fast.chunks(s.ho, s.o * s.columns * size):
                fast.multiply_rows(u, lines, s, a, out[:, a:b])

        def by_weight():
            for a, b in fast.chunks(s.ho, s.o * max(s.columns, s.kh * s.line) * size):
                fast.add_weight_gradient(total, g[:, a:b], u, s, a)

        def by_input():
            for a, b in fast.chunks(s.ho - s.kh + 1, s.line * s.columns * size):
                fast.multiply_upstream(grouped, back, s, a, b - a, s.kh)

        count = s.o * s.kh * s.line * s.columns
        return {
            "forward": (forward, s.o, s.kh * s.line, count * s.ho),
            "weight gradient": (by_weight, s.o, s.columns, count * s.ho),
            "input gradient": (by_input, s.line, s.kh * s.o, count * (s.ho - s.kh + 1)),
        }

    def step(self, name: str, form: str, images: int):
        """A whole training step, which returns the loss."""
        model, (x, labels) = network(name, form), batch_of(name, images)
        return self._here(self._stepper(model, lambda: ((x, labels),)))

    def epoch(self, x: np.ndarray, labels: np.ndarray, orders: list):
        """All images once, in batches given by their places."""
        return self._here(self._stepper(network("C"), lambda: ((x[order], labels[order]) for order in orders)))

    @staticmethod
    def _stepper(model, batches):
        optimizer = SGD(model.parameters(), lr=0.01, momentum=0.9)

        def run():
            for x, labels in batches():
                optimizer.zero_grad()
                loss = cross_entropy(model(Tensor(x)), labels)
                loss.backward()
                optimizer.step()
            return loss.item()

        return run

    def inference(self, name: str, images: int):
        """Logits in use, without recording."""
        model, x = network(name).eval(), batch_of(name, images)[0]

        def run():
            with no_grad():
                return model(Tensor(x)).data

        return self._here(run)

    def layer(self, layers: list, shape: tuple[int, ...]):
        """Layers, one after the other, forward and all gradients."""
        images = noise(shape)
        x = Tensor(self.as_found(images) if len(shape) == 4 else images, requires_grad=True)
        parameters = [p for layer in layers for p in getattr(layer, "parameters", list)()]

        def forward():
            out = x
            for layer in layers:
                out = layer(out)
            return out

        with use_backend(self.name), no_grad():
            out = forward().data
        upstream = noise(out.shape, 1)
        upstream = self.as_found(upstream) if out.ndim == 4 else upstream

        def run():
            for tensor in (x, *parameters):
                tensor.grad = None
            forward().backward(upstream)

        return self._here(run)

    def block(self, channels: int, out: int, side: int, images: int):
        """Convolution, ReLU and pooling, forward and all gradients."""
        model = Sequential(spatial.Conv2d(channels, out, 3, padding=1), spatial.ReLU(), spatial.MaxPool2d(2))
        x = Tensor(self.as_found(noise((images, channels, side, side))), requires_grad=True)
        upstream = self.as_found(noise((images, out, side // 2, side // 2)))

        def run():
            x.grad = None
            model.zero_grad()
            model(x).backward(upstream)

        return self._here(run)

    @staticmethod
    def chain():
        """A row of small operations on (4, 4), recorded and walked back."""
        x = Tensor(np.ones((4, 4), np.float32), requires_grad=True)

        def run():
            x.grad, y = None, x
            for _ in range(CHAIN):
                y = y * 0.99
            y.sum().backward()

        return run


def numpy_chain():
    """What NumPy alone takes for the arithmetic of `chain`."""
    x = np.ones((4, 4), np.float32)

    def run():
        y = x
        for _ in range(CHAIN):
            y = y * 0.99
        for _ in range(CHAIN):
            y = y * 0.99

    return run
