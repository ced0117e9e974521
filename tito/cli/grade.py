"""`tito grade`: the commands of the instructor's service. Each one asks the service and shows what it says."""

import contextlib
import json
import sys
from typing import Annotated

import typer

from tito import CourseError

app = typer.Typer(
    help="Release, collect, grade and hand back, with nbgrader's gradebook.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)

ModuleName = Annotated[str, typer.Argument(metavar="MODULE", help="9, 09, spatial or 09_spatial.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Students = Annotated[
    list[str] | None, typer.Option("--student", metavar="ID", help="Only this student; may be repeated.")
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=0, help="How many at a time; 0: one for each processor.")]
Isolation = Annotated[
    str | None, typer.Option("--isolation", metavar="RUNG", help="bubblewrap or landlock; the best by default.")
]
Unsafe = Annotated[bool, typer.Option("--allow-unsafe", help="Grade even where no isolation works.")]


@app.callback()
def needs_linux() -> None:
    if sys.platform != "linux":
        raise CourseError(
            "grading (`tito grade`) needs Linux, whose kernel keeps submissions apart: "
            "on Windows use WSL (wsl --install), elsewhere a Linux container (docker run -it python:3.12)"
        )


@app.command()
def assign(
    module: ModuleName,
    due: Annotated[
        str | None, typer.Option(metavar="DATE", help="When it is due: 2026-12-24 or 2026-12-24T18:00, UTC.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a module's notebooks and release them, without solutions and hidden tests."""
    chosen, service = _open_service(module)
    folder = service.assign(chosen, _parse_due(due))
    if as_json:
        return _print_json({"assignment": chosen.folder, "release": str(folder), "due": due})
    print(f"Released {chosen.folder} to {folder}." + (f" Due {due} UTC." if due else ""))
    print(f"\nNext: tito grade collect {chosen.number} DIR")


@app.command()
def collect(
    module: ModuleName,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A folder, a zip archive, or the word exchange.")],
    as_json: Json = False,
) -> None:
    """Take submissions from a folder, a zip archive or nbgrader's exchange."""
    chosen, service = _open_service(module)
    taken = service.collect(chosen, source)
    refused = [one for one in taken if one.what == "refused"]
    if as_json:
        _print_json({"assignment": chosen.folder, "taken": [one._asdict() for one in taken]})
    else:
        from tito.cli.grade_tables import one_line

        for one in refused:
            print(f"{one_line(one.student)}, {one_line(one.notebook)}: refused, {one_line(one.reason)}")
        counts = {what: sum(one.what == what for one in taken) for what in ("new", "changed", "same", "refused")}
        print("Collected: " + ", ".join(f"{count} {what}" for what, count in counts.items()) + ".")
        print(f"\nNext: tito grade run {chosen.number}")
    if refused:
        raise typer.Exit(1)


@app.command()
def run(
    module: ModuleName,
    student: Students = None,
    jobs: Jobs = 0,
    regrade_failed: Annotated[
        bool, typer.Option("--regrade-failed", help="Again those that did not come through.")
    ] = False,
    isolation: Isolation = None,
    allow_unsafe: Unsafe = False,
    wall: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="Limit for a submission.")] = 60,
    cell: Annotated[
        float, typer.Option(min=0.5, metavar="SECONDS", help="Limit for a cell, beyond the reference's time.")
    ] = 10,
    scheduler: Annotated[
        str | None, typer.Option(metavar="tcp://...", help="A Dask scheduler, to grade on many machines.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Grade what was collected and commit the scores. Unchanged submissions are not graded again."""
    import os

    from tito.cli import grade_tables

    chosen, service = _open_service(module)
    options = {"students": student, "jobs": jobs or os.cpu_count() or 1, "regrade_failed": regrade_failed}
    options |= {
        "isolation": isolation,
        "unsafe": allow_unsafe,
        "limits": {"wall": wall, "cell": cell},
        "scheduler": scheduler,
    }
    with grade_tables.ProgressBar(chosen.folder, quiet=as_json) as progress, stoppable():
        report = service.grade_submissions(chosen, progress=progress, **options)
    if as_json:
        _print_json(grade_tables.grading_data(report))
    else:
        grade_tables.grading_report(report)
        print(f"\nNext: tito grade {'run ' + chosen.number if report.failures else 'feedback ' + chosen.number}")
    if report.failures:
        raise typer.Exit(1)


@app.command()
def status(module: ModuleName, as_json: Json = False) -> None:
    """Show every submission's result, and what waits for a person."""
    from tito.cli import grade_tables

    chosen, service = _open_service(module)
    rows = service.status(chosen)
    if as_json:
        return _print_json({"assignment": chosen.folder, "submissions": rows})
    grade_tables.status_table(chosen, rows)


@app.command()
def feedback(module: ModuleName, student: Students = None, jobs: Jobs = 0, as_json: Json = False) -> None:
    """Make the pages that students read; without hidden tests and without scripts. Unchanged ones stay as they are."""
    import os

    from tito.cli import grade_tables

    chosen, service = _open_service(module)
    with grade_tables.ProgressBar(chosen.folder, quiet=as_json) as progress, stoppable():
        pages = service.feedback(chosen, student, jobs or os.cpu_count() or 1, progress.page)
    waiting = sum(mark.waiting for name, mark in service.marks(chosen).items() if not student or name in student)
    if as_json:
        return _print_json({"assignment": chosen.folder, "pages": [str(page) for page in pages], "waiting": waiting})
    for page in pages[:5]:
        print(page)
    more = f"... and {len(pages) - 5} more in {service.settings['feedback']}\n" if len(pages) > 5 else ""
    fresh = f", {progress.fresh} of them made now" if progress.fresh < len(pages) else ""
    print(f"{more}\n{len(pages)} {'page' if len(pages) == 1 else 'pages'}{fresh}.")
    if waiting:
        print(f"Answers that wait for a mark by hand, and count 0 points until then: {waiting}.")
    print(f"Next: tito grade {'formgrader' if waiting else f'export {chosen.number}'}")


@app.command()
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
    from tito.grading import marks

    chosen = []
    for name in module:
        one, service = _open_service(name)
        chosen.append(one)
    rows = service.all_marks(chosen)
    if as_json:
        data = [{**mark.fields(), **({"questions": mark.questions} if per_question else {})} for mark in rows]
        return _print_json({"marks": data})
    text = marks.table(rows, marks.columns_of(columns), per_question)
    if output:
        write_atomic(Path(output), text)
        print(f"{len(rows)} lines written to {output}.")
    else:
        sys.stdout.write(text)
    waiting = sum(mark.waiting for mark in rows)
    if waiting:
        print(f"{waiting} answers still wait for a person: tito grade formgrader", file=sys.stderr)


@app.command()
def lint(
    module: Annotated[
        list[str] | None, typer.Argument(metavar="MODULE...", help="One or several; all by default.")
    ] = None,
    isolation: Isolation = None,
    allow_unsafe: Unsafe = False,
    as_json: Json = False,
) -> None:
    """Check that the graded cells are worth their points: the reference passes, faults are noticed."""
    from tito.author.graded_cells import check_graded
    from tito.cli import grade_tables
    from tito.course.registry import Course

    course = Course.load()
    chosen, reports = course.select(module) if module else list(course.modules), []
    for one in chosen:
        for report in check_graded(course, one, isolation, allow_unsafe):
            reports.append(report)
            if not as_json:
                grade_tables.notebook_report(report)
    if as_json:
        _print_json({"notebooks": [grade_tables.notebook_data(report) for report in reports]})
    if not all(report.ok for report in reports):
        raise typer.Exit(1)


@app.command()
def formgrader(
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser window.")] = True,
    port: Annotated[int, typer.Option(help="The server's port.")] = 8888,
) -> None:
    """Open nbgrader's formgrader in JupyterLab, for the answers that a person reads."""
    from tito.course.registry import find_root
    from tito.jupyter import open_formgrader

    open_formgrader(find_root(), browser, port)


@contextlib.contextmanager
def stoppable():
    """Ctrl-C ends the block with the sentence that the service has to say about it."""
    try:
        yield
    except KeyboardInterrupt as stop:
        print(f"tito: {stop or 'stopped; nothing was changed'}", file=sys.stderr)
        raise typer.Exit(130) from None


def _open_service(module: str):
    """(module, service) of the course around here."""
    from tito.course.registry import Course
    from tito.grading.service import GradingService

    course = Course.load()
    return course.module(module), GradingService(course)


def _parse_due(text: str | None):
    from datetime import UTC, datetime

    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CourseError(f"the date {text!r} is not of the form 2026-12-24 or 2026-12-24T18:00") from None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _print_json(document: dict) -> None:
    print(json.dumps(document, indent=1, sort_keys=True))
