"""The same steps as PyTorch, to 1e-6, for every setting."""

import warnings

import numpy as np
import pytest

from tinytorch.core import optimizers
from tinytorch.core.tensor import Tensor

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
pytestmark = pytest.mark.parity

CASES = [
    ("SGD", dict(lr=0.1)),
    ("SGD", dict(lr=0.1, weight_decay=0.05)),
    ("SGD", dict(lr=0.05, momentum=0.9)),
    ("SGD", dict(lr=0.05, momentum=0.9, nesterov=True)),
    ("SGD", dict(lr=0.05, momentum=0.8, weight_decay=0.1)),
    ("SGD", dict(lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)),
    ("Adam", dict(lr=0.01)),
    ("Adam", dict(lr=0.01, betas=(0.8, 0.99), eps=1e-4, weight_decay=0.1)),
    ("AdamW", dict(lr=0.01)),
    ("AdamW", dict(lr=0.01, betas=(0.7, 0.9), weight_decay=0.3)),
]


def both(name, settings, seed=0):
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape, dtype=np.float32) for shape in ((5, 3), (3,), (210, 170))]
    ours = [Tensor(a.copy(), requires_grad=True) for a in arrays]
    theirs = [torch.nn.Parameter(torch.from_numpy(a.copy())) for a in arrays]
    return ours, theirs, getattr(optimizers, name)(ours, **settings), getattr(torch.optim, name)(theirs, **settings)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_optimizer(name, settings):
    ours, theirs, optimizer, reference = both(name, settings)
    rng = np.random.default_rng(1)
    for step in range(12):
        for number, (p, q) in enumerate(zip(ours, theirs, strict=True)):
            grad = rng.standard_normal(p.shape, dtype=np.float32)
            p.grad, q.grad = (None, None) if number == 1 and step % 3 == 0 else (grad, torch.from_numpy(grad))
        optimizer.step()
        reference.step()
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(p.data, q.detach().numpy(), rtol=1e-6, atol=1e-6)


def pair(lr):
    ours = optimizers.SGD([Tensor(np.ones(2), requires_grad=True)], lr)
    return ours, torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr)


SCHEDULES = [
    ("StepLR", dict(step_size=4, gamma=0.3), 30),
    ("CosineAnnealingLR", dict(T_max=9), 30),
    ("CosineAnnealingLR", dict(T_max=7, eta_min=0.02), 30),
    ("OneCycleLR", dict(max_lr=0.5, total_steps=40), 40),
    ("OneCycleLR", dict(max_lr=0.05, total_steps=37, pct_start=0.21, div_factor=10.0, final_div_factor=100.0), 37),
]


@pytest.mark.parametrize(("name", "settings", "steps"), SCHEDULES)
def test_schedule(name, settings, steps):
    ours, theirs = pair(0.1)
    schedule = getattr(optimizers, name)(ours, **settings)
    extra = {"cycle_momentum": False} if name == "OneCycleLR" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about calling schedule.step() without optimizer.step()
        reference = getattr(torch.optim.lr_scheduler, name)(theirs, **settings, **extra)
        for step in range(steps):
            assert ours.lr == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-9, abs=1e-12), f"step {step}"
            schedule.step()
            reference.step()


@pytest.mark.parametrize("max_norm", [0.1, 3.0, 1000.0])
def test_clip(max_norm):
    ours, theirs, _, _ = both("SGD", {"lr": 0.1})
    rng = np.random.default_rng(2)
    for p, q in zip(ours[:2], theirs[:2], strict=True):
        p.grad = rng.standard_normal(p.shape, dtype=np.float32)
        q.grad = torch.from_numpy(p.grad.copy())
    norm = optimizers.clip_grad_norm(ours, max_norm)
    assert norm == pytest.approx(float(torch.nn.utils.clip_grad_norm_(theirs, max_norm)), rel=1e-6)
    for p, q in zip(ours[:2], theirs[:2], strict=True):
        np.testing.assert_allclose(p.grad, q.grad.numpy(), rtol=1e-6, atol=1e-7)
