"""One total everywhere, results kept as they come, one lock for each assignment."""

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from tito import CourseError
from tito.cli import grade_tables
from tito.grading import commit, gradebook, marks
from tito.grading.service import GradingService

pytestmark = pytest.mark.usefixtures("one_rung")
NAME = "activations_dev.ipynb"
ROOT = Path(__file__).resolve().parents[2]
POLICY = """
from nbgrader.plugins import BasePlugin

class Half(BasePlugin):
    def late_submission_penalty(self, student, score, seconds):
        return score / 2
"""


def sql(desk, statement, *values):
    with sqlite3.connect(gradebook.file_of(desk.settings["url"])) as book:
        return book.execute(statement, values).fetchall()


def totals(desk, report=None):
    """Student -> the total as run (if a report is given), status and export say it; all of them agree."""
    module = desk.course.module("02")
    status = {row["student"]: row["score"] for row in desk.status(module)}
    exported = {mark.student["id"]: mark.fields() for mark in desk.all_marks([module])}
    assert {name: f"{status[name]:g}" for name in exported} == {name: row["score"] for name, row in exported.items()}
    if report:
        assert {row.student: row.score for row in report.rows} == {name: status[name] for name in status}
    return status


def test_a_persons_marks_extra_credit_and_lateness_are_in_every_total(desk):
    module = desk.course.module("02")
    assert totals(desk, desk.grade_submissions(module)) == {"ada": 100, "ben": 0, "cleo": 30}
    own = "where notebook_id in (select n.id from submitted_notebook n join submitted_assignment s "
    own += "on s.id = n.assignment_id where s.student_id = ?) and cell_id = (select id from base_cell where name = ?)"
    sql(desk, f"update grade set manual_score = 12 {own}", "ben", "test_gelu")
    sql(desk, f"update grade set extra_credit = 3 {own}", "cleo", "test_relu")
    assert totals(desk, desk.grade_submissions(module)) == {"ada": 100, "ben": 12, "cleo": 33}

    (desk.course.root / "half_policy.py").write_text(POLICY)
    config = desk.course.root / "nbgrader_config.py"
    config.write_text(config.read_text() + "c.AssignLatePenalties.plugin_class = 'half_policy.Half'\n")
    desk = GradingService(desk.course)
    for student in ("ada", "ben"):
        stamp = desk.settings["submitted"] / student / module.folder / "timestamp.txt"
        stamp.write_text("2026-11-12 06:00:00.0 UTC")
    with gradebook.Gradebook(desk.settings["url"]) as book:
        book.set_due(book.assignment(module.folder)[0], datetime(2026, 11, 10))
    assert totals(desk, desk.grade_submissions(module)) == {"ada": 50, "ben": 6, "cleo": 33}
    with gradebook.Gradebook(desk.settings["url"]) as book:  # moved elsewhere, such as in formgrader
        book.set_due(book.assignment(module.folder)[0], datetime(2026, 11, 20))
    assert totals(desk) == {"ada": 100, "ben": 12, "cleo": 33}, "before the next run"
    assert [row["late_hours"] for row in desk.status(module)] == [0, 0, 0]
    sql(desk, f"update grade set manual_score = 20 {own}", "ben", "test_gelu")
    report = desk.grade_submissions(module)
    assert totals(desk, report) == {"ada": 100, "ben": 20, "cleo": 33}


def test_a_bonus_stands_apart_and_counts_against_nobody():
    person = {"id": "ada"}
    questions = {"test_a": (60.0, 60.0), "why": (40.0, 40.0), "test_more": (0.0, 50.0)}
    mark = marks.Mark(person, "09_spatial", questions, 0, 0.0, apart=frozenset({"test_more"}))
    assert (mark.score, mark.most, mark.bonus, mark.bonus_most) == (100, 100, 0, 50)
    mark = marks.Mark(
        person, "09_spatial", questions | {"test_more": (30.0, 50.0)}, 0, 9.0, 10.0, apart=frozenset({"test_more"})
    )
    mark.bonus_penalty = 5.0
    assert (mark.score, mark.bonus) == (90, 25) and mark.fields()["bonus"] == "25" and mark.fields()["max"] == "100"


def test_results_are_committed_as_they_come_and_a_stop_says_what_is_kept(desk, submission, monkeypatch):
    module = desk.course.module("02")
    monkeypatch.setattr(commit, "EVERY", 0.0)
    real, seen = desk._results, []

    def stopped(*words):
        for result in real(*words):
            seen.append(result["student"])
            yield result
            if len(seen) == 2:
                with gradebook.Gradebook(desk.settings["url"]) as book:
                    assert len(book.scores(book.assignment(module.folder)[0])) == 2, "they are there before the end"
                raise KeyboardInterrupt

    monkeypatch.setattr(desk, "_results", stopped)
    with pytest.raises(KeyboardInterrupt) as stop:
        desk.grade_submissions(module)
    assert "2 of 3 submissions of 02_activations have their result in the gradebook" in str(stop.value)
    assert "left to grade: 1. To go on: tito grade run 02" in str(stop.value)
    told = {row["student"]: row["score"] for row in desk.status(module)}
    assert {name for name, score in told.items() if score is not None} == set(seen)
    assert {mark.student["id"]: mark.score for mark in desk.all_marks([module])} == {name: told[name] for name in seen}
    monkeypatch.setattr(desk, "_results", real)
    report = desk.grade_submissions(module)
    assert [row.student for row in report.rows if row.fresh] == list({"ada", "ben", "cleo"} - set(seen))
    assert totals(desk, report) == {"ada": 100, "ben": 0, "cleo": 30}


def test_handed_in_again_is_told_until_it_is_graded(desk, submission):
    module = desk.course.module("02")
    desk.grade_submissions(module)
    submission(desk.settings["submitted"] / "ben" / module.folder / NAME, solved=("relu",))
    assert [row["changed"] for row in desk.status(module)] == [False, True, False]
    desk.grade_submissions(module)
    assert not any(row["changed"] for row in desk.status(module))


def test_one_lock_for_each_assignment(desk):
    with desk.locked(desk.course.module("02")):
        with pytest.raises(CourseError, match="another tito grade works on 02_activations"):
            desk.grade_submissions(desk.course.module("02"))
        with desk.locked(desk.course.module("01")):
            desk.note("nothing")


def test_the_closing_table_is_whole_and_has_the_questions(desk, submission, capsys):
    module = desk.course.module("02")
    report = desk.grade_submissions(module)
    [relu] = [question for question in report.questions if question.name == "test_relu"]
    assert (relu.most, relu.solved, relu.graded) == (10, 2, 3) and relu.mean == pytest.approx(6.67)
    assert relu.causes == [("not written yet", 1)]
    report.rows = [report.rows[0]] * 100
    grade_tables.grading_report(report)
    out = capsys.readouterr().out
    assert sum(line.startswith("ada") for line in out.splitlines()) == 100
    assert "test_relu" in out and "2 of 3" in out and "1x not written yet" in out


def test_ctrl_c_says_what_is_kept_and_what_to_type(desk, submission):
    module = desk.course.module("02")
    for number in range(6):
        wait = f"\nimport time\ntime.sleep({0.01 if number < 2 else 2})\n"
        submission(desk.settings["submitted"] / f"s{number}" / module.folder / NAME, changes={"relu": wait})
    words = [sys.executable, "-m", "tito", "grade", "run", "02", "--jobs", "2"]
    process = subprocess.Popen(
        words, cwd=desk.course.root, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + 100
    while len(list(desk.store(module).folder.glob("*.json"))) < 4 and time.monotonic() < end:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in said, said
    found = re.search(r"stopped: (\d) of 9 submissions .* left to grade: (\d)\. To go on: tito grade run 02", said)
    assert found and int(found[1]) >= 3 and int(found[1]) + int(found[2]) == 9, said
    told = {row["student"]: row["score"] for row in desk.status(module) if row["score"] is not None}
    assert {mark.student["id"]: mark.score for mark in desk.all_marks([module])} == told
    assert len(told) == int(found[1])
    assert totals(desk, desk.grade_submissions(module, jobs=2))["ada"] == 100
