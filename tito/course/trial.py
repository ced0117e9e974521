"""Import freshly built modules in a process of their own, and trace what fails back to the notebook's cell."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Course, Module

_PATIENCE = 60  # seconds an import may take
_HEADER = re.compile(r"# %% \S.*\.ipynb #(\S+)$")

_CHILD = """
import importlib, json, os, sys, threading, traceback

def leave_with_parent(given):  # what comes from it ends when it does
    os.read(given, 1)
    os._exit(1)

given = os.dup(0)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
threading.Thread(target=leave_with_parent, args=(given,), daemon=True).start()
folder, package, answer, *names = sys.argv[1:]
# finders of editable installs would lend an installed package's modules where this one has none
sys.meta_path[:] = [f for f in sys.meta_path if not str(getattr(f, "__module__", "")).startswith("__editable__")]
sys.path.insert(0, folder)
result = None
try:
    for name in names:
        importlib.import_module(name)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and name.partition(".")[0] == package and not file.startswith(folder):
            raise ImportError(f"{name} came from {file}, not from this course")
except BaseException as error:
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno or 1))
    result = {"error": f"{type(error).__name__}: {error}", "frames": frames}
with open(answer, "w", encoding="utf-8") as file:
    json.dump(result, file)
"""


def try_import(course: Course, modules: list[Module], folder: Path) -> None:
    """Import what `modules` export from the package in `folder`; CourseError names the cell and line that fails."""
    folder = folder.resolve()
    names = [f"{course.package.name}.{target}" for module in modules for target in module.targets.values()]
    answer = folder / "answer.json"
    command = [sys.executable, "-PBc", _CHILD, str(folder), course.package.name, str(answer), *names]
    code, said = _ended(command, folder, f"importing {', '.join(names)} took over {_PATIENCE} s")
    if not answer.exists():
        said = said.strip().splitlines()[-1:] or [f"exit code {code}"]
        raise CourseError(f"importing {', '.join(names)} ended Python: {said[0]}. The package is as it was.")
    if failure := json.loads(answer.read_text(encoding="utf-8")):
        where = _locate(course, modules, folder / course.package.name, failure["frames"])
        raise CourseError(f"{where}: {failure['error']}. The package is as it was.")


def _ended(command: list[str], folder: Path, late: str) -> tuple[int, str]:
    """The exit code of a command and what it complained; CourseError `late` if it takes too long."""
    utf_8 = {**os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace"}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    child = subprocess.Popen(command, cwd=folder, env=utf_8, encoding="utf-8", errors="replace", **pipes)
    given, child.stdin = child.stdin, None  # kept open: by its end the child is told of this process's
    end = time.monotonic() + _PATIENCE
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):  # in short waits, between which Ctrl-C is heard
                said = child.communicate(timeout=0.2)[1]
                return child.returncode, said
            if time.monotonic() > end:
                raise CourseError(f"{late}. The package is as it was.")
    finally:
        child.kill()
        child.wait()
        given.close()


def _locate(course: Course, modules: list[Module], package: Path, frames: list[tuple[str, int]]) -> str:
    """Notebook, cell and line of the innermost frame in code just exported; else the innermost file of the package."""
    sources = {
        str(package / (target.replace(".", "/") + ".py")): source
        for module in modules
        for source, target in module.targets.items()
    }
    for file, line in reversed(frames):
        if file in sources and (place := _cell_line(sources[file], Path(file), line)):
            return f"{sources[file].relative_to(course.root)}, {place}"
    inside = [f"{Path(file).relative_to(package.parent)}, line {line}" for file, line in frames if str(package) in file]
    return inside[-1] if inside else f"importing {', '.join(module.folder for module in modules)}"


def _cell_line(source: Path, file: Path, line: int) -> str | None:
    """`cell 4 (conv2d), line 7`: the place in the notebook that a line of its exported file came from."""
    above = notebook.python_lines(file.read_text(encoding="utf-8"))[:line]
    headers = [(number, match[1]) for number, text in enumerate(above, 1) if (match := _HEADER.match(text))]
    if not headers:
        return None
    header, id = headers[-1]
    for number, cell in enumerate(notebook.read(source)["cells"], 1):
        if cell["id"] == id:
            start = notebook.opening(cell["source"])
            kept = [n for n, _ in notebook.library_lines(cell["source"]) if n > start]
            return f"{notebook.label(number, cell)}, line {kept[line - header - 1]}"
    return None
