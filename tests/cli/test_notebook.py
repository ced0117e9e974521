"""Notebooks: the kinds of cells, the canonical form, and everything that lint must catch."""

import copy
import os

import nbformat
import pytest

from tito import CourseError
from tito.course import notebook
from tito.course.lint import lint_notebook

SOLUTION = '''\
#| export
def double(x):
    """Twice x."""
    # TODO: multiply
    # HINT: by two,
    # that is
    ### BEGIN SOLUTION
    # because doubling is adding
    return x + x  # not x ** 2
    ### END SOLUTION'''
GRADED = """\
def test_unit_double():
    assert double(2) == 4, "expected 4"
    ### BEGIN HIDDEN TESTS
    assert double(-1) == -2
    ### END HIDDEN TESTS
test_unit_double()"""


def cell(id, source, marks=None, cell_type="code"):
    """A notebook cell; `marks` are nbgrader's (grade, locked, solution, points)."""
    made = {"cell_type": cell_type, "id": id, "metadata": {}, "source": source}
    if cell_type == "code":
        made |= {"execution_count": None, "outputs": []}
    if marks:
        names = ("grade", "locked", "solution", "points")
        values = {name: value for name, value in zip(names, marks, strict=True) if value is not None}
        made["metadata"]["nbgrader"] = {"grade_id": id, "schema_version": 3, "task": False, **values}
    return made


@pytest.fixture
def nb():
    cells = [
        cell("title", "# A lesson", cell_type="markdown"),
        cell("target", "#| default_exp core.toy"),
        cell("imports", "#| export\nimport math"),
        cell("double", SOLUTION, (False, False, True, None)),
        cell("test_double", GRADED, (True, True, False, 7)),
        cell("figure", "%time double(3)\nprint(1)"),
        cell("why", "Your answer", (True, False, True, 3), cell_type="markdown"),
    ]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def test_kinds_points_and_target(nb):
    kinds = [notebook.kind(each) for each in nb["cells"]]
    assert kinds == ["markdown", "setup", "export", "solution", "graded", "exploration", "manual"]
    assert notebook.points(nb) == {"test_double": 7, "why": 3}
    assert notebook.target(nb, "toy.ipynb") == "core.toy"
    assert [each["id"] for each in nb["cells"] if notebook.exported(each)] == ["imports", "double"]


@pytest.mark.parametrize("names", [[], ["core.toy", "core.other"], ["core/toy"], [""]])
def test_a_notebook_has_one_target(nb, names):
    nb["cells"][1:2] = [cell(f"target-{name[5:8]}", f"#| default_exp {name}") for name in names]
    with pytest.raises(CourseError, match="toy.ipynb needs one cell `#| default_exp core.name`"):
        notebook.target(nb, "toy.ipynb")


def test_the_written_form_is_nbformats_own(nb, tmp_path):
    path = tmp_path / "toy.ipynb"
    nb["cells"][0]["source"] = "naïve ∑\r\nnext\x0cpage\n"
    assert notebook.write(path, nb)
    assert notebook.read(path) == nb
    assert path.read_bytes().decode() == nbformat.writes(nbformat.from_dict(nb)) + "\n"
    assert not notebook.write(path, notebook.read(path)), "the same content must not be written again"


def test_a_failed_write_keeps_the_old_file(nb, tmp_path, monkeypatch):
    path = tmp_path / "toy.ipynb"
    notebook.write(path, nb)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    nb["cells"].pop()
    with pytest.raises(CourseError, match="cannot write .*No space left on device; the file is as it was"):
        notebook.write(path, nb)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no notebook at .*toy.ipynb"),
        ("<<<<<<< HEAD\n{}", "toy.ipynb is not a readable notebook"),
        ('{"nbformat": 3, "worksheets": []}', "not a notebook of format 4"),
        ("[]", "not a notebook of format 4"),
        ("[" * 100_000, "toy.ipynb is not a readable notebook"),
        ('{"nbformat": 4, "metadata": {}, "cells": [{"cell_type": "code", "source": ""}]}', "cell 1 lacks its type"),
    ],
)
def test_unreadable_notebooks_are_named(tmp_path, text, message):
    path = tmp_path / "toy.ipynb"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CourseError, match=message):
        notebook.read(path)


def test_library_lines_drop_markers_and_tasks_but_no_other_comment():
    lines = notebook.library_lines(SOLUTION + "\ntext = '''\n# TODO: stays, for it is a string\n'''  # TODO goes")
    assert "\n".join(line for _, line in lines) == (
        '#| export\ndef double(x):\n    """Twice x."""\n    # because doubling is adding\n'
        "    return x + x  # not x ** 2\ntext = '''\n# TODO: stays, for it is a string\n'''"
    )
    assert [number for number, _ in lines] == [1, 2, 3, 8, 9, 11, 12, 13]


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("x = 1\ny = = 2", 2, "SyntaxError: invalid syntax: `y = = 2`"),
        ("x = 1\n%time x", 2, "`%time x` is IPython's"),
        ("!ls", 1, "`!ls` is IPython's"),
        ("files = !ls", 1, "is IPython's"),
        ("len?", 1, "is IPython's"),
        ("return 1", 1, "outside function"),
        ("import os\n#| export\nx = 1", 2, "`#| export` only counts on the cell's first line"),
        ("# a note\n#|default_exp core.x", 2, "only counts on the cell's first line"),
    ],
)
def test_faults_are_found_with_their_line(source, line, message):
    found = notebook.fault(source)
    assert found and found[0] == line
    assert message in found[1]


def test_sound_cells_have_no_fault():
    assert notebook.fault("\n#| export\n# | hide\nx = 5 % 2") is None
    assert notebook.fault(SOLUTION) is None


def test_a_good_notebook_is_clean(nb):
    assert lint_notebook(nb) == []


def marks(nb, index=3):
    return nb["cells"][index]["metadata"]["nbgrader"]


def swap(nb, index, old, new):
    nb["cells"][index]["source"] = nb["cells"][index]["source"].replace(old, new)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda nb: nb.update(nbformat_minor=4), "nbformat_minor must be 5"),
        (lambda nb: nb["cells"].append(copy.deepcopy(nb["cells"][2])), "id 'imports' stands on 2 cells"),
        (lambda nb: nb["cells"].append({**copy.deepcopy(nb["cells"][4]), "id": "b"}), "'test_double' stands on 2"),
        (lambda nb: nb["cells"][2].update(id="a b"), "cell 3 (a b): an id is"),
        (lambda nb: marks(nb).update(schema_version=2), "cell 4 (double): nbgrader needs schema_version 3"),
        (lambda nb: marks(nb).pop("locked"), "nbgrader needs schema_version 3"),
        (lambda nb: marks(nb).update(checksum="x"), "nbgrader does not know checksum"),
        (lambda nb: marks(nb).update(points=1), "points belong on graded cells"),
        (lambda nb: marks(nb, 4).pop("points"), "points belong on graded cells"),
        (lambda nb: marks(nb, 4).update(points=-1), "points must not be negative"),
        (lambda nb: marks(nb).update(grade_id="other"), "grade_id 'other' must equal"),
        (lambda nb: marks(nb, 4).update(locked=False), "nbgrader cells are solution"),
        (lambda nb: nb["cells"][2].update(outputs=[{}]), "holds outputs"),
        (lambda nb: nb["cells"][2].update(execution_count=1), "holds outputs"),
        (lambda nb: swap(nb, 2, "import math", "import math\n" * 45), "has 46 lines, more than 45"),
        (lambda nb: swap(nb, 5, "print(1)", "# %% two"), "would split the cell"),
        (lambda nb: swap(nb, 2, "#| export", "# x\n#| export"), "line 2: `#| export` only counts"),
        (lambda nb: swap(nb, 3, "#| export\n", ""), "a solution cell begins with `#| export`"),
        (lambda nb: swap(nb, 3, "#| export\n", "#| exporti\n"), ""),
        (lambda nb: swap(nb, 3, "### END SOLUTION", ""), "needs ### BEGIN SOLUTION .. ### END SOLUTION"),
        (lambda nb: swap(nb, 3, "### BEGIN SOLUTION", "### END SOLUTION"), "needs ### BEGIN SOLUTION"),
        (lambda nb: swap(nb, 3, "def double(x):", "class Double:"), "line 9: SyntaxError: 'return' outside function"),
        (lambda nb: swap(nb, 3, "return x + x", "y = 3"), ""),
        (lambda nb: swap(nb, 4, "\ntest_unit_double()", ""), "defines test_unit_double without calling it"),
        (lambda nb: swap(nb, 4, "### END HIDDEN TESTS", ""), "a hidden-test region has no end"),
        (lambda nb: swap(nb, 4, "    ### BEGIN HIDDEN TESTS", "    ### BEGIN SOLUTION"), "hidden-test region has no"),
    ],
)
def test_lint_catches(nb, harm, message):
    harm(nb)
    found = "\n".join(lint_notebook(nb))
    assert message in found
    assert bool(message) == bool(found)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("#| export\nclass A:\n    ### BEGIN SOLUTION\n    x = 1\n    ### END SOLUTION", "must be inside one function"),
        ("#| export\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION", "must be inside one function"),
        (
            "#| export\ndef f():\n    ### BEGIN SOLUTION\n    x = 1\ndef g():\n    return 2\n    ### END SOLUTION",
            "must be inside one function",
        ),
        (
            "#| export\ndef f():\n    ### BEGIN SOLUTION\n    x = 1\n    ### END SOLUTION\n"
            "    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION",
            "more than one solution region",
        ),
        (
            "#| export\ndef f(x):\n    ### BEGIN SOLUTION\n    if x:\n    ### END SOLUTION\n        return 1",
            "does not compile: unexpected indent",
        ),
        (
            "#| export\nclass A:\n    def f(self):\n        ### BEGIN SOLUTION\n        return 1\n"
            "        ### END SOLUTION\n    def g(self):\n        if self:\n            ### BEGIN SOLUTION\n"
            "            return 2\n            ### END SOLUTION",
            "",
        ),
    ],
)
def test_solution_regions_stand_inside_functions(nb, source, message):
    nb["cells"][3]["source"] = source
    found = "\n".join(lint_notebook(nb))
    assert message in found
    assert bool(message) == bool(found)
