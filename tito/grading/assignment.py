"""An assignment made ready for grading: the plans of its notebooks, and what their students get to see."""

import contextlib
import hashlib
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

from tito import CourseError, notebook
from tito.course import Course, Module
from tito.grading import sandbox, skeleton
from tito.grading.ingest import Cell, Submission

LIMITS = {"wall": 60.0, "cell": 10.0, "cpu": 30, "memory": 1 << 30}
PREFIX = "tito-grade-"
CODE = Path(__file__).parent


@dataclass
class Part:
    """One notebook of an assignment."""

    name: str
    path: Path
    plan: dict
    kit: sandbox.Kit
    reference: dict = field(default_factory=dict)  # graded cell -> seconds that the reference needs


@dataclass
class Assignment:
    """A module as nbgrader's assignment, on one rung, with its limits."""

    course: Course
    module: Module
    rung: sandbox.Rung
    limits: dict
    parts: list[Part]
    digest: str
    home: tempfile.TemporaryDirectory

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
        command, environment = sandbox.command(self.rung, part.kit, self.limits)
        plan = {"command": command, "environment": environment, "limits": self.limits, "package": part.plan["package"]}
        plan |= {"exchange": str(part.kit.exchange), "drop": self.rung.drop}
        return {"name": f"{self.home.name}/{part.name}", "plan": plan}


def prepare(course: Course, module: Module, rung: sandbox.Rung, limits: dict | None = None) -> Assignment:
    """Plans, kits, and the digest of everything a grade follows from. CourseError if the package is missing."""
    _sweep()
    home = tempfile.TemporaryDirectory(prefix=PREFIX)
    Path(home.name).chmod(0o755)
    parts, limits = [], {**LIMITS, **(limits or {})}
    found = hashlib.sha256(_environment(rung, limits).encode())
    for path in module.notebooks:
        earlier = before(course, path)
        plan = skeleton.plan(path, course.lib_name)
        folder = Path(home.name) / path.stem
        folder.mkdir()
        kit = sandbox.make_kit(folder, course.package, earlier)
        if not (kit.folder / course.lib_name).is_dir() and earlier:
            raise CourseError(
                f"{course.package} does not hold the modules before {module.folder}: run tito export --all"
            )
        parts.append(Part(path.stem, path, plan, kit))
        found.update(skeleton.digest(plan).encode())
        for file in sorted(kit.folder.rglob("*.py")):
            found.update(file.relative_to(kit.folder).as_posix().encode() + b"\0" + file.read_bytes())
    return Assignment(course, module, rung, limits, parts, found.hexdigest(), home)


def _sweep() -> None:
    """Remove what runs that were killed have left in the temporary folder, a day later."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            known = left.lstat()
            if stat.S_ISDIR(known.st_mode) and known.st_uid == os.geteuid() and time.time() - known.st_mtime > 86_400:
                shutil.rmtree(left)


def before(course: Course, path: Path) -> list[str]:
    """What the notebooks before `path` export, in the course's order: all that its students' code may import."""
    modules = []
    for module in course.modules:
        for source in module.notebooks:
            if source == path:
                return modules
            modules.append(module.targets[source])
    raise CourseError(f"{path} is in no module of this course")


def _environment(rung: sandbox.Rung, limits: dict) -> str:
    code = hashlib.sha256()
    for file in sorted(CODE.glob("*.py")):
        if file.stem in ("tester", "proxy", "skeleton", "ingest", "worker", "sandbox"):
            code.update(file.read_bytes())
    parts = (sys.version, numpy.__version__, platform.machine(), rung.words, sorted(limits.items()), code.hexdigest())
    return repr(parts)


def solved(part: Part) -> Submission:
    """The reference as a submission."""
    cells = notebook.read(part.path)["cells"]
    return Submission([Cell(cell["id"], True, cell["cell_type"] == "code", cell["source"]) for cell in cells])


def blank(part: Part) -> Submission:
    """The untouched release as a submission."""
    return Submission([Cell(id, True, True, source) for id, source in part.plan["known"].items()])
