"""What bash, zsh and fish offer after Tab."""

import pytest


@pytest.fixture
def course(toy):
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10), ("triple", toy.STUB, toy.TEST_TRIPLE, 5)])
    toy.module("02", "beta", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)])
    return toy


@pytest.fixture
def complete(course, tito_process):
    def run(shell, line):
        words = line.split(" ")
        environment = {
            "_TITO_COMPLETE": f"complete_{shell}",
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
            "_TYPER_COMPLETE_WORD_TO_COMPLETE": words[-1],
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        }
        done = tito_process(environment=environment, capture_output=True, text=True)
        assert done.stderr == ""
        return done.stdout

    return run


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_modules_and_exercises(complete, shell):
    modules = complete(shell, "tito test 0")
    assert "01" in modules and "02" in modules
    exercises = complete(shell, "tito hint 01 ")
    assert "double" in exercises and "triple" in exercises


def test_names_of_modules_and_exercises_after_them(complete):
    assert "watch" in complete("bash", "tito wa")
    assert "alpha_dev.ipynb" in complete("zsh", "tito lab 01 al")
    assert "alpha" in complete("bash", "tito lab al") and "triple" in complete("bash", "tito test alpha tr")


def test_names_only_where_they_fit(complete):
    assert complete("bash", "tito hint 02 tr").strip() == ""
    assert complete("bash", "tito solution nonsense d").strip() == ""


def test_copies_of_notebooks(complete, course, tito):
    tito("reset", "1")
    (course.root / ".tito/backups/01_alpha/20260101-000000").mkdir(parents=True)
    assert "20260101-000000" in complete("bash", "tito restore 2")


def test_outside_of_a_course_nothing_is_offered(complete, course):
    (course.root / "settings.ini").unlink()
    assert complete("bash", "tito test 0").strip() == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_scripts_are_made(tito_process, shell):
    done = tito_process(environment={"_TITO_COMPLETE": f"source_{shell}"}, capture_output=True, text=True)
    assert "_TITO_COMPLETE" in done.stdout and done.returncode == 0
