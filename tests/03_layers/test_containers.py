"""Layers and tensors in lists, tuples and dicts, however deep, are trained, saved, switched and shown."""

import numpy as np
import pytest

from tinytorch import nn
from tinytorch.core.tensor import Tensor, manual_seed


class Net(nn.Module):
    def __init__(self):
        self.heads = {"left": nn.Linear(2, 3), "right": [nn.Linear(2, 3), nn.Dropout(0.5)]}
        self.grid = [[nn.Linear(3, 3)], (nn.Linear(3, 3), nn.ReLU())]
        self.scales = [Tensor([1.0], requires_grad=True), {"b": Tensor([2.0], requires_grad=True)}]
        self.shift = {"c": Tensor([3.0]), 0: "text", "n": 5}
        self.words, self.nothing = ["a", "b"], []

    def forward(self, x):
        both = self.heads["left"](x) + self.heads["right"][1](self.heads["right"][0](x))
        return self.grid[1][1](self.grid[1][0](self.grid[0][0](both))) * self.scales[0] + self.scales[1]["b"]


NAMES = ["heads.left", "heads.right.0", "grid.0.0", "grid.1.0"]


def test_everything_is_found():
    net = Net()
    layers = [f"{name}.{part}" for name in NAMES for part in ("weight", "bias")]
    assert [name for name, _ in net.named_parameters()] == ["scales.0", "scales.1.b", *layers]
    assert [name for name, _ in net.named_buffers()] == ["shift.c"]
    assert set(net.state_dict()) == {"scales.0", "scales.1.b", "shift.c", *layers}
    assert len(net.modules()) == 6 and net.parameter_count() == 2 + 2 * 9 + 2 * 12
    assert all(f"({name}): Linear(" in repr(net) for name in NAMES) and "(heads.right.1): Dropout(p=0.5)" in repr(net)


def test_everything_is_switched_and_loaded():
    manual_seed(0)
    net, other = Net(), Net()
    net.eval()
    assert not net.heads["right"][1].training and net.train().heads["right"][1].training
    other.load_state_dict(net.state_dict())
    assert all(np.array_equal(a, net.state_dict()[name]) for name, a in other.state_dict().items())
    assert net.astype("float64").heads["left"].weight.dtype == net.scales[1]["b"].dtype == np.float64


def test_a_set_has_no_names():
    net = nn.Module()
    net.layers = {nn.Linear(1, 1)}
    with pytest.raises(TypeError, match="layers is a set, .* make it a list or a dict"):
        net.parameters()
    net.layers = {"relu", "tanh"}
    assert net.parameters() == []


@pytest.mark.parametrize(
    ("act", "kind", "said"),
    [
        (lambda: nn.Linear("2", 3), TypeError, "in_features is a whole number, got '2'"),
        (lambda: nn.Linear(2, 3.0), TypeError, "out_features is a whole number, got 3.0"),
        (lambda: nn.Linear(None, 3), TypeError, "in_features"),
        (lambda: nn.Dropout("half"), TypeError, "a number, got 'half'"),
        (lambda: nn.Dropout(None), TypeError, "a number, got None"),
        (lambda: nn.Flatten("rows"), TypeError, "start_dim is a whole number"),
        (lambda: nn.Flatten()(None), TypeError, "expected .*numbers"),
        (lambda: nn.Linear(2, 3)(None), TypeError, "linear of None.*expected tensors, arrays or numbers"),
        (lambda: nn.Linear(2, 3)("a"), TypeError, "expected .*numbers"),
        (lambda: nn.Linear(2, 3)(Tensor(1.0)), ValueError, "got no axis"),
        (lambda: nn.Linear(2, 3).load_state_dict(None), TypeError, "a state is {name: array}, got NoneType"),
        (lambda: nn.Linear(2, 3).load_state_dict("weights.safetensors"), TypeError, "load_weights"),
    ],
)
def test_refusals(act, kind, said):
    with pytest.raises(kind, match=said):
        act()
