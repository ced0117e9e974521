"""The search for answers in what students see: a function that solves an exercise is found, others are not."""

from pathlib import Path

import pytest

from tito.author import answers
from tito.course.registry import Course
from tito.runner import platform

pytestmark = pytest.mark.skipif(not platform.CAN_FORK, reason="functions are tried in forks, which this system lacks")
REPOSITORY = Path(__file__).resolve().parents[2]
SOLUTION = """#| export
def total(values, start=0):
    # TODO: add them up
    ### BEGIN SOLUTION
    for value in values:
        start += value
    ### END SOLUTION
    return start
"""
TEST = "def test_unit_total():\n    assert total([1, 2, 4], 1) == 8\n    assert total([]) == 0\n\n\ntest_unit_total()"


def cell(id, source, **marks):
    return {
        "cell_type": "code",
        "id": id,
        "metadata": {"nbgrader": {"grade_id": id, **marks}} if marks else {},
        "source": source,
    }


def found(given, before=(), below="", test=TEST):
    cells = [cell("given", f"#| exporti\n{given}"), *before, cell("total", SOLUTION, solution=True, grade=False)]
    cells.append(cell("test_total", f"{below}{test}", solution=False, grade=True, points=1))
    return list(answers._try_all(cells, {}, {"total": ["test_total"]}))


def test_a_function_that_solves_the_exercise_is_found_whatever_its_name():
    given = (
        "def helper(values, start=0):\n    return sum(values, start)\n\n\ndef other(values):\n    return len(values)"
    )
    assert found(given) == [("total", "total", "helper", "test_total")]


def test_what_the_student_wrote_is_the_students():
    mine = SOLUTION.replace("def total", "def mine")
    assert found("def other(values):\n    return 0", [cell("mine", mine, solution=True, grade=False)]) == []


def test_a_function_below_the_exercise_is_found_unless_it_calls_the_exercise():
    below = "def again(values, start=0):\n    return sum(values, start)\n\n\n"
    assert found("", below=below) == [("total", "total", "again", "test_total")]
    assert found("", below=below.replace("sum", "total")) == []


def test_what_passes_the_visible_part_alone_is_no_answer():
    below = "def again(values, start=0):\n    return 8 if start else 0\n\n\n"
    assert found("", below=below) == [("total", "total", "again", "test_total")]
    hidden = "    ### BEGIN HIDDEN TESTS\n    assert total([5], 1) == 6\n    ### END HIDDEN TESTS\n"
    assert found("", below=below, test=TEST.replace("\n\ntest_unit", f"{hidden}\n\ntest_unit")) == []


@pytest.mark.slow
def test_nothing_beside_an_exercise_solves_it_in_any_module():
    course = Course.load(REPOSITORY)
    wrong = [
        problem
        for module in course.modules
        for path in module.notebooks
        for problem in answers.check(course, module, path)
    ]
    assert not wrong, "\n".join(wrong)
