"""Every module's own notebook through the grader: the reference earns all, the scaffold nothing, a half its half."""

import subprocess
from pathlib import Path

import pytest

from tito.course import notebook
from tito.course.registry import Course
from tito.course.scaffold import released
from tito.grading import grade, plan
from tito.grading.plan import prepare
from tito.grading.sandbox import isolation
from tito.grading.submissions import Submission, SubmittedCell

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(path.parent.name for path in ROOT.glob("modules/*/module.toml"))


@pytest.fixture(scope="module")
def worker():
    worker = grade.Worker(0)
    yield worker
    worker.stop()


@pytest.fixture(scope="module")
def rung():
    rung = next(isolation.ladder(), None)
    return rung or pytest.skip("no isolation works on this machine")


def earned(assignment, worker, part, solved):
    """Graded cell -> (points, maximum) with the reference in the given solution cells."""
    cells = [
        SubmittedCell(cell["id"], True, True, cell["source"] if cell["id"] in solved else released(cell))
        for cell in notebook.read(part.path)["cells"]
    ]
    steps, _ = plan.assemble(part.plan, Submission(cells))
    result = grade.run_steps(assignment, worker, part, steps, [])
    assert result["status"] == "graded", result["reason"]
    graded = {name: cell for name, cell in result["cells"].items() if cell["kind"] == "graded"}
    return {name: (cell["points"], cell["max"], cell.get("message")) for name, cell in graded.items()}


HEAVY = ("09_spatial",)
MARKED = [pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name for name in FOLDERS]


@pytest.mark.parametrize("folder", MARKED)
def test_reference_scaffold_and_half(folder, rung, worker):
    course = Course.load(ROOT)
    module = course.module(folder)
    limits = {"wall": 120.0, "cell": 60.0, "cpu": 120}
    assignment = prepare(course, module, rung, limits)
    with assignment.home:
        for part in assignment.parts:
            exercises = [one for one in module.exercises if one.notebook == part.path]
            every = {cell for one in exercises for cell in one.solution}
            found = earned(assignment, worker, part, every)
            lost = {name: cell for name, cell in found.items() if cell[0] != cell[1]}
            assert not lost, f"the reference loses {lost}"
            assert {cell for one in exercises for cell in one.tests} == set(found)
            assert not any(points for points, *_ in earned(assignment, worker, part, set()).values())
            half = exercises[: len(exercises) // 2]
            found = earned(assignment, worker, part, {cell for one in half for cell in one.solution})
            right = {cell for one in half for cell in one.tests}
            assert {name for name, (points, *_) in found.items() if points} == right


@pytest.mark.parametrize("folder", FOLDERS)
def test_what_is_graded_cannot_be_imported(folder, rung, worker):
    from tito.author.graded_cells import _import_fails

    course = Course.load(ROOT)
    assignment = prepare(course, course.module(folder), rung)
    with assignment.home:
        assert not [problem for part in assignment.parts for problem in _import_fails(assignment, worker, part)]
        for part in assignment.parts:
            inside = subprocess.run(["find", str(part.kit.folder)], capture_output=True, text=True, check=True).stdout
            assert f"{part.plan['target'].replace('.', '/')}.py" not in inside and "testing.py" not in inside
