"""A gradebook that does not match the notebooks is refused; a migration makes it match and keeps what people gave."""

import copy
import json
import shutil
import sqlite3

import pytest

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Course
from tito.grading import gradebook
from tito.grading import migrate as migration
from tito.grading.sandbox import isolation
from tito.grading.service import GradingService

pytestmark = pytest.mark.usefixtures("one_rung")
NAME = "activations_dev.ipynb"


@pytest.fixture(scope="module")
def graded(released, submission, best_rung, tmp_path_factory):
    """A course with two graded submissions; a person gave ada 17 for gelu, 2 more for relu, and a comment on both."""
    if best_rung is None:
        pytest.skip("no isolation works on this machine")
    folder = tmp_path_factory.mktemp("graded") / "course"
    shutil.copytree(released, folder)
    desk = GradingService(Course.load(folder))
    for student, solved in (("ada", "all"), ("ben", ("relu", "gelu"))):
        submission(desk.settings["submitted"] / student / "02_activations" / NAME, solved=solved)
    with pytest.MonkeyPatch.context() as here:
        here.setattr(isolation, "ladder", lambda names=None: iter([best_rung]))
        desk.grade_submissions(desk.course.module("02"))
    own = "where notebook_id in (select n.id from submitted_notebook n join submitted_assignment s on "
    own += "s.id = n.assignment_id where s.student_id = 'ada') and cell_id in (select id from base_cell where name = ?)"
    sql(desk, f"update grade set manual_score = 17, needs_manual_grade = 0 {own}", "test_gelu")
    sql(desk, f"update grade set extra_credit = 2 {own}", "test_relu")
    for cell in ("gelu", "relu"):
        sql(desk, f"update comment set manual_comment = 'by hand' {own}", cell)
    return folder


@pytest.fixture
def desk(graded, course):
    """The desk of such a course of one's own."""
    shutil.copytree(graded / "grading", course.root / "grading", dirs_exist_ok=True)
    return GradingService(course)


@pytest.fixture
def unreleased(monkeypatch):
    """What nbgrader's release takes seconds for is left out: a_cell_added looks at it."""
    monkeypatch.setattr(GradingService, "_release", lambda desk, module: None)


def sql(desk, statement, *values):
    with sqlite3.connect(gradebook.file_of(desk.settings["url"])) as book:
        return book.execute(statement, values).fetchall()


def change(desk, edit, registry=None, name=NAME):
    """Change the notebook and the registry, and come back to the desk."""
    folder = desk.course.root / "modules/02_activations"
    nb = notebook.read(folder / name)
    edit(nb["cells"])
    notebook.write(folder / name, nb)
    if registry:
        text = (folder / "module.toml").read_text()
        for old, new in registry.items():
            assert old in text
            text = text.replace(old, new)
        (folder / "module.toml").write_text(text)
    return GradingService(Course.load(desk.course.root))


def cell(cells, name):
    return next(one for one in cells if one["id"] == name)


def points(name, value):
    def edit(cells):
        cell(cells, name)["metadata"]["nbgrader"]["points"] = value

    return edit


def more(cells):
    """Another graded cell, whose test is that of relu, for 5 points."""
    new = copy.deepcopy(cell(cells, "test_relu"))
    new["id"] = new["metadata"]["nbgrader"]["grade_id"] = "test_more"
    new["metadata"]["nbgrader"]["points"] = 5
    cells.insert(cells.index(cell(cells, "test_relu")) + 1, new)


def given(desk):
    return (
        sql(desk, "select b.name, g.manual_score from grade g join base_cell b on b.id = g.cell_id "
                  "where manual_score is not null"),
        sql(desk, "select b.name, g.extra_credit from grade g join base_cell b on b.id = g.cell_id "
                  "where extra_credit is not null"),
        sorted(sql(desk, "select b.name, c.manual_comment from comment c join base_cell b on b.id = c.cell_id "
                         "where manual_comment is not null")),
    )  # fmt: skip


def carried_out(desk, names=None):
    """The preview changes nothing; the migration makes it match, and plain nbgrader's release and our run follow."""
    module = desk.course.module("02")
    tables = ("assignment", "notebook", "base_cell", "grade_cells", "source_cell", "grade", "comment")
    before = {table: sorted(sql(desk, f"select * from {table}"), key=str) for table in tables}
    with pytest.raises(CourseError, match="does not match the notebooks of 02_activations.*\n(.*\n)*.*migrate 02"):
        desk.grade_submissions(module)
    with pytest.raises(CourseError, match="does not match.*"):
        desk.assign(module)
    plan, copied = desk.migrate(module, names)
    assert copied is None
    assert {table: sorted(sql(desk, f"select * from {table}"), key=str) for table in tables} == before
    done, copied = desk.migrate(module, names, carry_out=True)
    assert done.changes == plan.changes and copied.is_file()
    with sqlite3.connect(copied) as old:
        assert sorted(old.execute("select * from grade").fetchall(), key=str) == before["grade"]
    assert desk.migrate(module)[0].changes == []
    report = desk.grade_submissions(module)
    exported = {mark.student["id"]: (mark.score, mark.most) for mark in desk.all_marks([module])}
    assert {row.student: (row.score, row.max) for row in report.rows} == exported
    return [str(one) for one in plan.changes], exported


def test_points_changed(desk, unreleased):
    desk = change(desk, points("test_softmax", 30))
    said, totals = carried_out(desk)
    assert said == ["points changed: test_softmax in activations_dev, 20 -> 30"]
    assert totals == {"ada": (109, 110), "ben": (30, 110)}
    assert given(desk) == ([("test_gelu", 17)], [("test_relu", 2)], [("gelu", "by hand"), ("relu", "by hand")])


def test_a_cell_added(desk):
    desk = change(desk, more, {'tests = ["test_relu"': 'tests = ["test_more", "test_relu"'})
    said, totals = carried_out(desk)
    assert said == ["cell added: test_more in activations_dev (5 points)"]
    assert totals == {"ada": (104, 105), "ben": (35, 105)}
    assert given(desk) == ([("test_gelu", 17)], [("test_relu", 2)], [("gelu", "by hand"), ("relu", "by hand")])
    release = json.loads((desk.settings["release"] / "02_activations" / NAME).read_text())
    assert "test_more" in [one["id"] for one in release["cells"]]

    from nbgrader.api import Gradebook

    with Gradebook(desk.settings["url"]) as book:
        found = [(one.student.id, one.score, one.max_score) for one in book.assignment_submissions("02_activations")]
    assert found == [("ada", 104.0, 105.0), ("ben", 35.0, 105.0)]


@pytest.mark.slow
def test_a_cell_removed_takes_only_its_own_marks(desk):
    def edit(cells):
        cells.remove(cell(cells, "test_relu"))
        cells.remove(cell(cells, "relu"))

    text = (desk.course.root / "modules/02_activations/module.toml").read_text()
    first = text.index("[[exercise]]")
    desk = change(desk, edit, {text[first : text.index("[[exercise]]", first + 5)]: ""})
    with gradebook.Gradebook(desk.settings["url"]) as book:
        plan = migration.compare(book, desk.course.module("02"))
    said = [str(one) for one in plan.changes]
    assert "cell removed: test_relu in activations_dev (10 points); 1 extra credits go with it" in said
    assert "cell removed: relu in activations_dev (not graded); 1 comments go with it" in said
    assert plan.kept == (1, 0, 1) and plan.submissions == 2
    desk.migrate(desk.course.module("02"), carry_out=True)
    assert given(desk) == ([("test_gelu", 17)], [], [("gelu", "by hand")])
    assert desk.migrate(desk.course.module("02"))[0].changes == []


@pytest.mark.slow
def test_a_cell_renamed_keeps_what_hangs_on_it(desk):
    def edit(cells):
        one = cell(cells, "test_gelu")
        one["id"] = one["metadata"]["nbgrader"]["grade_id"] = "test_gelu_2"

    desk = change(desk, edit, {'tests = ["test_gelu"]': 'tests = ["test_gelu_2"]'})
    said, totals = carried_out(desk, {"test_gelu": "test_gelu_2"})
    assert said == [] and totals == {"ada": (99, 100), "ben": (30, 100)}
    assert given(desk)[0] == [("test_gelu_2", 17)]
    with pytest.raises(CourseError, match="no cell nowhere"):
        desk.migrate(desk.course.module("02"), {"nowhere": "test_gelu"})
    with pytest.raises(CourseError, match="has no such cell"):
        desk.migrate(desk.course.module("02"), {"test_relu": "somewhere"})


EXTRA = '[[exercise]]\nid = "more"\ntitle = "More"\nnotebook = "more_dev.ipynb"\ndifficulty = 1\nminutes = 5\n'
EXTRA += 'solution = ["more"]\ntests = ["test_more"]\nhints = ["Think."]\n'


def bonus(desk):
    """A second notebook, a bonus of 50 points, that nobody has handed in."""
    folder = desk.course.root / "modules/02_activations"
    nb = notebook.read(folder / NAME)
    marks = {"schema_version": 3, "locked": False, "solution": True, "grade": False, "grade_id": "more"}
    solution = "#| export\ndef more(x):\n    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION"
    made = [("setup", "#| default_exp core.more", {}), ("more", solution, {"nbgrader": marks})]
    test = {**marks, "locked": True, "solution": False, "grade": True, "grade_id": "test_more", "points": 50}
    made.append(("test_more", "assert more(1) == 1", {"nbgrader": test}))
    code = {"cell_type": "code", "outputs": [], "execution_count": None}
    cells = [{**code, "id": id, "metadata": metadata, "source": source} for id, source, metadata in made]
    notebook.write(folder / "more_dev.ipynb", {**nb, "cells": cells})
    registry = folder / "module.toml"
    text = registry.read_text()
    one = 'notebooks = ["activations_dev.ipynb"]'
    assert one in text
    text = text.replace(one, one[:-1] + ', "more_dev.ipynb"]\nbonus = ["more_dev.ipynb"]')
    text = text.replace("\n[[exercise]]\n", '\n[[exercise]]\nnotebook = "activations_dev.ipynb"\n')
    registry.write_text(text + "\n" + EXTRA)
    return GradingService(Course.load(desk.course.root)), text


@pytest.mark.slow
def test_a_notebook_added_as_a_bonus_and_removed_again(desk):
    desk, _ = bonus(desk)
    said, totals = carried_out(desk)
    assert said == ["notebook added: more_dev"]
    assert totals == {"ada": (99, 100), "ben": (30, 100)}, "the bonus counts against nobody"
    target = desk.settings["submitted"] / "ada/02_activations/more_dev.ipynb"
    target.write_text((desk.course.root / "modules/02_activations/more_dev.ipynb").read_text())
    module = desk.course.module("02")
    report = desk.grade_submissions(module)
    [ada, ben] = [(row.score, row.max, row.bonus, row.bonus_max) for row in report.rows]
    assert ada == (99, 100, 50, 50) and ben == (30, 100, 0, 50)
    status = [(row["score"], row["max"], row["bonus"]) for row in desk.status(module)]
    assert status == [(99, 100, 50), (30, 100, 0)]
    fields = [mark.fields() for mark in desk.all_marks([module])]
    assert [(one["score"], one["max"], one["bonus"]) for one in fields] == [("99", "100", "50"), ("30", "100", "0")]
    pages = {(page.parts[-3], page.stem): page.read_text() for page in desk.feedback(module, jobs=2)}
    assert "99 of 100 points" in pages["ada", "activations_dev"] and "99 of 100 points" in pages["ada", "more_dev"]
    assert "Bonus, which is counted apart: 50 of 50." in pages["ada", "activations_dev"]
    assert "Bonus, which is counted apart: 0 of 50." in pages["ben", "activations_dev"]
    sql(desk, "update grade set manual_score = 40 where cell_id in (select id from base_cell where name = 'test_more')")

    registry = desk.course.root / "modules/02_activations/module.toml"
    text = registry.read_text().replace(EXTRA, "").replace(', "more_dev.ipynb"', "").replace('["more_dev.ipynb"]', "[]")
    registry.write_text(text)
    (registry.parent / "more_dev.ipynb").unlink()
    said, totals = carried_out(GradingService(Course.load(desk.course.root)))
    assert said == ["notebook removed: more_dev; 2 marks by hand go with it"]
    assert totals == {"ada": (99, 100), "ben": (30, 100)}
    assert given(desk) == ([("test_gelu", 17)], [("test_relu", 2)], [("gelu", "by hand"), ("relu", "by hand")])


def test_without_submissions_the_way_out_is_a_release(course):
    desk = change(GradingService(course), points("test_softmax", 30))
    module = desk.course.module("02")
    with pytest.raises(CourseError, match="no submissions of 02_activations"):
        desk.grade_submissions(module)
    target = desk.settings["submitted"] / "ada/02_activations" / NAME
    target.parent.mkdir(parents=True)
    target.write_text((desk.settings["release"] / "02_activations" / NAME).read_text())
    with pytest.raises(CourseError, match="20 -> 30\nTo go on: tito grade assign 02"):
        desk.grade_submissions(module)
    desk.assign(module)
    assert [(row.score, row.max) for row in desk.grade_submissions(module).rows] == [(0, 110)]


def test_the_command_previews_and_carries_out(desk, grade, unreleased):
    change(desk, points("test_softmax", 30))
    code, out, err = grade("run", "02")
    assert code == 1 and "20 -> 30" in err and "tito grade migrate 02" in err and "Traceback" not in err
    code, out, err = grade("migrate", "02")
    assert code == 0 and "Kept: 1 marks by hand, 1 extra credits, 2 comments." in out, err
    assert "Nothing was changed yet. To carry it out: tito grade migrate 02 --yes" in out
    code, out, err = grade("migrate", "02", "--yes", "--json")
    assert code == 0 and json.loads(out)["backup"].endswith(".db"), err
    assert "matches the notebooks" in grade("migrate", "02")[1]
    assert grade("migrate", "02", "--rename", "x")[0] == 1
