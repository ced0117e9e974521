"""What was tested and completed, kept in `<root>/.tito/progress.json`; everything that can be derived is derived.

A lost or broken file costs nothing but the record: it is set aside, a sentence says so, and the work goes on.
"""

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tito import CourseError
from tito.course.registry import Course, Exercise, Module, file_of
from tito.course.scaffold import origin_of
from tito.course.storage import replace, write_atomic
from tito.runner.testing import ModuleResult, digest_of
from tito.student.template import REFERENCE_MARK, STUB_MARK

_KEPT = frozenset(("points", "possible", "passed", "notebooks"))  # of a test's result


@dataclass(frozen=True)
class Standing:
    """Where a module stands. `tested` is the last test's record or None; `package` compares it with its notebooks."""

    module: Module
    tested: dict | None
    completed: bool
    changed: bool  # the notebooks changed since the module was completed, or else since it was tested
    package: str  # "in sync", "differs", "missing", or what is wrong with the notebook
    origin: str = ""  # in a workspace: reference, scaffold or yours
    states: dict[str, dict] = field(default_factory=dict)  # exercise -> its last state, points and possible points
    hints: dict[str, int] = field(default_factory=dict)  # exercise -> how many of its hints were seen

    @property
    def points(self) -> tuple[float, float] | None:
        """(points, possible points) as last tested, exercise by exercise; None if nothing was tested."""
        known = [state for state in self.states.values() if "possible" in state]
        if self.tested is None and not known:
            return None
        if self.tested and not known:
            return self.tested["points"], self.tested["possible"]
        possible = self.tested["possible"] if self.tested else sum(state["possible"] for state in known)
        return sum(state["points"] for state in known), possible

    @property
    def open(self) -> list[Exercise]:
        """The exercises that did not pass when they were last tested."""
        done = [id for id, state in self.states.items() if state.get("state") == "passed"]
        left = [exercise for exercise in self.module.exercises if exercise.id not in done]
        return sorted(left, key=lambda exercise: exercise.bonus)  # in their order, a bonus last


class Progress:
    """The record of one course."""

    def __init__(self, course: Course):
        self.course = course
        self.path = course.state / "progress.json"

    def read(self) -> tuple[dict[str, dict], str]:
        """(module number -> record, a sentence if the file could not be read; a broken one is set aside)."""
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            modules = data["modules"]
            if not all(_sound(record) for record in modules.values()):
                raise TypeError("a module's record is not what tito writes")
            return modules, ""
        except FileNotFoundError:
            return {}, ""
        except OSError as error:
            return {}, f"The record of your progress cannot be read ({error.strerror or error}): {self.path}"
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}, self._set_aside()

    def _set_aside(self) -> str:
        kept = self.path.with_name(f"progress.broken-{time.strftime('%Y%m%d-%H%M%S')}.json")
        try:
            replace(self.path, kept)
        except OSError:
            return f"{self.path} cannot be read, and is ignored."
        return f"The record of your progress could not be read. It was kept as {kept.name}, and a new one begins."

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, dict]]:
        """The records, to be changed; saved at the end, while no other tito can write."""
        from filelock import FileLock

        try:
            self.course.state.mkdir(exist_ok=True)
            lock = FileLock(self.course.state / "progress.lock", timeout=10).acquire()
        except OSError as error:
            raise CourseError(f"cannot write in {self.course.state}: {error.strerror or error}") from None
        with lock:
            modules, _ = self.read()
            yield modules
            write_atomic(self.path, json.dumps({"version": 1, "modules": modules}, indent=1, sort_keys=True) + "\n")

    def record_test(self, module: Module, result: ModuleResult, partly: bool = False) -> None:
        """Remember a module's last test, or only the exercises if that was all that was tested."""
        kept = {key: getattr(result, key) for key in sorted(_KEPT)}
        states = {
            exercise.id: {"state": exercise.state, "points": exercise.points, "possible": exercise.possible}
            for exercise in result.exercises
        }
        with self._changing() as modules:
            record = modules.setdefault(module.number, {})
            if partly:
                record["exercises"] = record.get("exercises", {}) | states
            else:
                record |= {"tested": {**kept, "at": _now()}, "exercises": states}

    def record_hint(self, module: Module, exercise: str, seen: int) -> None:
        """Remember how many hints of an exercise were seen."""
        with self._changing() as modules:
            hints = modules.setdefault(module.number, {}).setdefault("hints", {})
            hints[exercise] = max(seen, hints.get(exercise, 0))

    def record_given_up(self, module: Module, exercise: str) -> None:
        """Remember that a solution was shown before the exercise passed."""
        with self._changing() as modules:
            given_up = modules.setdefault(module.number, {}).setdefault("given_up", [])
            if exercise not in given_up:
                given_up.append(exercise)

    def record_completed(self, module: Module, notebooks: str) -> None:
        """Remember that a module was completed, with the digest of the notebooks that passed."""
        with self._changing() as modules:
            modules.setdefault(module.number, {})["completed"] = {"notebooks": notebooks, "at": _now()}

    def standings(self, modules: Iterable[Module], compare: bool = True) -> list[Standing]:
        """Where modules stand; without `compare` nothing is said about the package."""
        records, _ = self.read()
        return [self._standing(module, records.get(module.number, {}), compare) for module in modules]

    def _standing(self, module: Module, record: dict, compare: bool) -> Standing:
        tested, completed = record.get("tested"), record.get("completed")
        since = completed or tested
        changed = since is not None and since["notebooks"] != digest_of(module.notebooks)
        origin = origin_of(self.course, module)
        package = self.package(module, record) if compare and origin != "reference" else origin
        states, hints = record.get("exercises", {}), record.get("hints", {})
        return Standing(module, tested, bool(completed), changed, package, origin, states, hints)

    def package(self, module: Module, record: dict) -> str:
        """Whether the package holds what the notebooks say. The comparison is remembered by the files' digest."""
        try:
            files = [self.course.package / file_of(target) for target in module.targets.values()]
        except CourseError as error:
            return self._said(error)
        if not all(file.is_file() for file in files):
            return "missing"
        openings = [_first_line(file) for file in files]
        if any(line.startswith(STUB_MARK) for line in openings):
            return "missing"
        if any(line.startswith(REFERENCE_MARK) for line in openings):
            return "reference"
        seen = digest_of([*module.notebooks, *files])
        if record.get("in_sync") != seen:
            if verdict := self._compare(module, files):
                return verdict
            with contextlib.suppress(CourseError), self._changing() as modules:
                modules.setdefault(module.number, {})["in_sync"] = seen
        return "in sync"

    def _said(self, error: CourseError) -> str:
        """The message with files as seen from the course, so that it fits a table."""
        return str(error).replace(f"{self.course.root}{os.sep}", "")

    def _compare(self, module: Module, files: list[Path]) -> str:
        from tito.course.export import export

        try:
            results = export(self.course, [module], check=True)
        except CourseError as error:
            return self._said(error)
        return "differs" if any(result.changed for result in results if result.path in files) else ""


def _first_line(file: Path) -> str:
    with open(file, encoding="utf-8", errors="replace") as lines:
        return lines.readline()


def _sound(record: object) -> bool:
    """Whether a module's record has the shape that tito writes, so that nobody stumbles over it later."""
    if not isinstance(record, dict):
        return False
    tested, completed = record.get("tested"), record.get("completed")
    states, hints = record.get("exercises", {}), record.get("hints", {})
    return (
        (tested is None or (isinstance(tested, dict) and _KEPT <= tested.keys()))
        and (completed is None or (isinstance(completed, dict) and "notebooks" in completed))
        and (isinstance(states, dict) and all(isinstance(state, dict) for state in states.values()))
        and (isinstance(hints, dict) and all(isinstance(seen, int) for seen in hints.values()))
        and isinstance(record.get("given_up", []), list)
    )


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def next_step(standings: list[Standing]) -> str:
    """The one command to type next."""
    standing = current(standings)
    if standing is None:
        return "tito milestone list"
    number = standing.module.number
    if standing.completed and not standing.changed:
        return f"tito export {number}"
    if standing.tested is None:
        return f"tito lab {number}" if standing.states else f"tito module start {number}"
    if standing.changed:
        return f"tito test {number}"
    return f"tito module complete {number}" if standing.tested["passed"] else f"tito lab {number}"


def current(standings: list[Standing]) -> Standing | None:
    """The module to work on: the first that is not given, and not completed and in sync."""
    for standing in standings:
        done = standing.completed and not standing.changed and standing.package == "in sync"
        if standing.origin != "reference" and not done:
            return standing
    return None
