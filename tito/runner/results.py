"""From what became of a notebook's cells to a verdict on each exercise: passed, failed, not started, and why."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NotRequired, Required, TypedDict

from tito.course import notebook
from tito.course.registry import Module
from tito.runner.child import STUB


class Line(TypedDict):
    """A line of somebody's code, on the way to an error."""

    place: str
    line: int
    source: str
    function: NotRequired[str]
    given: NotRequired[bool]  # not the reader's own


@dataclass
class Trouble:
    """Something that went wrong: where, what, and the reader's own lines it passed through."""

    where: str
    message: str
    type: str = ""
    lines: list[Line] = field(default_factory=list)
    printed: str = ""
    cause: str = ""  # what explains it, if that is known
    fell: list[str] = field(default_factory=list)  # functions that ended without a `return` that was wanted
    exercises: list[str] = field(default_factory=list)  # of a pytest test: which it is about, as far as can be told
    evidence: str = ""  # why these, if the failure itself does not show it
    case: str = ""  # the values that such a test failed with


@dataclass
class ExerciseResult:
    """One exercise; its state is passed, failed, not started, not finished or not run."""

    id: str
    title: str
    tests: dict[str, float | None]  # grade_id -> points; None where the notebook has no such cell
    state: str = "not run"
    points: float = 0
    seconds: float = 0.0
    trouble: Trouble | None = None
    note: str = ""
    hints: int = 0  # how many there are
    bonus: bool = False  # counts points, and the module passes without it

    @property
    def possible(self) -> float:
        return sum(points or 0 for points in self.tests.values())


def forgotten_return(fell: list[str], message: str) -> str:
    """The cause, if functions fell off their end and what they gave was used; empty if the message says so itself."""
    return "" if not fell or "return" in message else f"{fell[-1]} returned None: is a `return` missing?"


class Outcome(TypedDict, total=False):
    """What became of a cell, or of an import, in the child process; `lines` and the others only if it did not pass."""

    state: Required[str]  # passed, failed, stub, stopped
    type: str
    message: str
    lines: list[Line]
    fell: list[str]  # functions that fell off their end
    origin: str
    printed: str
    complained: str
    seconds: float


def trouble_of(where: str, outcome: Outcome) -> Trouble:
    lines, fell = [line for line in outcome["lines"] if line["line"]], outcome.get("fell")
    cause = forgotten_return(fell or [], outcome["message"])
    return Trouble(
        where, outcome["message"], outcome["type"], lines, outcome.get("printed", ""), cause=cause, fell=fell or []
    )


def grade_id(cell: dict) -> str:
    return cell["metadata"]["nbgrader"].get("grade_id", cell["id"])


def untouched(module: Module, notebooks: dict[Path, dict]) -> tuple[list[ExerciseResult], float]:
    """Every exercise, not run yet, with its possible points; and the points that are given by hand.

    A graded cell that no exercise claims becomes an exercise of its own name.
    """
    graded, by_hand = {}, {}
    for nb in notebooks.values():
        for cell in nb["cells"]:
            kind, points = notebook.kind(cell), cell["metadata"].get("nbgrader", {}).get("points", 0)
            if kind == "graded":
                graded[grade_id(cell)] = points
            elif kind == "manual":
                by_hand[grade_id(cell)] = points
    claimed = {test for exercise in module.exercises for test in exercise.tests}
    plan = [
        (each.id, each.title, [test for test in each.tests if test not in by_hand], len(each.hints), each.bonus)
        for each in module.exercises
    ]
    plan += [(id, id, [id], 0, False) for id in graded if id not in claimed]
    found = [
        ExerciseResult(id, title, {test: graded.get(test) for test in tests}, hints=hints, bonus=bonus)
        for id, title, tests, hints, bonus in plan
        if tests
    ]
    return (found if graded else []), sum(by_hand.values())


def stubs(notebooks: dict[Path, dict]) -> set[str]:
    """The solution cells that still hold the line which stands for the student's code."""
    cells = [cell for nb in notebooks.values() for cell in nb["cells"] if notebook.kind(cell) == "solution"]
    return {cell["id"] for cell in cells if STUB in map(str.strip, notebook.python_lines(cell["source"]))}


def judge_all(
    exercises: list[ExerciseResult], module: Module, outcomes: dict[str, Outcome], notebooks: dict[Path, dict]
) -> None:
    """Fill in every exercise's verdict, from the outcomes of its graded cells."""
    titles = {cell: exercise.title for exercise in module.exercises for cell in exercise.solution}
    unwritten, plan = stubs(notebooks), {exercise.id: exercise for exercise in module.exercises}
    for exercise in exercises:
        _judge(exercise, outcomes, titles, module)
        solution = plan[exercise.id].solution if exercise.id in plan else ()
        if exercise.state == "not started" and unwritten & {*solution}:
            exercise.note = ""  # what else it waits for is no news yet
        if exercise.state == "failed" and (reason := _misplaced(solution, exercise, notebooks, module)):
            exercise.trouble = reason


def _misplaced(solution, exercise: ExerciseResult, notebooks: dict[Path, dict], module: Module) -> Trouble | None:
    """Why an exercise fails whose solution cells are gone, no code any more, or below their test; else None."""
    cells = [cell for nb in notebooks.values() for cell in nb["cells"] if cell["cell_type"] == "code"]
    ids = [grade_id(cell) if "nbgrader" in cell["metadata"] else cell["id"] for cell in cells]
    for id in solution:
        if id not in ids:
            text = f"The notebook has no code cell {id}: it was deleted, renamed or turned into text."
            return Trouble(id, f"{text} To get it back: tito reset {module.number} {id}")
        own = [test for test in exercise.tests if test.startswith(f"test_{id}")] or exercise.tests
        if below := [test for test in own if test in ids and ids.index(test) < ids.index(id)]:
            return Trouble(below[0], f"The cell {below[0]} stands above {id}, which it tests: move it below.")
    return None


def _judge(exercise: ExerciseResult, outcomes: dict[str, Outcome], titles: dict[str, str], module: Module) -> None:
    """Fill in the verdict of the exercise's graded cells. `titles` tells which exercise a solution cell belongs to."""
    found = {test: outcomes.get(test) for test in exercise.tests}
    states = [outcome["state"] if outcome else "missing" for outcome in found.values()]
    ran = [outcome for outcome in found.values() if outcome]
    exercise.seconds = sum(outcome["seconds"] for outcome in ran)
    passed = [test for test, outcome in found.items() if outcome and outcome["state"] == "passed"]
    exercise.points = sum(exercise.tests[test] or 0 for test in passed)
    if None in exercise.tests.values():
        exercise.state, exercise.trouble = "failed", _missing(exercise, module)
    elif bad := [(test, each) for test, each in found.items() if each and each["state"] in ("failed", "stopped")]:
        exercise.state, exercise.trouble = "failed", trouble_of(*bad[0])
        if bad[0][1]["state"] == "stopped" or exercise.trouble.type == "SystemExit":
            exercise.note = exercise.trouble.message
    elif "missing" in states:
        exercise.state, exercise.note = "not run", "The notebook had to be stopped before this."
    elif "stub" in states:
        exercise.state = "not finished" if "passed" in states else "not started"
        exercise.note = _waits_for(exercise, next(outcome for outcome in ran if outcome["state"] == "stub"), titles)
    else:
        exercise.state = "passed"
        if noise := "".join(outcome["complained"] for outcome in ran).strip():
            exercise.note = f"It writes to stderr, for which nbgrader gives no points: {noise.splitlines()[0]}"


def _missing(exercise: ExerciseResult, module: Module) -> Trouble:
    lost = [test for test, points in exercise.tests.items() if points is None]
    text = f"The notebook has no graded cell {', '.join(lost)}: it was deleted, renamed or turned into text."
    return Trouble(lost[0], f"{text} To get it back: tito reset {module.number} {lost[0]}")


def _waits_for(exercise: ExerciseResult, outcome: Outcome, titles: dict[str, str]) -> str:
    """What a scaffold that was reached belongs to, if not to this exercise."""
    place = outcome["lines"][-1]["place"] if outcome["lines"] else ""
    owner = titles.get(place, place)
    return "" if owner in ("", exercise.title) else f"It needs {owner}, which is not written yet."
