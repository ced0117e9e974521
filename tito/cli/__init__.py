"""The command line. Each command reads its words, calls the file that does the work, and shows the result."""

import io
import os
import signal
import sys
from typing import Annotated

import typer

from tito import CourseError, __version__
from tito.cli import author, folder, grade, milestones, student
from tito.cli.common import PLAIN, PassingOn, UsageError

app = typer.Typer(
    help="Build TinyTorch, module by module: edit a notebook, test it, export it.",
    context_settings=PLAIN,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
ANY_OPTION = {"ignore_unknown_options": True}  # they are passed on


def group(name: str, text: str, **commands) -> None:
    """Add a group of commands to the command line."""
    made = typer.Typer(help=text, rich_markup_mode=None)
    for command, function in commands.items():
        options = {**ANY_OPTION, "allow_interspersed_args": False} if function is milestones.run else None
        made.command(command, context_settings=options)(function)
    app.add_typer(made, name=name, no_args_is_help=True, context_settings=PLAIN)


def main() -> None:
    """The entry point: a fault of the course or of the question becomes a sentence, not a traceback."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # whoever started tito closed it
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that children are ended too
    try:
        app(prog_name="tito")
    except SystemExit as end:
        if isinstance(getattr(end.__context__, "__cause__", None), KeyboardInterrupt):
            print("Stopped by Ctrl-C.", file=sys.stderr)
        raise
    except (CourseError, OSError, RuntimeError) as error:
        from tito.runner.platform import out_of

        known = isinstance(error, CourseError | OSError)
        if not (text := out_of(error)) and not known:
            raise
        print(f"tito: {text or error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False
) -> None:
    """Build TinyTorch, module by module: edit a notebook, test it, export it. Alone: where you are."""
    if version:
        print(f"tito {__version__}")
    elif context.invoked_subcommand is None:
        from tito.course.registry import find_root

        try:
            find_root()
        except CourseError as error:
            print(f"{context.get_help()}\n\nThis is no course's folder: {error}. To make one: tito init DIR")
        else:
            student.status()


for function in (
    *(folder.init, student.export, student.test, student.status, student.lab, student.watch, student.hint),
    *(student.solution, folder.reset, folder.restore, folder.submit, milestones.bench, folder.doctor),
    milestones.predict,
):
    app.command(cls=PassingOn if function is student.lab else None)(function)
group(
    "module",
    "Start a module, look at it, complete it.",
    start=student.start,
    status=student.module_status,
    complete=student.complete,
)
group(
    "milestone",
    "Put the package to use.",
    list=milestones.milestone_list,
    info=milestones.info,
    run=milestones.run,
)
app.add_typer(grade.app, name="grade", no_args_is_help=True, context_settings=PLAIN)
group(
    "data",
    "What the milestones learn from.",
    list=milestones.data_list,
    fetch=milestones.fetch,
    verify=milestones.verify,
)
group(
    "dev",
    "For authors of the course.",
    check=author.check,
    fmt=author.fmt,
    draw=author.draw,
    slides=author.slides,
    expected=author.expected,
    wheel=author.wheel,
)
group("site", "The course as pages.", build=author.build, serve=author.serve)
