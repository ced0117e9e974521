"""Parts of a training, paths and files of the wrong kind are named at once."""

import numpy as np
import pytest

from tinytorch import nn
from tinytorch.core.losses import mse_loss
from tinytorch.core.optimizers import SGD, StepLR
from tinytorch.core.tensor import Tensor
from tinytorch.core.training import (
    History,
    Trainer,
    evaluate,
    load_weights,
    read_checkpoint,
    save_weights,
    train_epoch,
    training_step,
    write_checkpoint,
)

BATCH = Tensor(np.ones((2, 3), np.float32)), Tensor(np.zeros((2, 1), np.float32))


def parts(**changed):
    model = nn.Linear(3, 1)
    return {"model": model, "optimizer": SGD(model.parameters(), 0.1), "loss": mse_loss, **changed}


def trainer(**changed):
    return Trainer(**parts(**changed))


def fit(**settings):
    return trainer().fit(**{"train": [BATCH], "progress": False, **settings})


@pytest.mark.parametrize(
    ("changed", "kind", "said"),
    [
        ({"model": nn.Linear}, TypeError, "the model is a Module, got the class Linear"),
        ({"model": lambda x: x}, TypeError, "the model is a Module, got function"),
        ({"model": nn.Flatten()}, ValueError, "this Flatten has no parameters, so there is nothing to train"),
        ({"optimizer": None}, TypeError, "the optimizer is one such as SGD"),
        ({"optimizer": SGD}, TypeError, "the optimizer is one such as SGD"),
        ({"optimizer": 0.1}, TypeError, "the optimizer is one such as SGD.* got float"),
        ({"scheduler": StepLR}, TypeError, "the scheduler is one such as StepLR.* got the class StepLR"),
        ({"scheduler": 5}, TypeError, "the scheduler is one such as StepLR.* got int"),
        ({"clip_norm": 0}, ValueError, "clip_norm must be more than 0"),
        ({"clip_norm": -1.0}, ValueError, "clip_norm must be at least 0"),
        ({"clip_norm": "1"}, TypeError, "clip_norm must be a number, got '1'"),
        ({"loss": "mse"}, TypeError, "loss is a function of .* got str"),
        ({"loss": None}, TypeError, "loss is a function of"),
        ({"metrics": [mse_loss]}, TypeError, "metrics are {name: function"),
        ({"metrics": {"a": 5}}, TypeError, "a is a function of .* got int"),
        ({"metrics": {"loss": mse_loss}}, ValueError, "a metric is called 'loss'.* rename it"),
    ],
)
def test_a_trainer_takes_its_parts_or_says_what_is_wrong(changed, kind, said):
    with pytest.raises(kind, match=said):
        trainer(**changed)


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"epochs": -1}, ValueError, "epochs must be at least 0, got -1"),
        ({"epochs": True}, TypeError, "epochs is a whole number, got True"),
        ({"patience": 0}, ValueError, "patience must be at least 1, got 0"),
        ({"patience": -2}, ValueError, "patience must be at least 1"),
        ({"checkpoint": ""}, ValueError, "the path of the checkpoint names no file"),
        ({"checkpoint": "."}, IsADirectoryError, ". is a folder: the checkpoint needs"),
        ({"checkpoint": 5}, TypeError, "the path of the checkpoint is text or a Path"),
        ({"train": [BATCH[:1]]}, ValueError, r"batch 1 should be a pair \(x, y\), got 1 parts"),
        ({"train": [BATCH, (*BATCH, 1)]}, ValueError, r"batch 2 should be a pair \(x, y\), got 3 parts"),
        ({"test": [BATCH[0]]}, ValueError, r"batch 1 should be a pair \(x, y\), got Tensor"),
    ],
)
def test_fit_takes_its_settings_or_says_what_is_wrong(settings, kind, said):
    with pytest.raises(kind, match=said):
        fit(**settings)


def test_losses_and_metrics_give_numbers():
    for result in (0.5, None):
        with pytest.raises(TypeError, match=f"the loss should give a Tensor with one entry.* got {result}"):
            trainer(loss=lambda p, y, result=result: result).fit([BATCH], progress=False)
    with pytest.raises(TypeError, match="seen should give one number for a batch, got None"):
        trainer(metrics={"seen": lambda p, y: None}).evaluate([BATCH])
    assert trainer(metrics={"seen": lambda p, y: np.float32(2)}).evaluate([BATCH, BATCH])["seen"] == 2
    with pytest.raises(KeyError, match="own"):
        trainer(metrics={"seen": lambda p, y: {}["own"]}).evaluate([BATCH])


def test_the_functions_alone_say_it_too():
    made = parts()
    with pytest.raises(TypeError, match="the model is a Module, got function"):
        evaluate(lambda x: x, [BATCH], mse_loss)
    with pytest.raises(TypeError, match="the optimizer is one such as .* got int"):
        train_epoch(made["model"], 5, mse_loss, [BATCH])
    with pytest.raises(TypeError, match="a loader gives .* got int"):
        evaluate(made["model"], 5, mse_loss)
    with pytest.raises(ValueError, match="batch 1 should be a pair"):
        train_epoch(made["model"], made["optimizer"], mse_loss, [BATCH[0]])
    with pytest.raises(TypeError, match="the loss should give a Tensor"):
        training_step(made["model"], made["optimizer"], lambda p, y: 1.0, *BATCH)


def test_an_optimizer_in_a_file_of_weights_gives_numbers(tmp_path):
    w = Tensor([1.0, 2.0], requires_grad=True)
    sgd, other = SGD([w], 0.25, momentum=0.5, nesterov=True), SGD([w], 0.1)
    w.grad = np.ones(2, np.float32)
    sgd.step()
    save_weights(tmp_path / "o.st", sgd)
    other.load_state_dict(load_weights(tmp_path / "o.st"))
    assert (other.lr, other.momentum, other.nesterov) == (0.25, 0.5, True)
    assert [type(x) for x in (other.lr, other.nesterov, other.state[0]["step"])] == [float, bool, int]


def test_a_history_of_numpys_numbers(tmp_path):
    History([{"epoch": np.int64(1), "loss": np.float32(0.5), "all": np.arange(2)}]).save(tmp_path / "h.json")
    assert History.load(tmp_path / "h.json") == [{"epoch": 1, "loss": 0.5, "all": [0, 1]}]
    with pytest.raises(TypeError, match="the history holds object, which JSON cannot"):
        History([{"epoch": object()}]).save(tmp_path / "h.json")
    with pytest.raises(FileNotFoundError, match="there is no file .*none"):
        History.load(tmp_path / "none")


@pytest.mark.parametrize(
    ("act", "kind", "said"),
    [
        (lambda to: save_weights({"a": np.ones(1)}, to / "w"), TypeError, "the path comes first"),
        (lambda to: save_weights(nn.Linear(1, 1), to / "w"), TypeError, "the path comes first"),
        (lambda to: save_weights(to, nn.Linear(1, 1)), IsADirectoryError, "is a folder: the weights"),
        (lambda to: save_weights(5, nn.Linear(1, 1)), TypeError, "path of the weights is text or a Path"),
        (lambda to: save_weights(to / "w", 5), TypeError, "a model or a {name: array}, got 5"),
        (lambda to: save_weights(to / "w", {1: np.ones(1)}), TypeError, "a model or a {name: array}"),
        (lambda to: save_weights(to / "w", {"a": "text"}), TypeError, "a holds 'text'|a holds"),
        (lambda to: load_weights(""), ValueError, "the path of the weights names no file, got ''"),
        (lambda to: load_weights(5), TypeError, "path of the weights is text or a Path .* got int"),
        (lambda to: load_weights(nn.Linear(1, 1)), TypeError, "got Linear"),
        (lambda to: read_checkpoint(to), FileNotFoundError, "is a folder, not a file"),
    ],
)
def test_paths_and_states_of_the_wrong_kind(act, kind, said, tmp_path):
    with pytest.raises(kind, match=said):
        act(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\x1f\x8b\x08" + b"\0" * 40, "a gzip archive: unpack it first"),
        (b"\xfd7zXZ\0" + b"\1" * 40, "an xz archive: unpack"),
        (b"BZh91AY&SY" + b"\1" * 40, "a bzip2 archive: unpack"),
        (b"%PDF-1.7\n" + b"\0" * 40, "a PDF"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "a picture, PNG"),
        (b"<!DOCTYPE html><html>" + b" " * 40, "a web page"),
        (b"<html><body>404</body>" + b" " * 40, "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "git lfs pull fetches it"),
    ],
)
def test_foreign_files(content, said, tmp_path):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(ValueError, match=f"no readable safetensors file, but .*{said}"):
        load_weights(tmp_path / "w")


def test_a_file_that_is_too_long(tmp_path):
    save_weights(tmp_path / "w", {"a": np.ones(3, np.float32)})
    with open(tmp_path / "w", "ab") as file:
        file.write(b"more")
    with pytest.raises(ValueError, match="longer than it says: make it anew"):
        load_weights(tmp_path / "w")


def test_a_checkpoint_with_a_setting_of_the_wrong_kind_changes_nothing(tmp_path):
    path, made = tmp_path / "c", trainer()
    made.scheduler = StepLR(made.optimizer, 2)
    made.fit([BATCH], epochs=1, checkpoint=path, progress=False)
    state, extra = read_checkpoint(path)
    write_checkpoint(path, {**state, "scheduler.last_step": "x"}, extra)
    other = trainer()
    other.scheduler = StepLR(other.optimizer, 2)
    before = other.model.state_dict()
    with pytest.raises(ValueError, match="does not fit this training: last_step counts steps"):
        other.fit([BATCH], epochs=2, checkpoint=path, resume=True, progress=False)
    assert all(np.array_equal(array, before[name]) for name, array in other.model.state_dict().items())
