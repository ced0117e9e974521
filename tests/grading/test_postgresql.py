"""The walk on PostgreSQL, from an empty database to a migration; the server is Debian's, started here on loopback.

Run on purpose: pytest -m slow tests/grading/test_postgresql.py. Needs `postgres` and psycopg2.
"""

import copy
import os
import shutil
import socket
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Course
from tito.grading import gradebook
from tito.grading.sandbox import isolation
from tito.grading.service import GradingService

pytestmark = pytest.mark.slow
NAME = "activations_dev.ipynb"
CONFIG = "\nc.CourseDirectory.db_url = 'postgresql+psycopg2://teacher:opensesame@127.0.0.1:{}/grades'\n"


@pytest.fixture
def server(tmp_path_factory):
    """A server of our own: its port, and the function that stops it. PostgreSQL refuses to run as root."""
    pytest.importorskip("psycopg2", reason="psycopg2 is not installed")
    found = [shutil.which("initdb"), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")))]
    tools = next((Path(path).parent for path in reversed(found) if path), None)
    if tools is None:
        pytest.skip("PostgreSQL is not installed")
    folder = tmp_path_factory.mktemp("postgres")
    who = {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}
    if who:
        shutil.chown(folder, "nobody")
        for parent in folder.parents[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(tool, *words):
        command = [str(tools / tool), "-D", str(folder / "data"), *words]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **who)

    run("initdb", "-U", "teacher", "--auth=trust", "--encoding=UTF8")
    run("pg_ctl", "-w", "-o", f"-p {port} -h 127.0.0.1 -k {folder}", "-l", str(folder / "log"), "start")
    stopped = []

    def stop():
        if not stopped:
            stopped.append(run("pg_ctl", "-m", "immediate", "stop"))

    import psycopg2

    try:
        made = psycopg2.connect(host="127.0.0.1", port=port, user="teacher", dbname="postgres")
        made.autocommit = True
        made.cursor().execute("create database grades")
        made.close()
        yield port, stop
    finally:
        stop()


def test_the_walk(released, server, tmp_path, submission):
    if next(isolation.ladder(), None) is None:
        pytest.skip("no isolation works on this machine")
    port, stop = server
    root = tmp_path / "course"
    shutil.copytree(released, root)
    (root / "grading/gradebook.db").unlink()
    with open(root / "nbgrader_config.py", "a", encoding="utf-8") as config:
        config.write(CONFIG.format(port))
    desk = GradingService(Course.load(root))
    module = desk.course.module("02")
    desk.assign(module)
    for student, solved in (("ada", "all"), ("ben", ("relu",))):
        submission(desk.settings["submitted"] / student / module.folder / NAME, solved=solved)
    report = desk.grade_submissions(module, jobs=2)
    assert [(row.student, row.score, row.changed) for row in report.rows] == [("ada", 100, True), ("ben", 10, True)]
    assert not any(row.changed for row in desk.grade_submissions(module).rows)
    with sqlite3.connect(report.backup) as kept:
        assert kept.execute("select count(*) from base_cell").fetchone()[0] == 12

    with gradebook.Gradebook(desk.settings["url"]) as book:
        book.connection.exec_driver_sql("update grade set manual_score = 7 where auto_score = 10")
    nb = notebook.read(module.notebooks[0])
    relu = next(cell for cell in nb["cells"] if cell["id"] == "test_relu")
    more = copy.deepcopy(relu)
    more["id"] = more["metadata"]["nbgrader"]["grade_id"] = "test_more"
    nb["cells"].insert(nb["cells"].index(relu) + 1, more)
    notebook.write(module.notebooks[0], nb)
    registry = module.path / "module.toml"
    registry.write_text(registry.read_text().replace('["test_relu"', '["test_more", "test_relu"'))
    desk = GradingService(Course.load(root))
    module = desk.course.module("02")
    with pytest.raises(CourseError, match="cell added: test_more"):
        desk.grade_submissions(module)
    plan, kept = desk.migrate(module, carry_out=True)
    assert plan.kept == (3, 0, 0) and kept.is_file()
    report = desk.grade_submissions(module, jobs=2)
    assert [(row.score, row.max) for row in report.rows] == [(104, 110), (17, 110)]
    assert [row["score"] for row in desk.status(module)] == [104, 17]
    assert [mark.score for mark in desk.all_marks([module])] == [104, 17]
    assert len(desk.feedback(module, jobs=2)) == 2
    stop()
    for act in (desk.status, desk.grade_submissions, desk.feedback, desk.assign):
        with pytest.raises(CourseError, match=rf"PostgreSQL at 127.0.0.1:{port} does not answer.*: start it") as told:
            act(module)
        assert "opensesame" not in str(told.value) and "\n" not in str(told.value)
