"""The commands of the course's authors."""

from pathlib import Path
from typing import Annotated

import typer

from tito import CourseError
from tito.cli.common import UsageError, open_course


def open_repository(command: str):
    """The course, as its authors have it; CourseError in a student's copy."""
    from tito.student.template import workspace_settings

    course = open_course()
    if workspace_settings(course.root) is not None:
        raise CourseError(f"{command} is for the course's authors, in their repository; for this folder: tito doctor")
    return course


def check(
    mutants: Annotated[bool, typer.Option(help="Plant faults in the solutions, and see that tests notice.")] = True,
    since: Annotated[str, typer.Option(metavar="COMMIT", help="Cells keep their ids since then.")] = "HEAD",
) -> None:
    """Check the course: notebooks, tests, pages and commands.

    Scaffolds must fail, solutions pass, planted faults be noticed, and nothing be amiss in the files.
    """
    from tito.author.check import check_course
    from tito.cli import app
    from tito.cli.console import Console

    course, console, wrong = open_repository("tito dev check"), Console(), 0
    for finding in check_course(course, typer.main.get_command(app), mutants, since):
        console.finding(finding)
        wrong += finding.state == "wrong"
    console.say(f"\n{wrong} to mend." if wrong else "\nAll is well.")
    if wrong:
        raise typer.Exit(1)


def expected() -> None:
    """Make anew what the lessons' tests expect, from the references in tests/messages."""
    from tito.author import expected
    from tito.cli.console import Console

    course, console = open_course(), Console()
    console.line(f"{expected.FILE}: {'written' if expected.write(course) else 'as it was'}")


def fmt() -> None:
    """Put notebooks that JupyterLab has saved in order: no outputs, the grader's ids, the form that is committed."""
    from tito.author.format import format_course
    from tito.cli.console import Console

    course, console = open_repository("tito dev fmt"), Console()
    changed = format_course(course)
    for path in changed:
        console.line(str(path.relative_to(course.root)))
    console.say(f"{len(changed)} put in order." if changed else "All notebooks are in order.")


def draw(
    to: Annotated[Path, typer.Option(metavar="FILE", help="Where to put it.")] = Path("docs/rooms.svg"),
) -> None:
    """Draw the rooms of tito and what they import, from the code."""
    import tito
    from tito.author.drawing import draw as drawn
    from tito.cli.console import Console
    from tito.course.storage import write_atomic

    open_repository("tito dev draw")
    write_atomic(to, drawn(Path(tito.__file__).parent))
    Console().line(f"Drew {to}")


def slides(
    modules: Annotated[list[str] | None, typer.Argument(metavar="[MODULE]...", help="All, if none is named.")] = None,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Where to put them.")] = Path("slides"),
) -> None:
    """Make slides of the lessons' figures: a question, its figure, what to see in the notes. They need no network."""
    from tito.author.slides import make
    from tito.cli.console import Console

    course, console = open_repository("tito dev slides"), Console()
    made = make(course, course.select(modules or []) or list(course.modules), to, console.line)
    console.say(f"Made {len(made)}: open {made[0]} in a browser; S shows the notes, F fills the screen.")


def wheel(
    students: Annotated[bool, typer.Option("--students", help="Without the solutions of what's to write.")] = False,
    start: Annotated[str | None, typer.Option("--from", metavar="MODULE", help="The first module to write.")] = None,
    modules: Annotated[str, typer.Option(metavar="01,05,...", help="The modules to write; the others are given.")] = "",
    to: Annotated[Path, typer.Option(metavar="DIR", help="Where to put it.")] = Path("dist/students"),
) -> None:
    """Build the wheel that an instructor hands out."""
    from tito.author.wheel import students_wheel
    from tito.cli.console import Console
    from tito.runner.platform import quoted
    from tito.student import template, workspace

    if not students:
        raise UsageError("say --students; the whole course, solutions included, is built by: pip wheel --no-deps .")
    console = Console()
    with console.working("Building"):
        chosen = filter(None, modules.replace(" ", "").split(","))
        made = students_wheel(workspace.choose_modules(template.source(), start, chosen, False), to)
    console.line(f"Built {made}")
    console.next(f"pip install {quoted(str(made))}")


def build(to: Annotated[Path, typer.Option(metavar="DIR", help="Where to put them.")] = Path("site")) -> None:
    """Build static pages of the whole course, with outputs and without solutions."""
    from tito.author import site
    from tito.cli.console import Console

    course, console = open_course(), Console()
    with console.working("Building"):
        count = site.build(course, to, console.line)
    console.line(f"Built {count} pages: open {to / 'index.html'}")


def serve(
    of: Annotated[Path, typer.Argument(metavar="DIR", help="The pages.")] = Path("site"),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 is any that is free.")] = 8000,
) -> None:
    """Show the pages in a browser on this machine, until Ctrl-C."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    from tito.cli.console import Console

    if not (of / "index.html").is_file():
        raise CourseError(f"there are no pages in {of}: type tito site build")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words):
            """Nothing."""

    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=str(of)))
    except OSError as error:
        raise CourseError(f"port {port} cannot be had ({error.strerror}): give another with --port") from None
    with server:
        Console().line(f"http://127.0.0.1:{server.server_port} (Ctrl-C ends it)")
        server.serve_forever()
