"""`tito submit`: the files that an instructor collects, refused while they hold what cannot be graded.

Grading goes by the names of the cells: each of those that were handed out must be there once, and of its own type.
"""

import contextlib
import difflib
import getpass
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Course, Module
from tito.course.scaffold import ANSWER, handed_out
from tito.course.storage import write_atomic

LARGEST = 5 << 20  # bytes that a grader accepts
_STUDENT = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_FLAGS = ("grade", "solution", "locked", "points", "task")


@dataclass(frozen=True)
class Fault:
    """Something that cannot be graded, and how to mend it."""

    what: str
    mend: str


@dataclass(frozen=True)
class HandedIn:
    """What was written, as whose work, or (and then nothing was) why not; and what is good to know."""

    name: str
    login: bool  # the name is the login, as none was given
    files: tuple[Path, ...]
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]


def hand_in(course: Course, module: Module, folder: Path, student: str | None) -> HandedIn:
    """Write `folder`/STUDENT/MODULE/*.ipynb, without outputs, if it can be graded.

    A `folder` that is not there is made, unless it looks like a slip of the pen.
    """
    name = student or _login()
    if not _STUDENT.fullmatch(name) or name.startswith("."):
        raise CourseError(f"{name!r} cannot name a folder: say --as with letters, digits, dot, - and _")
    folder = folder.expanduser()
    remarks = _check_folder(folder)
    texts, faults, touched = {}, [], False
    for path in module.notebooks:
        nb = notebook.read(path)
        fresh = handed_out(course, module, path)
        faults += find_faults(nb, fresh, module, path)
        remarks += notes(nb, fresh)
        touched = touched or _written(nb) != _written(fresh)
        for cell in nb["cells"]:
            if cell["cell_type"] == "code":
                cell.update(execution_count=None, outputs=[])
        texts[path.name] = notebook.dumps(nb)
        if len(texts[path.name].encode()) > LARGEST:
            faults.append(Fault(f"{path.name} is larger than {LARGEST >> 20} MB", "delete what you pasted into it"))
    if faults:
        return HandedIn(name, not student, (), tuple(faults), ())
    if not touched:
        remarks.insert(0, f"Nothing is written in it yet: it is as you got it. To begin: tito lab {module.number}")
    target = folder / name / module.folder
    if course.folder("nbs") in (target.resolve(), *target.resolve().parents):
        raise CourseError(f"{folder} lies among the course's notebooks: choose another folder")
    files = [target / name for name in texts]
    for file in files:
        write_atomic(file, texts[file.name])
    write_atomic(target / "timestamp.txt", time.strftime("%Y-%m-%d %H:%M:%S UTC\n", time.gmtime()))
    return HandedIn(name, not student, tuple(files), (), tuple(remarks))


def _check_folder(folder: Path) -> list[str]:
    """What to say of a folder that is not there yet; CourseError if another one beside it has nearly its name."""
    if folder.exists():
        return []
    if not folder.parent.is_dir():
        raise CourseError(f"there is no folder {folder.parent}: is {folder} what your instructor named?")
    beside = [path.name for path in folder.parent.iterdir() if path.is_dir()]
    if near := difflib.get_close_matches(folder.name, beside, n=1, cutoff=0.75):
        other = folder.parent / near[0]
        raise CourseError(f"there is no folder {folder}: did you mean {other}? If not, make the folder first")
    return [f"{folder} was not there and has been made: is it the folder that your instructor named?"]


def _written(nb: dict) -> dict[str, str]:
    """What a student writes: solutions and answers."""
    return {
        _marks(cell)["grade_id"]: cell["source"].strip()
        for cell in nb["cells"]
        if _marks(cell).get("solution") and "grade_id" in _marks(cell)
    }


def unanswered(course: Course, module: Module) -> list[float]:
    """The points of every question that a person grades and that has no answer yet."""
    found = []
    for path in module.notebooks:
        given: dict[str, str] = {}
        with contextlib.suppress(CourseError):
            given = _written(handed_out(course, module, path))
        for cell in notebook.read(path)["cells"]:
            text = cell["source"].strip()
            if notebook.kind(cell) == "manual" and text in ("", *ANSWER, given.get(str(_marks(cell).get("grade_id")))):
                found.append(_marks(cell).get("points", 0))
    return found


def _login() -> str:
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):  # Windows has no `pwd` to ask
        raise CourseError("this system does not say who you are: say it with --as NAME") from None


def find_faults(nb: dict, fresh: dict, module: Module, path: Path) -> list[Fault]:
    """What in a student's notebook cannot be graded, seen from what was handed out."""
    given = {_marks(cell)["grade_id"]: cell for cell in fresh["cells"] if _marks(cell)}
    found: dict[str, list[int]] = {id: [] for id in given}
    for number, cell in enumerate(nb["cells"], 1):
        id = _marks(cell).get("grade_id") or (cell["id"] if cell["id"] in given else None)
        if id is not None:
            found.setdefault(id, []).append(number)
    return [fault for id, numbers in found.items() for fault in _faults(id, numbers, nb, given, module, path)]


def _faults(id, numbers: list[int], nb: dict, given: dict[str, dict], module: Module, path: Path) -> Iterator[Fault]:
    again = f"tito reset {module.number} {id} (a copy is kept; tito restore brings it back)"
    if not numbers:
        yield Fault(f"{path.name} has no cell {id}: it was deleted or renamed", again)
    elif len(numbers) > 1:
        places = " and ".join(f"cell {number}" for number in numbers)
        yield Fault(f"{path.name} has the cell {id} {len(numbers)} times ({places})", "delete the copies, keep one")
    elif id not in given:
        yield Fault(f"{path.name}, cell {numbers[0]}: {id} was not handed out", "delete it, or its nbgrader metadata")
    else:
        yield from _retyped(id, nb["cells"][numbers[0] - 1], given[id], f"{path.name}, cell {numbers[0]} ({id})", again)


def _retyped(id: str, cell: dict, fresh: dict, where: str, again: str) -> Iterator[Fault]:
    """A cell that stands once but is not what it was: of another type, or marked otherwise."""
    if cell["cell_type"] != fresh["cell_type"]:
        kinds = f"is a {cell['cell_type']} cell and was handed out as a {fresh['cell_type']} cell"
        yield Fault(f"{where} {kinds}", f"turn it back in JupyterLab, or {again}")
    elif any(_marks(cell).get(flag) != _marks(fresh).get(flag) for flag in _FLAGS):
        yield Fault(f"{where} lost or changed its nbgrader metadata", again)


def notes(nb: dict, fresh: dict) -> list[str]:
    """What does no harm and is good to know: graded cells that were edited, and cells in another order."""
    given = [_marks(cell)["grade_id"] for cell in fresh["cells"] if _marks(cell)]
    here = [id for cell in nb["cells"] if (id := _marks(cell).get("grade_id"))]
    sources = {_marks(cell)["grade_id"]: cell["source"] for cell in fresh["cells"] if _marks(cell).get("locked")}
    edited = [
        id
        for cell in nb["cells"]
        if (id := _marks(cell).get("grade_id")) in sources
        and cell["source"] != sources[id]
        and notebook.BEGIN_HIDDEN not in cell["source"]
    ]
    found = [f"{id} was edited; grading uses it as it was handed out." for id in edited]
    if Counter(here) == Counter(given) and here != given:
        found.append("The cells stand in another order; grading uses the order they were handed out in.")
    return found


def _marks(cell: dict) -> dict:
    return cell["metadata"].get("nbgrader", {})
