"""CIFAR-10's other form: a pickle with a dictionary of an array and lists, read without running anything in it.

A pickle may name any function to be called. This reader knows three names, all of them its own stand-ins for what
NumPy writes; at any other it refuses the file.
"""

import io
import pickle

from tito import CourseError

PIXELS = 3 * 32 * 32


class _Kind:
    """Stands in for numpy.dtype: bytes, and nothing else."""

    def __init__(self, code, *rest):
        if code not in ("u1", b"u1", "|u1"):
            raise pickle.UnpicklingError(f"an array of {code!r}, where bytes are expected")

    def __setstate__(self, state):
        pass


class _Array:
    """Stands in for numpy.ndarray: a shape and its bytes."""

    shape, content = (0,), b""

    def __setstate__(self, state):
        _, shape, kind, fortran, content = state
        content = content.encode("latin1") if isinstance(content, str) else content
        plain = isinstance(kind, _Kind) and isinstance(content, bytes) and isinstance(shape, tuple)
        if not plain or fortran or len(shape) != 2 or shape[0] * shape[1] != len(content):
            raise pickle.UnpicklingError("an array that is no table of bytes, row by row")
        self.shape, self.content = shape, content


def _reconstruct(kind, *rest):
    if kind is not _Array:
        raise pickle.UnpicklingError("an array of a kind of its own")
    return _Array()


class _Reader(pickle.Unpickler):
    """Arrays, strings, numbers, and lists and dictionaries of them."""

    def find_class(self, module, name):
        known = {"_reconstruct": _reconstruct, "ndarray": _Array, "dtype": _Kind}
        if module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray") and name in known:
            return known[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and a file of pictures needs nothing of the kind")

    def persistent_load(self, pid):
        raise pickle.UnpicklingError("it refers to something outside of it")


def read_batch(file, name: str) -> bytes:
    """A pickled batch as the binary version's records: label, red, green, blue. CourseError if it is anything else."""
    try:
        batch = _Reader(io.BytesIO(file.read()), encoding="bytes").load()
        pixels = batch.get(b"data", batch.get("data"))
        labels = bytes(batch.get(b"labels", batch.get("labels")))
        count, width = pixels.shape
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise CourseError(f"{name} is no pickled batch of CIFAR-10: {error}") from error
    if (len(labels), width) != (count, PIXELS):
        raise CourseError(f"{name} has {len(labels)} labels for {count} pictures of {width} bytes")
    rows = (pixels.content[at * PIXELS : (at + 1) * PIXELS] for at in range(count))
    return b"".join(bytes([label]) + row for label, row in zip(labels, rows, strict=True))
