"""`tito doctor`: is this machine, and this course, in order?"""

import importlib.metadata
import os
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tito import CourseError
from tito.course.registry import Course
from tito.course.storage import temporary
from tito.runner import platform
from tito.runner.process import import_all
from tito.student.progress import Progress
from tito.student.template import workspace_settings

CIFAR10 = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
CIFAR10_FOLDER = "cifar-10-batches-bin"
STUDENTS = ("lab",)  # the extras that a student needs


@dataclass(frozen=True)
class Finding:
    """One line of the report; `state` is ok, note (worth knowing) or wrong (to be mended)."""

    state: str
    what: str
    text: str


def diagnose(course: Course, everything: bool = False) -> Iterator[Finding]:
    """Every finding, as it is made; what no student needs only if `everything` is wanted."""
    project = _project(course)
    yield _python(project.get("requires-python", ">=3.11"))
    yield from _dependencies(project, everything)
    yield from _constraints(course)
    yield _package(course)
    yield from _sync(course)
    if workspace_settings(course.root) is not None:
        yield _kernel(course)
    yield from _writing(course)
    if platform.WINDOWS:
        yield Finding("note", "limits", platform.UNLIMITED)
    yield _data(course)


def _project(course: Course) -> dict:
    """The [project] table of the course's pyproject.toml."""
    path = course.root / "pyproject.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig")).get("project", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CourseError(f"{path} cannot be read: {error}") from None


def _python(wanted: str) -> Finding:
    from packaging.specifiers import SpecifierSet

    version = ".".join(map(str, sys.version_info[:3]))
    if SpecifierSet(wanted).contains(version):
        return Finding("ok", "Python", f"{version} at {sys.executable}")
    return Finding("wrong", "Python", f"{version} at {sys.executable}; the course needs {wanted}")


def _dependencies(project: dict, everything: bool) -> Iterator[Finding]:
    """Required libraries one by one if wrong, together if right; one note for what an extra lacks."""
    from packaging.requirements import Requirement

    needed = [(Requirement(text), "") for text in project.get("dependencies", [])]
    for extra, texts in project.get("optional-dependencies", {}).items():
        needed += [(Requirement(text), extra) for text in texts if everything or extra in STUDENTS]
    good: list[str] = []
    lacking: dict[str, list[str]] = {}
    for requirement, extra in needed:
        elsewhere = requirement.marker and not requirement.marker.evaluate()
        if elsewhere or requirement.name == project.get("name"):  # of another system; an extra made of other extras
            continue
        version = _installed(requirement.name)
        if version is None and not extra:
            yield Finding("wrong", requirement.name, f"is not installed: {_pip(requirement)}")
        elif version is None:
            lacking.setdefault(extra, []).append(requirement.name)
        elif not requirement.specifier.contains(version, prereleases=True):
            yield Finding("wrong", requirement.name, f"is {version}: {_pip(requirement)}")
        else:
            good.append(f"{requirement.name} {version}")
    yield Finding("ok", "libraries", ", ".join(dict.fromkeys(good)) or "the course names none")
    for extra, names in lacking.items():
        install = f'pip install "{project.get("name", "tinytorch")}[{extra}]"'
        yield Finding("note", f"extra [{extra}]", f"without {', '.join(names)}; to install it: {install}")


def _pip(requirement) -> str:
    """The command that installs it, in quotes that every shell takes."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f'pip install "{requirement.name}{extras}{requirement.specifier}"'


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _constraints(course: Course) -> Iterator[Finding]:
    """How many installed versions differ from the set that the course was tested with."""
    path = course.root / "constraints.txt"
    if not path.is_file():
        return
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    pins = dict(line.partition(";")[0].strip().split("==") for line in lines if line.count("==") == 1)
    other = [f"{name} {version}" for name, pin in pins.items() if (version := _installed(name)) not in (None, pin)]
    if other:
        text = f"{', '.join(other[:5])}{' and more' * (len(other) > 5)} differ from constraints.txt"
        yield Finding("note", "versions", text)


def _package(course: Course) -> Finding:
    """Which package the commands import, and whether plain Python would import another one."""
    name, parent = course.lib_name, course.package.parent
    outcome = import_all(parent, [name])[name]
    if outcome["state"] != "passed":
        return Finding("wrong", name, f"cannot be imported: {outcome['type']}: {outcome['message']}")
    if not Path(outcome["origin"]).is_relative_to(course.package):
        return Finding("wrong", name, f"is imported from {outcome['origin']}, not from {course.package}")
    with temporary() as empty:
        plain = import_all(Path(empty), [name])[name]
    if plain["state"] != "passed":
        return Finding("ok", name, f"{course.package}; only tito finds it there, plain Python elsewhere does not")
    if Path(plain["origin"]).is_relative_to(course.package):
        return Finding("ok", name, str(course.package))
    elsewhere = f"in other folders, plain Python imports {Path(plain['origin']).parent}"
    return Finding("ok", name, f"{course.package}, for tito, for pytest, and for Python in {course.root}; {elsewhere}")


def _sync(course: Course) -> Iterator[Finding]:
    """One finding for every module whose package file is not what its notebooks say. What is given is in order."""
    faults = {"missing": "is not in the package", "differs": "differs from what the package holds"}
    behind, open = 0, []
    for standing in Progress(course).standings(course.modules):
        number, folder = standing.module.number, standing.module.folder
        if standing.package == "missing" and standing.origin == "scaffold":
            open.append(number)
        elif standing.package not in ("in sync", "reference"):
            behind += 1
            text = f"{faults.get(standing.package)}: tito export {number}"
            yield Finding("wrong", folder, text if standing.package in faults else standing.package)
    if open:
        yield Finding("note", "modules", f"{', '.join(open)} yours to write; the first: tito lab {open[0]}")
    if not behind:
        yield Finding("ok", "package", f"in sync with the notebooks of {len(course.modules)} modules")


def _kernel(course: Course) -> Finding:
    """Whether Jupyter has the kernel that a student's notebooks name."""
    from tito import jupyter

    if jupyter.kernel_installed():
        return Finding("ok", "kernel", f"TinyTorch, in {jupyter.kernel_file().parent}")
    update = f"tito init {platform.quoted(str(course.root))} --update"
    return Finding("note", "kernel", f"TinyTorch is not installed in {sys.prefix}: {update}")


def _writing(course: Course) -> Iterator[Finding]:
    """Whether tito can write where it has to."""
    wanted = (course.root, course.package, course.folder("nbs"), course.folder("runs"))
    refused = [folder for folder in wanted if folder.exists() and not os.access(folder, os.W_OK)]
    for folder in refused:
        yield Finding("wrong", "writing", f"{folder} is not yours to write: change its owner or its permissions")
    if not refused:
        yield Finding("ok", "writing", f"allowed in {course.root}")


def _data(course: Course) -> Finding:
    """CIFAR-10 is wanted by one milestone option only, so its absence is worth a note and no more."""
    data = course.folder("data")
    for folder in (data / CIFAR10_FOLDER, data):
        if all((folder / name).is_file() for name in CIFAR10):
            return Finding("ok", "CIFAR-10", f"found in {folder}")
    needs = "only `tito milestone run 04 --data cifar10` needs it; to load it: `tito data fetch cifar10`"
    return Finding("note", "CIFAR-10", f"not in {data}; {needs}")
