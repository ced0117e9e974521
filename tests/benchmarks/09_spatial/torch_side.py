"""PyTorch's side of every measurement, with the same weights and numbers: functions without arguments."""

import numpy as np
import torch
from torch.nn import functional
from workloads import CHAIN, batch_of, layers, network, noise

torch.set_num_threads(1)
BACKWARD = torch.ops.aten.convolution_backward
POOL_BACKWARD = torch.ops.aten.max_pool2d_with_indices_backward


def twin(model) -> torch.nn.Sequential:
    """The same network of PyTorch's layers, with a copy of the weights."""
    return torch.nn.Sequential(*map(layer_twin, layers(model)))


def layer_twin(layer) -> torch.nn.Module:
    """One layer."""
    kind = type(layer).__name__
    if kind == "Conv2d":
        settings = layer.kernel_size, layer.stride, layer.padding_pair, layer.dilation, layer.groups
        made = torch.nn.Conv2d(layer.in_channels, layer.out_channels, *settings)
    elif kind == "Linear":
        made = torch.nn.Linear(layer.in_features, layer.out_features)
    elif kind == "BatchNorm2d":
        made = torch.nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum)
    elif kind in ("MaxPool2d", "AvgPool2d"):
        return getattr(torch.nn, kind)(layer.kernel_size, layer.stride, layer.padding)
    elif kind == "GlobalAvgPool2d":
        return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    else:
        form = {"approximate": getattr(layer, "settings", {}).get("approximate", "tanh")}
        settings = {"GELU": form, "Softmax": {"dim": -1}, "LogSoftmax": {"dim": -1}}.get(kind, {})
        return getattr(torch.nn, kind)(**settings)
    made.weight.data, made.bias.data = torch.tensor(layer.weight.data), torch.tensor(layer.bias.data)
    return made


class TorchSide:
    """PyTorch on NCHW, or with `order=torch.channels_last` on that."""

    def __init__(self, name: str = "torch"):
        self.name = name
        self.order = torch.channels_last if name == "channels last" else torch.contiguous_format

    def tensor(self, array: np.ndarray) -> torch.Tensor:
        """A copy in this side's memory order."""
        made = torch.tensor(array)
        return made.contiguous(memory_format=self.order) if made.ndim == 4 else made

    def network(self, name: str) -> torch.nn.Module:
        return twin(network(name)).to(memory_format=self.order)

    def convolution(self, shape, batch: int) -> dict:
        """Forward, and the gradients of weight (with bias) and input."""
        x, weight, bias, upstream = map(self.tensor, shape.arrays(batch))
        stride, padding, dilation = ([value] * 2 for value in (shape.stride, shape.padding, shape.dilation))

        def forward():
            with torch.no_grad():
                return functional.conv2d(x, weight, bias, stride, padding, dilation, shape.groups)

        def gradients(*wanted):
            settings = [shape.out], stride, padding, dilation, False, [0, 0], shape.groups
            return lambda: BACKWARD(upstream, x, weight, *settings, wanted)

        return {
            "forward": forward,
            "forward from NCHW": forward,
            "weight gradient": gradients(False, True, True),
            "input gradient": gradients(True, False, False),
        }

    def pooling(self, channels: int, side: int, batch: int) -> dict:
        """2x2 max pooling, forward and backward."""
        x, upstream = (self.tensor(noise((batch, channels, s, s))) for s in (side, side // 2))
        _, places = functional.max_pool2d(x, 2, return_indices=True)
        return {
            "forward": lambda: functional.max_pool2d(x, 2, return_indices=True),
            "backward": lambda: POOL_BACKWARD(upstream, x, [2, 2], [2, 2], [0, 0], [1, 1], False, places),
        }

    def step(self, name: str, form: str, images: int):
        """A whole training step, which returns the loss; PyTorch knows only one form."""
        batch = tuple(map(self.tensor, batch_of(name, images)))
        return self._stepper(self.network(name), lambda: (batch,))

    def epoch(self, x: np.ndarray, labels: np.ndarray, orders: list):
        """All images once, in batches given by their places."""
        x, labels, orders = self.tensor(x), self.tensor(labels), [torch.tensor(order) for order in orders]
        return self._stepper(self.network("C"), lambda: ((x[order], labels[order]) for order in orders))

    @staticmethod
    def _stepper(model, batches):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

        def run():
            for x, labels in batches():
                optimizer.zero_grad()
                loss = functional.cross_entropy(model(x), labels)
                loss.backward()
                optimizer.step()
            return loss.item()

        return run

    def inference(self, name: str, images: int):
        """Logits in use, without recording."""
        model, x = self.network(name).eval(), self.tensor(batch_of(name, images)[0])

        def run():
            with torch.no_grad():
                return model(x).numpy()

        return run

    def layer(self, chain: list, shape: tuple[int, ...]):
        """Layers of TinyTorch's, one after the other, forward and all gradients."""
        single = [part for layer in chain for part in layers(layer)]
        model = torch.nn.Sequential(*map(layer_twin, single)).to(memory_format=self.order)
        x = self.tensor(noise(shape)).requires_grad_()
        upstream = self.tensor(noise(tuple(model(x).shape), 1))

        def run():
            x.grad = None
            model.zero_grad()
            model(x).backward(upstream)

        return run

    def block(self, channels: int, out: int, side: int, images: int):
        """Convolution, ReLU and pooling, forward and all gradients."""
        model = torch.nn.Sequential(
            torch.nn.Conv2d(channels, out, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2)
        )
        x = self.tensor(noise((images, channels, side, side))).requires_grad_()
        upstream = self.tensor(noise((images, out, side // 2, side // 2)))

        def run():
            x.grad = None
            model.zero_grad()
            model(x).backward(upstream)

        return run

    @staticmethod
    def chain():
        """A row of small operations on (4, 4), recorded and walked back."""
        x = torch.ones(4, 4, requires_grad=True)

        def run():
            x.grad, y = None, x
            for _ in range(CHAIN):
                y = y * 0.99
            y.sum().backward()

        return run
