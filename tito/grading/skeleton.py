"""The plan of an assignment's notebook, from the instructor's source, and a submission put into it.

A plan is plain data: the steps in order (given and solution cells run in the student's process, graded cells in the
tester), which names the tests use, and what the release looked like. A submission's text goes into solution cells
only; cells that the student added run just before the next solution cell, never between a test and its result.
"""

import ast
import hashlib
import json
from pathlib import Path

from tito import notebook
from tito.grading.ingest import Cell, Submission

STUB = ("# YOUR CODE HERE", "raise NotImplementedError()")  # nbgrader's own


def plan(path: Path, package: str) -> dict:
    """The plan of the notebook at `path`."""
    nb = notebook.read(path)
    steps, manual, known = [], {}, {}
    for cell in nb["cells"]:
        kind, marks = notebook.kind(cell), cell["metadata"].get("nbgrader", {})
        release = released(cell)
        known[cell["id"]] = release
        if kind in ("export", "solution"):
            step = {"kind": "given" if kind == "export" else "solution", "id": cell["id"], "source": release}
            steps.append({**step, **_defined(cell["source"])})
        elif kind == "graded":
            step = {"kind": "graded", "id": cell["id"], "source": cell["source"], "points": float(marks["points"])}
            steps.append({**step, "hidden": hidden_lines(cell["source"])})
        elif kind == "manual":
            manual[cell["id"]] = float(marks["points"])
    used = {node.id for step in steps if step["kind"] == "graded" for node in _names(step["source"])}
    for step in steps:
        if step["kind"] != "graded":
            step["names"] = sorted(used & set(step["names"]))
    target = notebook.target(nb, path)
    return {
        "notebook": path.stem,
        "package": package,
        "target": target,
        "steps": steps,
        "manual": manual,
        "known": known,
    }


def released(cell: dict) -> str:
    """A cell's source as nbgrader releases it: stubs for solutions, no hidden tests."""
    source = cell["source"]
    if notebook.kind(cell) == "manual":
        return "YOUR ANSWER HERE"
    return without_hidden(without_solution(source)) if cell["cell_type"] == "code" else source


def without_solution(source: str) -> str:
    """The source with nbgrader's stub in the place of every solution region."""
    out, inside = [], False
    for line in source.split("\n"):
        if notebook.BEGIN in line:
            inside, indent = True, line[: len(line) - len(line.lstrip())]
            out += [indent + part for part in STUB]
        elif notebook.END in line:
            inside = False
        elif not inside:
            out.append(line)
    return "\n".join(out)


def without_hidden(source: str) -> str:
    """The source without its hidden tests."""
    hidden = {n for first, last in hidden_lines(source) for n in range(first, last + 1)}
    return "\n".join(line for number, line in enumerate(source.split("\n"), 1) if number not in hidden)


def hidden_lines(source: str) -> list[tuple[int, int]]:
    """(first, last) line of every region of hidden tests, markers included."""
    regions, first = [], None
    for number, line in enumerate(source.split("\n"), 1):
        if notebook.BEGIN_HIDDEN in line:
            first = number
        elif notebook.END_HIDDEN in line and first:
            regions.append((first, number))
            first = None
    return regions


def _names(source: str):
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name))


def _defined(source: str) -> dict:
    """What a cell defines at its top level: names, and its imports as source."""
    names, imports = set(), []
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Import() | ast.ImportFrom():
                imports.append(ast.unparse(node))
            case ast.Assign(targets=targets):
                names |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return {"names": sorted(names), "imports": "\n".join(imports)}


def digest(document: object) -> str:
    """A hash of plain data."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def merge(plan: dict, submission: Submission) -> tuple[list[dict], list[str]]:
    """(steps with the student's text in their solution cells, notes on what was mended).

    A step's `helpers` are the cells that the student added before it.
    """
    notes = list(submission.notes)
    solutions = [step["id"] for step in plan["steps"] if step["kind"] == "solution"]
    chosen = _choose(plan, submission, solutions, notes)
    adopted = {id(cell) for cell in chosen.values()}
    helpers = _helpers(plan, submission, solutions, adopted)
    steps = []
    for step in plan["steps"]:
        if step["kind"] == "solution":
            cell = chosen.get(step["id"])
            source = step["source"] if cell is None else cell.source
            step = {**step, "source": source, "helpers": helpers.get(step["id"], [])}
            step["untouched"] = _same(source, plan["known"][step["id"]])
        steps.append(step)
    for cell in submission.cells:
        given = plan["known"].get(cell.id)
        if cell.code and given is not None and cell.id not in solutions and cell.id in {s["id"] for s in plan["steps"]}:
            if not _same(cell.source, given) and not _same(cell.source, without_hidden(given)):
                notes.append(
                    f"the cell {cell.id} was given and is graded as it was given; your change there does not count"
                )
    return steps, notes


def _choose(plan: dict, submission: Submission, solutions: list[str], notes: list[str]) -> dict[str, Cell]:
    """The submitted cell for each solution: of several, the last touched one before the exercise's first test."""
    chosen = {}
    for name in solutions:
        found = [(place, cell) for place, cell in enumerate(submission.cells) if cell.id == name]
        touched = [(place, cell) for place, cell in found if not _same(cell.source, plan["known"][name])] or found
        if not found:
            cell = _stray(plan, submission, name)
            notes.append(
                f"the cell {name} is missing" + (": another cell that defines the same was used" if cell else "")
            )
            if cell:
                chosen[name] = cell
            continue
        if len(found) > 1:
            notes.append(f"the cell {name} stands in the notebook {len(found)} times")
        test = _first_test(plan, submission, name)
        before = [cell for place, cell in touched if place < test]
        chosen[name] = before[-1] if before else touched[-1][1]
    return chosen


def _first_test(plan: dict, submission: Submission, name: str) -> int:
    """Where the first graded cell after a solution stands in the submission."""
    ids = [step["id"] for step in plan["steps"]]
    tests = {step["id"] for step in plan["steps"][ids.index(name) :] if step["kind"] == "graded"}
    following = next((step["id"] for step in plan["steps"][ids.index(name) :] if step["id"] in tests), None)
    places = [place for place, cell in enumerate(submission.cells) if cell.id == following]
    return places[0] if places else len(submission.cells)


def _stray(plan: dict, submission: Submission, name: str) -> Cell | None:
    """A cell of the student's own that defines what a deleted solution cell should define."""
    release = plan["known"][name]
    wanted = set(_defined(release)["names"])
    for cell in submission.cells:
        if cell.code and cell.id not in plan["known"]:
            try:
                names = set(_defined(cell.source)["names"])
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
            if wanted and wanted <= names:
                return cell
    return None


def _helpers(plan: dict, submission: Submission, solutions: list[str], adopted: set[int]) -> dict[str, list[str]]:
    """Solution id -> sources of the student's own cells that stand before it."""
    helpers: dict[str, list[str]] = {}
    waiting: list[str] = []
    released = {text.strip() for text in plan["known"].values()}
    for cell in submission.cells:
        if cell.id in solutions:
            helpers.setdefault(cell.id, []).extend(waiting)
            waiting = []
        elif cell.code and cell.id not in plan["known"] and not cell.graded and id(cell) not in adopted:
            if cell.source.strip() and cell.source.strip() not in released:
                waiting.append(cell.source)
    return helpers


def _same(one: str, other: str) -> bool:
    return "".join(one.split()) == "".join(other.split())
