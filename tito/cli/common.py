"""What the commands share: how their words are described, and how words become a course, modules and exercises."""

import re
from typing import Annotated

import typer
from typer.core import TyperCommand

from tito import CourseError
from tito.cli import completion

PASSED_ON = "tito.passed_on"  # where the context holds what a command passes on
PLAIN = {"help_option_names": ["-h", "--help"]}
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


class PassingOn(TyperCommand):
    """A command that passes on what stands after --, and options of another program's classes: --ServerApp.ip=::"""

    def parse_args(self, context, words: list[str]) -> list[str]:
        end = words.index("--") if "--" in words else len(words)
        foreign = [word for word in words[:end] if re.match(r"--[A-Z]\w*\.\w", word)]
        context.meta[PASSED_ON] = foreign + words[end + 1 :]
        return super().parse_args(context, [word for word in words[:end] if word not in foreign])


def open_course():
    from tito.course.registry import Course, find_root

    root = find_root()
    if (root / ".tito" / "unfinished").exists():  # an update was killed
        from tito.student.workspace import recover

        recover(root)
    return Course.load(root)


def choose(names: list[str] | None, everything: bool):
    """The course, and the modules that were named; a usage error if none was, or if --all was added to names."""
    if bool(names) == everything:
        raise UsageError("name modules or say --all, not both" if everything else "name a module, or say --all")
    course = open_course()
    chosen = list(course.modules) if everything else course.select(names)
    if not chosen:
        raise CourseError(f"no module.toml in any folder of {course.folder('nbs')}: this course has no modules")
    return course, chosen


def choose_exercises(words: list[str] | None, everything: bool):
    """The course, the modules that were named, and the exercises if some of one module were."""
    first, *others = words or [""]
    if not others or everything:
        return *choose(words, everything), frozenset()
    course = open_course()
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


def say_if_unreadable(progress, console) -> None:
    """Say so if the record of the progress could not be read."""
    _, sentence = progress.read()
    if sentence:
        console.say(sentence)


def install_kernel(console, wanted: bool) -> None:
    """Install the Jupyter kernel; a course works without it too, so a failure is a sentence."""
    from tito import jupyter

    try:
        if wanted and not jupyter.kernel_installed():
            console.say(f"Jupyter's kernel TinyTorch: {jupyter.install_kernel()}")
    except CourseError as error:
        console.say(f"Without Jupyter's kernel TinyTorch: {error}")
