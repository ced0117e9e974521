"""From pixels to predictions: every module at work on the 8x8 digits."""

from importlib.util import find_spec

import numpy as np
import pytest

from tinytorch import Trainer, manual_seed, nn, optim
from tinytorch.core.losses import cross_entropy
from tinytorch.core.tensor import Tensor
from tinytorch.data.loader import DataLoader, TensorDataset, digits

if find_spec("sklearn") is None:  # its import takes a second
    pytest.skip("scikit-learn is not installed", allow_module_level=True)


def digits_cnn():
    manual_seed(3)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 10))


@pytest.fixture(scope="module")
def run():
    """A network of 810 parameters before and after four epochs, its gradients at the start, and the history."""
    train_x, train_y, test_x, test_y = digits(3)
    model = digits_cnn()
    before = model.state_dict()
    start = cross_entropy(model(Tensor(train_x[:200])), Tensor(train_y[:200]))
    start.backward()
    gradients = {name: parameter.grad.copy() for name, parameter in model.named_parameters()}
    trainer = Trainer(model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
    train = DataLoader(TensorDataset(train_x, train_y), 32, shuffle=True, seed=3)
    history = trainer.fit(train, DataLoader(TensorDataset(test_x, test_y), 360), epochs=4, progress=False)
    return {"model": model, "before": before, "start": start.item(), "gradients": gradients, "history": history}


def test_the_network_has_810_parameters_and_starts_at_chance(run):
    assert run["model"].parameter_count() == 810
    assert abs(run["start"] - np.log(10)) < 1.0


def test_four_epochs_teach_it_most_digits(run):
    losses, scores = run["history"].column("train_loss"), run["history"].column("test_accuracy")
    assert losses[-1] < 0.5 * losses[0]
    assert scores[-1] > 0.9


def test_every_parameter_has_had_a_gradient_and_moved(run):
    after = run["model"].state_dict()
    assert set(run["gradients"]) == set(after) == {"0.weight", "0.bias", "4.weight", "4.bias"}
    for name, gradient in run["gradients"].items():
        assert np.abs(gradient).max() > 1e-4, f"{name} has no gradient"
        assert np.abs(after[name] - run["before"][name]).max() > 1e-2, f"{name} has not moved"


def test_no_filter_is_left_behind(run):
    moved = np.abs(run["model"].state_dict()["0.weight"] - run["before"]["0.weight"])
    assert (moved.reshape(8, -1).max(axis=1) > 1e-3).sum() >= 6


def test_one_batch_can_be_learned_by_heart():
    train_x, train_y, _, _ = digits(3)
    model, images, labels = digits_cnn(), Tensor(train_x[:60]), Tensor(train_y[:60])
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for _ in range(120):
        optimizer.zero_grad()
        loss = cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
