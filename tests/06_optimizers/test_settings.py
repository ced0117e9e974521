"""Settings of any type of number, and refusals of the rest."""

import json

import numpy as np
import pytest

from tinytorch.core.optimizers import (
    SGD,
    Adam,
    AdamW,
    CosineAnnealingLR,
    OneCycleLR,
    Scheduler,
    StepLR,
    clip_grad_norm,
)
from tinytorch.core.tensor import Tensor


def w(grad=None):
    tensor = Tensor([3.0, 4.0], requires_grad=True)
    tensor.grad = None if grad is None else np.float32(grad)
    return tensor


def changed(tensor=None, **values):
    tensor = w() if tensor is None else tensor
    for name, value in values.items():
        setattr(tensor, name, value)
    return tensor


def load_entry(name):
    optimizer = SGD([w()], 0.1)
    optimizer.load_state_dict({**optimizer.state_dict(), name: 1})


def test_state_is_of_python_numbers():
    one, rate = np.int64(3), np.float32(0.5)
    for optimizer in (SGD([w()], rate, np.float64(0.5), np.bool_(True), rate), Adam([w()], rate, (rate, rate), rate)):
        optimizer.lr = rate
        for schedule in (
            StepLR(optimizer, one, rate),
            CosineAnnealingLR(optimizer, one, rate),
            OneCycleLR(optimizer, rate, one, rate, np.float32(5), one),
        ):
            schedule.base_lr, schedule.own = np.float32(0.5), np.int64(7)
            schedule.step()
            for part in (schedule, optimizer):
                state = part.state_dict()
                assert all(
                    type(v) in (int, float, bool) for k, v in state.items() if "buffer" not in k and "exp" not in k
                )
                json.dumps(schedule.state_dict())
                part.load_state_dict({name: np.asarray(v)[()] for name, v in state.items()})
                assert all(type(v) in (int, float, bool) for v in schedule.state_dict().values())


def test_loading_a_schedule_sets_the_rate_at_once():
    """0.01 was 1.0 until the next step."""
    for make in (lambda o: StepLR(o, 1, 0.1), lambda o: CosineAnnealingLR(o, 5), lambda o: OneCycleLR(o, 2.0, 9)):
        old, new = SGD([w()], 1.0), SGD([w()], 1.0)
        run, again = make(old), make(new)
        run.step()
        run.step()
        again.load_state_dict(run.state_dict())
        assert new.lr == old.lr != 1.0 and again.last_step == 2
        run.step()
        again.step()
        assert new.lr == old.lr


def test_clipping_a_single_tensor_and_a_generator():
    a = w([3.0, 4.0])
    assert clip_grad_norm(a, 1.0) == 5 and np.allclose(a.grad, [0.6, 0.8], atol=1e-6)
    a, b = w([3.0, 0.0]), w([0.0, 4.0])
    assert clip_grad_norm((p for p in (a, b)), np.float32(1)) == 5 and np.allclose(b.grad, [0, 0.8], atol=1e-6)
    shared = w()
    other = w()
    shared.grad = other.grad = np.float32([3.0, 4.0])
    assert clip_grad_norm([shared, other], 1.0) == pytest.approx(50**0.5)
    assert np.allclose(shared.grad, np.float32([3, 4]) / 50**0.5, atol=1e-6)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("grad", [[3.0, 4.0], [0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0], [1e-30, 0.0]], ids=str)
def test_clipping_beside_pytorch(grad):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    mine, theirs = (w(grad), w([1.0, 1.0])), [torch.ones(2, requires_grad=True) for _ in range(2)]
    theirs[0].grad, theirs[1].grad = torch.tensor(grad), torch.ones(2)
    assert np.isclose(clip_grad_norm(mine, 1.0), torch.nn.utils.clip_grad_norm_(theirs, 1.0).item(), equal_nan=True)
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    ("act", "kind", "said"),
    [
        (lambda: Adam([w()], betas=0.9), TypeError, r"betas are two numbers.* got 0.9: \(0.9, 0.999\) is usual"),
        (lambda: AdamW([w()], betas=(0.9,)), TypeError, r"two numbers.* got \(0.9,\)"),
        (lambda: Adam([w()], betas=("a", 0.9)), TypeError, "beta1 must be a number, got 'a'"),
        (lambda: SGD([w()], "fast"), TypeError, "lr must be a number, got 'fast'"),
        (lambda: SGD([w()], 10**400), ValueError, "lr must be a finite number, got 10000"),
        (lambda: SGD([w()], 0.1, 0.9, "no"), TypeError, "nesterov takes True or False, got 'no'"),
        (
            lambda: SGD([w() * 2.0], 0.1),
            ValueError,
            r"parameter 0 is the result of multiply.*Tensor\(array, requires_grad",
        ),
        (lambda: StepLR(SGD([w()], 0.1), 1, 10**400), ValueError, "gamma must be a finite number"),
        (
            lambda: OneCycleLR(SGD([w()], 0.1), 1, 10**400),
            ValueError,
            "total_steps counts steps .*: no run has so many",
        ),
        (
            lambda: clip_grad_norm(changed(grad=[3.0, 4.0]), 1),
            TypeError,
            r"grad of parameter 0 is an array of shape \(2,\)",
        ),
        (lambda: clip_grad_norm(changed(grad=Tensor([3.0, 4.0])), 1), TypeError, "a Tensor has .data"),
        (lambda: load_entry("².step"), ValueError, "no place for '².step'"),
        (lambda: load_entry("00.step"), ValueError, "no place for '00.step'"),
        (lambda: SGD([w()], None), TypeError, "lr must be a number, got None"),
        (lambda: SGD([w()], np.nan), ValueError, "lr must be a finite number, got nan"),
        (lambda: SGD([w()], [0.1]), TypeError, r"lr must be a number, got \[0.1\]"),
        (lambda: StepLR(SGD([w()], 0.1), 2.5), TypeError, "step_size counts steps, so it is a whole number, got 2.5"),
        (lambda: CosineAnnealingLR(SGD([w()], 0.1), "9"), TypeError, "T_max counts steps"),
        (lambda: OneCycleLR(SGD([w()], 0.1), 1, 10.0), TypeError, r"total_steps .*epochs \* len\(loader\)"),
        (lambda: OneCycleLR(SGD([w()], 0.1), 1, 10, div_factor=0), ValueError, "div_factor divides the rate"),
        (lambda: Scheduler(None), TypeError, "takes the optimizer first, got NoneType"),
        (lambda: clip_grad_norm(None, 1.0), TypeError, "expected Tensors, got NoneType"),
        (lambda: clip_grad_norm([w().data], 1.0), TypeError, "got a ndarray among them"),
        (lambda: clip_grad_norm(w([1.0, 1.0]), "1"), TypeError, "max_norm must be a number, got '1'"),
        (lambda: clip_grad_norm(w([1.0, 1.0]), None), TypeError, "max_norm must be a number"),
    ],
)
def test_refusals(act, kind, said):
    with pytest.raises(kind, match=said):
        act()


@pytest.mark.parametrize("make", [lambda p: SGD(p, 0.1, 0.9), lambda p: Adam(p, 0.1)])
@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        ({"data": np.array([1, 2])}, TypeError, "data of parameter 0 is an array of floats, got int64"),
        ({"data": [1.0, 2.0]}, TypeError, "data of parameter 0 is an array of floats, got list"),
        (
            {"data": np.ones((2, 2)), "grad": np.ones((2, 2))},
            ValueError,
            r"shape \(2, 2\), its .* \(2,\): make a new opt",
        ),
        ({"grad": np.ones(1)}, ValueError, r"grad of parameter 0 has shape \(1,\) and should have \(2,\)"),
        ({"grad": np.ones((2, 2))}, ValueError, r"\(2, 2\) and should have \(2,\)"),
        ({"grad": [1.0, 2.0]}, TypeError, r"is an array of shape \(2,\), or None, got \[1.0, 2.0\]"),
        ({"grad": Tensor([1.0, 2.0])}, TypeError, "got Tensor.*: a Tensor has .data"),
    ],
)
def test_what_was_assigned_between_two_steps_fits_or_is_named(make, values, kind, said):
    p = w([1.0, 1.0])
    optimizer = make([p])
    optimizer.step()
    before = p.data.copy()
    changed(p, **values)
    with pytest.raises(kind, match=said):
        optimizer.step()
    assert "data" in values or np.array_equal(p.data, before)


def test_a_number_that_was_assigned_is_moved():
    """NumPy's arithmetic on an array without axes gives a scalar, which no step could write into."""
    p = Tensor(1.0, requires_grad=True)
    p.data = p.data * 0.5
    p.grad = np.ones((), np.float32)
    SGD([p], 0.25).step()
    assert p.item() == 0.25


@pytest.mark.parametrize(
    ("make", "name", "value", "said"),
    [
        (lambda: SGD([w()], 0.1), "lr", "x", "lr must be a number, got 'x'"),
        (lambda: SGD([w()], 0.1), "lr", -1.0, "lr must be at least 0, got -1.0"),
        (lambda: SGD([w()], 0.1, 0.9), "momentum", 1, "momentum must be at least 0 and below 1"),
        (lambda: SGD([w()], 0.1, 0.9), "nesterov", 3, "nesterov takes True or False"),
        (lambda: Adam([w()]), "beta1", None, "beta1 must be a number"),
        (lambda: AdamW([w()]), "weight_decay", float("nan"), "weight_decay must be a finite number"),
        (lambda: StepLR(SGD([w()], 0.1), 3), "step_size", 0, "step_size counts steps, so it is at least 1"),
    ],
)
def test_a_setting_assigned_later_is_checked(make, name, value, said):
    part = make()
    before = getattr(part, name)
    with pytest.raises((TypeError, ValueError), match=said):
        setattr(part, name, value)
    assert getattr(part, name) == before
