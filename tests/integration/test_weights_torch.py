"""Saved weights are PyTorch's: names and shapes fit its layers as they are, and the answers agree."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "milestones" / "04_1998_cnn"))

from networks import wide_cnn

from tinytorch import Tensor, manual_seed, nn, no_grad, optim
from tinytorch.core.losses import cross_entropy
from tinytorch.core.spatial import digits_cnn
from tinytorch.core.training import Trainer, load_weights, save_weights, training_step
from tinytorch.data.loader import DataLoader, TensorDataset

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")
pytestmark = pytest.mark.parity


def normalised():
    """A network with batch normalisation and the mean of each channel."""
    block = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(8)
    return nn.Sequential(*block, nn.GlobalAvgPool2d(), nn.Linear(8, 10))


def twin(kind):
    """The same network in PyTorch."""
    t = torch.nn
    if kind is digits_cnn:
        return t.Sequential(t.Conv2d(1, 8, 3), t.ReLU(), t.MaxPool2d(2), t.Flatten(), t.Linear(72, 10))
    if kind is normalised:
        block = t.Conv2d(3, 8, 3, padding=1), t.ReLU(), t.MaxPool2d(2), t.BatchNorm2d(8)
        mean = t.Sequential(t.AdaptiveAvgPool2d(1), t.Flatten())  # no weights: the numbering stays
        return t.Sequential(*block, mean, t.Linear(8, 10))
    first = t.Conv2d(3, 32, 3, padding=1), t.ReLU(), t.MaxPool2d(2)
    second = t.Conv2d(32, 64, 3, padding=1), t.ReLU(), t.MaxPool2d(2)
    return t.Sequential(*first, *second, t.Flatten(), t.Linear(4096, 128), t.ReLU(), t.Linear(128, 10))


def trained(kind, images, labels):
    """A network whose weights and biases have moved from where they began."""
    manual_seed(3)
    model = kind()
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for _ in range(3):
        training_step(model, optimizer, cross_entropy, Tensor(images), Tensor(labels))
    return model.eval()


def batch(kind, count=12):
    generator, shape = np.random.default_rng(7), (1, 8, 8) if kind is digits_cnn else (3, 32, 32)
    return generator.normal(size=(count, *shape)).astype(np.float32), np.arange(count) % 10


@pytest.mark.parametrize("kind", [digits_cnn, wide_cnn, normalised])
def test_pytorch_loads_the_file_and_gives_the_same_logits(tmp_path, kind):
    from safetensors.torch import load_file

    images, labels = batch(kind)
    model = trained(kind, images, labels)
    save_weights(tmp_path / "net.safetensors", model)
    theirs = twin(kind)
    assert theirs.load_state_dict(load_file(tmp_path / "net.safetensors"), strict=True)
    with no_grad(), torch.no_grad():
        ours, expected = model(Tensor(images)).numpy(), theirs.eval()(torch.from_numpy(images)).numpy()
    assert np.abs(expected).max() > 0.1, "a network that answers nothing proves nothing"
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())
    assert all(np.any(array != 0) for name, array in model.state_dict().items() if "bias" in name)


def test_what_pytorch_saves_comes_back(tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(0)
    theirs, images = twin(wide_cnn), batch(wide_cnn)[0]
    save_file(theirs.state_dict(), tmp_path / "theirs.safetensors")
    model = wide_cnn()
    model.load_state_dict(load_weights(tmp_path / "theirs.safetensors"))
    with no_grad(), torch.no_grad():
        ours, expected = model(Tensor(images)).numpy(), theirs(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


def test_a_checkpoint_of_training_holds_the_weights_under_model(tmp_path):
    from safetensors.torch import load_file

    images, labels = batch(digits_cnn)
    manual_seed(0)
    model = digits_cnn()
    loader = DataLoader(TensorDataset(images, labels), 6)
    Trainer(model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9)).fit(
        loader, epochs=1, checkpoint=tmp_path / "run.safetensors", progress=False
    )
    state = load_file(tmp_path / "run.safetensors")
    theirs = twin(digits_cnn)
    theirs.load_state_dict({key[6:]: array for key, array in state.items() if key.startswith("model.")})
    with no_grad(), torch.no_grad():
        ours, expected = model(Tensor(images)).numpy(), theirs(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())
