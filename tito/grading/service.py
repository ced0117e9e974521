"""The instructor's desk: what the commands of `tito grade` do, without showing anything."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tito import CourseError
from tito.course import notebook
from tito.course.lint import lint_notebook
from tito.course.registry import Course, Module
from tito.course.storage import only_one, write_atomic
from tito.grading import feedback, grade, gradebook, marks, submissions
from tito.grading.grade import Store, audit
from tito.grading.plan import Assignment, prepare, secret_of
from tito.grading.sandbox.isolation import choose

FAILED = ("timeout", "oom", "died", "rejected", "infra_error")
PATIENT = {"wall": 300.0, "cell": 120.0, "cpu": 300}  # limits of the reference
SPACE = 64 << 20  # bytes that must be free before a run


@dataclass
class StudentRow:
    """A student's line in a report."""

    student: str
    status: str
    score: float | None
    max: float
    before: float | None = None
    changed: bool = False
    seconds: float = 0.0
    reason: str = ""
    fresh: bool = True


@dataclass
class GradingReport:
    """What a run did."""

    assignment: str
    isolation: str
    rows: list[StudentRow] = field(default_factory=list)
    seconds: float = 0.0
    backup: str | None = None

    @property
    def failures(self) -> list[StudentRow]:
        """Students that could not be graded because of the machine."""
        return [row for row in self.rows if row.status == "infra_error"]


class GradingService:
    """What can be done in the grading folder of a course."""

    def __init__(self, course: Course):
        self.course, self.folder = course, course.folder("grading")
        self.settings = gradebook.nbgrader_settings(course)

    @property
    def log(self) -> Path:
        """The log of everything that was done."""
        return self.folder / "audit.jsonl"

    def store(self, module: Module) -> Store:
        """The results of a module's assignment."""
        return Store(self.folder / "results" / module.folder)

    def locked(self) -> contextlib.AbstractContextManager[None]:
        """One command at a time writes here."""
        busy = f"another tito grade works in {self.folder}: wait for it, or end it"
        return only_one(self.folder / ".lock", 1, busy, f"cannot write in {self.folder}: {{reason}}")

    # release and collection

    def assign(self, module: Module, due: datetime | None = None) -> Path:
        """nbgrader's release of a module, after a check of its notebooks; returns its folder."""
        problems = [
            f"{path.name}: {problem}" for path in module.notebooks for problem in lint_notebook(notebook.read(path))
        ]
        if problems:
            raise CourseError(f"{module.folder} is not released:\n  " + "\n  ".join(problems[:10]))
        with self.locked():
            secret_of(self.course, make=True)
            feedback.call_nbgrader(self.course, "generate_assignment", module.folder, patience=300)
            if due is not None:
                with gradebook.Gradebook(self.settings["url"]) as book:
                    book.set_due(book.assignment(module.folder)[0], due)
            audit(self.log, "assign", assignment=module.folder, due=due.isoformat() if due else None)
        return self.settings["release"] / module.folder

    def collect(self, module: Module, source: str) -> list[submissions.Collected]:
        """Submissions from a folder, a zip archive, or "exchange"."""
        with self.locked():
            taken = submissions.collect(self.course, module, source, self.settings)
            counts = {what: sum(one.what == what for one in taken) for what in ("new", "changed", "same", "refused")}
            audit(self.log, "collect", assignment=module.folder, source=source, **counts)
        return taken

    # grading

    def grade_submissions(
        self,
        module: Module,
        *,
        students: list[str] | None = None,
        jobs: int = 1,
        regrade_failed: bool = False,
        isolation: str | None = None,
        unsafe: bool = False,
        limits: dict | None = None,
        scheduler: str | None = None,
        progress: Callable = lambda *_: None,
    ) -> GradingReport:
        """Grade what was collected, keep the results, and commit them to the gradebook."""
        start = time.monotonic()
        found = self._students(module, students)
        with self.locked():
            free = gradebook.space_left(self.folder)
            if free < SPACE:
                raise CourseError(f"the disk is full ({free >> 20} MiB left): make room; nothing was graded")
            rung = choose(isolation, unsafe)
            secret_of(self.course, make=True)
            assignment = prepare(self.course, module, rung, limits)
            with assignment.home:
                report = self._grade_all(assignment, found, jobs, regrade_failed, scheduler, progress)
        report.seconds = round(time.monotonic() - start, 2)
        return report

    def _students(self, module: Module, wanted: list[str] | None) -> list[str]:
        found = grade.students_in(self.settings["submitted"], module.folder)
        if not found:
            raise CourseError(
                f"no submissions of {module.folder} in {self.settings['submitted']}: "
                f"tito grade collect {module.number} DIR"
            )
        missing = sorted(set(wanted or []) - set(found))
        if missing:
            raise CourseError(f"no submission of {module.folder} by {', '.join(missing)}")
        return sorted(wanted) if wanted else found

    def _grade_all(self, assignment: Assignment, students, jobs, again, scheduler, progress) -> GradingReport:
        store, submitted = self.store(assignment.module), self.settings["submitted"]
        results, waiting = {}, []
        for student in students:
            files = grade.read_files(submitted, student, assignment)
            kept = store.read(grade.submission_key(assignment, student, files))
            if kept is None or (again and kept["status"] in FAILED):
                waiting.append((student, files))
            else:
                results[student] = kept
        report = GradingReport(assignment.name, assignment.rung.words)
        progress(len(results), len(students), None)
        fresh = set()
        if waiting:
            self._check_reference(assignment, store)
            for result in self._results(assignment, waiting, jobs, scheduler):
                results[result["student"]] = result
                fresh.add(result["student"])
                if result["status"] != "infra_error":
                    store.write(result)
                progress(len(results), len(students), result)
        self._write_marked(assignment, store, results, fresh)
        changes = self._update_gradebook(assignment, results, report)
        for student in students:
            result, change = results[student], changes.get(student)
            row = StudentRow(student, result["status"], result["score"], result["max"], reason=result["reason"])
            row.seconds, row.fresh = result["seconds"], student in fresh
            if change:
                row.before, row.changed = change[0], True
            report.rows.append(row)
        counts = {name: sum(row.status == name for row in report.rows) for name in {row.status for row in report.rows}}
        facts = {
            "assignment": assignment.name,
            "isolation": assignment.rung.words,
            "fresh": len(fresh),
            "changed": len(changes),
        }
        audit(self.log, "run", **facts, **counts)
        return report

    def _check_reference(self, assignment: Assignment, store: Store) -> None:
        """Before anyone is graded: the reference earns everything here, and its time is the measure for others'."""
        kept = store.read(grade.content_key("*reference*", assignment.digest, {}))
        if kept is None:
            worker, limits = grade.Worker(0), assignment.limits
            assignment.limits = {**limits, **PATIENT}
            try:
                kept = grade.grade_own(assignment, worker, "reference")
            finally:
                worker.stop()
                assignment.limits = limits
            if kept["status"] == "infra_error":
                raise CourseError(f"nothing was graded: {kept['reason']}")
            if kept["score"] != kept["max"]:
                lost = [name for part in kept["notebooks"].values() for name, cell in part["cells"].items()
                        if cell.get("points", 0) != cell.get("max", 0)]  # fmt: skip
                raise CourseError(
                    f"the reference of {assignment.name} earns {kept['score']:g} of {kept['max']:g} here (it loses "
                    f"{', '.join(lost[:5])}), so nobody is graded: tito grade lint {assignment.module.number}"
                )
            store.write(kept)
        for part in assignment.parts:
            cells = kept["notebooks"][part.name]["cells"]
            part.reference.update({name: cell["seconds"] for name, cell in cells.items()})

    def _results(self, assignment: Assignment, waiting: list, jobs: int, scheduler: str | None) -> Iterator[dict]:
        if scheduler:
            from tito.grading import scale

            yield from scale.grade_on_cluster(scheduler, assignment, waiting)
            return
        work = grade.run_jobs(jobs, waiting, lambda worker, item: grade.grade_submission(assignment, worker, *item))
        for (student, files), result in work:
            if isinstance(result, Exception):
                result = grade.failed_result(assignment, student, files, f"{type(result).__name__}: {result}")
            yield result

    def _write_marked(self, assignment: Assignment, store: Store, results: dict, fresh: set) -> None:
        """The notebooks for formgrader and feedback, written where they do not show the result yet."""
        for student, result in results.items():
            if result["status"] == "infra_error":
                continue
            mark = store.folder / "shown" / student
            if student not in fresh and mark.exists() and mark.read_text(encoding="utf-8") == result["key"]:
                continue
            files = grade.read_files(self.settings["submitted"], student, assignment)
            feedback.write_marked(assignment, self.settings["autograded"], student, files, result)
            write_atomic(mark, result["key"])

    def _update_gradebook(self, assignment: Assignment, results: dict, report: GradingReport) -> dict[str, tuple]:
        """One transaction, after a copy of the database; nothing is copied or written if nothing changes."""
        submitted, name = self.settings["submitted"], assignment.name
        shown_of = self.store(assignment.module).folder / "shown"
        stamps = {student: stamp for student in results if (stamp := submissions.stamp_of(submitted, student, name))}
        for student, result in results.items():
            shown = (shown_of / student).read_text(encoding="utf-8") if (shown_of / student).exists() else None
            result["stale"] = result["status"] == "infra_error" and shown != result["key"]
        ordered = [results[student] for student in sorted(results)]
        policy = gradebook.late_policy(self.settings["config"], self.course.root)
        with gradebook.Gradebook(self.settings["url"]) as book:
            changes = self._store(book, name, ordered, stamps, policy)
            if changes:  # undone, and done again after a copy
                book.rollback()
        if not changes:
            return {}
        copy = gradebook.backup(self.settings["url"], self.folder / "backups")
        report.backup = str(copy) if copy else None
        with gradebook.Gradebook(self.settings["url"]) as book:
            return self._store(book, name, ordered, stamps, policy)

    @staticmethod
    def _store(book: gradebook.Gradebook, name: str, results: list, stamps: dict, policy) -> dict[str, tuple]:
        """Scores, times and penalties; student -> (score before, score now) of those that changed."""
        changed = {
            student: (before, after) for student, before, after in gradebook.store_scores(book, name, results, stamps)
        }
        penalised = gradebook.apply_penalties(book, name, policy) if policy else set()
        return {student: (None, None) for student in penalised} | changed

    # looking back

    def status(self, module: Module) -> list[dict]:
        """For every student with a submission: what the last result says, and whether it is of this submission."""
        store, rows = self.store(module), []
        latest: dict = {}
        for result in store.all():
            known = latest.get(result["student"])
            if known is None or result["at"] > known["at"]:
                latest[result["student"]] = result
        shown_of = store.folder / "shown"
        marked = self.marks(module)
        for student in grade.students_in(self.settings["submitted"], module.folder):
            result = latest.get(student)
            row = {
                "student": student,
                "status": "not graded",
                "score": None,
                "max": None,
                "isolation": None,
                "reason": "",
            }
            if result:
                row |= {name: result[name] for name in ("status", "score", "max", "isolation", "reason")}
                row["committed"] = (shown_of / student).exists()
            mark = marked.get(student)
            row |= {"manual": mark.waiting, "late_hours": mark.late_hours} if mark else {"manual": 0, "late_hours": 0.0}
            rows.append(row)
        return rows

    def marks(self, module: Module) -> "dict[str, marks.Mark]":
        """Student -> what the gradebook says; nothing while it cannot be read."""
        try:
            with gradebook.Gradebook(self.settings["url"]) as book:
                return {mark.student["id"]: mark for mark in marks.read(book, [module.folder])}
        except CourseError:
            return {}

    def feedback(self, module: Module, students: list[str] | None = None) -> list[Path]:
        """nbgrader's feedback pages, cleaned."""
        graded = grade.students_in(self.settings["autograded"], module.folder)
        missing = sorted(set(students or []) - set(graded))
        if missing or not graded:
            who = ", ".join(missing) or "anybody"
            raise CourseError(f"{who} has no result of {module.folder} yet: tito grade run {module.number}")
        with self.locked():
            if students:
                for student in students:
                    feedback.call_nbgrader(self.course, "generate_feedback", module.folder, student)
            else:
                feedback.call_nbgrader(self.course, "generate_feedback", module.folder)
            unread = {student: mark.unread for student, mark in self.marks(module).items()}
            pages = feedback.sanitize_pages(self.settings["feedback"], module.folder, students or graded, unread)
            audit(self.log, "feedback", assignment=module.folder, pages=len(pages))
        return pages
