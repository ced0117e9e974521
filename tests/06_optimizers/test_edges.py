"""Lengths beyond a dtype, settings that change, states that do not fit, schedules of a few steps."""

import numpy as np
import pytest

from tinytorch.core.optimizers import SGD, Adam, CosineAnnealingLR, OneCycleLR, StepLR, clip_grad_norm
from tinytorch.core.tensor import Tensor


def w(grad=(3.0, 4.0), dtype="float32"):
    tensor = Tensor(np.ones(2), dtype=dtype, requires_grad=True)
    tensor.grad = np.array(grad, dtype)
    return tensor


@pytest.mark.parametrize(
    ("grad", "dtype", "norm"),
    [([300, 400], "float16", 500), ([3e160, 4e160], "float64", 5e160), ([3e25, 4e25], "float32", 5e25)],
)
def test_clipping_gradients_whose_squares_overflow(grad, dtype, norm):
    p = w(grad, dtype)
    assert clip_grad_norm([p, p], 1.0) == pytest.approx(norm * 2**0.5, rel=1e-6)
    p = w(grad, dtype)
    assert clip_grad_norm([p], 1.0) == pytest.approx(norm, rel=1e-6)
    assert p.grad.dtype == dtype and np.allclose(p.grad, [0.6, 0.8], atol=1e-3)
    before = p.grad
    assert clip_grad_norm(p, 2.0) == pytest.approx(1, rel=1e-3) and p.grad is before


def test_clipping_takes_any_limit_and_keeps_the_dtype():
    p = w()
    assert clip_grad_norm(p, float("inf")) == 5 and p.grad.tolist() == [3, 4]
    for limit in (np.float64(1), np.float32(1), np.int64(1)):
        p = w()
        assert clip_grad_norm(p, limit) == 5 and p.grad.dtype == np.float32 and np.allclose(p.grad, [0.6, 0.8])
    for limit in (0, -1, np.nan):
        with pytest.raises(ValueError, match="max_norm must be"):
            clip_grad_norm(p, limit)


@pytest.mark.parametrize("lr", [np.inf, -np.inf, np.nan])
def test_a_rate_is_finite(lr):
    with pytest.raises(ValueError, match=f"lr must be a finite number, got {lr}"):
        SGD([w()], lr)


def test_momentum_that_is_set_later_or_loaded():
    p = w()
    sgd = SGD([p], 1.0)
    sgd.step()
    sgd.momentum = 0.5
    sgd.step()
    sgd.step()
    assert p.numpy().tolist() == [1 - 3 - 3 - 4.5, 1 - 4 - 4 - 6]
    taker = SGD([w()], 0.1)
    taker.load_state_dict(sgd.state_dict())
    assert (taker.momentum, taker.lr) == (0.5, 1.0)
    taker.step()
    assert taker.parameters[0].numpy().tolist() == [1 - 3 - 2.25, 1 - 4 - 3]
    taker.momentum = 0.0
    assert list(taker.state_dict()) == ["lr", "momentum", "nesterov", "weight_decay", "0.step"]
    taker.step()
    SGD([w()], 0.1).load_state_dict(taker.state_dict())
    early = SGD([w()], 1.0)
    early.step()
    early.momentum = 0.5
    assert early.state_dict()["0.momentum_buffer"].tolist() == [0, 0]


def test_a_state_without_steps_is_taken_after_steps():
    sgd = SGD([w()], 1.0, momentum=0.5)
    fresh = sgd.state_dict()
    sgd.step()
    sgd.load_state_dict(fresh)
    sgd.step()
    assert sgd.state_dict()["0.step"] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": -1},
        {"lr": "a"},
        {"momentum": 5},
        {"nesterov": "x"},
        {"weight_decay": None},
        {"0.step": "x"},
        {"0.step": -5},
        {"0.step": 1.5},
        {"0.momentum_buffer": ["a", "b"]},
        {"lr": 0.5, "momentum": 0, "nesterov": True},
    ],
    ids=str,
)
def test_an_optimizers_state_is_checked_before_anything_changes(wrong):
    sgd = SGD([w()], 0.1, momentum=0.9, nesterov=True)
    sgd.step()
    before = sgd.state_dict()
    with pytest.raises((TypeError, ValueError), match=next(reversed(wrong)).removeprefix("0.")):
        sgd.load_state_dict({**before, "weight_decay": 0.3, **wrong})
    assert str(sgd.state_dict()) == str(before)


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda o: StepLR(o, 2), {"step_size": 0}),
        (lambda o: StepLR(o, 2), {"gamma": "a"}),
        (lambda o: StepLR(o, 2), {"last_step": "x"}),
        (lambda o: StepLR(o, 2), {"last_step": -5}),
        (lambda o: StepLR(o, 2), {"base_lr": float("nan")}),
        (lambda o: CosineAnnealingLR(o, 2), {"T_max": 0}),
        (lambda o: OneCycleLR(o, 1.0, 5), {"last_step": 99}),
        (lambda o: OneCycleLR(o, 1.0, 5), {"up": "a"}),
    ],
)
def test_a_schedules_state_is_checked_before_anything_changes(make, wrong):
    schedule = make(SGD([w()], 0.1))
    before, lr = schedule.state_dict(), schedule.optimizer.lr
    with pytest.raises((TypeError, ValueError), match=f"{next(iter(wrong))} |this is step 99"):
        schedule.load_state_dict({**before, "base_lr": 3.0, **wrong})
    assert schedule.state_dict() == before and schedule.optimizer.lr == lr


def test_a_state_of_arrays_without_axes_gives_numbers():
    sgd, other = SGD([w()], 0.25, momentum=0.5, nesterov=True), SGD([w()], 0.1)
    sgd.step()
    other.load_state_dict({name: np.asarray(value) for name, value in sgd.state_dict().items()})
    assert [type(x) for x in (other.lr, other.nesterov, other.state[0]["step"])] == [float, bool, int]
    adam = Adam([w()])
    adam.load_state_dict({name: np.asarray(value) for name, value in adam.state_dict().items()})
    assert type(adam.beta1) is float and adam.eps == 1e-8


@pytest.mark.parametrize(
    ("total", "pct", "expected"),
    [
        (4, 0.0, [0.08535534, 0.05, 0.01464466, 0]),
        (3, 0.3, [0.0994416, 0.0462635, 0]),
        (1, 0.3, [0]),
        (4, 0.25, [0.004, 0.075, 0.025, 0]),
    ],
)
def test_one_cycle_of_a_few_steps(total, pct, expected):
    """PyTorch's numbers; with pct_start * total_steps = 1 it divides by zero, where ours begins at the bottom."""
    sgd, found = SGD([w()], 0.1), []
    schedule = OneCycleLR(sgd, 0.1, total, pct_start=pct)
    for _ in range(total):
        found.append(sgd.lr)
        schedule.step()
    assert np.allclose(found, expected, atol=1e-6)
