"""`tito grade lint`: a test that says something passes it, and one that hardly looks is told."""

import json

import pytest

from tito.author.graded_cells import check_graded
from tito.course import notebook
from tito.course.registry import Course
from tito.grading.sandbox import isolation

SOLUTION = """\
#| export
import numpy as np
def double(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION"""
LOOKS = """\
import numpy as np
got = double(np.array([1.0, 3.0]))
assert {}
### BEGIN HIDDEN TESTS
drawn = np.random.default_rng(0).standard_normal(3)
assert {}
### END HIDDEN TESTS"""


@pytest.fixture
def reports(tmp_path):
    """The reports on a course whose one exercise is tested by the given words."""
    if next(isolation.ladder(), None) is None:
        pytest.skip("no isolation works on this machine")

    def run(words, hidden="np.array_equal(double(drawn), 2 * drawn)"):
        def cell(id, source, **marks):
            marks = {"grade_id": id, "schema_version": 3, "task": False, **marks} if marks else {}
            metadata = {"nbgrader": marks} if marks else {}
            made = {"cell_type": "code", "id": id, "metadata": metadata, "source": source}
            return {**made, "execution_count": None, "outputs": []}

        folder = tmp_path / "modules/01_toy"
        folder.mkdir(parents=True, exist_ok=True)
        (tmp_path / "settings.ini").write_text("[DEFAULT]\n")
        cells = [
            cell("target", "#| default_exp core.toy"),
            cell("double", SOLUTION, grade=False, locked=False, solution=True),
            cell("test_double", LOOKS.format(words, hidden), grade=True, locked=True, solution=False, points=10),
        ]
        notebook.write(folder / "toy_dev.ipynb", {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
        exercise = 'id = "double"\ntitle = "x"\ndifficulty = 1\nminutes = 1\nhints = []\n'
        exercise += f"solution = {json.dumps(['double'])}\ntests = {json.dumps(['test_double'])}\n"
        entry = (
            'number = "01"\nname = "toy"\ntitle = "x"\nsummary = "x"\nrequires = []\nnotebooks = ["toy_dev.ipynb"]\n'
        )
        (folder / "module.toml").write_text(f"{entry}[[exercise]]\n{exercise}")
        course = Course.load(tmp_path)
        return list(check_graded(course, course.module("01")))

    return run


def test_a_test_of_values_is_worth_its_points(reports):
    [report] = reports("np.array_equal(got, [2.0, 6.0])")
    assert report.ok and (report.problems, report.alive) == ([], []) and report.mutants >= 3 and report.noticed == 1


def test_a_test_of_the_shape_alone_is_not(reports):
    [report] = reports("got.shape == (2,)", "double(drawn).shape == (3,)")
    words = ("zeros", "nan", "first row only")
    *spoiled, paid = report.problems
    assert spoiled == [f"double: results of {how} pass all of its graded cells" for how in words]
    assert paid.startswith("test_double pays a liar (zeros, under the shape that is told, and ")
    assert not report.ok and [change for _, _, change in report.alive] == ["2 * x -> (2 / x)", "2 -> 3"]


@pytest.mark.parametrize(
    ("words", "hidden", "liar"),
    [
        (
            "np.array_equal(got, [2.0, 6.0])",
            "np.array_equal(double(np.ones(2)), [2.0, 2.0])",
            "the answers to somebody else's",
        ),
        ("np.array_equal(got, double(np.array([1.0, 3.0])))", "not np.isnan(double(drawn)).any()", "zeros"),
        ("not (got[0] > 2 or got[0] < 2)", "not abs(double(drawn) - 2 * drawn).max() > 1e-9", "NaN"),
        ("len(got) == 2", "len(double(drawn)) == 3", "zeros"),
        ("[float(x) for x in got] != [1.0, 3.0]", "double(drawn) is not None", "zeros"),
    ],
)
def test_a_cell_that_pays_a_liar_is_told(reports, words, hidden, liar):
    [report] = reports(words, hidden)
    assert any(f"test_double pays a liar ({liar}" in problem for problem in report.problems), report.problems
