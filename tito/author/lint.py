"""Are the graded cells worth their points? The reference earns all of them, the scaffold none, faults are noticed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tito import CourseError
from tito.course import notebook
from tito.course.lint import lint_notebook
from tito.course.registry import Course, Module
from tito.grading import grade
from tito.grading.plan import Assignment, Part, prepare, solved
from tito.grading.sandbox.isolation import choose
from tito.grading.submissions import Submission, SubmittedCell

PATIENCE = 900  # seconds for the mutants of one notebook
SHARE = 0.9  # of the mutants that must be noticed

SPOIL = """

def _spoil_value(value, how, np=__import__("numpy")):
    if isinstance(value, tuple | list):
        return type(value)(_spoil_value(item, how) for item in value)
    if isinstance(value, np.ndarray | np.floating | float) and np.asarray(value).dtype.kind == "f":
        before, array = np.array(value), np.array(value)
        if how == "zeros":
            array = np.zeros_like(array)
        elif how == "nan":
            array = np.full_like(array, np.nan)
        elif how == "nothing":
            array = array.reshape(-1)[:0]
        elif array.ndim:
            array[1:] = 0
        if not np.array_equal(before, array, equal_nan=True):
            print("spoiled")
        return array if isinstance(value, np.ndarray) or not array.size else type(value)(array[()])
    if type(value).__name__ == "Tensor":
        value.data = _spoil_value(value.data, how)
    return value


def _spoil(function, how):
    import functools

    @functools.wraps(function)
    def spoiled(*inputs, **named):
        return _spoil_value(function(*inputs, **named), how)

    return spoiled

"""
RUN = """
import json, sys
from pathlib import Path
from tito.course import notebook
from tito.author.mutation import mutate, survivors
cells = notebook.read(Path(sys.argv[1]))["cells"]
chosen = [m for cell in cells if notebook.kind(cell) == "solution" for m in mutate(cell["id"], cell["source"])]
stdout, sys.stdout = sys.stdout, sys.stderr
alive = survivors(cells, chosen)
json.dump([len(chosen), [[m.cell, m.line, m.change] for m in alive]], stdout)
"""


@dataclass
class Finding:
    """What was found about a notebook."""

    notebook: str
    problems: list[str] = field(default_factory=list)
    mutants: int = 0
    alive: list[tuple] = field(default_factory=list)

    @property
    def noticed(self) -> float:
        """The share of mutants that a graded cell noticed."""
        return 1 - len(self.alive) / self.mutants if self.mutants else 1.0

    @property
    def ok(self) -> bool:
        """Whether nothing has to be mended."""
        return not self.problems and self.noticed >= SHARE


def quick(course: Course, module: Module) -> list[str]:
    """What is wrong with the form of a module's notebooks; nothing is executed."""
    return [f"{path.name}: {problem}" for path in module.notebooks for problem in lint_notebook(notebook.read(path))]


def examine(course: Course, module: Module, isolation: str | None = None, unsafe: bool = False) -> Iterator[Finding]:
    """Everything about each notebook of a module, in the grader's own surroundings."""
    rung = choose(isolation, unsafe)
    assignment = prepare(course, module, rung)
    worker = grade.Worker(0)
    try:
        for part in assignment.parts:
            finding = Finding(part.path.name)
            finding.problems += [problem for problem in lint_notebook(notebook.read(part.path))]
            finding.problems += _own(assignment, worker, part)
            if not finding.problems:
                finding.problems += _spoiled(assignment, worker, part, module)
            finding.mutants, finding.alive = _mutants(course, part.path)
            yield finding
    finally:
        worker.stop()
        assignment.home.cleanup()


def _own(assignment: Assignment, worker: grade.Worker, part: Part) -> Iterator[str]:
    """Reference and scaffold; and that the graded module itself cannot be imported."""
    for which in ("reference", "blank"):
        result = grade.grade_own(assignment, worker, which)["notebooks"][part.name]
        if result["status"] == "infra_error":
            raise CourseError(f"{part.path.name} could not be tried: {result['reason']}")
        for name, cell in result["cells"].items():
            if cell["kind"] == "graded" and which == "reference" and cell["points"] != cell["max"]:
                why = cell.get("message", cell["status"])
                yield f"{name}: the reference earns {cell['points']:g} of {cell['max']:g}: {why}"
            if cell["kind"] == "graded" and which == "blank" and cell["points"]:
                yield f"{name}: the untouched scaffold earns {cell['points']:g}"
    yield from _import_fails(assignment, worker, part)


def _import_fails(assignment: Assignment, worker: grade.Worker, part: Part) -> Iterator[str]:
    target = f"{part.plan['package']}.{part.plan['target']}"
    given = {"kind": "given", "id": "probe", "source": f"import {target}", "names": [], "imports": ""}
    cells = grade._run(assignment, worker, part, [given], [])["cells"]
    if cells["probe"].get("error") not in ("ImportError", "ModuleNotFoundError"):
        yield f"a student's code can import {target}, which is what is graded"


def _spoiled(assignment: Assignment, worker: grade.Worker, part: Part, module: Module) -> Iterator[str]:
    """Zeros, NaN, nothing at all, or all but the first row zeroed: some cell of the exercise has to notice."""
    reference = solved(part)
    for exercise in module.exercises:
        if exercise.notebook != part.path:
            continue
        for how in ("zeros", "nan", "nothing", "first row only"):
            cells = [_spoil_cell(cell, how) if cell.id in exercise.solution else cell for cell in reference.cells]
            steps, _ = grade.skeleton.merge(part.plan, Submission(cells))
            tests = set(exercise.tests)
            steps = [step for step in steps if step["kind"] != "graded" or step["id"] in tests]
            told = grade._run(assignment, worker, part, steps, [])["cells"]
            changed = any("spoiled" in cell.get("output", "") for cell in told.values())
            if changed and all(told[name]["points"] == told[name]["max"] for name in tests if name in told):
                yield f"{exercise.id}: results of {how} pass all of its graded cells"


def _spoil_cell(cell: SubmittedCell, how: str) -> SubmittedCell:
    """The cell with its functions' results spoiled."""
    import ast

    names = [node.name for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef)]
    words = [f"{name} = _spoil({name}, {how!r})" for name in names if not name.startswith("_")]
    if not words:
        return cell
    return SubmittedCell(cell.id, cell.graded, cell.code, "\n".join([cell.source, SPOIL, *words]))


def _mutants(course: Course, path: Path) -> tuple[int, list]:
    """(number of mutants, those that no graded cell noticed) of a notebook."""
    paths = [str(course.root), str(Path(__file__).resolve().parents[2])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-P", "-c", RUN, str(path)]
    try:
        done = subprocess.run(
            command,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=PATIENCE,
            cwd=course.root,
        )
    except subprocess.TimeoutExpired:
        raise CourseError(f"the mutants of {path.name} took over {PATIENCE} s") from None
    if done.returncode:
        raise CourseError(f"the mutants of {path.name} could not be tried: {done.stderr.strip().splitlines()[-1:]}")
    count, alive = json.loads(done.stdout)
    return count, [tuple(one) for one in alive]
