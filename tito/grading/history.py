"""Every submission that was ever collected, and which of them counts.

`grading/history/ASSIGNMENT/STUDENT/` holds the notebooks by digest, and `index.json`: where each came from, when it was
handed in and how that is known, and which of them stands in nbgrader's `submitted`.
"""

import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from tito import CourseError
from tito.course.storage import put, restored, write_atomic
from tito.grading.submissions import RejectedError, read_below, stamp_of
from tito.grading.times import STAMP

RANK = {"file": 0, "zip": 0, "timestamp.txt": 1, "system": 2}  # how well a time is known


@dataclass
class Version:
    """One notebook as it was handed in once. `stamp` is in UTC, `time` says how it is known (a key of `RANK`)."""

    notebook: str
    digest: str
    stamp: str
    time: str
    path: str = ""
    system: str = ""
    number: str = ""
    order: int = 0
    copy: int = 0
    made: str = ""
    late: bool | None = None
    group: list[str] = field(default_factory=list)

    @property
    def moment(self) -> datetime:
        """When it was handed in, in UTC."""
        return datetime.fromisoformat(self.stamp)


def compare(a: Version, b: Version) -> int:
    """Below 0 if `a` is older than `b`: by the system's own order, by time, by the number of the copy."""
    keys: list[tuple] = [(a.order, b.order)] if a.system == b.system and a.order and b.order else []
    keys += [(a.stamp, b.stamp), (a.made, b.made), (a.copy, b.copy)]
    return next(((1 if x > y else -1) for x, y in keys if x != y), 0)


class History:
    """The submissions of one student for one assignment."""

    def __init__(self, grading: Path, assignment: str, student: str):
        self.folder = grading / "history" / assignment / student
        self.index = self.folder / "index.json"
        try:
            data = json.loads(self.index.read_text(encoding="utf-8")) if self.index.exists() else {}
            self.versions = [restored(Version, one) for one in data.get("versions", [])]
            self.current: dict[str, str] = dict(data.get("current", {}))
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise CourseError(f"{self.index} cannot be read ({error}): remove it and collect again") from None

    def keep(self, version: Version, data: bytes) -> Version:
        """Keep a notebook; the version as it is known now."""
        target = self.folder / f"{version.digest}.ipynb"
        if not target.exists():
            put(target, data, sync=False)
        known = next((v for v in self.versions if (v.notebook, v.digest) == (version.notebook, version.digest)), None)
        if known is None:
            self.versions.append(version)
            return version
        better, same = RANK[version.time] - RANK[known.time], RANK[version.time]
        # the same bytes again: a better known time counts, then the last that was said, then the file's first
        if better > 0 or better == 0 and (version.stamp > known.stamp if same else version.stamp < known.stamp):
            known.stamp, known.time, known.made = version.stamp, version.time, version.made
        for name in ("path", "system", "number", "order", "late", "group"):
            setattr(known, name, getattr(version, name) or getattr(known, name))
        return known

    def save(self) -> None:
        """Write the index."""
        data = {"versions": [asdict(version) for version in self.versions], "current": self.current}
        write_atomic(self.index, json.dumps(data, indent=1, ensure_ascii=False, sort_keys=True) + "\n")

    def in_place(self) -> list[Version]:
        """The versions that stand in `submitted`."""
        return [v for v in self.versions if self.current.get(v.notebook) == v.digest]


def marks_only(versions: list[Version]) -> list[bool]:
    """Canvas's marks LATE, where they are all that is known of a submission's time; otherwise nothing."""
    marks = [v.late for v in versions if v.system == "canvas" and not RANK[v.time] and v.late is not None]
    return marks if len(marks) == len(versions) else []


def on_time(grading: Path, assignment: str, student: str, stamp: datetime, due: datetime | None) -> datetime:
    """A submission's time as lateness counts it. Canvas gives no times, only the mark LATE: it decides."""
    marks = marks_only(History(grading, assignment, student).in_place())
    if due is None or not marks:
        return stamp
    return max(stamp, due + timedelta(seconds=1)) if any(marks) else min(stamp, due)


def for_exchange(settings: dict, assignment: str, students: Iterable[str]) -> None:
    """Beside each feedback what nbgrader's release_feedback reads there: the time, and the secret of the submission.

    One that did not come through the exchange gets a secret that nobody knows: its student has other ways.
    """
    for student in students:
        folder = settings["feedback"] / student / assignment
        if not folder.is_dir():
            continue
        stamp = stamp_of(settings["submitted"], student, assignment)
        if stamp:
            write_atomic(folder / "timestamp.txt", stamp.strftime(STAMP))
        try:
            secret = read_below(settings["submitted"], student, assignment, "submission_secret.txt", most=1000).decode()
        except (RejectedError, UnicodeDecodeError, OSError):
            if (folder / "submission_secret.txt").exists():
                continue
            secret = secrets.token_hex(64)
        write_atomic(folder / "submission_secret.txt", secret)
