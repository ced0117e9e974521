"""Are the graded cells worth their points? In the grader's own surroundings the reference earns all of them and the
scaffold none, and faults are noticed.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from tito import CourseError
from tito.author.liars import believed
from tito.author.mutation import changes_nothing, try_in_process
from tito.course import notebook
from tito.course.lint import lint_notebook
from tito.course.registry import Course, Module
from tito.grading import grade
from tito.grading.plan import Assignment, Part, assemble, prepare, reference_submission
from tito.grading.sandbox.isolation import choose
from tito.grading.submissions import Submission, SubmittedCell

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


@dataclass
class NotebookReport:
    """What is wrong with a notebook, how many mutants were tried, and which of them no graded cell noticed."""

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


def check_graded(
    course: Course, module: Module, isolation: str | None = None, unsafe: bool = False
) -> Iterator[NotebookReport]:
    """Everything about each notebook of a module, in the grader's own surroundings."""
    rung, known = choose(isolation, unsafe), changes_nothing(course)
    assignment = prepare(course, module, rung)
    worker = grade.Worker(0)
    try:
        for part in assignment.parts:
            report = NotebookReport(part.path.name, lint_notebook(notebook.read(part.path)))
            report.problems += _own(assignment, worker, part)
            if not report.problems:
                report.problems += _spoiled(assignment, worker, part, module)
                report.problems += believed(course, part.path)
            report.mutants, alive = try_in_process(part.path, course.package.parent)
            report.alive = [(cell, line, change) for cell, line, change in alive if f"{cell}: {change}" not in known]
            yield report
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
    cells = grade.run_steps(assignment, worker, part, [given], [])["cells"]
    if cells["probe"].get("error") not in ("ImportError", "ModuleNotFoundError"):
        yield f"a student's code can import {target}, which is what is graded"


def _spoiled(assignment: Assignment, worker: grade.Worker, part: Part, module: Module) -> Iterator[str]:
    """Zeros, NaN, nothing at all, or all but the first row zeroed: some cell of the exercise has to notice."""
    reference = reference_submission(part)
    for exercise in module.exercises:
        if exercise.notebook != part.path:
            continue
        for how in ("zeros", "nan", "nothing", "first row only"):
            cells = [_spoil_cell(cell, how) if cell.id in exercise.solution else cell for cell in reference.cells]
            steps, _ = assemble(part.plan, Submission(cells))
            tests = set(exercise.tests)
            steps = [step for step in steps if step["kind"] != "graded" or step["id"] in tests]
            told = grade.run_steps(assignment, worker, part, steps, [])["cells"]
            changed = any("spoiled" in cell.get("output", "") for cell in told.values())
            if changed and all(told[name]["points"] == told[name]["max"] for name in tests if name in told):
                yield f"{exercise.id}: results of {how} pass all of its graded cells"


def _spoil_cell(cell: SubmittedCell, how: str) -> SubmittedCell:
    """The cell with its functions' results spoiled."""
    names = [node.name for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef)]
    words = [f"{name} = _spoil({name}, {how!r})" for name in names if not name.startswith("_")]
    if not words:
        return cell
    return SubmittedCell(cell.id, cell.graded, cell.code, "\n".join([cell.source, SPOIL, *words]))
