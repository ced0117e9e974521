"""`tito grade`: the commands of the instructor's service. Each one asks the service and shows what it says."""

import contextlib
import sys
from typing import Annotated, Any

import typer

from tito import CourseError
from tito.cli import grade_desk
from tito.cli.grade_desk import Json, ModuleName, Students, open_service, print_json

app = typer.Typer(
    help="Release, collect, grade and hand back, with nbgrader's gradebook.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
)

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
        str | None, typer.Option(metavar="DATE", help="2026-12-24 (the end of that day) or 2026-12-24T18:00; local.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a module's notebooks and release them, without solutions and hidden tests."""
    from tito.grading.times import local, parse_due

    chosen, service = open_service(module)
    moment = parse_due(due) if due else None
    folder = service.assign(chosen, moment)
    if as_json:
        when = f"{moment.isoformat()}Z" if moment else None
        return print_json({"assignment": chosen.folder, "release": str(folder), "due": when})
    print(f"Released {chosen.folder} to {folder}." + (f" Due {local(moment)}." if moment else ""))
    print(f"\nNext: tito grade collect {chosen.number} DIR")


app.command()(grade_desk.collect)
app.command()(grade_desk.roster)
app.command()(grade_desk.extend)


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

    chosen, service = open_service(module)
    options: dict[str, Any] = {
        "students": student,
        "jobs": jobs or os.cpu_count() or 1,
        "regrade_failed": regrade_failed,
        "isolation": isolation,
        "unsafe": allow_unsafe,
        "limits": {"wall": wall, "cell": cell},
        "scheduler": scheduler,
    }
    with grade_tables.ProgressBar(chosen.folder, quiet=as_json) as progress, stoppable():
        report = service.grade_submissions(chosen, progress=progress, **options)
    if as_json:
        print_json(grade_tables.grading_data(report))
    else:
        grade_tables.grading_report(report)
        print(f"\nNext: tito grade {'run ' + chosen.number if report.failures else 'feedback ' + chosen.number}")
    if report.failures:
        raise typer.Exit(1)


@app.command()
def status(module: ModuleName, as_json: Json = False) -> None:
    """Show every submission's result, and what waits for a person."""
    from tito.cli import grade_tables

    chosen, service = open_service(module)
    rows = service.status(chosen)
    if as_json:
        return print_json({"assignment": chosen.folder, "submissions": rows})
    grade_tables.status_table(chosen, rows)


@app.command()
def feedback(
    module: ModuleName,
    student: Students = None,
    jobs: Jobs = 0,
    pack: Annotated[
        str | None, typer.Option("--pack", metavar="SYSTEM", help="A zip that canvas or moodle takes back.")
    ] = None,
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="FILE", help="Where to put the zip.")] = None,
    as_json: Json = False,
) -> None:
    """Make the pages that students read; without hidden tests and without scripts. Unchanged ones stay as they are."""
    import os

    from tito.cli import grade_tables

    chosen, service = open_service(module)
    with grade_tables.ProgressBar(chosen.folder, quiet=as_json) as progress, stoppable():
        pages = service.feedback(chosen, student, jobs or os.cpu_count() or 1, progress.page)
    waiting = sum(mark.waiting for name, mark in service.marks(chosen).items() if not student or name in student)
    packed = grade_desk.pack(service, chosen, pack, student, output, as_json) if pack else None
    if as_json:
        found = {"assignment": chosen.folder, "pages": [str(page) for page in pages], "waiting": waiting}
        return print_json({**found, "packed": packed} if pack else found)
    for page in pages[:5]:
        print(page)
    more = f"... and {len(pages) - 5} more in {service.settings['feedback']}\n" if len(pages) > 5 else ""
    fresh = f", {progress.fresh} of them made now" if progress.fresh < len(pages) else ""
    print(f"{more}\n{len(pages)} {'page' if len(pages) == 1 else 'pages'}{fresh}.")
    if waiting:
        print(f"Answers that wait for a mark by hand, and count 0 points until then: {waiting}.")
    print(f"Next: tito grade {'formgrader' if waiting else f'export {chosen.number}'}")


app.command()(grade_desk.export)
app.command()(grade_desk.similar)


@app.command()
def migrate(
    module: ModuleName,
    rename: Annotated[
        list[str] | None,
        typer.Option("--rename", metavar="OLD=NEW", help="A cell that has another name now; may be repeated."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Carry it out, after a backup of the database.")] = False,
    as_json: Json = False,
) -> None:
    """Make the gradebook match notebooks that changed after submissions came. What people gave stays."""
    from tito.cli import grade_tables

    chosen, service = open_service(module)
    names = dict(word.partition("=")[::2] for word in rename or ())
    if strange := [word for word in rename or () if not all(word.partition("="))]:
        raise CourseError(f"--rename {strange[0]!r} is not of the form OLD=NEW")
    plan, copy = service.migrate(chosen, names, yes)
    if as_json:
        return print_json({**grade_tables.migration_data(chosen, plan), "backup": str(copy) if copy else None})
    grade_tables.migration(chosen, plan, names)
    if plan.changes or names:
        again = "".join(f" --rename {word}" for word in rename or ())
        print(
            f"Done, and released anew. The database as it was: {copy}\n\nNext: tito grade run {chosen.number}"
            if yes
            else f"Nothing was changed yet. To carry it out: tito grade migrate {chosen.number}{again} --yes"
        )


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
        print_json({"notebooks": [grade_tables.notebook_data(report) for report in reports]})
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
