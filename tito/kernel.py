"""The Jupyter kernel TinyTorch: IPython's own, with the course that a notebook lies in first on the path.

Without it a notebook in `modules/09_spatial` would import whichever `tinytorch` is installed.
"""

import json
import sys
import tempfile
from pathlib import Path

from tito import CourseError
from tito.course import find_root
from tito.parcel import KERNEL

NAME = KERNEL["name"]


def spec() -> dict:
    """The kernel's description; -P keeps the notebook's own folder from coming before the libraries."""
    command = [sys.executable, "-P", "-m", "tito.kernel", "-f", "{connection_file}"]
    return {"argv": command, "display_name": KERNEL["display_name"], "language": KERNEL["language"]}


def place(prefix: str | Path | None = None) -> Path:
    """Where the kernel's description lies in an environment."""
    return Path(prefix or sys.prefix) / "share" / "jupyter" / "kernels" / NAME / "kernel.json"


def installed(prefix: str | Path | None = None) -> bool:
    """Whether this environment has the kernel, and it starts this Python."""
    try:
        found = json.loads(place(prefix).read_text(encoding="utf-8"))
        return {key: found.get(key) for key in spec()} == spec()
    except (OSError, ValueError, AttributeError):
        return False


def install(prefix: str | Path | None = None) -> Path:
    """Install the kernel into this environment, for which no rights outside of it are needed; again is no harm."""
    try:
        import ipykernel  # noqa: F401  (what the kernel runs)
        from jupyter_client.kernelspec import KernelSpecManager
    except ImportError:
        raise CourseError('the kernel needs JupyterLab, of the extra [lab]: pip install "tinytorch[lab]"') from None
    if not installed(prefix):
        try:
            with tempfile.TemporaryDirectory() as folder:
                (Path(folder) / "kernel.json").write_text(json.dumps(spec(), indent=1) + "\n", encoding="utf-8")
                KernelSpecManager().install_kernel_spec(folder, NAME, prefix=str(prefix or sys.prefix))
        except OSError as error:
            raise CourseError(f"the kernel cannot be installed: {error.strerror or error}: {place(prefix)}") from error
    return place(prefix)


def put_course_first(here: Path) -> None:
    """Make the nearest course at or above `here` the first place to import from; nothing where there is none."""
    try:
        root = str(find_root(here))
    except CourseError:
        return
    sys.path[:] = [root, *(folder for folder in sys.path if folder != root)]


def main() -> None:
    """Run as a kernel; Jupyter starts it in the notebook's folder."""
    put_course_first(Path.cwd())
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()


if __name__ == "__main__":
    main()
