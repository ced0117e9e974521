"""`tito grade`, the half that meets the school: what is collected, from whom, and how marks go back."""

import json
import sys
from typing import Annotated

import typer

from tito import CourseError
from tito.cli.common import UsageError

ModuleName = Annotated[str, typer.Argument(metavar="MODULE", help="9, 09, spatial or 09_spatial.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Students = Annotated[
    list[str] | None, typer.Option("--student", metavar="ID", help="Only this student; may be repeated.")
]
RosterFile = Annotated[
    str | None,
    typer.Option(
        "--roster", metavar="FILE", help="Who is in the course: the CSV of Canvas, Moodle, Gradescope or nbgrader."
    ),
]


def collect(
    module: ModuleName,
    sources: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Downloads as they are, zip or folder; or the word exchange."),
    ],
    roster: RosterFile = None,
    pattern: Annotated[
        str | None,
        typer.Option("--pattern", metavar="REGEX", help="Whose a file is, by its path: (?P<student_id>...)."),
    ] = None,
    said: Annotated[
        list[str] | None, typer.Option("--as", metavar="FILE=STUDENT", help="Whose this file is; may be repeated.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put it in place even where an older one is there that is newer.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take submissions from Canvas, Moodle, Gradescope, nbgrader or plain folders."""
    from tito.grading import office

    chosen, service = open_service(module)
    words = [_said(text) for text in said or []]
    found = office.collect(service, chosen, sources, roster, said=words, pattern=pattern, replace=replace)
    if as_json:
        print_json(
            {
                "assignment": chosen.folder,
                "taken": [one._asdict() for one in found.files],
                "notes": found.notes,
            }
        )
    else:
        from tito.cli import grade_tables

        grade_tables.collected(found, chosen)
    if found.open or not found.took:
        raise typer.Exit(1)


def _said(text: str) -> tuple[str, str]:
    file, equals, student = text.rpartition("=")
    if not (file and equals and student):
        raise CourseError(f"--as {text!r} is not of the form FILE=STUDENT")
    return file, student


def roster(module: ModuleName, file: RosterFile = None, as_json: Json = False) -> None:
    """Show who has handed in and who has not."""
    from tito.cli import grade_tables
    from tito.grading import office

    chosen, service = open_service(module)
    with service.locked():
        known = office.roster(service, file)
        office.enrol(service, known)
    rows = office.presence(service, chosen, known)
    if as_json:
        return print_json({"assignment": chosen.folder, "students": rows})
    grade_tables.roster_table(chosen, rows)


def extend(
    module: ModuleName,
    student: Annotated[str, typer.Argument(metavar="STUDENT", help="An id, an address, or a whole name.")],
    until: Annotated[
        str | None, typer.Option(metavar="DATE", help="Until when: 2026-12-31 (its end) or 2026-12-31T12:00, local.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Take the extension back.")] = False,
    as_json: Json = False,
) -> None:
    """Give one student more time; lateness counts by it at once."""
    from tito.grading import office
    from tito.grading.times import local, parse_due

    if (until is None) != off:
        raise UsageError("say --until DATE, or --off to take an extension back")
    chosen, service = open_service(module)
    moment = parse_due(until) if until else None
    person, due = office.extend(service, chosen, student, moment)
    if as_json:
        when = f"{moment.isoformat()}Z" if moment else None
        return print_json({"assignment": chosen.folder, "student": person.id, "until": when})
    words = f"has until {local(moment)}; the others had until" if moment else "has no extension any more; it is due"
    print(f"{person.id} {words} {local(due)}.")
    print(f"Penalties follow at the next tito grade run {chosen.number}.")


def export(
    module: Annotated[list[str], typer.Argument(metavar="MODULE...", help="One or several modules.")],
    columns: Annotated[str, typer.Option(metavar="MAP", help="plain, canvas, moodle, or a TOML file.")] = "plain",
    per_question: Annotated[bool, typer.Option("--per-question", help="A column for every question.")] = False,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write here instead of the screen.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the marks as CSV."""
    from pathlib import Path

    from tito.course.storage import write_atomic
    from tito.grading import gradebook, marks

    chosen, service = None, None
    for name in module:
        one, service = open_service(name)
        chosen = [*(chosen or []), one.folder]
    with gradebook.Gradebook(service.settings["url"]) as book:
        rows = marks.read(book, chosen)
    if as_json:
        data = [{**mark.fields(), **({"questions": mark.questions} if per_question else {})} for mark in rows]
        return print_json({"marks": data})
    text = marks.table(rows, marks.columns_of(columns), per_question)
    if output:
        write_atomic(Path(output), text)
        print(f"{len(rows)} lines written to {output}.")
    else:
        sys.stdout.write(text)
    waiting = sum(mark.waiting for mark in rows)
    if waiting:
        print(f"{waiting} answers still wait for a person: tito grade formgrader", file=sys.stderr)


def open_service(module: str):
    """(module, service) of the course around here."""
    from tito.course.registry import Course
    from tito.grading.service import GradingService

    course = Course.load()
    return course.module(module), GradingService(course)


def print_json(document: dict) -> None:
    print(json.dumps(document, indent=1, sort_keys=True))
