"""A small course with nbgrader's gradebook, and submissions made from its release."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from tito.course.registry import Course
from tito.grading.service import GradingService

ROOT = Path(__file__).resolve().parents[2]
MODULES = ("01_tensor", "02_activations")
SECRET = "leaky_relu is wrong for slope"  # only a hidden test of 02 says so


def load(name):
    """A neighbouring file, as a module."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
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
    pytest.importorskip("nbgrader", reason="nbgrader is not installed")
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


@pytest.fixture
def grade(course):
    """Run `tito grade` in the course in a process of its own: (exit code, stdout, stderr)."""

    def run(*words, **settings):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings}
        command = [sys.executable, "-m", "tito", "grade", *words]
        done = subprocess.run(command, cwd=course.root, env=environment, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout, done.stderr

    return run
