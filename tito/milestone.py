"""Milestones: the scripts that put the package to use. `milestones/milestones.toml` lists them."""

import ast
import difflib
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tito import CourseError
from tito.course.registry import Course
from tito.runner import platform
from tito.runner.child import STUB
from tito.runner.process import import_all

LIST = "milestones.toml"
INTERRUPTED = 130


@dataclass(frozen=True)
class Milestone:
    """One entry of the list."""

    id: str
    folder: str
    script: str
    title: str
    year: int
    summary: str
    requires: tuple[str, ...]
    minutes: float

    @property
    def time(self) -> str:
        """How long it takes, in words."""
        return f"{self.minutes:g} min" if self.minutes >= 1 else f"{60 * self.minutes:.0f} s"

    def path(self, course: Course) -> Path:
        """The script."""
        return course.folder("milestones") / self.folder / self.script


def load_milestones(course: Course) -> list[Milestone]:
    """The course's milestones in order."""
    path = course.folder("milestones") / LIST
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig")).get("milestone", [])
        found = [Milestone(**{**table, "requires": tuple(table["requires"])}) for table in tables]
    except FileNotFoundError:
        raise CourseError(f"no {path}: this course has no milestones") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CourseError(f"{path} cannot be read as a list of milestones: {error}") from None
    return sorted(found, key=lambda milestone: milestone.id)


def find_milestone(course: Course, key: str) -> Milestone:
    """The milestone called `key`: `4`, `04` or `04_1998_cnn`."""
    milestones = load_milestones(course)
    names = {name: milestone for milestone in milestones for name in (milestone.id, milestone.folder)}
    wanted = key.strip().rstrip("/").lower()
    wanted = wanted.zfill(2) if wanted.isdigit() else wanted
    if wanted in names:
        return names[wanted]
    near = difflib.get_close_matches(wanted, names, n=2, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(m.id for m in milestones)}"
    raise CourseError(f"no milestone {key!r}: {hint}")


def check_requirements(course: Course, milestone: Milestone) -> None:
    """CourseError, naming the module, if one that the milestone needs cannot be imported."""
    modules = course.select(milestone.requires)
    names = {f"{course.lib_name}.{target}": module for module in modules for target in module.targets.values()}
    for name, outcome in import_all(course.package.parent, list(names)).items():
        if outcome["state"] != "passed":
            module = names[name]
            reason = f"{outcome['type']}: {outcome['message']}".strip(": ")
            raise CourseError(
                f"milestone {milestone.id} needs module {module.number} ({module.title}), and {name} cannot be "
                f"imported: {reason}\nFinish that module, then type: tito export {module.number}"
            )


def run_milestone(course: Course, milestone: Milestone, arguments: list[str]) -> int:
    """Run the script with the course's package first on its path; returns its exit code, 130 after Ctrl-C."""
    script = milestone.path(course)
    if not script.is_file():
        raise CourseError(f"no script at {script}: restore it")
    check_requirements(course, milestone)
    called = f"tito milestone run {milestone.id}"  # what the script names when it says how to resume
    environment = course.environment(TITO_COMMAND=called)
    child = platform.start_beside([sys.executable, str(script), *arguments], env=environment)
    code = _wait(child)
    if code not in (0, INTERRUPTED):
        _say_what_is_unwritten(course, milestone)
    return code


def _say_what_is_unwritten(course: Course, milestone: Milestone) -> None:
    """After a failure: the functions of the package that are stubs still, if there are any."""
    for module in course.select(milestone.requires):
        files = [course.package / (target.replace(".", "/") + ".py") for target in module.targets.values()]
        if names := [name for file in files for name in unwritten(file)]:
            shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
            print(f"Module {module.number} is not finished; still to write: {shown}", file=sys.stderr)
            print(f"Then type: tito test {module.number}", file=sys.stderr)
            return


def unwritten(file: Path) -> list[str]:
    """The functions of an exported module in which a scaffold's stub stands."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return []
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return [function.name for function in functions if any(map(_is_stub, ast.walk(function)))]


def _is_stub(node: ast.AST) -> bool:
    return isinstance(node, ast.Raise) and ast.unparse(node) == STUB


def _wait(child: subprocess.Popen) -> int:
    """Wait for the script, passing signals on to it; a second Ctrl-C counts only after a second."""
    passed_on: list[tuple[int, float]] = []

    def pass_on(number: int, frame) -> None:
        now = time.monotonic()
        if not passed_on or now - passed_on[-1][1] > 1:
            passed_on.append((number, now))
            platform.pass_on(child, number)

    before = {number: signal.signal(number, pass_on) for number in platform.ENDING}
    try:
        code = platform.wait(child)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if any(number == signal.SIGINT for number, _ in passed_on):
        return INTERRUPTED
    return code if code >= 0 else 128 - code
