"""Is an answer in what is handed out? A search for the solutions and hidden tests of modules that are to be written,
and for what the teachers' pages say."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tito.course import notebook
from tito.course.registry import Course, Module

TEACHING = "docs/teaching"  # in the repository, and nowhere else
_SHORT = 8  # a line with fewer characters tells nothing
_QUOTED = 12  # nor does a quotation in prose of fewer
_TAUGHT = 40  # a line of a teachers' page with fewer is a heading or a rule of a table
_OPEN, _CLOSE = (notebook.BEGIN, notebook.BEGIN_HIDDEN), (notebook.END, notebook.END_HIDDEN)


class Leak(NamedTuple):
    """Lines of the region of a cell, or of a teachers' page (then `cell` is its path), found in a file."""

    path: Path
    cell: str
    lines: list[str]


def regions(course: Course, module: Module) -> list[tuple[str, list[str]]]:
    """(cell, lines) of the module's solution and hidden-test regions, without lines that notebooks show elsewhere."""
    shown = {line for one in course.modules for _, line, inside in _lines_of(one) if not inside}
    found: dict[tuple[str, int], list[str]] = {}
    for cell, line, inside in _lines_of(module):
        if inside and line not in shown and len(line) >= _SHORT:
            found.setdefault((cell, inside), []).append(line)
    return [(cell, lines) for (cell, _), lines in found.items()]


def _lines_of(module: Module) -> Iterator[tuple[str, str, int]]:
    """(cell, stripped line, the number of the region it is in, or 0) of everything in the module's notebooks."""
    region = count = 0
    for path in module.notebooks:
        for cell in notebook.read(path)["cells"]:
            for line in map(str.strip, notebook.python_lines(cell["source"])):
                if line in _OPEN:
                    region = count = count + 1
                elif line in _CLOSE:
                    region = 0
                else:
                    yield cell["id"], line, region


def search(course: Course, modules: Iterable[Module], folder: Path) -> list[Leak]:
    """What of the modules' answers is in the files of `folder`: any line in files made from their notebooks.

    Tests and given code may share a line with an answer by chance, but no region of several lines. A teachers' page
    may share none.
    """
    secrets = [(_made_from(module), regions(course, module)) for module in modules]
    taught = {page.relative_to(course.root).as_posix(): page for page in (course.root / TEACHING).glob("*.md")}
    said = {page: {line for line in _lines_in(path) if len(line) >= _TAUGHT} for page, path in taught.items()}
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        lines = _lines_in(path)
        found += [Leak(path, page, sorted(told & lines)) for page, told in said.items() if told & lines]
        for names, secret in secrets:
            made = path.stem.removesuffix("_dev") in names or ".tito" in path.parts
            for cell, region in secret:
                there = [line for line in region if line in lines]
                if len(there) >= (1 if made else max(2, len(region))):
                    found.append(Leak(path, cell, there))
    return found


def quoted(course: Course, module: Module) -> list[tuple[str, str]]:
    """(exercise, line) of the solution lines that the module's hints quote word for word."""
    secret = {line for _, region in regions(course, module) for line in region if len(line) >= _QUOTED}
    hints = [(exercise.id, hint) for exercise in module.exercises for hint in exercise.hints]
    return sorted((id, line) for id, hint in hints for line in secret if line in hint)


def _made_from(module: Module) -> set[str]:
    """What files are called that come from the module's notebooks: `spatial` for .ipynb, .py, twin and cache."""
    return {target.rpartition(".")[2] for target in module.targets.values()}


def _lines_in(path: Path) -> set[str]:
    if path.suffix == ".ipynb":
        return {line.strip() for cell in notebook.read(path)["cells"] for line in notebook.python_lines(cell["source"])}
    if path.suffix == ".html":
        from bs4 import BeautifulSoup

        text = BeautifulSoup(path.read_bytes(), "html.parser").get_text()
        return {line.strip() for line in text.splitlines()}
    return {line.strip() for line in path.read_bytes().decode(errors="replace").split("\n")}
