"""The plan of an assignment's notebook, from the instructor's source, and a submission put into it.

A plan is plain data: the steps in order (given and solution cells run in the student's process, graded cells in the
tester), which names the tests use, and what the release looked like. With a submission in it, it does what the notebook
does from top to bottom: a student's own cells, and further copies of a solution cell, run where they stand.
"""

import ast
import contextlib
import hashlib
import hmac
import json
import os
import platform
import secrets
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
from tito.course.storage import write_atomic
from tito.grading.sandbox import isolation
from tito.grading.sandbox.cells import one_line
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
            steps.append({**step, **defined(cell["source"])})
        elif kind == "graded":
            step = {"kind": "graded", "id": cell["id"], "source": cell["source"], "points": float(marks["points"])}
            lends = _lends(cell["source"], f"{package}.{SHARED[0]}")
            steps.append({**step, "hidden": hidden_lines(cell["source"]), "lends": lends})
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


def _lends(source: str, but: str) -> str:
    """What a test imports, as the notebook's later cells have it too, where they have nothing else by that name."""
    lines = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", None) != but:
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                one = ast.Import([alias]) if isinstance(node, ast.Import) else ast.ImportFrom(node.module, [alias], 0)
                lines.append(f"if {name!r} not in globals(): {ast.unparse(one)}")
    return "\n".join(lines)


def _names(source: str):
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name))


def defined(source: str) -> dict:
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
    """(steps with the student's text in them, notes on what was mended).

    The steps come in the order of the submission. What the student added runs before the step that follows it, as a
    step of the kind "own" that earns nothing. A step's `helpers` are the sources of those before it, for the feedback.
    """
    notes = list(submission.notes)
    chosen = _choose(plan, submission, notes)
    places = _places(plan, submission, chosen)
    own = _own_cells(plan, submission, chosen, places)
    steps: list[dict] = []
    names: set[str] = set()
    for step in sorted(plan["steps"], key=lambda step: places[step["id"]]):
        if step["kind"] == "solution":
            cell = chosen.get(step["id"])
            source = step["source"] if cell is None else cell.source
            step = {**step, "source": source}
            step["untouched"] = _same_code(source, plan["known"][step["id"]])
        elif step["kind"] == "given":
            step = {**step, "source": _as_handed_in(plan, submission, step["id"], notes)}
        for number, source in enumerate(own.get(step["id"], []), 1):
            known = {"names": sorted(names), "imports": ""}
            steps.append({"kind": "own", "id": f"your cell {number} before {step['id']}", "source": source, **known})
        names.update(step.get("names", ()))
        steps.append({**step, "helpers": own.get(step["id"], [])})
    for cell in submission.cells:
        given = plan["known"].get(cell.id)
        if cell.code and any(cell.id == step["id"] and step["kind"] == "graded" for step in plan["steps"]):
            if not _same_code(cell.source, given):
                notes.append(f"the test {one_line(cell.id)} is run as it was given; your change there does not count")
    return steps, notes


def _places(plan: dict, submission: Submission, chosen: dict[str, SubmittedCell]) -> dict[str, int]:
    """Where each step stands in the submission; one that is missing there comes after the one before it."""
    first: dict[str, int] = {}
    cells = {id(cell): place for place, cell in enumerate(submission.cells)}
    for cell in submission.cells:
        if cell.code:
            first.setdefault(cell.id, cells[id(cell)])
    places, last = {}, -1
    for name in (step["id"] for step in plan["steps"]):
        last = places[name] = cells[id(chosen[name])] if name in chosen else first.get(name, last)
    return places


def _as_handed_in(plan: dict, submission: Submission, name: str, notes: list[str]) -> str:
    """A given cell as it stands in the submission; as it was given if it is missing there."""
    found = [cell.source for cell in submission.cells if cell.id == name and cell.code]
    if found and not _same_code(found[-1], plan["known"][name]):
        notes.append(f"the cell {one_line(name)} was given, and is run as you changed it")
        return found[-1]
    return plan["known"][name]


def _choose(plan: dict, submission: Submission, notes: list[str]) -> dict[str, SubmittedCell]:
    """The submitted cell for each solution: of several, the last one before the exercise's first test."""
    chosen = {}
    for name in (step["id"] for step in plan["steps"] if step["kind"] == "solution"):
        found = [(place, cell) for place, cell in enumerate(submission.cells) if cell.id == name and cell.code]
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
        before = [cell for place, cell in found if place < test]
        if not before:
            notes.append(f"the cell {name} stands below its test, and is run there")
        touched = [cell for _, cell in found if not _same_code(cell.source, plan["known"][name])]
        chosen[name] = before[-1] if before else (touched or [cell for _, cell in found])[-1]
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
    wanted = set(defined(release)["names"])
    for cell in submission.cells:
        if cell.code and cell.id not in plan["known"]:
            try:
                names = set(defined(cell.source)["names"])
            except (SyntaxError, ValueError, RecursionError, MemoryError):
                continue
            if wanted and wanted <= names:
                return cell
    return None


def _own_cells(
    plan: dict, submission: Submission, chosen: dict[str, SubmittedCell], places: dict[str, int]
) -> dict[str, list[str]]:
    """Step's id -> sources of what the student's notebook runs between the step before it and it."""
    own: dict[str, list[str]] = {}
    waiting: list[str] = []
    kinds = {step["id"]: step["kind"] for step in plan["steps"]}
    adopted = {id(cell) for cell in chosen.values()}
    released = {text.strip() for text in plan["known"].values()}
    steps: dict[int, str] = {}
    for name, place in places.items():
        steps.setdefault(place, name)
    for place, cell in enumerate(submission.cells):
        copy = kinds.get(cell.id) == "solution" and id(cell) not in adopted
        if place in steps and waiting:
            own[steps[place]], waiting = waiting, []
        if cell.code and (copy or cell.id not in plan["known"] and id(cell) not in adopted):
            if cell.source.strip() and (copy or cell.source.strip() not in released):
                waiting.append(cell.source)
    return own


def _same_code(one: str, other: str) -> bool:
    return "".join(one.split()) == "".join(other.split())


LIMITS = {"wall": 60.0, "cell": 10.0, "cpu": 30, "memory": 1 << 30}
PREFIX = "tito-grade-"
TITO = Path(__file__).resolve().parents[1]
ROOMS = ("course", "grading")  # of tito: the code that a grade follows from
SECRET = "secret"  # the file in the grading folder
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
    secret: bytes = b""

    @property
    def name(self) -> str:
        """nbgrader's name of it, the module's folder."""
        return self.module.folder

    @property
    def points(self) -> float:
        """What can be earned without a person."""
        return sum(step["points"] for part in self.parts for step in part.plan["steps"] if step["kind"] == "graded")

    def seed(self, student: str) -> list[int]:
        """What a student's inputs in hidden tests are drawn from; nothing without a secret: then they are the same
        for everybody."""
        if not self.secret:
            return []
        made = hmac.digest(self.secret, json.dumps([self.name, student]).encode(), "sha256")
        return [int.from_bytes(made[place : place + 4], "big") for place in range(0, 16, 4)]

    def task(self, part: Part, steps: list[dict], seed: list[int] | None = None) -> dict:
        """What a worker needs to grade `steps` of a part, with the inputs of `seed` in hidden tests."""
        return {"name": f"{self.home.name}/{part.name}", "steps": steps, "seed": seed}

    def setting(self, part: Part) -> dict:
        """What a worker needs to know of a part once."""
        command, environment = isolation.command(self.rung, part.kit, self.limits)
        box = {"command": command, "environment": environment, "limits": self.limits, "package": part.plan["package"]}
        box |= {"exchange": str(part.kit.exchange), "drop": self.rung.drop, "own": self.own}
        graded = [step for step in part.plan["steps"] if step["kind"] == "graded"]
        box["tests"] = [(step["source"], step["hidden"], step["id"]) for step in graded]
        return {"name": f"{self.home.name}/{part.name}", "setting": box}


def prepare(course: Course, module: Module, rung: isolation.Rung, limits: dict | None = None) -> Assignment:
    """Plans, kits, and the digest of everything a grade follows from. CourseError if the package is missing."""
    _sweep()
    home = tempfile.TemporaryDirectory(prefix=PREFIX)
    Path(home.name).chmod(0o755)
    parts, limits = [], {**LIMITS, "threads": module.threads, **(limits or {})}
    own, secret = shared_by_tests(course), secret_of(course)
    digest = hashlib.sha256(_environment(rung, limits).encode() + json.dumps(own, sort_keys=True).encode())
    digest.update(hashlib.sha256(secret).digest())
    for path in module.notebooks:
        earlier = earlier_targets(course, path)
        plan = plan_notebook(path, course.lib_name)
        folder = Path(home.name) / path.stem
        folder.mkdir()
        given = [defined(step["source"])["imports"] for step in plan["steps"] if step["kind"] != "solution"]
        kit = isolation.make_kit(folder, course.package, earlier, tuple("\n".join(given).split("\n")))
        if not (kit.folder / course.lib_name).is_dir() and earlier:
            raise CourseError(
                f"{course.package} does not hold the modules before {module.folder}: run tito export --all"
            )
        parts.append(Part(path.stem, path, plan, kit))
        digest.update(json.dumps(plan, sort_keys=True).encode())
        for file in sorted(kit.folder.rglob("*.py")):
            digest.update(file.relative_to(kit.folder).as_posix().encode() + b"\0" + file.read_bytes())
    return Assignment(course, module, rung, limits, parts, digest.hexdigest(), home, own, secret)


def secret_of(course: Course, make: bool = False) -> bytes:
    """The secret of the course, from which students' inputs in hidden tests follow; nothing if there is none yet.

    With `make` there is one afterwards: a file in the grading folder, for the instructor's eyes, to be backed up.
    """
    file = course.folder("grading") / SECRET
    if make and not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(file, secrets.token_hex(32) + "\n")
        file.chmod(0o600)
    return file.read_bytes().strip() if file.is_file() else b""


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
    modules: list[str] = []
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
