"""nbgrader's own round trip with the committed configuration: release, autograde, feedback, gradebook."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("nbgrader") is None:  # its import takes a second
    pytest.skip("nbgrader is not installed", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
ASSIGNMENTS = ["02_activations", pytest.param("09_spatial", marks=pytest.mark.slow)]
MODULES = sorted(path.parent.name for path in ROOT.glob("modules/*/module.toml"))

API = """
import sys
from nbgrader.apps import NbGraderAPI
from nbgrader.apps.nbgraderapp import NbGraderApp
app = NbGraderApp(); app.initialize([])
api = NbGraderAPI(config=app.config)
"""
GENERATE_ALL = f"""{API}
for name in sys.argv[1:]:
    outcome = api.generate_assignment(name)
    if not outcome["success"]:
        sys.exit(name + ": " + outcome["error"] + outcome["log"])
"""

GRADE_ALL = f"""{API}
for student in sys.argv[2:]:
    for step in api.autograde, api.generate_feedback:
        outcome = step(sys.argv[1], student)
        if not outcome["success"]:
            sys.exit(student + ": " + outcome["error"] + outcome["log"])
"""


def run(course, *command):
    """A command in the course folder, on this interpreter's tools; its output, or a failure that shows it."""
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # nbgrader calls alembic by name
    environment = {**os.environ, "PATH": tools, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    done = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{' '.join(map(str, command))[:200]}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def nbgrader_kind(cell):
    return cell["metadata"].get("nbgrader", {})


def submit(course, assignment, student, solved):
    """Hand in the release with the given solution cells filled in, without the exploration cells."""
    for source in sorted((course / "grading/release" / assignment).glob("*.ipynb")):
        release = load(source)
        reference = {cell["id"]: cell for cell in load(ROOT / "modules" / assignment / source.name)["cells"]}
        cells = []
        for cell in release["cells"]:
            given = nbgrader_kind(cell) or "".join(cell["source"]).startswith("#| ")
            if cell["cell_type"] == "code" and not given:
                continue
            mine = cell["id"] in solved and nbgrader_kind(cell)["solution"]
            cells.append(reference[cell["id"]] if mine else cell)
        path = course / "grading/submitted" / student / assignment / source.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**release, "cells": cells}), encoding="utf-8")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    shutil.copytree(ROOT / "modules", folder / "modules", ignore=shutil.ignore_patterns("*_dev.py*", "__pycache__"))
    shutil.copy(ROOT / "nbgrader_config.py", folder)
    return folder


def release(course, *assignments):
    """nbgrader's release of those that have none yet; the notebooks of all."""
    wanted = [name for name in assignments if not (course / "grading/release" / name).is_dir()]
    if wanted:
        run(course, sys.executable, "-c", GENERATE_ALL, *wanted)
    return [path for name in assignments for path in sorted((course / "grading/release" / name).glob("*.ipynb"))]


@pytest.mark.parametrize("names", [["02_activations"], pytest.param(MODULES, marks=pytest.mark.slow)], ids=len)
def test_a_release_holds_scaffolds_and_no_answers(course, names):
    paths = release(course, *names)
    assert len(paths) == sum(len(list((ROOT / "modules" / name).glob("*_dev.ipynb"))) for name in names) > 0
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert "BEGIN SOLUTION" not in text and "HIDDEN TESTS" not in text, f"{path.name} gives answers away"
        for cell in load(path)["cells"]:
            if nbgrader_kind(cell).get("solution"):
                stub = "raise NotImplementedError()" if cell["cell_type"] == "code" else "YOUR ANSWER HERE"
                assert stub in "".join(cell["source"]), f"{path.name}: {cell['id']} holds no stub"


def scores(course, assignment):
    """(student -> graded code cell -> points, cell -> maximum) as nbgrader's gradebook says."""
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{course / 'grading/gradebook.db'}") as book:
        rows = {}
        for one in book.assignment_submissions(assignment):
            grades = [grade for nb in one.notebooks for grade in nb.grades if grade.cell.cell_type == "code"]
            rows[one.student.id] = {grade.name: grade.auto_score for grade in grades}
        cells = [cell for nb in book.find_assignment(assignment).notebooks for cell in nb.grade_cells]
        return rows, {cell.name: cell.max_score for cell in cells}


ALL = ["half", "reference", "scaffold"]
SCORED = [("02_activations", ["half"]), pytest.param("09_spatial", ALL, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("assignment", "students"), SCORED, ids=["02", "09"])
def test_scores_of_submissions(course, assignment, students):
    """Each is autograded by nbgrader in a kernel, which takes seconds."""
    exercises = tomllib.loads((ROOT / "modules" / assignment / "module.toml").read_text(encoding="utf-8"))["exercise"]
    release(course, assignment)
    solved = {"reference": exercises, "scaffold": [], "half": exercises[: len(exercises) // 2]}
    for student in students:
        submit(course, assignment, student, {cell for exercise in solved[student] for cell in exercise["solution"]})
    run(course, sys.executable, "-c", GRADE_ALL, assignment, *students)
    rows, top = scores(course, assignment)
    automatic = {cell: points for cell, points in top.items() if cell.startswith("test_")}
    assert sum(top.values()) >= 100 and {cell for e in exercises for cell in e["tests"]} == set(automatic)
    assert sorted(rows) == students
    for student, found in rows.items():
        right = {cell for exercise in solved[student] for cell in exercise["tests"]}
        assert found == {cell: points if cell in right else 0.0 for cell, points in automatic.items()}
    for student in rows:
        for page in (course / "grading/release" / assignment).glob("*.ipynb"):
            shown = course / "grading/feedback" / student / assignment / f"{page.stem}.html"
            assert "test_unit" in shown.read_text(encoding="utf-8")


def plain_commands():
    """The nbgrader commands of the README, in order."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    return [line.partition("#")[0].split() for line in lines if line.startswith("nbgrader ")]


@pytest.mark.slow
@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_the_readme_s_plain_commands_work_in_a_fresh_clone(tmp_path, assignment):
    """As they stand there for 09; by day with the smaller 02 in its place."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, tracked.split("\0")):
        if name.startswith(("modules/", "tinytorch/", "nbgrader_config.py", "settings.ini", "pyproject.toml")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, tmp_path / name)
    commands = plain_commands()
    assert [words[1] for words in commands] == ["generate_assignment", "autograde", "generate_feedback", "export"]
    assert {word for words in commands for word in words[2:]} == {"09_spatial"}
    for words in commands:
        run(tmp_path, *[word.replace("09_spatial", assignment) for word in words])
        if words[1] == "generate_assignment":
            submit(tmp_path, assignment, "ada", set())
    assert (tmp_path / "grades.csv").read_text(encoding="utf-8").count("ada") == 1
    assert list((tmp_path / "grading/feedback/ada" / assignment).glob("*.html"))
