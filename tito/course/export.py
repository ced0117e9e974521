"""Notebooks become the package: built by nbdev in a temporary copy, tried in a fresh process, then swapped in.

Whatever goes wrong before the swap leaves the package as it was. The bytes depend on the notebooks and on nothing else:
not on the folder, the order of exports, the locale or the hash seed.
"""

import ast
import codecs
import contextlib
import itertools
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from pprint import pformat
from typing import IO, Any, NamedTuple, cast

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Course, Module, file_of
from tito.course.storage import only_one, put_all, temporary

HAND_WRITTEN = (
    *("__init__.py", "nn/__init__.py", "optim/__init__.py"),
    *("backend.py", "download.py", "expected.py", "files.py", "images.py", "kernels.py", "lines.py"),
    *("predict.py", "progress.py", "refusals.py", "ways.py", "winograd.py"),
    *("testing.py", *(f"viz/{name}.py" for name in ("__init__", "house", "pictures", "plots", "sliding", "training"))),
    "viz/unfolding.py",
)
INDEX = "_modidx.py"
_PACKAGE_DOC = '"""Exported from the notebooks: edit those, not these files."""\n'
_ORIGIN = re.compile(r"^# %% (\S.*\.ipynb) #\S+$", re.MULTILINE)
_PATIENCE = 60  # seconds to wait for another export
_IMPORT_PATIENCE = 60  # seconds an import may take
_HEADER = re.compile(r"# %% \S.*\.ipynb #(\S+)$")


class Result(NamedTuple):
    """A file the export makes: whether it differs (or differed) from what was there, and what to say about it."""

    path: Path
    changed: bool
    note: str = ""


def export(
    course: Course, modules: Iterable[Module], *, lib_path: Path | None = None, check: bool = False, twins: bool = True
) -> list[Result]:
    """Export `modules` into the course's package, all or nothing, and write the notebooks' .py twins.

    With `check` nothing is written: the results say what is out of sync, leftovers included. With `lib_path`, which
    ends in the package's name, the package is built there (see `export_to`) and the course's own is left alone.
    """
    modules = list(modules)
    if lib_path is not None:
        if Path(lib_path).name != course.package.name:
            raise CourseError(f"lib_path must end in {course.package.name!r}, the package's name, and is {lib_path}")
        return [Result(path, True) for path in export_to(course, modules, Path(lib_path).parent)]
    with contextlib.nullcontext() if check else locked(course), temporary() as folder:
        files = export_to(course, modules, Path(folder))
        if check:
            return _compare(course, files, Path(folder)) + _leftovers(course)
        try_import(course, modules, Path(folder))
        results = _swap(course, files, Path(folder))
        return results + (_write_twins(course, modules) if twins else [])


def export_to(course: Course, modules: Iterable[Module], folder: Path) -> list[Path]:
    """Build `folder`/tinytorch: a copy of the package in which `modules` are the notebooks' code as it stands now.

    Put `folder` on a path to import it. Returns the files the export made. Raises CourseError, naming notebook, cell
    and line, where a notebook cannot be exported; nothing is imported.
    """
    package = Path(folder) / course.package.name
    if course.package.is_dir():
        shutil.copytree(course.package, package, ignore=shutil.ignore_patterns("__pycache__", ".*"), dirs_exist_ok=True)
        for path in (package, *package.rglob("*")):  # the copy of what is read-only is written to
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
    made = []
    for module in modules:
        for source in module.notebooks:
            file = package / file_of(notebook.target(_checked(course, source), source))
            if file in made or file.relative_to(package).as_posix() in HAND_WRITTEN:
                taken = file.relative_to(folder)
                raise CourseError(f"{source.name} cannot export to {taken}, which is taken: mend its `default_exp`")
            _run_nbdev(course, source, package, file)
            made.append(file)
    made += _package_files(package, made)
    (package / INDEX).write_text(_index(course, package), encoding="utf-8", newline="\n")
    return [*made, package / INDEX]


def _checked(course: Course, path: Path) -> dict:
    """The notebook at `path`, if every cell it exports is sound Python."""
    nb = notebook.read(path)
    if any("nbdev" in part["metadata"] for part in (nb, *nb["cells"])):
        where = path.relative_to(course.root)
        raise CourseError(f"{where} has nbdev directives in its metadata: write them as `#|` lines in its cells")
    for number, cell in enumerate(nb["cells"], 1):
        if cell["cell_type"] == "code" and (problem := _problem(cell)):
            place = f"{path.relative_to(course.root)}, {notebook.label(number, cell)}, line {problem[0]}"
            raise CourseError(f"{place}: {problem[1]}. The package is as it was.")
    if not any(map(notebook.exported, nb["cells"])):
        raise CourseError(f"{path.relative_to(course.root)} exports nothing: begin a code cell with `#| export`")
    return nb


def _problem(cell: dict) -> tuple[int, str] | None:
    """(line, what is wrong) if the cell cannot be exported as it stands."""
    source = cell["source"]
    if not notebook.exported(cell):
        if misplaced := notebook.misplaced(source):
            return misplaced
        return (1, "a solution cell must begin with `#| export`") if notebook.kind(cell) == "solution" else None
    if fault := notebook.fault(source):
        return fault
    for name, value in notebook.directives(source).items():
        if name.startswith("export") and value:
            return 1, f"`#| {name} {value}` names another module: a notebook exports to its `default_exp` only"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            return node.lineno, "a relative import does not work in a notebook: import from tinytorch"
    return None


def _run_nbdev(course: Course, source: Path, package: Path, file: Path) -> None:
    from nbdev.export import nb_export  # half a second, so only here
    from nbdev.maker import ModuleMaker

    class Maker(ModuleMaker):
        """Names the notebook as seen from the course's package, wherever the copy is, and no page on the web.

        For that page nbdev would read its configuration from the current folder and the user's home.
        """

        def __init__(self, **options):
            super().__init__(**options)
            self.dest2nb = Path(os.path.relpath(source, (course.package / file.relative_to(package)).parent)).as_posix()
            self.hdr = f"# %% {self.dest2nb}"
            self.nb_path = None

    file.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary() as folder:
            plain = Path(folder) / source.name  # without the byte order mark that an editor may have written
            plain.write_bytes(source.read_bytes().removeprefix(codecs.BOM_UTF8))
            nb_export(plain, lib_path=package.resolve(), procs=[_to_library], mod_maker=Maker)
    except (ValueError, OSError) as error:
        raise CourseError(f"nbdev cannot export {source.relative_to(course.root)}: {error}") from error
    if os.linesep != "\n":  # nbdev ends lines as the system does; the package's bytes are the same everywhere
        file.write_bytes(file.read_bytes().replace(os.linesep.encode(), b"\n"))
    _same_program(course, source, package, file)


def _same_program(course: Course, source: Path, package: Path, file: Path) -> None:
    """CourseError unless the exported file does what the notebook's cells do: the same statements, in their order."""
    where = file.relative_to(package.parent)
    cells = [cell for cell in notebook.read(source)["cells"] if notebook.exported(cell)]
    wanted = [(cell["id"], node) for cell in cells for node in _statements(ast.parse(cell["source"]).body, where)]
    try:
        got = _statements(ast.parse(file.read_bytes()).body, where)
    except (SyntaxError, ValueError) as error:
        raise CourseError(f"{source.relative_to(course.root)} was exported as what is not Python: {error}") from None
    for (id, one), other in itertools.zip_longest(wanted, got, fillvalue=("its last cell", "")):
        if one != other:
            place = f"{source.relative_to(course.root)}, cell {id}"
            raise CourseError(f"{place}: exported, it would be another program: look there for characters out of place")


def _statements(body: list[ast.stmt], where: Path) -> list[str]:
    """What a module does, statement by statement, without docstring and __all__; imports by their whole names."""
    kept = [node for node in body if not _is_text(node) and not _assigns(node, "__all__")]
    for node in kept:
        if isinstance(node, ast.ImportFrom) and node.level:
            parents = where.parts[: len(where.parts) - node.level]
            node.module, node.level = ".".join([*parents, *filter(None, [node.module])]), 0
    return [ast.dump(node) for node in kept]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _assigns(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.Assign) and [getattr(target, "id", "") for target in node.targets] == [name]


def _to_library(cell) -> None:
    """nbdev's processor: a cell without solution markers and the student's TODO and HINT comments."""
    if cell.cell_type == "code" and notebook.EXPORTS & cell.directives_.keys():
        cell.set_source("\n".join(line for _, line in notebook.library_lines(cell.source)))


def _package_files(package: Path, made: list[Path]) -> list[Path]:
    """Write the __init__.py of every folder that holds an exported module, except the hand-written ones."""
    found = {file.parent / "__init__.py" for file in made}
    inits = sorted(file for file in found if file.relative_to(package).as_posix() not in HAND_WRITTEN)
    for file in inits:
        file.write_text(_PACKAGE_DOC, encoding="utf-8", newline="\n")
    return inits


def _index(course: Course, package: Path) -> str:
    """nbdev's module index: every symbol of every exported module, so a single export never shortens it."""
    symbols = {}
    for file in sorted(package.rglob("*.py")):
        name = file.relative_to(package).as_posix()
        if file.name.startswith("_") or name in HAND_WRITTEN:
            continue
        module = f"{package.name}.{name.removesuffix('.py').replace('/', '.')}"
        page = _page(course, file.read_text(encoding="utf-8"), name)
        where = f"{package.name}/{name}"
        symbols[module] = {f"{module}.{symbol}": (f"{page}#{symbol.lower()}", where) for symbol in _names(file)}
    settings = {"branch": "main", "doc_baseurl": "/", "doc_host": "", "git_url": "", "lib_path": package.name}
    body = pformat({"settings": settings, "syms": symbols}, width=140, indent=2, compact=True)
    return f"# Autogenerated by tito export, in nbdev's format\n\nd = {body}\n"


def _page(course: Course, text: str, name: str) -> str:
    """The documentation page nbdev would give the notebook a module comes from."""
    match = _ORIGIN.search(text)
    if not match:
        return ""
    source = os.path.normpath((course.package / name).parent / match[1])
    page = Path(os.path.relpath(source, course.folder("nbs"))).with_suffix(".html")
    return page.with_name(re.sub(r"^\d+[a-zA-Z0-9]*_", "", page.name.lower())).as_posix()


def _names(file: Path) -> Iterator[str]:
    """The functions and classes a module defines, and the classes' methods as Class.method."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except SyntaxError:  # a broken file that this export doesn't touch
        return
    for node in tree.body:
        if isinstance(node, kinds):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{part.name}" for part in node.body if isinstance(part, kinds))


def _compare(course: Course, files: list[Path], folder: Path) -> list[Result]:
    results = []
    for file in files:
        path = course.package.parent / file.relative_to(folder)
        same = path.is_file() and path.read_bytes() == file.read_bytes()
        note = "" if same else "differs from its notebook" if path.is_file() else "missing"
        results.append(Result(path, not same, note))
    return results


def _leftovers(course: Course) -> list[Result]:
    """Files in the package that no notebook makes and nobody is meant to write by hand."""
    made = {file_of(target) for module in course.modules for target in module.targets.values()}
    made |= {f"{Path(name).parent.as_posix()}/__init__.py" for name in made}
    known = made | {*HAND_WRITTEN, INDEX, "py.typed"}
    known |= {f"{name}i" for name in known}  # the types of a file stand beside it
    files = sorted(file for file in course.package.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    left = [file for file in files if file.relative_to(course.package).as_posix() not in known]
    return [Result(file, True, "made by no notebook: delete it") for file in left]


def _swap(course: Course, files: list[Path], folder: Path) -> list[Result]:
    """Put the built files in place, all or none."""
    results = _compare(course, files, folder)
    pairs = zip(results, files, strict=True)
    try:
        for stale in course.package.rglob(".*.tmp"):  # from an export that was killed
            stale.unlink()
        put_all({result.path: file.read_bytes() for result, file in pairs if result.changed})
    except OSError as error:
        reason = error.strerror or error
        raise CourseError(f"cannot write {course.package}: {reason}. The package is as it was.") from error
    return [result._replace(note="") for result in results]


def _write_twins(course: Course, modules: list[Module]) -> list[Result]:
    from tito.course.script import write_twin

    results = []
    for module in modules:
        for source in module.notebooks:
            changed, backup = write_twin(course, source)
            note = f"was edited; kept as {backup.relative_to(course.root)}: edit the notebook" if backup else ""
            results.append(Result(source.with_suffix(".py"), changed, note))
    return results


def locked(course: Course) -> contextlib.AbstractContextManager[None]:
    """Only one tito at a time changes the package."""
    return only_one(
        course.state / "export.lock",
        _PATIENCE,
        f"another export has been running for {_PATIENCE} s: wait for it, or end it",
        f"cannot write in {course.root}: {{reason}}. Nothing was exported.",
    )


# Trying the import

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
    code, said = _ended(command, folder, f"importing {', '.join(names)} took over {_IMPORT_PATIENCE} s")
    if not answer.exists():
        last = said.strip().splitlines()[-1:] or [f"exit code {code}"]
        raise CourseError(f"importing {', '.join(names)} ended Python: {last[0]}. The package is as it was.")
    if failure := json.loads(answer.read_text(encoding="utf-8")):
        where = _locate(course, modules, folder / course.package.name, failure["frames"])
        raise CourseError(f"{where}: {failure['error']}. The package is as it was.")


def _ended(command: list[str], folder: Path, late: str) -> tuple[int, str]:
    """The exit code of a command and what it complained; CourseError `late` if it takes too long."""
    utf_8 = {**os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace"}
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    child = subprocess.Popen(command, cwd=folder, env=utf_8, encoding="utf-8", errors="replace", **pipes)
    given, child.stdin = cast(IO[str], child.stdin), None  # kept open: its end tells the child of this process's
    end = time.monotonic() + _IMPORT_PATIENCE
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
        str(package / file_of(target)): source for module in modules for source, target in module.targets.items()
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
