"""Hints a step at a time, solutions after passing, and single exercises."""

import json

import pytest

from tito.course import notebook

SOLVED = (
    "#| export\ndef double(x):\n    # TODO: multiply\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION"
)


@pytest.fixture
def course(toy):
    exercises = [("double", toy.WRONG, toy.TEST_DOUBLE, 10), ("triple", toy.STUB, toy.TEST_TRIPLE, 5)]
    toy.module("01", "alpha", exercises, hints=["a nudge", "more", "nearly all"])
    return toy


def record(toy):
    return json.loads((toy.root / ".tito/progress.json").read_text())["modules"]


def test_hints_come_one_at_a_time_and_are_remembered(course, tito):
    seen = [tito("hint", "1", "double").out for _ in range(4)]
    assert "hint 1 of 3" in seen[0] and "a nudge" in seen[0] and "more\n" not in seen[0].replace("One more", "")
    assert "hint 2 of 3" in seen[1] and "a nudge" not in seen[1]
    assert "nearly all" in seen[2] and "That was the last hint." in seen[2]
    assert "all 3 hints" in seen[3] and all(text in seen[3] for text in ("a nudge", "more", "nearly all"))
    assert record(course)["01"]["hints"] == {"double": 3}


def test_a_hint_is_for_the_first_exercise_that_does_not_pass(course, tito):
    assert "(double)" in tito("hint", "1").out
    course.notebook("01", "alpha", [("double", course.DOUBLE, course.TEST_DOUBLE, 10)])
    tito("test", "1", "double")
    assert "(triple)" in tito("hint", "1").out


def test_a_record_that_cannot_be_written_does_not_hide_the_hint(course, tito):
    (course.root / ".tito").write_text("a file in the way")
    end = tito("hint", "1", "double")
    assert end.code == 0 and "a nudge" in end.out and "not remembered" in end.out


def test_no_hints_and_unknown_exercises_are_sentences(toy, tito):
    toy.module("01", "alpha", [("double", toy.WRONG, toy.TEST_DOUBLE, 10)])
    end = tito("hint", "1")
    assert end.code == 1 and "has no hints" in end.err
    end = tito("hint", "1", "dubble")
    assert end.code == 1 and "did you mean double?" in end.err


def test_a_failure_names_the_hint_command(course, tito):
    assert "For a hint: tito hint 01 double" in tito("test", "1").out


def test_one_exercise_runs_alone(course, tito):
    end = tito("test", "1", "double")
    assert end.code == 1 and "expected 8, got 12" in end.out and "Task triple" not in end.out
    assert "pytest" not in end.out and "Next: tito test 01 double" in end.out
    course.notebook("01", "alpha", [("double", course.DOUBLE, course.TEST_DOUBLE, 10)])
    end = tito("test", "1", "double")
    assert end.code == 0 and "passed  Task double  10/10" in end.out
    assert "Next exercise: Task triple (triple)" in end.out and "Next: tito test 01 triple\n" in end.out
    assert record(course)["01"]["exercises"]["double"]["state"] == "passed" and "tested" not in record(course)["01"]


def test_an_exercise_gets_the_solution_cells_before_it(course, tito):
    six = ("six", "#| export\ndef six():\n    return 3 * double(1)", "assert six() == 6", 5)
    course.module("01", "alpha", [("double", course.DOUBLE, "assert False, 'not run'", 10), six])
    end = tito("test", "1", "six", "--json")
    [module] = json.loads(end.out)["modules"]
    assert end.code == 0 and [exercise["id"] for exercise in module["exercises"]] == ["six"]


def test_unknown_exercises_are_told_from_unknown_modules(course, tito):
    assert "did you mean triple?" in tito("test", "1", "tripel").err
    assert "no exercise" in tito("test", "1", "double", "nonsense").err


def test_the_solution_comes_only_after_passing_or_giving_up(course, tito):
    reference = [("double", SOLVED, course.TEST_DOUBLE, 10)]
    course.module("01", "alpha", reference)
    end = tito("solution", "1", "double")
    assert end.code == 0 and "return 2 * x" in end.out and "SOLUTION" not in end.out and "TODO" not in end.out
    wrong = SOLVED.replace("2 * x", "3 * x")
    course.notebook("01", "alpha", [("double", wrong, course.TEST_DOUBLE, 10)])
    end = tito("solution", "1", "double")
    assert end.code == 1 and "3 * x" not in end.out and "tito hint 01 double" in end.err
    end = tito("solution", "1", "double", "--give-up")
    assert end.code == 0 and "3 * x" in end.out and record(course)["01"]["given_up"] == ["double"]


def test_a_workspace_shows_the_reference_only_if_it_has_it(course, tito):
    path = course.root / "modules/01_alpha/alpha_dev.ipynb"
    kept = course.root / ".tito/pristine/01_alpha/alpha_dev.ipynb"
    notebook.write(kept, notebook.read(path))
    end = tito("solution", "1", "double", "--give-up")
    assert end.code == 1 and "holds no reference solutions" in end.err and "--with-reference" in end.err
    assert all("tito solution" not in tito("hint", "1", "double").out for _ in range(3))
    solved = notebook.read(path)
    solved["cells"][1]["source"] = SOLVED
    notebook.write(course.root / ".tito/reference/01_alpha/alpha_dev.ipynb", solved)
    assert "Only the solution says more: tito solution 01 double --give-up" in tito("hint", "1", "double").out
    assert "return 2 * x" in tito("solution", "1", "double", "--give-up").out


def test_after_a_hint_comes_the_notebook_until_something_is_written(course, tito):
    assert tito("hint", "1", "triple").out.endswith("Next: tito lab 01\n")
    assert tito("hint", "1", "double").out.endswith("Next: tito test 01 double\n")


def test_an_exercise_that_is_not_begun_names_its_own_notebook(course, tito):
    folder = course.root / "modules/01_alpha"
    nb = notebook.read(folder / "alpha_dev.ipynb")
    more = [{**nb["cells"][0], "source": "#| default_exp core.more"}, *nb["cells"][3:]]
    notebook.write(folder / "more_dev.ipynb", {**nb, "cells": more})
    notebook.write(folder / "alpha_dev.ipynb", {**nb, "cells": nb["cells"][:3]})
    registry = (
        (folder / "module.toml").read_text().replace('["alpha_dev.ipynb"]', '["alpha_dev.ipynb", "more_dev.ipynb"]')
    )
    double, triple = registry.split("[[exercise]]")[1:]
    parts = [registry.split("[[exercise]]")[0] + 'bonus = ["more_dev.ipynb"]\n']
    parts += [f'\nnotebook = "{name}_dev.ipynb"{text}' for name, text in (("alpha", double), ("more", triple))]
    (folder / "module.toml").write_text("[[exercise]]".join(parts))
    assert tito("hint", "1", "triple").out.endswith("Next: tito lab 01 more\n")
    assert tito("test", "1", "triple").out.endswith("Next: tito lab 01 more\n")
    start = tito("module", "start", "1").out
    assert start.index("double") < start.index("Bonus") < start.index("triple")
    tested = tito("test", "1", columns=200).out
    assert "Bonus, without which the module is complete too: 1 exercise, 5 points, not started." in tested
    assert "0/1 + 0/1  0/10 + 0/5" in tested
