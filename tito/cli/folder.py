"""The commands for a course folder as a whole: made, looked after, given back, handed in."""

import contextlib
import os
from pathlib import Path
from typing import Annotated

import typer

from tito import CourseError
from tito.cli import completion
from tito.cli.common import EXERCISE, ModuleName, UsageError, install_kernel, open_course

RELOAD = "If the notebook is open in JupyterLab: File > Reload Notebook from Disk."


def init(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="A new folder; with --update, your course: by default this one."),
    ] = None,
    start: Annotated[str | None, typer.Option("--from", metavar="MODULE", help="The first module to write.")] = None,
    modules: Annotated[str, typer.Option(metavar="01,05,...", help="The modules to write; the others are given.")] = "",
    archive: Annotated[Path | None, typer.Option("--zip", metavar="FILE", help="Pack it into a zip file too.")] = None,
    with_reference: Annotated[bool, typer.Option("--with-reference", help="Bring the reference along.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Newer course text; your work stays.")] = False,
    kernel: Annotated[bool, typer.Option(help="Install the Jupyter kernel TinyTorch.")] = True,
) -> None:
    """Make a course folder of your own: some modules given, the others to write."""
    from tito.cli.console import Console
    from tito.course.registry import find_root
    from tito.runner.platform import commands_in
    from tito.student import template, workspace

    console, asked = Console(), (start, modules, archive, with_reference)
    if folder is None and not update:
        raise UsageError("name the new folder: tito init mycourse")
    folder = find_root() if folder is None else Path(os.path.abspath(folder))
    if update:
        if any(asked):
            raise UsageError("--update keeps what the folder was made with: leave the other options away")
        with console.working("Comparing with the course"):
            said = workspace.update(folder, template.source())
        console.say("\n".join(said) or f"{folder} has the newest course text.")
    else:
        with console.working("Making the course"):
            chosen = filter(None, modules.replace(" ", "").split(","))
            plan = workspace.choose_modules(template.source(), start, chosen, with_reference)
            workspace.init(folder, plan, archive)
        console.say(f"Made {folder}. Yours to write: {', '.join(plan.yours)}.")
        if archive:
            console.line(f"Packed the same into {archive}")
    install_kernel(console, kernel)
    inside = folder in (Path.cwd(), *Path.cwd().parents)
    console.next("tito" if inside else commands_in(_near(folder), "tito"))


def _near(folder: Path) -> str:
    """A folder as one would type it here."""
    try:
        return os.path.relpath(folder)
    except ValueError:  # it is on another drive
        return str(folder)


def reset(
    module: ModuleName,
    exercise: Annotated[
        str | None, typer.Argument(**EXERCISE, help="An exercise, or the id of one cell; by default everything.")
    ] = None,
) -> None:
    """Start a notebook or an exercise afresh; a copy is kept."""
    from tito.cli.console import Console
    from tito.student.backup import reset as give_back

    course, console = open_course(), Console()
    found = course.module(module)
    kept = give_back(course, found, exercise)
    console.say(f"{exercise or found.folder} is as it was handed out. {RELOAD}")
    console.line(
        f"What was there was kept. To bring it back: tito restore {kept.name}{f' {exercise}' if exercise else ''}"
    )
    console.next(f"tito lab {found.number}")


def restore(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Which copy; without it, or with a module, list them.",
            autocompletion=completion.backups,
        ),
    ] = None,
    exercise: Annotated[
        str | None, typer.Argument(metavar="EXERCISE", help="Only this exercise, or the cell of this id.")
    ] = None,
) -> None:
    """List the kept copies of notebooks, or bring one back."""
    from tito.cli.console import Console
    from tito.student.backup import backups
    from tito.student.backup import restore as bring_back

    course, console = open_course(), Console()
    found = backups(course)
    if name is None:
        console.backups(found)
        if found:
            console.next(f"tito restore {found[0].name}")
        return
    with contextlib.suppress(CourseError):  # it names no module, which is as it should be
        module = course.module(name)
        found = [backup for backup in found if backup.module == module.folder]
        console.say(f"{name} is a module. {'Its copies, of which one is wanted:' if found else 'It has no copy yet.'}")
        if found:
            console.say()
            console.backups(found)
            console.next(f"tito restore {found[0].name}{f' {exercise}' if exercise else ''}")
        raise typer.Exit(1)
    done = bring_back(course, name, exercise)
    backup, what = done.backup, exercise or done.backup.module
    console.say(f"{what} is as it was on {backup.when}. {RELOAD}")
    console.changed_cells(done.changed)
    if not exercise and len(done.changed) > 1:
        undo = f"tito restore {done.kept.name}"
        console.line(f"Was it to be one exercise only? {undo}, and then: tito restore {backup.name} EXERCISE")
    console.line(f"What was there was kept. To bring it back: tito restore {done.kept.name}")
    console.next(f"tito test {backup.module.partition('_')[0]}")


def submit(
    module: ModuleName,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="The folder that the instructor collects from.")
    ] = None,
    student: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Your name in the course; by default your login.")
    ] = None,
) -> None:
    """Hand a module in, or say what in it cannot be graded.

    Writes DIR/NAME/MODULE with the notebooks, without their outputs.
    """
    from tito.cli.console import Console
    from tito.student.progress import Progress
    from tito.student.submit import hand_in, unanswered

    course, console = open_course(), Console()
    found = course.module(module)
    if to is None:
        raise UsageError(f"say where to: tito submit {found.number} --to DIR, the folder that your instructor names")
    handed = hand_in(course, found, to, student)
    console.submission(handed)
    if handed.faults:
        raise typer.Exit(1)
    [standing] = Progress(course).standings([found], compare=False)
    console.score(standing)
    console.unanswered(unanswered(course, found))
    console.next("tito")


def doctor(
    everything: Annotated[bool, typer.Option("--all", help="What only authors and instructors need, too.")] = False,
) -> None:
    """Check the installation, the package, the data and the folders."""
    from tito.cli.console import Console
    from tito.doctor import diagnose

    course, console = open_course(), Console()
    states = []
    for finding in diagnose(course, everything):
        console.finding(finding)
        states.append(finding.state)
    wrong = states.count("wrong")
    console.say(f"\n{wrong} to mend." if wrong else "\nAll is well.")
    if wrong:
        raise typer.Exit(1)
