"""The wheels: the course travels in the one, and the one that students get holds no solution of what is theirs."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tito.author.leak_check import search
from tito.author.wheel import _build, students_wheel
from tito.course.registry import Course
from tito.student import template, workspace

REPOSITORY = Path(__file__).resolve().parents[2]
TYPES = [path.relative_to(REPOSITORY) for path in (REPOSITORY / "tinytorch").rglob("*.pyi")] + [
    Path("tinytorch/py.typed")
]
PYTHONS = "3.11", "3.12", "3.13"


def unpacked(wheel, folder):
    """What `pip install` puts into site-packages."""
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder)
    return folder


def run(site, cwd, *words):
    """`tito` as it is installed in `site`, with nothing of the repository on the path."""
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-P", "-m", "tito", *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the repository, without what only its tests need."""
    tree = tmp_path_factory.mktemp("tree")
    for path in template.course_files(Course.load(REPOSITORY)):
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / path, tree / path)
    shutil.copytree(REPOSITORY / "tito", tree / "tito", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(REPOSITORY / "docs", tree / "docs")
    for path in TYPES:
        shutil.copyfile(REPOSITORY / path, tree / path)
    return tree


@pytest.fixture(scope="module")
def site(tree, tmp_path_factory):
    """The whole course as installed from a wheel that was built from a copy of the repository."""
    built = tmp_path_factory.mktemp("built")
    return unpacked(built / _build(tree, built), tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory):
    """A wheel that was built from the source distribution."""
    built, source = tmp_path_factory.mktemp("built"), tmp_path_factory.mktemp("source")
    script = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    subprocess.run([sys.executable, "-P", "-c", script, built], cwd=tree, check=True, capture_output=True)
    [archive] = built.iterdir()
    with tarfile.open(archive) as packed:
        packed.extractall(source, filter="data")
    [folder] = source.iterdir()
    return built / _build(folder, built)


def test_a_wheel_carries_the_course(site, tmp_path):
    made = run(site, tmp_path, "init", "Käthes Kurs", "--from", "09", "--no-kernel")
    assert (made.returncode, made.stderr) == (0, "") and "Next: cd 'Käthes Kurs' && tito" in made.stdout
    course = tmp_path / "Käthes Kurs"
    workspace.init(tmp_path / "same", workspace.choose_modules(Course.load(REPOSITORY), "09", [], False))
    there, same = ({p.relative_to(root).as_posix() for p in root.rglob("*")} for root in (course, tmp_path / "same"))
    assert there == same
    again = run(site, course / "modules", "init", "..", "--update", "--no-kernel")
    assert "has the newest course text" in " ".join(again.stdout.split())
    missing = run(site, course, "milestone", "run", "04")
    assert missing.returncode == 1 and "Module 09 is yours to write: tito lab 09" in missing.stderr
    shown = run(site, course / "modules/09_spatial", "status")
    assert shown.returncode == 0 and "09_spatial" in shown.stdout


def test_the_wheel_carries_the_types(site):
    assert len(TYPES) > 10 and [path for path in TYPES if not (site / path).is_file()] == []


def test_the_students_wheel_holds_no_solution(site, tmp_path):
    source = Course.load(site / "tito/_course")  # an instructor has installed the whole course
    wheel = students_wheel(workspace.choose_modules(source, "09", [], False), tmp_path / "out")
    assert "+students" in wheel.name
    handed = unpacked(wheel, tmp_path / "handed")
    package = handed / "tinytorch/core/spatial.py"
    assert package.read_text().startswith(template.STUB_MARK) and not list(handed.rglob("*.pyc"))
    assert search(source, [source.module("09")], handed) == []
    assert search(Course.load(REPOSITORY), [], handed) == search(Course.load(REPOSITORY), [], site) == []
    assert "+students" in run(handed, tmp_path, "--version").stdout
    made = run(handed, tmp_path, "init", "mine", "--from", "09", "--no-kernel")
    assert made.returncode == 0, made.stderr
    asked = run(handed, tmp_path, "init", "more", "--from", "09", "--with-reference", "--no-kernel")
    assert asked.returncode == 1 and "no reference of module 09" in asked.stderr


@pytest.mark.slow
def test_a_corrected_course_is_a_new_version_and_update_brings_it(site, tmp_path):
    """pip skips a version that is installed; the same course keeps its version."""
    tree = tmp_path / "corrected"
    shutil.copytree(site / "tito/_course", tree)

    def build(folder):
        plan = workspace.choose_modules(Course.load(tree), "09", [], False)
        wheel = students_wheel(plan, tmp_path / folder)
        return wheel.name, unpacked(wheel, tmp_path / f"site-{folder}")

    first, old = build("first")
    assert build("again")[0] == first
    assert run(old, tmp_path, "init", "mine", "--from", "09", "--no-kernel").returncode == 0
    page = tree / "modules/09_spatial/README.md"
    page.write_text(page.read_text(encoding="utf-8") + "\nA correction.\n", encoding="utf-8")
    second, new = build("second")
    assert second.split("-")[1] != first.split("-")[1] and "+students.v" in second
    updated = run(new, tmp_path, "init", "mine", "--update", "--no-kernel")
    assert updated.returncode == 0 and "newest" not in updated.stdout, updated.stderr
    assert (tmp_path / "mine/modules/09_spatial/README.md").read_text(encoding="utf-8").endswith("A correction.\n")


@pytest.mark.slow
@pytest.mark.parametrize("python", PYTHONS)
def test_in_a_bare_environment_module_02_and_milestone_04_are_walked(wheel, tmp_path, python):
    """With uv, which makes the environment and fills it through the package index."""
    bare = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment = {**bare, "HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    place = tmp_path / "environment"
    uv = [sys.executable, "-m", "uv"]
    made = subprocess.run([*uv, "venv", "-q", "--no-python-downloads", "--python", python, place], capture_output=True)
    if made.returncode:
        pytest.skip(f"no Python {python} here: uv python install {python}")
    into = [*uv, "pip", "install", "-q", "--python", place, "-c", REPOSITORY / "constraints.txt", f"{wheel}[lab]"]
    subprocess.run(into, check=True, timeout=900)
    tito = place / ("Scripts" if os.name == "nt" else "bin") / "tito"
    course, name = tmp_path / "mine", "modules/02_activations/activations_dev.ipynb"

    def walk(*words, cwd=course, code=0):
        ended = subprocess.run([tito, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)
        assert ended.returncode == code, f"{words}\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    walk("init", "mine", "--modules", "02", "--no-kernel", cwd=tmp_path)
    walk("test", "02", code=1)
    shutil.copyfile(REPOSITORY / name, course / name)
    assert "100/100" in walk("test", "02")
    assert "Module 02 is complete" in walk("module", "complete", "02")
    assert "reached" in walk("milestone", "run", "04")


def test_the_command_says_where_the_wheel_is(tito):
    assert "--students" in tito("dev", "wheel").err
