"""The functions of the loop and the Trainer's run: values, modes, history, early stop, messages."""

import json

import numpy as np
import pytest
from training_loaders import Batches, blobs, loaders, model, numbers, trainer, weights

from tinytorch.core.layers import Linear
from tinytorch.core.losses import accuracy, cross_entropy, mse_loss
from tinytorch.core.optimizers import SGD, CosineAnnealingLR, OneCycleLR, StepLR
from tinytorch.core.tensor import Tensor, manual_seed
from tinytorch.core.training import (
    History,
    Trainer,
    TrainingInterrupted,
    epochs_without_improvement,
    evaluate,
    restore,
    snapshot,
    train_epoch,
    training_step,
)
from tinytorch.files import FORMAT


def batch(count=5, seed=0):
    x, y = blobs(count, seed)
    return Tensor(x), Tensor(y)


def linear(lr=0.1, **settings):
    manual_seed(1)
    layer = Linear(6, 3)
    return layer, SGD(layer.parameters(), lr=lr, **settings)


def test_training_step_ignores_old_gradients():
    layer, sgd = linear()
    other, second = linear()
    layer.weight.grad = np.full((3, 6), 9.0, np.float32)
    assert training_step(layer, sgd, cross_entropy, *batch()) == training_step(other, second, cross_entropy, *batch())
    assert np.array_equal(layer.weight.data, other.weight.data)


def test_training_step_clips_the_joint_gradient():
    layer, sgd = linear(lr=1.0)
    before = [p.data.copy() for p in sgd.parameters]
    training_step(layer, sgd, cross_entropy, *batch(), clip_norm=0.01)
    moved = np.sqrt(sum(((p.data - b) ** 2).sum() for p, b in zip(sgd.parameters, before, strict=True)))
    assert moved == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_no_number_stops_before_the_weights_change(bad):
    layer, sgd = linear(lr=0.5)
    before = layer.weight.data.copy()
    with pytest.raises(FloatingPointError, match=r"the loss is (nan|inf) at lr 0\.5: try a lower lr, say 0\.05"):
        training_step(layer, sgd, mse_loss, batch()[0], Tensor(np.full((5, 3), bad)))
    assert np.array_equal(layer.weight.data, before)


def test_evaluate_records_nothing_and_averages_over_samples():
    network, seen = model(), []

    def recorded(prediction, y):
        seen.append((prediction.requires_grad, network.training, len(y)))
        return len(y)

    found = evaluate(network, Batches(*blobs(50, 2), 20), metrics={"size": recorded})
    assert seen == [(False, False, 20), (False, False, 20), (False, False, 10)]
    assert found["size"] == pytest.approx((20 * 20 + 20 * 20 + 10 * 10) / 50)


@pytest.mark.parametrize("mode", [True, False])
def test_evaluate_leaves_the_mode_even_when_a_metric_fails(mode):
    network = model().train(mode)
    with pytest.raises(ZeroDivisionError):
        evaluate(network, loaders()[1], metrics={"broken": lambda prediction, y: 1 / 0})
    assert [m.training for m in network.modules()] == [mode] * len(network.modules())


def test_evaluate_matches_the_whole_set_in_one_batch():
    network = model()
    x, y = blobs(50, 2)
    many = evaluate(network, Batches(x, y, 7, noise=0.0), metrics={"accuracy": accuracy})
    one = evaluate(network, [(Tensor(x), Tensor(y))], metrics={"accuracy": accuracy})
    assert many == pytest.approx(one, rel=1e-5)


def test_train_epoch_calls_watch_and_schedule_after_every_batch():
    layer, sgd = linear()
    seen, schedule = [], StepLR(sgd, 1, 0.5)
    mean = train_epoch(layer, sgd, cross_entropy, Batches(*blobs(50, 1), 20), schedule, watch=lambda *a: seen.append(a))
    assert [size for _, size in seen] == [20, 20, 10] and schedule.last_step == 3
    assert mean == pytest.approx(sum(loss * size for loss, size in seen) / 50)


@pytest.mark.parametrize(("losses", "expected"), [([], 0), ([1], 0), ([3, 2, 1], 0), ([1, 1, 1], 2), ([2, 1, 3, 2], 2)])
def test_epochs_without_improvement(losses, expected):
    assert epochs_without_improvement(losses) == expected


def test_snapshot_of_one_network_into_another():
    first, second = trainer(), trainer(seed=9)
    train, _ = loaders()
    first.fit(train, epochs=1, progress=False)
    state = snapshot(first.model, first.optimizer, first.scheduler)
    restore(state, second.model, second.optimizer, second.scheduler)
    assert weights(first) == weights(second) and second.optimizer.lr == first.optimizer.lr


def test_fit_learns_and_keeps_a_history():
    trained, (train, test) = trainer(), loaders()
    history = trained.fit(train, test, epochs=6, progress=False)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6] and trained.history is history
    assert list(history[0]) == "epoch lr train_loss test_loss test_accuracy seconds images_per_second".split()
    assert history[-1]["test_loss"] < history[0]["test_loss"] and history[-1]["test_accuracy"] > 0.8
    assert trained.evaluate(test) == pytest.approx({k: history[-1][f"test_{k}"] for k in ("loss", "accuracy")})
    assert all(row["seconds"] > 0 and row["images_per_second"] > 0 for row in history)
    assert trained.scheduler.last_step == 36


def test_fit_twice_gives_the_same_bits():
    first = trainer()
    expected = first.fit(*loaders(), epochs=3, progress=False)
    second = trainer()
    found = second.fit(*loaders(), epochs=3, progress=False)
    assert numbers(found) == numbers(expected) and weights(first) == weights(second)


def test_history_is_json(tmp_path):
    history = trainer().fit(*loaders(), epochs=2, progress=False)
    history.save(tmp_path / "new" / "history.json")
    assert History.load(tmp_path / "new" / "history.json") == history
    assert json.loads((tmp_path / "new" / "history.json").read_text())[1]["epoch"] == 2
    assert history.column("train_loss") == [row["train_loss"] for row in history]


def test_other_losses_and_metrics():
    layer, sgd = linear()
    x, target = blobs(20, 1)[0], np.random.default_rng(3).standard_normal((20, 3), dtype=np.float32)
    plain = Trainer(layer, sgd, loss=mse_loss).fit([(Tensor(x), Tensor(target))], epochs=1, progress=False)
    assert set(plain[0]) == {"epoch", "lr", "train_loss", "seconds", "images_per_second"}
    biggest = {"biggest": lambda prediction, y: np.abs(prediction.numpy()).max()}
    loader = [(Tensor(x), Tensor(target))]
    row = Trainer(layer, sgd, loss=mse_loss, metrics=biggest).fit(loader, loader, epochs=1, progress=False)[0]
    assert isinstance(row["test_biggest"], float) and "test_accuracy" not in row


@pytest.mark.parametrize(
    ("make", "every", "steps"),
    [
        (lambda o: CosineAnnealingLR(o, 10), None, 3),
        (lambda o: OneCycleLR(o, 0.1, 18), None, 18),
        (lambda o: StepLR(o, 1, 0.9), "step", 18),
        (lambda o: OneCycleLR(o, 0.1, 18), "epoch", 3),
    ],
)
def test_a_schedule_steps_as_it_is_meant_or_as_told(make, every, steps):
    layer, sgd = linear()
    schedule = make(sgd)
    Trainer(layer, sgd, scheduler=schedule, scheduler_every=every).fit(*loaders(), epochs=3, progress=False)
    assert schedule.last_step == steps


def test_early_stop(capsys):
    layer, sgd = linear(lr=0.0)
    history = Trainer(layer, sgd).fit(*loaders(), epochs=9, patience=2)
    assert len(history) == 3
    assert "stopped early: epoch 1 was the best, none of the next 2 better" in capsys.readouterr().out


def test_early_stop_watches_the_training_loss_without_test_data():
    layer, sgd = linear(lr=0.0)
    assert len(Trainer(layer, sgd).fit([batch()], epochs=9, patience=3, progress=False)) == 4


@pytest.mark.parametrize("mode", [True, False])
def test_fit_leaves_the_mode_as_it_was(mode):
    trained = trainer()
    trained.model.train(mode)
    trained.fit(*loaders(), epochs=1, progress=False)
    assert trained.model.training is mode


def test_nan_names_epoch_and_step():
    layer, sgd = linear(lr=0.5)
    x, y = blobs(48, 1)

    class Broken(Batches):
        def __iter__(self):
            for n, (a, b) in enumerate(super().__iter__()):
                yield (Tensor(a.numpy() * np.nan), b) if (self.epoch, n) == (1, 2) else (a, b)

    with pytest.raises(FloatingPointError, match=r"epoch 2, step 3: the loss is nan at lr 0\.5"):
        Trainer(layer, sgd).fit(Broken(x, y, 16), epochs=3, progress=False)


def interrupting(epoch, batch_number):
    def before_batch(at, number):
        if (at, number) == (epoch, batch_number):
            raise KeyboardInterrupt

    return before_batch


def test_ctrl_c_keeps_the_checkpoint_and_says_how_to_go_on(tmp_path):
    pytest.importorskip("safetensors")
    path, trained = tmp_path / "run.safetensors", trainer()
    with pytest.raises(TrainingInterrupted, match="stopped in epoch 3 of 6; the first 2 are kept.*resume=True") as stop:
        trained.fit(*loaders(interrupting(2, 3)), epochs=6, checkpoint=path, progress=False)
    assert stop.value.checkpoint == str(path) and len(stop.value.history) == 2 and trained.model.training
    assert isinstance(stop.value, KeyboardInterrupt) and FORMAT.encode() in path.read_bytes()


def test_ctrl_c_while_the_checkpoint_is_written_counts_what_is_on_the_disk(tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    trained, save = trainer(), Trainer.save

    def interrupted(self, *inputs):
        if len(self.history) == 3:
            raise KeyboardInterrupt
        save(self, *inputs)

    monkeypatch.setattr(Trainer, "save", interrupted)
    with pytest.raises(TrainingInterrupted, match="the first 2 are kept"):
        trained.fit(*loaders(), epochs=6, checkpoint=tmp_path / "run", progress=False)


@pytest.mark.parametrize(("path", "text"), [(None, "pass checkpoint=PATH"), ("run", "no epoch was finished")])
def test_ctrl_c_with_nothing_kept(tmp_path, path, text):
    path = path and tmp_path / path
    with pytest.raises(TrainingInterrupted, match=f"nothing was kept.*{text}") as stop:
        trainer().fit(*loaders(interrupting(0, 1)), epochs=2, checkpoint=path, progress=False)
    assert stop.value.checkpoint is None


def test_messages():
    layer, sgd = linear()
    with pytest.raises(ValueError, match="the schedule steers another optimizer"):
        Trainer(layer, sgd, scheduler=StepLR(linear()[1], 1))
    with pytest.raises(ValueError, match="none of this model's parameters"):
        Trainer(model(), sgd)
    with pytest.raises(ValueError, match="scheduler_every is"):
        Trainer(layer, sgd, scheduler_every="batch")
    with pytest.raises(ValueError, match="no batch: fewer samples than batch_size"):
        Trainer(layer, sgd).fit([], epochs=1)
    with pytest.raises(ValueError, match="resume=True needs checkpoint=PATH"):
        Trainer(layer, sgd).fit([batch()], epochs=1, resume=True)
