"""What grading finds out, as the files of the results hold it."""

from typing import Any, Required, TypedDict


class CellResult(TypedDict, total=False):
    """Of a cell: what happened; `points` of `max` where it is graded; and what its error or its output says."""

    kind: Required[str]
    status: Required[str]
    seconds: Required[float]
    points: float
    max: float
    error: str
    message: str
    line: str
    output: str
    printed: str
    hidden: bool  # it failed in a hidden test
    places: list[list[Any]]  # (name, line, text) of the student's code on the way to the error


class PartResult(TypedDict, total=False):
    """Of a notebook."""

    status: Required[str]
    reason: Required[str]
    cells: Required[dict[str, CellResult]]
    notes: Required[list[str]]
    level: Required[Any]  # of the isolation; None if nothing ran
    seconds: float
    cpu: float
    starved: bool  # to be graded again, while nothing else runs


class SubmissionResult(TypedDict, total=False):
    """Of a submission; `key` is the hash of all that went into it."""

    key: Required[str]
    student: Required[str]
    assignment: Required[str]
    status: Required[str]
    score: Required[float | None]  # None: it could not be graded
    seed: Required[str]  # of the inputs in hidden tests
    max: Required[float]
    reason: Required[str]
    isolation: Required[str]
    seconds: Required[float]
    at: Required[float]
    notebooks: Required[dict[str, PartResult]]
    starved: bool
    stale: bool  # it failed, and the submission is another one than that of the score in the gradebook


class StatusRow(TypedDict):
    """Of a student, in `tito grade status`."""

    student: str
    status: str
    score: float | None
    max: float | None
    bonus: float
    bonus_max: float
    isolation: str | None
    reason: str
    manual: int
    late_hours: float
    penalty: float
    changed: bool  # the submission is another one than that which was graded


class PresenceRow(TypedDict):
    """Of a student, in `tito grade roster`: when and how often was handed in, and how that is known."""

    student: str
    name: str
    email: str
    handed_in: str | None
    time_from: str | None
    versions: int
    late_mark: bool | None
    until: str | None
    listed: bool
