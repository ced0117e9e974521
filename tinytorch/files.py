"""Weights and checkpoints as files: whole at every moment, without code in them, readable by PyTorch.

Given, for Module 07: a short table of names, types and shapes, then the bare numbers (safetensors). Loading one can't
run code, which a pickle can. The library is imported when the first file is written or read: training needs NumPy only.
"""

import contextlib
import json
import os
import time
import zlib
from pathlib import Path

import numpy as np

from tinytorch.refusals import check_path, entries_of, history_rows, history_text, numbers_text, what_is_wrong


def write_safely(path, payload):
    """Write bytes to `path` so that at every moment there is either the old file or the new one, whole."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".tmp")
    try:
        with open(draft, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        _rename(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # the new name should be on the disk too; not every system can do it
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _rename(source, target, tries=6):
    """`os.replace`, for a moment again if it is refused: Windows does so while any program has the target open."""
    for left in reversed(range(tries)):
        try:
            return os.replace(source, target)
        except PermissionError as error:
            if not left:
                told = f"{error.strerror}; perhaps another program has it open: close that"
                raise PermissionError(error.errno, told, str(target)) from error
        time.sleep(0.05)


def safetensors_library():
    """The safetensors package, or ModuleNotFoundError naming it: training alone does not need it."""
    try:
        import safetensors
        import safetensors.numpy
    except ImportError:
        text = "weights and checkpoints are kept in safetensors files: pip install safetensors"
        raise ModuleNotFoundError(text, name="safetensors") from None
    return safetensors


FORMAT = "tinytorch checkpoint 1"


def write_arrays(path, arrays, metadata=None):
    """Write {name: array} and {name: text} to a safetensors file, atomically."""
    check_path("weights", path)
    library = safetensors_library()
    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_safely(path, library.numpy.save(arrays, metadata))


def read_arrays(path):
    """({name: array}, {name: text}) from a safetensors file; ValueError, naming the file, if it is damaged."""
    check_path("weights", path, reading=True)
    library = safetensors_library()
    try:
        with library.safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
            if any(array.dtype.kind not in "biuf" for array in arrays.values()):  # ml_dtypes teaches NumPy such
                raise TypeError("a dtype that is not NumPy's own")
            return arrays, file.metadata() or {}
    except Exception as error:  # the library's own error type, or NumPy's for a dtype which it does not have
        raise ValueError(f"{path} is no readable safetensors file, {what_is_wrong(Path(path))} ({error})") from error


def save_weights(path, state):
    """Save a `state_dict()`, or the model that has one, as safetensors. PyTorch loads the same file."""
    write_arrays(path, entries_of(path, state))


def load_weights(path):
    """{name: array} from a safetensors file, for `load_state_dict`; from a checkpoint, the model's part."""
    arrays, metadata = read_arrays(path)
    return part_of(arrays, "model") if metadata.get("format") == FORMAT else arrays


def part_of(state, name):
    """The entries of `state` that begin with "name.", without that beginning."""
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}


def _checksum(arrays, text):
    """One number that changes with any bit of the arrays or the text."""
    found = zlib.crc32(text.encode())
    for name in sorted(arrays):
        found = zlib.crc32(np.asarray(arrays[name], order="C").tobytes(), zlib.crc32(name.encode(), found))
    return str(found)


def write_checkpoint(path, state, extra):
    """One file: the arrays of `state` as tensors; its numbers and `extra`, which JSON can hold, as metadata."""
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    text = numbers_text(state, extra)
    write_arrays(path, arrays, {"format": FORMAT, "content": text, "crc32": _checksum(arrays, text)})


def read_checkpoint(path):
    """(state, extra) as `write_checkpoint` got them; ValueError for a damaged file or one of another kind."""
    arrays, metadata = read_arrays(path)
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path} holds weights, but no training state: load it with load_weights and train from there")
    if metadata.get("crc32") != _checksum(arrays, metadata["content"]):
        raise ValueError(f"{path} is damaged, its checksum is wrong: use an older copy, or start anew without resume")
    content = json.loads(metadata["content"])
    return {**arrays, **content["state"]}, content["extra"]


def check_same_settings(saved, now):
    """ValueError if a setting that stays the same during a run (momentum, gamma, ...) differs from the checkpoint's."""
    for part, moving in (("optimizer", "lr"), ("scheduler", "last_step")):
        old, new = part_of(saved, part), part_of(now, part)
        old, new = ({name: value for name, value in of.items() if "." not in name} for of in (old, new))
        if set(old) != set(new):
            told = [", ".join(settings) or f"no {part}" for settings in (old, new)]
            raise ValueError(f"the {part} was another one: {told[0]} in the checkpoint, {told[1]} here")
        for name, value in new.items():
            if name != moving and not np.array_equal(old[name], value):
                raise ValueError(f"{part}.{name} was {old[name]} and is {value} now: resume with the same settings")


class History(list):
    """One dictionary per epoch: epoch, train_loss, test_loss, test_accuracy, lr, seconds, images_per_second."""

    def column(self, name):
        """The values of one column, None where a row has none."""
        return [row.get(name) for row in self]

    def save(self, path):
        """Write the rows as JSON."""
        write_safely(path, history_text(self).encode())

    @classmethod
    def load(cls, path):
        """Read what `save` wrote."""
        check_path("history", path, reading=True)
        return cls(history_rows(path, Path(path).read_bytes()))
