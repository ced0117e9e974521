"""nbgrader's gradebook, read and written by one process, a commit at a time.

The tables are nbgrader's own (0.9, one schema since 2018); they are used through SQLAlchemy directly, because importing
nbgrader takes seconds, and because its own methods commit after every cell. Only what the autograder knows is written:
auto_score, needs_manual_grade, the collection time. Scores and comments of people stay as they are.
"""

import contextlib
import shutil
import sqlite3
import sys
import time
import uuid
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any

from tito import CourseError
from tito.course.registry import Course
from tito.grading.reasons import DRIVERS, PATIENCE, database_message, file_of
from tito.grading.result import CellResult, SubmissionResult

BACKUPS = 10  # how many are kept


def nbgrader_settings(course: Course) -> dict:
    """What nbgrader's configuration in the course's folder says: the database, and where things lie."""
    from traitlets.config.loader import PyFileConfigLoader

    file = course.root / "nbgrader_config.py"
    if not file.is_file():
        raise CourseError(f"no {file.name} in {course.root}: nbgrader's settings belong there")
    try:
        config = PyFileConfigLoader(file.name, path=str(course.root)).load_config()
    except Exception as error:
        raise CourseError(f"{file} cannot be read: {type(error).__name__}: {error}") from None
    folder = config.CourseDirectory
    url = folder.get("db_url") or f"sqlite:///{course.root / 'gradebook.db'}"
    places = {
        name: folder.get(f"{name}_directory") or name for name in ("release", "submitted", "autograded", "feedback")
    }
    found = {"url": str(url), **{name: course.root / str(place) for name, place in places.items()}, "config": config}
    found["grading"] = course.folder("grading")
    found["exchange"] = course.root / str(config.Exchange.get("root") or "/usr/local/share/nbgrader/exchange")
    found["course_id"] = str(folder.get("course_id") or "")
    found["check_owner"] = bool(config.ExchangeCollect.get("check_owner", True))
    return found


def backup(url: str, folder: Path) -> Path | None:
    """A copy of the database as it is now, as an SQLite file, the ten last ones kept; None where there is no file."""
    file = file_of(url)
    if file is not None and not file.exists():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    stem = file.stem if file else "gradebook"
    target = folder / f"{stem}-{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}.db"
    try:
        with contextlib.closing(sqlite3.connect(target)) as copy:
            if file is None:
                _copy_tables(url, target)
            else:
                with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=PATIENCE)) as source:
                    source.backup(copy)
            sound = copy.execute("pragma quick_check").fetchone()[0] == "ok"
    except (sqlite3.Error, OSError) as error:
        target.unlink(missing_ok=True)
        raise CourseError(f"{file} cannot be copied ({error}): nothing was written to it") from None
    if not sound:
        target.unlink()
        raise CourseError(f"{file} is damaged: put back the last copy from {folder}")
    for old in sorted(folder.glob(f"{stem}-*.db"))[:-BACKUPS]:
        old.unlink()
    return target


def _copy_tables(url: str, target: Path) -> None:
    """Every table of another kind of database, PostgreSQL for one, in an SQLite file that nbgrader can open."""
    import sqlalchemy

    tables, copy = sqlalchemy.MetaData(), sqlalchemy.create_engine(f"sqlite:///{target}")
    with Gradebook(url) as book:
        tables.reflect(book.connection)
        for table in tables.sorted_tables:
            for column in table.columns:
                column.type, column.server_default = column.type.as_generic(), None
        tables.create_all(copy)
        with copy.begin() as made:
            for table in tables.sorted_tables:
                if rows := [dict(row) for row in book.connection.execute(table.select()).mappings()]:
                    made.execute(table.insert(), rows)
    copy.dispose()


def space_left(folder: Path) -> int:
    """Bytes left on the disk that holds `folder`, or its nearest existing parent."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _tables():
    from sqlalchemy import Boolean, DateTime, Float, Interval, String, column, table

    def make(name, /, **columns):
        return table(name, *(column(key, kind) for key, kind in columns.items()))

    names = {
        "student": make("student", id=String, first_name=String, last_name=String, email=String, lms_user_id=String),
        "assignment": make("assignment", id=String, name=String, duedate=DateTime, course_id=String),
        "notebook": make("notebook", id=String, name=String, assignment_id=String, kernelspec=String),
        "base_cell": make("base_cell", id=String, name=String, notebook_id=String, type=String),
        "grade_cells": make("grade_cells", id=String, max_score=Float, cell_type=String),
        "solution_cells": make("solution_cells", id=String),
        "source_cell": make("source_cell", id=String, name=String, cell_type=String, locked=Boolean, source=String,
                            checksum=String, notebook_id=String),
        "task_cells": make("task_cells", id=String, max_score=Float, cell_type=String),
        "submitted": make("submitted_assignment", id=String, assignment_id=String, student_id=String,
                          timestamp=DateTime, extension=Interval),
        "copy": make("submitted_notebook", id=String, assignment_id=String, notebook_id=String, flagged=Boolean,
                     late_submission_penalty=Float),
        "grade": make("grade", id=String, notebook_id=String, cell_id=String, auto_score=Float, manual_score=Float,
                      extra_credit=Float, needs_manual_grade=Boolean),
        "comment": make("comment", id=String, notebook_id=String, cell_id=String, auto_comment=String,
                        manual_comment=String),
    }  # fmt: skip
    return type("Tables", (), names)


class Gradebook:
    """An open gradebook. Use it as a context: what was done in the block is committed at its end, or nothing is."""

    def __init__(self, url: str):
        try:
            import sqlalchemy
        except ImportError:
            raise CourseError("the gradebook is nbgrader's: pip install 'tinytorch[grade]'") from None
        self.sql, self.t, self.url = sqlalchemy, _tables(), url
        file = file_of(url)
        if file is not None and not file.exists():
            raise CourseError(f"no gradebook at {file}: run tito grade assign first")
        waits = {"timeout": PATIENCE} if file is not None else {}
        try:
            self.engine = sqlalchemy.create_engine(url.partition("?")[0] if file else url, connect_args=waits)
        except ImportError as error:
            name = error.name or "a driver"
            raise CourseError(f"the database needs {name}: pip install {DRIVERS.get(name, name)}") from None
        except sqlalchemy.exc.ArgumentError:
            raise CourseError(
                "c.CourseDirectory.db_url in nbgrader_config.py is no address of a database that SQLAlchemy knows: "
                "write sqlite:///FILE or postgresql+psycopg2://USER:PASSWORD@HOST/NAME"
            ) from None

    def __enter__(self):
        try:
            self.connection = self.engine.connect()
            if self.engine.dialect.name == "sqlite":
                self.connection.exec_driver_sql("begin immediate")  # one writer: the lock is taken now, not half-way
        except self.sql.exc.DBAPIError as error:
            raise CourseError(database_message(str(error.orig), self.url)) from None
        return self

    def __exit__(self, kind, error, trace):
        try:
            if kind is None:
                self.connection.commit()
            else:
                self.connection.rollback()
            self.connection.close()
        except self.sql.exc.DBAPIError as fault:
            raise CourseError(database_message(str(fault.orig), self.url)) from None
        finally:
            self.engine.dispose()
        if isinstance(error, self.sql.exc.DBAPIError):
            raise CourseError(database_message(str(error.orig), self.url)) from None

    def rollback(self) -> None:
        """Forget what was done so far in the block."""
        self.connection.rollback()

    def rows(self, statement) -> list:
        """All rows of a query."""
        return list(self.connection.execute(statement))

    def assignment(self, name: str):
        """The assignment's row."""
        a = self.t.assignment
        found = self.rows(self.sql.select(a.c.id, a.c.duedate).where(a.c.name == name))
        if not found:
            raise CourseError(f"the gradebook does not know {name}: run tito grade assign {name[:2]} first")
        return found[0]

    def has_assignment(self, name: str) -> bool:
        """Whether the assignment is known."""
        a = self.t.assignment
        if not self.sql.inspect(self.connection).has_table(a.name):
            return False
        return bool(self.rows(self.sql.select(a.c.id).where(a.c.name == name)))

    def cells(self, assignment_id: str) -> dict[str, dict[tuple[str, str], tuple]]:
        """Notebook -> (cell's name, type) -> (cell id, type, points or None, notebook id, "code" or "markdown")."""
        c, n, g, k = self.t.base_cell, self.t.notebook, self.t.grade_cells, self.t.task_cells
        first = self.sql.func.coalesce
        points, form = first(g.c.max_score, k.c.max_score), first(g.c.cell_type, k.c.cell_type)
        joined = c.join(n, c.c.notebook_id == n.c.id).outerjoin(g, g.c.id == c.c.id).outerjoin(k, k.c.id == c.c.id)
        query = (
            self.sql.select(n.c.name, c.c.name, c.c.type, c.c.id, c.c.type, points, n.c.id, form)
            .select_from(joined)
            .where(n.c.assignment_id == assignment_id)
        )
        found: dict = {}
        for notebook, name, kind, *row in self.rows(query):
            found.setdefault(notebook, {})[name, kind] = tuple(row)
        return found

    def scores(self, assignment_id: str, students: Collection[str] | None = None) -> dict[str, dict]:
        """Of everybody or of some: student -> {"submitted": id, "timestamp", "extension",
        "copies": {notebook id: copy id}, "penalties": {notebook id: points}, "grades": {cell id: row}}.
        """
        s, k, g = self.t.submitted, self.t.copy, self.t.grade
        found: dict = {}
        wanted = s.c.assignment_id == assignment_id
        if students is not None and len(students) <= 500:
            wanted &= s.c.student_id.in_(list(students))
        query = (
            self.sql.select(s.c.student_id, s.c.id, s.c.timestamp, s.c.extension, k.c.id, k.c.notebook_id,
                            k.c.late_submission_penalty)
            .select_from(s.outerjoin(k, k.c.assignment_id == s.c.id))
            .where(wanted)
        )  # fmt: skip
        for student, id, stamp, extension, copy, notebook, penalty in self.rows(query):
            empty = {"submitted": id, "timestamp": stamp, "extension": extension}
            entry = found.setdefault(student, {**empty, "copies": {}, "penalties": {}, "grades": {}})
            entry["copies"][notebook], entry["penalties"][notebook] = copy, penalty
        query = (
            self.sql.select(s.c.student_id, g.c.cell_id, g.c.id, g.c.auto_score, g.c.manual_score, g.c.extra_credit,
                            g.c.needs_manual_grade)
            .select_from(g.join(k, g.c.notebook_id == k.c.id).join(s, k.c.assignment_id == s.c.id))
            .where(wanted)
        )  # fmt: skip
        for row in self.rows(query):
            found[row[0]]["grades"][row[1]] = row
        return found

    def comments(self, assignment_id: str) -> dict[tuple[str, str], dict[str, str]]:
        """(student, notebook) -> cell -> what a person wrote about it."""
        s, k, c, b, n = self.t.submitted, self.t.copy, self.t.comment, self.t.base_cell, self.t.notebook
        joined = c.join(k, c.c.notebook_id == k.c.id).join(s, k.c.assignment_id == s.c.id)
        joined = joined.join(b, c.c.cell_id == b.c.id).join(n, k.c.notebook_id == n.c.id)
        query = self.sql.select(s.c.student_id, n.c.name, b.c.name, c.c.manual_comment).select_from(joined)
        found: dict = {}
        for student, notebook, cell, text in self.rows(query.where(s.c.assignment_id == assignment_id)):
            if text:
                found.setdefault((student, notebook), {})[cell] = text
        return found

    def students(self) -> set[str]:
        """Every student's id."""
        return {row[0] for row in self.rows(self.sql.select(self.t.student.c.id))}

    def add_student(self, student: str) -> None:
        """A student known by id only."""
        self.connection.execute(self.sql.insert(self.t.student).values(id=student))

    def add_submission(self, assignment_id: str, student: str, cells: dict) -> dict:
        """An empty submission: a copy of every notebook, a grade for every graded cell, a comment for every answer."""
        insert = self.sql.insert
        made: dict[str, Any] = {"submitted": new_id(), "timestamp": None, "copies": {}, "grades": {}}
        values = {"id": made["submitted"], "assignment_id": assignment_id, "student_id": student}
        self.connection.execute(insert(self.t.submitted).values(**values))
        for id, kind, _, notebook, _ in (row for known in cells.values() for row in known.values()):
            if notebook not in made["copies"]:
                made["copies"][notebook] = self.add_copy(made["submitted"], notebook)
            if grade := self.add_answer(made["copies"][notebook], id, kind):
                made["grades"][id] = (student, id, grade, None, None, None, True)
        return made

    def add_copy(self, submission: str, notebook: str) -> str:
        """A notebook of a submission, with nothing in it; its id."""
        id = new_id()
        values = {"id": id, "assignment_id": submission, "notebook_id": notebook, "flagged": False}
        self.connection.execute(self.sql.insert(self.t.copy).values(**values))
        return id

    def add_answer(self, copy: str, cell: str, kind: str) -> str | None:
        """A grade that waits, for a cell with points, and an empty comment, for one to be answered; the grade's id."""
        values, grade = {"notebook_id": copy, "cell_id": cell}, None
        if kind in ("GradeCell", "TaskCell"):
            grade = new_id()
            self.connection.execute(self.sql.insert(self.t.grade).values(id=grade, needs_manual_grade=True, **values))
        if kind in ("SolutionCell", "TaskCell"):
            self.connection.execute(self.sql.insert(self.t.comment).values(id=new_id(), **values))
        return grade

    def set_score(self, grade_id: str, score: float | None, manual: bool) -> None:
        """The autograder's score of a cell, and whether a person has to look."""
        g = self.t.grade
        statement = self.sql.update(g).where(g.c.id == grade_id)
        self.connection.execute(statement.values(auto_score=score, needs_manual_grade=manual))

    def set_timestamp(self, submission_id: str, stamp: datetime) -> None:
        """When the submission was handed in."""
        s = self.t.submitted
        self.connection.execute(self.sql.update(s).where(s.c.id == submission_id).values(timestamp=stamp))

    def set_penalty(self, copy_id: str, penalty: float | None) -> None:
        """What a notebook handed in late loses."""
        k = self.t.copy
        self.connection.execute(self.sql.update(k).where(k.c.id == copy_id).values(late_submission_penalty=penalty))

    def set_due(self, assignment_id: str, due: datetime | None) -> None:
        """When the assignment is due."""
        a = self.t.assignment
        self.connection.execute(self.sql.update(a).where(a.c.id == assignment_id).values(duedate=due))


def new_id() -> str:
    """An id as nbgrader makes them."""
    return uuid.uuid4().hex


def store_scores(book: Gradebook, name: str, results: list[SubmissionResult], stamps: dict[str, datetime]) -> set[str]:
    """Write results into an open gradebook; the students for whom something changed.

    A result that is an infra_error is not a score: nothing is written for it, and an old score is taken back if the
    submission it stood for has changed (the caller passes such results with `stale` set).
    """
    changes: set[str] = set()
    id, _ = book.assignment(name)
    some = {result["student"] for result in results}
    cells, known, students = book.cells(id), book.scores(id, some), book.students()
    for result in results:
        student = result["student"]
        failed = result["status"] == "infra_error"
        if failed and not (result.get("stale") and student in known):
            continue
        if student not in students:
            book.add_student(student)
            students.add(student)
        entry = known.get(student) or book.add_submission(id, student, cells)
        new = student not in known
        changed = new
        for notebook, names in cells.items():
            part = result["notebooks"].get(notebook)
            found: dict[str, CellResult] = part["cells"] if part else {}
            for (cell, kind), (cell_id, *_) in names.items():
                row = entry["grades"].get(cell_id)
                if kind != "GradeCell" or row is None:
                    continue
                _, _, grade_id, auto, manual, _, needs = row
                outcome = found.get(cell)
                if outcome is None and not failed:
                    if new:
                        book.set_score(grade_id, None, True)
                    continue
                score = None if failed or outcome is None else outcome["points"]
                look = manual is not None and (needs or score != auto) or score is None
                if score != auto or look != bool(needs):
                    book.set_score(grade_id, score, look)
                    changed = True
        stamp = stamps.get(student)
        if stamp and entry["timestamp"] != stamp:
            book.set_timestamp(entry["submitted"], stamp)
        if changed:
            changes.add(student)
    return changes


def late_policy(config, root: Path):
    """The course's late submission plugin, None if it has set none."""
    chosen = config.AssignLatePenalties.get("plugin_class")
    if not chosen and not config.LateSubmissionPlugin:
        return None
    from nbgrader.plugins import LateSubmissionPlugin
    from traitlets.utils.importstring import import_item

    sys.path.insert(0, str(root))  # as nbgrader has it, which runs there
    try:
        kind = import_item(chosen) if isinstance(chosen, str) else chosen or LateSubmissionPlugin
        return kind(config=config)
    except Exception as error:
        raise CourseError(f"the plugin for late submissions cannot be used: {type(error).__name__}: {error}") from None
    finally:
        sys.path.remove(str(root))


def apply_penalties(book, name: str, policy, students: Collection[str] | None = None) -> set[str]:
    """Write the penalties of submissions into an open gradebook; the students for whom one has changed."""
    id, due = book.assignment(name)
    changed: set[str] = set()
    totals: dict[tuple, float] = {}
    notebook_of = {row[0]: row[3] for cells in book.cells(id).values() for row in cells.values()}
    for student, entry in book.scores(id, students).items():
        for cell, row in entry["grades"].items():
            totals[student, notebook_of[cell]] = totals.get((student, notebook_of[cell]), 0.0) + score_of(row)
        seconds = seconds_late(entry, due)
        for notebook, copy in entry["copies"].items():
            if copy is None:  # a submission without notebooks
                continue
            penalty = penalty_of(policy, student, totals.get((student, notebook), 0.0), seconds)
            if (penalty or 0.0) != (entry["penalties"].get(notebook) or 0.0):
                book.set_penalty(copy, penalty)
                changed.add(student)
    return changed


def penalty_of(policy, student: str, score: float, seconds: float) -> float | None:
    """What the policy takes from a notebook's `score` that was handed in so late: never more than there is."""
    penalty = policy.late_submission_penalty(student, score, seconds) if seconds else None
    return None if penalty is None else min(max(float(penalty), 0.0), score)


def score_of(row: tuple) -> float:
    """The points of a cell, from its row in `Gradebook.scores`: by a person, else the automatic ones; extra credit."""
    auto, manual, extra = row[3:6]
    return (manual if manual is not None else auto or 0.0) + (extra or 0.0)


def seconds_late(entry: dict, due) -> float:
    """How long after the due date, the student's extension included, a submission was handed in."""
    if entry["timestamp"] is None or due is None:
        return 0.0
    extra = entry["extension"].total_seconds() if entry.get("extension") else 0.0
    return max((entry["timestamp"] - due).total_seconds() - extra, 0.0)
