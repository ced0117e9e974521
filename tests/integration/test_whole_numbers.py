"""One rule for integers and booleans: where arithmetic is real they become float32, and no result is cast back."""

import numpy as np
import pytest

from tinytorch import nn
from tinytorch.core import activations, layers, losses, tensor
from tinytorch.core.tensor import Tensor, manual_seed
from tinytorch.data.loader import DataLoader, Normalize, RandomBrightness, TensorDataset, channel_statistics

DTYPES = ("uint8", "int8", "int64", "bool")
BIG = {"uint8": [[200, 3, 255], [0, 100, 7]], "int8": [[-128, 3, 127], [0, -100, 7]]}


def whole(dtype, order=0):
    """Numbers (2, 3) that a product, a difference or a minus sign overflows in their own dtype."""
    numbers = np.array(BIG.get(dtype, [[1, 0, 3], [0, 12, 7]]))
    return np.roll(numbers, order, axis=1).astype(dtype)


def same(function, *arrays):
    """function(whole numbers) must be function(the same numbers as float32), in floats."""
    with np.errstate(all="ignore"):
        got = function(*(Tensor(a) if isinstance(a, np.ndarray) else a for a in arrays))
        want = function(*(Tensor(a.astype(np.float32)) if isinstance(a, np.ndarray) else a for a in arrays))
    assert got.dtype == want.dtype == np.float32
    np.testing.assert_allclose(got.data, want.data, rtol=1e-6)


FUNCTIONS = {
    **{name: getattr(activations, name) for name in "tanh leaky_relu sigmoid gelu softmax log_softmax".split()},
    "exact gelu": lambda x: activations.gelu(x, approximate="none"),
    "exp": tensor.exp,
    "log": lambda x: tensor.log(x * 1 + 129),
    "sqrt": lambda x: tensor.sqrt(x * x),
    "mean": tensor.mean,
    "mean of rows": lambda x: x.mean(axis=1),
    "division": lambda x: x / 7,
    "division of whole numbers": lambda x: x / Tensor(np.array([3, 7, 9])),
    "a whole divisor": lambda x: 7 / (x * 1 + 200),
    "scaling": lambda x: x * 0.5,
    "root as power": lambda x: (x * 1 + 200) ** 0.5,
    "Linear": lambda x: _seeded(lambda: nn.Linear(3, 2))(x),
    "Dropout": lambda x: _seeded(lambda: nn.Dropout(0.5))(x),
    "layers": lambda x: _seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 2)))(x),
}


def _seeded(make):
    manual_seed(0)
    made = make()
    return made


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_and_layers(name, dtype):
    if name in ("log", "sqrt", "a whole divisor", "root as power"):
        x = whole("int64" if dtype in BIG else dtype)
        same(FUNCTIONS[name], x.astype("int64"))
    else:
        same(FUNCTIONS[name], whole(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", [(0,), (1,), (2,), (0, 1), (0, 1, 2)], ids=str)
def test_linear_in_each_position(which, dtype):
    inputs = [whole(dtype), whole(dtype, 1), whole(dtype)[0, :2]]
    same(layers.linear, *(a if i in which else Tensor(a.astype(np.float32) / 3) for i, a in enumerate(inputs)))


PAIRS = {
    "mse": losses.mse_loss,
    "mse, sum": lambda p, t: losses.mse_loss(p, t, reduction="sum"),
    "mse, none": lambda p, t: losses.mse_loss(p, t, reduction="none"),
    "MSELoss": nn.MSELoss(),
}
SHARES = {
    "bce": losses.binary_cross_entropy_with_logits,
    "bce, sum": lambda x, t: losses.binary_cross_entropy_with_logits(x, t, reduction="sum"),
    "bce, none": lambda x, t: losses.binary_cross_entropy_with_logits(x, t, reduction="none"),
    "BCEWithLogitsLoss": nn.BCEWithLogitsLoss("none"),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", [(0,), (1,), (0, 1)], ids=str)
@pytest.mark.parametrize("name", [*PAIRS, *SHARES])
def test_losses_in_each_position(name, which, dtype):
    targets = np.array([[0, 1, 1], [1, 0, 0]]).astype(dtype) if name in SHARES else whole(dtype, 1)
    inputs = [whole(dtype), targets]
    halves = [whole(dtype).astype(np.float32) / 2, np.float32([[0.5, 1, 0], [0.25, 0, 0.75]])]
    function = {**PAIRS, **SHARES}[name]
    same(function, *(a if i in which else Tensor(halves[i]) for i, a in enumerate(inputs)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.1}, {"weight": [1, 2, 3]}, {"reduction": "none"}])
def test_cross_entropy_of_whole_logits(dtype, settings):
    same(lambda x: losses.cross_entropy(x, Tensor([2, 0]), **settings), whole(dtype))
    assert losses.accuracy(whole(dtype), [0, 1]) == losses.accuracy(whole(dtype).astype(float), [0, 1])


def test_the_figures_of_the_finding():
    assert losses.mse_loss(Tensor([1, 2]), [2.5, 2.0]).item() == 1.125
    assert losses.mse_loss(Tensor(np.uint8([1, 200])), Tensor(np.uint8([2, 0]))).item() == (1 + 200**2) / 2
    assert Tensor(np.uint8([3])).exp().dtype == np.float32  # NumPy's own answer is float16
    np.testing.assert_allclose(activations.sigmoid(Tensor(np.uint8([3]))).data, [0.95257413], rtol=1e-6)


def test_gradients_flow_past_whole_numbers():
    w = Tensor(np.float32([[0.5, -1.0, 2.0]]), requires_grad=True)
    layers.linear(Tensor(np.uint8([[200, 3, 255]])), w).sum().backward()
    assert w.grad.dtype == np.float32 and w.grad.tolist() == [[200.0, 3.0, 255.0]]
    p = Tensor([0.5, 1.5], requires_grad=True)
    losses.mse_loss(p, Tensor(np.uint8([1, 0]))).backward()
    assert p.grad.dtype == np.float32 and p.grad.tolist() == [-0.5, 1.5]


def test_labels_and_indices_stay_whole():
    assert Tensor([1, 2]).dtype == np.int64 and (Tensor([1, 2]) + 1).dtype == np.int64
    assert Tensor([1, 2]).sum().dtype == np.int64 and activations.relu(Tensor([-1, 2])).dtype == np.int64
    assert nn.Flatten()(Tensor(np.zeros((2, 2, 2), np.uint8))).dtype == np.uint8


@pytest.mark.parametrize("dtype", ["int64", "int8", "bool", "uint8"])
def test_transforms(dtype):
    images = np.random.default_rng(0).integers(0, 2, (4, 2, 3, 3)).astype(dtype)
    mean, std = channel_statistics(images)
    assert mean.dtype == std.dtype == np.float32
    scale = 255 if dtype == "uint8" else 1
    norm = Normalize(mean, std)
    np.testing.assert_allclose(norm(images), norm(images / np.float32(scale)), rtol=1e-5)
    bright = RandomBrightness(0.5)(images, 0)
    assert bright.dtype == (np.uint8 if dtype == "uint8" else np.float32)
    if dtype != "uint8":
        np.testing.assert_array_equal(bright, RandomBrightness(0.5)(images.astype(np.float32), 0))
    for x, _ in DataLoader(TensorDataset(images, np.zeros(4, int)), 4, transform=Normalize(mean, std)):
        assert x.dtype == np.float32
