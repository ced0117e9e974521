"""linear, Linear, Sequential, Flatten and Dropout."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch.core.activations import ReLU, relu
from tinytorch.core.layers import Dropout, Flatten, Linear, Module, Sequential, linear
from tinytorch.core.tensor import Tensor, exp, manual_seed, neg

SIDES = st.integers(1, 6)


@given(lead=st.lists(st.integers(0, 4), max_size=3), inputs=SIDES, outputs=SIDES, bias=st.booleans())
def test_linear_values_and_shapes(lead, inputs, outputs, bias):
    random = np.random.default_rng(0)
    x = random.normal(size=(*lead, inputs)).astype(np.float32)
    weight, b = random.normal(size=(outputs, inputs)).astype(np.float32), random.normal(size=outputs).astype(np.float32)
    got = linear(Tensor(x), Tensor(weight), Tensor(b) if bias else None).numpy()
    want = np.einsum("...i,oi->...o", x.astype(np.float64), weight) + (b if bias else 0)
    assert got.shape == (*lead, outputs)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_linear_keeps_float64():
    one = Tensor([[1.0]], np.float64)
    assert linear(one, one, Tensor([1.0], np.float64)).dtype == np.float64


def test_wrong_features_names_both_numbers():
    with pytest.raises(ValueError, match=r"expects 3 features in the last axis, got 5 in an input of shape \(2, 5\)"):
        Linear(3, 4)(Tensor(np.ones((2, 5))))


def test_wrong_features_of_an_image_says_how_to_flatten():
    with pytest.raises(ValueError, match=r"Flatten\(\) or x.reshape\(32, 72\)"):
        Linear(72, 10)(Tensor(np.ones((32, 8, 3, 3))))


def test_wrong_features_of_a_single_number():
    with pytest.raises(ValueError, match="no axis"):
        Linear(3, 4)(Tensor(1.0))


@pytest.mark.parametrize("sizes", [(0, 3), (3, 0), (-1, 2)])
def test_linear_layer_refuses_sizes(sizes):
    with pytest.raises(ValueError, match=f"got {sizes[0]} and {sizes[1]}"):
        Linear(*sizes)


def test_he_initialisation():
    manual_seed(0)
    layer = Linear(500, 200)
    weight = layer.weight.numpy().astype(np.float64)
    assert weight.dtype == np.float64 and layer.weight.dtype == np.float32
    assert abs(weight.std() / math.sqrt(2 / 500) - 1) < 0.01
    assert abs((weight**4).mean() / weight.var() ** 2 - 3) < 0.1
    assert np.array_equal(layer.bias.numpy(), np.zeros(200))
    assert layer.bias.dtype == np.float32


def test_a_seed_repeats_the_weights():
    manual_seed(1)
    first = Linear(5, 4).state_dict()
    manual_seed(1)
    assert np.array_equal(Linear(5, 4).state_dict()["weight"], first["weight"])
    assert not np.array_equal(Linear(5, 4).state_dict()["weight"], first["weight"])


def test_signal_keeps_its_size_through_ten_layers():
    manual_seed(2)
    net = Sequential(*[part for _ in range(10) for part in (Linear(256, 256), ReLU())])
    out = net(Tensor(np.random.default_rng(0).normal(size=(64, 256)))).numpy()
    assert 0.5 < np.sqrt(np.mean(out**2)) < 2


def test_sequential_runs_in_order():
    x = Tensor([[0.5, -1.0]])
    assert np.allclose(Sequential(neg, exp)(x).numpy(), np.exp([[-0.5, 1.0]]))
    assert np.allclose(Sequential(exp, neg)(x).numpy(), -np.exp([[0.5, -1.0]]))
    assert Sequential()(x) is x


def test_sequential_is_a_sequence():
    layers = Linear(3, 2), relu, Linear(2, 1)
    net = Sequential(*layers)
    assert len(net) == 3
    assert net[0] is layers[0] and net[-1] is layers[2]
    assert list(net) == list(layers)
    assert isinstance(net[:2], Sequential) and list(net[:2]) == list(layers[:2])
    assert [name for name, _ in net.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]


@pytest.mark.parametrize("wrong", [[Linear(2, 2)], None, 3])
def test_sequential_refuses_what_is_not_a_layer(wrong):
    with pytest.raises(TypeError, match="layer 1 can't be called"):
        Sequential(Linear(2, 2), wrong)


class Fusing(Module):
    """Adds 1; offers one function for itself and a ReLU after it."""

    def __init__(self):
        self.calls = 0

    def forward(self, x):
        return x + 1

    def fuse(self, rest):
        return (self.both, 1) if rest and isinstance(rest[0], ReLU) else None

    def both(self, x):
        self.calls += 1
        return relu(x + 1)


@pytest.mark.parametrize("after, calls", [((ReLU(), neg), 1), ((neg, ReLU()), 0), ((), 0), ((ReLU(),), 1)])
def test_sequential_takes_a_fused_offer(after, calls):
    layer, x = Fusing(), Tensor([-3.0, 2.0])
    want = layer(x)
    for follower in after:
        want = follower(want)
    assert np.array_equal(Sequential(neg, neg, layer, *after)(x).numpy(), want.numpy())
    assert layer.calls == calls


def test_layers_offer_nothing_by_default():
    assert Linear(2, 2).fuse((ReLU(),)) is None


@given(shape=st.lists(st.integers(0, 4), min_size=1, max_size=5), start=st.integers(0, 4))
def test_flatten(shape, start):
    x = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    if start >= len(shape):
        with pytest.raises(ValueError, match=f"more axes than {len(shape)}"):
            Flatten(start)(Tensor(x))
        return
    got = Flatten(start)(Tensor(x)).numpy()
    assert got.shape == (*shape[:start], math.prod(shape[start:]))
    assert np.array_equal(got.ravel(), x.ravel())


def test_flatten_reads_through_any_memory_order():
    x = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype(np.float32).transpose(3, 0, 1, 2)
    assert np.array_equal(Flatten()(Tensor(x)).numpy(), x.reshape(2, -1))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_in_training(p, dtype):
    manual_seed(0)
    x = np.random.default_rng(0).normal(size=(200, 300)).astype(dtype) + 10
    got = Dropout(p)(Tensor(x, dtype)).numpy()
    on = got != 0
    assert got.dtype == dtype
    assert abs(on.mean() - (1 - p)) < 0.01
    np.testing.assert_allclose(got[on], x[on] / (1 - p), rtol=1e-6)


def test_dropout_in_use_is_nothing_at_all():
    x, layer = Tensor(np.ones((3, 4))), Dropout(0.5)
    layer.eval()
    assert layer(x) is x


def test_dropout_draws_anew_and_repeats_with_the_seed():
    x, layer = Tensor(np.ones((20, 30))), Dropout(0.5)
    manual_seed(4)
    first, second = layer(x).numpy(), layer(x).numpy()
    manual_seed(4)
    assert np.array_equal(layer(x).numpy(), first)
    assert not np.array_equal(first, second)


def test_dropout_keeps_memory_order():
    x = np.ones((3, 4, 5, 2), np.float32).transpose(3, 0, 1, 2)
    assert Dropout(0.5)(Tensor(x)).numpy().strides == x.strides


@pytest.mark.parametrize("p", [-0.1, 1.0, 1.5])
def test_dropout_refuses(p):
    with pytest.raises(ValueError, match=f"got {p}"):
        Dropout(p)


@pytest.mark.parametrize("wanted", [True, False])
@pytest.mark.parametrize("bias", [np.ones(1), np.ones((4, 1)), np.ones((1, 4)), 2.0])
def test_a_bias_of_another_shape_is_refused_with_gradients_and_without(wanted, bias):
    x, weight = Tensor(np.ones((2, 3)), requires_grad=wanted), Tensor(np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"linear: bias is \(4,\), one number for each row of weight \(4, 3\), got"):
        linear(x, weight, bias)
