"""A fault of nbgrader or of the database is told by its own reason, in one sentence with what helps."""

import pytest

from tito import CourseError
from tito.grading import gradebook
from tito.grading.reasons import database_message
from tito.grading.service import GradingService
from tito.grading.upstream import reason_of

URL = "postgresql+psycopg2://teacher:opensesame@db.example.org:5433/grades"
END = """
[ERROR] There was an error processing assignment '02_activations' for student '.'
[ERROR] Please see the the above traceback for details on the specific errors on the above failures.
nbgrader.converters.base.NbGraderException: Please see the the above traceback for details on the specific errors.
"""
SAID = {
    "    RuntimeError: Solution region in a wrong cell": "Solution region in a wrong cell",
    "    nbformat.reader.NotJSONError: Notebook is not JSON: '{'": "NotJSONError: Notebook is not JSON",
    "    NotADirectoryError: [Errno 20] Not a directory: '/x/release/.'": "Not a directory: '/x/release/.'",
    "    ModuleNotFoundError: No module named 'psycopg2'": "pip install psycopg2-binary",
    "    sqlalchemy.exc.OperationalError: (sqlite3.OperationalError) database is locked": "close it",
    "nbgrader.converters.base.NbGraderException: No notebooks were matched by '/x'": "No notebooks",
    "[ERROR] No exchange": "No exchange",
}
FAULTS = {
    'connection to server at "db" (10.0.0.1), port 5433 failed: Connection refused\n\tIs it running?': "start it",
    "could not translate host name": "PostgreSQL at db.example.org:5433 does not answer",
    "server closed the connection unexpectedly": "does not answer",
    'FATAL:  password authentication failed for user "teacher"': "mend the user and the password",
    'FATAL:  database "grades" does not exist': "createdb",
    'relation "assignment" does not exist\nLINE 1: SELECT': "tito grade assign makes one",
}


@pytest.mark.parametrize("line", SAID)
def test_nbgraders_own_reason(line):
    reason = reason_of("Traceback (most recent call last):\n" + line + END, "sqlite:///gradebook.db")
    assert SAID[line] in reason and "above" not in reason and "\n" not in reason


@pytest.mark.parametrize("text", FAULTS)
def test_a_stopped_postgresql_gets_its_own_advice(text):
    told = database_message(text, URL)
    assert FAULTS[text] in told and "PostgreSQL at db.example.org:5433" in told
    assert "opensesame" not in told and "sqlite" not in told.lower() and "\n" not in told


def test_a_driver_that_is_not_there_and_an_address_that_is_none():
    with pytest.raises(CourseError, match="no address of a database"):
        gradebook.Gradebook("grades.db")
    with pytest.raises(CourseError, match="no address of a database"):
        gradebook.Gradebook("someone://else")


def test_commands_before_their_time(grade, course):
    for words, reason in (
        (("feedback", "02"), "no result of 02_activations by anybody yet: tito grade run 02"),
        (("run", "02"), "no submissions of 02_activations"),
        (("status", "01"), "the gradebook does not know 01_tensor: run tito grade assign 01 first"),
        (("migrate", "01"), "the gradebook does not know 01_tensor: run tito grade assign 01 first"),
    ):
        code, out, err = grade(*words)
        assert code == 1 and reason in err and "Traceback" not in err and len(err.strip().splitlines()) == 1, err
    gradebook.file_of(GradingService(course).settings["url"]).unlink()
    for words in (("status", "02"), ("export", "02"), ("migrate", "02")):
        code, out, err = grade(*words)
        assert code == 1 and "no gradebook at" in err and "tito grade assign" in err, err


@pytest.mark.slow
def test_a_notebook_that_nbgrader_refuses(course):
    path = course.root / "modules/02_activations/activations_dev.ipynb"
    (course.root / "grading/release").rename(course.root / "grading/moved")
    (course.root / "grading/release").write_text("in the way")
    with pytest.raises(CourseError) as told:
        GradingService(course).assign(course.module("02"))
    assert "Not a directory" in str(told.value) and "above" not in str(told.value) and path.is_file()


def test_a_database_without_tables_and_one_that_may_not_be_written(course):
    service = GradingService(course)
    file = gradebook.file_of(service.settings["url"])
    file.write_bytes(b"")
    with pytest.raises(CourseError, match="holds no gradebook of nbgrader's yet: tito grade assign"):
        service.marks(course.module("02"))
