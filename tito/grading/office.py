"""Between the desk and the school: collecting by the roster, time for one, who is missing, what the exchange wants."""

from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tito import CourseError
from tito.course.registry import Module
from tito.course.storage import only_one
from tito.grading import collecting, extensions, gradebook, history
from tito.grading.grade import students_in
from tito.grading.result import PresenceRow
from tito.grading.roster import Person, Roster, gradebook_people, plain, read_roster, to_gradebook
from tito.grading.sheet import Sheet
from tito.grading.submissions import stamp_of
from tito.grading.times import local

if TYPE_CHECKING:
    from tito.grading.service import GradingService


def collect(
    service: "GradingService", module: Module, sources: list[str], file: str | None = None, **options
) -> collecting.Collection:
    """Submissions from downloads, folders, notebooks, or "exchange"; `file`: a school's roster to read first."""
    with service.locked(module):
        known = roster(service, file)
        found = collecting.collect(service.course, module, sources, service.settings, known, **options)
        enrol(service, known)
        counts = Counter(one.what for one in found.files)
        service.note("collect", assignment=module.folder, source=" ".join(sources), **counts)
    return found


def roster(service: "GradingService", file: str | None = None) -> Roster:
    """The students who are known: kept here, in the gradebook, and in a school's file."""
    known = Roster.load(service.folder)
    if begun(service):
        with gradebook.Gradebook(service.settings["url"]) as book:
            known.add(gradebook_people(book), by_id=True)
    if file:
        known.add(person for _, person in read_roster(Sheet.read(Path(file))))
    return known


def enrol(service: "GradingService", known: Roster) -> None:
    """Keep the roster, here and in the gradebook as far as there is one."""
    busy = f"another tito grade writes {known.path}: wait for it, or end it"
    assert known.path  # of the grading folder
    with only_one(known.path.with_name(".lock-roster"), 20, busy, f"cannot write {known.path}: {{reason}}"):
        meanwhile = Roster.load(service.folder)  # another assignment may have been collected
        known.add(meanwhile.people.values(), by_id=True)
        known.save()
    if begun(service):
        with gradebook.Gradebook(service.settings["url"]) as book:
            to_gradebook(book, known.people.values())


def begun(service: "GradingService") -> bool:
    """Whether there is a gradebook: SQLite's file appears with the first release."""
    file = gradebook.file_of(service.settings["url"])
    return file is None or file.exists()


def presence(service: "GradingService", module: Module, known: Roster) -> list[PresenceRow]:
    """For every student of the roster, and everybody else who handed in: who, when, how that is known, how late."""
    more = extensions.read(service.folder).get(module.folder, {})
    here = set(students_in(service.settings["submitted"], module.folder))
    people = {person.id: person for person in known.listed()}
    people |= {id: known.people.get(id) or Person(id) for id in sorted(here - set(people))}
    rows: list[PresenceRow] = []
    for id, person in people.items():
        row: PresenceRow = {
            "student": id,
            "name": person.name,
            "email": person.email,
            "handed_in": None,
            "time_from": None,
            "versions": 0,
            "late_mark": None,
            "until": more.get(id),
            "listed": person.listed,
        }
        if id in here:
            kept = history.History(service.folder, module.folder, id)
            stamp = stamp_of(service.settings["submitted"], id, module.folder)
            current = kept.in_place()
            told = stamp is not None and not history.marks_only(current)
            row["handed_in"] = stamp.isoformat() if stamp and told else ""
            row["time_from"] = min((v.time for v in current), key=lambda time: history.RANK[time], default=None)
            row["time_from"] = row["time_from"] if told else "mark"
            row["late_mark"] = any(v.late for v in current) or None
            row["versions"] = len(kept.versions) or 1
        rows.append(row)
    return sorted(rows, key=lambda row: (row["handed_in"] is not None, plain(row["name"])))


def extend(service: "GradingService", module: Module, student: str, until: datetime | None) -> tuple[Person, datetime]:
    """More time for a student, until a moment in UTC (None: no more than others); (who, when the others are due)."""
    with service.locked(module):
        known = roster(service)
        person = known.one(student)
        if person is None:
            like = ", ".join(one.id for one in known.like(student))
            raise CourseError(f"nobody here is called {student!r}" + (f": perhaps {like}?" if like else ""))
        with gradebook.Gradebook(service.settings["url"]) as book:
            due = book.assignment(module.folder)[1]
            if due is None:
                raise CourseError(f"{module.folder} has no due date: tito grade assign {module.number} --due DATE")
            if until is not None and until <= due:
                raise CourseError(f"that is no extension: {module.folder} is due {local(due)}")
            extensions.grant(service.folder, module.folder, person.id, until)
            extensions.apply(book, module.folder, service.folder)
        when = until.isoformat() if until else None
        service.note("extend", assignment=module.folder, student=person.id, until=when)
    return person, due
