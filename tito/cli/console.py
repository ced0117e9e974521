"""What tito shows: short plain sentences and tables without frames, which survive a pipe and forty columns."""

import os
import re
import sys
import time
from collections.abc import Iterable

from rich import console as rich_console
from rich.table import Table
from rich.text import Text

from tito.course.notebook import python_lines
from tito.course.registry import Exercise, Module
from tito.doctor import Finding
from tito.milestone import Milestone
from tito.runner.results import ExerciseResult, Line, Trouble
from tito.runner.testing import ModuleResult, PytestResult
from tito.student.progress import Standing, current

NARROW = 60
MOST_LINES = 14  # of a failure's message
STYLES = {"passed": "green", "ok": "green", "failed": "red", "wrong": "red"}
BONUS = "Bonus, without which the module is complete too"
MEANING = {
    "does not pass": "does not pass: an exercise is not written yet, or a test fails; tito test shows which.",
    "changed since": "changed since: the notebook was changed after its last test.",
    "completed, changed since": "completed, changed since: it passed once, and the notebook was changed after that.",
    "differs": "differs: the notebook says more or other things than the package; tito export puts them there.",
}
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Console:
    """Writes to standard output; colours only on a terminal that wants them."""

    def __init__(self, quiet: bool = False):
        plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
        self.terminal = rich_console.Console(
            color_system=None if plain else "auto", quiet=quiet, highlight=False, markup=False, emoji=False
        )
        self.narrow = self.terminal.width < NARROW
        self._live = sys.stdout.isatty() and not plain and not quiet
        self._begun = False

    def say(self, text: str = "", style: str = "", indent: int = 0) -> None:
        """A sentence, wrapped, with what could confuse a terminal taken out."""
        width = max(self.terminal.width - indent, 10)
        for line in Text(clean(text), style=style).wrap(self.terminal, width) or [Text()]:
            line.rstrip()
            self.terminal.print(Text(" " * indent).append_text(line), soft_wrap=True)

    def next(self, command: str) -> None:
        """The one command to type next, never broken over lines."""
        self.line(f"\nNext: {command}")

    def line(self, text: str) -> None:
        """Something to copy: never broken over lines."""
        self.terminal.print(text, soft_wrap=True)

    def working(self, text: str):
        """A moving line while something is being done, on a terminal only."""
        return self.terminal.status(text) if self._live else _Quiet()

    def table(self, rows: Iterable[tuple], header: tuple[str, ...] = (), right: tuple[int, ...] = (), wide: int = 1):
        """A table without a frame; column `wide` is the one that wraps."""
        table = Table(box=None, show_header=bool(header), padding=(0, 2, 0, 0), pad_edge=False, header_style="")
        rows = [tuple(map(str, row)) for row in rows]
        for column in range(len(rows[0]) if rows else 0):
            title, fixed = header[column] if header else "", column != wide
            table.add_column(title, justify="right" if column in right else "left", no_wrap=fixed, overflow="fold")
        for row in rows:
            table.add_row(*(Text(clean(cell), style=STYLES.get(cell, "")) for cell in row))
        for line in self.terminal.render_lines(table, pad=False):
            text = Text.assemble(*((segment.text, segment.style or "") for segment in line))
            text.rstrip()
            self.terminal.print(text, soft_wrap=True)

    # tito test

    def module(self, result: ModuleResult, briefly: bool = False) -> None:
        """One module's exercises, its first failure and its pytest counts; only a line if it passed and `briefly`."""
        if briefly and result.passed:
            return
        self.say(f"{result.number} {result.title}")
        self.say()
        due, extra = _parted(result.exercises)
        if due:
            self.table([self._exercise(exercise) for exercise in due], right=(2,))
        if extra and due:
            state = ", not started" if all(exercise.state == "not started" for exercise in extra) else ""
            points = number(sum(exercise.possible for exercise in extra))
            exercises = f"{len(extra)} exercise{'' if len(extra) == 1 else 's'}"
            self.say(f"\n{BONUS}: {exercises}, {points} points{state}.")
        if extra and not (due and state):
            self.table([self._exercise(exercise) for exercise in extra], right=(2,))
        for exercise in result.exercises:
            if exercise.note:
                self.say(f"{exercise.title}: {exercise.note}", indent=2)
        self._first_trouble(result)
        if not result.pytest and not result.troubles:
            return
        self.say()
        if result.pytest:
            self.tests(result.pytest)
        if result.by_hand:
            self.say(f"{number(result.by_hand)} more points are given by hand.")
        if result.hidden:
            self.say("These are the tests that you can see; grading adds hidden ones.")
        self.say()

    def _first_trouble(self, result: ModuleResult) -> None:
        """The first failure, and where its hints are."""
        if trouble := result.first_trouble:
            self.trouble(trouble, title(trouble, result))
            owners = [each for each in result.exercises if each.trouble is trouble or [each.id] == trouble.exercises]
            if owners and owners[0].hints:
                self.say(f"For a hint: tito hint {result.number} {owners[0].id}", indent=2)

    def tests(self, tests: PytestResult) -> None:
        """The outcome of a pytest folder."""
        if tests.passed or tests.failed or tests.skipped:
            self.say(f"pytest {tests.folder}: {counts(tests)} ({tests.seconds:.1f} s). {tests.problem}".rstrip())
            for reason, count in sorted(tests.reasons.items(), key=lambda item: -item[1])[:3]:
                self.say(f"{count} skipped: {reason}", indent=2)
        else:
            self.say(f"pytest: {tests.problem}")

    def _exercise(self, exercise: ExerciseResult) -> tuple[str, ...]:
        points = f"{number(exercise.points)}/{number(exercise.possible)}"
        if self.narrow:
            return exercise.state, exercise.id, points
        return exercise.state, exercise.title, points, exercise.id

    def trouble(self, trouble: Trouble, heading: str) -> None:
        """A failure: what was wrong, and the reader's own lines."""
        self.say()
        self.say(heading, style="red")
        if len(trouble.exercises) > 1:
            *most, last = trouble.exercises
            self.say(f"It lies in {', '.join(most)} or {last}, which run in {trouble.evidence}.", indent=2)
        if trouble.case:
            self.say(f"with {trouble.case}", indent=2)
        if trouble.cause:
            self.say(trouble.cause, indent=2)
        kind = "" if trouble.type in ("", "AssertionError") else f"{trouble.type}: "
        empty = "it is not written yet" if trouble.type == "NotImplementedError" else "the check does not hold"
        self.say(shorten(kind + (trouble.message.strip() or empty)), indent=2)
        own = [line for line in trouble.lines if not line.get("given") or line is trouble.lines[-1]]
        for line in own[-4:]:
            self.say(f"{place_of(line)}, line {line['line']}: {line['source']}", indent=4)
        if trouble.printed.strip():
            self.say("It printed: " + shorten(trouble.printed.strip(), 5), indent=2)

    def summary(self, results: list[ModuleResult]) -> None:
        """One line a module: exercises, points, pytest counts and time."""
        header = ("module", "exercises", "points", "pytest", "time")
        rows = []
        for result in results:
            parts = [part for part in _parted(result.exercises) if part]
            solved = [f"{sum(each.state == 'passed' for each in part)}/{len(part)}" for part in parts]
            points = [
                f"{number(sum(e.points for e in part))}/{number(sum(e.possible for e in part))}" for part in parts
            ]
            tests = counts(result.pytest) if result.pytest else "not run"
            rows.append((result.folder, " + ".join(solved), " + ".join(points), tests, f"{result.seconds:.1f} s"))
        if not self.narrow:
            self.table(rows, header, right=(1, 2, 4), wide=3)
            return
        for folder, done, total, tests, seconds in rows:
            self.say(f"{folder}: {done} exercises, {total} points, pytest {tests}, {seconds}")

    def verdict(self, results: list[ModuleResult]) -> None:
        """How many of several modules pass."""
        good = sum(result.passed for result in results)
        if len(results) > 1:
            self.say(f"\n{'All' if good == len(results) else f'{good} of'} {len(results)} modules pass.")

    # tito status, module, milestone, doctor

    def standings(self, standings: list[Standing]) -> None:
        """Where every module stands."""
        whose = any(s.origin for s in standings)
        rows = [
            (s.module.folder, *([s.origin] if whose else []), _points(s), _progress(s), _package(s)) for s in standings
        ]
        if not self.narrow:
            header = ("module", *(["whose"] if whose else []), "points", "progress", "package")
            self.table(rows, header, right=(len(header) - 3,), wide=len(header) - 1)
            return
        for folder, *facts, package in rows:
            self.say(f"{folder}: {', '.join(filter(None, (*facts, package and f'package {package}')))}")

    def explain(self, standings: list[Standing]) -> None:
        """What the words of a table of standings mean, those that call for something to be done."""
        shown = {word for standing in standings for word in (_progress(standing), _package(standing))}
        if found := [text for word, text in MEANING.items() if word in shown]:
            self.say()
        for text in found:
            self.say(text, style="dim")

    def where(self, standings: list[Standing]) -> None:
        """The exercise to go on with."""
        here = current(standings)
        if here and here.open and not (here.completed and not here.changed):
            self.following(here.open[0])

    def following(self, exercise: Exercise) -> None:
        """The exercise that comes next, and how long it takes."""
        self.say(f"\n{_next_exercise(exercise)}, about {exercise.minutes} min")

    # tito watch

    def watching(self, view) -> None:
        """A run of `tito watch`: in place on a terminal; elsewhere only what came out, as a block."""
        if not self._live or self.terminal.legacy_windows:  # which knows no escape sequences
            if not view.running:
                self._view(view)
            return
        with self.terminal.capture() as captured:
            self._view(view)
            self.say("Watching. Ctrl-C ends it.", style="dim")
        lines = captured.get().splitlines()
        lines = lines if len(lines) < self.terminal.height else [*lines[: self.terminal.height - 2], lines[-1]]
        # Each line is written over the old one, so that nothing flickers.
        opening, self._begun = "" if self._begun else "\x1b[2J", True
        sys.stdout.write(opening + "\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        sys.stdout.flush()

    def _view(self, view) -> None:
        module, states = view.module, view.states.values()
        self.say(f"{module.number} {module.title}")
        doing = f"testing {', '.join(view.changed) or 'every exercise'}" if view.running else time.strftime("%H:%M:%S")
        told = []
        for part in filter(None, _parted(module.exercises)):
            known = [view.states[exercise.id] for exercise in part if exercise.id in view.states]
            done = sum(state["state"] == "passed" for state in known)
            points = (number(sum(state[key] for state in known)) for key in ("points", "possible"))
            told.append(f"{done} of {len(part)} exercises, {'/'.join(points)} points")
        self.say(f"{', and as a bonus '.join(told)}, {doing}")
        left = [each for each in module.exercises if view.states.get(each.id, {}).get("state") != "passed"]
        left.sort(key=lambda exercise: exercise.bonus)
        if view.trouble:
            self._first_trouble(view.result)
        elif left:
            if states:
                self.say(f"\n{_next_exercise(left[0])}")
        if not view.trouble and not view.running and all(exercise.bonus for exercise in left):
            self.next(f"tito test {module.number}")
        self.say()

    # tito hint, solution, restore, submit

    def hint(self, hint) -> None:
        """One hint; or all of them, if all were seen before."""
        exercise, count = hint.exercise, len(hint.exercise.hints)
        which = f"all {count} hints, which you saw" if hint.again else f"hint {hint.step} of {count}"
        self.say(f"{exercise.title} ({exercise.id}): {which}")
        for text in hint.texts:
            self.say()
            self.say(text, indent=2)
        if hint.forgotten:
            self.say(f"\nIt was not remembered as seen: {hint.forgotten}")

    def code(self, source: str) -> None:
        """Python, to be read and copied: never broken over lines."""
        for line in python_lines(source):
            self.line(clean(line))
        self.say()

    def backups(self, backups) -> None:
        """The kept copies, newest first."""
        if not backups:
            self.say("No copies yet. tito reset makes one before it changes a notebook.")
        elif self.narrow:
            for backup in backups:
                self.say(f"{backup.name}: {backup.module}, before {backup.why}")
        else:
            rows = [(backup.name, backup.module, f"before {backup.why}") for backup in backups]
            self.table(rows, ("name", "module", "kept"), wide=2)

    def changed_cells(self, names: tuple[str, ...]) -> None:
        """The cells that a command has changed, by name."""
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        self.say(f"{len(names)} cell{'' if len(names) == 1 else 's'} changed{f': {shown}' if names else ''}.")

    def submission(self, handed) -> None:
        """What was handed in, or why nothing was."""
        if handed.faults:
            self.say("Nothing was handed in, because this cannot be graded:", style="red")
        for fault in handed.faults:
            self.say(f"{fault.what}.", indent=2)
            self.say(f"To mend it: {fault.mend}.", indent=4)
        if handed.files:
            login = ", your login on this computer (--as NAME says another)" if handed.login else ""
            self.say(f"Handed in as {handed.name}{login}:")
        for file in handed.files:
            self.line(f"  {file}")
        for note in handed.notes:
            self.say(note)

    def unanswered(self, points: list[float]) -> None:
        """How many questions have no answer yet."""
        if points:
            questions = "1 question" if len(points) == 1 else f"{len(points)} questions"
            worth = f"{number(sum(points))} point{'' if sum(points) == 1 else 's'}"
            self.say(f"{questions} ({worth}) {'has' if len(points) == 1 else 'have'} no answer yet.")

    def score(self, standing: Standing) -> None:
        """What the last test said, beside a submission."""
        if standing.points is None or standing.changed:
            self.say(f"It was not tested since you last changed it: tito test {standing.module.number}")
        else:
            self.say(f"The tests that you can see give {_points(standing)} points.")

    def exercises(self, module: Module, points: dict[str, float]) -> None:
        """What there is to do in a module."""
        for part in filter(None, _parted(module.exercises)):
            if part[0].bonus:
                self.say(f"\n{BONUS}:\n")
            rows = []
            for exercise in part:
                earned = f"{number(sum(points.get(test, 0) for test in exercise.tests))} p"
                facts = ("*" * exercise.difficulty, f"{exercise.minutes} min", earned)
                names = (exercise.id, "") if self.narrow else (exercise.title, exercise.id)
                rows.append((names[0], *facts, names[1]))
            self.table(rows, right=(2, 3), wide=0)
        self.say("\nThe last word of a line is the exercise's name in commands; the stars say how hard it is.")

    def milestones(self, milestones: list[tuple[Milestone, str]]) -> None:
        """The list of milestones, and in words whether they can run."""
        if not self.narrow:
            rows = [(m.id, str(m.year), m.title, m.time, state) for m, state in milestones]
            return self.table(rows, ("id", "year", "title", "time", ""), right=(3,), wide=4)
        for m, state in milestones:
            self.say(f"{m.id} {m.title} ({m.year}): {m.time}, {state}")

    def finding(self, finding: Finding) -> None:
        """One line of the doctor's report."""
        text = Text(clean(f"{finding.what}: {finding.text}"))
        for n, line in enumerate(text.wrap(self.terminal, max(self.terminal.width - 6, 10))):
            line.rstrip()
            state = Text(f"{'' if n else finding.state:6}", style=STYLES.get(finding.state, "yellow"))
            self.terminal.print(state.append_text(line), soft_wrap=True)


class _Quiet:
    """Stands in for a moving line where there is no terminal."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None


def title(trouble: Trouble, result: ModuleResult) -> str:
    """Where a failure happened, as a heading."""
    for exercise in result.exercises:
        if exercise.trouble is trouble:
            return f"First failure: {exercise.title} ({trouble.where})"
    names = {exercise.id: f"{exercise.title} ({exercise.id})" for exercise in result.exercises}
    titles = [names[id] for id in trouble.exercises if id in names]
    probably = "probably " if trouble.evidence else ""
    return f"First failure: {f'{probably}{titles[0]}, in ' if len(titles) == 1 else ''}{trouble.where}"


def place_of(line: Line) -> str:
    """A line's cell or file; and its function too, where the cell bears another name."""
    function, where = line.get("function", ""), line["place"]
    own = function in ("", where) or where.startswith("test_") and function.startswith("test_unit_")
    return where if own else f"{function} in {where}"


def _next_exercise(exercise: Exercise) -> str:
    return f"Next exercise{', a bonus' if exercise.bonus else ''}: {exercise.title} ({exercise.id})"


def _parted(exercises) -> tuple[list, list]:
    """The exercises that count, and those of a bonus."""
    return [each for each in exercises if not each.bonus], [each for each in exercises if each.bonus]


def counts(tests: PytestResult) -> str:
    """`41 passed, 2 skipped`."""
    found = [f"{n} {name}" for name in ("failed", "passed", "skipped") if (n := getattr(tests, name))]
    return ", ".join(found) or "none ran"


def _points(standing: Standing) -> str:
    if standing.origin == "reference":
        return ""
    if not standing.points:
        return "not tested"
    bonus = [standing.states.get(each.id, {}) for each in standing.module.exercises if each.bonus]
    extra = [sum(state.get(key, 0) for state in bonus) for key in ("points", "possible")]
    told = f"{number(standing.points[0] - extra[0])}/{number(standing.points[1] - extra[1])}"
    return f"{told} + {number(extra[0])}/{number(extra[1])}" if extra[0] else told


def _package(standing: Standing) -> str:
    return {"reference": "", "missing": "not exported"}.get(standing.package, standing.package)


def _progress(standing: Standing) -> str:
    if standing.completed:
        return "completed, changed since" if standing.changed else "completed"
    if standing.tested and standing.origin == "scaffold":
        return "not begun"
    if standing.tested:
        return "changed since" if standing.changed else "passes" if standing.tested["passed"] else "does not pass"
    return ""


def number(value: float) -> str:
    """Points without a needless fraction."""
    return f"{value:g}"


def shorten(text: str, most: int = MOST_LINES) -> str:
    """At most so many lines."""
    lines = text.splitlines()
    return "\n".join(lines if len(lines) <= most else [*lines[:most], f"... and {len(lines) - most} lines more"])


def clean(text: str) -> str:
    """Without control characters: what a student prints must not steer the reader's terminal."""
    return _CONTROL.sub("", text.expandtabs(4))
