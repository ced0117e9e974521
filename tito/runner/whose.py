"""Whose line, whose test: from a place in the package, or a test of the pytest folder, to the exercise it concerns."""

import ast
import re
from pathlib import Path

from tito.course import notebook
from tito.course.registry import Module
from tito.runner.marks import CELL, functions
from tito.runner.results import Line, Trouble

MOST = 5  # exercises that a failure may be laid at: more would say nothing
NEAR = 1.5  # so many times as many passing tests may run them as run the first

_ARRAYS = re.compile(r"\n *(?:ACTUAL|DESIRED|x|y): array")  # where numpy.testing begins to print whole arrays


def explain(trouble: Trouble, tests: list[dict], folder: Path, module: Module, notebooks: dict[Path, dict]) -> None:
    """Say of a failed pytest test which exercise it is about, by the reader's own cells and lines.

    `tests`: of each test of the session its outcome and the cells that `ran`; `folder` holds the package that it saw.
    """
    trouble.lines = [in_notebook(line, folder, notebooks) for line in trouble.lines]
    trouble.message = without_introspection(trouble.message)
    owners = {cell: exercise.id for exercise in module.exercises for cell in exercise.solution}
    forgot = [owners[cell] for cell in defining(trouble.fell, notebooks) if cell in owners]
    through = [owners[line["place"]] for line in trouble.lines if line["place"] in owners]
    if forgot or through:  # it was raised there, or by what that called
        trouble.exercises = (forgot or through)[-1:]
    else:
        trouble.exercises, trouble.evidence = suspects(trouble.where, tests, owners)


def suspects(failed: str, tests: list[dict], owners: dict[str, str]) -> tuple[list[str], str]:
    """The exercises that the failing tests run and passing ones run least, and a sentence of it; none if they are many.

    Each test has its name, outcome and cells that `ran`.
    """
    runs = {test["test"]: ({owners[cell] for cell in test["ran"] if cell in owners}, test["outcome"]) for test in tests}
    failing = [ran for ran, outcome in runs.values() if outcome == "failed" and ran]
    mine = runs.get(failed, (set(), ""))[0]
    alike = [ran for ran in failing if ran & mine]
    shared = set.intersection(mine, *alike) or mine  # by all of them, if there is one fault
    passing = [ran for ran, outcome in runs.values() if outcome == "passed"]
    good = {id: sum(id in ran for ran in passing) for id in dict.fromkeys(owners.values()) if id in shared}
    few = NEAR * min(good.values(), default=0)
    best = [id for id in good if good[id] <= few]
    if not best or len(best) > MOST:
        return [], ""
    counts = sorted({good[id] for id in best})
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return best, f"{len(alike)} of {len(failing)} tests that fail and {number} of {len(passing)} that pass"


def defining(names: list[str], notebooks: dict[Path, dict]) -> list[str]:
    """The cells that define functions, or methods as Class.method, of these names."""
    found: dict[str, str] = {}
    for cell in (cell for nb in notebooks.values() for cell in nb["cells"] if notebook.kind(cell) == "solution"):
        found |= {name: cell["id"] for name, _ in functions(ast.parse(cell["source"]))}
    return [found[name] for name in names if name in found]


def in_notebook(line: Line, folder: Path, notebooks: dict[Path, dict]) -> Line:
    """A line of the package as the line of the cell that it was exported from; any other line as it is."""
    file = folder / line["place"]
    if file.suffix != ".py" or not file.is_file():
        return line
    lines = notebook.python_lines(file.read_text(encoding="utf-8"))[: line["line"]]
    begins = [(number, found[1]) for number, text in enumerate(lines) if (found := CELL.match(text))]
    if not begins:
        return line
    first, cell = begins[-1]
    sources = [each["source"] for nb in notebooks.values() for each in nb["cells"] if each["id"] == cell]
    same = [n for source in sources for n, text in enumerate(notebook.python_lines(source), 1) if _same(text, line)]
    which = sum(_same(text, line) for text in lines[first:])
    return {**line, "place": cell, "line": same[which - 1], "given": False} if 0 < which <= len(same) else line


def _same(text: str, line: Line) -> bool:
    return text.strip() == line["source"]


def without_introspection(message: str) -> str:
    """What a test says in words; where it says nothing, the first line of what pytest worked out about the values."""
    words, _, values = message.partition("assert ") if message.startswith("assert ") else message.partition("\nassert ")
    words = _ARRAYS.split(words)[0].strip()
    first, *others = values.splitlines() or [""]
    return words or f"assert {first}{' ...' if others else ''}"
