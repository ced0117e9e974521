"""`tito grade`, the half that meets the school: what is collected, from whom, and how marks go back."""

import json
import sys
from typing import Annotated

import typer

from tito import CourseError

ModuleName = Annotated[str, typer.Argument(metavar="MODULE", help="9, 09, spatial or 09_spatial.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Students = Annotated[
    list[str] | None, typer.Option("--student", metavar="ID", help="Only this student; may be repeated.")
]


def collect(
    module: ModuleName,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A folder, a zip archive, or the word exchange.")],
    as_json: Json = False,
) -> None:
    """Take submissions from a folder, a zip archive or nbgrader's exchange."""
    chosen, service = open_service(module)
    taken = service.collect(chosen, source)
    refused = [one for one in taken if one.what == "refused"]
    if as_json:
        print_json({"assignment": chosen.folder, "taken": [one._asdict() for one in taken]})
    else:
        from tito.cli.grade_tables import one_line

        for one in refused:
            print(f"{one_line(one.student)}, {one_line(one.notebook)}: refused, {one_line(one.reason)}")
        counts = {what: sum(one.what == what for one in taken) for what in ("new", "changed", "same", "refused")}
        print("Collected: " + ", ".join(f"{count} {what}" for what, count in counts.items()) + ".")
        print(f"\nNext: tito grade run {chosen.number}")
    if refused:
        raise typer.Exit(1)


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


def parse_due(text: str | None):
    from datetime import UTC, datetime

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CourseError(f"the date {text!r} is not of the form 2026-12-24 or 2026-12-24T18:00") from None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def print_json(document: dict) -> None:
    print(json.dumps(document, indent=1, sort_keys=True))
