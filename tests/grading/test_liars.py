"""No cell pays a liar, nothing can be had from the scaffold by answers that are none, and every seed is fair."""

import ast
import sys
from pathlib import Path

import pytest

from tito.author import liars
from tito.course import notebook
from tito.course.registry import Course
from tito.course.scaffold import released
from tito.grading import grade, plan
from tito.grading.sandbox import isolation
from tito.grading.submissions import Submission, SubmittedCell

ROOT = Path(__file__).resolve().parents[2]
COURSE = Course.load(ROOT)
NOTEBOOKS = [path for module in COURSE.modules for path in module.notebooks]
LIGHT = ("tensor_dev", "activations_dev")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading needs Linux")


def marked(light):
    return [
        pytest.param(path, id=path.stem, marks=() if path.stem in light else pytest.mark.slow) for path in NOTEBOOKS
    ]


@pytest.mark.parametrize("path", marked(LIGHT))
def test_no_cell_pays_a_liar(path):
    """The others are tried by `tito dev check`, and at night."""
    assert liars.try_notebook(COURSE, path) == []


SEEDS = [[number, 7 * number, 2**31 + number, 2**32 - 1 - number] for number in range(200)]


@pytest.mark.parametrize("path", marked(LIGHT))
def test_the_reference_earns_all_with_anybodys_inputs(path):
    """Of the other notebooks in a step of .ci/run."""
    assert liars.try_notebook(COURSE, path, SEEDS[:20]) == []


@pytest.mark.slow
@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in NOTEBOOKS])
def test_the_reference_earns_all_with_200_students_inputs(path):
    """In processes of 20 students: one of 200 grows to gigabytes, and on a busy machine passes its time."""
    for first in range(0, len(SEEDS), 20):
        assert liars.try_notebook(COURSE, path, SEEDS[first : first + 20]) == []


FORGE = """
import numpy as _np
_nothing = _np.zeros((0, 1, 1, 1, 1), _np.float32)
class _Claim:
    def __init__(self, shape): self.shape, self.size, self.ndim, self.dtype = shape, 6, len(shape), _np.dtype("float32")
    data = grad = _nothing
    def numpy(self): return _nothing
    def __array__(self, dtype=None, copy=None): return _nothing
def _forge(*inputs, **named):
    things = [*inputs, *(getattr(inputs[0], "parameters", None) or () if inputs else ())]
    for thing in things:
        for name in ("data", "grad"):
            try:
                if getattr(thing, name, None) is not None: setattr(thing, name, _nothing)
            except Exception: pass
    shapes = [_np.shape(thing) for thing in inputs if hasattr(thing, "shape")] or [(2, 3)]
    return {RETURNED}
def _class(cls):
    for name, member in list(vars(cls).items()):
        if callable(member) and (not name.startswith("__") or name == "__call__"):
            setattr(cls, name, _forge)
"""
RETURNED = {
    "nothing": "_nothing",
    "nothing that claims a shape": "_Claim(shapes[0])",
    "pairs of it": "(_nothing, _nothing)",
}
MODULES = [module for module in COURSE.modules if module.number != "09"]


@pytest.fixture(scope="module")
def worker():
    worker = grade.Worker(0)
    yield worker
    worker.stop()


@pytest.mark.parametrize("how", RETURNED)
@pytest.mark.parametrize(
    "module",
    [pytest.param(m, id=m.folder, marks=() if m.number in ("05", "06") else pytest.mark.slow) for m in MODULES],
)
def test_answers_that_are_nothing_earn_nothing(module, how, worker):
    """Plain code in the scaffold, for every function and class: an array that broadcasts away."""
    rung = next(isolation.ladder(), None) or pytest.skip("no isolation works on this machine")
    assignment = plan.prepare(COURSE, module, rung, {"wall": 120.0})
    forge = FORGE.replace("{RETURNED}", RETURNED[how])
    with assignment.home:
        for part in assignment.parts:
            cells = []
            for cell in notebook.read(part.path)["cells"]:
                source = released(cell)
                if notebook.kind(cell) == "solution":
                    nodes = ast.parse(source).body
                    words = [f"{node.name} = _forge" for node in nodes if isinstance(node, ast.FunctionDef)]
                    words += [f"_class({node.name})" for node in nodes if isinstance(node, ast.ClassDef)]
                    source = "\n".join([source, forge, *words])
                cells.append(SubmittedCell(cell["id"], True, cell["cell_type"] == "code", source))
            steps, _ = plan.assemble(part.plan, Submission(cells))
            result = grade.run_steps(assignment, worker, part, steps, [])
            graded = {name: cell["points"] for name, cell in result["cells"].items() if cell["kind"] == "graded"}
            assert graded and not any(graded.values()), graded
