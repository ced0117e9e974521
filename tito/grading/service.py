"""The instructor's desk: what the commands of `tito grade` do, without showing anything."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tito import CourseError
from tito.course import notebook
from tito.course.lint import lint_notebook
from tito.course.registry import Course, Module
from tito.course.scaffold import fold
from tito.course.storage import only_one
from tito.grading import extensions, feedback, grade, gradebook, history, marks, migrate, office, pages, press
from tito.grading.commit import Shown, Writer, hash_of
from tito.grading.grade import Store, audit
from tito.grading.plan import Assignment, prepare, secret_of
from tito.grading.result import StatusRow, SubmissionResult
from tito.grading.sandbox.isolation import choose
from tito.grading.upstream import call_nbgrader

FAILED = ("timeout", "oom", "died", "rejected", "infra_error")
PATIENT = {"wall": 300.0, "cell": 120.0, "cpu": 300}  # limits of the reference
SPACE = 64 << 20  # bytes that must be free before a run


@dataclass
class StudentRow:
    """A student's line in a report: the total of the gradebook, with what people gave and lateness took."""

    student: str
    status: str
    score: float | None
    max: float
    bonus: float = 0.0
    bonus_max: float = 0.0
    waiting: int = 0  # answers that a person has to read
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
    questions: list[marks.Question] = field(default_factory=list)
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

    def shown(self, module: Module) -> Shown:
        """Whose result stands in the gradebook."""
        return Shown(self.store(module).folder / "shown")

    def locked(self, module: Module) -> contextlib.AbstractContextManager[None]:
        """One command at a time works on an assignment."""
        busy = f"another tito grade works on {module.folder}: wait for it, or end it"
        lock = self.folder / f".lock-{module.folder}"
        return only_one(lock, 1, busy, f"cannot write in {self.folder}: {{reason}}")

    def note(self, action: str, **facts) -> None:
        """Add a line to the log; commands on other assignments wait for a moment."""
        busy = f"the log {self.log} is held by another program: end it"
        with only_one(self.folder / ".lock-log", 20, busy, f"cannot write in {self.folder}: {{reason}}"):
            audit(self.log, action, **facts)

    # release and collection

    def assign(self, module: Module, due: datetime | None = None) -> Path:
        """nbgrader's release of a module, after a check of its notebooks; returns its folder."""
        self._lint(module)
        with self.locked(module):
            secret_of(self.course, make=True)
            if self.knows(module):
                self._check_match(module, releasing=True)
            self._release(module)
            if due is not None:
                policy = self.late_policy()
                with gradebook.Gradebook(self.settings["url"]) as book:
                    book.set_due(book.assignment(module.folder)[0], due)
                    extensions.apply(book, module.folder, self.folder)
                    if policy:
                        gradebook.apply_penalties(book, module.folder, policy)
            office.enrol(self, office.roster(self))  # whoever was collected before there was a gradebook
            self.note("assign", assignment=module.folder, due=due.isoformat() if due else None)
        return self.settings["release"] / module.folder

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
        with self.locked(module):
            free = gradebook.space_left(self.folder)
            if free < SPACE:
                raise CourseError(f"the disk is full ({free >> 20} MiB left): make room; nothing was graded")
            self._check_match(module)
            rung = choose(isolation, unsafe)
            secret_of(self.course, make=True)
            assignment = prepare(self.course, module, rung, limits)
            with assignment.home:
                report = self._grade_all(assignment, found, jobs, regrade_failed, scheduler, progress)
        report.seconds = round(time.monotonic() - start, 2)
        return report

    def _release(self, module: Module) -> None:
        """nbgrader's release, with the tests folded."""
        call_nbgrader(self.course, self.settings["url"], "generate_assignment", module.folder, patience=300)
        for path in sorted((self.settings["release"] / module.folder).rglob("*.ipynb")):
            notebook.write(path, fold(notebook.read(path)))

    def _lint(self, module: Module) -> None:
        """CourseError if the notebooks cannot be released."""
        problems = [
            f"{path.name}: {problem}" for path in module.notebooks for problem in lint_notebook(notebook.read(path))
        ]
        if problems:
            raise CourseError(f"{module.folder} is not released:\n  " + "\n  ".join(problems[:10]))

    def knows(self, module: Module) -> bool:
        """Whether the gradebook is there and has the assignment."""
        if not office.begun(self):
            return False
        with gradebook.Gradebook(self.settings["url"]) as book:
            return book.has_assignment(module.folder)

    def _check_match(self, module: Module, releasing: bool = False) -> None:
        """CourseError, with the list, if the gradebook does not match the notebooks."""
        with gradebook.Gradebook(self.settings["url"]) as book:
            plan = migrate.compare(book, module)
        if not plan.changes or (releasing and not plan.submissions):
            return
        listed = [f"\n  {change}" for change in plan.changes]
        more = f"\n  ... and {len(listed) - 20} more" if len(listed) > 20 else ""
        way = f"tito grade migrate {module.number}  (shows what it would do; your own marks and comments stay)"
        raise CourseError(
            f"the gradebook does not match the notebooks of {module.folder}, so nothing was done:"
            f"{''.join(listed[:20])}{more}\n"
            f"To go on: {way if plan.submissions else f'tito grade assign {module.number}'}"
        )

    def migrate(
        self, module: Module, names: dict[str, str] | None = None, carry_out: bool = False
    ) -> tuple[migrate.Plan, Path | None]:
        """What would make the gradebook match the notebooks; carried out after a copy of it, if wanted."""
        with self.locked(module):
            with gradebook.Gradebook(self.settings["url"]) as book:
                migrate.rename(book, module, names or {})
                plan = migrate.compare(book, module)
                book.rollback()
            if not carry_out or not (plan.changes or names):
                return plan, None
            self._lint(module)
            copy = gradebook.backup(self.settings["url"], self.folder / "backups")
            with gradebook.Gradebook(self.settings["url"]) as book:
                migrate.rename(book, module, names or {})
                migrate.migrate(book, module)
            self.note("migrate", assignment=module.folder, changes=[str(change) for change in plan.changes])
            self._release(module)
        return plan, copy

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
        store, submitted, module = self.store(assignment.module), self.settings["submitted"], assignment.module
        before = {student: mark.score for student, mark in self.marks(module).items() if mark.graded}
        results: dict[str, SubmissionResult] = {}
        waiting = []
        for student in students:
            files = grade.read_files(submitted, student, module)
            kept = store.read(grade.submission_key(assignment, student, files))
            if kept is None or (again and kept["status"] in FAILED):
                waiting.append((student, files))
            else:
                results[student] = kept
        writer = Writer(assignment, self.settings, self.shown(module), self.folder / "backups", self.late_policy())
        progress(len(results), len(students), None)
        fresh = set()
        try:
            writer.add(results.values())
            writer.flush()  # what an earlier run has left
            if waiting:
                self._check_reference(assignment, store)
                for result in self._results(assignment, waiting, jobs, scheduler):
                    results[result["student"]] = result
                    fresh.add(result["student"])
                    if result["status"] != "infra_error":
                        store.write(result)
                    writer.add([result])
                    progress(len(results), len(students), result)
            writer.flush()
        except (KeyboardInterrupt, SystemExit) as stop:
            writer.flush()
            self.note("run", assignment=assignment.name, stopped=True, fresh=len(fresh), changed=len(writer.changed))
            if isinstance(stop, KeyboardInterrupt):
                raise KeyboardInterrupt(_stopped(assignment.module, len(writer.done), len(students))) from None
            raise
        except BaseException:
            with contextlib.suppress(CourseError):
                writer.flush()
            raise
        report = GradingReport(assignment.name, assignment.rung.words)
        report.backup = str(writer.backup) if writer.backup else None
        known = self.marks(module)
        for student in students:
            result, mark = results[student], known.get(student)
            row = StudentRow(student, result["status"], None, result["max"], reason=result["reason"])
            row.seconds, row.fresh, row.changed = result["seconds"], student in fresh, student in writer.changed
            row.before = before.get(student) if row.changed else None
            if mark:
                row.max, row.bonus, row.bonus_max, row.waiting = mark.most, mark.bonus, mark.bonus_most, mark.waiting
                row.score = None if result["status"] == "infra_error" else mark.score
            report.rows.append(row)
        report.questions = marks.questions(known.values(), feedback.causes(module, results.values()))
        counts = {name: sum(row.status == name for row in report.rows) for name in {row.status for row in report.rows}}
        facts = {"assignment": assignment.name, "isolation": assignment.rung.words, "fresh": len(fresh)}
        self.note("run", **facts, changed=len(writer.changed), **counts)
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

    def _results(
        self, assignment: Assignment, waiting: list, jobs: int, scheduler: str | None
    ) -> Iterator[SubmissionResult]:
        if scheduler:
            from tito.grading import scale

            yield from scale.grade_on_cluster(scheduler, assignment, waiting)
            return
        yield from grade.grade_all(assignment, waiting, jobs)

    # looking back

    def status(self, module: Module) -> list[StatusRow]:
        """For every student with a submission: the total of the gradebook, and whether it is of this submission."""
        store, shown, known, rows = self.store(module), self.shown(module), self.marks(module), []
        for student in grade.students_in(self.settings["submitted"], module.folder):
            key, files = shown.read(student)
            result, mark = store.read(key) if key else None, known.get(student)
            row: StatusRow = {
                "student": student,
                "status": "not graded",
                "score": None,
                "max": None,
                "bonus": 0.0,
                "bonus_max": 0.0,
                "isolation": None,
                "reason": "",
                "manual": 0,
                "late_hours": 0.0,
                "penalty": 0.0,
                "changed": bool(files)
                and files != hash_of(grade.read_files(self.settings["submitted"], student, module)),
            }
            if mark:
                row.update({"max": mark.most, "bonus_max": mark.bonus_most, "manual": mark.waiting})
                row.update({"late_hours": mark.late_hours, "penalty": mark.penalty})
            if mark and mark.graded:
                row.update({"status": "graded", "score": mark.score, "bonus": mark.bonus})
                if result:
                    row.update(
                        {"status": result["status"], "isolation": result["isolation"], "reason": result["reason"]}
                    )
            rows.append(row)
        return rows

    def late_policy(self):
        """The course's plugin for late submissions, None if it has set none."""
        return gradebook.late_policy(self.settings["config"], self.course.root)

    def all_marks(self, modules: Iterable[Module]) -> list[marks.Mark]:
        """The marks of some modules, one total for every command: run, status, feedback and export ask here."""
        policy = self.late_policy()
        with gradebook.Gradebook(self.settings["url"]) as book:
            return marks.read(book, modules, policy)

    def marks(self, module: Module) -> "dict[str, marks.Mark]":
        """Student -> the marks in a module."""
        return {mark.student["id"]: mark for mark in self.all_marks([module])}

    def feedback(
        self,
        module: Module,
        students: list[str] | None = None,
        jobs: int = 1,
        progress: Callable = lambda *_: None,
    ) -> list[Path]:
        """The students' pages, where nbgrader has them; those whose content is as it was are left alone."""
        shown, store = self.shown(module), self.store(module)
        autograded = grade.students_in(self.settings["autograded"], module.folder)
        graded = [student for student in autograded if shown.read(student)[0]]
        missing = sorted(set(students or []) - set(graded))
        if missing or not graded:
            who = ", ".join(missing) or "anybody"
            raise CourseError(f"no result of {module.folder} by {who} yet: tito grade run {module.number}")
        chosen = sorted(set(students)) if students else graded
        with self.locked(module):
            known = list(press.jobs_for(module, self.settings, shown, store, self.marks(module), chosen))
            todo = [job for job in known if pages.key_of(Path(job["target"])) != job["key"]]
            done = len(known) - len(todo)
            progress(done, len(known), "")
            try:
                for job, trouble in press.print_pages(todo, jobs):
                    done += 1
                    told = f"{job['student']}: the page {Path(job['target']).stem} {trouble}" if trouble else ""
                    progress(done, len(known), told)
                history.for_exchange(self.settings, module.folder, chosen)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"stopped: {done} of {len(known)} pages of {module.folder} are made, each of them whole. "
                    f"To go on: tito grade feedback {module.number}"
                ) from None
            finally:
                self.note("feedback", assignment=module.folder, pages=done, fresh=done - len(known) + len(todo))
        return [target for job in known if (target := Path(job["target"])).is_file()]


def _stopped(module: Module, done: int, all: int) -> str:
    return (
        f"stopped: {done} of {all} submissions of {module.folder} have their result in the gradebook; left to grade: "
        f"{all - done}. To go on: tito grade run {module.number}"
    )
