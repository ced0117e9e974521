"""Weights and checkpoints on disk: whole, exact, and refused when damaged or foreign."""

import json
import os

import numpy as np
import pytest
from training_loaders import loaders, model, numbers, trainer, weights

from tinytorch.core.layers import Linear
from tinytorch.core.optimizers import Adam
from tinytorch.core.training import Trainer, load_weights, read_checkpoint, save_weights, snapshot
from tinytorch.files import write_safely

pytest.importorskip("safetensors", reason="safetensors is not installed")


def kept_run(path, epochs=2, **settings):
    trained = trainer(**settings)
    trained.fit(*loaders(), epochs=epochs, checkpoint=path, progress=False)
    return trained


def same(a, b):
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_resume_gives_the_same_bits(tmp_path):
    whole = trainer()
    expected = whole.fit(*loaders(), epochs=6, progress=False)
    kept_run(tmp_path / "run.safetensors")
    again = trainer(seed=77)
    history = again.fit(*loaders(), epochs=6, checkpoint=tmp_path / "run.safetensors", resume=True, progress=False)
    assert numbers(history) == numbers(expected) and weights(again) == weights(whole)


def test_resume_with_adam_and_patience(tmp_path):
    def adam():
        network = model()
        return Trainer(network, Adam(network.parameters(), lr=0.02))

    from tinytorch.core.tensor import manual_seed

    manual_seed(5)
    whole = adam()
    expected = whole.fit(*loaders(), epochs=30, patience=2, progress=False)
    manual_seed(5)
    adam().fit(*loaders(), epochs=3, patience=2, checkpoint=tmp_path / "a", progress=False)
    again = adam()
    history = again.fit(*loaders(), epochs=30, patience=2, checkpoint=tmp_path / "a", resume=True, progress=False)
    assert numbers(history) == numbers(expected) and weights(again) == weights(whole) and len(history) < 30


def test_a_finished_run_is_not_trained_further(tmp_path):
    first = kept_run(tmp_path / "run", epochs=2)
    again = trainer()
    history = again.fit(*loaders(), epochs=2, checkpoint=tmp_path / "run", resume=True, progress=False)
    assert history == first.history and weights(again) == weights(first)


def test_the_checkpoint_is_one_file_that_says_what_it_holds(tmp_path):
    trained = kept_run(tmp_path / "run.safetensors")
    assert os.listdir(tmp_path) == ["run.safetensors"]
    state, extra = read_checkpoint(tmp_path / "run.safetensors")
    assert same(state, snapshot(trained.model, trained.optimizer, trained.scheduler))
    assert extra["epoch"] == 2 and extra["history"] == trained.history and extra["best"] == trained.best()


@pytest.mark.parametrize("damage", ["cut", "bit in the arrays", "bit in the text", "empty", "noise"])
def test_a_damaged_file_is_named_and_nothing_is_loaded(tmp_path, damage):
    path = tmp_path / "run.safetensors"
    kept_run(path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-7]
    elif damage == "bit in the arrays":
        content[-7] ^= 4
    elif damage == "bit in the text":
        content[content.index(b"momentum") + 3] ^= 1
    else:
        content = b"" if damage == "empty" else bytes(range(256)) * 4
    path.write_bytes(content)
    fresh = trainer(seed=8)
    before = snapshot(fresh.model, fresh.optimizer, fresh.scheduler)
    with pytest.raises(ValueError, match=r"run\.safetensors is (damaged|no readable safetensors file)"):
        fresh.fit(*loaders(), epochs=6, checkpoint=path, resume=True, progress=False)
    assert same(snapshot(fresh.model, fresh.optimizer, fresh.scheduler), before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 13}, r"(?=.*0\.weight)(?=.*\(13, 6\)).*\(12, 6\)"),
        ({"momentum": 0.8}, r"optimizer\.momentum was 0\.9 and is 0\.8 now"),
        ({"epochs": 7}, r"scheduler\.total_steps was 36 and is 42 now"),
        ({"schedule": False}, "the scheduler was another one: max_lr, .* in the checkpoint, no scheduler here"),
    ],
)
def test_another_training_is_refused_and_stays_as_it_was(tmp_path, settings, message):
    kept_run(tmp_path / "run")
    other = trainer(seed=8, **settings)
    before = snapshot(other.model, other.optimizer, other.scheduler)
    with pytest.raises(ValueError, match=f"run does not fit this training: .*{message}"):
        other.fit(*loaders(), epochs=6, checkpoint=tmp_path / "run", resume=True, progress=False)
    assert same(snapshot(other.model, other.optimizer, other.scheduler), before)


def test_nothing_is_half_loaded_when_a_later_part_does_not_fit(tmp_path):
    """The network fits, the optimizer has fewer parameters: the network's weights must be put back."""
    kept_run(tmp_path / "run")
    other = trainer(seed=8)
    other.optimizer.__init__(other.model.parameters()[:2], lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3)
    before = snapshot(other.model, other.optimizer, other.scheduler)
    with pytest.raises(ValueError, match="SGD over 2 parameters has no place for '2.momentum_buffer'"):
        other.fit(*loaders(), epochs=6, checkpoint=tmp_path / "run", resume=True, progress=False)
    assert same(snapshot(other.model, other.optimizer, other.scheduler), before)


def test_another_kind_of_optimizer_is_named(tmp_path):
    kept_run(tmp_path / "run", schedule=False)
    network = model()
    other = Trainer(network, Adam(network.parameters()))
    with pytest.raises(ValueError, match="the optimizer was another one: lr, momentum, nesterov, weight_decay in"):
        other.fit(*loaders(), epochs=6, checkpoint=tmp_path / "run", resume=True, progress=False)


def test_other_batches_are_refused(tmp_path):
    kept_run(tmp_path / "run")
    train, test = loaders()
    train.size = 30
    with pytest.raises(ValueError, match="an epoch had 6 batches and has 3 now"):
        trainer().fit(train, test, epochs=6, checkpoint=tmp_path / "run", resume=True, progress=False)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no checkpoint .* to resume from"):
        trainer().fit(*loaders(), epochs=2, checkpoint=tmp_path / "none", resume=True, progress=False)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_weights(tmp_path / "none")
    save_weights(tmp_path / "weights", model())
    with pytest.raises(ValueError, match="holds weights, but no training state"):
        trainer().fit(*loaders(), epochs=2, checkpoint=tmp_path / "weights", resume=True, progress=False)


def test_weights_come_back_exactly_in_name_order_type_and_layout(tmp_path):
    state = {
        "0.weight": np.asfortranarray(np.random.default_rng(0).standard_normal((4, 3), dtype=np.float32)),
        "1.running_mean": np.arange(3, dtype=np.float64)[::-1],
        "1.steps": np.array(7),
        "1.empty": np.zeros((0, 2), np.float32),
    }
    save_weights(tmp_path / "deep" / "w.safetensors", state)
    back = load_weights(tmp_path / "deep" / "w.safetensors")
    assert same(back, state) and {k: v.dtype for k, v in back.items()} == {k: v.dtype for k, v in state.items()}
    assert back["1.steps"].shape == ()


def test_weights_from_a_model_and_from_a_checkpoint(tmp_path):
    trained = kept_run(tmp_path / "run")
    save_weights(tmp_path / "weights", trained.model)
    for path in (tmp_path / "run", tmp_path / "weights"):
        other = model()
        other.load_state_dict(load_weights(path))
        assert same(other.state_dict(), trained.model.state_dict())


@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_a_failed_write_leaves_the_old_file_whole_and_no_litter(tmp_path, monkeypatch, broken):
    path = tmp_path / "file"
    write_safely(path, b"old")

    def fail(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="No space left"):
        write_safely(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_the_library_reads_our_file(tmp_path):
    from safetensors import safe_open

    trained = kept_run(tmp_path / "run")
    with safe_open(tmp_path / "run", framework="numpy") as file:
        assert np.array_equal(file.get_tensor("model.0.weight"), trained.model.state_dict()["0.weight"])
        assert json.loads(file.metadata()["content"])["extra"]["epoch"] == 2


@pytest.mark.parity
def test_pytorch_loads_the_weights_and_gives_the_same_output(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from safetensors.torch import load_file, save_file

    from tinytorch.core.tensor import Tensor

    layer, reference = Linear(5, 3), torch.nn.Linear(5, 3)
    layer.bias = Tensor([0.5, -1.0, 2.0], requires_grad=True)
    save_weights(tmp_path / "linear", layer)
    reference.load_state_dict(load_file(tmp_path / "linear"))
    x = np.random.default_rng(1).standard_normal((4, 5), dtype=np.float32)
    expected = reference(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(layer(Tensor(x)).numpy(), expected, rtol=1e-5, atol=1e-6)

    other = torch.nn.Linear(5, 3)
    save_file(other.state_dict(), tmp_path / "back")
    layer.load_state_dict(load_weights(tmp_path / "back"))
    assert np.array_equal(layer.weight.numpy(), other.weight.detach().numpy())
