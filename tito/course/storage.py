"""Writing files so that a reader sees the old bytes or the new ones, never half of either; on every system."""

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tito import CourseError

WINDOWS = os.name == "nt"
TRIES, PAUSE = 6, 0.05  # how often a file that somebody holds open is tried, and the seconds in between
_HELD = "perhaps another program holds it open (an editor, a virus scanner, OneDrive): close that, and try again"


def replace(source: Path, target: Path) -> None:
    """`os.replace`, of a file or a folder, for a moment again where it is refused."""
    _patiently(os.replace, source, target)


def remove(path: Path) -> None:
    """`os.unlink`, for a moment again where it is refused."""
    _patiently(os.unlink, path)


def _patiently(action: Callable, *paths: Path) -> None:
    """Windows refuses it while any program has one of the files open; most let go after a moment."""
    for left in reversed(range(TRIES)):
        try:
            return action(*paths)
        except PermissionError as error:
            if not left:
                if WINDOWS:
                    error.strerror = f"{error.strerror}; {_HELD}"
                raise
        time.sleep(PAUSE)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has a folder's names, on the systems that can open a folder."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def temporary(**options) -> tempfile.TemporaryDirectory:
    """A temporary folder. What a scanner holds open when it ends stays there, and is no reason to fail."""
    return tempfile.TemporaryDirectory(ignore_cleanup_errors=True, **options)


def stage(path: Path, data: str | bytes, sync: bool = True) -> Path:
    """Write `data` to a new hidden file beside `path` and return its path; `replace` then puts it in place."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(name, mode)
    except BaseException:
        os.unlink(name)
        raise
    return Path(name)


def put(path: Path, data: str | bytes, sync: bool = True) -> None:
    """Make `data` the content of `path`, whose folder is created, whole or not at all; a link is replaced. OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = stage(path, data, sync)
    try:
        replace(staged, path)
    except BaseException:
        staged.unlink()
        raise


def write_atomic(path: Path, text: str) -> bool:
    """Make `text` the content of `path`, whose folder is created; False, and untouched, if it already is."""
    try:
        if path.exists() and path.read_bytes() == text.encode():
            return False
        put(path, text)
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
