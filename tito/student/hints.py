"""`tito hint` and `tito solution`: a nudge at a time, and the answer only after it is found or given up."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Course, Exercise, Module
from tito.course.scaffold import REFERENCE, has_solutions, kept_copy, origin_of
from tito.runner.results import stubs
from tito.runner.testing import Options, check_module
from tito.student.progress import Progress


@dataclass(frozen=True)
class Hint:
    """One step: the hints up to here, and how many there are."""

    exercise: Exercise
    step: int
    texts: tuple[str, ...]  # the new one; all of them once the last was seen before
    again: bool = False  # nothing new: all were seen before
    forgotten: str = ""  # why it could not be remembered as seen
    begun: bool = True  # whether every cell of the exercise is written


def next_hint(course: Course, module: Module, name: str | None) -> Hint:
    """The next hint of an exercise, by default of the first that does not pass yet; it is remembered as seen."""
    progress = Progress(course)
    [found] = progress.standings([module], compare=False)
    exercise = module.exercise(name) if name else next(iter(found.open), None)
    if exercise is None:
        raise CourseError(f"every exercise of {module.number} passes; name one to see its hints again")
    if not exercise.hints:
        raise CourseError(f"{exercise.title} has no hints: read the text above it in {exercise.notebook.name}")
    begun = not is_unwritten(exercise)
    seen = min(found.hints.get(exercise.id, 0), len(exercise.hints))
    if seen == len(exercise.hints):
        return Hint(exercise, seen, exercise.hints, again=True, begun=begun)
    reason = ""
    try:
        progress.record_hint(module, exercise.id, seen + 1)
    except CourseError as error:
        reason = str(error)
    return Hint(exercise, seen + 1, (exercise.hints[seen],), forgotten=reason, begun=begun)


def is_unwritten(exercise: Exercise) -> bool:
    """Whether one of its cells still holds the line that stands for the student's code."""
    with contextlib.suppress(CourseError):
        return bool({*exercise.solution} & stubs({exercise.notebook: notebook.read(exercise.notebook)}))
    return False


def solution(course: Course, module: Module, exercise: Exercise, give_up: bool) -> list[str]:
    """The reference's cells for an exercise, as a notebook would hold them; only if it passes or is given up."""
    cells = _reference(course, module, exercise)
    if give_up:
        Progress(course).record_given_up(module, exercise.id)
        return cells
    result = check_module(course, module, Options(only=frozenset([exercise.id])))
    if not result.exercises_pass:
        state = result.exercises[0].state if result.exercises else "not run"
        raise CourseError(
            f"{exercise.title} does not pass yet ({state}). For a nudge: tito hint {module.number} {exercise.id}. "
            f"To see the solution all the same: tito solution {module.number} {exercise.id} --give-up"
        )
    return cells


def has_reference(course: Course, module: Module, exercise: Exercise) -> bool:
    """Whether this folder holds the reference's solution of an exercise."""
    try:
        return bool(_reference(course, module, exercise))
    except CourseError:
        return False


def _reference(course: Course, module: Module, exercise: Exercise) -> list[str]:
    """The sources of the reference's solution cells, without the markers."""
    path: Path = kept_copy(course, module, exercise.notebook, REFERENCE)
    if not path.is_file():
        given = origin_of(course, module) in ("", "reference")
        path = exercise.notebook
        if not given or not has_solutions(notebook.read(path)):
            raise CourseError(
                "this course folder holds no reference solutions: ask who gave it to you, or make one with "
                "tito init NEWFOLDER --with-reference"
            )
    sources = {cell["id"]: cell["source"] for cell in notebook.read(path)["cells"]}
    missing = [id for id in exercise.solution if id not in sources]
    if missing:
        raise CourseError(f"{path} has no cell {missing[0]}: the registry and the reference do not fit together")
    return ["\n".join(line for _, line in notebook.library_lines(sources[id])) for id in exercise.solution]
