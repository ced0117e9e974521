"""A student's machine of another kind: an environment whose Python is a stand-in, and `tito` run in it.

On a real Windows or macOS there is one kind, "here", with this Python.
"""

import contextlib
import locale
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import venv
from pathlib import Path

import psutil
import pytest

from tito.course import notebook
from tito.course.registry import Course
from tito.runner import platform

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
BEGIN = """\
import site; site.addsitedir({libraries!r})
import sys; sys.path.append({here!r}); import standin; standin.install({system!r}); sys.path.remove({here!r})
"""

sys.path.append(str(HERE))  # for `lacks`


@pytest.fixture(scope="session")
def interpreter(tmp_path_factory):
    """interpreter("windows") -> the Python of an environment in which the course's code sees that system."""
    made = {"here": Path(sys.executable)}

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
            **{"STANDIN_HOME": str(home), "COLUMNS": "100"},
            **dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(temporary)),
            **dict.fromkeys(("USER", "LOGNAME", "USERNAME"), "jane"),
            **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "PYTHONDONTWRITEBYTECODE"), "1"),
        }
        self.heard = ""

    def command(self, *words: str) -> list[str]:
        return [str(self.python), "-P", "-m", "tito", *words]

    def tito(self, *words: str, code: int = 0, cwd: Path | None = None) -> str:
        """What a command says; it must end with that code, and without a traceback."""
        ended = subprocess.run(
            self.command(*words), cwd=cwd or self.course, env=self.environment, capture_output=True, timeout=300
        )
        said = self.read(ended.stdout + ended.stderr)
        assert ended.returncode == code, f"tito {' '.join(words)} ended with {ended.returncode}:\n{said}"
        assert "Traceback" not in said, said
        return " ".join(said.split())

    def read(self, said: bytes) -> str:
        encoding = "cp1252" if self.system == "windows" else locale.getencoding()
        return said.decode(encoding, errors="replace")

    @contextlib.contextmanager
    def begin(self, *words: str):
        """A command that goes on meanwhile; what it says stands in `heard`."""
        self.heard = ""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with platform.start(self.command(*words), cwd=self.course, env=self.environment, **pipes) as process:

            def listen():
                while piece := os.read(process.stdout.fileno(), 1 << 16):
                    self.heard += self.read(piece)

            listening = threading.Thread(target=listen)
            listening.start()
            try:
                yield process
            finally:
                process.kill()
                listening.join(10)

    @property
    def ends(self) -> list[str]:
        """How a command is ended from outside: by Ctrl-C, where one process can send it, and without mercy."""
        return ["interrupt", "kill"] if os.name == "posix" else ["kill"]

    def end(self, process: subprocess.Popen, how: str) -> int:
        """End a command; its exit code."""
        if how == "kill":
            process.kill()
        else:
            process.send_signal(signal.SIGINT)
        return process.wait(60)

    def interrupt(self, process: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGINT)

    def children(self, process: int) -> list[int]:
        return [child.pid for child in psutil.Process(process).children()]

    def until(self, condition, seconds: float = 60.0) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"it did not come true; tito said:\n{self.heard}\n{self.running()}"
            time.sleep(0.05)

    def until_there(self, name: str) -> None:
        """Wait for a file of the course, and delete it."""
        self.until((self.course / name).exists)
        (self.course / name).unlink()

    def until_heard(self, text: str) -> None:
        self.until(lambda: text in self.heard)

    def until_nothing_runs(self) -> None:
        self.until(lambda: not self.running())

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
        """The commands that run still and were started from this student's."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                alive = process.status() != psutil.STATUS_ZOMBIE
                if alive and process.environ().get("STANDIN_HOME") == str(self.home):
                    found.append(" ".join(process.cmdline()))
        return found


@pytest.fixture
def student(interpreter, tmp_path):
    """student("windows") -> a Student."""
    return lambda system: Student(system, interpreter(system), tmp_path)
