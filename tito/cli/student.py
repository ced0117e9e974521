"""The commands of a student's path."""

import re
import signal
from typing import Annotated

import typer

from tito import CourseError
from tito.cli import completion
from tito.cli.common import (
    PASSED_ON,
    All,
    AnyExercise,
    AnyModule,
    ExerciseName,
    Full,
    ModuleName,
    ModuleNames,
    Seconds,
    choose,
    choose_exercises,
    install_kernel,
    open_course,
    say_if_unreadable,
)
from tito.course.notebook import short_name


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
        say_next(course, results, bool(only))
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
    console.explain(standings)
    console.where(standings)
    console.next(next_step(standings))


def lab(
    module: AnyModule = None,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NOTEBOOK", help="Of several: fast for fast_dev.ipynb.", autocompletion=completion.notebooks
        ),
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    port: Annotated[int | None, typer.Option(metavar="NUMBER", help="The server's port.")] = None,
    *,
    context: typer.Context,
) -> None:
    """Open a module's notebook in JupyterLab; by default the one to go on with.

    What stands after -- is passed on to JupyterLab: tito lab 09 -- --ip=0.0.0.0
    """
    from tito.cli.console import Console
    from tito.course.scaffold import PRISTINE
    from tito.jupyter import open_lab
    from tito.student.progress import Progress, current

    course, console = open_course(), Console()
    if module:
        found = course.module(module)
    else:
        here = current(Progress(course).standings(course.modules))
        found = here.module if here else None
    path = found.notebook(name) if found else None
    if path:
        console.line(f"Opening {path.relative_to(course.root)}. Ctrl-C twice ends JupyterLab.")
        console.line(f"In another terminal: tito watch {found.number}")
    install_kernel(console, (course.state / PRISTINE).is_dir())
    options = [*(["--no-browser"] if no_browser else []), *(["--port", str(port)] if port is not None else [])]
    open_lab(course, path, options + context.meta.get(PASSED_ON, []))


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
    console.next(f"tito test {name}" if given.begun else f"tito lab {found.number}{in_notebook(found, given.exercise)}")


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
    console.explain(standings)
    console.where(standings)
    console.next(next_step(standings))


def complete(module: ModuleName) -> None:
    """Test, export, and record that the module is done."""
    from tito.cli.console import Console
    from tito.course.export import export as run_export
    from tito.milestone import opened_by
    from tito.runner.testing import Options, digest_of
    from tito.student.progress import Progress, next_step
    from tito.student.submit import unanswered

    course, console = open_course(), Console()
    found = course.module(module)
    [result] = run_tests(course, [found], Options())
    if not result.passed:
        console.say("\nNothing was recorded as completed, and nothing was exported.")
        say_next(course, [result], partly=False)
        raise typer.Exit(1)
    with console.working("Exporting"):
        run_export(course, [found])
    if digest_of(found.notebooks) != result.notebooks:
        console.say("\nThe notebook was saved while it was tested. Nothing was recorded as completed.")
        console.next(f"tito module complete {found.number}")
        raise typer.Exit(1)
    progress = Progress(course)
    progress.record_completed(found, result.notebooks)
    console.say(f"\nExported. Module {found.number} is complete.")
    console.unanswered(unanswered(course, found))
    for one in opened_by(course, found):
        console.say(f"Milestone {one.id} ({one.title}) can run now: tito milestone run {one.id}")
    console.say("A notebook that is open imports it anew after Kernel > Restart.")
    console.next(next_step(progress.standings(course.modules)))


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


def in_notebook(module, exercise) -> str:
    """What `tito lab` needs besides the module's number to open an exercise's notebook: nothing for the first."""
    first = exercise is None or exercise.notebook == module.notebooks[0]
    return "" if first else f" {short_name(exercise.notebook)}"


def say_next(course, results, partly: bool) -> None:
    """After a test: the next exercise, the first module that does not pass, or completing the one that does."""
    from tito.cli.console import Console
    from tito.student.progress import Progress

    if partly:
        [result], module = results, course.module(results[0].number)
        left = [exercise for exercise in result.exercises if exercise.state != "passed"]
        standing = Progress(course).standings([module], compare=False)[0]
        ahead = [each for each in standing.open if not each.bonus or all(one.bonus for one in result.exercises)]
        if result.exercises and not left and ahead:
            done = [n for n, each in enumerate(module.exercises) if each.id == result.exercises[-1].id]
            after = [each for each in ahead if each in module.exercises[done[0] if done else 0 :]] or ahead
            Console().following(after[0])
            Console().next(f"tito test {result.number} {after[0].id}")
        elif left and left[0].state == "not started":
            exercise = next((each for each in module.exercises if each.id == left[0].id), None)
            Console().next(f"tito lab {result.number}{in_notebook(module, exercise)}")
        else:
            Console().next(f"tito test {result.number}{f' {left[0].id}' if left else ''}")
        return
    failed = [result for result in results if not result.passed]
    if failed:
        said = "; ".join(trouble.message for trouble in failed[0].troubles)
        missing = re.search(r"tito (?:lab|export) \d+\b(?: [a-z]\w*)?", said)  # another module, which this one imports
        wrong = next((exercise for exercise in failed[0].exercises if exercise.state == "failed"), None)
        begun = failed[0].first_trouble or failed[0].troubles
        again = f"tito test {failed[0].number}{f' {wrong.id}' if wrong else ''}"
        Console().next(missing[0] if missing else again if begun else f"tito lab {failed[0].number}")
    elif len(results) == 1:
        Console().next(f"tito module complete {results[0].number}")
