"""`tito grade lint`: a test that says something passes it, and one that hardly looks is told."""

import pytest

from tito.author.graded_cells import NotebookReport, check_graded
from tito.cli import grade_tables
from tito.course import notebook
from tito.course.registry import Course
from tito.grading.sandbox import isolation

SOLUTION = """\
#| export
import numpy as np
def {name}(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION"""
LOOKS = """\
import numpy as np
got = {name}(np.array([1.0, 3.0]))
assert {words}
### BEGIN HIDDEN TESTS
drawn = np.random.default_rng(0).standard_normal(3)
assert {hidden}
### END HIDDEN TESTS"""
VALUES = {"values": ("np.array_equal(got, [2.0, 6.0])", "np.array_equal(values(drawn), 2 * drawn)")}
LOOSE = {  # exercise: its test, the hidden part, the liar who is paid first
    "drawn_alike": (
        "np.array_equal(got, [2.0, 6.0])",
        "np.array_equal(drawn_alike(np.ones(2)), [2.0, 2.0])",
        "the answers to somebody else's",
    ),
    "itself": (
        "np.array_equal(got, itself(np.array([1.0, 3.0])))",
        "not np.isnan(itself(drawn)).any()",
        "zeros",
    ),
    "no_number": ("not (got[0] > 2 or got[0] < 2)", "not abs(no_number(drawn) - 2 * drawn).max() > 1e-9", "NaN"),
    "length": ("len(got) == 2", "len(length(drawn)) == 3", "zeros"),
    "unlike": ("[float(x) for x in got] != [1.0, 3.0]", "unlike(drawn) is not None", "zeros"),
    "shape": ("got.shape == (2,)", "shape(drawn).shape == (3,)", "zeros, under the shape that is told, and "),
}


def reports(folder, exercises):
    """The reports on a course whose exercises double a number, each tested by the words given for it."""
    if next(isolation.ladder(), None) is None:
        pytest.skip("no isolation works on this machine")

    def cell(id, source, **marks):
        marks = {"grade_id": id, "schema_version": 3, "task": False, **marks} if marks else {}
        metadata = {"nbgrader": marks} if marks else {}
        made = {"cell_type": "code", "id": id, "metadata": metadata, "source": source}
        return {**made, "execution_count": None, "outputs": []}

    home = folder / "modules/01_toy"
    home.mkdir(parents=True)
    (folder / "settings.ini").write_text("[DEFAULT]\n")
    cells = [cell("target", "#| default_exp core.toy")]
    entry = 'number = "01"\nname = "toy"\ntitle = "x"\nsummary = "x"\nrequires = []\nnotebooks = ["toy_dev.ipynb"]\n'
    for name, (words, hidden, *_) in exercises.items():
        test = LOOKS.format(name=name, words=words, hidden=hidden)
        cells.append(cell(name, SOLUTION.format(name=name), grade=False, locked=False, solution=True))
        cells.append(cell(f"test_{name}", test, grade=True, locked=True, solution=False, points=10))
        entry += f'[[exercise]]\nid = "{name}"\ntitle = "x"\ndifficulty = 1\nminutes = 1\nhints = []\n'
        entry += f'solution = ["{name}"]\ntests = ["test_{name}"]\n'
    notebook.write(home / "toy_dev.ipynb", {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    (home / "module.toml").write_text(entry)
    course = Course.load(folder)
    return list(check_graded(course, course.module("01")))


@pytest.fixture(scope="module")
def loose(tmp_path_factory):
    """The report on all the tests that hardly look, in one notebook."""
    [report] = reports(tmp_path_factory.mktemp("loose"), LOOSE)
    return report


def test_a_test_of_values_is_worth_its_points(tmp_path):
    [report] = reports(tmp_path, VALUES)
    assert report.ok and (report.problems, report.alive) == ([], []) and report.mutants >= 3 and report.noticed == 1


def test_a_test_of_the_shape_alone_is_not(loose):
    spoiled = [problem for problem in loose.problems if problem.startswith("shape: ")]
    words = ("zeros", "nan", "first row only")
    assert spoiled == [f"shape: results of {how} pass all of its graded cells" for how in words]
    assert not loose.ok
    assert [change for cell, _, change in loose.alive if cell == "shape"] == ["2 * x -> (2 / x)", "2 -> 3"]


@pytest.mark.parametrize("name", LOOSE)
def test_a_cell_that_pays_a_liar_is_told(loose, name):
    assert any(f"test_{name} pays a liar ({LOOSE[name][2]}" in problem for problem in loose.problems), loose.problems


def test_what_to_do_with_a_mutant_that_lives_on_is_said(capsys):
    grade_tables.notebook_report(NotebookReport("alpha_dev.ipynb", mutants=50, alive=[("double", 4, "2 -> 3")]))
    assert "lives on: double, line 4: 2 -> 3\n  Let a test notice it, or" in capsys.readouterr().out
    grade_tables.notebook_report(NotebookReport("alpha_dev.ipynb", mutants=50))
    assert "Let a test" not in capsys.readouterr().out
