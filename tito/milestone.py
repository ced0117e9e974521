"""Milestones: the scripts that put the package to use. `milestones/milestones.toml` lists them.

`tito predict` asks the network that milestone 04 has trained and kept: what is on a person's own pictures?
"""

import ast
import difflib
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tito import CourseError
from tito.course.registry import Course, Module, file_of
from tito.course.scaffold import origin_of
from tito.runner import platform
from tito.runner.child import STUB
from tito.runner.process import import_all

LIST = "milestones.toml"
INTERRUPTED = 130
MILESTONE = "04"
NETWORK = "cnn"
SHOWN, BAR = 3, 30


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


@dataclass(frozen=True)
class Readiness:
    """The modules that a milestone still waits for, and the one command to type next."""

    missing: tuple[Module, ...]
    command: str

    @property
    def words(self) -> str:
        return f"waits for {numbers(self.missing)}" if self.missing else "ready"


def readiness(course: Course, milestones: list[Milestone]) -> list[Readiness]:
    """What the package lacks for each milestone: files, or functions in them. Nothing is imported."""
    needed = {number for milestone in milestones for number in milestone.requires}
    lacking = {module.number for module in course.select(sorted(needed)) if _lacking(course, module)}
    found = []
    for one in milestones:
        missing = tuple(module for module in course.select(one.requires) if module.number in lacking)
        command = _to_write(course, missing[0]) if missing else f"tito milestone run {one.id}"
        found.append(Readiness(missing, command))
    return found


def numbers(modules: Sequence[Module]) -> str:
    """`03`, `03, 05` or, where it is shorter, `03 to 09`."""
    found = [module.number for module in modules]
    run = [f"{n:02}" for n in range(int(found[0]), int(found[-1]) + 1)]
    return f"{found[0]} to {found[-1]}" if found == run and len(found) > 2 else ", ".join(found)


def next_milestone(course: Course, milestones: list[Milestone], states: list[Readiness]) -> str:
    """The command for the first milestone that can run and has not; else what the first needs, or the last again."""
    ready = [milestone for milestone, state in zip(milestones, states, strict=True) if not state.missing]
    fresh = [milestone for milestone in ready if not any((course.folder("runs") / milestone.folder).glob("*.json"))]
    if fresh or len(ready) == len(milestones):
        return f"tito milestone run {(fresh or ready[-1:])[0].id}"
    return next(state.command for state in states if state.missing)


def opened_by(course: Course, module: Module) -> list[Milestone]:
    """The milestones that need this module, can run and have not; none in a course without milestones."""
    try:
        asked = [one for one in load_milestones(course) if module.number in one.requires]
    except CourseError:
        return []
    ready = [one for one, state in zip(asked, readiness(course, asked), strict=True) if not state.missing]
    return [one for one in ready if not any((course.folder("runs") / one.folder).glob("*.json"))]


def _lacking(course: Course, module: Module) -> bool:
    """Whether a module's first notebook has no file in the package, a placeholder, or one with unwritten functions."""
    return not _exported(course, module) or bool(unwritten(_package_file(course, module)))


def _exported(course: Course, module: Module) -> bool:
    """Whether a module's first notebook has a file in the package that is no placeholder."""
    file = _package_file(course, module)
    return file.is_file() and not is_placeholder(file)


def _package_file(course: Course, module: Module) -> Path:
    return course.package / file_of(module.targets[module.notebooks[0]])


def _to_write(course: Course, module: Module) -> str:
    """The command for a module that the package lacks: to write it, or to export what is written."""
    written = not _exported(course, module) and origin_of(course, module) != "scaffold"
    return f"tito {'export' if written else 'lab'} {module.number}"


def is_placeholder(file: Path) -> bool:
    """Whether a file of the package only says, when it is imported, that its module is not written yet."""
    tree = _parsed(file)
    return tree is not None and any(isinstance(node, ast.Raise) for node in tree.body)


def check_requirements(course: Course, milestone: Milestone) -> None:
    """CourseError, naming the module, if one that the milestone needs is not exported or cannot be imported."""
    modules = course.select(milestone.requires)
    lacking = [module for module in modules if not _exported(course, module)]
    if lacking:
        module, *later = lacking
        more = f", and {numbers(later)} after it" if later else ""
        command = _to_write(course, module)
        state = "is not exported yet" if "export" in command else "is yours to write"
        raise CourseError(
            f"milestone {milestone.id} needs module {module.number} ({module.title}){more}\n"
            f"Module {module.number} {state}: {command}"
        )
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
    began = time.time()
    called = f"tito milestone run {milestone.id}"  # what the script names when it says how to resume
    environment = course.environment(TITO_COMMAND=called)
    child = platform.start_beside([sys.executable, str(script), *arguments], env=environment)
    code = _wait(child)
    if code not in (0, INTERRUPTED):
        _say_what_is_unwritten(course, milestone)
    if code != INTERRUPTED and milestone.id == MILESTONE and "--no-page" not in arguments:
        _write_live_page(course, milestone, began)
    return code


def _write_live_page(course: Course, milestone: Milestone, since: float) -> None:
    """The network that was trained since then, on a page where it runs by itself; says where it is."""
    from tito.web import page

    folder = course.folder("runs") / milestone.folder
    run = next((run for run in kept_runs(folder) if run.time >= since), None)
    if run is None:  # nothing new was kept there
        return
    told = describe(course, milestone, run)
    name = "network.html" if run.data == "digits" else f"network-{run.data}.html"
    made = page.write(told, run.path.with_name(name))
    print(f"Live: {os.path.relpath(made)} (open it in a browser: the network, while you {page.doing(told)})")


def _say_what_is_unwritten(course: Course, milestone: Milestone) -> None:
    """After a failure: the functions of the package that are stubs still, if there are any."""
    for module in course.select(milestone.requires):
        files = [course.package / file_of(target) for target in module.targets.values()]
        if names := [name for file in files for name in unwritten(file)]:
            shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
            print(f"Module {module.number} is not finished; still to write: {shown}", file=sys.stderr)
            print(f"To write it: tito lab {module.number}", file=sys.stderr)
            return


def unwritten(file: Path) -> list[str]:
    """The functions of an exported module in which a scaffold's stub stands."""
    functions = (node for node in ast.walk(_parsed(file) or ast.Module([], [])) if isinstance(node, ast.FunctionDef))
    return [function.name for function in functions if any(map(_is_stub, ast.walk(function)))]


def _parsed(file: Path) -> ast.Module | None:
    try:
        return ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):
        return None


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


# tito predict


@dataclass(frozen=True)
class Request:
    """Which network: of a data set, or of one file of weights; by default the best that there is."""

    data: str | None = None
    weights: Path | None = None


@dataclass(frozen=True)
class KeptRun:
    """A finished run of the milestone: its record as JSON, with the weights beside it."""

    path: Path
    data: str
    accuracy: float
    whole: bool
    time: float
    best_of: int = 1  # how many like it there are

    @property
    def words(self) -> str:
        """Which network it is, in a sentence."""
        trial = "" if self.whole else ", a trial run"
        several = f"; the best of {self.best_of} runs" if self.best_of > 1 else ""
        return f"Network: {self.path.stem}, {100 * self.accuracy:.1f} % of its own test pictures right{trial}{several}."


def kept_runs(folder: Path) -> list[KeptRun]:
    """The finished runs below a folder whose weights are there: whole before trial, then the newest data's best."""
    found = []
    for path in [*folder.glob("*.json"), *folder.glob("trial/*.json")]:
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            told = record["data"], record["test_accuracy"], path.parent == folder
            fit = record["network"] == NETWORK and record["finished"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # no run, or one that has been stopped
        ready = record["data"] == "digits" or record.get("scale")
        if fit and ready and path.with_suffix(".safetensors").is_file():
            found.append(KeptRun(path, *told, path.stat().st_mtime))
    latest = {run.data: run.time for run in sorted(found, key=lambda run: (run.whole, run.time))}
    return sorted(found, key=lambda run: (run.whole, latest[run.data], run.accuracy, run.time), reverse=True)


def choose_run(course: Course, asked: Request) -> KeptRun:
    """The run to ask; CourseError, with the command that makes one, if there is none."""
    milestone = find_milestone(course, MILESTONE)
    folder = course.folder("runs") / milestone.folder
    if asked.weights is not None:
        path = Path(os.path.abspath(asked.weights)).with_suffix(".json")
        folder = path.parent
        runs = [run for run in kept_runs(folder) if run.path == path]
        wanted = f"{asked.weights}, with {path.name} beside it, is no finished run"
    else:
        runs = [run for run in kept_runs(folder) if asked.data in (None, run.data)]
        wanted = f"no network{f' for {asked.data}' if asked.data else ''} has been trained yet (looked in {folder})"
    if not runs:
        option = f" --data {asked.data}" if asked.data and asked.data != "digits" else ""
        raise CourseError(
            f"{wanted}\nTo train one: tito milestone run {MILESTONE}{option}"
            + ("" if asked.data else "  (digits)\n          or: tito milestone run 04 --data cifar10  (photographs)")
        )
    like = [run for run in runs if (run.data, run.whole) == (runs[0].data, runs[0].whole)]
    return replace(runs[0], best_of=len(like))


def ask_network(course: Course, run: KeptRun, images: list[Path]) -> list[dict]:
    """For each picture {"classes": [[name, probability], ...]}, likeliest first, or {"error": text}."""
    milestone = find_milestone(course, MILESTONE)
    check_requirements(course, milestone)
    return _asked(course, milestone, run, [os.path.abspath(image) for image in images])


def describe(course: Course, milestone: Milestone, run: KeptRun) -> dict:
    """The network of a run as plain data: its layers, their weights after each epoch, pictures to begin with."""
    return _asked(course, milestone, run, ["--describe"])


def _asked(course: Course, milestone: Milestone, run: KeptRun, words: list[str]):
    """What the milestone's predict.py answers, run by itself."""
    script = milestone.path(course).with_name("predict.py")
    environment = course.environment(PYTHONIOENCODING="utf-8")
    command = [sys.executable, str(script), str(run.path), *words]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", env=environment)
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        reason = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise CourseError(f"{run.path.stem} could not be asked: {reason}") from None


def show_predictions(course: Course, images: list[Path], asked: Request, screen) -> int:
    """Ask, and show the likeliest classes of each picture with a bar; returns how many could not be read."""
    run = choose_run(course, asked)
    with screen.working("Looking"):
        answers = ask_network(course, run, images)
    screen.say(run.words)
    failed, seen = 0, False
    for image, answer in zip(images, answers, strict=True):
        screen.say()
        if "error" in answer:
            failed += 1
            screen.line(f"{image}: no picture that can be read: {answer['error']}")
            continue
        screen.line(str(image))
        if "seen" in answer:
            if not seen:
                screen.say(f"What the network sees, in {len(answer['seen'])}x{len(answer['seen'][0])} pixels:")
            seen = True
            for line in picture(answer["seen"]):
                screen.line(line)
        for line in bars(answer["classes"], min(BAR, screen.terminal.width - 24)):
            screen.line(line)
    return failed


def bars(classes: list, width: int) -> list[str]:
    """The first classes as lines: name, per cent, bar."""
    block = "█" if _can_write("█") else "#"
    room = max(len(name) for name, _ in classes[:SHOWN])
    lines = (f"  {name.ljust(room)} {100 * p:5.1f} %  {block * round(width * p)}" for name, p in classes[:SHOWN])
    return [line.rstrip() for line in lines]


def picture(pixels: list[list[float]]) -> list[str]:
    """Pixels from 0 (ground) to 1 (ink) as lines, two characters a pixel."""
    shades = " ░▒▓█" if _can_write("░▒▓█") else " .:*#"
    return [("  " + "".join(2 * shades[round(4 * ink)] for ink in row)).rstrip() for row in pixels]


def _can_write(mark: str) -> bool:
    try:
        mark.encode(sys.stdout.encoding or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True
