"""A student's machine of another kind: an environment whose Python is a stand-in, and `tito` run in it."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import psutil
import pytest

from tito.course import notebook
from tito.course.registry import Course

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
BEGIN = """\
import site; site.addsitedir({libraries!r})
import sys; sys.path.append({here!r}); import standin; standin.install({system!r}); sys.path.remove({here!r})
"""

sys.path.append(str(HERE))  # for `lacks`


def pytest_ignore_collect(collection_path, config):
    """The stand-ins are Linux in disguise."""
    return True if collection_path.name == "test_walks.py" and sys.platform != "linux" else None


@pytest.fixture(scope="session")
def interpreter(tmp_path_factory):
    """interpreter("windows") -> the Python of an environment in which the course's code sees that system."""
    made = {}

    def interpreter(system):
        if system not in made:
            folder = tmp_path_factory.mktemp(system) / "venv"
            venv.create(folder, symlinks=True)
            [packages] = folder.glob("lib/python*/site-packages")
            words = {"libraries": sysconfig.get_path("purelib"), "here": str(HERE), "system": system}
            (packages / "standin.pth").write_text(BEGIN.format(**words), encoding="utf-8")
            made[system] = folder / "bin" / "python"
        return made[system]

    return interpreter


class Student:
    """Somebody with a machine, whose folder has a blank and an umlaut in its name."""

    def __init__(self, system: str, python: Path, home: Path):
        self.system, self.python, self.home = system, python, home
        self.folder = home / "Jane Döe"
        self.folder.mkdir()
        self.course = self.folder / "my course"
        temporary = home / "temporary"
        temporary.mkdir()
        if system == "macos":
            (home / "link").symlink_to(temporary)
            temporary = home / "link"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TITO", "TINY"))},
            **{"STANDIN_HOME": str(home), "TMPDIR": str(temporary), "COLUMNS": "100", "USER": "jane"},
            **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1"),
            **dict.fromkeys(("PYTHONDONTWRITEBYTECODE", "TITO_TEST"), "1"),
        }

    def command(self, *words: str) -> list[str]:
        return [str(self.python), "-P", "-m", "tito", *words]

    def tito(self, *words: str, code: int = 0, cwd: Path | None = None) -> str:
        """What a command says; it must end with that code, and without a traceback."""
        ended = subprocess.run(
            self.command(*words), cwd=cwd or self.course, env=self.environment, capture_output=True, timeout=120
        )
        said = (ended.stdout + ended.stderr).decode("cp1252" if self.system == "windows" else "utf-8")
        assert ended.returncode == code, f"tito {' '.join(words)} ended with {ended.returncode}:\n{said}"
        assert "Traceback" not in said, said
        return " ".join(said.split())

    def write(self, module: str, answers: dict[str, str] | None = None) -> None:
        """Write a module's notebooks: the reference's solutions, but for those that are given (cell -> source)."""
        for path in Course.load(REPOSITORY).module(module).notebooks:
            there = self.course / path.relative_to(REPOSITORY)
            reference = {cell["id"]: cell["source"] for cell in notebook.read(path)["cells"]}
            nb = notebook.read(there)
            for cell in nb["cells"]:
                if notebook.kind(cell) in ("solution", "manual"):
                    cell["source"] = (answers or {}).get(cell["id"], reference[cell["id"]])
            notebook.write(there, nb)

    def running(self) -> list[str]:
        """The commands that still run and have this student's environment."""
        mark, found = f"STANDIN_HOME={self.home}", []
        for process in psutil.process_iter():
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("STANDIN_HOME") == str(self.home):
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                pass
        return found if mark else []


@pytest.fixture
def student(interpreter, tmp_path):
    """student("windows") -> a Student."""
    return lambda system: Student(system, interpreter(system), tmp_path)
