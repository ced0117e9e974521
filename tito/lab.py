"""`tito lab`: JupyterLab on a module's notebook, with the course's package first on the kernel's path."""

import importlib.util
import json
import os
import sys
from pathlib import Path
from urllib.parse import quote

from tito import CourseError
from tito.course import Course
from tito.files import write_atomic
from tito.scaffold import PRISTINE

# What JupyterLab would otherwise ask or fetch before a student has typed a word.
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
# nbgrader's tools for instructors; a student needs its Validate button only.
INSTRUCTORS = ("assignment-list", "course-list", "create-assignment", "formgrader", "menu")


def command(course: Course, notebook: Path | None, options: list[str]) -> list[str]:
    """The words that start JupyterLab; `options` are passed on to it."""
    page = f"/lab/tree/{quote(notebook.relative_to(course.root).as_posix())}" if notebook else "/lab"
    return [
        *(sys.executable, "-m", "jupyterlab"),
        f"--ServerApp.root_dir={course.root}",
        f"--LabApp.default_url={page}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.log_level=WARN",
        *(["--allow-root"] if os.geteuid() == 0 else []),
        *options,
    ]


def environment(course: Course) -> dict[str, str]:
    """The server's environment, which its kernels inherit: this course and this interpreter come first."""
    settings = course.state / "jupyter"
    student = (course.state / PRISTINE).is_dir()
    disabled = {f"@jupyter/nbgrader:{name}": True for name in INSTRUCTORS if student}
    for name, content in ("default_setting_overrides", SETTINGS), ("page_config", {"disabledExtensions": disabled}):
        write_atomic(settings / "labconfig" / f"{name}.json", json.dumps(content, indent=1) + "\n")
    first = {
        "PYTHONPATH": course.package.parent,
        "PATH": Path(sys.executable).parent,
        "JUPYTER_CONFIG_PATH": settings,
    }
    joined = {key: os.pathsep.join(filter(None, [str(value), os.environ.get(key)])) for key, value in first.items()}
    return {**os.environ, **joined}


def open_lab(course: Course, notebook: Path | None, options: list[str]) -> None:
    """Become JupyterLab; does not return. Ctrl-C is JupyterLab's from here on."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise CourseError('JupyterLab is not installed; it belongs to the extra [lab]: pip install "tinytorch[lab]"')
    words, variables = command(course, notebook, options), environment(course)
    sys.stdout.flush()
    os.execve(words[0], words, variables)
