"""The scaffold is what nbgrader would make: cell by cell on every notebook, and on every arrangement of its marks."""

import itertools
import json
import logging
from pathlib import Path

import pytest

from tito import CourseError
from tito.course import notebook
from tito.course.scaffold import hidden_lines, released, strip, without_hidden, without_solutions
from tito.student import template

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted(ROOT.glob("modules/*/*_dev.ipynb"))
KINDS = {  # (cell type, grade, solution) as nbgrader marks them; None where it knows nothing of the cell
    "solution": ("code", False, True),
    "graded": ("code", True, False),
    "code": ("code", None, None),
    "answer": ("markdown", True, True),
    "prose": ("markdown", None, None),
}
LINES = ("### BEGIN SOLUTION", "    # END SOLUTION", "\t### BEGIN HIDDEN TESTS", "  ### END HIDDEN TESTS", "    x = 1")


@pytest.fixture(scope="module")
def steps():
    """nbgrader's own steps of a release, which are silent here."""
    preprocessors = pytest.importorskip("nbgrader.preprocessors", reason="nbgrader is not installed")
    names = ("ClearSolutions", "ClearHiddenTests", "LockCells")
    made = [getattr(preprocessors, name)() for name in names]
    for step in made:
        step.log = logging.Logger("silent", level=logging.CRITICAL + 1)
    return dict(zip(names, made, strict=True))


def by_nbgrader(nb, steps):
    """A notebook after some of the steps, as plain data."""
    import nbformat

    node = nbformat.from_dict(nb)
    for step in steps:
        node, _ = step.preprocess(node, {})
    return json.loads(json.dumps(node))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_scaffold_of_a_notebook_is_nbgraders(path, steps):
    nb = notebook.read(path)
    before = json.dumps(nb)
    made = strip(nb)
    assert made == by_nbgrader(nb, (steps["ClearSolutions"], steps["ClearHiddenTests"]))
    assert notebook.BEGIN in before and notebook.BEGIN not in json.dumps(made)
    assert json.dumps(nb) == before, "what is stripped stays as it is"
    assert template._locked(strip(nb)) == by_nbgrader(made, [steps["LockCells"]])


def test_outputs_go(steps):
    nb = notebook.read(NOTEBOOKS[0])
    wanted = strip(nb)
    for cell in nb["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"execution_count": 3, "outputs": [{"output_type": "stream", "name": "stdout", "text": ["1"]}]}
    nb["metadata"]["celltoolbar"] = "Create Assignment"
    assert strip(nb) == wanted


def cell(kind, lines):
    type, grade, solution = KINDS[kind]
    marks = {} if grade is None else {"grade": grade, "solution": solution, "locked": False, "grade_id": "x"}
    return {"cell_type": type, "id": "x", "metadata": {"nbgrader": marks} if marks else {}, "source": "\n".join(lines)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_arrangement_of_four_lines(kind, steps):
    import nbformat

    refused = 0
    for lines in itertools.product(LINES, repeat=4):
        node = nbformat.from_dict(cell(kind, lines))
        try:
            for name in ("ClearSolutions", "ClearHiddenTests"):
                node, _ = steps[name].preprocess_cell(node, {"language": "python"}, 0)
        except RuntimeError:
            refused += 1
            with pytest.raises(CourseError, match="the cell x"):
                released(cell(kind, lines))
        else:
            assert released(cell(kind, lines)) == node.source, lines
    assert 0 < refused < len(LINES) ** 4


def test_regions_are_cut_out_whole():
    source = f"a\n    {notebook.BEGIN_HIDDEN}\n    b\n    {notebook.END_HIDDEN}\nc\n"
    assert without_hidden(source) == "a\nc\n" and hidden_lines(source) == [(2, 4)]
    source = f"def f():\n    {notebook.BEGIN}\n    return 1\n    {notebook.END}\n"
    assert without_solutions(source) == "def f():\n    # YOUR CODE HERE\n    raise NotImplementedError()\n"
    with pytest.raises(CourseError, match="line 2: BEGIN SOLUTION has no END SOLUTION"):
        without_solutions(f"\n{notebook.BEGIN}\n")
