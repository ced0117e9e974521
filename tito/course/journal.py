"""Many files changed as one: staged beside the course, committed by one rename, then put in place one by one.

Killed before the rename, nothing happened; killed after it, the next command finishes the work.
"""

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tito import CourseError
from tito.course.storage import digest, remove, replace, sync_folder

PENDING = "update"  # in the course's state folder: a committed change that is being put in place
_PLAN = "plan.json"
_PATIENCE = 10  # seconds to wait for another tito


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Nobody else exports, resets, restores or updates the course at `root`."""
    from filelock import FileLock, Timeout

    with contextlib.ExitStack() as stack:
        try:
            (root / ".tito").mkdir(exist_ok=True)
            for name in ("course.lock", "export.lock"):
                stack.enter_context(FileLock(root / ".tito" / name).acquire(timeout=_PATIENCE))
        except Timeout:
            raise CourseError(f"another tito is changing {root}: wait for it, or end it") from None
        except OSError as error:
            raise CourseError(f"cannot write in {root}: {error.strerror or error}; nothing was changed") from None
        yield


def commit(root: Path, changes: Mapping[str, bytes | None], seen: Mapping[str, bytes | None]) -> None:
    """Make `changes` (path -> new content, None to delete it) certain to happen. The caller holds the lock.

    seen: the content that each change was made from; a file that has become another one since then stays as it is.
    """
    state = root / ".tito"
    for leftover in state.glob(f"{PENDING}.*"):
        shutil.rmtree(leftover, ignore_errors=True)
    _check_writable(root, changes)
    try:
        staged = Path(tempfile.mkdtemp(prefix=f"{PENDING}.", dir=state))
        try:
            _write(staged, changes, seen)
            replace(staged, state / PENDING)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
    except OSError as error:
        raise CourseError(f"cannot write in {state}: {error.strerror or error}; nothing was changed") from error
    sync_folder(state)


def _check_writable(root: Path, changes: Mapping[str, bytes | None]) -> None:
    """Refuse before anything happens, rather than in the middle."""
    for folder in {(root / name).parent for name in changes}:
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
            raise CourseError(f"cannot write in {there}: it is not yours to write; nothing was changed")


def _write(staged: Path, changes: Mapping[str, bytes | None], seen: Mapping[str, bytes | None]) -> None:
    plan = []
    for number, (name, content) in enumerate(changes.items()):
        if content is not None:
            write_synced(staged / str(number), content)
        plan.append({"name": name, "was": _digest(seen.get(name)), "to": _digest(content)})
    write_synced(staged / _PLAN, json.dumps(plan).encode())


def pending(root: Path) -> bool:
    """Whether a committed change waits to be put in place."""
    return (root / ".tito" / PENDING).is_dir()


def finish(root: Path) -> list[str]:
    """Put a committed change in place, if there is one; returns the files that someone changed meanwhile, and has kept.

    The caller holds the lock.
    """
    if not pending(root):
        return []
    folder = root / ".tito" / PENDING
    kept = []
    try:
        for number, step in enumerate(json.loads((folder / _PLAN).read_text(encoding="utf-8"))):
            if not _step(folder / str(number), root / step["name"], step["was"], step["to"]):
                kept.append(step["name"])
        done = folder.with_name(f"{PENDING}.done")
        shutil.rmtree(done, ignore_errors=True)
        replace(folder, done)
        shutil.rmtree(done, ignore_errors=True)
    except OSError as error:
        reason = f"the update of {root} cannot go on: {error.strerror or error}: {error.filename or root}"
        raise CourseError(f"{reason}. Mend that, and type any tito command: it goes on") from error
    return kept


def _step(staged: Path, target: Path, was: str | None, to: str | None) -> bool:
    """One file: True if it is what it should become."""
    there = _digest(target.read_bytes() if target.is_file() else None)
    if there == to:
        return True
    if there != was:
        return False
    if to is None:
        remove(target)
        return True
    target.parent.mkdir(parents=True, exist_ok=True)
    put(staged, target)
    return True


def put(staged: Path, target: Path) -> None:
    """Rename a file into its place, from another file system too."""
    if target.exists():
        os.chmod(staged, target.stat().st_mode & 0o777)
    try:
        replace(staged, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        beside = target.with_name(f".{target.name}.tmp")
        shutil.copy2(staged, beside)
        replace(beside, target)


def write_synced(path: Path, content: bytes) -> None:
    """Write a new file and wait until the disk has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _digest(content: bytes | None) -> str | None:
    return None if content is None else digest(content)
