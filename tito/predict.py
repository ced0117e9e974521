"""What is on a person's own pictures? Asked of the network that milestone 04 has trained and kept."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tito import CourseError
from tito.course.registry import Course
from tito.milestone import check_requirements, find_milestone

MILESTONE = "04"
NETWORK = "cnn"
SHOWN, BAR = 3, 30


@dataclass(frozen=True)
class Request:
    """Which network: of a data set, or of one file of weights; by default the newest that there is."""

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

    @property
    def words(self) -> str:
        """Which network it is, in a sentence."""
        trial = "" if self.whole else ", a trial run"
        return f"Network: {self.path.stem}, {100 * self.accuracy:.1f} % of its own test pictures right{trial}."


def kept_runs(folder: Path) -> list[KeptRun]:
    """The finished runs below a folder whose weights are there, the one to take first: whole before trial, newest."""
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
    return sorted(found, key=lambda run: (run.whole, run.time), reverse=True)


def choose(course: Course, asked: Request) -> KeptRun:
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
    return runs[0]


def ask(course: Course, run: KeptRun, images: list[Path]) -> list[dict]:
    """For each picture {"classes": [[name, probability], ...]}, likeliest first, or {"error": text}."""
    milestone = find_milestone(course, MILESTONE)
    check_requirements(course, milestone)
    script = milestone.path(course).with_name("predict.py")
    environment = course.environment(PYTHONIOENCODING="utf-8")
    command = [sys.executable, str(script), str(run.path), *(os.path.abspath(image) for image in images)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", env=environment)
    try:
        return json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        reason = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        raise CourseError(f"{run.path.stem} could not be asked: {reason}") from None


def show_predictions(course: Course, images: list[Path], asked: Request, screen) -> int:
    """Ask, and show the likeliest classes of each picture with a bar; returns how many could not be read."""
    run = choose(course, asked)
    with screen.working("Looking"):
        answers = ask(course, run, images)
    screen.say(run.words)
    failed = 0
    for image, answer in zip(images, answers, strict=True):
        screen.say()
        if "error" in answer:
            failed += 1
            screen.line(f"{image}: no picture that can be read: {answer['error']}")
            continue
        screen.line(str(image))
        for line in bars(answer["classes"], min(BAR, screen.terminal.width - 24)):
            screen.line(line)
    return failed


def bars(classes: list, width: int) -> list[str]:
    """The first classes as lines: name, per cent, bar."""
    block = "█" if _can_write("█") else "#"
    room = max(len(name) for name, _ in classes[:SHOWN])
    lines = (f"  {name.ljust(room)} {100 * p:5.1f} %  {block * round(width * p)}" for name, p in classes[:SHOWN])
    return [line.rstrip() for line in lines]


def _can_write(mark: str) -> bool:
    try:
        mark.encode(sys.stdout.encoding or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True
