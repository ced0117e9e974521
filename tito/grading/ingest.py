"""A submission becomes text: nothing of it is executed, followed or unpacked on the way.

Only the source of its cells is taken, with the marks that tell which cell of the assignment each one is. Outputs,
attachments, kernels and other metadata are left behind.
"""

import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

LARGEST = 5 << 20  # bytes of a notebook
MOST_CELLS = 1000
STUDENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


class Rejected(Exception):
    """A submission that cannot be graded, with the reason in a sentence for the student."""


@dataclass(frozen=True)
class Cell:
    """What is kept of a submitted cell."""

    id: str  # its grade_id, else its notebook id, else ""
    graded: bool  # whether it carries a grade_id
    code: bool
    source: str


@dataclass
class Submission:
    """A submitted notebook: its cells in order, and what was mended on reading."""

    cells: list[Cell]
    notes: list[str] = field(default_factory=list)


def read_below(root: Path, *parts: str) -> bytes:
    """The bytes of root/parts, where no part may be a link, and the file is regular and of a sane size."""
    folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        handle = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        raise Rejected("there is no such file") from None
    except OSError as error:
        raise Rejected(f"it is a link or not a file ({error.strerror})") from None
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Rejected("it is not a regular file")
    with os.fdopen(handle, "rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise Rejected(f"it is larger than {LARGEST >> 20} MiB: clear the outputs and hand it in again")
    return data


def parse(data: bytes) -> Submission:
    """The cells of a notebook's bytes; Rejected if it is none of format 4."""
    notes = []
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
        notes.append("the file was not UTF-8; what could not be read was replaced")
    try:
        nb = json.loads(text)
    except (ValueError, RecursionError):
        raise Rejected("it is not a notebook: the file is not JSON") from None
    if not isinstance(nb, dict) or nb.get("nbformat") != 4 or not isinstance(nb.get("cells"), list):
        raise Rejected("it is not a notebook of format 4: open it in JupyterLab, save it, hand it in again")
    if len(nb["cells"]) > MOST_CELLS:
        raise Rejected(f"it has more than {MOST_CELLS} cells")
    return Submission([cell for cell in map(_cell, nb["cells"]) if cell], notes)


def _cell(raw: object) -> Cell | None:
    if not isinstance(raw, dict):
        return None
    source = raw.get("source", "")
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    metadata = raw.get("metadata") if isinstance(raw.get("metadata"), dict) else {}
    marks = metadata.get("nbgrader") if isinstance(metadata.get("nbgrader"), dict) else {}
    id, plain = marks.get("grade_id"), raw.get("id")
    graded = isinstance(id, str) and bool(id)
    name = id if graded else plain if isinstance(plain, str) else ""
    return Cell(name[:64], graded, raw.get("cell_type") == "code", _clean(source)) if isinstance(source, str) else None


def _clean(source: str) -> str:
    """Text that Python can compile and UTF-8 can write."""
    source = source.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return source.encode("utf-8", "replace").decode("utf-8")
