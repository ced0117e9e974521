"""The data that milestones learn from: fetched, unpacked, and checked for what they are.

Only the published archive's checksum is known, none of the single files. So `fetch` notes, beside the files, their
digests as they came out of an archive, and whether that was the published one; `verify` compares.
"""

import contextlib
import difflib
import hashlib
import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from tinytorch import download as cifar
from tito import CourseError
from tito.course.registry import Course
from tito.course.storage import replace, temporary, write_atomic
from tito.pickled import read_batch

NOTE = "checked.json"


@dataclass(frozen=True)
class Source:
    """A data set as its authors publish it: `files` of `records` records, each a label and `record - 1` bytes."""

    name: str
    title: str
    url: str
    md5: str
    folder: str
    files: tuple[str, ...]
    records: int
    record: int
    classes: int
    size: str

    @property
    def archive(self) -> str:
        """The archive's file name."""
        return urlsplit(self.url).path.rpartition("/")[2]


SOURCES = {
    "cifar10": Source(
        "cifar10",
        "CIFAR-10: 60,000 colour pictures of 32x32 pixels, 10 classes",
        cifar.CIFAR_URL,
        cifar.CIFAR_MD5,
        cifar.CIFAR_FOLDER,
        cifar.CIFAR_TRAIN + cifar.CIFAR_TEST,
        10_000,
        cifar.CIFAR_RECORD,
        10,
        "170 MB to load, 184 MB on the disk",
    )
}
PICKLED = "cifar-10-batches-py"  # the same pictures as Python pickles: data_batch_1, ..., test_batch


@dataclass(frozen=True)
class Verdict:
    """What was found. state: "published", "well-formed", "changed", "broken" or "absent"; text: what was checked."""

    state: str
    text: str

    @property
    def usable(self) -> bool:
        """Whether a milestone can learn from it, and nothing speaks against it."""
        return self.state in ("published", "well-formed")


def find_source(name: str) -> Source:
    """The data set called `name`."""
    key = name.strip().lower().replace("-", "")
    if key in SOURCES:
        return SOURCES[key]
    near = difflib.get_close_matches(key, SOURCES, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(SOURCES)}"
    raise CourseError(f"no data set {name!r}: {hint} (the 8x8 digits come with scikit-learn)")


def place(course: Course, source: Source) -> Path:
    """The folder that holds its files: below the course's data folder, or that folder itself."""
    data = course.folder("data")
    direct = any((data / name).is_file() for name in source.files)
    return data if direct else data / source.folder


# What lies there --------------------------------------------------------------------------------------------------


def faults(source: Source, folder: Path) -> list[str]:
    """What is wrong with the layout: files missing, of another size, or with labels beyond the classes."""
    found = []
    for path in (folder / name for name in source.files):
        expected = source.records * source.record
        if not path.is_file():
            found.append(f"{path.name} is missing")
        elif (size := path.stat().st_size) != expected:
            found.append(f"{path.name} has {size:,} bytes, not {expected:,}")
        elif (worst := max(_labels(source, path))) >= source.classes:
            found.append(f"{path.name} has the label {worst}; they go from 0 to {source.classes - 1}")
    return found


def verify(course: Course, source: Source) -> Verdict:
    """What the files are, as far as it can be told: the published ones, merely well-formed, changed, or broken."""
    folder = place(course, source)
    if not any((folder / name).is_file() for name in source.files):
        return Verdict("absent", f"not in {folder}")
    if wrong := faults(source, folder):
        return Verdict("broken", f"{folder}: {'; '.join(wrong)}")
    digests = {name: _digest(folder / name) for name in source.files}
    layout = f"{folder}: {len(digests)} files of the published sizes, labels from 0 to {source.classes - 1}"
    if noted := _noted(folder):
        return _against_note(source, layout, noted, digests)
    archive = folder.parent / source.archive
    if archive.is_file() and _digest(archive, "md5") == source.md5:
        if _digests_in(archive, source) == digests:
            return Verdict("published", f"{layout}, and every byte as in {archive.name} (md5 {source.md5}).")
        return Verdict("changed", f"{layout}, but not the bytes of {archive.name} (md5 {source.md5}) beside it.")
    return Verdict("well-formed", f"{layout}. {_balance(source, folder)} {UNKNOWN}")


UNKNOWN = (
    "Whether these are the published bytes is unknown: only the archive's checksum is published, and there is no "
    "archive here to compare with."
)


def _against_note(source: Source, layout: str, noted: dict, digests: dict) -> Verdict:
    if noted.get("files") != digests:
        changed = [name for name, digest in digests.items() if noted.get("files", {}).get(name) != digest]
        return Verdict("changed", f"{layout}, but changed since they were fetched: {', '.join(changed)}.")
    if noted.get("md5") == source.md5:
        return Verdict("published", f"{layout}, unpacked from the published archive (md5 {source.md5}), unchanged.")
    origin = noted.get("from", "elsewhere")
    if noted.get("md5"):
        told = f"{origin}, whose md5 is {noted['md5']}: not the published archive, whose md5 is {source.md5}."
    else:
        told = f"the folder {origin}. Whether these are the published bytes is unknown: no archive was there to check."
    return Verdict("well-formed", f"{layout}, unchanged since they came from {told}")


def _balance(source: Source, folder: Path) -> str:
    counts = Counter(label for name in source.files for label in _labels(source, folder / name))
    low, high = min(counts.values()), max(counts.values())
    if len(counts) == source.classes and low == high:
        return f"All {source.classes} classes have {low:,} pictures, as published."
    return f"{len(counts)} classes have {low:,} to {high:,} pictures: published are equally many of {source.classes}."


def _labels(source: Source, path: Path) -> bytes:
    return path.read_bytes()[:: source.record]


def _noted(folder: Path) -> dict | None:
    try:
        noted = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return noted if isinstance(noted, dict) and isinstance(noted.get("files"), dict) else None


def _digest(path: Path, kind: str = "sha256") -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _digests_in(archive: Path, source: Source) -> dict[str, str]:
    with temporary(dir=archive.parent, prefix=".unpacked-") as folder, _told(archive):
        _unpack(archive, source, Path(folder))
        return {name: _digest(Path(folder) / name) for name in source.files if (Path(folder) / name).is_file()}


def describe(course: Course, source: Source) -> str:
    """Whether it is there, without reading it through."""
    folder = place(course, source)
    there = [name for name in source.files if (folder / name).is_file()]
    if not there:
        return f"not here; to load it: tito data fetch {source.name}"
    if len(there) < len(source.files):
        return f"{len(there)} of {len(source.files)} files in {folder}; to mend it: tito data fetch {source.name}"
    return f"in {folder}; to check it: tito data verify {source.name}"


# Fetching ---------------------------------------------------------------------------------------------------------


def fetch(course: Course, source: Source, origin: str | None = None, say: Callable[[str], None] = print) -> Verdict:
    """Put the files into the course's data folder: all of them or none; returns what they are.

    origin: None for the published address, or another address, an archive (.tar.gz) or a folder on this computer.
    """
    folder = place(course, source)
    now = verify(course, source)
    if now.usable:
        say(f"{source.name} is there already. To fetch it anew, move this folder away: {folder}")
        return now
    folder.parent.mkdir(parents=True, exist_ok=True)
    with temporary(dir=folder.parent, prefix=f".{source.name}-") as workplace:
        fresh = Path(workplace) / source.folder
        fresh.mkdir()
        told, md5 = _bring(source, origin, folder.parent, fresh, say)
        if wrong := faults(source, fresh):
            raise CourseError(f"{told} does not hold all of {source.name}: {'; '.join(wrong)}")
        digests = {name: _digest(fresh / name) for name in source.files}
        write_atomic(fresh / NOTE, json.dumps({"from": told, "md5": md5, "files": digests}, indent=1) + "\n")
        _put(fresh, folder)
    return verify(course, source)


def _bring(source: Source, origin: str | None, data: Path, fresh: Path, say) -> tuple[str, str | None]:
    """Fill the folder `fresh`; returns where it came from, and the archive's md5 if it came from one."""
    if origin is None or urlsplit(origin).scheme in ("http", "https", "ftp"):
        url = origin or source.url
        archive = data / source.archive
        if origin is None and archive.is_file() and _digest(archive, "md5") == source.md5:
            say(f"Using {archive}, which is the published archive.")
        else:
            say(f"Fetching {url} ({source.size})")
            archive = _download(url, source, fresh.parent)
        with _told(archive):
            _unpack(archive, source, fresh)
        return url, source.md5
    path = _local(origin)
    if path.is_dir():
        _copy(path, source, fresh)
        return path.name, None
    if not path.is_file():
        raise CourseError(f"there is no archive or folder {path}")
    with _told(path):
        _unpack(path, source, fresh)
    return path.name, _digest(path, "md5")


def _download(url: str, source: Source, folder: Path) -> Path:
    """The published archive, in `folder`."""
    try:
        return cifar.download(url, source.md5, folder / source.archive)
    except ValueError as error:
        trust = "If you trust it, load it yourself, and give the file with --from FILE"
        raise CourseError(f"what {url} sent is not the published archive: {error} {trust}") from error
    except OSError as error:
        raise CourseError(f"{error}\n{_advice(source)}") from error


def _local(origin: str) -> Path:
    """The path that is meant: file:///C:/data is one too."""
    if origin.startswith("file:"):
        from urllib.request import url2pathname

        return Path(url2pathname(urlsplit(origin).path))
    return Path(origin).expanduser()


def _advice(source: Source) -> str:
    """How the data get here without a network."""
    return (
        f"Without a network: fetch {source.url} on another computer, bring it here, and type\n"
        f"    tito data fetch {source.name} --from {source.archive}\n"
        "Behind a proxy, set HTTPS_PROXY."
    )


@contextlib.contextmanager
def _told(archive: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise CourseError(f"{archive} cannot be unpacked ({error}): is it a .tar.gz archive, and whole?") from error


def _unpack(archive: Path, source: Source, fresh: Path) -> None:
    """Write the wanted files from an archive, in the binary or in the pickled form, and nothing else."""
    wanted: dict[str, tuple] = {f"{source.folder}/{name}": (name, None) for name in source.files}
    for name in source.files:
        batch = name.removesuffix(".bin")
        wanted[f"{PICKLED}/{batch}"] = name, partial(read_batch, name=batch)
    cifar.unpack(archive, fresh, wanted, 2 * source.records * source.record)


def _copy(path: Path, source: Source, fresh: Path) -> None:
    """The files from a folder, or from one inside it, in the binary or in the pickled form."""
    for folder in (path, path / source.folder, path / PICKLED):
        for name in source.files:
            if (folder / name).is_file():
                shutil.copyfile(folder / name, fresh / name)
            elif (pickled := folder / name.removesuffix(".bin")).is_file():
                with open(pickled, "rb") as file:
                    (fresh / name).write_bytes(read_batch(file, pickled.name))
        if any(fresh.iterdir()):
            return


def _put(fresh: Path, folder: Path) -> None:
    """Move the files where they belong, in place of a broken set."""
    if not folder.exists():
        replace(fresh, folder)
        return
    (folder / NOTE).unlink(missing_ok=True)
    for path in sorted(fresh.iterdir(), key=lambda path: path.name == NOTE):  # the note comes last
        replace(path, folder / path.name)
