"""The one writer of results: the notebooks for people, then the gradebook, a batch at a time as results come."""

import time
from collections.abc import Iterable
from pathlib import Path

from tito.course.storage import digest, write_atomic
from tito.grading import extensions, feedback, grade, gradebook, history, submissions
from tito.grading.plan import Assignment
from tito.grading.result import SubmissionResult

EVERY = 2.0  # seconds between two commits


class Shown:
    """Whose result stands in the gradebook: a student's file holds the result's key and a hash of what it was of."""

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self, student: str) -> tuple[str, str]:
        """(key of the result, hash of the submission); empty where there is none."""
        try:
            key, _, files = (self.folder / student).read_text(encoding="utf-8").strip().partition("\n")
        except OSError:
            return "", ""
        return key, files

    def write(self, student: str, key: str, files: str) -> None:
        """Remember what is shown of a student."""
        write_atomic(self.folder / student, f"{key}\n{files}\n")


def hash_of(files: dict[str, bytes | str]) -> str:
    """A short hash of what a student has handed in: notebook -> its bytes, or why there are none."""
    parts = (data if isinstance(data, str) else digest(data) for _, data in sorted(files.items()))
    return digest("\0".join(parts).encode())


class Writer:
    """Takes results as they come. `flush` puts those that wait where they belong: all of them, or none."""

    def __init__(self, assignment: Assignment, settings: dict, shown: Shown, backups: Path, policy):
        self.assignment, self.settings, self.shown, self.policy = assignment, settings, shown, policy
        self.backups, self.copied = backups, False
        self.backup: Path | None = None
        self.waiting: dict[str, SubmissionResult] = {}
        self.done: set[str] = set()  # students whose result stands in the gradebook
        self.changed: set[str] = set()
        self.last = time.monotonic()

    def add(self, results: Iterable[SubmissionResult]) -> None:
        """Take results in; they are committed now if the last time is long enough ago."""
        self.waiting.update((result["student"], result) for result in results)
        if time.monotonic() - self.last > EVERY:
            self.flush()

    def flush(self) -> None:
        """Commit what waits: one transaction, after a copy of the database where the first change of a run is due."""
        if not self.waiting:
            return
        ordered = [self.waiting[student] for student in sorted(self.waiting)]
        stamps = {}
        for result in ordered:
            self._show(result)
            stamp = submissions.stamp_of(self.settings["submitted"], result["student"], self.assignment.name)
            if stamp:
                stamps[result["student"]] = stamp
        with gradebook.Gradebook(self.settings["url"]) as book:
            changed = self._store(book, ordered, stamps)
            if changed and not self.copied:  # undone, and done again after a copy
                book.rollback()
        if changed and not self.copied:
            self.backup, self.copied = gradebook.backup(self.settings["url"], self.backups), True
            with gradebook.Gradebook(self.settings["url"]) as book:
                changed = self._store(book, ordered, stamps)
        self.changed |= changed
        self.done |= {result["student"] for result in ordered if result["status"] != "infra_error"}
        self.waiting, self.last = {}, time.monotonic()

    def _show(self, result: SubmissionResult) -> None:
        """The notebooks for formgrader and feedback, written where they do not show the result yet."""
        student = result["student"]
        key, _ = self.shown.read(student)
        result["stale"] = result["status"] == "infra_error" and key != result["key"]
        if result["status"] == "infra_error":
            return
        made = self.settings["autograded"] / student / self.assignment.name
        if key == result["key"] and all(feedback.is_marked(made / part.path.name) for part in self.assignment.parts):
            return
        files = grade.read_files(self.settings["submitted"], student, self.assignment.module)
        feedback.write_marked(self.assignment, self.settings["autograded"], student, files, result)
        self.shown.write(student, result["key"], hash_of(files))

    def _store(self, book: gradebook.Gradebook, ordered: list[SubmissionResult], stamps: dict) -> set[str]:
        """Scores, times and penalties; the students for whom one has changed."""
        name = self.assignment.name
        grading, due = self.backups.parent, book.assignment(name)[1]
        stamps = {student: history.on_time(grading, name, student, stamp, due) for student, stamp in stamps.items()}
        changed = gradebook.store_scores(book, name, ordered, stamps)
        changed |= extensions.apply(book, name, grading)
        if self.policy:
            changed |= gradebook.apply_penalties(book, name, self.policy, {result["student"] for result in ordered})
        return changed
