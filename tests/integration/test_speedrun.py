"""The recipe of milestone 04's speedrun: the same steps as in PyTorch, the same after a stop, and its pictures."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tinytorch import Tensor, manual_seed, nn
from tinytorch.core.optimizers import CHUNK
from tinytorch.data import loader

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "milestones" / "04_1998_cnn"))

import speedrun
from networks import INGREDIENTS, speed_cnn

WIDTHS, STEPS, CLASSES = (16, 20, 24), 20, 10


def pictures(count, side=32, seed=0):
    """Smooth noise, normalised."""
    noise = np.random.default_rng(seed).standard_normal((count, 3, side + 4, side + 4))
    return np.lib.stride_tricks.sliding_window_view(noise, (5, 5), (2, 3)).mean((-1, -2)).astype(np.float32) * 5


def begun(dtype=np.float32, without=()):
    """(network, optimizer, schedule) before the first of STEPS steps, of which the first bias takes part in 15."""
    manual_seed(0)
    model = speed_cnn(CLASSES, WIDTHS)
    speedrun.start(model, pictures(20), without)
    model.astype(dtype)
    optimizer, schedule = speedrun.recipe("cnn", model, 4, STEPS, without)
    return model, optimizer, schedule


def batches(dtype=np.float32, count=STEPS):
    labels = np.random.default_rng(1).integers(0, CLASSES, (count, 8))
    return [(pictures(8, 20 if at < 5 else 32, at).astype(dtype), labels[at]) for at in range(count)]


def go_on(model, optimizer, schedule, given):
    """The losses of these steps."""
    loss, losses = nn.CrossEntropyLoss(label_smoothing=speedrun.SMOOTHING), []
    for x, y in given:
        optimizer.zero_grad()
        result = loss(model(Tensor(x)), Tensor(y))
        result.backward()
        optimizer.step()
        schedule.step()
        losses.append(result.item())
    return losses


def in_torch(model, given):
    """The same losses, from the recipe as it is published: sums of losses, three groups of parameters."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.set_num_threads(1)
    f, weights = torch.nn.functional, {name: torch.tensor(v.astype(float)) for name, v in model.state_dict().items()}
    convolutions = [at for at, layer in enumerate(model) if isinstance(layer, nn.Conv2d)][1:]
    norms = [at for at, layer in enumerate(model) if isinstance(layer, nn.BatchNorm2d)]
    biases = [weights[f"{at}.bias"] for at in norms]
    others = [weights["0.bias"], *(weights[f"{at}.weight"] for at in convolutions), weights[f"{len(model) - 1}.weight"]]
    for p in biases + others:
        p.requires_grad = True

    def logits(x, with_first):
        first = weights["0.bias"] if with_first else weights["0.bias"].detach()
        x = f.gelu(f.conv2d(x, weights["0.weight"], first), approximate="tanh")
        for number, (at, norm) in enumerate(zip(convolutions, biases, strict=True)):
            x = f.conv2d(x, weights[f"{at}.weight"], padding=1)
            x = f.max_pool2d(x, 2) if number % 2 == 0 else x
            x = f.gelu(f.batch_norm(x, None, None, None, norm, True, eps=1e-12), approximate="tanh")
        return x.amax((2, 3)) @ others[-1].T / WIDTHS[-1]

    filters, echo, decay = others[1:-1], speedrun.BATCH / 8, 2e-6 * speedrun.BATCH  # as if 8 were that many
    groups = {"params": [others[0], *biases], "lr": 0.053 * echo}, {"params": others[-1:], "lr": 0.67 * echo}
    for group in groups:
        group["weight_decay"] = decay / group["lr"]
    optimizer = torch.optim.SGD(groups, momentum=0.85, nesterov=True)
    schedule, losses = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: 1 - n / STEPS), []
    velocities = [torch.zeros_like(p) for p in filters]
    for step, (x, y) in enumerate(given):
        logit = logits(torch.tensor(x), step < 15)
        loss = f.cross_entropy(logit, torch.tensor(y), label_smoothing=0.2, reduction="sum")
        for p in biases + others:
            p.grad = None
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for p, velocity in zip(filters, velocities, strict=True):
                velocity.mul_(0.6).add_(p.grad)
                p.mul_(len(p) ** 0.5 / p.norm())
                way = newton_schulz((p.grad + 0.6 * velocity).flatten(1)).view(p.shape)
                p.sub_(way, alpha=0.1 * (1 - step / STEPS))
        schedule.step()
        losses.append(loss.item() / 8)
    return losses, others


def newton_schulz(g):
    """As published, here of a matrix in float64; its steps are as many as its authors took for this network."""
    x = g / g.norm()
    x = x.mT if x.size(0) > x.size(1) else x
    for _ in range(3):
        gram = x @ x.mT
        x = 3.4445 * x - 4.7750 * gram @ x + 2.0315 * gram @ gram @ x
    return x.mT if g.size(0) > g.size(1) else x


def test_orthogonal_goes_about_equally_far_in_every_direction():
    for shape in (24, 216), (216, 24), (64, 64):
        matrix = np.random.default_rng(0).standard_normal(shape)
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        found = left.T @ speedrun.orthogonal(matrix) @ right.T
        big = values > values[0] / 10
        assert 0.5 < np.diag(found)[big].min() and np.diag(found).max() < 1.3
        np.testing.assert_allclose(found, np.diag(np.diag(found)), atol=1e-9)


def test_filters_turn_and_keep_their_length():
    model, optimizer, schedule = begun()
    go_on(model, optimizer, schedule, batches(count=2))
    before = model[2].weight.numpy().copy()
    optimizer.lr = 0.0
    go_on(model, optimizer, schedule, batches(count=1))
    np.testing.assert_allclose(model[2].weight.numpy(), before * (4 / np.linalg.norm(before)), rtol=1e-6)
    model[2].weight.data = before * 0  # which have no length to keep
    optimizer.lr = 0.1
    go_on(model, optimizer, schedule, batches(count=1))
    assert np.isfinite(model[2].weight.numpy()).all() and model[2].weight.numpy().any()


@pytest.mark.parametrize(("dtype", "within"), [(np.float64, 1e-6), (np.float32, 1e-3)])
def test_the_steps_are_those_of_the_published_recipe(dtype, within):
    model, optimizer, schedule = begun(dtype)
    expected, weights = in_torch(model, [(x.astype(float), y) for x, y in batches(dtype)])
    losses = go_on(model, optimizer, schedule, batches(dtype))
    np.testing.assert_allclose(losses, expected, rtol=within)
    for ours, theirs in (model[-1].weight, weights[-1]), (model[0].bias, weights[0]):
        theirs = theirs.detach().numpy()
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=within * np.abs(theirs).max())
    assert np.abs(model[0].bias.numpy()).max() > 0 and not model[0].bias.requires_grad


def test_every_filter_is_moved_whole_however_large_and_by_the_same_step():
    class ByHand(speedrun.Muon):
        def step(self):
            for number, p in enumerate(self.parameters):
                if p.grad is not None:
                    self.own_data(number)
                    self.state[number]["step"] += 1
                    self.update(p.data, p.grad, self.state[number])
            self.stop_early()

    ways = []
    for kind in speedrun.Muon, ByHand:
        manual_seed(0)
        model = speed_cnn(CLASSES, (16, 56, 72))
        speedrun.start(model, pictures(20))
        optimizer = kind(model, speedrun.RATE, speedrun.BATCH, 2)
        losses = go_on(model, optimizer, speedrun.Falling(optimizer, STEPS), batches(count=3))
        arrays = {"losses": losses, **model.state_dict(), **optimizer.state_dict()}
        assert max(map(np.size, arrays.values())) > CHUNK
        ways.append({name: np.asarray(array).tobytes() for name, array in arrays.items()})
    assert ways[0] == ways[1]


@pytest.mark.parametrize("stop", [7, 16])
def test_a_run_goes_on_as_if_it_had_not_stopped(stop):
    from tinytorch.core.training import restore, snapshot

    given, whole = batches(), begun()
    go_on(*whole, given)
    first = begun()
    go_on(*first, given[:stop])
    second = begun()
    restore(snapshot(*first), *second)
    assert second[0][0].bias.requires_grad == (stop < 15)
    go_on(*second, given[stop:])
    one, other = (dict(part.state_dict()) for part in (whole[0], second[0]))
    assert [name for name in one if one[name].tobytes() != other[name].tobytes()] == []


def test_the_first_filters_whiten():
    images = pictures(200)
    filters = speedrun.whitening(images, eps=0)
    patches = (
        np.lib.stride_tricks.sliding_window_view(images, (2, 2), (2, 3)).transpose(0, 2, 3, 1, 4, 5).reshape(-1, 12)
    )
    seen = patches @ filters[:12].reshape(12, 12).T
    np.testing.assert_allclose(seen.T @ seen / len(seen), np.eye(12), atol=0.02)
    np.testing.assert_array_equal(filters[12:], -filters[:12])


def test_convolutions_begin_by_handing_channels_on():
    model, *_ = begun()
    x = Tensor(pictures(2, 6).repeat(8, axis=1))
    np.testing.assert_array_equal(model[2](x).numpy()[:, :16], x.numpy()[:, :16])


def test_shrunk_pictures_keep_their_mean_and_halves_are_means_of_four():
    images = pictures(3)
    halved = images.reshape(3, 3, 16, 2, 16, 2).mean((3, 5))
    np.testing.assert_allclose(speedrun.shrunk(images, 16), halved, atol=1e-6)
    np.testing.assert_allclose(speedrun.shrunk(images, 20).mean((2, 3)), images.mean((2, 3)), atol=1e-5)


def test_pictures_are_mirrored_in_turns_and_an_epoch_depends_on_its_number_alone():
    images = np.zeros((80, 3, 32, 32), np.uint8)
    images[..., :8] = 255  # light from the left, further than a shift takes it away
    data = loader.TensorDataset(images, np.arange(80))
    batches = speedrun.Alternating(data, loader.Normalize(0.5, 0.5), seed=3, epochs=2)

    def left(epoch):
        """Of every picture whether it is light on the left."""
        shown = [(x, y) for x, y in batches.batches(epoch)]
        assert sorted(np.concatenate([y for _, y in shown])) == list(range(80))
        return {int(label): bool(x[..., 0].mean() > 0) for part in shown for x, label in zip(*part, strict=True)}

    once, twice = left(0), left(1)
    assert all(once[label] != twice[label] for label in once) and 20 < sum(once.values()) < 60
    assert left(0) == once and [x.shape[-1] for x, _ in batches.batches(0)] == [speedrun.SIDES[0]] * 8
    assert [x.shape[-1] for x, _ in batches.batches(1)] == [speedrun.SIDES[5]] * 8
    batches = speedrun.Alternating(data, loader.Normalize(0.5, 0.5), seed=3, epochs=2, without=("turns",))
    once, twice = left(0), left(1)
    assert 20 < sum(once[label] != twice[label] for label in once) < 60


def test_each_ingredient_can_be_left_out_and_the_others_stay():
    model, before = begun()[0], begun()[0].state_dict()
    filters = {f"{at}.weight" for at, layer in enumerate(model) if isinstance(layer, nn.Conv2d)} - {"0.weight"}
    norms = {f"{at}.weight" for at, layer in enumerate(model) if isinstance(layer, nn.BatchNorm2d)}
    moved, after = {}, {}
    bias = next(f"{at}.bias" for at, layer in enumerate(model) if isinstance(layer, nn.BatchNorm2d))
    for left_out in (None, *INGREDIENTS):
        model, optimizer, schedule = begun(without=(left_out,))
        start = model.state_dict()
        other = {name for name in before if not np.array_equal(start[name], before[name])}
        assert other == {"whitening": {"0.weight"}, "dirac": filters}.get(left_out, set()), left_out
        assert np.isfinite(go_on(model, optimizer, schedule, batches(count=2))).all()
        after[left_out] = end = model.state_dict()
        trained = {name for name, p in model.named_parameters() if not np.array_equal(end[name], start[name])}
        moved[left_out] = trained

    more = {"whitening": {"0.weight"}, "biases": norms}
    assert {name: moved[name] - moved[None] for name in INGREDIENTS} == {n: more.get(n, set()) for n in INGREDIENTS}
    for name in filters:
        assert not np.allclose(after["muon"][name], after[None][name], atol=1e-3), name
    optimizer, weight, slope = begun(without=("muon",))[1], np.zeros((2, 3, 3, 3)), pictures(2, 3).astype(float)
    optimizer.update(weight, slope, {"step": 1, "momentum_buffer": np.zeros_like(weight)})
    np.testing.assert_allclose(weight, -11.5 / 1024 / (1 + 1 / 0.15) * 400 * 1.85 * slope)  # Nesterov's first
    assert np.abs(after[None][bias]).max() > 10 * np.abs(after["biases"][bias]).max() > 0


def test_the_views_are_six_looks_that_count_as_one():
    images = pictures(5)
    shown = speedrun.views(images)
    assert sum(weight for _, weight in shown) == 1 and [part.shape for part, _ in shown] == [images.shape] * 6
    np.testing.assert_array_equal(shown[2][0][..., 1:, 1:], images[..., :-1, :-1])
    np.testing.assert_array_equal(shown[4][0][..., :-1, :-1], images[..., 1:, 1:])

    class Bright(nn.Module):
        def forward(self, x):
            level = x.mean(axis=(1, 2, 3))
            return Tensor(np.stack([level.numpy(), -level.numpy()], axis=1))

    labels = (images.mean((1, 2, 3)) < 0).astype(int)
    pairs = [(Tensor(images[:3]), Tensor(labels[:3])), (Tensor(images[3:]), Tensor(labels[3:]))]
    assert speedrun.accuracy_of_views(Bright(), pairs) >= 0.8
