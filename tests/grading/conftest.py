"""A small course with nbgrader's gradebook, and submissions made from its release."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from filelock import FileLock

from tito import cli
from tito.course.registry import Course
from tito.grading.service import GradingService

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("01_tensor", "02_activations")
SECRET = "leaky_relu is wrong for slope"  # only a hidden test of 02 says so


def load(name, folder=Path(__file__).parent):
    """A neighbouring file, as a module."""
    spec = importlib.util.spec_from_file_location(f"{folder.name}_{name}", folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copy_course(folder, modules=MODULES):
    """The course's files, with some of its modules."""
    for name in modules:
        shutil.copytree(ROOT / "modules" / name, folder / "modules" / name, ignore=shutil.ignore_patterns("*_dev.py*"))
    shutil.copytree(ROOT / "tinytorch", folder / "tinytorch", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("settings.ini", "nbgrader_config.py"):
        shutil.copy(ROOT / name, folder)
    return folder


write_submission = load("samples").write_submission
chromium = load("conftest", ROOT / "tests" / "cli").chromium


@pytest.fixture(scope="session")
def submission():
    """The function that writes a submission."""
    return write_submission


@pytest.fixture(scope="session")
def hostile():
    """The attacks and accidents of hostile.py."""
    return load("hostile")


@pytest.fixture(scope="session")
def secret():
    """Words that stand only in a hidden test of 02."""
    return SECRET


@pytest.fixture(scope="session")
def released(tmp_path_factory):
    """A course whose 02 is in the gradebook; made once for all processes of pytest, to be copied."""
    if importlib.util.find_spec("nbgrader") is None:  # its import takes a second
        pytest.skip("nbgrader is not installed")
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    folder = shared / "released"
    with FileLock(shared / "released.lock"):
        if not (folder / "done").exists():
            course = Course.load(copy_course(folder))
            (folder / "grading").mkdir()
            GradingService(course).assign(course.module("02"))
            (folder / "done").touch()
    return folder


@pytest.fixture
def course(released, tmp_path):
    """A course of one's own, released, without submissions."""
    folder = tmp_path / "course"
    shutil.copytree(released, folder)
    return Course.load(folder)


@pytest.fixture(scope="session")
def best_rung():
    """The probe of the sandbox, once for all tests."""
    from tito.grading.sandbox import isolation

    return next(isolation.ladder(), None)


@pytest.fixture
def one_rung(best_rung, monkeypatch):
    """Whoever asks what isolation there is gets the answer of the one probe."""
    from tito.grading.sandbox import isolation

    if best_rung is None:
        pytest.skip("no isolation works on this machine")
    monkeypatch.setattr(isolation, "ladder", lambda names=None: iter([best_rung]))


@pytest.fixture
def desk(course, submission):
    """The desk of a course in which three have handed in 02: all of it, nothing, two exercises."""
    desk = GradingService(course)
    for student, solved in (("ada", "all"), ("ben", ()), ("cleo", ("relu", "sigmoid"))):
        submission(desk.settings["submitted"] / student / "02_activations" / "activations_dev.ipynb", solved=solved)
    return desk


@pytest.fixture
def grade(course, monkeypatch, capsys):
    """Run `tito grade` in the course, in this process: (exit code, stdout, stderr)."""

    def run(*words, **settings):
        with monkeypatch.context() as here:
            here.chdir(course.root)
            here.setattr(sys, "argv", ["tito", "grade", *words])
            for name, value in {"COLUMNS": "80", **settings}.items():
                here.setenv(name, value)
            capsys.readouterr()
            with pytest.raises(SystemExit) as end:
                cli.main()
        return end.value.code or 0, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def run_steps():
    """A function that runs a student's cells and graded cells (4 points each) in the box, with nothing but NumPy."""
    from tito.course.scaffold import hidden_lines
    from tito.grading import plan
    from tito.grading.grade import Worker
    from tito.grading.sandbox import isolation
    from tito.grading.sandbox.cells import prepare

    rung = next(isolation.ladder(), None)
    if rung is None:
        pytest.skip("no isolation works on this machine")
    limits = {"wall": 30.0, "cell": 5.0, "cpu": 20, "memory": 1 << 30}

    def run(student, graded, own=None, seed=None, after=()):
        def solution(id, source):
            return {
                "kind": "solution",
                "id": id,
                "source": source,
                **plan.defined(prepare(source, "").source),
                "imports": "",
            }

        steps = [solution("student", student)]
        for id, source in graded.items():
            hidden = hidden_lines(source)
            steps.append({"kind": "graded", "id": id, "source": source, "points": 4.0, "hidden": hidden})
        steps += [solution(f"after {number}", source) for number, source in enumerate(after)]
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            kit = isolation.make_kit(Path(folder), Path(folder) / "none", [])

            class One:
                def __init__(self):
                    self.limits = limits

                def setting(self, part):
                    command, environment = isolation.command(rung, kit, limits)
                    box = {"command": command, "environment": environment, "limits": limits, "package": "tinytorch"}
                    box |= {"exchange": str(kit.exchange), "drop": rung.drop, "own": own or {}}
                    return {"name": folder, "setting": box}

                def task(self, part, steps, seed):
                    return {"name": folder, "steps": steps, "seed": seed}

            worker = Worker(0)
            try:
                return worker.execute(One(), None, steps, seed)
            finally:
                worker.stop()

    return run


PYTEST = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
SOMEBODY = 12_345  # a user id that nobody has


def become(needed):
    """In a child: be a user who is not root. Where root's own folders bar the way, in a view without."""
    libc = ctypes.CDLL(None, use_errno=True)
    closed = {top for path in needed for top in [path, *path.parents] if not top.stat().st_mode & 1}
    if closed:
        if libc.unshare(0x20000) or libc.mount(None, b"/", None, 0x44000, None):  # CLONE_NEWNS; MS_REC, MS_PRIVATE
            raise OSError(ctypes.get_errno(), "a view of one's own")
        held = {path: os.open(path, os.O_PATH) for path in needed}
        for top in sorted(closed):
            libc.mount(b"none", bytes(top), b"tmpfs", 0, b"mode=755")
        for path, descriptor in held.items():
            path.mkdir(parents=True, exist_ok=True)
            if libc.mount(f"/proc/self/fd/{descriptor}".encode(), bytes(path), None, 0x5000, None):  # MS_BIND, MS_REC
                raise OSError(ctypes.get_errno(), f"{path} cannot be bound")
    os.setgroups([])
    os.setresgid(SOMEBODY, SOMEBODY, SOMEBODY)
    os.setresuid(SOMEBODY, SOMEBODY, SOMEBODY)


@pytest.fixture
def as_somebody(tmp_path):
    """Run pytest as a user who is not root; all has to pass. `.python(code, *words)` gives what it prints."""
    if os.geteuid():
        pytest.skip("this user is not root to begin with")
    tmp_path.chmod(0o755)
    needed = {ROOT, Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve(), tmp_path}
    needed = [path for path in needed if not any(other in path.parents for other in needed)]

    def python(code, *words):
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o777)
            environment = {**os.environ, "HOME": folder, "TMPDIR": folder, "PYTHONDONTWRITEBYTECODE": "1"}
            done = subprocess.run(
                [sys.executable, "-c", code, *map(str, words)], cwd=ROOT, env={**environment, "PYTHONPATH": str(ROOT)},
                capture_output=True, text=True, preexec_fn=lambda: become(needed),
            )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def run(*words):
        told = python(PYTEST, "-q", "-rs", "-p", "no:cacheprovider", "-p", "no:xdist", *words)
        assert " skipped" not in told and " passed" in told, told

    run.python = python
    return run
