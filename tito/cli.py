"""The commands. Each reads its words, calls the file that does the work, and shows the result."""

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from tito import CourseError, __version__, completion
from tito.grading.cli import app as grade_app

PLAIN = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    help="Build TinyTorch, module by module: edit a notebook, test it, export it.",
    context_settings=PLAIN,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
module_app = typer.Typer(help="Start a module, look at it, complete it.", rich_markup_mode=None)
milestone_app = typer.Typer(help="Put the package to use.", rich_markup_mode=None)
app.add_typer(module_app, name="module", no_args_is_help=True, context_settings=PLAIN)
dev_app = typer.Typer(help="For authors of the course.", rich_markup_mode=None)
app.add_typer(milestone_app, name="milestone", no_args_is_help=True, context_settings=PLAIN)
app.add_typer(grade_app, name="grade", no_args_is_help=True, context_settings=PLAIN)
data_app = typer.Typer(help="What the milestones learn from.", rich_markup_mode=None)
app.add_typer(data_app, name="data", no_args_is_help=True, context_settings=PLAIN)
app.add_typer(dev_app, name="dev", no_args_is_help=True, context_settings=PLAIN)
site_app = typer.Typer(help="The course as pages.", rich_markup_mode=None)
app.add_typer(site_app, name="site", no_args_is_help=True, context_settings=PLAIN)

MODULE = {"metavar": "MODULE", "help": "9, 09, spatial or 09_spatial.", "autocompletion": completion.modules}
EXERCISE = {"metavar": "EXERCISE", "autocompletion": completion.exercises}
ModuleNames = Annotated[list[str] | None, typer.Argument(**MODULE)]
ModuleName = Annotated[str, typer.Argument(**MODULE)]
AnyModule = Annotated[str | None, typer.Argument(**MODULE)]
ExerciseName = Annotated[str, typer.Argument(**EXERCISE, help="The exercise's id, as tito module start lists it.")]
AnyExercise = Annotated[str | None, typer.Argument(**EXERCISE, help="By default the first that does not pass.")]
MilestoneName = Annotated[
    str, typer.Argument(metavar="ID", help="4, 04 or the folder's name.", autocompletion=completion.milestones)
]
DataName = Annotated[str, typer.Argument(metavar="NAME", help="cifar10.")]
All = Annotated[bool, typer.Option("--all", help="Every module.")]
Full = Annotated[bool, typer.Option("--full", help="Run the exploration cells too.")]
Seconds = Annotated[float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Limit for a graded cell.")]


class UsageError(CourseError):
    """The words of the command do not make sense together."""


def main() -> None:
    """The entry point: a fault of the course or of the question becomes a sentence, not a traceback."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that children are ended too
    try:
        app(prog_name="tito")
    except (CourseError, OSError) as error:
        print(f"tito: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context, version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False
) -> None:
    """Build TinyTorch, module by module: edit a notebook, test it, export it. Alone: where you are."""
    if version:
        print(f"tito {__version__}")
    elif context.invoked_subcommand is None:
        from tito.course import find_root

        try:
            find_root()
        except CourseError as error:
            print(f"{context.get_help()}\n\nThis is no course's folder: {error}. To make one: tito init DIR")
        else:
            status()


@app.command()
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
    from tito import parcel, workspace
    from tito.screen import Screen

    folder, screen, asked = Path(os.path.abspath(folder)), Screen(), (start, modules, archive, with_reference)
    if update:
        if any(asked):
            raise UsageError("--update keeps what the folder was made with: leave the other options away")
        with screen.working("Comparing with the course"):
            said = workspace.update(folder, parcel.source())
        screen.say("\n".join(said) or f"{folder} has the newest course text.")
    else:
        with screen.working("Making the course"):
            chosen = filter(None, modules.replace(" ", "").split(","))
            plan = workspace.plan(parcel.source(), start, chosen, with_reference)
            workspace.init(folder, plan, archive)
        screen.say(f"Made {folder}. Yours to write: {', '.join(plan.yours)}.")
    _install_kernel(screen, kernel)
    here = folder == Path.cwd()
    screen.next("tito" if here else f"cd {shlex.quote(os.path.relpath(folder))} && tito")


@app.command()
def export(
    modules: ModuleNames = None,
    everything: All = False,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; say what is out of sync.")] = False,
) -> None:
    """Write the package from the notebooks."""
    from tito.export import export as run_export
    from tito.screen import Screen

    course, chosen = _choose(modules, everything)
    screen = Screen()
    with screen.working("Exporting"):
        results = run_export(course, chosen, check=check)
    for result in results:
        if result.changed or result.note:
            note = f" {result.note}" if result.note else " written"
            screen.say(f"{result.path.relative_to(course.root)}:{note}")
    changed = any(result.changed for result in results)
    if not changed:
        screen.say("The package is in sync with the notebooks.")
    if check and changed:
        raise typer.Exit(1)


@app.command()
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
    from tito.testing import Options

    course, chosen, only = _choose_exercises(modules, everything)
    results = _test(course, chosen, Options(full, timeout, only), quiet=as_json)
    good = all(result.exercises_pass if only else result.passed for result in results)
    if not as_json:
        _say_next(results, bool(only))
    if not good:
        raise typer.Exit(1)


@app.command()
def status() -> None:
    """Show where you are, and the one command to type next."""
    from tito.progress import Progress, next_step
    from tito.screen import Screen

    course, screen = _course(), Screen()
    progress = Progress(course)
    _tell_if_broken(progress, screen)
    with screen.working("Comparing the package with the notebooks"):
        standings = progress.standings(course.modules)
    screen.standings(standings)
    screen.where(standings)
    screen.next(next_step(standings))


@app.command(context_settings={"ignore_unknown_options": True})
def lab(
    module: AnyModule = None,
    options: Annotated[
        list[str] | None, typer.Argument(metavar="OPTIONS", help="Passed on to JupyterLab: --no-browser, --port 9000.")
    ] = None,
) -> None:
    """Open a module's notebook in JupyterLab; by default the one to go on with."""
    from tito.lab import open_lab
    from tito.progress import Progress, current
    from tito.scaffold import PRISTINE
    from tito.screen import Screen

    course, options = _course(), options or []
    if module and module.startswith("-"):
        module, options = None, [module, *options]
    if module:
        found = course.module(module)
    else:
        here = current(Progress(course).standings(course.modules))
        found = here.module if here else None
    screen = Screen()
    if found:
        screen.line(f"Opening {found.notebooks[0].relative_to(course.root)}. Ctrl-C twice ends JupyterLab.")
        screen.line(f"In another terminal: tito watch {found.number}")
    _install_kernel(screen, (course.state / PRISTINE).is_dir())
    open_lab(course, found.notebooks[0] if found else None, options)


@app.command()
def watch(module: AnyModule = None) -> None:
    """Test on every save what changed; Ctrl-C ends it."""
    from tito.progress import Progress, current
    from tito.screen import Screen
    from tito.watch import Watch

    course, screen = _course(), Screen()
    chosen = [course.module(module)] if module else list(course.modules)
    if not module and (here := current(Progress(course).standings(course.modules, compare=False))):
        chosen.sort(key=lambda one: one is not here.module)
    if not chosen:
        raise CourseError("this course has no modules")
    watching = Watch(course, chosen, screen.watching)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *given: watching.stop.set())
    watching.follow()
    screen.say("Stopped.")


@app.command()
def hint(module: ModuleName, exercise: AnyExercise = None) -> None:
    """Give the next hint of an exercise.

    First a nudge, then more, then nearly the answer. What was seen is remembered.
    """
    from tito.hints import next_hint
    from tito.screen import Screen

    course, screen = _course(), Screen()
    found = course.module(module)
    given = next_hint(course, found, exercise)
    screen.hint(given)
    name = f"{found.number} {given.exercise.id}"
    if given.step < len(given.exercise.hints):
        screen.line(f"\nOne more: tito hint {name}")
    else:
        screen.line(f"\nOnly the solution says more: tito solution {name}")
    screen.next(f"tito test {name}")


@app.command()
def solution(
    module: ModuleName,
    exercise: ExerciseName,
    give_up: Annotated[bool, typer.Option("--give-up", help="Show it although the exercise does not pass.")] = False,
) -> None:
    """Show the reference's solution of an exercise that passes."""
    from tito.hints import solution as find_solution
    from tito.screen import Screen

    course, screen = _course(), Screen()
    found = course.module(module)
    chosen = found.exercise(exercise)
    with screen.working("Testing yours"):
        cells = find_solution(course, found, chosen, give_up)
    for cell in cells:
        screen.code(cell)


@app.command()
def reset(
    module: ModuleName,
    exercise: Annotated[
        str | None, typer.Argument(**EXERCISE, help="An exercise, or the id of one cell; by default everything.")
    ] = None,
) -> None:
    """Start a notebook or an exercise afresh; a copy is kept."""
    from tito.backup import reset as give_back
    from tito.screen import Screen

    course, screen = _course(), Screen()
    found = course.module(module)
    kept = give_back(course, found, exercise)
    screen.say(f"{exercise or found.folder} is as it was handed out. If the notebook is open, reload it in JupyterLab.")
    screen.line(f"Your version was kept. To bring it back: tito restore {kept.name}")
    screen.next(f"tito lab {found.number}")


@app.command()
def restore(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Which copy; without it, list them.", autocompletion=completion.backups),
    ] = None,
) -> None:
    """List the kept copies of notebooks, or bring one back."""
    from tito.backup import backups
    from tito.backup import restore as bring_back
    from tito.screen import Screen

    course, screen = _course(), Screen()
    if name is None:
        found = backups(course)
        screen.backups(found)
        if found:
            screen.next(f"tito restore {found[0].name}")
        return
    backup, kept = bring_back(course, name)
    screen.say(f"{backup.module} is as it was on {backup.when}. If the notebook is open, reload it in JupyterLab.")
    screen.line(f"What was there was kept. To bring it back: tito restore {kept.name}")
    screen.next(f"tito test {backup.module.partition('_')[0]}")


@app.command()
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
    from tito.progress import Progress
    from tito.screen import Screen
    from tito.submit import submit as hand_in

    course, screen = _course(), Screen()
    found = course.module(module)
    handed = hand_in(course, found, to, student)
    screen.submission(handed)
    if handed.faults:
        raise typer.Exit(1)
    [standing] = Progress(course).standings([found], compare=False)
    screen.score(standing)
    screen.next("tito")


@app.command()
def bench(
    module: ModuleName,
    against: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="torch (by default, where it is installed), or a backend: windows."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="GROUP", help="steps, memory, ...; repeatable.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Three rounds: rough figures.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Measure a module against PyTorch, or against another of its ways.

    The figures and a plot are kept under runs/bench.
    """
    from tito import bench as benchmark
    from tito.screen import Screen

    course, screen = _course(), Screen(as_json)
    found = benchmark.run(course, course.module(module), benchmark.Asked(against, only, quick), screen)
    if as_json:
        print(benchmark.as_json(found))


@app.command()
def doctor() -> None:
    """Check the installation, the package, the data and the folders."""
    from tito.doctor import examine
    from tito.screen import Screen

    course, screen = _course(), Screen()
    states = []
    for finding in examine(course):
        screen.finding(finding)
        states.append(finding.state)
    wrong = states.count("wrong")
    screen.say(f"\n{wrong} to mend." if wrong else "\nAll is well.")
    if wrong:
        raise typer.Exit(1)


@module_app.command()
def start(module: ModuleName) -> None:
    """Show a module's exercises, and what to open and type."""
    from tito import notebook
    from tito.screen import Screen

    course = _course()
    found, screen = course.module(module), Screen()
    points: dict[str, float] = {}
    for path in found.notebooks:
        points |= notebook.points(notebook.read(path))
    screen.say(f"{found.number} {found.title}\n{found.summary}\n")
    screen.exercises(found, points)
    screen.say("\nOpen:")
    for path in found.notebooks:
        screen.line(f"  {path.relative_to(course.root)}")
    screen.next(f"tito lab {found.number}")


@module_app.command("status")
def module_status(module: ModuleName) -> None:
    """Show where you are in one module."""
    from tito.progress import Progress, next_step
    from tito.screen import Screen

    course, screen = _course(), Screen()
    found, progress = course.module(module), Progress(course)
    _tell_if_broken(progress, screen)
    standings = progress.standings([found])
    screen.say(f"{found.number} {found.title}\n")
    screen.standings(standings)
    screen.where(standings)
    screen.next(next_step(standings))


@module_app.command()
def complete(module: ModuleName) -> None:
    """Test, export, test the exported package, and record that the module is done."""
    from tito.export import export as run_export
    from tito.progress import Progress, next_step
    from tito.screen import Screen
    from tito.testing import Options, check_exported

    course, screen = _course(), Screen()
    found = course.module(module)
    [result] = _test(course, [found], Options())
    if not result.passed:
        screen.say("\nNothing was recorded as completed, and nothing was exported.")
        screen.next(f"tito test {found.number}")
        raise typer.Exit(1)
    with screen.working("Exporting, and testing the exported package"):
        run_export(course, [found])
        tests = check_exported(course, found)
    if not tests.ok:
        if tests.trouble:
            screen.trouble(tests.trouble, f"First failure: {tests.trouble.where}")
        screen.say()
        screen.tests(tests)
        screen.say("The exported package does not pass. Nothing was recorded as completed.")
        raise typer.Exit(1)
    progress = Progress(course)
    progress.record_completed(found, result.notebooks)
    screen.say(f"\nExported, and the package passes. Module {found.number} is complete.")
    screen.next(next_step(progress.standings(course.modules)))


@milestone_app.command("list")
def milestone_list() -> None:
    """Show the milestones."""
    from tito.milestone import load
    from tito.screen import Screen

    screen = Screen()
    milestones = load(_course())
    screen.milestones(milestones)
    if milestones:
        screen.next(f"tito milestone run {milestones[0].id}")


@milestone_app.command()
def info(milestone: MilestoneName) -> None:
    """Tell what a milestone is about and what it needs."""
    from tito.milestone import find
    from tito.screen import Screen

    course, screen = _course(), Screen()
    found = find(course, milestone)
    needed = ", ".join(module.folder for module in course.select(found.requires))
    screen.say(f"{found.id} {found.title} ({found.year})\n\n{found.summary}\n")
    screen.say(f"It needs {needed}. It takes about {found.time}.")
    screen.next(f"tito milestone run {found.id}")


@milestone_app.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
def run(
    milestone: MilestoneName,
    arguments: Annotated[list[str] | None, typer.Argument(metavar="ARGS", help="Passed on to the script.")] = None,
) -> None:
    """Run a milestone with the course's package; ARGS go to its script."""
    from tito.milestone import find
    from tito.milestone import run as run_script

    course = _course()
    raise typer.Exit(run_script(course, find(course, milestone), arguments or []))


@data_app.command("list")
def data_list() -> None:
    """Show the data sets, and which are there."""
    from tito import data
    from tito.screen import Screen

    course, screen = _course(), Screen()
    for source in data.SOURCES.values():
        screen.say(f"{source.name}: {source.title} ({source.size})")
        screen.say(data.standing(course, source), indent=2)
    screen.say("digits: 1,797 handwritten digits of 8x8 pixels\n  come with scikit-learn")


@data_app.command()
def fetch(
    name: DataName,
    origin: Annotated[
        str | None, typer.Option("--from", metavar="FILE|URL", help="An archive, a folder, or another address.")
    ] = None,
) -> None:
    """Load a data set from the network, or from an archive or folder; a broken download is continued."""
    from tito import data
    from tito.screen import Screen

    course, screen = _course(), Screen()
    found = data.fetch(course, data.find(name), origin, screen.line)
    screen.say(found.text)
    screen.next(f"tito milestone run 04 --data {data.find(name).name}")


@data_app.command()
def verify(name: DataName = "cifar10") -> None:
    """Check a data set's files: are they whole, and the published ones?"""
    from tito import data
    from tito.screen import Screen

    course, screen = _course(), Screen()
    source = data.find(name)
    with screen.working("Reading"):
        found = data.verify(course, source)
    screen.say(found.text)
    if not found.usable:
        screen.next(f"tito data fetch {source.name}")
        raise typer.Exit(1)


@app.command()
def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="PNG or JPEG, of any size.")],
    weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="By default the newest that milestone 04 has kept.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="NAME", help="digits or cifar10.")] = None,
) -> None:
    """Say what is on your own pictures, with the network that milestone 04 has trained."""
    from tito import predict as predicting
    from tito.screen import Screen

    course, screen = _course(), Screen()
    failed = predicting.show(course, images, predicting.Asked(data, weights), screen)
    if failed:
        raise typer.Exit(1)


@dev_app.command()
def check(
    mutants: Annotated[bool, typer.Option(help="Plant faults in the solutions, and see that tests notice.")] = True,
    since: Annotated[str, typer.Option(metavar="COMMIT", help="Cells keep their ids since then.")] = "HEAD",
) -> None:
    """Check the course: notebooks, tests, pages and commands.

    Scaffolds must fail, solutions pass, planted faults be noticed, and nothing be amiss in the files.
    """
    from tito.author import examine
    from tito.screen import Screen

    course, screen, wrong = _course(), Screen(), 0
    for finding in examine(course, mutants, since):
        screen.finding(finding)
        wrong += finding.state == "wrong"
    screen.say(f"\n{wrong} to mend." if wrong else "\nAll is well.")
    if wrong:
        raise typer.Exit(1)


@dev_app.command()
def wheel(
    students: Annotated[bool, typer.Option("--students", help="Without the solutions of what's to write.")] = False,
    start: Annotated[str | None, typer.Option("--from", metavar="MODULE", help="The first module to write.")] = None,
    modules: Annotated[str, typer.Option(metavar="01,05,...", help="The modules to write; the others are given.")] = "",
    to: Annotated[Path, typer.Option(metavar="DIR", help="Where to put it.")] = Path("dist/students"),
) -> None:
    """Build the wheel that an instructor hands out."""
    from tito import parcel, workspace
    from tito.screen import Screen
    from tito.wheel import students_wheel

    if not students:
        raise UsageError("say --students; the whole course, solutions included, is built by: pip wheel --no-deps .")
    screen = Screen()
    with screen.working("Building"):
        chosen = filter(None, modules.replace(" ", "").split(","))
        made = students_wheel(workspace.plan(parcel.source(), start, chosen, False), to)
    screen.line(f"Built {made}")
    screen.next(f"pip install {shlex.quote(str(made))}")


@site_app.command()
def build(to: Annotated[Path, typer.Option(metavar="DIR", help="Where to put them.")] = Path("site")) -> None:
    """Build static pages of the whole course, with outputs and without solutions."""
    from tito import pages
    from tito.screen import Screen

    course, screen = _course(), Screen()
    with screen.working("Building"):
        count = pages.build(course, to, screen.line)
    screen.line(f"Built {count} pages: open {to / 'index.html'}")


# What several commands share


def _install_kernel(screen, wanted: bool) -> None:
    """Install the Jupyter kernel; a course works without it too, so a failure is a sentence."""
    from tito import kernel

    try:
        if wanted and not kernel.installed():
            screen.say(f"Jupyter's kernel TinyTorch: {kernel.install()}")
    except CourseError as error:
        screen.say(f"Without Jupyter's kernel TinyTorch: {error}")


def _course():
    from tito.course import Course, find_root

    root = find_root()
    if (root / ".tito" / "update").is_dir():  # an update was interrupted
        from tito.workspace import recover

        recover(root)
    return Course.load(root)


def _choose(names: list[str] | None, everything: bool):
    """The course, and the modules that were named; a usage error if none was, or if --all was added to names."""
    if bool(names) == everything:
        raise UsageError("name modules or say --all, not both" if everything else "name a module, or say --all")
    course = _course()
    chosen = list(course.modules) if everything else course.select(names)
    if not chosen:
        raise CourseError(f"no module.toml in any folder of {course.folder('nbs')}: this course has no modules")
    return course, chosen


def _choose_exercises(words: list[str] | None, everything: bool):
    """The course, the modules that were named, and the exercises if some of one module were."""
    first, *others = words or [""]
    if not others or everything:
        return *_choose(words, everything), frozenset()
    course = _course()
    module = course.module(first)
    known = {exercise.id for exercise in module.exercises}
    only = frozenset(word for word in others if word in known)
    if only and len(only) < len(set(others)):
        strange = next(word for word in others if word not in known)
        module.exercise(strange)  # raises, with close matches
    if not only:
        _say_if_neither(course, module, others)
    return (course, [module], only) if only else (course, course.select(words), only)


def _say_if_neither(course, module, words: list[str]) -> None:
    """Refuse a word that names no module, as an exercise of the one before it if it looks like one."""
    for word in words:
        try:
            course.module(word)
        except CourseError:
            module.exercise(word)  # raises, with close matches


def _test(course, modules, options, quiet: bool = False) -> list:
    """Test modules, record each result, and show them: as screens, or (`quiet`) as one JSON object."""
    import json

    from tito.progress import Progress
    from tito.screen import Screen
    from tito.testing import check_modules

    screen, progress, found = Screen(quiet), Progress(course), []
    _tell_if_broken(progress, screen)
    results = check_modules(course, modules, options)
    for module in modules:
        with screen.working(f"Testing {module.folder}"):
            found.append(next(results))
        screen.module(found[-1], briefly=len(modules) > 1)
        try:
            progress.record_test(module, found[-1], partly=bool(options.only))
        except CourseError as error:
            screen.say(f"The result was not recorded: {error}")
    if not options.only:
        screen.summary(found)
        screen.verdict(found)
    if quiet:
        passed = all(result.exercises_pass if options.only else result.passed for result in found)
        print(json.dumps({"passed": passed, "modules": [result.plain() for result in found]}, indent=1))
    return found


def _say_next(results, partly: bool) -> None:
    """After a test: the first module that does not pass, or completing the one that does."""
    from tito.screen import Screen

    if partly:
        [result] = results
        left = [exercise.id for exercise in result.exercises if exercise.state != "passed"]
        Screen().next(f"tito test {result.number}{f' {left[0]}' if left else ''}")
        return
    failed = [result for result in results if not result.passed]
    if failed:
        untouched = not failed[0].started and not failed[0].troubles
        Screen().next(f"tito {'lab' if untouched else 'test'} {failed[0].number}")
    elif len(results) == 1:
        Screen().next(f"tito module complete {results[0].number}")


def _tell_if_broken(progress, screen) -> None:
    """Say so if the record of the progress could not be read."""
    _, sentence = progress.read()
    if sentence:
        screen.say(sentence)
