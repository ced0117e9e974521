"""Submissions from downloads into nbgrader's `submitted`: each to its student, the newest in place, all kept."""

import os
import pwd
import re
import unicodedata
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cmp_to_key
from pathlib import Path
from typing import NamedTuple

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Course, Module
from tito.course.storage import digest, put, write_atomic
from tito.grading.downloads import Owned, Seen, exchange, is_called, other, owners, strip_copy, strip_number
from tito.grading.history import History, Version, compare
from tito.grading.roster import Person, Roster, student_id
from tito.grading.sources import ARCHIVE, NOTEBOOK, Budget, Entry, inside, open_source
from tito.grading.submissions import LARGEST, LONGEST, RejectedError, is_id, parse, stamp_of
from tito.grading.times import STAMP, local, parse_stamp, written

BESIDE = ("timestamp.txt", "submission_secret.txt")  # nbgrader's, next to a submission
TAKEN = ("new", "changed", "same", "older")
ASIDE = {
    "junk": ("skipped", "made by a program (a checkpoint, a hidden file), not handed in"),
    "test": ("skipped", "of Test Student, with whom Canvas shows a teacher the student's view; --as takes it"),
    "link": ("refused", "a link to a folder, which is not followed: collect that folder"),
}


class Collected(NamedTuple):
    """What became of one file.

    `what`: new, changed, same, older (kept, not in place), refused, unknown (whose?), other (no notebook of this
    module), or skipped (made by a program). `reason`: why; of one that was taken, why it cannot be graded, if so.
    `like`: ids of those whom it might be.
    """

    student: str
    notebook: str
    what: str
    reason: str = ""
    path: str = ""
    like: tuple[str, ...] = ()


@dataclass
class Collection:
    """What a call did: what became of every file, and what an instructor should know of times and people."""

    files: list[Collected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def took(self) -> bool:
        """Whether any submission is there now."""
        return any(one.what in TAKEN for one in self.files)

    @property
    def open(self) -> list[Collected]:
        """What a person has to look at: files that nobody owns, or were refused, or are no notebook inside, and
        those of students of whom nothing came."""
        came = {one.student for one in self.files if one.what in TAKEN}
        return [
            one
            for one in self.files
            if one.what in ("unknown", "refused")
            or (one.what in TAKEN and one.what != "older" and one.reason)
            or (one.what == "other" and NOTEBOOK.search(one.notebook) and one.student not in came)
        ]


class Collector:
    """One call of `tito grade collect`."""

    def __init__(self, course: Course, module: Module, settings: dict, roster: Roster):
        self.course, self.module, self.settings, self.roster = course, module, settings, roster
        self.grading = course.folder("grading")
        self.books = {path.name: path for path in module.notebooks}
        self.cells = {(m.folder, path.name): _grade_ids(path) for m in course.modules for path in m.notebooks}
        self.budget = Budget()
        self.notes: set[str] = set()
        self.new: dict = {}
        self.unreadable: dict[str, str] = {}  # digest -> why what is called like a notebook is none
        self.replace = False

    def collect(self, sources: list[str], said: Sequence[tuple[str, str]], pattern: str | None) -> list[Collected]:
        """Take everything from folders, zip archives, notebooks, or nbgrader's exchange."""
        found: list[Owned] = []
        singles: list[Entry] = []
        for source in sources:
            if source == "exchange":
                found += self._exchange()
                continue
            entries = open_source(Path(source), self.budget)
            alone = len(entries) == 1 and entries[0].is_notebook
            if alone and not zipfile.is_zipfile(source) and Path(source).is_file():
                singles += entries
            else:
                found += self._owned(entries, pattern)
        found += self._owned(singles, pattern) if singles else []
        self._said(found, said)
        return self._take(found)

    def _owned(self, entries: list[Entry], pattern: str | None) -> list[Owned]:
        junk = [Owned(entry, why="junk") for entry in entries if entry.junk and entry.is_notebook]
        junk += [Owned(entry, why="link") for entry in entries if entry.link and not entry.junk]
        useful = [entry for entry in entries if not (entry.junk or entry.link)]
        if not useful:
            return junk
        if pattern:
            return junk + [self._by_pattern(entry, _compiled(pattern)) for entry in useful]
        return junk + owners(useful, self.course, self.module.folder, self.roster, self.budget)

    def _by_pattern(self, entry: Entry, pattern: re.Pattern) -> Owned:
        match = pattern.match(entry.shown) or pattern.match(entry.parts[-1])
        if not match:
            return Owned(entry, why="the pattern does not match it")
        groups = {name: text or "" for name, text in match.groupdict().items()}
        text = groups.get("student_id") or groups.get("student", "")
        person = self.roster.one(text)
        if person is None and (self.roster.whole or not text):
            why = f"the roster knows no {text!r}" if text else "the pattern finds no student in it"
            return Owned(entry, why=why, like=self.roster.like(text))
        person = person or self._stranger(text)
        for name, group in (("first", "first_name"), ("last", "last_name"), ("email", "email")):
            setattr(person, name, getattr(person, name) or groups.get(group, ""))
        stamp = groups.get("timestamp", "")
        seen = Seen("pattern", name=text, stamp=parse_stamp(stamp, bare=None) or written(stamp))
        return Owned(entry, (person,), seen)

    def _stranger(self, text: str) -> Person:
        id = student_id(text)
        if not is_id(id):
            raise CourseError(f"{text!r} cannot be a student's id: 1 to {LONGEST} characters")
        return self.new.setdefault(id, self.roster.people.get(id) or Person(id))

    def _said(self, found: list[Owned], said: Sequence[tuple[str, str]]) -> None:
        """The instructor's own word on whose a file is."""
        settled: set[int] = set()
        for file, text in said:
            wanted = file.replace("\\", "/").strip("/")
            wanted = wanted.removeprefix("./")
            hits = [one for one in found if one.why not in ("junk", "link") and _names(one.entry, wanted)]
            if not hits:
                raise CourseError(f"--as {file}={text}: no file of that name was found; nothing was collected")
            person = self.roster.one(text)
            if person is None:
                person = self._stranger(text)
                if self.roster.whole:
                    self.notes.add(f"{person.id} is not in the roster, and was taken because --as says so.")
            for one in hits:
                together = one.students if id(one) in settled else ()  # a file that is said twice is of both
                one.students, one.why, one.like = (*(p for p in together if p is not person), person), "", []
                settled.add(id(one))

    def _exchange(self) -> list[Owned]:
        """The submissions in nbgrader's exchange, EXCHANGE/COURSE/inbound/STUDENT+ASSIGNMENT+TIME+RANDOM.

        Everybody may put a folder there under any name, so it has to belong to the student whom it names.
        """
        inbound = self.settings["exchange"] / self.settings["course_id"] / "inbound"
        if not inbound.is_dir():
            raise CourseError(
                f"no exchange at {inbound}: set c.Exchange.root in nbgrader_config.py to a folder that everybody may "
                f"write in, then nbgrader release_assignment {self.module.folder}"
            )
        found = []
        for folder in sorted(os.scandir(inbound), key=lambda entry: entry.name):
            seen = exchange(folder.name, self.module.folder)
            if not seen or not folder.is_dir(follow_symlinks=False):
                continue
            owner = folder.stat(follow_symlinks=False).st_uid
            people = self.roster.by_key(seen.name)
            person = people[0] if len(people) == 1 else None if self.roster.whole else self._stranger(seen.name)
            for entry in open_source(Path(folder.path), self.budget):
                entry.parts = (folder.name, *entry.parts)
                if entry.junk or not (entry.is_notebook or entry.parts[-1] in BESIDE):
                    continue
                if self.settings["check_owner"] and _user(owner) != seen.name:
                    why = f"{folder.name} belongs to the user {_user(owner)}"
                    entry.load = _refuse(why)
                found.append(Owned(entry, (person,) if person else (), seen, "" if person else "not in the roster"))
        return found

    def _take(self, found: list[Owned]) -> list[Collected]:
        """Read the files of each student, and store them."""
        report: list[Collected] = []
        groups: dict = {}
        for one in found:
            if one.students:
                groups.setdefault(tuple(person.id for person in one.students), []).append(one)
            elif one.why in ASIDE:
                report.append(Collected("", one.entry.parts[-1], *ASIDE[one.why], one.entry.shown))
            else:
                what = "unknown" if one.entry.is_notebook or one.entry.is_zip else "other"
                like = tuple(person.id for person in one.like)
                report.append(Collected("", one.entry.parts[-1], what, one.why, one.entry.shown, like))
        wanted: dict[str, list[tuple[Version, bytes, str]]] = {}
        people: dict[str, Person] = {}
        for ids, all in sorted(groups.items()):
            read, rest = self._read(all)
            for student in ids:
                wanted.setdefault(student, []).extend(read)
            report += [one._replace(student=ids[0]) for one in rest]
            for one in all:
                people |= {person.id: person for person in one.students}
        for student in sorted(wanted):
            if wanted[student]:
                report += self._store(student, wanted[student])
                self.roster.people.setdefault(student, people[student])
        return report

    def _read(self, all: list[Owned]) -> tuple[list[tuple[Version, bytes, str]], list[Collected]]:
        """(version, bytes, secret) of the notebooks among a student's files, and what became of the others."""
        read, rest, files = [], [], []
        for one in all:
            try:
                own = inside(one.entry, self.budget) if one.entry.is_zip else [one.entry]
                files += [(one, entry) for entry in own]
            except RejectedError as reason:
                rest.append(Collected("", one.entry.parts[-1], "refused", str(reason), one.entry.shown))
        beside = {entry.parts: entry for _, entry in files}
        for one, entry in files:
            name, path = entry.parts[-1], entry.shown
            if name in BESIDE:
                continue
            if ARCHIVE.search(name):
                words = "an archive of another kind than zip: unpack it, and collect the folder"
                rest.append(Collected("", name, "refused", words, path))
                continue
            named = entry.is_notebook or name.lower().endswith(".json") and not entry.junk
            if not named:
                rest.append(Collected("", name, "other", other(one, name), path))
                continue
            if entry.junk:
                rest.append(Collected("", name, "skipped", "made by a program, not handed in", path))
                continue
            try:
                data = entry.load(LARGEST)
            except RejectedError as reason:
                rest.append(Collected("", name, "refused", str(reason), path))
                continue
            book, why = self._which(data, entry.stem)
            if book is None:
                rest.append(Collected("", name, "other", why if entry.is_notebook else other(one, name), path))
                continue
            read.append((self._version(one, entry, book, data, beside), data, _secret(beside, entry)))
        return read, rest

    def _which(self, data: bytes, name: str) -> tuple[str | None, str]:
        """The notebook of this module that bytes are, by their cells, else by the file's name; None and why not.

        What has the name and cannot be read is kept as it is: it was handed in, and `Collected.reason` says so.
        """
        stem = strip_copy(name)[0]
        by_name = [book for book in self.books if is_called(stem, book.removesuffix(".ipynb"))]
        try:
            ids = {cell.id for cell in parse(data).cells if cell.graded}
        except RejectedError as reason:
            if by_name:
                self.unreadable[digest(data)] = str(reason)
            return (by_name[0], "") if by_name else (None, str(reason))
        common = {key: len(ids & own) for key, own in self.cells.items()}
        folder, book = max(common, key=lambda key: (common[key], key[0] == self.module.folder))
        if not common[folder, book]:
            words = f"it has none of the graded cells of {self.module.folder}"
            return (by_name[0], "") if by_name and not ids else (None, words)
        if folder != self.module.folder:
            return None, f"it is {book} of {folder}, not a notebook of {self.module.folder}"
        return book, ""

    def _version(self, one: Owned, entry: Entry, book: str, data: bytes, beside: dict) -> Version:
        seen, stem = one.seen or Seen("said"), entry.stem
        stamp, how = seen.stamp, "system"
        if stamp is None and seen.system == "moodle" and len(one.students) == 1:
            text = one.students[0].times.get(seen.number)
            stamp = datetime.fromisoformat(text) if text else None
        if stamp is None:
            stamp, how = parse_stamp(_beside(beside, entry, BESIDE[0])), "timestamp.txt"
        if stamp is None:
            stamp, how = entry.made, "file" if entry.zoned else "zip"
            if how == "zip" and seen.system != "canvas":
                self.notes.add("zip")
        if seen.system == "canvas" and how in ("file", "zip"):
            self.notes.add("canvas")
        copy = strip_copy(stem)[1] or strip_number(stem)[1]
        version = Version(book, digest(data), stamp.isoformat(), how, entry.shown, seen.system, seen.number, seen.order)
        version.copy, version.made, version.late = copy, entry.made.isoformat(), seen.late
        version.group = [person.id for person in one.students] if len(one.students) > 1 else []
        return version

    def _store(self, student: str, found: list[tuple[Version, bytes, str]]) -> list[Collected]:
        """Keep a student's notebooks, and put the newest of each in place with its time."""
        assignment, report = self.module.folder, []
        folder = self.settings["submitted"] / student / assignment
        refused = "" if is_id(student) else "that is no student's id"
        if any(path.is_symlink() for path in (folder.parent, folder)):
            refused = f"{folder} is reached by a link"
        if refused:
            return [Collected(student, v.notebook, "refused", refused, v.path) for v, _, _ in found]
        try:
            history = History(self.grading, assignment, student)
            for book in sorted({version.notebook for version, _, _ in found}):
                report += self._place(history, student, folder, [one for one in found if one[0].notebook == book])
            history.save()
            self._stamp(history, folder, found)
        except OSError as error:
            raise CourseError(f"cannot write {folder}: {error.strerror or error}") from None
        return report

    def _place(self, history: History, student: str, folder: Path, found: list) -> list[Collected]:
        book, target = found[0][0].notebook, folder / found[0][0].notebook
        before = self._before(history, student, target)
        had = history.current.get(book) if before else None
        known = {version.digest for version in history.versions if version.notebook == book}
        kept: dict[str, tuple] = {}
        for version, data, _ in found:
            kept.setdefault(version.digest, (history.keep(version, data), data, version.path))
        order = sorted((version for version, _, _ in kept.values()), key=cmp_to_key(compare))
        newest, current = order[-1], before
        if current is None or self.replace or newest.digest == had or compare(newest, current) >= 0:
            current = newest
        history.current[book] = current.digest
        if current.digest in kept and (current.digest != had or not target.is_file() or target.is_symlink()):
            put(target, kept[current.digest][1])
        report = []
        for version in reversed(order):
            what = "same" if version.digest == had else "new" if had is None else "changed"
            reason = self.unreadable.get(version.digest, "")
            if version is not current:
                what = "same" if version.digest in known and current.digest in kept else "older"
                reason = self._older(version, current) if what == "older" else ""
            report.append(Collected(student, book, what, reason, version.path))
        return report

    def _older(self, version: Version, current: Version) -> str:
        """Why another version counts than this."""
        newer = current.path or current.notebook
        if version.system == current.system and 0 < version.order < current.order:
            return f"{newer} was handed in after it, and counts"
        if version.stamp == current.stamp:
            return f"of the same time as {newer}, which counts"
        return f"handed in {local(version.moment)}; the one of {local(current.moment)} counts"

    def _before(self, history: History, student: str, target: Path) -> Version | None:
        """The version in place; one that was put there by other means is kept first."""
        if not target.is_file() or target.is_symlink():
            return None
        data = target.read_bytes()
        found, book = digest(data), target.name
        known = next((v for v in history.versions if (v.notebook, v.digest) == (book, found)), None)
        if known is None:
            stamp, how = stamp_of(target.parents[2], student, target.parent.name), "timestamp.txt"
            if stamp is None:
                stamp, how = datetime.fromtimestamp(target.stat().st_mtime, UTC).replace(tzinfo=None), "file"
            known = history.keep(Version(book, found, stamp.isoformat(), how, made=stamp.isoformat()), data)
        history.current[book] = found
        return known

    def _stamp(self, history: History, folder: Path, found: list) -> None:
        """nbgrader's timestamp.txt: when the newest notebook that is in place was handed in; the exchange's secret."""
        current = history.in_place()
        stamp = max((version.moment for version in current), default=None)
        if stamp:
            write_atomic(folder / "timestamp.txt", stamp.strftime(STAMP))
        places = {version.digest for version in current}
        for version, _, secret in found:
            if secret and version.digest in places:
                write_atomic(folder / "submission_secret.txt", secret)


def _grade_ids(path: Path) -> frozenset[str]:
    cells = notebook.read(path)["cells"]
    return frozenset(id for cell in cells if (id := cell["metadata"].get("nbgrader", {}).get("grade_id")))


def _beside(beside: dict, entry: Entry, name: str) -> str:
    """What a small file beside a submission says; nothing if there is none that can be read."""
    found = beside.get((*entry.parts[:-1], name))
    try:
        return found.load(1000).decode("ascii").strip() if found else ""
    except (RejectedError, UnicodeDecodeError):
        return ""


def _secret(beside: dict, entry: Entry) -> str:
    """nbgrader's secret beside a submission, by which its student finds the feedback."""
    text = _beside(beside, entry, BESIDE[1])
    return text if re.fullmatch(r"[0-9a-zA-Z]{16,400}", text) else ""


def _names(entry: Entry, wanted: str) -> bool:
    """Whether a person's words name a file: its path, the end of its path, or a folder above it."""
    path = f"/{entry.source.replace(chr(92), '/').strip('/')}/{entry.shown}/"
    wanted, path = (unicodedata.normalize("NFC", text) for text in (f"/{wanted}/", path))
    return wanted in path


def _compiled(pattern: str) -> re.Pattern:
    try:
        found = re.compile(pattern)
    except re.error as error:
        raise CourseError(f"--pattern {pattern!r} is no regular expression: {error}") from None
    if not {"student_id", "student"} & found.groupindex.keys():
        raise CourseError(f"--pattern {pattern!r} has no group (?P<student_id>...): it says whose a file is")
    return found


def _refuse(why: str) -> Callable:
    def load(most: int) -> bytes:
        raise RejectedError(why)

    return load


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def collect(
    course: Course,
    module: Module,
    sources: list[str],
    settings: dict,
    roster: Roster,
    said: Sequence[tuple[str, str]] = (),
    pattern: str | None = None,
    replace: bool = False,
) -> Collection:
    """Take the submissions of a module from downloads, folders, notebooks, or the exchange; the roster may grow."""
    work = Collector(course, module, settings, roster)
    work.replace = replace
    files = work.collect(sources, said, pattern)
    words = {
        "canvas": "Canvas's download holds no times, only the mark LATE: it alone decides here whether one is late.",
        "zip": f"Some times are those of files in a zip, which has no zone: read as local ({_zone()}).",
    }
    return Collection(files, [words.get(note, note) for note in sorted(work.notes)])


def _zone() -> str:
    here = datetime.now().astimezone()
    return f"{here.tzname()}, UTC{here:%z}"
