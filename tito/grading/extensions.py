"""More time for one student: kept in `grading/extensions.json`, written to nbgrader's gradebook, which counts by it."""

import json
from datetime import datetime, timedelta
from pathlib import Path

from tito import CourseError
from tito.course.storage import write_atomic


def read(grading: Path) -> dict[str, dict[str, str]]:
    """Assignment -> student -> until when, in UTC."""
    path = grading / "extensions.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return {
            name: {who: datetime.fromisoformat(when).isoformat() for who, when in people.items()}
            for name, people in found.items()
        }
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise CourseError(f"{path} cannot be read ({error}): mend or remove it") from None


def grant(grading: Path, assignment: str, student: str, until: datetime | None) -> None:
    """Give a student time until a moment in UTC, or no more than others."""
    found = read(grading)
    people = found.setdefault(assignment, {})
    people.pop(student, None)
    if until is not None:
        people[student] = until.isoformat()
    write_atomic(grading / "extensions.json", json.dumps(found, indent=1, sort_keys=True) + "\n")


def apply(book, assignment: str, grading: Path) -> set[str]:
    """Write them into an open gradebook, counted from the due date; the students for whom something changed."""
    id, due = book.assignment(assignment)
    people = read(grading).get(assignment)
    if people is None or due is None:
        return set()  # nobody was ever given more time here: what nbgrader has stays
    s, changed = book.t.submitted, set()
    for student, entry in book.scores(id).items():
        until = people.get(student)
        extra = max(datetime.fromisoformat(until) - due, timedelta(0)) if until else None
        if until is None and student not in people and entry["extension"] is None:
            continue
        if (entry["extension"] or timedelta(0)) != (extra or timedelta(0)):
            update = book.sql.update(s).where(s.c.id == entry["submitted"])
            book.connection.execute(update.values(extension=extra))
            changed.add(student)
    return changed
