"""The commands of a student's path."""

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from tito import CourseError
from tito.cli import completion
from tito.cli.common import (
    EXERCISE,
    All,
    AnyExercise,
    AnyModule,
    ExerciseName,
    Full,
    ModuleName,
    ModuleNames,
    Seconds,
    UsageError,
    choose,
    choose_exercises,
    open_course,
    say_if_unreadable,
)


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder; with --update, your course.")],
    start: Annotated[str | None, typer.Option("--from", metavar="MODULE", help="The first module to write.")] = None,
    modules: Annotated[str, typer.Option(metavar="01,05,...", help="The modules to write; the others are given.")] = "",
    archive: Annotated[Path | None, typer.Option("--zip", metavar="FILE", help="Pack it into a zip file too.")] = None,
    with_reference: Annotated[bool, typer.Option("--with-reference", help="Bring the reference along.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Newer course text; your work stays.")] = False,
    kernel: Annotated[bool, typer.Option(help="Install the Jupyter kernel TinyTorch.")] = True,
) -> None:
    """Make a course folder of your own: some modules given, the others to write."""
    from tito.cli.console import Console
    from tito.runner.platform import commands_in
    from tito.student import template, workspace

    folder, console, asked = Path(os.path.abspath(folder)), Console(), (start, modules, archive, with_reference)
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
    install_kernel(console, kernel)
    here = folder == Path.cwd()
    console.next("tito" if here else commands_in(_near(folder), "tito"))


def _near(folder: Path) -> str:
    """A folder as one would type it here."""
    try:
        return os.path.relpath(folder)
    except ValueError:  # it is on another drive
        return str(folder)


def export(
    modules: ModuleNames = None,
    everything: All = False,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; say what is out of sync.")] = False,
) -> None:
    """Write the package from the notebooks."""
    from tito.cli.console import Console
    from tito.course.export import export as run_export

    course, chosen = choose(modules, everything)
    console = Console()
    with console.working("Exporting"):
        results = run_export(course, chosen, check=check)
    for result in results:
        if result.changed or result.note:
            note = f" {result.note}" if result.note else " written"
            console.say(f"{result.path.relative_to(course.root)}:{note}")
    changed = any(result.changed for result in results)
    if not changed:
        console.say("The package is in sync with the notebooks.")
    elif not check:
        console.say("A notebook that is open imports it anew after Kernel > Restart.")
    if check and changed:
        raise typer.Exit(1)


def test(
    modules: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODULE [EXERCISE]", help="Modules, or one and some of its exercises.",
            autocompletion=completion.modules_or_exercises,
        ),
    ] = None,
    everything: All = False,
    full: Full = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    timeout: Seconds = 10,
) -> None:  # fmt: skip
    """Test a module, or one of its exercises.

    The notebook's graded cells and the module's pytest folder run against what the notebook exports now.
    """
    from tito.runner.testing import Options

    course, chosen, only = choose_exercises(modules, everything)
    results = run_tests(course, chosen, Options(full, timeout, only), quiet=as_json)
    good = all(result.exercises_pass if only else result.passed for result in results)
    if not as_json:
        say_next(results, bool(only))
    if not good:
        raise typer.Exit(1)


def status() -> None:
    """Show where you are, and the one command to type next."""
    from tito.cli.console import Console
    from tito.student.progress import Progress, next_step

    course, console = open_course(), Console()
    progress = Progress(course)
    say_if_unreadable(progress, console)
    with console.working("Comparing the package with the notebooks"):
        standings = progress.standings(course.modules)
    console.standings(standings)
    console.where(standings)
    console.next(next_step(standings))


def lab(
    module: AnyModule = None,
    options: Annotated[
        list[str] | None, typer.Argument(metavar="OPTIONS", help="Passed on to JupyterLab: --no-browser, --port 9000.")
    ] = None,
) -> None:
    """Open a module's notebook in JupyterLab; by default the one to go on with."""
    from tito.cli.console import Console
    from tito.course.scaffold import PRISTINE
    from tito.jupyter import open_lab
    from tito.student.progress import Progress, current

    course, options = open_course(), options or []
    if module and module.startswith("-"):
        module, options = None, [module, *options]
    if module:
        found = course.module(module)
    else:
        here = current(Progress(course).standings(course.modules))
        found = here.module if here else None
    console = Console()
    if found:
        console.line(f"Opening {found.notebooks[0].relative_to(course.root)}. Ctrl-C twice ends JupyterLab.")
        console.line(f"In another terminal: tito watch {found.number}")
    install_kernel(console, (course.state / PRISTINE).is_dir())
    open_lab(course, found.notebooks[0] if found else None, options)


def watch(module: AnyModule = None) -> None:
    """Test on every save what changed; Ctrl-C ends it."""
    from tito.cli.console import Console
    from tito.student.progress import Progress, current
    from tito.student.watch import Watch

    course, console = open_course(), Console()
    chosen = [course.module(module)] if module else list(course.modules)
    if not module and (here := current(Progress(course).standings(course.modules, compare=False))):
        chosen.sort(key=lambda one: one is not here.module)
    if not chosen:
        raise CourseError("this course has no modules")
    watching = Watch(course, chosen, console.watching)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *given: watching.stop.set())
    watching.follow()
    console.say("Stopped.")


def hint(module: ModuleName, exercise: AnyExercise = None) -> None:
    """Give the next hint of an exercise.

    First a nudge, then more, then nearly the answer. What was seen is remembered.
    """
    from tito.cli.console import Console
    from tito.student.hints import has_reference, next_hint

    course, console = open_course(), Console()
    found = course.module(module)
    given = next_hint(course, found, exercise)
    console.hint(given)
    name = f"{found.number} {given.exercise.id}"
    if given.step < len(given.exercise.hints):
        console.line(f"\nOne more: tito hint {name}")
    elif has_reference(course, found, given.exercise):
        console.line(f"\nOnly the solution says more: tito solution {name} --give-up")
    else:
        console.line("\nThat was the last hint.")
    console.next(f"tito test {name}")


def solution(
    module: ModuleName,
    exercise: ExerciseName,
    give_up: Annotated[bool, typer.Option("--give-up", help="Show it although the exercise does not pass.")] = False,
) -> None:
    """Show the reference's solution of an exercise that passes."""
    from tito.cli.console import Console
    from tito.student.hints import solution as find_solution

    course, console = open_course(), Console()
    found = course.module(module)
    chosen = found.exercise(exercise)
    with console.working("Testing yours"):
        cells = find_solution(course, found, chosen, give_up)
    for cell in cells:
        console.code(cell)


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
    console.say(
        f"{exercise or found.folder} is as it was handed out. If the notebook is open, reload it in JupyterLab."
    )
    console.line(f"Your version was kept. To bring it back: tito restore {kept.name}")
    console.next(f"tito lab {found.number}")


def restore(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Which copy; without it, list them.", autocompletion=completion.backups),
    ] = None,
) -> None:
    """List the kept copies of notebooks, or bring one back."""
    from tito.cli.console import Console
    from tito.student.backup import backups
    from tito.student.backup import restore as bring_back

    course, console = open_course(), Console()
    if name is None:
        found = backups(course)
        console.backups(found)
        if found:
            console.next(f"tito restore {found[0].name}")
        return
    backup, kept = bring_back(course, name)
    console.say(f"{backup.module} is as it was on {backup.when}. If the notebook is open, reload it in JupyterLab.")
    console.line(f"What was there was kept. To bring it back: tito restore {kept.name}")
    console.next(f"tito test {backup.module.partition('_')[0]}")


def submit(
    module: ModuleName,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="The folder that the instructor collects from.")],
    student: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Your name in the course; by default your login.")
    ] = None,
) -> None:
    """Hand a module in, or say what in it cannot be graded.

    Writes DIR/NAME/MODULE with the notebooks, without their outputs.
    """
    from tito.cli.console import Console
    from tito.student.progress import Progress
    from tito.student.submit import hand_in

    course, console = open_course(), Console()
    found = course.module(module)
    handed = hand_in(course, found, to, student)
    console.submission(handed)
    if handed.faults:
        raise typer.Exit(1)
    [standing] = Progress(course).standings([found], compare=False)
    console.score(standing)
    console.next("tito")


def doctor() -> None:
    """Check the installation, the package, the data and the folders."""
    from tito.cli.console import Console
    from tito.doctor import diagnose

    course, console = open_course(), Console()
    states = []
    for finding in diagnose(course):
        console.finding(finding)
        states.append(finding.state)
    wrong = states.count("wrong")
    console.say(f"\n{wrong} to mend." if wrong else "\nAll is well.")
    if wrong:
        raise typer.Exit(1)


def start(module: ModuleName) -> None:
    """Show a module's exercises, and what to open and type."""
    from tito.cli.console import Console
    from tito.course import notebook

    course = open_course()
    found, console = course.module(module), Console()
    points: dict[str, float] = {}
    for path in found.notebooks:
        points |= notebook.points(notebook.read(path))
    console.say(f"{found.number} {found.title}\n{found.summary}\n")
    console.exercises(found, points)
    console.say("\nOpen:")
    for path in found.notebooks:
        console.line(f"  {path.relative_to(course.root)}")
    console.next(f"tito lab {found.number}")


def module_status(module: ModuleName) -> None:
    """Show where you are in one module."""
    from tito.cli.console import Console
    from tito.student.progress import Progress, next_step

    course, console = open_course(), Console()
    found, progress = course.module(module), Progress(course)
    say_if_unreadable(progress, console)
    standings = progress.standings([found])
    console.say(f"{found.number} {found.title}\n")
    console.standings(standings)
    console.where(standings)
    console.next(next_step(standings))


def complete(module: ModuleName) -> None:
    """Test, export, test the exported package, and record that the module is done."""
    from tito.cli.console import Console
    from tito.course.export import export as run_export
    from tito.runner.testing import Options, check_exported
    from tito.student.progress import Progress, next_step

    course, console = open_course(), Console()
    found = course.module(module)
    [result] = run_tests(course, [found], Options())
    if not result.passed:
        console.say("\nNothing was recorded as completed, and nothing was exported.")
        console.next(f"tito test {found.number}")
        raise typer.Exit(1)
    with console.working("Exporting, and testing the exported package"):
        run_export(course, [found])
        tests = check_exported(course, found)
    if not tests.ok:
        if tests.trouble:
            console.trouble(tests.trouble, f"First failure: {tests.trouble.where}")
        console.say()
        console.tests(tests)
        console.say("The exported package does not pass. Nothing was recorded as completed.")
        raise typer.Exit(1)
    progress = Progress(course)
    progress.record_completed(found, result.notebooks)
    console.say(f"\nExported, and the package passes. Module {found.number} is complete.")
    console.say("A notebook that is open imports it anew after Kernel > Restart.")
    console.next(next_step(progress.standings(course.modules)))


def install_kernel(console, wanted: bool) -> None:
    """Install the Jupyter kernel; a course works without it too, so a failure is a sentence."""
    from tito import jupyter

    try:
        if wanted and not jupyter.kernel_installed():
            console.say(f"Jupyter's kernel TinyTorch: {jupyter.install_kernel()}")
    except CourseError as error:
        console.say(f"Without Jupyter's kernel TinyTorch: {error}")


def run_tests(course, modules, options, quiet: bool = False) -> list:
    """Test modules, record each result, and show them: as screens, or (`quiet`) as one JSON object."""
    import json

    from tito.cli.console import Console
    from tito.runner.testing import check_modules
    from tito.student.progress import Progress

    console, progress, found = Console(quiet), Progress(course), []
    say_if_unreadable(progress, console)
    results = check_modules(course, modules, options)
    for module in modules:
        with console.working(f"Testing {module.folder}"):
            found.append(next(results))
        console.module(found[-1], briefly=len(modules) > 1)
        try:
            progress.record_test(module, found[-1], partly=bool(options.only))
        except CourseError as error:
            console.say(f"The result was not recorded: {error}")
    if not options.only:
        console.summary(found)
        console.verdict(found)
    if quiet:
        passed = all(result.exercises_pass if options.only else result.passed for result in found)
        print(json.dumps({"passed": passed, "modules": [result.plain() for result in found]}, indent=1))
    return found


def say_next(results, partly: bool) -> None:
    """After a test: the first module that does not pass, or completing the one that does."""
    from tito.cli.console import Console

    if partly:
        [result] = results
        left = [exercise for exercise in result.exercises if exercise.state != "passed"]
        if left and left[0].state == "not started":
            Console().next(f"tito lab {result.number}")
        else:
            Console().next(f"tito test {result.number}{f' {left[0].id}' if left else ''}")
        return
    failed = [result for result in results if not result.passed]
    if failed:
        untouched = not failed[0].started and not failed[0].troubles
        Console().next(f"tito {'lab' if untouched else 'test'} {failed[0].number}")
    elif len(results) == 1:
        Console().next(f"tito module complete {results[0].number}")
