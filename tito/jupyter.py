"""Jupyter: the kernel TinyTorch, `tito lab`, and nbgrader's formgrader.

The kernel is IPython's own, with the course that a notebook lies in first on the path. Without it a notebook in
`modules/09_spatial` would import whichever `tinytorch` is installed.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path
from urllib.parse import quote

from tito import CourseError, kernel
from tito.course.notebook import KERNEL
from tito.course.registry import Course, find_root
from tito.course.scaffold import PRISTINE
from tito.course.storage import temporary, write_atomic
from tito.runner import platform

NAME = KERNEL["name"]
# What JupyterLab would otherwise ask or fetch before a student has typed a word.
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
# nbgrader's tools for instructors; a student needs its Validate button only.
INSTRUCTORS = ("assignment-list", "course-list", "create-assignment", "formgrader", "menu")
SERVING_THEM = ("assignment_list", "course_list", "formgrader")  # their parts of the server, which warn at every start
# What no student edits: the script that an export writes beside a notebook, and what JupyterLab hides by itself.
HIDDEN = ("*_dev.py", "__pycache__", "*.pyc", "*.pyo", ".DS_Store", "*~")


def kernel_spec() -> dict:
    """The kernel's description; -P keeps the notebook's own folder from coming before the libraries."""
    command = [sys.executable, "-P", "-m", "tito.jupyter", "-f", "{connection_file}"]
    return {"argv": command, "display_name": KERNEL["display_name"], "language": KERNEL["language"]}


def kernel_file(prefix: str | Path | None = None) -> Path:
    """Where the kernel's description lies in an environment."""
    return Path(prefix or sys.prefix) / "share" / "jupyter" / "kernels" / NAME / "kernel.json"


def kernel_installed(prefix: str | Path | None = None) -> bool:
    """Whether this environment has the kernel, and it starts this Python."""
    try:
        found = json.loads(kernel_file(prefix).read_text(encoding="utf-8"))
        return {key: found.get(key) for key in kernel_spec()} == kernel_spec()
    except (OSError, ValueError, AttributeError):
        return False


def install_kernel(prefix: str | Path | None = None) -> Path:
    """Install the kernel into this environment, for which no rights outside of it are needed; again is no harm."""
    try:
        import ipykernel  # noqa: F401  (what the kernel runs)
        from jupyter_client.kernelspec import KernelSpecManager
    except ImportError:
        raise CourseError('the kernel needs JupyterLab, of the extra [lab]: pip install "tinytorch[lab]"') from None
    if not kernel_installed(prefix):
        try:
            with temporary() as folder:
                (Path(folder) / "kernel.json").write_text(json.dumps(kernel_spec(), indent=1) + "\n", encoding="utf-8")
                KernelSpecManager().install_kernel_spec(folder, NAME, prefix=str(prefix or sys.prefix))
        except OSError as error:
            place = kernel_file(prefix)
            raise CourseError(f"the kernel cannot be installed: {error.strerror or error}: {place}") from error
    return kernel_file(prefix)


def put_course_first(here: Path) -> None:
    """Make the nearest course at or above `here` the first place to import from; nothing where there is none."""
    try:
        root = str(find_root(here))
    except CourseError:
        return
    sys.path[:] = [root, *(folder for folder in sys.path if folder != root)]


def lab_command(course: Course, opened: Path | None, options: list[str]) -> list[str]:
    """The words that start JupyterLab; `options` are passed on to it."""
    page = f"/lab/tree/{quote(opened.relative_to(course.root).as_posix())}" if opened else "/lab"
    return [
        *(sys.executable, "-m", "jupyterlab"),
        f"--ServerApp.root_dir={course.root}",
        f"--LabApp.default_url={page}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.log_level=WARN",
        "--ServerApp.log_level=WARN",
        *(["--allow-root"] if platform.is_superuser() else []),
        *options,
    ]


def lab_environment(course: Course) -> dict[str, str]:
    """The server's environment, which its kernels inherit: this course and this interpreter come first."""
    settings = course.state / "jupyter"
    student = (course.state / PRISTINE).is_dir()
    disabled = {f"@jupyter/nbgrader:{name}": True for name in INSTRUCTORS if student}
    served = {f"nbgrader.server_extensions.{name}": False for name in SERVING_THEM if student}
    hidden = {"ContentsManager": {"hide_globs": HIDDEN}} if student else {}
    files = {
        "labconfig/default_setting_overrides": SETTINGS,
        "labconfig/page_config": {"disabledExtensions": disabled},
        "jupyter_server_config": {"ServerApp": {"jpserver_extensions": served}, **hidden},
    }
    for name, content in files.items():
        write_atomic(settings / f"{name}.json", json.dumps(content, indent=1) + "\n")
    first = {
        "PYTHONPATH": course.package.parent,
        "PATH": Path(sys.executable).parent,
        "JUPYTER_CONFIG_PATH": settings,
    }
    joined = {key: os.pathsep.join(filter(None, [str(value), os.environ.get(key)])) for key, value in first.items()}
    return {**os.environ, **joined}


def open_lab(course: Course, opened: Path | None, options: list[str]) -> None:
    """Become JupyterLab; does not return. Ctrl-C is JupyterLab's from here on."""
    if importlib.util.find_spec("jupyterlab") is None:
        raise CourseError('JupyterLab is not installed; it belongs to the extra [lab]: pip install "tinytorch[lab]"')
    platform.become(lab_command(course, opened, options), lab_environment(course))


def open_formgrader(root: Path, browser: bool, port: int) -> None:
    """Become JupyterLab on nbgrader's formgrader; does not return."""
    if not importlib.util.find_spec("jupyterlab") or not importlib.util.find_spec("nbgrader"):
        raise CourseError('formgrader needs JupyterLab and nbgrader: pip install "tinytorch[lab,grade]"')
    words = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}", f"--port={port}"]
    words += ["--LabApp.news_url=None", "--LabApp.default_url=/formgrader", *([] if browser else ["--no-browser"])]
    words += ["--allow-root"] if platform.is_superuser() else []
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.chdir(root)
    platform.become(words, {**os.environ, "PATH": path})


def main() -> None:
    """Run as a kernel; Jupyter starts it in the notebook's folder."""
    put_course_first(Path.cwd())
    from ipykernel.kernelapp import IPKernelApp

    app = IPKernelApp.instance()
    app.initialize()
    kernel.load(app.shell, Path.cwd())
    app.start()


if __name__ == "__main__":
    main()
