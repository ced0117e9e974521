"""The plan of an assignment's notebook, from the instructor's source, and a submission put into it.

A plan is plain data: the steps in order (given and solution cells run in the student's process, graded cells in the
tester), which names the tests use, and what the release looked like. A submission's text goes into solution cells
only; cells that the student added run just before the next solution cell, never between a test and its result.
"""

import ast
import contextlib
import hashlib
import json
import os
import platform
import shutil
import stat
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Course, Module
from tito.course.scaffold import hidden_lines, released
from tito.grading.sandbox import isolation
from tito.grading.submissions import Submission, SubmittedCell


def plan_notebook(path: Path, package: str) -> dict:
    """The plan of the notebook at `path`."""
    nb = notebook.read(path)
    steps, manual, known = [], {}, {}
    for cell in nb["cells"]:
        kind, marks = notebook.kind(cell), cell["metadata"].get("nbgrader", {})
        release = released(cell)
        known[cell["id"]] = release
        if kind in ("export", "solution"):
            step = {"kind": "given" if kind == "export" else "solution", "id": cell["id"], "source": release}
            steps.append({**step, **_defined(cell["source"])})
        elif kind == "graded":
            step = {"kind": "graded", "id": cell["id"], "source": cell["source"], "points": float(marks["points"])}
            steps.append({**step, "hidden": hidden_lines(cell["source"])})
        elif kind == "manual":
            manual[cell["id"]] = float(marks["points"])
    used = {node.id for step in steps if step["kind"] == "graded" for node in _names(step["source"])}
    for step in steps:
        if step["kind"] != "graded":
            step["names"] = sorted(used & set(step["names"]))
    target = notebook.target(nb, path)
    return {
        "notebook": path.stem,
        "package": package,
        "target": target,
        "steps": steps,
        "manual": manual,
        "known": known,
    }


def _names(source: str):
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name))


def _defined(source: str) -> dict:
    """What a cell defines at its top level: names, and its imports as source."""
    names, imports = set(), []
    for node in ast.parse(source).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Import() | ast.ImportFrom():
                imports.append(ast.unparse(node))
            case ast.Assign(targets=targets):
                names |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)):
                names.add(name)
    return {"names": sorted(names), "imports": "\n".join(imports)}


def assemble(plan: dict, submission: Submission) -> tuple[list[dict], list[str]]:
    """(steps with the student's text in their solution cells, notes on what was mended).

    A step's `helpers` are the cells that the student added before it.
    """
    notes = list(submission.notes)
    solutions = [step["id"] for step in plan["steps"] if step["kind"] == "solution"]
    chosen = _choose(plan, submission, solutions, notes)
    adopted = {id(cell) for cell in chosen.values()}
    helpers = _helpers(plan, submission, solutions, adopted)
    steps = []
    for step in plan["steps"]:
        if step["kind"] == "solution":
            cell = chosen.get(step["id"])
            source = step["source"] if cell is None else cell.source
            step = {**step, "source": source, "helpers": helpers.get(step["id"], [])}
            step["untouched"] = _same_code(source, plan["known"][step["id"]])
        steps.append(step)
    for cell in submission.cells:
        given = plan["known"].get(cell.id)
        if cell.code and given is not None and cell.id not in solutions and cell.id in {s["id"] for s in plan["steps"]}:
            if not _same_code(cell.source, given):
                notes.append(
                    f"the cell {cell.id} was given and is graded as it was given; your change there does not count"
                )
    return steps, notes


def _choose(plan: dict, submission: Submission, solutions: list[str], notes: list[str]) -> dict[str, SubmittedCell]:
    """The submitted cell for each solution: of several, the last touched one before the exercise's first test."""
    chosen = {}
    for name in solutions:
        found = [(place, cell) for place, cell in enumerate(submission.cells) if cell.id == name]
        touched = [(place, cell) for place, cell in found if not _same_code(cell.source, plan["known"][name])] or found
        if not found:
            cell = _stray(plan, submission, name)
            notes.append(
                f"the cell {name} is missing" + (": another cell that defines the same was used" if cell else "")
            )
            if cell:
                chosen[name] = cell
            continue
        if len(found) > 1:
            notes.append(f"the cell {name} stands in the notebook {len(found)} times")
        test = _first_test(plan, submission, name)
        before = [cell for place, cell in touched if place < test]
        chosen[name] = before[-1] if before else touched[-1][1]
    return chosen


def _first_test(plan: dict, submission: Submission, name: str) -> int:
    """Where the first graded cell after a solution stands in the submission."""
    ids = [step["id"] for step in plan["steps"]]
    tests = {step["id"] for step in plan["steps"][ids.index(name) :] if step["kind"] == "graded"}
    following = next((step["id"] for step in plan["steps"][ids.index(name) :] if step["id"] in tests), None)
    places = [place for place, cell in enumerate(submission.cells) if cell.id == following]
    return places[0] if places else len(submission.cells)


def _stray(plan: dict, submission: Submission, name: str) -> SubmittedCell | None:
    """A cell of the student's own that defines what a deleted solution cell should define."""
    release = plan["known"][name]
    wanted = set(_defined(release)["names"])
    for cell in submission.cells:
        if cell.code and cell.id not in plan["known"]:
            try:
                names = set(_defined(cell.source)["names"])
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
            if wanted and wanted <= names:
                return cell
    return None


def _helpers(plan: dict, submission: Submission, solutions: list[str], adopted: set[int]) -> dict[str, list[str]]:
    """Solution id -> sources of the student's own cells that stand before it."""
    helpers: dict[str, list[str]] = {}
    waiting: list[str] = []
    released = {text.strip() for text in plan["known"].values()}
    for cell in submission.cells:
        if cell.id in solutions:
            helpers.setdefault(cell.id, []).extend(waiting)
            waiting = []
        elif cell.code and cell.id not in plan["known"] and not cell.graded and id(cell) not in adopted:
            if cell.source.strip() and cell.source.strip() not in released:
                waiting.append(cell.source)
    return helpers


def _same_code(one: str, other: str) -> bool:
    return "".join(one.split()) == "".join(other.split())


LIMITS = {"wall": 60.0, "cell": 10.0, "cpu": 30, "memory": 1 << 30}
PREFIX = "tito-grade-"
TITO = Path(__file__).resolve().parents[1]
ROOMS = ("course", "grading")  # of tito: the code that a grade follows from
SHARED = ("testing", "expected")  # what tests share: the tester runs its own copies, the student's box has none


@dataclass
class Part:
    """One notebook of an assignment."""

    name: str
    path: Path
    plan: dict
    kit: isolation.Kit
    reference: dict = field(default_factory=dict)  # graded cell -> seconds that the reference needs


@dataclass
class Assignment:
    """A module as nbgrader's assignment, on one rung, with its limits."""

    course: Course
    module: Module
    rung: isolation.Rung
    limits: dict
    parts: list[Part]
    digest: str
    home: tempfile.TemporaryDirectory
    own: dict = field(default_factory=dict)  # modules that the tester runs itself: full name -> source

    @property
    def name(self) -> str:
        """nbgrader's name of it, the module's folder."""
        return self.module.folder

    @property
    def points(self) -> float:
        """What can be earned without a person."""
        return sum(step["points"] for part in self.parts for step in part.plan["steps"] if step["kind"] == "graded")

    def task(self, part: Part, steps: list[dict]) -> dict:
        """What a worker needs to grade `steps` of a part."""
        return {"name": f"{self.home.name}/{part.name}", "steps": steps}

    def setting(self, part: Part) -> dict:
        """What a worker needs to know of a part once."""
        command, environment = isolation.command(self.rung, part.kit, self.limits)
        box = {"command": command, "environment": environment, "limits": self.limits, "package": part.plan["package"]}
        box |= {"exchange": str(part.kit.exchange), "drop": self.rung.drop, "own": self.own}
        return {"name": f"{self.home.name}/{part.name}", "setting": box}


def prepare(course: Course, module: Module, rung: isolation.Rung, limits: dict | None = None) -> Assignment:
    """Plans, kits, and the digest of everything a grade follows from. CourseError if the package is missing."""
    _sweep()
    home = tempfile.TemporaryDirectory(prefix=PREFIX)
    Path(home.name).chmod(0o755)
    parts, limits = [], {**LIMITS, "threads": module.threads, **(limits or {})}
    own = shared_by_tests(course)
    digest = hashlib.sha256(_environment(rung, limits).encode() + json.dumps(own, sort_keys=True).encode())
    for path in module.notebooks:
        earlier = earlier_targets(course, path)
        plan = plan_notebook(path, course.lib_name)
        folder = Path(home.name) / path.stem
        folder.mkdir()
        kit = isolation.make_kit(folder, course.package, earlier)
        if not (kit.folder / course.lib_name).is_dir() and earlier:
            raise CourseError(
                f"{course.package} does not hold the modules before {module.folder}: run tito export --all"
            )
        parts.append(Part(path.stem, path, plan, kit))
        digest.update(json.dumps(plan, sort_keys=True).encode())
        for file in sorted(kit.folder.rglob("*.py")):
            digest.update(file.relative_to(kit.folder).as_posix().encode() + b"\0" + file.read_bytes())
    return Assignment(course, module, rung, limits, parts, digest.hexdigest(), home, own)


def shared_by_tests(course: Course) -> dict[str, str]:
    """Full name -> source of the package's modules that tests share, as far as the course has them."""
    files = {f"{course.lib_name}.{name}": course.package / f"{name}.py" for name in SHARED}
    return {name: file.read_text(encoding="utf-8") for name, file in files.items() if file.is_file()}


def _sweep() -> None:
    """Remove what runs that were killed have left in the temporary folder, a day later."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            known = left.lstat()
            if stat.S_ISDIR(known.st_mode) and known.st_uid == os.geteuid() and time.time() - known.st_mtime > 86_400:
                shutil.rmtree(left)


def earlier_targets(course: Course, path: Path) -> list[str]:
    """What the notebooks before `path` export, in the course's order: all that its students' code may import."""
    modules = []
    for module in course.modules:
        for source in module.notebooks:
            if source == path:
                return modules
            modules.append(module.targets[source])
    raise CourseError(f"{path} is in no module of this course")


def _environment(rung: isolation.Rung, limits: dict) -> str:
    machine = (sys.version, numpy.__version__, platform.machine())
    return repr((*machine, rung.words, sorted(limits.items()), code_digest(TITO)))


def code_digest(tito: Path) -> str:
    """A hash of the grader's code, and of what it builds on, in the folder of the package tito."""
    code = hashlib.sha256()
    for file in sorted(file for room in ROOMS for file in (tito / room).rglob("*.py")):
        code.update(f"{file.relative_to(tito).as_posix()}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\0".encode())
    return code.hexdigest()


def reference_submission(part: Part) -> Submission:
    """The reference as a submission."""
    cells = notebook.read(part.path)["cells"]
    return Submission([SubmittedCell(cell["id"], True, cell["cell_type"] == "code", cell["source"]) for cell in cells])


def blank_submission(part: Part) -> Submission:
    """The untouched release as a submission."""
    return Submission([SubmittedCell(id, True, True, source) for id, source in part.plan["known"].items()])
