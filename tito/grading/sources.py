"""The files of a download, wherever they lie: in folders, in zip archives, in archives inside those. Nothing is
unpacked to disk, followed or believed: sizes, ratios and counts are capped."""

import io
import os
import re
import stat
import struct
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from tito import CourseError
from tito.grading.submissions import RejectedError, read_below
from tito.grading.times import in_utc

MOST_MEMBERS = 100_000
MOST_INNER = 5_000  # members of a student's own archive
LARGEST_ARCHIVE = 2 << 30  # bytes, unpacked, of a whole download
LARGEST_INNER = 64 << 20  # bytes of a student's own archive, packed
MOST_RATIO = 200  # unpacked to packed: a notebook with figures has about 5
SMALL = 1 << 20  # bytes that may be packed as tightly as they like
DEEPEST = 3  # archives inside each other
JUNK = re.compile(r"\.(?!.*_assignsubmission_).*|__MACOSX|__pycache__|thumbs\.db|desktop\.ini|\$RECYCLE\.BIN", re.I)
ARCHIVE = re.compile(r"\.(7z|rar|tar|tgz|gz|bz2|xz)$", re.I)
NOTEBOOK = re.compile(r"\.ipynb(\.(txt|json))?$", re.I)  # some browsers add an ending of their own
ESCAPED = re.compile(r"#U([0-9a-f]{4})|#L([0-9a-f]{6})")  # what unzip makes of letters that it cannot write


@dataclass
class Entry:
    """A file of a download: where it lies, when it was made (UTC, and whether with a zone), and how it is read."""

    parts: tuple[str, ...]
    made: datetime
    zoned: bool
    load: Callable[[int], bytes]  # (most bytes) -> the bytes; RejectedError if it cannot be taken
    source: str = ""  # the argument of the command
    link: bool = False  # to a folder

    @property
    def shown(self) -> str:
        """Its place in the download, as `--as` names it."""
        return "/".join(self.parts)

    @property
    def junk(self) -> bool:
        """Whether it was made by a system or a program and not by a student."""
        return any(JUNK.fullmatch(part) for part in self.parts)

    @property
    def is_zip(self) -> bool:
        """Whether it calls itself an archive."""
        return self.parts[-1].lower().endswith(".zip")

    @property
    def is_notebook(self) -> bool:
        """Whether it calls itself a notebook."""
        return bool(NOTEBOOK.search(self.parts[-1]))

    @property
    def stem(self) -> str:
        """The file's name without its ending."""
        name = NOTEBOOK.sub("", self.parts[-1])
        return name if name != self.parts[-1] else name.rpartition(".")[0] or name

    def below(self, count: int) -> "Entry":
        """The same, seen from a folder further in."""
        return Entry(self.parts[count:], self.made, self.zoned, self.load, self.source, self.link)


@dataclass
class Budget:
    """What a download may still unpack."""

    left: int = LARGEST_ARCHIVE
    members: int = MOST_MEMBERS


def open_source(path: Path, budget: Budget) -> list[Entry]:
    """Every file below a folder, in a zip archive, or the one file itself."""
    try:
        if path.is_dir():
            return list(_folder(path, budget))
        if path.is_file() and zipfile.is_zipfile(path):
            return list(archive(path, (), budget, str(path), 0))
        if path.is_file() and NOTEBOOK.search(path.name):
            return [_file(path.parent, (path.name,), str(path))]
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise CourseError(f"{path} cannot be read as a zip archive ({error}): download it again") from None
    except OSError as error:
        raise CourseError(f"cannot read {error.filename or path}: {error.strerror or error}") from None
    if path.suffix.lower() == ".zip" and path.exists():
        raise CourseError(f"{path} cannot be read as a zip archive: perhaps it did not come whole, download it again")
    if ARCHIVE.search(path.name) and path.exists():
        raise CourseError(f"{path} is an archive of another kind than zip: unpack it, and collect the folder")
    if path.exists():
        raise CourseError(f"{path} is neither a folder nor a zip archive nor a notebook")
    raise CourseError(f"{path} is neither a folder nor a zip archive: there is no such file")


def _folder(root: Path, budget: Budget) -> Iterator[Entry]:
    for folder, folders, files in os.walk(root, followlinks=False):
        folders.sort()
        inner = Path(folder).relative_to(root).parts
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        if len(inner) >= 20:
            folders.clear()
        for file in sorted([*files, *links]):
            budget.members -= 1
            if budget.members < 0:
                raise CourseError(f"{root} holds more than {MOST_MEMBERS} files: that is no set of submissions")
            entry = _file(root, (*inner, file), str(root))
            entry.link = file in links
            yield entry


def _file(root: Path, parts: tuple[str, ...], source: str) -> Entry:
    changed = os.lstat(root.joinpath(*parts)).st_mtime
    made = datetime.fromtimestamp(max(changed, 0), UTC).replace(tzinfo=None)
    names = tuple(_on_disk(part) for part in parts)
    return Entry(names, made, True, lambda most: read_below(root, *parts, most=most), source)


def archive(file: Path | io.BytesIO, above: tuple, budget: Budget, source: str, depth: int) -> Iterator[Entry]:
    """Every file in a zip archive; CourseError if there are too many."""
    opened = zipfile.ZipFile(file)
    members = [member for member in opened.infolist() if not member.is_dir()]
    most = min(budget.members, MOST_INNER if depth else MOST_MEMBERS)
    if len(members) > most:
        words = f"holds {len(members)} files, more than {most}: that is no set of submissions"
        raise RejectedError(words) if depth else CourseError(f"{source} {words}")
    budget.members -= len(members)
    for member in members:
        name = member_name(member)
        parts = tuple(part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", "."))
        if not parts:
            continue
        made, zoned = _made(member)
        bad = "its name leads out of the archive" if ".." in parts or name.startswith("/") else ""
        load = _loader(opened, member, bad, budget)
        yield Entry((*above, *("_" if part == ".." else part for part in parts)), made, zoned, load, source)


def _loader(opened: zipfile.ZipFile, member: zipfile.ZipInfo, bad: str, budget: Budget) -> Callable[[int], bytes]:
    def load(most: int) -> bytes:
        if bad:
            raise RejectedError(bad)
        if stat.S_ISLNK(member.external_attr >> 16):
            raise RejectedError("it is a link")
        if member.file_size > most or member.file_size > max(MOST_RATIO * member.compress_size, SMALL):
            size = f"it unpacks to {member.file_size / (1 << 20):.1f} MiB"
            if member.file_size > most:
                raise RejectedError(f"{size}, more than the {most >> 20 or 1} that are taken: clear the outputs")
            raise RejectedError(f"{size} from {member.compress_size} bytes, as no notebook does")
        if member.flag_bits & 1:
            raise RejectedError("it is encrypted")
        try:
            with opened.open(member) as file:
                data = file.read(most + 1)
        except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
            raise RejectedError(f"it cannot be unpacked ({error})") from None
        except Exception as error:  # zlib's, lzma's own
            raise RejectedError(f"it cannot be unpacked ({type(error).__name__})") from None
        if len(data) > most:
            raise RejectedError("it unpacks to more than it says")
        budget.left -= len(data)
        if budget.left < 0:
            raise CourseError(f"the download unpacks to more than {LARGEST_ARCHIVE >> 30} GiB: take it in parts")
        return data

    return load


def inside(entry: Entry, budget: Budget, depth: int = 1) -> Iterator[Entry]:
    """The files of a student's own archive, archives inside it included; RejectedError if it cannot be taken."""
    if depth > DEEPEST:
        raise RejectedError(f"more than {DEEPEST} archives lie inside each other")
    data = entry.load(LARGEST_INNER)
    try:
        found = list(archive(io.BytesIO(data), entry.parts, budget, entry.source, depth))
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error) as error:
        raise RejectedError(f"it is no zip archive that can be read ({error})") from None
    for one in found:
        if one.is_zip and not one.junk:
            yield from inside(one, budget, depth + 1)
        else:
            yield one


def _made(member: zipfile.ZipInfo) -> tuple[datetime, bool]:
    """When a member was made, in UTC, and whether the archive says so with a zone; now, if it does not say."""
    for kind, data in _extra(member):
        if kind == 0x5455 and len(data) >= 5 and data[0] & 1:  # seconds since 1970, in UTC
            return datetime.fromtimestamp(struct.unpack("<I", data[1:5])[0], UTC).replace(tzinfo=None), True
    try:
        moment = datetime(*member.date_time)
        if moment.year > 1980:
            return in_utc(moment), False
    except (ValueError, OverflowError):
        pass
    return datetime.now(UTC).replace(tzinfo=None), False


def _extra(member: zipfile.ZipInfo) -> Iterator[tuple[int, bytes]]:
    data = member.extra
    while len(data) >= 4:
        kind, size = struct.unpack("<HH", data[:4])
        yield kind, data[4 : 4 + size]
        data = data[4 + size :]


def member_name(member: zipfile.ZipInfo) -> str:
    """A member's name, composed. Where the archive does not say UTF-8, it often is, and else an old DOS page."""
    name = member.filename
    if not member.flag_bits & 0x800:
        own = next((data[5:] for kind, data in _extra(member) if kind == 0x7075 and len(data) > 5), None)
        try:
            name = own.decode("utf-8") if own is not None else _decoded(name.encode("cp437"))
        except (UnicodeDecodeError, UnicodeEncodeError):
            pass
    return _composed(name)


def _decoded(name: bytes) -> str:
    """A name of which nobody says how it is written: UTF-8, Latin-1 where only its letters stand, or a DOS page."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("latin-1" if all(byte < 0x80 or byte >= 0xC0 for byte in name) else "cp437")


def _on_disk(name: str) -> str:
    """A name of the file system, whose bytes need not be UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        name = _decoded(os.fsencode(name))
    return _composed(name)


def _composed(name: str) -> str:
    try:
        name = ESCAPED.sub(lambda found: chr(int(found[1] or found[2], 16)), name)
    except (ValueError, OverflowError):
        pass
    return unicodedata.normalize("NFC", name)
