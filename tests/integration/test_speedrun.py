"""The recipe of milestone 04's speedrun: the same steps as in PyTorch, the same after a stop, and its pictures."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tinytorch import Tensor, manual_seed, nn
from tinytorch.data import loader

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "milestones" / "04_1998_cnn"))

import speedrun
from networks import speed_cnn

WIDTHS, STEPS, CLASSES = (16, 20, 24), 20, 10


def pictures(count, side=32, seed=0):
    """Smooth noise, normalised."""
    noise = np.random.default_rng(seed).standard_normal((count, 3, side + 4, side + 4))
    return np.lib.stride_tricks.sliding_window_view(noise, (5, 5), (2, 3)).mean((-1, -2)).astype(np.float32) * 5


def begun(dtype=np.float32):
    """(network, optimizer, schedule) before the first of STEPS steps, of which the first bias takes part in 15."""
    manual_seed(0)
    model = speed_cnn(CLASSES, WIDTHS)
    speedrun.start(model, pictures(20))
    model.astype(dtype)
    return model, *speedrun.recipe("cnn", model, 4, STEPS)


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
    """The same losses, from the recipe as it is published: sums of losses, two groups of parameters, `lerp_`."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.set_num_threads(1)
    f, weights = torch.nn.functional, {name: torch.tensor(v.astype(float)) for name, v in model.state_dict().items()}
    convolutions = [at for at, layer in enumerate(model) if isinstance(layer, nn.Conv2d)][1:]
    norms = [at for at, layer in enumerate(model) if isinstance(layer, nn.BatchNorm2d)]
    biases = [weights[f"{at}.bias"] for at in norms]
    others = [weights["0.bias"], *(weights[f"{at}.weight"] for at in convolutions), weights[f"{len(model) - 2}.weight"]]
    for p in biases + others:
        p.requires_grad = True

    def logits(x, with_first):
        first = weights["0.bias"] if with_first else weights["0.bias"].detach()
        x = f.gelu(f.conv2d(x, weights["0.weight"], first), approximate="tanh")
        for number, (at, norm) in enumerate(zip(convolutions, biases, strict=True)):
            x = f.conv2d(x, weights[f"{at}.weight"], padding=1)
            x = f.max_pool2d(x, 2) if number % 2 == 0 else x
            x = f.gelu(f.batch_norm(x, None, None, None, norm, True, eps=1e-12), approximate="tanh")
        return x.amax((2, 3)) @ others[-1].T / 9

    kilostep = 1024 * (1 + 1 / (1 - 0.85))
    rate, decay = 11.5 / kilostep * speedrun.BATCH / 8, 0.0153 / kilostep * speedrun.BATCH  # as if 8 were that many
    groups = {"params": biases, "lr": 64 * rate, "weight_decay": decay / 64 / rate}, {"params": others}
    optimizer = torch.optim.SGD(groups, lr=rate, weight_decay=decay / rate, momentum=0.85, nesterov=True)
    shape = [np.interp(n, (0, 4, STEPS), (0.2, 1, 0.07)) for n in range(STEPS + 1)]
    schedule, losses = torch.optim.lr_scheduler.LambdaLR(optimizer, shape.__getitem__), []
    averages = [p.detach().clone() for p in biases + others]
    for step, (x, y) in enumerate(given, start=1):
        optimizer.zero_grad()
        loss = f.cross_entropy(
            logits(torch.tensor(x), step <= 15), torch.tensor(y), label_smoothing=0.2, reduction="sum"
        )
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item() / 8)
        if step % 5 == 0:
            with torch.no_grad():
                for average, p in zip(averages, biases + others, strict=True):
                    p.copy_(average.lerp_(p, 1 - 0.95**5 * (step / STEPS) ** 3))
    return losses, others


@pytest.mark.parametrize(("dtype", "within"), [(np.float64, 1e-6), (np.float32, 1e-3)])
def test_the_steps_are_those_of_the_published_recipe(dtype, within):
    model, optimizer, schedule = begun(dtype)
    expected, weights = in_torch(model, [(x.astype(float), y) for x, y in batches(dtype)])
    losses = go_on(model, optimizer, schedule, batches(dtype))
    np.testing.assert_allclose(losses, expected, rtol=within)
    np.testing.assert_allclose(model[-2].weight.numpy(), weights[-1].detach().numpy(), rtol=0, atol=within)
    np.testing.assert_allclose(model[0].bias.numpy(), weights[0].detach().numpy(), rtol=0, atol=within)
    assert np.abs(model[0].bias.numpy()).max() > 0 and not model[0].bias.requires_grad


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
    assert left(0) == once and [x.shape[-1] for x, _ in batches.batches(0)] == [20] * 8
    assert [x.shape[-1] for x, _ in batches.batches(1)] == [26] * 8


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
