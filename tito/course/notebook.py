"""Notebooks: read, tell the kinds of cells apart, write them in one canonical form.

A notebook is the dictionary its JSON holds, except that every cell's `source` is one string. Cells are counted from 1.
"""

import ast
import io
import json
import re
import tokenize
from pathlib import Path

from tito import CourseError
from tito.course.storage import write_atomic

CORE = ("export", "solution", "graded")  # the kinds that `tito test` and grading execute
EXPORTS = {"export", "exports", "exporti"}  # the directives that send a cell to the package
KERNEL = {"display_name": "TinyTorch", "language": "python", "name": "tinytorch"}  # what the notebooks name
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
BEGIN_HIDDEN, END_HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"

_DIRECTIVE = re.compile(r"\s*#\s*\|\s*([^\s:]+)\s*:?\s*(.*?)\s*$")
_ASSIGNMENT = re.compile(r"#\s*(TODO|HINT)\b")
_MARKER = re.compile(r"###\s*(BEGIN|END) SOLUTION\b")


def read(path: Path) -> dict:
    """The notebook at `path`; CourseError names the file if it isn't a notebook of format 4 with cell ids."""
    try:
        nb = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise CourseError(f"no notebook at {path}: restore it, or mend the registry that names it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CourseError(f"{path} is not a readable notebook ({error}): restore it from git or a backup") from None
    sound = isinstance(nb, dict) and isinstance(nb.get("cells"), list) and isinstance(nb.get("metadata"), dict)
    if not sound or nb.get("nbformat") != 4:
        raise CourseError(f"{path} is not a notebook of format 4: open it in JupyterLab and save it")
    for number, cell in enumerate(nb["cells"], 1):
        if not isinstance(cell, dict) or not {"cell_type", "id", "metadata", "source"} <= cell.keys():
            raise CourseError(f"{path}, cell {number} lacks its type, id, metadata or source: save it from JupyterLab")
        if problem := _ill_formed(cell):
            raise CourseError(f"{path}, cell {number} {problem}: restore it from git or a backup")
        cell["source"] = "".join(cell["source"])
    return nb


def _ill_formed(cell: dict) -> str:
    """What in a cell is not of the type that the format asks for, where the code below would stumble over it."""
    source, marks = cell["source"], {}
    if isinstance(cell["metadata"], dict):
        marks = cell["metadata"].get("nbgrader", {})
    if not isinstance(cell["id"], str) or not isinstance(cell["cell_type"], str):
        return "has an id or a type that is no text"
    if not isinstance(source, str) and not (isinstance(source, list) and all(isinstance(line, str) for line in source)):
        return "has a source that is no text"
    if not isinstance(cell["metadata"], dict) or not isinstance(marks, dict):
        return "has metadata that is no table"
    if marks.get("grade") and not isinstance(marks.get("grade_id"), str):
        return "is graded and has no grade_id"
    if marks.get("grade") and not isinstance(marks.get("points"), int | float):
        return "is graded and has no points"
    return ""


def dumps(nb: dict) -> str:
    """The canonical text of a notebook, as nbformat and nbdev write it: sorted keys, indent 1, one final newline."""
    cells = [{**cell, "source": cell["source"].splitlines(keepends=True)} for cell in nb["cells"]]
    return json.dumps({**nb, "cells": cells}, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def write(path: Path, nb: dict) -> bool:
    """Write `nb` to `path` atomically, in canonical form; False if the file already holds just that."""
    return write_atomic(Path(path), dumps(nb))


def python_lines(source: str, ends: bool = False) -> list[str]:
    """The lines of Python code, as Python counts them; with their `ends`, if wanted.

    `str.splitlines` also splits at form feeds, U+2028 and the like, which are no line ends in Python: inside a comment
    or a string pasted from slides it would make code of what is none.
    """
    found = io.StringIO(source, newline="").readlines()
    return found if ends else [line.rstrip("\r\n") for line in found]


def directives(source: str) -> dict[str, str]:
    """The nbdev directives (`#| name value`) that open a cell."""
    matches = (_DIRECTIVE.match(line) for line in python_lines(source)[: opening(source)])
    return {match[1]: match[2] for match in matches if match}


def opening(source: str) -> int:
    """How many lines open a cell before its code: directives, and blank lines among them, which nbdev takes away."""
    lines = python_lines(source)
    return next((n for n, line in enumerate(lines) if line.strip() and not _DIRECTIVE.match(line)), len(lines))


def kind(cell: dict) -> str:
    """One of export, solution, graded, manual, exploration, setup (the `default_exp` cell) and markdown."""
    marks = cell["metadata"].get("nbgrader", {})
    if marks.get("grade"):
        return "manual" if marks.get("solution") else "graded"
    if cell["cell_type"] != "code":
        return "markdown"
    if marks.get("solution"):
        return "solution"
    names = directives(cell["source"])
    return "export" if names.keys() & EXPORTS else "setup" if "default_exp" in names else "exploration"


def exported(cell: dict) -> bool:
    """Whether nbdev exports this cell; a solution cell is one too."""
    return cell["cell_type"] == "code" and bool(directives(cell["source"]).keys() & EXPORTS)


def short_name(path: Path) -> str:
    """What a notebook is called in commands: `fast` for fast_dev.ipynb."""
    return path.stem.removesuffix("_dev")


def label(number: int, cell: dict) -> str:
    """How messages name a cell: its number from 1, and its id."""
    return f"cell {number} ({cell['id']})"


def points(nb: dict) -> dict[str, float]:
    """grade_id -> points of every cell that earns some."""
    marks = (cell["metadata"].get("nbgrader", {}) for cell in nb["cells"])
    return {mark["grade_id"]: mark["points"] for mark in marks if mark.get("grade")}


def target(nb: dict, path: Path) -> str:
    """Where the notebook exports to, such as `core.spatial`: its one `#| default_exp`."""
    openings = [directives(cell["source"]) for cell in nb["cells"] if cell["cell_type"] == "code"]
    names = [opening["default_exp"] for opening in openings if "default_exp" in opening]
    if len(names) != 1 or not all(part.isidentifier() for part in names[0].split(".")):
        raise CourseError(f"{path} needs one cell `#| default_exp core.name`, and has {names or 'none'}")
    return names[0]


def misplaced(source: str) -> tuple[int, str] | None:
    """(line, what is wrong) of a directive below a cell's opening lines, which nbdev would silently ignore, or None."""
    start = opening(source)
    for number, line in enumerate(python_lines(source)[start:], start + 1):
        match = _DIRECTIVE.match(line)
        if match and match[1] in EXPORTS | {"default_exp", "exportd"}:
            return number, f"`{line.strip()}` only counts on the cell's first line: move it there"
    return None


def fault(source: str) -> tuple[int, str] | None:
    """(line, what is wrong) of a code cell that isn't plain Python or has a misplaced directive, or None."""
    if found := misplaced(source):
        return found
    lines = python_lines(source)
    try:
        compile(source, "<cell>", "exec", dont_inherit=True)
    except SyntaxError as error:
        number = error.lineno or 1
        line = lines[number - 1].strip() if number <= len(lines) else ""
        if re.match(r"[%!?]", line) or re.search(r"=\s*[%!]|\?$", line):
            return number, f"`{line}` is IPython's, not Python's: keep it out of cells that are exported or graded"
        return number, f"{type(error).__name__}: {error.msg}: `{line}`"
    except ValueError as error:  # a null byte
        return 1, str(error)
    return None


def definitions(source: str) -> str:
    """Only the functions, classes and imports of a cell, on their lines: what is kept of one that hung or died."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    lines = source.split("\n")
    kept: set[int] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Import | ast.ImportFrom):
            first = min([node.lineno, *(mark.lineno for mark in getattr(node, "decorator_list", []))])
            kept.update(range(first, (node.end_lineno or first) + 1))
    return "\n".join(line if number in kept else "" for number, line in enumerate(lines, 1))


def library_lines(source: str) -> list[tuple[int, str]]:
    """(line number, line) of what a cell gives to the package: without solution markers and TODO and HINT comments.

    A comment on the lines that follow a TODO or HINT without a gap continues it.
    """
    lines, dropped, task_line = python_lines(source), set(), None
    for token in tokenize.generate_tokens(iter(python_lines(source, ends=True)).__next__):
        number, column = token.start
        if token.type != tokenize.COMMENT:
            continue
        alone = not lines[number - 1][:column].strip()
        task = _ASSIGNMENT.match(token.string)
        marker = _MARKER.match(token.string)
        if alone and (task or marker or number - 1 == task_line):
            dropped.add(number)
            task_line = None if marker else number
        elif task:
            lines[number - 1] = lines[number - 1][:column].rstrip()
    return [(number, line) for number, line in enumerate(lines, 1) if number not in dropped]
