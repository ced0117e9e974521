"""What our own code writes never changes the gradients of a forward that has already run."""

import copy

import numpy as np
import pytest

from tinytorch.core.layers import Linear
from tinytorch.core.optimizers import SGD, Adam, AdamW, clip_grad_norm
from tinytorch.core.tensor import Tensor, manual_seed

OPTIMIZERS = {
    "sgd": lambda p: SGD(p, 0.1),
    "momentum": lambda p: SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda p: Adam(p, 0.1),
    "adamw": lambda p: AdamW(p, 0.1),
}
# Graphs that keep the weights, or a view of them; x is (4, 3), w is (3, 3).
GRAPHS = {
    "product": lambda x, w: x * w[0],
    "matmul": lambda x, w: x @ w,
    "matmul of a transpose": lambda x, w: w.T @ x.T,
    "a reshaped view": lambda x, w: x @ w.reshape(9).reshape(3, 3).T,
    "a slice": lambda x, w: x[:, :2] @ w[:2],
    "the weights kept by one node only": lambda x, w: (w.exp() @ x.T) * 2,
    "a root of the weights": lambda x, w: (w * w + 1.0).sqrt() / x.sum(),
    "astype": lambda x, w: x.astype("float64") @ w.astype("float64"),
    "detached": lambda x, w: x * w.detach()[1],
    "a NumPy view": lambda x, w: x * Tensor(w.numpy()[2]),
    "power": lambda x, w: (x * x + 1) ** w[0],
    "maximum": lambda x, w: (x @ w).max(axis=0),
}


@pytest.fixture(params=OPTIMIZERS)
def make(request):
    return OPTIMIZERS[request.param]


def start(seed=0):
    random = np.random.default_rng(seed)
    x, w = random.standard_normal((4, 3)).astype(np.float32), random.standard_normal((3, 3)).astype(np.float32)
    return Tensor(x, requires_grad=True), Tensor(w, requires_grad=True)


def moved(optimizer, w, times=1):
    """Steps, so many that the optimizer has long been writing into its own arrays."""
    for _ in range(times):
        w.grad = np.ones_like(w.data)
        optimizer.step()
    w.grad = None


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("before", [0, 1, 3])
def test_a_step_between_forward_and_backward_changes_no_gradient(make, graph, before):
    x, w = start()
    optimizer = make([w])
    moved(optimizer, w, before)
    loss = (GRAPHS[graph](x, w) * 1.5).sum()
    wanted = copy.deepcopy((x, w))
    (GRAPHS[graph](*wanted) * 1.5).sum().backward()
    moved(optimizer, w, 2)
    loss.backward()
    assert np.array_equal(x.grad, wanted[0].grad) if wanted[0].grad is not None else x.grad is None
    assert w.grad is None if wanted[1].grad is None else np.array_equal(w.grad, wanted[1].grad)
    assert not np.array_equal(w.data, wanted[1].data)


def test_two_losses_that_share_weights(make):
    """3.84 for 4.8 was the answer once: the second loss saw the weights that the first had stepped."""
    x, w = start()
    optimizer = make([w])
    moved(optimizer, w, 2)
    first, second = (x @ w).sum(), ((x @ w) * (x @ w)).sum()
    frozen = Tensor(x.data, requires_grad=True), Tensor(w.data.copy(), requires_grad=True)
    ((frozen[0] @ frozen[1]) * (frozen[0] @ frozen[1])).sum().backward()
    first.backward()
    optimizer.step()
    x.grad = w.grad = None
    second.backward()
    assert np.array_equal(x.grad, frozen[0].grad) and np.array_equal(w.grad, frozen[1].grad)


def test_a_graph_kept_over_several_steps_gives_the_same_gradient_each_time(make):
    x, w = start()
    optimizer = make([w])
    moved(optimizer, w, 2)
    loss, seen = (x @ w).exp().sum(), []
    for _ in range(4):
        x.grad = w.grad = None
        loss.backward(retain_graph=True)
        seen.append((x.grad, w.grad))
        optimizer.step()
    assert all(np.array_equal(a[i], seen[0][i]) for a in seen for i in (0, 1))


def test_a_loop_as_of_a_gan(make):
    """The generator's loss goes through the critic, which has stepped in between."""
    manual_seed(0)
    critic, maker = Linear(3, 1), Linear(2, 3)
    steps = make(critic.parameters()), make(maker.parameters())
    noise = Tensor(np.random.default_rng(0).standard_normal((5, 2)))
    for _ in range(3):
        fake = maker(noise)
        verdict = (critic(fake) * critic(fake)).mean()
        old = copy.deepcopy((critic, maker))
        (old[0](old[1](noise)) * old[0](old[1](noise))).mean().backward()
        critic.zero_grad()
        (critic(fake.detach()) - 1.0).mean().backward()
        steps[0].step()
        maker.zero_grad()
        verdict.backward()
        for mine, its in zip(maker.parameters(), old[1].parameters(), strict=True):
            np.testing.assert_allclose(mine.grad, its.grad, rtol=1e-6)
        steps[1].step()


def test_a_gradient_that_is_the_weights_or_part_of_a_graph(make):
    x, w = start()
    optimizer = make([w])
    moved(optimizer, w, 2)
    other = copy.deepcopy(optimizer)
    (twin,) = other.parameters
    w.grad, twin.grad = w.data, w.data.copy()
    optimizer.step()
    other.step()
    assert np.array_equal(w.data, twin.data)


def test_what_somebody_holds_stays_and_what_nobody_holds_is_written_in_place(make):
    _, w = start()
    optimizer = make([w])
    moved(optimizer, w)
    held = w.data
    before = held.copy()
    moved(optimizer, w)
    assert np.array_equal(held, before) and w.data is not held
    del held
    place = w.data.ctypes.data
    moved(optimizer, w, 3)
    assert w.data.ctypes.data == place


def test_an_ordinary_loop_copies_nothing(make):
    """After backward the graph has let go, also where the loss is still at hand."""
    manual_seed(0)
    net = Linear(3, 2)
    optimizer, x = make(net.parameters()), Tensor(np.ones((4, 3)))
    places, keep = set(), []
    for step in range(4):
        loss = (net(x) * net(x)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        keep.append(loss)
        if step:
            places.add(tuple(p.data.ctypes.data for p in net.parameters()))
    assert len(places) == 1


def test_loading_and_converting_in_between_changes_no_gradient():
    manual_seed(0)
    net = Linear(3, 2)
    state = {name: array + 1 for name, array in net.state_dict().items()}
    x, wanted = start()[0], copy.deepcopy(net)
    (wanted(x) * wanted(x)).sum().backward()
    for change in (lambda: net.load_state_dict(state), lambda: net.astype("float64")):
        net.zero_grad()
        net.load_state_dict({name: array - 1 for name, array in state.items()})
        loss = (net(x) * net(x)).sum()
        change()
        loss.backward()
        np.testing.assert_allclose(net.weight.grad, wanted.weight.grad, rtol=1e-6)


def test_clipping_leaves_arrays_that_others_hold():
    w, v = start()
    shared = np.full((4, 3), 2.0, np.float32)
    w.grad, v.grad = shared, np.ones((3, 3), np.float32)
    product = Tensor(w.grad, requires_grad=True) * Tensor(w.grad)
    norm = clip_grad_norm([w, v], 1.0)
    assert norm == pytest.approx(np.sqrt(48 + 9)) and np.array_equal(shared, np.full((4, 3), 2.0))
    assert np.allclose(w.grad, 2 / norm) and product.grad_fn[2][1] is shared


def test_an_index_refilled_by_its_owner():
    x = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    for where in (np.array([0, 1]), Tensor([0, 1])):
        x.grad = None
        taken = x[where]
        (where.data if isinstance(where, Tensor) else where)[:] = 2
        taken.sum().backward()
        assert x.grad.tolist() == [1.0, 1.0, 0.0]
