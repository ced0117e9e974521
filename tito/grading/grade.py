"""From a submission's files to its result: put into the plan, run by a worker process, added up, kept.

`grade_submission` depends on its arguments only, so it may run in a thread here or on another machine. A result is one
file for each content key, written whole or not at all: the key is cache, resume and idempotence in one.
"""

import contextlib
import hashlib
import itertools
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from tito import CourseError
from tito.course.registry import Module
from tito.course.storage import write_atomic
from tito.grading.plan import Assignment, Part, assemble, blank_submission, reference_submission
from tito.grading.result import CellResult, PartResult, SubmissionResult
from tito.grading.sandbox.isolation import FIRST_USER
from tito.grading.submissions import RejectedError, is_id, parse, read_below

GRACE = 30.0  # seconds beyond the limits after which a worker is given up
ENDING = 3.0  # seconds for a worker to end by itself


class WorkerLostError(Exception):
    """The worker did not start, ended, or hangs: a fault of the machine."""


class Worker:
    """One worker process."""

    def __init__(self, number: int):
        self.user = FIRST_USER + number
        self.process: Any = None  # a Popen, while there is one
        self.known: set[str] = set()

    def execute(self, assignment: Assignment, part: Part, steps: list[dict], seed: list[int] | None = None) -> dict:
        """The outcome of one submission of one notebook. WorkerLostError if the worker ends on the way."""
        if self.process is None or self.process.poll() is not None:
            try:
                self._start()
            except OSError as error:
                raise WorkerLostError(f"a worker cannot be started: {error.strerror or error}") from None
        setting = assignment.setting(part)
        try:
            if setting["name"] not in self.known:
                box = setting["setting"]
                box["user"] = self.user if box.pop("drop") else None
                self._say(setting)
                self.known.add(setting["name"])
            self._say(assignment.task(part, steps, seed))
            timer = threading.Timer(assignment.limits["wall"] + GRACE, self.process.kill)
            timer.start()
            try:
                line = self.process.stdout.readline()
            finally:
                timer.cancel()
            return json.loads(line)
        except RuntimeError as error:  # no thread for the timer
            self.stop()
            raise WorkerLostError(str(error)) from None
        except (OSError, ValueError):
            self.stop()
            raise WorkerLostError("a worker ended in the middle of a submission") from None

    def _start(self) -> None:
        paths = [str(Path(__file__).resolve().parents[2]), *filter(None, sys.path)]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-P", "-m", "tito.grading.sandbox.worker"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            encoding="utf-8",
            start_new_session=True,
        )
        self.known = set()

    def _say(self, message: dict) -> None:
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        """End the process: by itself, so that all that it took is known, or else by force."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
            try:
                self.process.wait(ENDING)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()
            self.process = None


def run_jobs(jobs: int, items: Iterable, work: Callable) -> Iterator[tuple]:
    """(item, work(worker, item)) for every item, as they end; an exception of `work` is the result.

    The workers are started from this thread, which outlives them: they end with the thread that started them.
    """
    items = list(items)
    waiting: queue.Queue = queue.Queue()
    done: queue.Queue = queue.Queue()
    workers = [Worker(number) for number in range(min(jobs, len(items)))]
    for item in items:
        waiting.put(item)
    stopped = threading.Event()

    def serve(worker: Worker) -> None:
        while not stopped.is_set():
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((item, work(worker, item)))
            except BaseException as error:
                done.put((item, error))

    threads = [threading.Thread(target=serve, args=(worker,), daemon=True) for worker in workers]
    try:
        for worker in workers:
            with contextlib.suppress(OSError):  # it is tried again with its first submission
                worker._start()
        for thread in threads:
            with contextlib.suppress(RuntimeError):  # then there are fewer
                thread.start()
        if items and not any(thread.ident for thread in threads):
            raise CourseError("this machine lets nobody start a thread now: end other programs, and try again")
        for _ in itertools.repeat(None, len(items)):
            yield done.get()
    except BaseException:
        for worker in workers:
            if worker.process is not None:
                worker.process.kill()  # a thread that waits for it goes on
        raise
    finally:
        stopped.set()
        for thread in threads:
            if thread.ident:
                thread.join()
        for worker in workers:
            worker.stop()


def grade_all(assignment: Assignment, waiting: list[tuple[str, dict]], jobs: int) -> Iterator[SubmissionResult]:
    """The results of all (student, files), as they come. What may have failed for want of what others took is graded
    once more, alone, after they have ended.
    """
    again = []
    for item, result in run_jobs(jobs, waiting, lambda worker, item: grade_submission(assignment, worker, *item)):
        if isinstance(result, BaseException) or "starved" in result:
            again.append(item)
        else:
            yield result
    for student, files in again:
        worker = Worker(0)
        try:
            result = grade_submission(assignment, worker, student, files, alone=True)
        except Exception as error:
            result = failed_result(assignment, student, files, f"{type(error).__name__}: {error}")
        finally:
            worker.stop()
        yield result


WORST = {"oom": "oom", "timeout": "timeout", "died": "died"}
NO_THREAD = re.compile("can't start new thread|Resource temporarily unavailable|Cannot allocate memory")


class Store:
    """The result files of one assignment."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, key: str) -> Path:
        """Where the result of a key is kept."""
        return self.folder / f"{key}.json"

    def read(self, key: str) -> SubmissionResult | None:
        """The result of a key, None if there is none or it cannot be read."""
        try:
            result = json.loads(self.path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        sound = isinstance(result, dict) and result.get("key") == key and "status" in result
        return cast(SubmissionResult, result) if sound else None

    def write(self, result: SubmissionResult) -> None:
        """Keep a result: the whole file or none. CourseError if the disk is full."""
        write_atomic(self.path(result["key"]), json.dumps(result, indent=1, sort_keys=True) + "\n")

    def all(self) -> Iterator[SubmissionResult]:
        """Every readable result, older ones too."""
        for path in sorted(self.folder.glob("*.json")):
            if result := self.read(path.stem):
                yield result


def content_key(student: str, assignment: str, files: dict[str, bytes | str]) -> str:
    """The content key: student, digest of assignment and grader, and each notebook's bytes (or why there are none)."""
    found = hashlib.sha256(f"{student}\0{assignment}\0".encode())
    for name in sorted(files):
        data = files[name]
        data = b"\0" + data if isinstance(data, bytes) else b"\1" + data.encode()
        found.update(f"{name}\0{len(data)}\0".encode() + data)
    return found.hexdigest()[:40]


def audit(path: Path, action: str, **facts) -> None:
    """Add a line to the log; every line holds the hash of the one before, so that a change shows."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.read_bytes().splitlines() if path.exists() else []
        last = hashlib.sha256(before[-1]).hexdigest() if before else ""
        entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "action": action, **facts, "before": last}
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry, sort_keys=True) + "\n")
    except OSError as error:
        raise CourseError(f"cannot write {path}: {error.strerror or error}") from None


def broken_link(path: Path) -> int | None:
    """The number of the first line of the log that does not follow from the one before, None if all do."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    last = ""
    for number, line in enumerate(lines, 1):
        try:
            if json.loads(line)["before"] != last:
                return number
        except (ValueError, KeyError, TypeError):
            return number
        last = hashlib.sha256(line).hexdigest()
    return None


LONGEST_OUTPUT = 20_000  # characters of a cell's output that a result keeps
MOST_NOTES, LONGEST_NOTE = 50, 300
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def students_in(folder: Path, assignment: str) -> list[str]:
    """The students whose submission of an assignment lies in nbgrader's `submitted` folder."""
    if not folder.is_dir():
        return []
    found = (entry.name for entry in folder.iterdir() if not entry.is_symlink() and (entry / assignment).is_dir())
    return sorted(name for name in found if is_id(name))


def read_files(folder: Path, student: str, module: Module) -> dict[str, bytes | str]:
    """Notebook -> its bytes, or the reason why it cannot be taken."""
    files: dict[str, bytes | str] = {}
    for path in module.notebooks:
        try:
            files[path.stem] = read_below(folder, student, module.folder, path.name)
        except RejectedError as reason:
            files[path.stem] = str(reason)
        except OSError as error:
            raise CourseError(f"cannot read {folder}: {error.strerror or error}") from None
    return files


def submission_key(assignment: Assignment, student: str, files: dict[str, bytes | str]) -> str:
    """The content key of a submission."""
    return content_key(student, assignment.digest, files)


def grade_submission(
    assignment: Assignment, worker: Worker, student: str, files: dict[str, bytes | str], alone: bool = False
) -> SubmissionResult:
    """The result of one submission. It is "starved" if it should be graded again, `alone`, while nothing else runs.
    What crashes the tests then too is the student's.
    """
    start, seed = time.time(), assignment.seed(student)
    parts = {
        part.name: _grade_part(assignment, worker, part, files[part.name], seed, alone) for part in assignment.parts
    }
    result = _submission_result(assignment, student, submission_key(assignment, student, files), parts, start)
    if alone:
        result.pop("starved", None)
    return result


def failed_result(assignment: Assignment, student: str, files: dict[str, bytes | str], reason: str) -> SubmissionResult:
    """The result of a submission that could not be graded, through no fault of the student."""
    result = _submission_result(assignment, student, submission_key(assignment, student, files), {}, time.time())
    result.update({"status": "infra_error", "score": None, "reason": reason})
    return result


def grade_own(assignment: Assignment, worker: Worker, which: str) -> SubmissionResult:
    """The result of the reference ("reference"), or of the untouched release ("blank"). Starved, it is tried again."""
    start, parts = time.time(), dict[str, PartResult]()
    for part in assignment.parts:
        submission = reference_submission(part) if which == "reference" else blank_submission(part)
        for alone in (False, True):
            steps, _ = assemble(part.plan, submission)
            parts[part.name] = run_steps(assignment, worker, part, steps, [], alone)
            if not parts[part.name].pop("starved", False):
                break
    return _submission_result(assignment, f"*{which}*", content_key(f"*{which}*", assignment.digest, {}), parts, start)


def _grade_part(
    assignment: Assignment, worker: Worker, part: Part, data: bytes | str, seed: list[int], alone: bool
) -> PartResult:
    try:
        if isinstance(data, str):
            raise RejectedError(data)
        submission = parse(data)
    except RejectedError as reason:
        cells = {
            step["id"]: _cell_without_points(step, "rejected")
            for step in part.plan["steps"]
            if step["kind"] == "graded"
        }
        return {
            "status": "rejected",
            "reason": f"{part.path.name}: {reason}",
            "cells": cells,
            "notes": [],
            "level": None,
        }
    steps, notes = assemble(part.plan, submission)
    return run_steps(assignment, worker, part, steps, notes, alone, seed)


def run_steps(
    assignment: Assignment,
    worker: Worker,
    part: Part,
    steps: list[dict],
    notes: list[str],
    alone: bool = False,
    seed: list[int] | None = None,
) -> PartResult:
    """The result of one notebook, from its steps with a submission in them. `seed`: of the inputs in hidden tests.

    Only a box that did not start, or a worker that was lost, is an infra_error: all that comes from the student's side,
    also what ends the tests, is the student's.
    """
    for step in steps:
        step["reference"] = part.reference.get(step["id"], 0.0)
    try:
        outcome = worker.execute(assignment, part, steps, seed)
    except WorkerLostError as error:
        outcome = {"infrastructure": str(error)}
    crashed = not (outcome["infrastructure"] or outcome["ended"] or outcome["overdue"] or outcome["escaped"])
    if outcome["infrastructure"] or crashed and not alone:
        reason = outcome["infrastructure"] or "the tests were ended from outside"
        failed: PartResult = {"status": "infra_error", "reason": reason, "cells": {}, "notes": notes, "level": None}
        return {**failed, "starved": True}
    missing = {"status": "timeout", "points": 0.0, "message": "the time for the submission was up"}
    if not outcome["overdue"]:
        words = f"what came from your code ended the tests: {outcome['escaped'] or 'they crashed'}"
        missing |= {"status": "died", "message": words}
    cells: dict[str, CellResult] = {}
    worst = set()
    starved = any(_is_starved(cell, assignment.limits) for cell in outcome["cells"].values())
    for step in steps:
        cell = outcome["cells"].get(step["id"]) or dict(missing)
        notes = [*notes, *cell.pop("notes", [])]
        if step["kind"] == "own":
            continue
        worst.add(WORST.get(cell["status"]))
        cells[step["id"]] = _cell_result(cell, step)
    status = next((name for name in ("timeout", "oom", "died") if name in worst), "graded")
    notes = [one_line(note)[:LONGEST_NOTE] for note in notes[:MOST_NOTES]]
    result: PartResult = {"status": status, "reason": _reason(cells), "cells": cells, "notes": notes, "level": None}
    result.update({"starved": starved, "level": outcome["level"], "seconds": outcome["seconds"], "cpu": outcome["cpu"]})
    return result


def _is_starved(cell: dict, limits: dict) -> bool:
    """Whether a cell may have failed only because the machine had no more memory or threads to give."""
    text = f"{cell.get('message')}\n{cell.get('output')}"
    return cell["status"] == "oom" or bool(limits.get("threads") and NO_THREAD.search(text))


def _cell_result(cell: dict, step: dict) -> CellResult:
    """What a result keeps of a cell: numbers, and text without control characters."""
    result: dict[str, Any] = {"kind": step["kind"], "status": cell["status"], "seconds": cell.get("seconds", 0.0)}
    if step["kind"] == "graded":
        result |= {"points": min(max(float(cell["points"]), 0.0), step["points"]), "max": step["points"]}
    for name in ("error", "message", "line", "output", "printed"):
        if cell.get(name):
            result[name] = visible(cell[name])[:LONGEST_OUTPUT]
    if cell.get("hidden"):
        result["hidden"] = True
    if cell.get("places"):
        result["places"] = [[visible(place)[:80], line, visible(text)[:200]] for place, line, text in cell["places"]]
    return cast(CellResult, result)


def one_line(text: object) -> str:
    """Text of others, safe on a terminal, on one line."""
    return " ".join(visible(str(text)).split())


def visible(text: str) -> str:
    """Text without what a terminal would obey: control characters and marks that turn the direction of writing."""
    return CONTROL.sub("�", text.encode("utf-8", "replace").decode())


def _cell_without_points(step: dict, status: str) -> CellResult:
    return {"kind": "graded", "status": status, "seconds": 0.0, "points": 0.0, "max": step["points"]}


def _reason(cells: dict[str, CellResult]) -> str:
    for name, cell in cells.items():
        if cell["status"] in WORST:
            return one_line(f"{name}: {cell.get('message', cell['status'])}")[:300]
    return ""


def _submission_result(
    assignment: Assignment, student: str, key: str, parts: dict[str, PartResult], start: float
) -> SubmissionResult:
    """The parts' results as one."""
    statuses = [part["status"] for part in parts.values()]
    if "infra_error" in statuses:
        status = "infra_error"
    elif "rejected" in statuses and set(statuses) != {"rejected"}:
        status = "partial"
    else:
        status = next((name for name in ("rejected", "timeout", "oom", "died") if name in statuses), "graded")
    cells = [cell for part in parts.values() for cell in part["cells"].values() if cell["kind"] == "graded"]
    score = None if status == "infra_error" else round(sum(cell["points"] for cell in cells), 4)
    reasons = [part["reason"] for part in parts.values() if part["reason"]]
    result: SubmissionResult = {
        "key": key,
        "student": student,
        "assignment": assignment.name,
        "status": status,
        "score": score,
        "seed": "".join(f"{word:08x}" for word in assignment.seed(student)),
        "max": assignment.points,
        "reason": "; ".join(reasons),
        "isolation": assignment.rung.words,
        "seconds": round(time.time() - start, 3),
        "at": round(start, 3),
        "notebooks": parts,
    }
    if any([part.pop("starved", False) for part in parts.values()]):
        result["starved"] = True
    return result
