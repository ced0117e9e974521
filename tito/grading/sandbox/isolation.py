"""The isolation ladder: what this machine offers, and the command that starts a student's process in it.

The box holds the standard library, NumPy, the agent, and the modules of the package before the graded notebook; a test
can put files into the exchange folder. Nothing can be written. Everything else is not there (bubblewrap) or cannot be
opened (Landlock), and on both rungs the process locks itself in with resource limits and seccomp.
"""

import compileall
import json
import os
import platform
import py_compile
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy

from tito import CourseError
from tito.grading.sandbox import lockdown
from tito.grading.sandbox.box import Box, NotStartedError
from tito.grading.sandbox.student import StudentProcess

BOX = tuple(Path(__file__).with_name(f"{name}.py") for name in ("agent", "lockdown", "wire"))  # what goes inside
SPARE = 24  # tasks beyond the threads that a module asks for: the boxes' own, and threads that are just ending
FIRST_USER = 61_000  # as root, each worker's students get a user id of their own
RUNGS = ("bubblewrap", "landlock", "none")
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
MISSING = "files, processes, the network and the memory of this machine are open to the code of the students"


@dataclass(frozen=True)
class Rung:
    """A rung of the ladder: its name, whether the user id changes, and in words what it consists of."""

    name: str
    drop: bool
    words: str


@dataclass(frozen=True)
class Kit:
    """What a notebook's students get to see: a folder with the agent and the earlier modules."""

    folder: Path
    exchange: Path
    imports: tuple[str, ...] = ()  # what its notebook's given cells import: once, before any student's process begins


@cache
def python_files() -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """(interpreter, what must be readable, its library path) of this Python, without any site-packages."""
    interpreter = os.path.realpath(sys.executable)
    library = Path(sysconfig.get_paths()["stdlib"]).resolve()
    parts = [entry for entry in library.iterdir() if entry.name not in ("site-packages", "dist-packages", "test")]
    shared = Path(sysconfig.get_config_var("LIBDIR") or "/usr/lib")
    parts += sorted(shared.glob("libpython*.so*"))
    path = (f"{library}", f"{library / 'lib-dynload'}")
    return interpreter, (interpreter, *map(str, sorted(parts))), path


def numpy_files() -> list[Path]:
    """NumPy's folders in site-packages."""
    home = Path(numpy.__file__).resolve().parent
    return [folder for folder in (home, home.parent / "numpy.libs") if folder.is_dir()]


def command(rung: Rung, kit: Kit, limits: dict) -> tuple[list[str], dict]:
    """(command with a place for the socket, environment) that starts a box on a rung."""
    interpreter, files, library = python_files()
    packages = numpy_files()
    inside = rung.name == "bubblewrap"
    deps = "/deps" if inside else str(packages[0].parent)
    box = "/kit" if inside else str(kit.folder)
    readable = [*SYSTEM, *files, "/deps", "/kit"] if inside else [*SYSTEM, *files, *map(str, packages), box]
    settings = {
        "path": [box, deps] if inside else [box, f"{box}/deps"],
        "library": list(library),
        "readable": [*readable, str(kit.exchange)],
        "landlock": lockdown.landlock_version() if rung.name != "none" else 0,
        "seccomp": rung.name != "none",
        "memory": limits["memory"],
        "cpu": limits["cpu"],
        "file": 0,
        "imports": kit.imports,
        # the kernel counts a user's tasks: only where the box has a user of its own
        "tasks": limits.get("threads", 0) + SPARE if rung.drop else 0,
    }
    run = [interpreter, "-ISB", f"{box}/agent.py", "{control}", _braces(json.dumps(settings))]
    environment = {"PATH": "/usr/bin", "LANG": "C.UTF-8", "HOME": "/", "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
    environment |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return (_bubblewrap(files, library, packages, kit) + run if inside else run), environment


def _braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _bubblewrap(files, library, packages, kit: Kit) -> list[str]:
    program = shutil.which("bwrap") or "bwrap"
    users = ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    words = [program, "--unshare-all", *users, "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    for folder in SYSTEM:
        words += ["--ro-bind-try", folder, folder]
    if not library[0].startswith("/usr/lib/"):
        words += ["--ro-bind", library[0], library[0], "--tmpfs", f"{library[0]}/site-packages"]
    else:
        words += [part for name in ("site-packages", "dist-packages") if os.path.isdir(f"{library[0]}/{name}")
                  for part in ("--tmpfs", f"{library[0]}/{name}")]  # fmt: skip
    for file in files:
        if not file.startswith(library[0] + "/"):
            words += ["--ro-bind", file, file]
    for package in packages:
        words += ["--ro-bind", str(package), f"/deps/{package.name}"]
    words += ["--ro-bind", str(kit.folder), "/kit", "--ro-bind", str(kit.exchange), str(kit.exchange)]
    return [*map(_braces, words), "--remount-ro", "/", "--chdir", "/", "--"]


def make_kit(folder: Path, package: Path, modules: list[str], imports: tuple[str, ...] = ()) -> Kit:
    """Fill `folder` with the agent and the package's `modules` (such as `core.tensor`), as files."""
    kit, exchange = folder / "kit", folder / "exchange"
    for place in (folder, kit, exchange, kit / "deps"):
        place.mkdir(mode=0o755, exist_ok=True)
        place.chmod(0o755)
    for source in BOX:
        shutil.copy(source, kit)
    for link in numpy_files():
        (kit / "deps" / link.name).symlink_to(link)
    names = {"__init__.py", "nn/__init__.py", "optim/__init__.py"}
    names |= {"backend.py", "download.py", "files.py", "images.py", "kernels.py", "progress.py", "refusals.py"}
    names |= {"ways.py", "lines.py", "winograd.py"} if "core.spatial" in modules else set()  # built on that module
    for module in modules:
        file = Path(module.replace(".", "/") + ".py")
        names |= {file.as_posix(), (file.parent / "__init__.py").as_posix()}
    for name in sorted(names):
        if (package / name).is_file():
            target = kit / package.name / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(package / name, target)
    # compiled once, not at every start; what is compiled is never looked at again, as nobody writes there
    compileall.compile_dir(kit, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    for place in kit.rglob("*"):
        if not place.is_symlink():
            place.chmod(0o755 if place.is_dir() else 0o644)
    return Kit(kit, exchange, imports)


def ladder(names: tuple[str, ...] = RUNGS[:2]) -> Iterator[Rung]:
    """The rungs among `names` that work on this machine, the best first; each one is tried when it is asked for."""
    with tempfile.TemporaryDirectory(prefix="tito-probe-") as folder:
        os.chmod(folder, 0o755)
        kit = make_kit(Path(folder), Path(folder) / "none", [])
        for name in names:
            for drop in (True, False) if os.geteuid() == 0 else (False,):
                rung = Rung(name, drop, _words(name, drop))
                if _works(rung, kit) or _works(rung, kit):  # once more, as a busy machine may have refused it
                    yield rung
                    break


def _words(name: str, drop: bool) -> str:
    locks = ["landlock"] if lockdown.landlock_version() else []
    who = (
        "user id of its own"
        if drop
        else "uid 0 without capabilities"
        if os.geteuid() == 0 and name != "bubblewrap"
        else ""
    )
    first = ["bubblewrap"] if name == "bubblewrap" else []
    return " + ".join([*first, *locks, "seccomp", "rlimits", *([who] if who else [])])


def _works(rung: Rung, kit: Kit) -> bool:
    """Whether a process on this rung comes up and reports."""
    if platform.machine() not in lockdown.ARCHITECTURES or not sys.platform.startswith("linux"):
        return False
    if rung.name == "bubblewrap" and not shutil.which("bwrap"):
        return False
    if rung.name == "landlock" and not lockdown.landlock_version():
        return False
    words, environment = command(rung, kit, {"memory": 1 << 30, "cpu": 10})
    box = Box(words, environment, FIRST_USER - 1 if rung.drop else None)
    student = StudentProcess(box)
    try:
        student.start()
        return isinstance(student.levels, list) and "seccomp" in student.levels
    except NotStartedError:
        return False
    finally:
        student.stop()
        box.stop()


def choose(wanted: str | None = None, unsafe: bool = False) -> Rung:
    """The rung to use: the best one, or the one `wanted`; CourseError if there is none and `unsafe` wasn't said."""
    if wanted not in (None, *RUNGS):
        raise CourseError(f"the isolation {wanted!r} is not known: there are {', '.join(RUNGS)}")
    if not sys.platform.startswith("linux"):
        raise CourseError("grading needs Linux, whose kernel makes the sandbox: use a Linux machine or a container")
    names = RUNGS[:2] if wanted is None else tuple({wanted} - {"none"})
    rung = next(ladder(names), None)
    if rung is not None:
        return rung
    if unsafe:
        return Rung("none", False, f"NO ISOLATION: {MISSING}")
    what = f"{wanted} does not work" if wanted in RUNGS[:2] else "no isolation works"
    raise CourseError(
        f"{what} on this machine (bubblewrap needs `bwrap`, Landlock needs Linux 5.13): install one, "
        f"or say --allow-unsafe; then {MISSING}"
    )
