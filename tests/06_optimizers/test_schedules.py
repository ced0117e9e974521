"""Learning-rate schedules: values, state, messages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinytorch.core.optimizers import SGD, CosineAnnealingLR, OneCycleLR, Scheduler, StepLR, anneal
from tinytorch.core.tensor import Tensor

KINDS = {
    "step": lambda o: StepLR(o, 3, 0.5),
    "cosine": lambda o: CosineAnnealingLR(o, 8, 0.01),
    "one cycle": lambda o: OneCycleLR(o, 0.7, 20),
}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def sgd(lr=0.1):
    return SGD([Tensor(np.ones(2), requires_grad=True)], lr)


def rates(schedule, steps):
    found = []
    for _ in range(steps):
        found.append(schedule.optimizer.lr)
        schedule.step()
    return found


def test_step():
    assert rates(StepLR(sgd(1.0), 2, 0.5), 5) == [1, 1, 0.5, 0.5, 0.25]


@given(st.floats(0, 10), st.floats(0, 10), st.floats(0, 1))
def test_anneal_stays_between_its_ends(start, end, share):
    assert min(start, end) - 1e-9 <= anneal(start, end, share) <= max(start, end) + 1e-9


@given(st.integers(1, 200), st.floats(0, 0.99))
def test_one_cycle_of_any_length_stays_in_bounds_and_ends_low(total, pct):
    found = rates(OneCycleLR(sgd(), 1.0, total, pct_start=pct), total)
    assert all(0 <= lr <= 1 + 1e-9 for lr in found) and (total < 4 or found[-1] < 1e-5)


@every_kind
def test_state_goes_on_exactly(make):
    whole, first, second = make(sgd()), make(sgd()), make(sgd(9.0))
    expected = rates(whole, 15)
    rates(first, 6)
    second.load_state_dict(first.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    assert rates(second, 9) == expected[6:]
    assert all(isinstance(value, int | float) for value in first.state_dict().values())


@every_kind
def test_rates_are_python_floats(make):
    optimizer = sgd()
    schedule = make(optimizer)
    schedule.step()
    assert type(optimizer.lr) is float


def test_who_steps_when():
    assert (StepLR.every, CosineAnnealingLR.every, OneCycleLR.every) == ("epoch", "epoch", "step")


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: StepLR(sgd(), 0), ValueError, "step_size counts steps"),
        (lambda: StepLR(sgd(), 2, -1), ValueError, "gamma must be at least 0"),
        (lambda: CosineAnnealingLR(sgd(), 0), ValueError, "T_max counts steps"),
        (lambda: OneCycleLR(sgd(), 0.1, 0), ValueError, r"epochs \* len\(loader\)"),
        (lambda: OneCycleLR(sgd(), 0.1, 5, pct_start=1.0), ValueError, "pct_start must be at least 0 and below 1"),
        (lambda: rates(OneCycleLR(sgd(), 0.1, 5), 6), ValueError, "made for 5 steps and this is step 6"),
        (lambda: StepLR([1], 2), TypeError, "takes the optimizer first, got list"),
        (lambda: Scheduler(sgd()), NotImplementedError, r"needs a get_lr\(n\)"),
        (lambda: StepLR(sgd(), 2).load_state_dict({"T_max": 3}), ValueError, "StepLR keeps step_size"),
    ],
)
def test_messages(make, kind, message):
    with pytest.raises(kind, match=message):
        make()
