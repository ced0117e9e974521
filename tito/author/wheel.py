"""`tito dev wheel --students`: the wheel an instructor hands out, which holds no solution of what is to be written."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tito import CourseError
from tito.author.leak_check import search
from tito.course.storage import put, temporary
from tito.student.template import Handout, handout_files

_ORIGINALS = ("settings.ini", "pyproject.toml", "README.md")
_BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


def students_wheel(plan: Handout, folder: Path) -> Path:
    """Build the wheel into `folder`: scaffolds, stubs in the package, and no reference of the modules left to write."""
    with temporary(prefix="tito-wheel-") as tree, temporary() as built:
        _lay_out(plan, Path(tree))
        written = [module for module in plan.source.modules if module.number in plan.yours]
        for path, cell, _ in search(plan.source, written, Path(tree)):
            raise CourseError(f"no wheel was built: {path.relative_to(tree)} holds lines of the answer in {cell}")
        name = _build(Path(tree), Path(built))
        try:
            put(folder / name, (Path(built) / name).read_bytes())
        except OSError as error:
            raise CourseError(f"cannot write in {folder}: {error.strerror or error}") from error
    return folder / name


def _lay_out(plan: Handout, tree: Path) -> None:
    """A source tree like the repository's, made of what a student may see, and of tito."""
    made = {name: content for name, content in handout_files(plan).items() if not name.startswith(".tito/")}
    made |= {name: (plan.source.root / name).read_bytes() for name in _ORIGINALS}
    for name, content in made.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    left_out = shutil.ignore_patterns("__pycache__", "_course", ".*")
    shutil.copytree(Path(__file__).parents[1], tree / "tito", ignore=left_out)
    about = tree / "tito" / "__init__.py"
    text = re.sub(r'(__version__ = "[^"+]+)[^"]*"', r'\1+students"', about.read_text(encoding="utf-8"))
    about.write_text(text, encoding="utf-8")
    version = f"+students.v{_digest(tree)}"  # pip skips a wheel whose version is there already
    about.write_text(text.replace("+students", version), encoding="utf-8")


def _digest(tree: Path) -> str:
    """Of every file's name and content: the same course gives the same."""
    found = hashlib.sha256()
    for path in sorted(path for path in tree.rglob("*") if path.is_file()):
        content = path.read_bytes()
        found.update(f"{path.relative_to(tree).as_posix()}\0{len(content)}\0".encode() + content)
    return found.hexdigest()[:8]


def _build(tree: Path, built: Path) -> str:
    ended = subprocess.run(
        [sys.executable, "-P", "-c", _BUILD, str(built)],
        cwd=tree,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    if ended.returncode:
        said = (ended.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise CourseError(f'the wheel could not be built: {said}\nIt needs setuptools: pip install "setuptools>=77"')
    return ended.stdout.strip().splitlines()[-1]
