"""The desk from release to marks: scores, nothing done twice, people's grades kept, faults told in a sentence."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest

from tito import CourseError
from tito.cli import grade
from tito.grading import gradebook, marks
from tito.grading.feedback import sanitize_page
from tito.grading.grade import audit, broken_link
from tito.grading.sandbox import isolation
from tito.grading.service import GradingService

pytestmark = pytest.mark.usefixtures("one_rung")
NAME = "activations_dev.ipynb"
ROOT = Path(__file__).resolve().parents[2]


def run(desk, **options):
    return desk.grade_submissions(desk.course.module("02"), jobs=2, **options)


def scores(report):
    return {row.student: row.score for row in report.rows}


def sql(desk, statement, *values):
    with sqlite3.connect(gradebook.file_of(desk.settings["url"])) as book:
        return book.execute(statement, values).fetchall()


def test_right_scores_once_and_in_the_gradebook(desk):
    first = run(desk)
    assert scores(first) == {"ada": 100, "ben": 0, "cleo": 30} and all(row.fresh and row.changed for row in first.rows)
    second = run(desk)
    assert (
        scores(second) == scores(first)
        and not any(row.fresh or row.changed for row in second.rows)
        and not second.backup
    )
    query = "select student_id, sum(auto_score) from grade join submitted_notebook n on n.id = grade.notebook_id"
    query += " join submitted_assignment s on s.id = n.assignment_id group by student_id"
    assert dict(sql(desk, query)) == {"ada": 100, "ben": 0, "cleo": 30}
    shown = (desk.settings["autograded"] / "cleo/02_activations" / NAME).read_text()
    assert "HIDDEN" not in shown and "Not written yet" in shown


def test_a_better_submission_changes_its_score_and_the_copy_holds_the_old_one(desk, submission):
    run(desk)
    submission(desk.settings["submitted"] / "ben/02_activations" / NAME, solved=("relu",))
    report = run(desk)
    assert [(row.before, row.score) for row in report.rows if row.changed] == [(0, 10)]
    with sqlite3.connect(report.backup) as copy:
        assert copy.execute("select sum(auto_score) from grade").fetchone() == (130,)


def test_what_a_person_wrote_stays(desk, submission):
    run(desk)
    sql(desk, "update grade set manual_score = 7, extra_credit = 1, needs_manual_grade = 0 where auto_score = 10")
    sql(desk, "update comment set manual_comment = 'well done'")
    submission(desk.settings["submitted"] / "ada/02_activations" / NAME, solved=("gelu",))
    run(desk)
    assert sql(desk, "select distinct manual_score, extra_credit from grade where manual_score is not null") == [(7, 1)]
    assert sql(desk, "select distinct manual_comment from comment") == [("well done",)]
    looks = "select count(*) from grade where manual_score is not null and needs_manual_grade"
    assert sql(desk, looks)[0][0] >= 1, "a manual score over another automatic one is to be looked at"


def test_a_fault_of_the_machine_is_never_a_zero(desk, submission, monkeypatch):
    run(desk)
    submission(desk.settings["submitted"] / "ada/02_activations" / NAME, solved="all", own="x = 1")
    real = isolation.command
    monkeypatch.setattr(isolation, "command", lambda *a: (["/bin/false"], real(*a)[1]))
    report = run(desk, students=["ada"])
    assert [(row.status, row.score) for row in report.rows] == [("infra_error", None)] and report.failures
    waiting = sql(desk, "select count(*) from grade where auto_score is null and needs_manual_grade")
    assert waiting[0][0] == 6, "the score of the older submission does not stand for the new one"
    monkeypatch.undo()
    assert scores(run(desk))["ada"] == 100


def test_a_reference_that_fails_stops_the_run(desk, submission):
    path = desk.course.root / "modules/02_activations" / NAME
    path.write_text(path.read_text().replace("np.maximum(x, 0)", "x"))
    with pytest.raises(CourseError, match="nobody is graded"):
        run(desk)


def test_a_locked_gradebook_is_told(desk, monkeypatch):
    monkeypatch.setattr(gradebook, "PATIENCE", 0.2)
    with sqlite3.connect(gradebook.file_of(desk.settings["url"])) as other:
        other.execute("begin exclusive")
        with pytest.raises(CourseError, match="locked by another program"):
            run(desk)
    assert scores(run(desk))["ada"] == 100


def test_a_damaged_gradebook_is_told(desk):
    file = gradebook.file_of(desk.settings["url"])
    file.write_bytes(b"SQLite format 3\0" + bytes(range(256)) * 40)
    with pytest.raises(CourseError, match="damaged|not a database|unsupported|no such table|malformed"):
        run(desk)


def test_a_full_disk_is_told_before_anything_is_done(desk, monkeypatch):
    monkeypatch.setattr(gradebook, "space_left", lambda folder: 1000)
    with pytest.raises(CourseError, match="disk is full"):
        run(desk)
    assert not desk.store(desk.course.module("02")).folder.exists()


def test_unknown_students_and_nothing_to_grade(desk):
    with pytest.raises(CourseError, match="no submission of 02_activations by zoe"):
        run(desk, students=["zoe"])
    with pytest.raises(CourseError, match="no submissions"):
        desk.grade_submissions(desk.course.module("01"))


def test_status_marks_and_the_log(desk):
    run(desk)
    rows = {row["student"]: row for row in desk.status(desk.course.module("02"))}
    assert rows["cleo"]["score"] == 30 and rows["ada"]["status"] == "graded" and "seccomp" in rows["ada"]["isolation"]
    sql(desk, "update student set last_name = '=1+1', first_name = '+x', email = 'ada@example.org' where id = 'ada'")
    with gradebook.Gradebook(desk.settings["url"]) as book:
        found = marks.read(book, ["02_activations"])
    assert "ada,'=1+1,'+x,ada@example.org," in marks.table(found, marks.columns_of("plain"))
    with pytest.raises(CourseError, match="there are plain, canvas, moodle and gradescope"):
        marks.columns_of("excel")
    assert "test_relu,test_leaky_relu" in marks.table(found, marks.columns_of("plain"), per_question=True)
    assert broken_link(desk.log) is None
    audit(desk.log, "more")
    desk.log.write_text(desk.log.read_text().replace('"fresh": 3', '"fresh": 4'))
    assert broken_link(desk.log) is not None


POLICY = """
from nbgrader.plugins import BasePlugin

class Tenth(BasePlugin):
    def late_submission_penalty(self, student, score, seconds):
        return score * 0.1 * -(-seconds // 86400)
"""


def test_late_submissions_are_told_and_lose_what_nbgraders_plugin_says(desk, capfd):
    module, folder = desk.course.module("02"), desk.settings["submitted"]
    with gradebook.Gradebook(desk.settings["url"]) as book:
        book.set_due(book.assignment(module.folder)[0], datetime(2026, 11, 10))
    for student, day in (("ada", "12 06:00:00.0"), ("ben", "12 06:00:00.0"), ("cleo", "09 12:00:00.0")):
        (folder / student / module.folder / "timestamp.txt").write_text(f"2026-11-{day} UTC")

    def told():
        with gradebook.Gradebook(desk.settings["url"]) as book:
            found = marks.read(book, [module.folder])
        return {mark.student["id"]: tuple(mark.fields()[name] for name in ("score", "late_hours")) for mark in found}

    run(desk)
    assert told() == {"ada": ("100", "54"), "ben": ("0", "54"), "cleo": ("30", "0")}
    assert [row["late_hours"] for row in desk.status(module)] == [54.0, 54.0, 0.0]
    (desk.course.root / "late_policy.py").write_text(POLICY)
    config = desk.course.root / "nbgrader_config.py"
    plain = config.read_text()
    config.write_text(plain + "c.AssignLatePenalties.plugin_class = 'late_policy.Tenth'\n")
    desk = GradingService(desk.course)
    assert [row.student for row in run(desk).rows if row.changed] == ["ada"]
    assert told()["ada"] == ("70", "54") and sql(desk, "select max(late_submission_penalty) from submitted_notebook")
    assert not run(desk).backup, "the second time nothing changes"
    sql(desk, "update submitted_assignment set extension = '1970-01-03 00:00:00' where student_id = 'ada'")
    run(desk)
    assert told()["ada"] == ("90", "6"), "the extension of two days counts"
    config.write_text(plain + "c.LateSubmissionPlugin.penalty_method = 'zero'\n")
    run(GradingService(desk.course))
    assert told()["ada"] == ("0", "6") and "penalty" not in "".join(capfd.readouterr())
    config.write_text(plain + "c.AssignLatePenalties.plugin_class = 'nowhere.Tenth'\n")
    with pytest.raises(CourseError, match="plugin for late submissions cannot be used"):
        run(GradingService(desk.course))


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", " =1", "\t=1", "\r=1", "|x", "%x"])
def test_no_cell_is_a_formula(text):
    assert marks.safe(text).startswith("'")


def test_a_page_in_which_nothing_runs():
    page = """<html><head><script>x</script><base href="//evil"><meta http-equiv="refresh" content="0"><link></head>
    <body onload="x()"><a href="java&#10;script:x">a</a><a href="#top">b</a>
    <img src="//evil/x.png" onerror=x><svg><script>y</script>
    <a xlink:href="javascript:x"></a></svg><iframe src=x></iframe><form action=x></form>
    <!--[if IE]><script>z</script><![endif]--></body></html>"""
    found = sanitize_page(page)
    assert not any(
        word in found.lower()
        for word in ("<script", "onload", "onerror", "javascript", "evil", "iframe", "<form", "refresh")
    )
    assert 'href="#top"' in found and "default-src 'none'" in found


def test_the_commands(grade, course, submission, tmp_path):
    submission(tmp_path / "in/ada/activations_dev.ipynb", solved="all")
    code, out, err = grade("collect", "02", str(tmp_path / "in"))
    assert code == 0 and "1 new" in out, err
    code, out, err = grade("run", "02", "--json")
    assert code == 0 and json.loads(out)["submissions"][0]["score"] == 100, err
    code, out, err = grade("export", "2", "--columns", "canvas")
    assert code == 0 and "02_activations" in out.splitlines()[0] and out.splitlines()[1].endswith(",100"), err
    code, out, err = grade("status", "activations")
    assert code == 0 and "ada" in out, err
    assert grade("run", "77")[0] == 1 and "no module" in grade("run", "77")[2]


@pytest.mark.slow
def test_killed_twenty_times_and_run_again(desk, submission):
    """Every round brings new submissions and a kill at a random moment; then one run that nobody disturbs."""
    rng, killed, count, solved = random.Random(5), 0, 0, ((), ("relu",), ("relu", "gelu"))
    command = [sys.executable, "-m", "tito", "grade", "run", "02", "--jobs", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    print(f"\n{'round':>5} {'killed later':>12} {'handed in':>9} {'results kept':>12} {'in the gradebook':>16}")
    while killed < 20 and count < 400:
        for number in range(count, count + 6):
            path = desk.settings["submitted"] / f"s{number:03d}/02_activations" / NAME
            submission(path, solved=solved[number % 3])
        count, moment, folder = count + 6, rng.uniform(0, 0.5), desk.store(desk.course.module("02")).folder
        wanted = len(list(folder.glob("*.json"))) + rng.randrange(6)  # new results, however fast the machine is
        process = subprocess.Popen(command, cwd=desk.course.root, env=environment, stdout=-3, stderr=-3)
        while process.poll() is None and len(list(folder.glob("*.json"))) < wanted:
            time.sleep(0.01)
        time.sleep(moment)
        killed += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        kept = len({one["student"] for one in desk.store(desk.course.module("02")).all()} - {"*reference*"})
        known = sql(desk, "select count(distinct student_id) from submitted_assignment")[0][0]
        print(f"{killed:5} {moment:10.2f} s {count + 3:9} {kept:12} {known:16}")
    report, again = run(desk), run(desk)
    expected = {f"s{n:03d}": (0, 10, 30)[n % 3] for n in range(count)} | {"ada": 100, "ben": 0, "cleo": 30}
    assert killed == 20 and scores(report) == expected == scores(again) and not any(row.fresh for row in again.rows)
    query = "select student_id, count(*) from submitted_assignment group by student_id"
    assert dict(sql(desk, query)) == dict.fromkeys(expected, 1)
    marks = "select student_id, sum(auto_score) from grade join submitted_notebook n on n.id = grade.notebook_id"
    marks += " join submitted_assignment s on s.id = n.assignment_id group by student_id"
    assert dict(sql(desk, marks)) == expected
    kept = [one["student"] for one in desk.store(desk.course.module("02")).all()]
    assert sorted(kept) == sorted([*expected, "*reference*"]), "every submission has one result"
    print(f"killed {killed} times; {sum(row.fresh for row in report.rows)} of {len(report.rows)} were left to grade")


def test_feedback_says_how_many_answers_wait_for_a_person(course, monkeypatch, capsys):
    monkeypatch.chdir(course.root)
    monkeypatch.setattr(GradingService, "feedback", lambda self, module, students, jobs, progress: [])
    known = {
        name: marks.Mark({"id": name}, "02_activations", {}, count, 0.0) for name, count in (("ada", 2), ("ben", 1))
    }
    monkeypatch.setattr(GradingService, "marks", lambda self, module: known)
    for students, waiting in ((None, 3), (["ben"], 1)):
        grade.feedback("02", students)
        out = capsys.readouterr().out
        assert f"count 0 points until then: {waiting}." in out and "Next: tito grade formgrader" in out
    known.clear()
    grade.feedback("02")
    out = capsys.readouterr().out
    assert "mark by hand" not in out and "Next: tito grade export 02" in out
