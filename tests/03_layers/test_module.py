"""The tree of tensors: names, parameters, modes, state, repr."""

import copy
import pickle

import numpy as np
import pytest

from tinytorch.core.activations import ReLU, relu
from tinytorch.core.layers import Dropout, Flatten, Linear, Module, Sequential
from tinytorch.core.tensor import Tensor, manual_seed


class Block(Module):
    def __init__(self):
        self.linear = Linear(3, 3)
        self.mean = Tensor([0.0, 1.0, 2.0])

    def forward(self, x):
        return self.linear(x) - self.mean


class Net(Module):
    def __init__(self):
        self.scale = Tensor([2.0], requires_grad=True)
        self.blocks = [Block(), Block()]
        self.head = Linear(3, 2, bias=False)
        self.label = "not a tensor"

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x) * self.scale


@pytest.fixture
def net():
    manual_seed(0)
    return Net()


NAMES = [
    "scale",
    *[f"blocks.{i}.{name}" for i in (0, 1) for name in ("mean", "linear.weight", "linear.bias")],
    "head.weight",
]


def test_names_in_order(net):
    assert [name for name, _ in net.named_tensors()] == NAMES
    assert [name for name, _ in net.named_parameters()] == [name for name in NAMES if not name.endswith("mean")]
    assert [name for name, _ in net.named_buffers()] == ["blocks.0.mean", "blocks.1.mean"]


def test_parameters_are_the_tensors_themselves(net):
    assert net.parameters()[0] is net.scale
    assert net.parameters()[-1] is net.head.weight
    assert net.parameter_count() == 1 + 2 * (9 + 3) + 6


def test_shared_tensor_is_one_parameter_under_two_names(net):
    net.head.weight = net.blocks[0].linear.weight
    names = [name for name, _ in net.named_parameters()]
    assert "blocks.0.linear.weight" in names and "head.weight" not in names
    assert "head.weight" in net.state_dict()


def test_modules_lists_each_once(net):
    net.again = net.head
    found = net.modules()
    assert found[0] is net
    assert len(found) == len({id(m) for m in found}) == 6


def test_train_and_eval_reach_every_module(net):
    assert all(module.training for module in net.modules())
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    assert net.train() is net
    assert all(module.training for module in net.modules())
    net.train(False)
    assert not net.blocks[1].linear.training


def test_zero_grad(net):
    for tensor in net.parameters():
        tensor.grad = np.ones(tensor.shape, np.float32)
    net.zero_grad()
    assert all(tensor.grad is None for tensor in net.parameters())


def test_astype_converts_floats_in_place(net):
    net.steps = Tensor([3])
    weight = net.head.weight
    assert net.astype(np.float64) is net
    assert net.head.weight is weight and weight.dtype == np.float64 and weight.requires_grad
    assert net.blocks[0].mean.dtype == np.float64
    assert net.steps.dtype == np.int64


def test_state_goes_out_and_back(net):
    other = Net()
    other.load_state_dict(net.state_dict())
    assert list(net.state_dict()) == NAMES
    for name, array in net.state_dict().items():
        assert np.array_equal(other.state_dict()[name], array), name
    x = Tensor(np.random.default_rng(0).normal(size=(4, 3)))
    assert np.array_equal(net(x).numpy(), other(x).numpy())


def test_state_is_a_copy(net):
    state = net.state_dict()
    before = state["scale"].copy()
    net.scale.data += 1
    assert np.array_equal(state["scale"], before)
    state["head.weight"][...] = 7
    assert not np.any(net.head.weight.data == 7)


def test_load_copies_and_converts(net):
    state = {name: array.astype(np.float64) for name, array in net.state_dict().items()}
    scale = net.scale
    net.load_state_dict(state)
    state["scale"][...] = 99
    assert net.scale is scale
    assert net.scale.dtype == np.float32
    assert net.scale.data[0] == 2


def test_load_names_missing_and_unexpected(net):
    state = net.state_dict()
    state["haed.weight"] = state.pop("head.weight")
    with pytest.raises(ValueError, match=r"missing \['head.weight'\], unexpected \['haed.weight'\]"):
        net.load_state_dict(state)


@pytest.mark.parametrize("name, value", [("head.weight", np.ones((3, 2))), ("blocks.1.mean", np.ones(4))])
def test_load_names_both_shapes_and_changes_nothing(net, name, value):
    before = net.state_dict()
    state = {key: array + 1 for key, array in before.items()} | {name: value}
    with pytest.raises(ValueError) as caught:
        net.load_state_dict(state)
    assert name in str(caught.value)
    assert str(before[name].shape) in str(caught.value) and str(value.shape) in str(caught.value)
    assert all(np.array_equal(array, before[key]) for key, array in net.state_dict().items())


def test_forward_is_missing():
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        Module()(Tensor([1.0]))


def test_repr_nests():
    net = Sequential(Flatten(), Linear(4, 3), ReLU(), relu, Sequential(Dropout(0.1), Linear(3, 2, bias=False)))
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Flatten()\n"
        "  (1): Linear(in_features=4, out_features=3, bias=True)\n"
        "  (2): ReLU()\n"
        "  (3): relu\n"
        "  (4): Sequential(\n"
        "    (0): Dropout(p=0.1)\n"
        "    (1): Linear(in_features=3, out_features=2, bias=False)\n"
        "  )\n"
        ")"
    )
    assert repr(Net()).splitlines()[1] == "  (blocks.0): Block("


def test_copies_are_independent(net):
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        twin.scale.data += 1
        assert net.scale.data[0] == 2
        assert list(twin.state_dict()) == NAMES
        assert all(tensor.requires_grad for tensor in twin.parameters())
