"""Writing files so that a reader sees the old bytes or the new ones, never half of either."""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tito import CourseError


def stage(path: Path, text: str) -> Path:
    """Write `text` to a new hidden file beside `path` and return its path; `os.replace` then puts it in place."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
    except BaseException:
        os.unlink(name)
        raise
    return Path(name)


def write_atomic(path: Path, text: str) -> bool:
    """Make `text` the content of `path`, whose folder is created; False, and untouched, if it already is."""
    try:
        if path.exists() and path.read_bytes() == text.encode():
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = stage(path, text)
        try:
            os.replace(staged, path)
        except BaseException:
            staged.unlink()
            raise
    except OSError as error:
        raise CourseError(f"cannot write {path}: {error.strerror or error}; the file is as it was") from error
    return True


def digest(content: bytes) -> str:
    """A short hash of a file's bytes."""
    return hashlib.sha256(content).hexdigest()[:32]


@contextlib.contextmanager
def only_one(lock: Path, patience: float, busy: str, unwritable: str) -> Iterator[None]:
    """Hold the lock file at `lock`, whose folder is created; CourseError `busy` if another has it for `patience` s.

    `unwritable`: what to say if the file cannot be made; {reason} in it is filled in.
    """
    from filelock import FileLock, Timeout

    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(lock)
        held.acquire(timeout=patience)
    except Timeout:
        raise CourseError(busy) from None
    except OSError as error:
        raise CourseError(unwritable.replace("{reason}", str(error.strerror or error))) from error
    try:
        yield
    finally:
        held.release()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
