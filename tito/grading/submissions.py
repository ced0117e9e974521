"""What was handed in: collected from folders and zips into nbgrader's `submitted`, and read without running it."""

import json
import os
import pwd
import re
import stat
import time
import zipfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tito import CourseError
from tito.course.registry import Course, Module

MOST_MEMBERS = 100_000
LARGEST_ARCHIVE = 2 << 30  # bytes, unpacked
MOST_RATIO = 200  # unpacked to packed: a notebook with figures has about 5
STAMP = "%Y-%m-%d %H:%M:%S.%f UTC"


class SourceFile(NamedTuple):
    """A submission in the source: whose, which notebook, its bytes or the reason against it, when it was made."""

    student: str
    notebook: str
    data: bytes | str
    stamp: datetime


class Collected(NamedTuple):
    """What became of one file: new, changed, same or refused, with the reason."""

    student: str
    notebook: str
    what: str
    reason: str = ""


def collect(course: Course, module: Module, source: str, settings: dict) -> list[Collected]:
    """Take the submissions of a module from a folder, a zip archive or the exchange."""
    names, path = {path.name for path in module.notebooks}, Path(source)
    try:
        if source == "exchange":
            found = _from_exchange(settings, module.folder, names)
        elif path.is_dir():
            found = _from_folder(path, module.folder, names)
        elif path.is_file() and zipfile.is_zipfile(path):
            found = _from_archive(path, module.folder, names)
        else:
            raise CourseError(f"{source} is neither a folder nor a zip archive")
    except OSError as error:
        raise CourseError(f"cannot read {error.filename or source}: {error.strerror or error}") from None
    return [_store(settings["submitted"], module.folder, item) for item in found]


def _owner(parts: tuple[str, ...], assignment: str, names: set[str]) -> tuple[str, str] | None:
    """(student, notebook) of a path within the source: STUDENT/ASSIGNMENT/NAME, STUDENT/NAME, or STUDENT.ipynb."""
    *folders, file = parts
    if file in names and folders:
        if folders[-1] == assignment:
            folders = folders[:-1]
        return (folders[-1], file) if folders else None
    if file.endswith(".ipynb") and len(names) == 1 and len(folders) <= 1:
        name = next(iter(names))
        student = file.removesuffix(".ipynb").removesuffix(f"_{name.removesuffix('.ipynb')}")
        return (student, name) if student and file not in names else None
    return None


def _from_folder(source: Path, assignment: str, names: set[str]) -> list[SourceFile]:
    found = []
    for folder, folders, files in os.walk(source, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inner = Path(folder).relative_to(source).parts
        if len(inner) >= 4:
            folders.clear()
        for file in sorted(files):
            if owner := _owner((*inner, file), assignment, names):
                try:
                    data = read_below(source, *inner, file)
                except RejectedError as reason:
                    data = str(reason)
                changed = os.lstat(os.path.join(folder, file)).st_mtime
                found.append(SourceFile(*owner, data, datetime.fromtimestamp(changed, UTC).replace(tzinfo=None)))
    return found


def _from_exchange(settings: dict, assignment: str, names: set[str]) -> list[SourceFile]:
    """Each student's last submission in nbgrader's exchange, EXCHANGE/COURSE/inbound/STUDENT+ASSIGNMENT+TIME+RANDOM.

    Everybody may put a folder there under any name, so it has to belong to the student whom it names.
    """
    inbound = settings["exchange"] / settings["course_id"] / "inbound"
    if not inbound.is_dir():
        raise CourseError(
            f"no exchange at {inbound}: set c.Exchange.root in nbgrader_config.py to a folder that everybody may write "
            f"in, then nbgrader release_assignment {assignment}"
        )
    last: dict[str, tuple] = {}
    for entry in sorted(os.scandir(inbound), key=lambda entry: entry.name):
        match = re.fullmatch(rf"(.+)\+{re.escape(assignment)}\+([^+]+)(\+[^+]*)?", entry.name)
        stamp = match and parse_stamp(match[2])
        owner = entry.stat(follow_symlinks=False).st_uid
        ours = stamp and (not settings["check_owner"] or _user(owner) == match[1])
        if stamp and (match[1] not in last or (ours, stamp) > last[match[1]][:2]):
            last[match[1]] = (ours, stamp, entry.name, owner)
    found = []
    for student, (ours, stamp, folder, owner) in last.items():
        for name in sorted(names):
            try:
                data = read_below(inbound, folder, name) if ours else f"{folder} belongs to the user {_user(owner)}"
            except RejectedError as reason:
                data = str(reason)
            found.append(SourceFile(student, name, data, stamp))
    return found


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _from_archive(source: Path, assignment: str, names: set[str]) -> list[SourceFile]:
    found, total = [], 0
    with zipfile.ZipFile(source) as archive:
        members = archive.infolist()
        if len(members) > MOST_MEMBERS:
            raise CourseError(
                f"{source} holds {len(members)} files, more than {MOST_MEMBERS}: that is no set of submissions"
            )
        for member in members:
            parts = PurePosixPath(member.filename).parts
            if member.is_dir() or ".." in parts or member.filename.startswith("/") or "__MACOSX" in parts:
                continue
            if owner := _owner(parts, assignment, names):
                data = _unpacked(archive, member)
                total += len(data)
                if total > LARGEST_ARCHIVE:
                    raise CourseError(f"{source} unpacks to more than {LARGEST_ARCHIVE >> 30} GiB: take it in parts")
                found.append(SourceFile(*owner, data, _packed(member)))
    return found


def _packed(member: zipfile.ZipInfo) -> datetime:
    """When a member was made; now, if the archive does not say."""
    try:
        made = datetime(*member.date_time)
    except ValueError:
        made = datetime.min
    return made if made.year > 1980 else datetime.now(UTC).replace(tzinfo=None)


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes | str:
    """A member's bytes, never more than a notebook may have, or the reason against it."""
    if stat.S_ISLNK(member.external_attr >> 16):
        return "it is a link"
    if member.file_size > LARGEST or member.file_size > MOST_RATIO * max(member.compress_size, 1):
        return f"it unpacks to {member.file_size} bytes"
    if member.flag_bits & 1:
        return "it is encrypted"
    try:
        with archive.open(member) as file:
            data = file.read(LARGEST + 1)
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError) as error:
        return f"it cannot be unpacked ({error})"
    return data if len(data) <= LARGEST else "it unpacks to more than it says"


def _store(submitted: Path, assignment: str, item: SourceFile) -> Collected:
    """Write one submission in its place, with the time it was made."""
    if not STUDENT.fullmatch(item.student):
        return Collected(
            item.student, item.notebook, "refused", "that is no student's id (letters, digits and . _ @ + -)"
        )
    if isinstance(item.data, str):
        return Collected(item.student, item.notebook, "refused", item.data)
    folder = submitted / item.student / assignment
    if any(path.is_symlink() for path in (submitted / item.student, folder)):
        return Collected(item.student, item.notebook, "refused", f"{folder} is reached by a link")
    target = folder / item.notebook
    try:
        folder.mkdir(parents=True, exist_ok=True)
        before = target.read_bytes() if target.is_file() and not target.is_symlink() else None
        if before == item.data:
            return Collected(item.student, item.notebook, "same")
        draft = folder / f".{item.notebook}.{time.time_ns()}.tmp"
        try:
            with open(draft, "xb") as file:
                file.write(item.data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, target)
        finally:
            draft.unlink(missing_ok=True)
        (folder / "timestamp.txt").write_text(item.stamp.strftime(STAMP), encoding="utf-8")
    except OSError as error:
        raise CourseError(f"cannot write {folder}: {error.strerror or error}") from None
    return Collected(item.student, item.notebook, "new" if before is None else "changed")


def stamp_of(submitted: Path, student: str, assignment: str) -> datetime | None:
    """When a submission was handed in, from nbgrader's timestamp.txt; None if that says nothing."""
    try:
        text = read_below(submitted, student, assignment, "timestamp.txt").decode("ascii").strip()
    except (RejectedError, UnicodeDecodeError, OSError):
        return None
    return parse_stamp(text)


def parse_stamp(text: str) -> datetime | None:
    """A time as nbgrader writes it, None for anything else."""
    for form in (STAMP, "%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S.%f %Z", "%Y-%m-%d %H:%M:%S %Z"):
        try:
            return datetime.strptime(text, form)
        except ValueError:
            continue
    return None


LARGEST = 5 << 20  # bytes of a notebook
MOST_CELLS = 1000
STUDENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


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
        raise RejectedError("there is no such file") from None
    except OSError as error:
        raise RejectedError(f"it is a link or not a file ({error.strerror})") from None
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise RejectedError("it is not a regular file")
    with os.fdopen(handle, "rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise RejectedError(f"it is larger than {LARGEST >> 20} MiB: clear the outputs and hand it in again")
    return data


def parse(data: bytes) -> Submission:
    """The cells of a notebook's bytes; RejectedError if it is none of format 4."""
    notes = []
    try:
        text = data.decode("utf-8-sig")
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
    metadata = raw.get("metadata") if isinstance(raw.get("metadata"), dict) else {}
    marks = metadata.get("nbgrader") if isinstance(metadata.get("nbgrader"), dict) else {}
    id, plain = marks.get("grade_id"), raw.get("id")
    graded = isinstance(id, str) and bool(id)
    name = id if graded else plain if isinstance(plain, str) else ""
    if not isinstance(source, str):
        return None
    return SubmittedCell(name[:64], graded, raw.get("cell_type") == "code", _compilable(source))


def _compilable(source: str) -> str:
    """Text that Python can compile and UTF-8 can write."""
    source = source.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return source.encode("utf-8", "replace").decode("utf-8")
