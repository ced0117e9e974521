"""`tito reset` and `tito restore`: give cells back as they were handed out, and bring back what was there before.

Every change to a student's notebook keeps a copy first, in `<root>/.tito/backups/<module>/<time>/`. A copy appears
there whole or not at all.
"""

import contextlib
import json
import shutil
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Course, Module
from tito.course.scaffold import handed_out
from tito.course.storage import only_one, put, replace, write_atomic

NOTE = "note.json"
_PATIENCE = 10  # seconds to wait for another tito


@dataclass(frozen=True)
class Backup:
    """A kept copy of a module's notebooks; its name is the time it was made."""

    name: str
    module: str
    why: str
    path: Path

    @property
    def when(self) -> str:
        """The time as people write it."""
        day, clock = self.name[:8], self.name[9:15]
        return f"{day[:4]}-{day[4:6]}-{day[6:]} {clock[:2]}:{clock[2:4]}:{clock[4:]}"

    @property
    def notebooks(self) -> list[Path]:
        return sorted(self.path.glob("*.ipynb"))


def locked(course: Course) -> contextlib.AbstractContextManager[None]:
    """Only one tito at a time changes notebooks."""
    return only_one(
        course.state / "course.lock",
        _PATIENCE,
        f"another tito has been changing this course for {_PATIENCE} s: wait for it, or end it",
        f"cannot write in {course.root}: {{reason}}; nothing was changed",
    )


def back_up(course: Course, module: Module, why: str) -> Backup:
    """Copy a module's notebooks, byte for byte, whatever state they are in. The caller holds the lock."""
    folder = course.state / "backups" / module.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        staged = Path(tempfile.mkdtemp(prefix=".", dir=folder))
        try:
            for path in filter(Path.is_file, module.notebooks):
                put(staged / path.name, path.read_bytes())
            (staged / NOTE).write_text(json.dumps({"why": why}), encoding="utf-8")
            name = _free_name(course)
            replace(staged, folder / name)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
    except OSError as error:
        raise CourseError(f"cannot keep a copy in {folder}: {error.strerror or error}; nothing was changed") from error
    return Backup(name, module.folder, why, folder / name)


def backups(course: Course) -> list[Backup]:
    """Every kept copy, newest first."""
    found = []
    for path in (course.state / "backups").glob("*/[0-9]*"):
        if path.is_dir():
            found.append(Backup(path.name, path.parent.name, _why(path), path))
    return sorted(found, key=lambda backup: (backup.name, backup.module), reverse=True)


def reset(course: Course, module: Module, name: str | None = None) -> Backup:
    """Give back a module's notebooks, or the cells of one exercise, or one cell, as they were handed out.

    Returns the copy that was kept.
    """
    with locked(course):
        texts = {}
        if name is None:
            texts = {path: notebook.dumps(handed_out(course, module, path)) for path in module.notebooks}
        else:
            fresh = {path: handed_out(course, module, path) for path in module.notebooks}
            path, ids = _find(module, name, fresh, "as it was handed out")
            nb = notebook.read(path)
            nb["cells"] = with_fresh(nb["cells"], fresh[path]["cells"], ids)
            texts[path] = notebook.dumps(nb)
        kept = back_up(course, module, f"reset {module.number}{f' {name}' if name else ''}")
        for path, text in texts.items():
            write_atomic(path, text)
    return kept


def _find(module: Module, name: str, notebooks: dict[Path, dict], how: str) -> tuple[Path, set[str]]:
    """(notebook, its cells) of an exercise, or of one cell, in `notebooks`, which are as `how` says."""
    exercise = next((exercise for exercise in module.exercises if exercise.id == name), None)
    for path in [exercise.notebook] if exercise else notebooks:
        known = {_name(cell) for cell in notebooks[path]["cells"]} if path in notebooks else set()
        ids = {*exercise.solution, *exercise.tests} if exercise else {name}
        if ids <= known:
            return path, ids
        if exercise:
            raise CourseError(f"{path.name} {how} has no cell {', '.join(sorted(ids - known))}")
    module.exercise(name)  # raises, with close matches
    raise AssertionError


@dataclass(frozen=True)
class Restored:
    """The copy that was brought back, the copy of what was there, and the cells that changed."""

    backup: Backup
    kept: Backup
    changed: tuple[str, ...]


def restore(course: Course, name: str, exercise: str | None = None) -> Restored:
    """Bring back the copy called `name`, or the one that begins so; or only an `exercise` of it, or one cell."""
    with locked(course):
        found = [backup for backup in backups(course) if backup.name.startswith(name)]
        exact = [backup for backup in found if backup.name == name]
        if len(exact or found) != 1:
            wrong = "there is no backup" if not found else f"there are {len(found)} backups, not one,"
            raise CourseError(f"{wrong} called {name}: tito restore lists them")
        [backup] = exact or found
        module = course.module(backup.module)
        texts = {module.path / path.name: _text(path) for path in backup.notebooks}
        if exercise:
            copies = {module.path / path.name: notebook.read(path) for path in backup.notebooks}
            path, ids = _find(module, exercise, copies, f"in the copy {backup.name}")
            nb = notebook.read(path)
            nb["cells"] = with_fresh(nb["cells"], copies[path]["cells"], ids)
            texts = {path: notebook.dumps(nb)}
        kept = back_up(course, module, f"restore {backup.name}")
        changed = tuple(id for path, text in texts.items() for id in _changed(path, text))
        for path, text in texts.items():
            write_atomic(path, text)
    return Restored(backup, kept, changed)


def _changed(path: Path, text: str) -> list[str]:
    """The names of the cells that a new text of a notebook changes, adds or takes away; none if one is unreadable."""
    with contextlib.suppress(CourseError, ValueError, KeyError, TypeError, AttributeError):
        new = {_name(cell): "".join(cell["source"]) for cell in json.loads(text)["cells"]}
        old = {_name(cell): cell["source"] for cell in notebook.read(path)["cells"]}
        return [name for name in {**new, **old} if new.get(name) != old.get(name)]
    return []


def with_fresh(cells: list[dict], fresh: list[dict], ids: Iterable[str]) -> list[dict]:
    """`cells` with those called `ids` taken from `fresh`: where the first of them stood, or else where it belongs."""
    order, cells = [_name(cell) for cell in fresh], list(cells)
    for position, id in [(n, id) for n, id in enumerate(order) if id in set(ids)]:
        here = [n for n, cell in enumerate(cells) if id in (cell["id"], _name(cell))]
        at = here[0] if here else _place(cells, order, position)
        cells = [cell for n, cell in enumerate(cells) if n not in here]
        cells.insert(at, fresh[position])
    return cells


def _place(cells: list[dict], order: list[str], position: int) -> int:
    """Where a missing cell belongs: after the nearest of those before it that is still there."""
    for id in reversed(order[:position]):
        for n, cell in enumerate(cells):
            if id == _name(cell):
                return n + 1
    return 0


def _name(cell: dict) -> str:
    """The name by which nbgrader and the registry know a cell."""
    return cell["metadata"].get("nbgrader", {}).get("grade_id") or cell["id"]


def _free_name(course: Course) -> str:
    """The time, to the second, that no backup of any module bears yet."""
    stamp, number = time.strftime("%Y%m%d-%H%M%S"), 1
    taken = {backup.name for backup in backups(course)}
    name = stamp
    while name in taken:
        number += 1
        name = f"{stamp}-{number}"
    return name


def _why(path: Path) -> str:
    try:
        return str(json.loads((path / NOTE).read_text(encoding="utf-8"))["why"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise CourseError(f"{path} cannot be read: {error}; nothing was changed") from None
