"""The results of grading: one file for each content, and the log of what was done.

A result's key is a hash of everything that it follows from: the student, the bytes handed in, the assignment, the
environment and the grader. So a key that is there need not be graded again, and a re-run after a crash goes on.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from tito import CourseError
from tito.files import write_atomic

STATUSES = ("graded", "partial", "timeout", "oom", "died", "rejected", "infra_error")
WORST = {"oom": "oom", "timeout": "timeout", "died": "died"}


class Store:
    """The result files of one assignment."""

    def __init__(self, folder: Path):
        self.folder = folder

    def path(self, key: str) -> Path:
        """Where the result of a key is kept."""
        return self.folder / f"{key}.json"

    def read(self, key: str) -> dict | None:
        """The result of a key, None if there is none or it cannot be read."""
        try:
            result = json.loads(self.path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return result if isinstance(result, dict) and result.get("key") == key and "status" in result else None

    def write(self, result: dict) -> None:
        """Keep a result: the whole file or none. CourseError if the disk is full."""
        write_atomic(self.path(result["key"]), json.dumps(result, indent=1, sort_keys=True) + "\n")

    def all(self) -> Iterator[dict]:
        """Every readable result, older ones too."""
        for path in sorted(self.folder.glob("*.json")):
            if result := self.read(path.stem):
                yield result


def key_of(student: str, assignment: str, files: dict[str, bytes | str]) -> str:
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
