"""A disk that is really full, and one that is read-only: told in a sentence, exit code 1, nothing lost.

Run on purpose: pytest -m slow tests/grading/test_disk.py. It mounts a small file system in memory, which needs root.
"""

import contextlib
import hashlib
import os
import shutil
import sqlite3
import subprocess

import pytest

from tito import CourseError
from tito.grading import gradebook
from tito.grading import service as desks
from tito.grading.sandbox import isolation
from tito.grading.service import GradingService

pytestmark = pytest.mark.slow
NAME = "activations_dev.ipynb"
RIGHT = {"ada": 100, "ben": 0, "cleo": 30}


@pytest.fixture
def small(course, submission, tmp_path, monkeypatch):
    """The course with its grading folder on a disk of 4 MiB, and three submissions to collect."""
    rung = next(isolation.ladder(), None)
    if rung is None:
        pytest.skip("no isolation works on this machine")
    monkeypatch.setattr(isolation, "ladder", lambda names=None: iter([rung]))
    folder, aside = course.root / "grading", course.root / "aside"
    folder.rename(aside)
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True)
    if made.returncode:
        pytest.skip("this user may not mount a file system")
    try:
        shutil.copytree(aside, folder, dirs_exist_ok=True)
        for student, solved in (("ada", "all"), ("ben", ()), ("cleo", ("relu", "sigmoid"))):
            submission(tmp_path / "in" / student / NAME, solved=solved)
        yield course
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(course, left=0):
    """Take all space but `left` bytes."""
    filler = course.root / "grading/filler"
    filler.unlink(missing_ok=True)
    free = os.statvfs(course.root / "grading")
    with open(filler, "wb") as file:
        file.write(bytes(max(free.f_bavail * free.f_frsize - left, 0)))


def readable(course):
    """The gradebook's scores; fails if the database is not sound."""
    with contextlib.closing(sqlite3.connect(gradebook.file_of(gradebook.nbgrader_settings(course)["url"]))) as book:
        assert book.execute("pragma integrity_check").fetchone() == ("ok",)
        query = "select student_id, sum(auto_score) from grade join submitted_notebook n on n.id = grade.notebook_id"
        query += " join submitted_assignment s on s.id = n.assignment_id group by student_id"
        return dict(book.execute(query).fetchall())


def fingerprint(course):
    """path -> hash of what was collected, released, graded and handed back."""
    found = {}
    for name in ("submitted", "release", "autograded", "feedback", "gradebook.db"):
        place = course.root / "grading" / name
        for path in sorted(place.rglob("*")) if place.is_dir() else [place] if place.exists() else []:
            if path.is_file():
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def told(grade, *words):
    """A command that fails; what it says, which has to be one sentence."""
    code, out, err = grade(*words)
    lines = [line for line in err.splitlines() if line.strip()]
    print(f"tito grade {' '.join(words)[:50]:50} exit {code}: {' '.join(lines)[:200]}")
    assert code == 1 and len(lines) == 1 and lines[0].startswith("tito: ") and "Traceback" not in err + out, err
    return lines[0]


def commands(tmp_path, course):
    return [
        ("assign", "01"),
        ("collect", "02", str(tmp_path / "in")),
        ("run", "02"),
        ("feedback", "02"),
        ("export", "02", "-o", str(course.root / "grading/marks.csv")),
    ]


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_every_command_says_what_is_wrong(small, grade, tmp_path, monkeypatch, how):
    wanted = desks.SPACE
    monkeypatch.setattr(desks, "SPACE", 0)
    assert grade("collect", "02", str(tmp_path / "in"))[0] == 0
    GradingService(small).grade_submissions(small.module("02"), jobs=2)
    assert readable(small) == RIGHT
    for student in RIGHT:
        (tmp_path / "in" / student / NAME).write_text((tmp_path / "in" / student / NAME).read_text() + "\n")
    untouched, folder = fingerprint(small), small.root / "grading"
    if how == "full":
        fill(small)
    else:
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    with monkeypatch.context() as here:
        here.setattr(desks, "SPACE", wanted)
        for words in commands(tmp_path, small):
            told(grade, *words)
    assert fingerprint(small) == untouched and readable(small) == RIGHT
    if how == "full":
        (folder / "filler").unlink()
    else:
        subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
    assert grade("collect", "02", str(tmp_path / "in"))[0] == 0
    assert {
        row.student: row.score for row in GradingService(small).grade_submissions(small.module("02"), jobs=2).rows
    } == RIGHT
    assert grade("feedback", "02")[0] == 0


def test_a_disk_that_fills_on_the_way(small, grade, tmp_path, monkeypatch):
    """However much is left: all is graded, or it is told, the gradebook is sound, and the next run goes on."""
    monkeypatch.setattr(desks, "SPACE", 0)
    assert grade("collect", "02", str(tmp_path / "in"))[0] == 0
    said = []
    for kilobytes in (0, 8, 16, 32, 64, 128, 192, 256, 320, 384, 448, 512, 1024):
        fill(small, kilobytes << 10)
        try:
            GradingService(small).grade_submissions(small.module("02"), jobs=2)
        except CourseError as error:
            said.append(str(error))
            print(f"{kilobytes:5} KiB left: {error}")
        assert all(readable(small).get(student) in (None, score) for student, score in RIGHT.items())
    assert readable(small) == RIGHT and len(set(said)) >= 2, said
