"""`tito grade`, the half that meets the school: what is collected, from whom, and how marks go back."""

import json
import sys
import time
from pathlib import Path
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


def similar(module: ModuleName, as_json: Json = False) -> None:
    """Show pairs of submissions that share more than chance: a hint for a person, never a mark."""
    from tito.cli import grade_tables
    from tito.grading.similar import pairs

    chosen, service = open_service(module)
    found = pairs(service.settings, chosen)
    if as_json:
        return print_json({"assignment": chosen.folder, "pairs": [vars(pair) for pair in found]})
    grade_tables.similar_table(chosen, found)


def export(
    module: Annotated[list[str], typer.Argument(metavar="MODULE...", help="One or several modules.")],
    columns: Annotated[
        str | None, typer.Option(metavar="MAP", help="plain, canvas, moodle, gradescope, or a TOML file.")
    ] = None,
    into: Annotated[
        str | None, typer.Option("--into", metavar="FILE", help="Fill in this file of the school; a copy is kept.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="[NN=]NAME", help="Which of its columns; may be repeated."),
    ] = None,
    missing: Annotated[
        str | None, typer.Option("--missing", metavar="TEXT", help="For those who handed in nothing, such as 0.")
    ] = None,
    per_question: Annotated[bool, typer.Option("--per-question", help="A column for every question.")] = False,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write here instead of the screen.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the marks as CSV, or fill in the school's own file."""
    from tito.course.storage import write_atomic
    from tito.grading import marks, office, school

    if column and not into:
        raise UsageError("--column names a column of the school's file: give that with --into")
    if into and per_question:
        raise UsageError("a school's file has one column for each assignment: leave out --per-question")
    chosen = []
    for name in module:
        one, service = open_service(name)
        chosen += [one] if one not in chosen else []
    known = office.roster(service)
    rows = school.with_absent(service.all_marks(chosen), known, chosen)
    if as_json:
        data = [{**mark.fields(), **({"questions": mark.questions} if per_question else {})} for mark in rows]
        return print_json({"marks": data})
    if into:
        _fill_in(service, chosen, rows, known, Path(into), columns, _columns(service, chosen, column), missing, output)
    else:
        if columns in school.SYSTEMS:
            text = school.small(columns, chosen, rows, known, service.folder, missing, per_question).data.decode()
        else:
            text = marks.table(rows, marks.columns_of(columns or "plain"), per_question)
        if output:
            write_atomic(Path(output), text)
            print(f"{len(rows)} marks written to {output}.")
        else:
            sys.stdout.write(text)
    waiting = sum(mark.waiting for mark in rows)
    if waiting:
        print(f"{waiting} answers still wait for a person: tito grade formgrader", file=sys.stderr)


def _columns(service, chosen: list, names: list[str] | None) -> dict[str, str]:
    """Module's folder -> the column that was named for it."""
    found = {}
    for text in names or []:
        number, equals, name = text.partition("=")
        try:
            module = service.course.module(number) if equals else None
        except CourseError:
            module = None  # the column's own name holds the sign
        if module is None and len(chosen) > 1:
            raise UsageError(f"--column {text!r}: of which module? --column {chosen[0].number}=NAME")
        found[module.folder if module else chosen[0].folder] = name if module else text
    return found


def _fill_in(service, chosen, rows, known, file: Path, columns, names, missing, output) -> None:
    """Fill in a school's file, in place or into another one, and say what a person should know."""
    from tito.course.storage import put, write_atomic
    from tito.grading import school
    from tito.grading.sheet import Sheet

    sheet = Sheet.read(file)
    if columns and columns != sheet.kind:
        raise UsageError(f"{file} is a file of {sheet.kind.capitalize()}, and --columns says {columns}")
    before = sheet.data()
    kept_names = service.folder / "columns.json"  # where each module went last time
    try:
        last = dict(json.loads(kept_names.read_text(encoding="utf-8"))) if kept_names.exists() else {}
    except (OSError, ValueError, TypeError) as error:
        raise CourseError(f"{kept_names} cannot be read ({error}): remove it, and name the column again") from None
    names = {name: column for name, column in last.items() if column in sheet.header} | names
    filled = school.fill(sheet, chosen, rows, known, names, missing)
    target = Path(output) if output else file
    try:
        if target == file and filled.data != before:
            kept = service.folder / "backups" / f"{file.stem}-{time.strftime('%Y%m%d-%H%M%S')}{file.suffix}"
            put(kept, before)
        put(target, filled.data)
    except OSError as error:
        raise CourseError(f"cannot write {target}: {error.strerror or error}; the file is as it was") from None
    if {**last, **filled.columns} != last:
        write_atomic(kept_names, json.dumps({**last, **filled.columns}, indent=1, sort_keys=True) + "\n")
    print(f"{filled.count} marks written into {target}.")
    for note in filled.notes:
        print(note, file=sys.stderr)
    if target == file and filled.data != before:
        print(f"The file as it was: {kept}")


def pack(service, module, system: str, students: list[str] | None, output: str | None, quiet: bool) -> str:
    """Pack the pages for Canvas or Moodle, say where, and return it."""
    from tito.grading import school
    from tito.grading.grade import students_in

    if system not in ("canvas", "moodle"):
        raise UsageError(f"--pack {system}: there are canvas and moodle")
    target = Path(output) if output else service.folder / f"{module.folder}-feedback-{system}.zip"
    everybody = students_in(service.settings["feedback"], module.folder)
    filled = school.pack(service.settings, service.folder, module, system, students or everybody, target)
    if not quiet:
        pages = "1 page" if filled.count == 1 else f"{filled.count} pages"
        print(f"{pages} packed for {system.capitalize()}: {target}")
    for note in filled.notes:
        print(note, file=sys.stderr)
    return str(target)


def open_service(module: str):
    """(module, service) of the course around here."""
    from tito.course.registry import Course
    from tito.grading.service import GradingService

    course = Course.load()
    return course.module(module), GradingService(course)


def print_json(document: dict) -> None:
    print(json.dumps(document, indent=1, sort_keys=True))
