"""SGD, Adam, AdamW and clipping: values, memory, state, messages."""

import numpy as np
import pytest

from tinytorch.core.optimizers import CHUNK, SGD, Adam, AdamW, Optimizer, clip_grad_norm
from tinytorch.core.tensor import Tensor

KINDS = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "decay": lambda p: SGD(p, lr=0.1, weight_decay=0.1),
    "momentum": lambda p: SGD(p, lr=0.1, momentum=0.9),
    "nesterov": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
    "adam": lambda p: Adam(p, lr=0.1, weight_decay=0.01),
    "adamw": lambda p: AdamW(p, lr=0.1),
}
every_kind = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)


def some(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape, dtype=np.float32) for shape in shapes]


def parameters(arrays):
    return [Tensor(a, requires_grad=True) for a in arrays]


def run(optimizer, steps, seed=1):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        for p in optimizer.parameters:
            p.grad = rng.standard_normal(p.shape, dtype=np.float32)
        optimizer.step()
    return [p.data.copy() for p in optimizer.parameters]


@every_kind
def test_float32_stays_float32_even_with_numpy_numbers(make):
    optimizer = make(parameters(some((3, 4), (5,))))
    optimizer.lr = float(np.float64(0.1))
    run(optimizer, 2)
    kept = [a for state in optimizer.state for name, a in state.items() if name != "step"]
    assert all(a.dtype == np.float32 for a in kept + [p.data for p in optimizer.parameters])


@every_kind
def test_float64_parameters_are_walked_in_float64(make):
    w = Tensor(np.ones(3), dtype="float64", requires_grad=True)
    optimizer = make([w])
    w.grad = np.full(3, 1e-3)
    optimizer.step()
    kept = [a for name, a in optimizer.state[0].items() if name != "step"]
    assert w.data.dtype == np.float64 and all(a.dtype == np.float64 for a in kept)


@every_kind
def test_the_array_a_parameter_was_made_from_is_not_touched(make):
    (start,) = some((4, 4))
    before, p = start.copy(), parameters([start])
    run(make(p), 3)
    assert np.array_equal(start, before) and not np.array_equal(p[0].data, before)


@every_kind
def test_after_the_first_step_the_array_is_written_in_place(make):
    p = parameters(some((4, 4)))
    optimizer = make(p)
    run(optimizer, 1)
    place = p[0].data.ctypes.data
    run(optimizer, 2)
    assert p[0].data.ctypes.data == place


@every_kind
def test_gradients_are_read_only_to_the_optimizer(make):
    (w,) = parameters(some((4, 4)))
    grad = np.ones((4, 4), np.float32)
    grad.flags.writeable = False
    w.grad = grad
    make([w]).step()
    assert np.array_equal(w.grad, np.ones((4, 4)))


@every_kind
def test_pieces_and_memory_orders_change_no_bit(make):
    """A large parameter, in any memory order, with gradients in any order, moves like its rows one by one."""
    start, *grads = some(*[(40, 30, 50)] * 4)
    assert start.size > CHUNK
    rows = parameters(start)
    whole = Tensor(np.ascontiguousarray(start.transpose(1, 2, 0)).transpose(2, 0, 1), requires_grad=True)
    order = np.argsort(whole.data.strides)
    first, second = make([whole]), make(rows)
    for grad, turned in zip(grads, (grads[0], np.asfortranarray(grads[1]), grads[2]), strict=True):
        whole.grad = turned
        for row, part in zip(rows, grad, strict=True):
            row.grad = part
        first.step()
        second.step()
    assert np.array_equal(whole.data, np.stack([row.data for row in rows]))
    assert np.array_equal(np.argsort(whole.data.strides), order), "a parameter keeps its memory order"


@every_kind
def test_parameters_without_gradient_stay_and_count_no_step(make):
    w, b = parameters(some((3,), (3,)))
    optimizer = make([w, b])
    w.grad = np.ones(3, np.float32)
    before = b.data.copy()
    optimizer.step()
    assert np.array_equal(b.data, before) and optimizer.state[1] == {} and optimizer.state[0]["step"] == 1


@every_kind
def test_scalars_and_empty_parameters(make):
    a, b = Tensor(2.0, requires_grad=True), Tensor(np.zeros((0, 3)), requires_grad=True)
    a.grad, b.grad = np.float32(1.0) * np.ones(()), np.zeros((0, 3), np.float32)
    make([a, b]).step()
    assert a.shape == () and a.item() < 2 and b.shape == (0, 3)


@every_kind
def test_zero_grad(make):
    optimizer = make(parameters(some((3,), (2,))))
    run(optimizer, 1)
    optimizer.zero_grad()
    assert [p.grad for p in optimizer.parameters] == [None, None]


@every_kind
def test_state_goes_on_bit_for_bit(make):
    start = some((200, 180), (7,))
    whole = make(parameters(start))
    run(whole, 3)
    expected = run(whole, 2, seed=2)
    first = make(parameters(start))
    middle = run(first, 3)
    state = first.state_dict()
    run(first, 1)  # what was saved must not move with the optimizer
    second = make(parameters(middle))
    second.lr = 77.0
    second.load_state_dict(state)
    assert all(np.array_equal(a, b) for a, b in zip(run(second, 2, seed=2), expected, strict=True))
    assert {k: np.shape(v) for k, v in second.state_dict().items()} == {k: np.shape(v) for k, v in state.items()}


def test_state_is_flat_and_named_as_in_pytorch():
    optimizer = Adam(parameters(some((2, 3), (3,))), lr=0.1)
    assert optimizer.state_dict() == {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
    run(optimizer, 2)
    state = optimizer.state_dict()
    assert state["1.step"] == 2 and state["0.exp_avg"].shape == (2, 3) and state["1.exp_avg_sq"].shape == (3,)
    assert all(isinstance(v, np.ndarray | float | int) for v in state.values())


def test_buffers_follow_when_the_weights_are_replaced():
    """Loading weights gives parameters new arrays, maybe in another memory order; the velocity must stay with them."""
    start, turned = some((300, 200))[0], None
    plain, loaded = SGD(parameters([start]), 0.1, 0.9), SGD(parameters([start]), 0.1, 0.9)
    run(plain, 2)
    turned = np.asfortranarray(run(loaded, 2)[0])
    loaded.parameters[0].data = turned
    assert np.array_equal(run(plain, 2, seed=5)[0], run(loaded, 2, seed=5)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update({"0.exp_avg": np.ones((9, 9))}), r"0\.exp_avg has shape \(9, 9\), but parameter 0 has"),
        (lambda s: s.update({"2.step": 1}), "Adam over 2 parameters has no place for '2.step'"),
        (lambda s: s.update({"0.momentum_buffer": np.zeros((2, 3))}), "no place for '0.momentum_buffer'"),
        (lambda s: s.pop("1.exp_avg"), "parameter 1 should hold step, exp_avg, exp_avg_sq; it holds step, exp_avg_sq"),
        (lambda s: s.pop("beta2"), "Adam keeps lr, beta1, beta2, eps, weight_decay; the state has"),
    ],
)
def test_a_wrong_state_changes_nothing(change, message):
    optimizer = Adam(parameters(some((2, 3), (3,))), lr=0.1)
    run(optimizer, 2)
    state, before = optimizer.state_dict(), optimizer.state_dict()
    state["lr"] = 5.0
    change(state)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state)
    after = optimizer.state_dict()
    assert after.keys() == before.keys() and all(np.array_equal(after[k], before[k]) for k in before)


W = Tensor(np.ones(2), requires_grad=True)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: SGD([], 0.1), ValueError, "at least one parameter"),
        (lambda: SGD(W, 0.1), TypeError, r"pass model\.parameters\(\), or \[w\]"),
        (lambda: SGD(3, 0.1), TypeError, "takes a list of Tensors, got int"),
        (lambda: SGD([W, np.ones(2)], 0.1), TypeError, "parameter 1 is a ndarray, not a Tensor"),
        (lambda: SGD([Tensor(np.ones(2))], 0.1), ValueError, "requires_grad=True"),
        (lambda: SGD([W, W], 0.1), ValueError, "parameters 0 and 1 are the same Tensor"),
        (lambda: SGD([W], -0.1), ValueError, "lr must be at least 0, got -0.1"),
        (lambda: SGD([W], float("nan")), ValueError, "lr must be a finite number, got nan"),
        (lambda: SGD([W], 0.1, momentum=1.0), ValueError, "momentum must be at least 0 and below 1, got 1.0"),
        (lambda: SGD([W], 0.1, weight_decay=-1), ValueError, "weight_decay must be at least 0"),
        (lambda: SGD([W], 0.1, nesterov=True), ValueError, "pass momentum=0.9"),
        (lambda: Adam([W], betas=(0.9, 1.0)), ValueError, "beta2 must be at least 0 and below 1"),
        (lambda: Adam([W], eps=-1), ValueError, "eps must be at least 0"),
        (lambda: clip_grad_norm([W], 0), ValueError, "max_norm must be more than 0, got 0"),
    ],
)
def test_messages(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_an_optimizer_without_update_says_what_to_write():
    optimizer = Optimizer(parameters(some((2,))), 0.1)
    with pytest.raises(NotImplementedError, match=r"Optimizer needs an update\(w, grad, state\)"):
        run(optimizer, 1)


def test_parameters_may_come_from_a_generator():
    optimizer = SGD((p for p in parameters(some((2,), (3,)))), 0.1)
    assert [p.shape for p in optimizer.parameters] == [(2,), (3,)]


def test_clip_scales_all_by_one_factor_and_returns_the_length_before():
    a, b, c = parameters(some((3, 4), (5,), (2,)))
    a.grad, b.grad = np.asfortranarray(np.full((3, 4), 3.0, np.float32)), np.full(5, 4.0, np.float32)
    before = np.sqrt(12 * 9 + 5 * 16)
    assert clip_grad_norm([a, b, c], 1.0) == pytest.approx(before)
    assert np.allclose(a.grad, 3 / before) and np.allclose(b.grad, 4 / before) and c.grad is None
    assert a.grad.dtype == np.float32


def test_clip_leaves_short_gradients_and_handles_none():
    (a,) = parameters(some((3,)))
    assert clip_grad_norm([a], 1.0) == 0.0
    a.grad = np.array([0.3, 0.4, 0.0], np.float32)
    assert clip_grad_norm([a], 1.0) == pytest.approx(0.5) and np.array_equal(a.grad, np.float32([0.3, 0.4, 0.0]))


def test_large_steps_need_no_large_temporaries():
    """A step of 545,098 parameters, once its buffers exist, allocates far less than one more copy of the weights."""
    import tracemalloc

    optimizer = SGD(parameters(some((128, 4096), (20810,))), 0.1, 0.9, True, 5e-4)
    run(optimizer, 1)
    tracemalloc.start()
    optimizer.step()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
