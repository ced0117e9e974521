"""At night: from release to feedback through nbgrader's exchange, and with the gradebook in PostgreSQL."""

import getpass
import json
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NAME = "activations_dev.ipynb"
pytestmark = pytest.mark.slow


def nbgrader(folder, *words, **settings):
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": tools, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", **settings}
    done = subprocess.run(
        ["nbgrader", *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout + done.stderr


def test_from_release_to_feedback_through_the_exchange(course, grade, submission, tmp_path):
    """A student fetches, submits and reads the feedback; another one's work came from Canvas and stops nothing."""
    me, exchange, home = getpass.getuser(), tmp_path / "exchange", tmp_path / "student"
    exchange.mkdir(mode=0o777)
    exchange.chmod(0o777)
    home.mkdir()
    config = course.root / "nbgrader_config.py"
    config.write_text(config.read_text() + f"c.Exchange.root = {str(exchange)!r}\n")
    (home / "nbgrader_config.py").write_text(
        f"c = get_config()\nc.Exchange.root = {str(exchange)!r}\nc.CourseDirectory.course_id = 'tinytorch'\n"
        f"c.Exchange.cache = {str(home / 'cache')!r}\n"
    )
    nbgrader(course.root, "release_assignment", "02_activations")
    nbgrader(home, "fetch_assignment", "02_activations")
    submission(home / "02_activations" / NAME, solved="all")
    nbgrader(home, "submit", "02_activations")
    other = submission(tmp_path / "x.ipynb", solved=("relu",)).read_bytes()
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        archive.writestr(f"doejane_11_22_{NAME}", other)
    code, out, err = grade("collect", "02", "exchange", str(tmp_path / "s.zip"))
    assert code == 0 and "2 new" in out, err
    assert grade("run", "02")[0] == 0
    code, out, err = grade("feedback", "02", "--pack", "canvas")
    assert code == 0 and "1 page packed" in out, err
    nbgrader(course.root, "release_feedback", "02_activations")
    said = nbgrader(home, "fetch_feedback", "02_activations")
    (page,) = (home / "02_activations/feedback").glob("*/activations_dev.html")
    assert "Fetched feedback" in said and "100" in page.read_text(encoding="utf-8")
    code, out, err = grade("export", "02")
    assert {line.split(",")[0]: line.split(",")[5] for line in out.splitlines()[1:]} == {me: "100", "doejane": "10"}, (
        out
    )


def programs():
    """Debian's PostgreSQL: the folder of its programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


@pytest.fixture
def postgres(tmp_path_factory):
    """A server of its own on loopback; the address of an empty database."""
    if programs() is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("psycopg2", reason="pip install psycopg2-binary")
    folder = Path("/tmp") / f"tito-postgres-{os.getpid()}"  # a socket's path must be short
    folder.mkdir(mode=0o700)
    as_user = []
    if os.geteuid() == 0:  # it refuses to run as root
        shutil.chown(folder, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(*command):
        subprocess.run([*as_user, *map(str, command)], check=True, capture_output=True, timeout=60, cwd=folder)

    options = f"-p {port} -h 127.0.0.1 -k {folder} -c fsync=off"
    try:
        run(programs() / "initdb", "-D", folder / "data", "-U", "tito", "-A", "trust", "-E", "UTF8")
        run(programs() / "pg_ctl", "-D", folder / "data", "-o", options, "-l", folder / "log", "-w", "start")
        try:
            run(programs() / "createdb", "-h", "127.0.0.1", "-p", port, "-U", "tito", "gradebook")
            yield f"postgresql+psycopg2://tito@127.0.0.1:{port}/gradebook"
        finally:
            run(programs() / "pg_ctl", "-D", folder / "data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_the_walk_with_postgresql(postgres, released, tmp_path, submission):
    """Release, roster, collection, grading, an extension, marks by hand, feedback and export."""
    folder = tmp_path / "course"
    shutil.copytree(released, folder, ignore=shutil.ignore_patterns("grading", "done"))
    config = folder / "nbgrader_config.py"
    config.write_text(config.read_text() + f"c.CourseDirectory.db_url = {postgres!r}\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TZ": "UTC"}

    def grade(*words, code=0):
        command = [sys.executable, "-m", "tito", "grade", *words]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, f"{words}\n{done.stdout}{done.stderr}"
        return done.stdout

    assert "Due 2026-12-24 23:59 UTC" in grade("assign", "02", "--due", "2026-12-24")
    for student, solved in (("ada", "all"), ("ben", ("relu",))):
        submission(tmp_path / "in" / student / NAME, solved=solved)
        (tmp_path / "in" / student / "timestamp.txt").write_text("2026-12-25 12:00:00 UTC")
    (tmp_path / "r.csv").write_text(
        "id,first_name,last_name,email\nada,Ada,Lo,\nben,Ben,Bo,\nzoe,Zoe,Quiet,z@x.example\n"
    )
    assert "2 new" in grade("collect", "02", str(tmp_path / "in"), "--roster", str(tmp_path / "r.csv"))
    assert "3 students, 1 without" in grade("roster", "02")
    assert "2 graded now" in grade("run", "02")
    grade("extend", "02", "ben", "--until", "2026-12-26")
    rows = {row["student"]: row for row in json.loads(grade("status", "02", "--json"))["submissions"]}
    assert (rows["ada"]["score"], rows["ben"]["score"]) == (100, 10)
    assert (rows["ada"]["late_hours"], rows["ben"]["late_hours"]) == (12.0, 0.0)
    import sqlalchemy

    engine = sqlalchemy.create_engine(postgres)
    with engine.begin() as book:
        book.execute(sqlalchemy.text("update grade set extra_credit = 2 where auto_score = 10 and cell_id in "
                                     "(select id from base_cell where name = 'test_relu')"))  # fmt: skip
    engine.dispose()
    submission(tmp_path / "in/ben" / NAME, solved=("relu", "gelu"))
    (tmp_path / "in/ben/timestamp.txt").write_text("2026-12-26 10:00:00 UTC")
    assert "1 changed, 1 same" in grade("collect", "02", str(tmp_path / "in"))
    grade("run", "02")
    assert "2 pages" in grade("feedback", "02")
    lines = [line.split(",") for line in grade("export", "02").splitlines()]
    marks = {line[0]: float(line[5]) for line in lines[1:]}
    assert marks["ada"] == 102 and marks["ben"] > 12 and marks["zoe"] == 0
