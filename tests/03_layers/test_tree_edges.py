"""Trees of unusual make: layers beside a chain, other containers, cycles, equal names, states that do not fit."""

import collections
import dataclasses
import types

import numpy as np
import pytest

from tinytorch import nn
from tinytorch.core.tensor import Tensor


def weight():
    return Tensor([1.0], requires_grad=True)


def holding(value):
    net = nn.Module()
    net.inside = value
    return net


def test_layers_beside_a_chain_are_part_of_it():
    net = nn.Sequential(nn.Linear(2, 2))
    net.head, net.scale = nn.Linear(2, 2), weight()
    assert list(net.state_dict()) == ["scale", "0.weight", "0.bias", "head.weight", "head.bias"]
    assert len(net.parameters()) == 5 and "(head): Linear" in repr(net) and "(0): Linear" in repr(net)
    assert not net.eval().head.training and net.train().head.training


def test_a_subclass_of_a_chain_with_a_layer_of_its_own():
    class Chain(nn.Sequential):
        def __init__(self):
            self.first = nn.Linear(1, 1)
            super().__init__(nn.Linear(1, 1), nn.Sequential(nn.Linear(1, 1)))

    assert [name for name, _ in Chain().named_parameters()][::2] == ["first.weight", "0.weight", "1.0.weight"]


@pytest.mark.parametrize(
    "make",
    [
        collections.deque,
        collections.UserList,
        lambda x: collections.UserDict({0: x[0]}),
        lambda x: types.MappingProxyType({0: x[0]}),
    ],
    ids=["deque", "UserList", "UserDict", "proxy"],
)
def test_every_sequence_and_mapping_is_walked(make):
    net = holding(make([nn.Linear(1, 1)]))
    assert list(net.state_dict()) == ["inside.0.weight", "inside.0.bias"] and not net.eval().inside[0].training


@dataclasses.dataclass(slots=True)
class Parts:
    layer: object


HIDDEN = {
    "generator": lambda layer: (each for each in [layer]),
    "map": lambda layer: map(str, [layer]),
    "object array": lambda layer: np.array([layer, None], dtype=object),
    "SimpleNamespace": lambda layer: types.SimpleNamespace(layer=layer),
    "dataclass": Parts,
    "keys": lambda layer: {layer: 1}.keys(),
    "values": lambda layer: {1: [layer]}.values(),
    "set of tuples": lambda layer: {("a", layer)},
}


@pytest.mark.parametrize("make", HIDDEN.values(), ids=HIDDEN)
@pytest.mark.parametrize("part", [lambda: nn.Linear(1, 1), weight], ids=["layer", "tensor"])
def test_what_is_not_walked_is_refused(make, part):
    with pytest.raises(TypeError, match=r"inside is a \w+, .*make it a list"):
        holding(make(part())).parameters()


@pytest.mark.parametrize("make", [make for name, make in HIDDEN.items() if name not in ("generator", "map")])
def test_what_holds_no_layer_is_fine(make):
    assert holding(make("text")).parameters() == []


def test_cycles_are_refused_and_do_not_run_for_ever():
    parent, items = holding(nn.Linear(1, 1)), [nn.ReLU()]
    parent.inside.parent = parent
    for act in (parent.parameters, parent.state_dict):
        with pytest.raises(ValueError, match="inside leads back to the Module that holds it.*weakref"):
            act()
    assert len(parent.eval().modules()) == 2 and "(parent): ..." in repr(parent)
    items.append(items)
    with pytest.raises(ValueError, match=r"inside\[1\] is the list that it stands in"):
        holding(items).parameters()
    shared = [weight()]
    assert len(holding([shared, shared]).named_tensors()) == 2


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({0: weight(), "0": weight()}, r"inside\[0\] and inside\['0'\] are both called 'inside.0'"),
        ({"a.b": weight(), "a": {"b": weight()}}, r"inside\['a.b'\] and inside\['a'\]\['b'\] are both called"),
        ({"a": nn.Linear(1, 1), "a.weight": weight()}, r"inside\['a.weight'\] .* like a part of inside\['a'\]"),
    ],
)
def test_two_of_one_name_are_refused_with_both(value, said):
    with pytest.raises(ValueError, match=said):
        holding(value).state_dict()


def test_a_layer_beside_a_chain_that_is_called_like_one_of_it():
    net = nn.Sequential(nn.Linear(1, 1))
    setattr(net, "0", nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"layers\[0\] and 0 are both called '0'"):
        net.state_dict()


class Odd:
    def __init__(self, error):
        self.error = error

    def __array__(self, dtype=None, copy=None):
        raise self.error


@pytest.mark.parametrize(
    "value",
    [["a", "b"], [None, 1], [1 + 2j, 0], [[1], [1, 2]], Odd(RuntimeError("requires grad")), Odd(TypeError("BFloat16"))],
    ids=["text", "None", "complex", "uneven", "with a gradient", "bfloat16"],
)
def test_a_state_is_checked_before_anything_changes(value):
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    before = net.state_dict()
    with pytest.raises(TypeError, match=r"^1.bias (holds|is of|can't be made)"):
        net.load_state_dict({**{name: array + 1 for name, array in before.items()}, "1.bias": value})
    assert all(np.array_equal(array, before[name]) for name, array in net.state_dict().items())


def test_a_state_of_lists_and_tensors_is_taken():
    net = holding(Tensor([1.0, 2.0], requires_grad=True))
    net.load_state_dict({"inside": [3, 4]})
    assert net.inside.numpy().tolist() == [3, 4] and net.inside.dtype == np.float32
    net.load_state_dict({"inside": Tensor([5.0, 6.0])})
    assert net.inside.numpy().tolist() == [5, 6]


def test_weights_are_floats():
    net = nn.Linear(2, 2)
    for dtype in ("int64", "bool", "complex64", "text", None, 5):
        with pytest.raises(TypeError, match="expected a dtype of (floats|real numbers), got"):
            net.astype(dtype)
    assert net.astype(np.float64).weight.dtype == np.float64 and net.astype("float16").weight.dtype == np.float16


@pytest.mark.parametrize(
    ("act", "kind", "said"),
    [
        (lambda: nn.Sequential(nn.ReLU(), nn.Linear), TypeError, r"layer 1 is the class Linear itself.* Linear\(...\)"),
        (lambda: nn.Linear(1, 1).train("a"), TypeError, "train takes True or False, got 'a'"),
        (lambda: nn.Sequential(nn.ReLU())[5], IndexError, "there is no layer 5: the chain has 1"),
        (lambda: nn.Sequential(nn.ReLU())["a"], TypeError, r"got \['a'\]"),
    ],
)
def test_refusals(act, kind, said):
    with pytest.raises(kind, match=said):
        act()


def test_positions_and_modes_of_numpy():
    chain = nn.Sequential(nn.ReLU(), nn.Flatten())
    assert chain[np.int64(1)] is chain[-1] and len(list(chain)) == 2 and len(chain[:1]) == 1
    assert chain.train(np.False_).training is False and chain.train(1).training is True
