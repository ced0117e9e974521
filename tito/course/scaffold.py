"""The scaffold of a notebook: what a student is given, without solutions and hidden tests."""

import json
import sys
from pathlib import Path

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Course, Module

PRISTINE = "pristine"  # in the course's state folder: notebooks as they were handed out
REFERENCE = "reference"  # there too, only if the student asked for it: notebooks with their solutions


def strip(nb: dict) -> dict:
    """The notebook without solutions, hidden tests and outputs, made by nbgrader's own steps. `nb` stays as it is."""
    hidden, solutions, from_dict = _import_nbgrader()
    node = from_dict(nb)
    for step in (solutions(), hidden()):
        try:
            node, _ = step.preprocess(node, {})
        except Exception as error:
            raise CourseError(f"nbgrader cannot make a scaffold of it: {error}") from error
    stripped = json.loads(json.dumps(node))
    for cell in stripped["cells"]:
        if cell["cell_type"] == "code":
            cell.update(execution_count=None, outputs=[])
    return stripped


def handed_out(course: Course, module: Module, path: Path) -> dict:
    """The notebook at `path` as it was handed out: the kept copy of a workspace, or the author's, stripped."""
    kept = kept_copy(course, module, path)
    if kept.is_file():
        return notebook.read(kept)
    try:
        nb = notebook.read(path)
    except CourseError as error:
        raise CourseError(f"{error}\nThere is no scaffold of it either: {kept} is missing") from None
    if not has_solutions(nb):
        raise CourseError(f"no scaffold of {path.name} at {kept}: bring it back with tito init {course.root} --update")
    return strip(nb)


def kept_copy(course: Course, module: Module, path: Path, kind: str = PRISTINE) -> Path:
    """Where a workspace keeps its copy of a notebook."""
    return course.state / kind / module.folder / path.name


def has_solutions(nb: dict) -> bool:
    """Whether this is an author's notebook, with solutions between their markers."""
    return any(notebook.kind(cell) == "solution" and notebook.BEGIN in cell["source"] for cell in nb["cells"])


def standing(course: Course, module: Module) -> str:
    """`reference`, `scaffold` or `yours` for a module of a workspace; nothing in a repository of authors."""
    if not (course.state / PRISTINE).is_dir():
        return ""
    pairs = [(path, kept_copy(course, module, path)) for path in module.notebooks]
    if not all(kept.is_file() for _, kept in pairs):
        return "reference"
    try:
        same = all(_written(notebook.read(path)) == _written(notebook.read(kept)) for path, kept in pairs)
    except CourseError:
        return "yours"
    return "scaffold" if same else "yours"


def _written(nb: dict) -> dict[str, str]:
    """The cells that a student writes."""
    return {cell["id"]: cell["source"] for cell in nb["cells"] if notebook.kind(cell) in ("solution", "manual")}


def _import_nbgrader():
    """nbgrader's two steps and nbformat's from_dict, without the grammar of URLs that would take long to build."""
    grammar = "rfc3987_syntax"
    missing = sys.modules.setdefault(grammar, None) is None
    try:
        from nbformat import from_dict
        from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions
    except ImportError:
        raise CourseError('this needs nbgrader, of the extra [grade]: pip install "tinytorch[grade]"') from None
    finally:
        if missing:
            del sys.modules[grammar]
    return ClearHiddenTests, ClearSolutions, from_dict
