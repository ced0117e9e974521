"""What was handed in, as it lies in nbgrader's `submitted`: read without running it."""

import json
import os
import re
import stat
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tito.grading.times import parse_stamp

LARGEST = 5 << 20  # bytes of a notebook
MOST_CELLS = 1000
LONGEST = 128  # characters of a student's id: nbgrader's column holds no more
_STUDENT = re.compile(r"(?:[^\W_]|~[0-9A-F]{2})[\w.@+~-]*")


def is_id(text: str) -> bool:
    """Whether text is a student's id and may name a folder: letters and marks of any script; see roster.student_id."""
    bare = "".join(ch for ch in text if unicodedata.category(ch)[0] != "M")
    return len(text) <= LONGEST and len(text.encode("utf-8", "replace")) <= 240 and bool(_STUDENT.fullmatch(bare))


def stamp_of(submitted: Path, student: str, assignment: str) -> datetime | None:
    """When a submission was handed in, from nbgrader's timestamp.txt; None if that says nothing."""
    try:
        text = read_below(submitted, student, assignment, "timestamp.txt").decode("ascii").strip()
    except (RejectedError, UnicodeDecodeError, OSError):
        return None
    return parse_stamp(text)


class RejectedError(Exception):
    """A submission that cannot be graded, with the reason in a sentence for the student."""


@dataclass(frozen=True)
class SubmittedCell:
    """What is kept of a submitted cell."""

    id: str  # its grade_id, else its notebook id, else ""
    graded: bool  # whether it carries a grade_id
    code: bool
    source: str


@dataclass
class Submission:
    """A submitted notebook: its cells in order, and what was mended on reading."""

    cells: list[SubmittedCell]
    notes: list[str] = field(default_factory=list)


def read_below(root: Path, *parts: str, most: int = LARGEST) -> bytes:
    """The bytes of root/parts, where no part may be a link, and the file is regular and of a sane size."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        handle = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        raise RejectedError("there is no such file") from None
    except OSError as error:
        raise RejectedError(f"it is a link or not a file ({error.strerror})") from None
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise RejectedError("it is not a regular file")
    with os.fdopen(handle, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise RejectedError(f"it is larger than {most >> 20} MiB: clear the outputs and hand it in again")
    return data


def parse(data: bytes) -> Submission:
    """The cells of a notebook's bytes; RejectedError if it is none of format 4."""
    notes = []
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
        notes.append("the file was not UTF-8; what could not be read was replaced")
    try:
        nb = json.loads(text)
    except (ValueError, RecursionError):
        raise RejectedError("it is not a notebook: the file is not JSON") from None
    if not isinstance(nb, dict) or nb.get("nbformat") != 4 or not isinstance(nb.get("cells"), list):
        raise RejectedError("it is not a notebook of format 4: open it in JupyterLab, save it, hand it in again")
    if len(nb["cells"]) > MOST_CELLS:
        raise RejectedError(f"it has more than {MOST_CELLS} cells")
    return Submission([cell for cell in map(_cell, nb["cells"]) if cell], notes)


def _cell(raw: object) -> SubmittedCell | None:
    if not isinstance(raw, dict):
        return None
    source = raw.get("source", "")
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    metadata = raw.get("metadata")
    marks = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    id, plain = marks.get("grade_id") if isinstance(marks, dict) else None, raw.get("id")
    graded = isinstance(id, str) and bool(id)
    name = str(id) if graded else plain if isinstance(plain, str) else ""
    if not isinstance(source, str):
        return None
    return SubmittedCell(name[:64], graded, raw.get("cell_type") == "code", _compilable(source))


def _compilable(source: str) -> str:
    """Text that Python can compile and UTF-8 can write."""
    source = source.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return source.encode("utf-8", "replace").decode("utf-8")
