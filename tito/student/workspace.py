"""A student's own copy of the course: made by `tito init`, brought up to date by `tito init DIR --update`.

A new copy appears whole or not at all. Nothing that a student wrote is ever overwritten without a copy of it.
"""

import contextlib
import dataclasses
import glob
import io
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tito import CourseError
from tito.course import notebook
from tito.course.registry import SETTINGS, Course
from tito.course.scaffold import PRISTINE
from tito.course.storage import digest, put, put_all, replace, temporary, write_atomic
from tito.runner.platform import quoted
from tito.student import template
from tito.student.merge import Merged, merge
from tito.student.template import (
    RECORD,
    REFERENCE_MARK,
    STUB_MARK,
    Handout,
    handout_files,
    read_record,
    workspace_settings,
)

UNFINISHED = "unfinished"  # in the course's state folder while many of its files change: a killed change is done again
_STALE = 60  # seconds after which a copy that nobody builds any more is cleared away


def choose_modules(source: Course, start: str | None, chosen: Iterable[str], with_reference: bool) -> Handout:
    """What `tito init` was asked for: all modules from `start` on, or the chosen ones, or all, are left to write."""
    chosen = list(chosen)
    if start and chosen:
        raise CourseError("say --from or --modules, not both")
    first = source.module(start).number if start else ""
    found = source.select(chosen) if chosen else [module for module in source.modules if module.number >= first]
    return Handout(source, tuple(module.number for module in found), with_reference)


def init(target: Path, plan: Handout, archive: Path | None = None) -> None:
    """Make a student's copy at `target`, a new or empty folder; pack it into the zip file `archive` if one is named."""
    _check_free(target)
    if archive and archive.exists():
        raise CourseError(f"{archive} exists already: name another file, or delete it")
    made = _with_index(handout_files(plan))
    if target.exists():
        with _locked(target):
            _check_empty(target)  # another tito may have been quicker
            _put_all(target, {name: made[name] for name in sorted(made, key=SETTINGS.__eq__)})  # it makes it a course
            _mark(target).unlink()
    else:
        _appear(target, made)
    if archive:
        _pack(archive, target.name, made)


def _check_free(target: Path) -> None:
    """Refuse a place where something is already."""
    _check_empty(target)
    if not target.parent.is_dir():
        raise CourseError(f"there is no folder {target.parent}: make it first, or name another place")


def _check_empty(target: Path) -> None:
    """Refuse to make a course over what is there."""
    if workspace_settings(target) is not None:
        command = f"tito init {quoted(str(target))} --update"
        raise CourseError(f"{target} is a course already, and nothing was changed. Newer course text: {command}")
    if (target / SETTINGS).is_file():
        beside = quoted(str(target.parent / "mycourse"))
        raise CourseError(
            f"{target} is the course as its authors have it, and nothing was changed: name a new folder for a copy of "
            f"your own, such as tito init {beside}"
        )
    if (target / ".tito" / UNFINISHED).exists():
        return  # what is there is from a `tito init` that was killed
    if target.exists() and (not target.is_dir() or any(path.name != ".tito" for path in target.iterdir())):
        raise CourseError(f"{target} is not empty: name a new folder")


def _with_index(made: dict[str, bytes]) -> dict[str, bytes]:
    """The files, and with them nbdev's index of the package, which is computed from the others."""
    with temporary(prefix="tito-init-") as folder:
        for name, content in made.items():
            file = Path(folder) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        path, index = _index(Course.load(folder))
    return {**made, path: index}


def _index(course: Course) -> tuple[str, bytes]:
    from tito.course.export import INDEX, export_to

    with temporary(prefix="tito-init-") as copy:
        export_to(course, [], Path(copy))
        content = (Path(copy) / course.package.name / INDEX).read_bytes()
    return (course.package.relative_to(course.root) / INDEX).as_posix(), content


def _appear(target: Path, made: dict[str, bytes]) -> None:
    """Build the copy in a hidden folder beside its place, and rename it."""
    from filelock import FileLock

    _clear_stale(target)
    try:
        staged = Path(tempfile.mkdtemp(prefix=f".{target.name}.tito-", dir=target.parent))
        try:
            (staged / ".tito").mkdir()
            with FileLock(staged / ".tito" / "course.lock"):
                for name, content in made.items():
                    put(staged / name, content)
                staged.chmod((staged / ".tito").stat().st_mode & 0o777)
            replace(staged, target)  # when no file in it is open any more
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
    except OSError as error:
        if (target / SETTINGS).is_file():
            raise CourseError(f"another tito has just made {target}") from error
        raise CourseError(f"cannot make {target}: {error.strerror or error}; nothing was made") from error


def _clear_stale(target: Path) -> None:
    """Delete what a `tito init` of this folder left behind when it was killed."""
    from filelock import FileLock, Timeout

    for folder in target.parent.glob(f".{glob.escape(target.name)}.tito-*"):
        with contextlib.suppress(OSError, Timeout):
            if time.time() - folder.stat().st_mtime > _STALE:
                with FileLock(folder / ".tito" / "course.lock", timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
                shutil.rmtree(folder, ignore_errors=True)  # the lock too, now that it is not held


def _pack(archive: Path, folder: str, made: dict[str, bytes]) -> None:
    """A zip of the copy; its bytes depend on the course alone."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in sorted(made):
            entry = zipfile.ZipInfo(f"{folder}/{name}")
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            entry.create_system = 3  # otherwise Windows' archives would differ
            packed.writestr(entry, made[name])
    try:
        put(archive, content.getvalue())
    except OSError as error:
        raise CourseError(f"cannot write {archive}: {error.strerror or error}; the folder was made") from error


# Newer course text


@dataclass
class _Comparison:
    """What an update would do: `changes` and the content they were made from, copies to keep, and sentences."""

    changes: dict[str, bytes | None] = field(default_factory=dict)
    seen: dict[str, bytes | None] = field(default_factory=dict)
    copies: dict[str, bytes] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def change(self, name: str, old: bytes | None, new: bytes | None, said: str = "") -> None:
        self.changes[name], self.seen[name] = new, old
        if said:
            self.said.append(f"{name}: {said}")


def recover(root: Path) -> None:
    """Do an update of the course at `root` again that was killed."""
    update(root, template.source())


def update(root: Path, source: Course) -> list[str]:
    """Bring newer course text into the copy at `root`; returns sentences that say what changed.

    Killed at any point, each file is the old or the new one, and the record, which says what the files were made from,
    is still the old one: the next update does what was left.
    """
    if workspace_settings(root) is None:
        raise CourseError(
            f"{root} was not made by tito init, and only such a folder can be updated: go there, or name it"
        )
    with _locked(root):
        made = handout_files(_plan_of(root, source))
        found = _compare(root, source, made)
        if found.changes:
            found.said += _keep(root, source, found)
            found.said += _apply(root, found)
        _refresh_index(root)
        _mark(root).unlink(missing_ok=True)
    return found.said


def _locked(root: Path) -> contextlib.ExitStack:
    """Nobody else exports, resets, restores or updates the course at `root`."""
    from tito.course import export
    from tito.student import backup

    with contextlib.ExitStack() as stack:
        for place in (backup, export):
            stack.enter_context(place.locked(Course(root, {}, ())))
        return stack.pop_all()


def _mark(root: Path) -> Path:
    return root / ".tito" / UNFINISHED


def _put_all(root: Path, changes: dict[str, bytes | None], seen: dict[str, bytes | None] | None = None) -> list[str]:
    """`put_all` of names below `root`. A mark stays until the caller takes it away: what is killed is done again."""
    _mark(root).touch()
    try:
        before = None if seen is None else {root / name: content for name, content in seen.items()}
        kept = put_all({root / name: content for name, content in changes.items()}, before)
    except OSError as error:
        _mark(root).unlink()
        reason = f"{error.strerror or error}: {error.filename or root}"
        raise CourseError(f"cannot write in {root}: {reason}; nothing was changed") from error
    return [path.relative_to(root).as_posix() for path in kept]


def _apply(root: Path, found: _Comparison) -> list[str]:
    """Make the changes, what the plan of the next update depends on first, and the record last."""
    order = sorted(found.changes, key=lambda name: (name == RECORD, not name.startswith(".tito/"), name))
    kept = _put_all(root, {name: found.changes[name] for name in order}, found.seen)
    if kept and (record := found.seen.get(RECORD)):
        put(root / RECORD, record)  # by which the next update knows what a file that stays was made from
    return [f"{name}: you saved it meanwhile, so it stays as it is: update again" for name in kept]


def _plan_of(root: Path, source: Course) -> Handout:
    """The plan that the copy was made by; a module newer than the copy is the student's if it follows their last."""
    settings = workspace_settings(root) or {}
    scaffolds = {path.name.partition("_")[0] for path in (root / ".tito" / PRISTINE).glob("*_*")}
    yours = {*settings.get("yours", "").split(), *scaffolds}
    known = {path.name.partition("_")[0] for path in (root / source.settings["nbs_path"]).glob("*_*")}
    new = [m.number for m in source.modules if m.number not in known and m.number > max(yours, default="")]
    numbers = [module.number for module in source.modules if module.number in {*yours, *new}]
    if not numbers:
        raise CourseError(f"{root / SETTINGS} names no module that is yours to write: mend its section [workspace]")
    return Handout(source, tuple(numbers), settings.get("reference") == "yes")


def _compare(root: Path, source: Course, made: dict[str, bytes]) -> _Comparison:
    record, found = read_record(root), _Comparison()
    handed_out = record["files"]
    for name, new in made.items():
        old = _bytes(root / name)
        if old == new:
            continue
        if old is None:
            found.change(name, None, new, "" if name.startswith(".tito/") else "added")
        elif name.startswith(".tito/"):
            found.change(name, old, new)
        elif name.endswith(".ipynb"):
            _compare_notebook(found, root, name, new, record["cells"].get(name, {}))
        else:
            _compare_file(found, name, old, new, handed_out.get(name), _is_course_code(source, name))
    for name in sorted(handed_out.keys() - made.keys()):
        old = _bytes(root / name)
        if old is not None and digest(old) == handed_out[name]:
            found.change(name, old, None, "" if name.startswith(".tito/") else "removed, as the course has it no more")
    return found


def _compare_file(found: _Comparison, name: str, old: bytes, new: bytes, was: str | None, code: bool) -> None:
    """A file that is no notebook: the course's where the student left it alone, or where verdicts depend on it."""
    placeholder = (STUB_MARK.encode(), REFERENCE_MARK.encode())
    if digest(old) == was or old.startswith(placeholder):
        found.change(name, old, new, "new text")
    elif new.startswith(placeholder) or digest(new) == was:
        return  # an export of the student's, or an edit to which the course has nothing new
    elif code:
        found.copies[name] = old
        found.change(name, old, new, "new text; you had changed it, and a copy of yours is kept")
    else:
        found.said.append(f"{name}: stays as you changed it; the course has new text (delete yours and update again)")


def _is_course_code(source: Course, name: str) -> bool:
    """Registry and tests: commands and verdicts depend on them."""
    return name.endswith(".toml") and "/" in name or name.startswith(f"{source.settings['tests_path']}/")


def _compare_notebook(found: _Comparison, root: Path, name: str, new: bytes, base: dict[str, str]) -> None:
    try:
        current = notebook.read(root / name)
    except CourseError:
        found.said.append(f"{name}: cannot be read, so it stays as it is: tito reset gives a new one")
        return
    old = _bytes(root / name)
    merged = merge(current, _parsed(root, new), base)
    if merged.nb != current:
        found.change(name, old, notebook.dumps(merged.nb).encode(), _told(merged))


def _parsed(root: Path, content: bytes) -> dict:
    with temporary() as folder:
        file = Path(folder) / "new.ipynb"
        file.write_bytes(content)
        return notebook.read(file)


_WORDS = {"renewed": "with new text", "added": "added", "removed": "removed", "aside": "new, yours kept below as raw"}


def _told(merged: Merged) -> str:
    """`2 cells with new text (a, b), 1 added (c); 3 of yours kept`."""
    parts = []
    for what, word in _WORDS.items():
        if names := getattr(merged, what):
            shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
            parts.append(f"{len(names)} {'cell' if len(names) == 1 else 'cells'} {word} ({shown})")
    return f"{', '.join(parts) or 'marks and order mended'}; {len(merged.kept)} of yours kept"


def _keep(root: Path, source: Course, found: _Comparison) -> list[str]:
    """Copies of what will change, before it does: notebooks where `tito restore` finds them, other files beside."""
    from tito.student.backup import back_up

    said, here = [], Course(root, source.settings, ())
    for module in source.modules:
        names = {path: path.relative_to(source.root).as_posix() for path in module.notebooks}
        if any(found.seen.get(name) for name in names.values()):
            there = tuple(root / name for name in names.values())
            path = root / module.path.relative_to(source.root)
            kept = back_up(here, dataclasses.replace(module, path=path, notebooks=there), "update")
            said.append(f"{module.folder}: the notebook as it was is kept: tito restore {kept.name}")
    if found.copies:
        folder = here.state / "backups" / "files" / time.strftime("%Y%m%d-%H%M%S")
        for name, content in found.copies.items():
            put(folder / name, content)
        said.append(f"copies of what you had changed are in {folder.relative_to(root)}")
    return said


def _refresh_index(root: Path) -> None:
    """Compute the package's index anew: it depends on the student's exports and on the course's files."""
    with contextlib.suppress(CourseError, SyntaxError, UnicodeDecodeError):
        course = Course.load(root)
        name, content = _index(course)
        write_atomic(root / name, content.decode())


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
