"""Files, loaders and states that do not belong here are named for what they are."""

import json

import numpy as np
import pytest

from tinytorch import nn
from tinytorch.core.losses import mse_loss
from tinytorch.core.optimizers import SGD, Scheduler, StepLR
from tinytorch.core.tensor import Tensor, manual_seed
from tinytorch.core.training import History, Trainer, average, evaluate, load_weights, save_weights, train_epoch
from tinytorch.files import read_arrays

BATCH = Tensor(np.ones((2, 3), np.float32)), Tensor(np.zeros((2, 1), np.float32))


def safetensors_bytes(entries, data=b""):
    header = json.dumps(entries).encode()
    return len(header).to_bytes(8, "little") + header + data


def trainer(schedule=None, **settings):
    manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = SGD(model.parameters(), 0.1)
    return Trainer(model, optimizer, mse_loss, schedule and schedule(optimizer), **settings)


ONE = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
STRANGE = {
    "bfloat16": (
        safetensors_bytes({"w": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}}, b"\0" * 4),
        r"w is of dtype BF16, which NumPy does not have: save it as float32",
    ),
    "float8": (
        safetensors_bytes({"a.b": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}, b"\0" * 2),
        "a.b is of dtype F8_E4M3",
    ),
    "cut": (safetensors_bytes({"w": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}, b"\0" * 20), "cut short"),
    "cut in its header": (safetensors_bytes({"w": {"dtype": "F32"}})[:-4], "perhaps cut short"),
    "empty": (b"", "it is empty"),
    "a few bytes": (b"\0\1", "perhaps cut short"),
    "zip": (b"PK\x03\x04" + b"\0" * 90, "a zip archive, as of torch.save or np.savez"),
    "pickle": (b"\x80\x02}q\x00." + b"\0" * 40, "a pickle, as of torch.save"),
    "npy": (b"\x93NUMPY\x01\x00" + b"\0" * 40, "one array of np.save"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 40, "an HDF5 file"),
    "text": (b"weights of my network, in words" * 4, "of another kind"),
    "json of another kind": (safetensors_bytes([1, 2]), "of another kind"),
    "two in one place": (safetensors_bytes({"a": ONE, "b": ONE}, b"\0" * 4), "its table does not fit its numbers"),
    "a negative length": (safetensors_bytes({"a": {**ONE, "shape": [-1]}}, b"\0" * 4), "its table does not fit"),
    "longer": (safetensors_bytes({"a": ONE}, b"\0" * 9), "longer than it says"),
    "no place": (safetensors_bytes({"a": {"dtype": "F32", "shape": [1]}}, b"\0" * 4), "of another kind"),
    "a byte order mark": (
        b"\xef\xbb\xbf" + safetensors_bytes({"a": ONE}, b"\0" * 4),
        "but a text, or it was saved as one",
    ),
    "a web page below an empty line": (b"\n <!DOCTYPE html>" + b" " * 40, "a web page"),
}


@pytest.mark.parametrize("kind", STRANGE)
def test_files_are_named_for_what_they_are(kind, tmp_path):
    content, said = STRANGE[kind]
    (tmp_path / "w.safetensors").write_bytes(content)
    for read in (load_weights, read_arrays):
        with pytest.raises(ValueError, match=f"w.safetensors is no readable safetensors file, .*{said}"):
            read(tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=said):
        trainer().fit([BATCH], epochs=2, checkpoint=tmp_path / "w.safetensors", resume=True, progress=False)


def test_folders_and_missing_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="is a folder, not a file"):
        load_weights(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_weights(tmp_path / "none")


def test_every_whole_file_still_reads(tmp_path):
    arrays = {d: np.arange(3).astype(d) for d in ("bool", "uint8", "int64", "float16", "float32", "float64")}
    save_weights(tmp_path / "w", arrays)
    assert all(np.array_equal(a, arrays[d]) and a.dtype == d for d, a in load_weights(tmp_path / "w").items())


def test_loaders_without_batches():
    model = nn.Linear(3, 1)
    for act in (
        lambda: evaluate(model, [], mse_loss),
        lambda: evaluate(model, iter([]), mse_loss),
        lambda: train_epoch(model, SGD(model.parameters(), 0.1), mse_loss, []),
        lambda: trainer().evaluate([]),
        lambda: average(0.0, 0),
    ):
        with pytest.raises(ValueError, match="the loader gave no batch"):
            act()
    assert model.training
    with pytest.raises(ValueError, match="the training loader has no batch"):
        trainer().fit([], progress=False)
    with pytest.raises(ValueError, match="the test loader has no batch"):
        trainer().fit([BATCH], [], progress=False)
    for loader in ((batch for batch in [BATCH]), iter([BATCH]), 5, None):
        with pytest.raises(TypeError, match="the training loader is a .*pass a DataLoader, or a list"):
            trainer().fit(loader, progress=False)
    with pytest.raises(TypeError, match="the test loader is a generator"):
        trainer().fit([BATCH], (batch for batch in [BATCH]), progress=False)
    for settings in ({"epochs": "3"}, {"epochs": 2.5}, {"epochs": None}, {"patience": "long"}):
        with pytest.raises(TypeError, match="is a whole number"):
            trainer().fit([BATCH], progress=False, **settings)
    assert len(trainer().fit([BATCH], [BATCH], epochs=np.int64(2), progress=False)) == 2


def test_numpy_numbers_in_a_schedule_a_rate_and_a_metric_are_kept(tmp_path):
    class Halved(Scheduler):
        def __init__(self, optimizer):
            self.share, self.table, self.flag = np.float32(0.5), np.arange(3), np.bool_(True)
            super().__init__(optimizer)

        def get_lr(self, n):
            return self.base_lr * self.share**n

    for schedule in (Halved, lambda o: StepLR(o, np.int64(1), np.float32(0.5))):
        run = trainer(schedule, metrics={"size": lambda p, y: np.float32(p.size)})
        run.optimizer.lr = np.float32(0.25)
        run.fit([BATCH], [BATCH], epochs=2, checkpoint=tmp_path / "run", progress=False)
        again = trainer(schedule, metrics={"size": lambda p, y: np.float32(p.size)})
        again.fit([BATCH], [BATCH], epochs=3, checkpoint=tmp_path / "run", resume=True, progress=False)
        assert len(again.history) == 3 and type(again.history[0]["lr"]) is float


def test_what_no_checkpoint_can_hold_is_said_before_the_first_epoch(tmp_path):
    class Odd(StepLR):
        def __init__(self, optimizer):
            self.shape = lambda n: n
            super().__init__(optimizer, 1)

    run = trainer(Odd)
    with pytest.raises(TypeError, match="scheduler.shape is a function, which a checkpoint cannot hold"):
        run.fit([BATCH], checkpoint=tmp_path / "run", progress=False)
    assert not run.history and not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b"{}", b"null", b'[{"a":', b'[{"a": "\xe9"}]', b'"abc"'])
def test_a_history_is_named_for_what_it_is(content, tmp_path):
    (tmp_path / "h.json").write_bytes(content)
    with pytest.raises(ValueError, match="h.json is no history, .*: save it anew"):
        History.load(tmp_path / "h.json")
    (tmp_path / "h.json").write_bytes(b"\xef\xbb\xbf" + b'[{"epoch": 1}]')
    assert History.load(tmp_path / "h.json").column("epoch") == [1]


@pytest.mark.parametrize(
    ("state", "kind", "said"),
    [
        ({"__metadata__": np.ones(1)}, ValueError, "called __metadata__: rename"),
        ({"a": np.ones(1, np.longdouble)}, TypeError, "a is of dtype .*: use astype\\('float64'\\)"),
        ({"a": np.ma.array([1.0], mask=[1])}, ValueError, "a: .* masked entries"),
        (nn.Linear, TypeError, "takes a model"),
    ],
)
def test_what_no_file_can_hold(state, kind, said, tmp_path):
    with pytest.raises(kind, match=said):
        save_weights(tmp_path / "w.safetensors", state)
    assert not list(tmp_path.iterdir())
