"""The scaffold of a notebook: what a student is given, without solutions and hidden tests. What nbgrader makes too."""

import ast
import copy
from pathlib import Path

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Course, Module

PRISTINE = "pristine"  # in the course's state folder: notebooks as they were handed out
REFERENCE = "reference"  # there too, only if the student asked for it: notebooks with their solutions

_STUB = ("# YOUR CODE HERE", "raise NotImplementedError()")  # nbgrader's own, as are the words it looks for in a line
ANSWER = ("YOUR ANSWER HERE",)
_SOLUTION = ("BEGIN SOLUTION", "END SOLUTION")
_HIDDEN = ("BEGIN HIDDEN TESTS", "END HIDDEN TESTS")


def strip(nb: dict) -> dict:
    """The notebook without solutions, hidden tests and outputs. `nb` stays as it is."""
    stripped = copy.deepcopy(nb)
    stripped["metadata"].pop("celltoolbar", None)
    for cell in stripped["cells"]:
        cell["source"] = released(cell)
        if cell["cell_type"] == "code":
            cell.update(execution_count=None, outputs=[])
    return stripped


def fold(nb: dict) -> dict:
    """`nb` itself, with tests and imports folded: JupyterLab shows their first line, and what they print."""
    for cell in nb["cells"]:
        if notebook.kind(cell) == "graded" or _only_imports(cell):
            cell["metadata"]["jupyter"] = {"source_hidden": True}
    return nb


def _only_imports(cell: dict) -> bool:
    """Whether an exported cell has nothing to read: imports, and the list of names that `_all_` adds."""
    if notebook.kind(cell) != "export" or notebook.fault(cell["source"]):
        return False
    kinds = ast.Import | ast.ImportFrom
    body = [node for node in ast.parse(cell["source"]).body if not isinstance(node, kinds)]
    return all(isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_all_" for node in body)


def released(cell: dict) -> str:
    """A cell's source in the scaffold. CourseError if a region has no end, or stands where nbgrader allows none."""
    marks, stub = cell["metadata"].get("nbgrader", {}), _STUB if cell["cell_type"] == "code" else ANSWER
    try:
        source, solutions = _cut(cell["source"], *_SOLUTION, stub)
        if marks.get("solution") and not solutions:
            source = "\n".join(stub)
        source, hidden = _cut(source, *_HIDDEN)
    except CourseError as error:
        raise CourseError(f"no scaffold can be made of the cell {cell['id']}: {error}") from None
    for regions, flag, what in ((solutions, "solution", "solutions"), (hidden, "grade", "hidden tests")):
        if regions and not marks.get(flag):
            raise CourseError(f"the cell {cell['id']} holds {what}, and nbgrader does not know it: mend its metadata")
    return source


def without_solutions(source: str) -> str:
    """Code with nbgrader's stub in the place of every solution region."""
    return _cut(source, *_SOLUTION, _STUB)[0]


def without_hidden(source: str) -> str:
    """Code without its hidden tests."""
    return _cut(source, *_HIDDEN)[0]


def hidden_lines(source: str) -> list[tuple[int, int]]:
    """(first, last) line of every region of hidden tests, markers included."""
    return _cut(source, *_HIDDEN)[1]


def _cut(source: str, begin: str, end: str, stub: tuple[str, ...] = ()) -> tuple[str, list[tuple[int, int]]]:
    """What stands outside of the regions, with `stub` in their places, indented as they are; and the regions' lines."""
    lines, regions, first = [], [], 0
    for number, line in enumerate(source.split("\n"), 1):
        if begin in line:
            if first:
                raise CourseError(f"line {number}: {begin} stands within a region that began in line {first}")
            first, indent = number, line[: len(line) - len(line.lstrip())]
            lines += [indent + text for text in stub]
        elif end in line:
            regions += [(first, number)] if first else []
            first = 0
        elif not first:
            lines.append(line)
    if first:
        raise CourseError(f"line {first}: {begin} has no {end}")
    return "\n".join(lines), regions


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
        raise CourseError(f"no scaffold of {path.name} at {kept}: in {course.root} type tito init . --update")
    return strip(nb)


def kept_copy(course: Course, module: Module, path: Path, kind: str = PRISTINE) -> Path:
    """Where a workspace keeps its copy of a notebook."""
    return course.state / kind / module.folder / path.name


def has_solutions(nb: dict) -> bool:
    """Whether this is an author's notebook, with solutions between their markers."""
    return any(notebook.kind(cell) == "solution" and notebook.BEGIN in cell["source"] for cell in nb["cells"])


def origin_of(course: Course, module: Module) -> str:
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
