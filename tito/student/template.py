"""The course as it is handed out: where its text comes from, which files travel, and what a student's copy of it holds.

The source is a clone of the repository, or what a wheel carries in `tito/_course`. A students' source lacks the
solutions of some modules: their notebooks are scaffolds already, and their package files are stubs.
"""

import configparser
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tito import CourseError, __version__
from tito.course import notebook
from tito.course.registry import SETTINGS, Course, Module
from tito.course.storage import digest

CARRIED = "_course"  # in the package tito, in a wheel
RECORD = ".tito/course.json"  # digests of everything that was handed out
SECTION = "workspace"  # in settings.ini: which modules are the student's to write
STUB_MARK = "# Not written yet: "
REFERENCE_MARK = "# The course's reference, not your work: "
_TOP = (SETTINGS, "pyproject.toml", "constraints.txt", "LICENSE", "README.md", ".gitignore")
_PAGES = {".md", ".toml", ".png", ".svg"}
_BUILDING = re.compile(r"\[(build-system|project\.scripts|tool\.setuptools.*)\]")


@dataclass(frozen=True)
class Handout:
    """What a student's copy is made of: the source, the numbers of the modules left to write, and whether their
    reference comes along."""

    source: Course
    yours: tuple[str, ...]
    with_reference: bool = False


def source() -> Course:
    """The course that this tito carries, or that it is a clone of."""
    tito = Path(__file__).resolve().parents[1]
    root = tito / CARRIED if (tito / CARRIED).is_dir() else tito.parent
    if not (root / SETTINGS).is_file():
        raise CourseError("this installation of tito carries no course: install it from its wheel, or from a clone")
    return Course.load(root)


def course_files(course: Course) -> Iterator[PurePosixPath]:
    """The files that travel, seen from the root: notebooks and pages, the package, milestones, the modules' tests."""
    found = [course.root / name for name in _TOP]
    for module in course.modules:
        found += module.notebooks
        found += (file for file in module.path.iterdir() if file.suffix in _PAGES)
        found += _tree(course.folder("tests") / module.folder)
    found += course.folder("tests").glob("conftest.py")
    found += _tree(course.folder("milestones"))
    found += course.package.rglob("*.py")
    for file in sorted(set(found)):
        parts = file.relative_to(course.root).parts
        if file.is_file() and not any(part.startswith((".", "__pycache__")) for part in parts[:-1]):
            yield PurePosixPath(*parts)


def _tree(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.suffix not in (".pyc", ".tmp") and not file.name.startswith(".")]


def handout_files(plan: Handout) -> dict[str, bytes]:
    """path -> content of everything in a student's copy, the record of it included; but not the package's index."""
    made: dict[str, bytes] = {}
    owners = _owners(plan.source)
    for path in course_files(plan.source):
        name, content = str(path), (plan.source.root / path).read_bytes()
        module = owners.get(name)
        if module and path.suffix == ".ipynb":
            made |= _notebook(plan, module, plan.source.root / path, name)
        elif module:
            made[name] = _package_file(plan, module, name, content)
        elif path.name != "_modidx.py":
            made[name] = _adapted(plan, name, content)
    for name, module in owners.items():  # a package that was never exported in full
        if name not in made:
            made[name] = _package_file(plan, module, name, None)
    made[RECORD] = record(made)
    return made


def _owners(course: Course) -> dict[str, Module]:
    """The notebooks and the package files of the modules -> their module."""
    package = course.package.relative_to(course.root).as_posix()
    owners = {}
    for module in course.modules:
        for path, target in module.targets.items():
            owners[path.relative_to(course.root).as_posix()] = module
            owners[f"{package}/{target.replace('.', '/')}.py"] = module
    return owners


def _notebook(plan: Handout, module: Module, path: Path, name: str) -> dict[str, bytes]:
    """A notebook as the student gets it, with the copies that `tito reset` and `tito solution` read."""
    from tito.course.scaffold import PRISTINE, REFERENCE, fold, has_solutions, strip

    nb = notebook.read(path)
    solved = has_solutions(nb)
    if not solved and (module.number not in plan.yours or plan.with_reference):
        raise CourseError(_no_reference(plan, module))
    kept = f"{module.folder}/{path.name}"
    if module.number not in plan.yours:
        return {name: _text(nb)}
    scaffold = _text(fold(_locked(strip(nb) if solved else nb)))
    made = {name: scaffold, f".tito/{PRISTINE}/{kept}": scaffold}
    return {**made, f".tito/{REFERENCE}/{kept}": _text(nb)} if plan.with_reference else made


def _text(nb: dict) -> bytes:
    return notebook.dumps({**nb, "metadata": {**nb["metadata"], "kernelspec": notebook.KERNEL}}).encode()


def _locked(nb: dict) -> dict:
    """The notebook with nbgrader's cells marked as it marks them in a release: not to be deleted, tests not edited."""
    for cell in nb["cells"]:
        if "nbgrader" in cell["metadata"]:
            cell["metadata"]["deletable"] = False
        if notebook.kind(cell) == "graded":
            cell["metadata"]["editable"] = False
    return nb


def _no_reference(plan: Handout, module: Module) -> str:
    number = module.number
    if number in plan.yours:
        return f"this installation of tito has no reference of module {number}: leave --with-reference away"
    mend = f"say --from {number} or less, or add it to --modules"
    return f"this installation of tito has no reference of module {number}, so it is yours to write: {mend}"


def _package_file(plan: Handout, module: Module, name: str, content: bytes | None) -> bytes:
    """A file of the package: the reference for a given module, a stub for one that is to be written."""
    if module.number in plan.yours and not plan.with_reference:
        return stub(module, name).encode()
    if content is None or content.startswith(STUB_MARK.encode()):
        unexported = f"{plan.source.root} lacks an export of module {module.number}: tito export {module.number}"
        raise CourseError(_no_reference(plan, module) if content else unexported)
    mark = f"{REFERENCE_MARK}`tito export {module.number}` puts yours here.\n"
    return mark.encode() + content if module.number in plan.yours else content


def stub(module: Module, file: str) -> str:
    """What stands in a file of the package until its notebook is exported: importing it says what to type."""
    ends = {f"/{target.replace('.', '/')}.py": path for path, target in module.targets.items()}
    path = next(path for end, path in ends.items() if file.endswith(end))
    which = "" if path == module.notebooks[0] else f" {notebook.short_name(path)}"
    sentence = f"Module {module.number} is yours to write: tito lab {module.number}{which}"
    opening = f"{STUB_MARK}`tito export {module.number}` replaces this file."
    return f"{opening}\nraise ModuleNotFoundError({sentence!r}, name=__name__)\n"


def _adapted(plan: Handout, name: str, content: bytes) -> bytes:
    """The few files that are not the same in a student's copy."""
    if name == SETTINGS:
        reference = "yes" if plan.with_reference else "no"
        original = content.decode().partition(_SECTION.partition("[")[0])[0]  # a copy can be the source of another
        return (original + _SECTION.format(yours=" ".join(plan.yours), reference=reference)).encode()
    if name == "pyproject.toml":
        return _without_building(content.decode()).encode()
    return _front_page(plan).encode() if name == "README.md" else content


_SECTION = f"""
# Made by `tito init`: the modules that are yours to write, and whether their reference came along.
[{SECTION}]
yours = {{yours}}
reference = {{reference}}
"""


def _without_building(text: str) -> str:
    """pyproject.toml without what builds a distribution: a student's copy is worked in, not installed."""
    kept, keep = [], True
    for line in text.splitlines(keepends=True):
        if line.startswith("["):
            keep = not _BUILDING.match(line)
        if keep:
            kept.append(line)
    return "".join(kept)


def _front_page(plan: Handout) -> str:
    rows, nbs = [], plan.source.settings["nbs_path"]
    for module in plan.source.modules:
        whose = "yours to write" if module.number in plan.yours else "given"
        rows.append(f"| {module.number} | [{module.title}]({nbs}/{module.folder}/README.md) | {whose} |")
    first = plan.source.module(plan.yours[0])
    exercise = next((exercise.id for exercise in first.exercises), "EXERCISE")
    return _PAGE.format(rows="\n".join(rows), first=first.number, exercise=exercise)


_PAGE = """\
# Your TinyTorch

This folder is your copy of the course. You write in the notebooks under `modules/`; `tito export` turns them into the \
package `tinytorch/`, which the later notebooks and the milestones import.

| | module | |
|---|---|---|
{rows}

Type these anywhere in this folder:

| | |
|---|---|
| `tito` | where you are, and the next command |
| `tito module start {first}` | what the module asks for, and what each exercise is called |
| `tito lab {first}` | open module {first} in JupyterLab; its notebooks use the kernel TinyTorch |
| `tito watch {first}` | beside it, in a second terminal: tests what changed at every save |
| `tito test {first}` | test what you wrote; `tito test {first} {exercise}` tests one exercise |
| `tito hint {first} {exercise}` | a nudge; once more, and it says more |
| `tito reset {first} {exercise}` | begin an exercise again; what you had is kept |
| `tito restore` | the kept copies; with a name, it brings one back |
| `tito export {first}` | put it into the package |
| `tito module complete {first}` | test, export, and record that it is done |
| `tito submit {first} --to DIR` | hand it in, in the folder that your instructor names |
| `tito milestone list` | what the package can do, and what it still needs |
| `tito doctor` | is everything in order? |
| `tito init --update` | newer course text; what you wrote stays, and a copy of it is kept |

Edit the notebooks only: an export writes a script `..._dev.py` beside each, and the files in `tinytorch/`, anew. A \
notebook that is open sees an export after Kernel > Restart. `pytest` tests what is exported, all of it. Importing a \
module that you have not exported yet says what to type.
"""


# The record


def cell_digest(cell: dict) -> str:
    """A short hash of a cell's type and text."""
    return digest(f"{cell['cell_type']}\0{cell['source']}".encode())[:16]


def cell_name(cell: dict) -> str:
    """The name by which the course knows a cell: nbgrader's, or else its id."""
    return cell["metadata"].get("nbgrader", {}).get("grade_id") or cell["id"]


def record(made: dict[str, bytes]) -> bytes:
    """What was handed out, as digests: of every file, and of every notebook's cells."""
    cells = {
        name: {cell_name(cell): cell_digest(cell) for cell in _cells(content)}
        for name, content in made.items()
        if name.endswith(".ipynb") and not name.startswith(".tito/")
    }
    data = {"version": __version__, "files": {name: digest(content) for name, content in made.items()}, "cells": cells}
    return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()


def _cells(content: bytes) -> list[dict]:
    return [{**cell, "source": "".join(cell["source"])} for cell in json.load(io.BytesIO(content))["cells"]]


def read_record(root: Path) -> dict[str, dict]:
    """The record at `root`; an empty one if it is missing or broken, which makes every file count as edited."""
    try:
        data = json.loads((root / RECORD).read_text(encoding="utf-8"))
        if all(isinstance(data[key], dict) for key in ("files", "cells")):
            return data
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return {"files": {}, "cells": {}}


def workspace_settings(root: Path) -> dict[str, str] | None:
    """The section of settings.ini that `tito init` wrote, or None where it did not."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string((root / SETTINGS).read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, configparser.Error):
        return None
    return dict(parser[SECTION]) if parser.has_section(SECTION) else None
