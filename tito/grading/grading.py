"""From a submission's files to its result: read, put into the skeleton, run by a worker, added up.

`grade` depends on its arguments only, so it may run in a thread here or on another machine.
"""

import re
import time
from pathlib import Path

from tito import CourseError
from tito.grading import skeleton
from tito.grading.assignment import Assignment, Part, blank, solved
from tito.grading.ingest import STUDENT, Rejected, parse, read_below
from tito.grading.pool import Worker, WorkerLost
from tito.grading.results import WORST, key_of

LONGEST_OUTPUT = 20_000  # characters of a cell's output that a result keeps
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def submissions(folder: Path, assignment: str) -> list[str]:
    """The students whose submission of an assignment lies in nbgrader's `submitted` folder."""
    if not folder.is_dir():
        return []
    found = (entry.name for entry in folder.iterdir() if not entry.is_symlink() and (entry / assignment).is_dir())
    return sorted(name for name in found if STUDENT.fullmatch(name))


def read_files(folder: Path, student: str, assignment: Assignment) -> dict[str, bytes | str]:
    """Notebook -> its bytes, or the reason why it cannot be taken."""
    files: dict[str, bytes | str] = {}
    for part in assignment.parts:
        try:
            files[part.name] = read_below(folder, student, assignment.name, part.path.name)
        except Rejected as reason:
            files[part.name] = str(reason)
        except OSError as error:
            raise CourseError(f"cannot read {folder}: {error.strerror or error}") from None
    return files


def key(assignment: Assignment, student: str, files: dict[str, bytes | str]) -> str:
    """The content key of a submission."""
    return key_of(student, assignment.digest, files)


def grade(assignment: Assignment, worker: Worker, student: str, files: dict[str, bytes | str]) -> dict:
    """The result of one submission."""
    start = time.time()
    parts = {part.name: _grade_part(assignment, worker, part, files[part.name]) for part in assignment.parts}
    return _result(assignment, student, key(assignment, student, files), parts, start)


def failed(assignment: Assignment, student: str, files: dict[str, bytes | str], reason: str) -> dict:
    """The result of a submission that could not be graded, through no fault of the student."""
    result = _result(assignment, student, key(assignment, student, files), {}, time.time())
    return {**result, "status": "infra_error", "score": None, "reason": reason}


def grade_own(assignment: Assignment, worker: Worker, which: str) -> dict:
    """The result of the reference ("reference"), or of the untouched release ("blank")."""
    start, parts = time.time(), {}
    for part in assignment.parts:
        submission = solved(part) if which == "reference" else blank(part)
        steps, _ = skeleton.merge(part.plan, submission)
        parts[part.name] = _run(assignment, worker, part, steps, [])
    return _result(assignment, f"*{which}*", key_of(f"*{which}*", assignment.digest, {}), parts, start)


def _grade_part(assignment: Assignment, worker: Worker, part: Part, data: bytes | str) -> dict:
    try:
        if isinstance(data, str):
            raise Rejected(data)
        submission = parse(data)
    except Rejected as reason:
        cells = {step["id"]: _nothing(step, "rejected") for step in part.plan["steps"] if step["kind"] == "graded"}
        return {
            "status": "rejected",
            "reason": f"{part.path.name}: {reason}",
            "cells": cells,
            "notes": [],
            "level": None,
        }
    steps, notes = skeleton.merge(part.plan, submission)
    return _run(assignment, worker, part, steps, notes)


def _run(assignment: Assignment, worker: Worker, part: Part, steps: list[dict], notes: list[str]) -> dict:
    for step in steps:
        step["reference"] = part.reference.get(step["id"], 0.0)
    try:
        outcome = worker.grade(assignment, part, steps)
    except WorkerLost as error:
        return {"status": "infra_error", "reason": str(error), "cells": {}, "notes": notes, "level": None}
    if outcome["infrastructure"] or not (outcome["ended"] or outcome["overdue"]):
        reason = outcome["infrastructure"] or "the tester ended without a verdict"
        return {"status": "infra_error", "reason": reason, "cells": {}, "notes": notes, "level": None}
    cells, worst = {}, set()
    for step in steps:
        told = outcome["cells"].get(step["id"])
        if told is None:
            told = {"status": "timeout", "points": 0.0, "message": "the time for the submission was up"}
        worst.add(WORST.get(told["status"]))
        notes = [*notes, *told.pop("notes", [])]
        cells[step["id"]] = _kept(told, step)
    status = next((name for name in ("timeout", "oom", "died") if name in worst), "graded")
    result = {"status": status, "reason": _reason(cells), "cells": cells, "notes": notes[:50]}
    return {**result, "level": outcome["level"], "seconds": outcome["seconds"], "cpu": outcome["cpu"]}


def _kept(told: dict, step: dict) -> dict:
    """What a result keeps of a cell: numbers, and text without control characters."""
    kept = {"kind": step["kind"], "status": told["status"], "seconds": told.get("seconds", 0.0)}
    if step["kind"] == "graded":
        kept |= {"points": min(max(float(told["points"]), 0.0), step["points"]), "max": step["points"]}
    for name in ("error", "message", "line", "output", "printed"):
        if told.get(name):
            kept[name] = visible(told[name])[:LONGEST_OUTPUT]
    if told.get("hidden"):
        kept["hidden"] = True
    if told.get("places"):
        kept["places"] = [[visible(cell)[:80], line, visible(text)[:200]] for cell, line, text in told["places"]]
    return kept


def visible(text: str) -> str:
    """Text without what a terminal would obey: control characters and marks that turn the direction of writing."""
    return CONTROL.sub("�", text.encode("utf-8", "replace").decode())


def _nothing(step: dict, status: str) -> dict:
    return {"kind": "graded", "status": status, "seconds": 0.0, "points": 0.0, "max": step["points"]}


def _reason(cells: dict) -> str:
    for name, cell in cells.items():
        if cell["status"] in WORST:
            return f"{name}: {cell.get('message', cell['status'])}"[:300]
    return ""


def _result(assignment: Assignment, student: str, key: str, parts: dict, start: float) -> dict:
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
    result = {"key": key, "student": student, "assignment": assignment.name, "status": status, "score": score}
    result |= {"max": assignment.points, "reason": "; ".join(reasons), "isolation": assignment.rung.words}
    result |= {"seconds": round(time.time() - start, 3), "at": round(start, 3), "notebooks": parts}
    return result
