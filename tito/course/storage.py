"""Writing files so that a reader sees the old bytes or the new ones, never half of either; on every system."""

import contextlib
import hashlib
import os
import tempfile
import time
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from tito import CourseError

Kept = typing.TypeVar("Kept")
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


def put_all(changes: Mapping[Path, bytes | None], seen: Mapping[Path, bytes | None] | None = None) -> list[Path]:
    """Make each path's content the given one (None: no file), in this order. OSError, and all is as it was.

    All are written beside their places before the first is put in place. Killed in between, it leaves whole files, the
    first ones new; the same call ends it. The caller sees to it that nobody else writes these files so.
    seen: the content that each change was made from; a file that has become another since stays, and is returned.
    """
    staged: dict[Path, Path] = {}
    old: dict[Path, bytes | None] = {}
    kept: list[Path] = []
    try:
        _clear(changes)
        for path, content in changes.items():
            if content is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                staged[path] = stage(path, content)
        for path, content in changes.items():
            there = path.read_bytes() if path.is_file() else None
            if seen is not None and there not in (seen.get(path), content):
                kept.append(path)
                continue
            old[path] = there
            if content is not None:
                replace(staged[path], path)
            elif there is not None:
                remove(path)
        for folder in {path.parent for path in old}:
            sync_folder(folder)
    except BaseException:
        _discard(staged)
        _undo(changes, old)
        raise
    _discard(staged)
    return kept


def _clear(paths: Iterable[Path]) -> None:
    """Delete what a killed `put_all` of these left beside them."""
    names = {f".{path.name}" for path in paths}
    for folder in {path.parent for path in paths}:
        for left in folder.glob(".*.tmp"):
            if left.name.rsplit(".", 2)[0] in names:
                left.unlink()


def _discard(staged: Mapping[Path, Path]) -> None:
    for file in staged.values():
        file.unlink(missing_ok=True)


def _undo(paths: Iterable[Path], old: Mapping[Path, bytes | None]) -> None:
    for path, content in old.items():
        if content is None:
            path.unlink(missing_ok=True)
        elif not path.is_file() or path.read_bytes() != content:
            try:
                put(path, content)
            except OSError as error:
                reason = f"{path} is the new file, as the old one cannot be put back: {error.strerror or error}"
                raise CourseError(f"{reason}. Mend that, and type the same again") from error
    for path in paths:
        with contextlib.suppress(OSError):
            for folder in path.parents:
                folder.rmdir()  # succeeds only on an empty folder: one that was made for this


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


def restored(kind: type[Kept], data: object) -> Kept:
    """A dataclass from what was kept of it as JSON. TypeError if that, or a field of it, is something else."""
    if not isinstance(data, dict):
        raise TypeError(f"{kind.__name__} is kept as an object, not as {type(data).__name__}")
    made = kind(**data)
    for name, hint in typing.get_type_hints(kind).items():
        hints = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        if not isinstance(getattr(made, name), tuple(typing.get_origin(one) or one for one in hints)):
            raise TypeError(f"{name} is {getattr(made, name)!r}"[:100])
    return made
