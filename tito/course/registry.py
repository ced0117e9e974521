"""The course: where its root is, what its settings say, and the one registry of modules.

`settings.ini` marks the root and names the folders; each `modules/NN_name/module.toml` describes one module.
Every command reads these through `Course.load`, and nothing else keeps a list of modules.
"""

import configparser
import difflib
import os
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tito import CourseError
from tito.course import notebook

SETTINGS = "settings.ini"
REGISTRY = "module.toml"
MOST_THREADS = 64
DEFAULTS = {
    "lib_name": "tinytorch",
    "lib_path": "tinytorch",
    "nbs_path": "modules",
    "course_id": "tinytorch",
    "tests_path": "tests",
    "milestones_path": "milestones",
    "data_path": "data",
    "runs_path": "runs",
    "grading_path": "grading",
}


@dataclass(frozen=True)
class Exercise:
    """One task of a module: `solution` and `tests` are the grade_ids of its cells in `notebook`."""

    id: str
    title: str
    notebook: Path
    difficulty: int
    minutes: int
    solution: tuple[str, ...]
    tests: tuple[str, ...]
    hints: tuple[str, ...]
    bonus: bool = False  # its notebook is a bonus: the module is complete without it


@dataclass(frozen=True)
class Module:
    """One module of the course, as its `module.toml` describes it."""

    number: str
    name: str
    title: str
    summary: str
    path: Path
    requires: tuple[str, ...]
    notebooks: tuple[Path, ...]
    exercises: tuple[Exercise, ...]
    threads: int = 0  # how many its students' code may start when it is graded

    @property
    def folder(self) -> str:
        """The folder's name, such as `09_spatial`."""
        return self.path.name

    @cached_property
    def targets(self) -> dict[Path, str]:
        """Notebook -> the module it exports to below the package, such as `core.spatial`."""
        return {path: notebook.target(notebook.read(path), path) for path in self.notebooks}

    def notebook(self, name: str | None = None) -> Path:
        """The notebook called `fast`, `fast_dev` or `fast_dev.ipynb`, or that of an exercise; by default the first."""
        for exercise in self.exercises:
            if exercise.id == name and name not in map(notebook.short_name, self.notebooks):
                return exercise.notebook
        names = {known: path for path in self.notebooks for known in (path.name, path.stem, notebook.short_name(path))}
        return _pick(Path(name).name, names, f"notebook of {self.folder}") if name else self.notebooks[0]

    def exercise(self, id: str) -> Exercise:
        """The exercise called `id`."""
        return _pick(id, {exercise.id: exercise for exercise in self.exercises}, f"exercise of {self.folder}")


@dataclass(frozen=True)
class Course:
    """A course on disk: its root, the settings, and its modules in order."""

    root: Path
    settings: dict[str, str]
    modules: tuple[Module, ...]

    @classmethod
    def load(cls, root: Path | str | None = None) -> "Course":
        """Read the course at `root` (by default the nearest one above the current folder)."""
        root = Path(root).resolve() if root else find_root()
        settings = _read_settings(root / SETTINGS)
        files = sorted((root / settings["nbs_path"]).glob(f"*/{REGISTRY}"))
        modules = tuple(sorted((_read_module(file) for file in files), key=lambda module: module.number))
        for key in ("number", "name"):
            twice = [value for value, n in Counter(getattr(module, key) for module in modules).items() if n > 1]
            if twice:
                raise CourseError(f"two modules have the {key} {twice[0]!r}: give one of them another in {REGISTRY}")
        return cls(root, settings, modules)

    def folder(self, what: str) -> Path:
        """The folder a setting names: `folder("runs")` is `<root>/<runs_path>`."""
        return self.root / self.settings[f"{what}_path"]

    @property
    def lib_name(self) -> str:
        """The package's import name, `tinytorch`."""
        return self.settings["lib_name"]

    @property
    def package(self) -> Path:
        """The folder of the exported package."""
        return self.folder("lib")

    @property
    def state(self) -> Path:
        """Where tito keeps what git must not see: locks, progress, backups."""
        return self.root / ".tito"

    def environment(self, **more: str) -> dict[str, str]:
        """This process's environment and `more`, for a child that is to import the course's package first."""
        folders = [str(self.package.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(folders), **more}

    def module(self, key: str) -> Module:
        """The module called `key`: a number (`9`, `09`), a name (`spatial`), a folder (`09_spatial`) or its path."""
        names: dict[str, Module] = {}
        for module in self.modules:
            names |= dict.fromkeys((module.number, str(int(module.number)), module.name, module.folder), module)
        folders = [module.folder for module in self.modules]
        return _pick(Path(str(key).strip().lower()).name, names, "module", key, folders)

    def select(self, keys: Iterable[str]) -> list[Module]:
        """The modules called `keys`, each once, in the course's order."""
        wanted = {self.module(key).number for key in keys}
        return [module for module in self.modules if module.number in wanted]


def file_of(target: str) -> str:
    """The file of the package that a notebook is exported into, from `core.tensor`: core/tensor.py."""
    return target.replace(".", "/") + ".py"


def find_root(start: Path | str | None = None) -> Path:
    """The nearest folder at or above `start` (by default the current one) with a settings.ini.

    The environment variable TINYTORCH_ROOT, if set and no `start` is given, names the root instead.
    """
    named = os.environ.get("TINYTORCH_ROOT")
    if named and start is None:
        if not (Path(named) / SETTINGS).is_file():
            raise CourseError(f"TINYTORCH_ROOT is {named!r}, without a {SETTINGS}: set it to a course, or unset it")
        return Path(named).resolve()
    here = Path(start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / SETTINGS).is_file():
            return folder
    raise CourseError(f"no {SETTINGS} in {here} or above it: change to the course's folder, or set TINYTORCH_ROOT")


def _read_settings(path: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8-sig"), source=str(path))
    except FileNotFoundError:
        raise CourseError(f"no {SETTINGS} in {path.parent}: that is not a course's folder") from None
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        raise CourseError(f"{path} cannot be read as settings: {error}") from None
    return DEFAULTS | dict(parser.defaults())


_MODULE = {
    "number": str,
    "name": str,
    "title": str,
    "summary": str,
    "requires": list,
    "notebooks": list,
    "bonus": list,
    "threads": int,
}
_EXERCISE = {"id": str, "title": str, "difficulty": int, "minutes": int, "solution": list, "tests": list, "hints": list}


def _read_module(path: Path) -> Module:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CourseError(f"{path} cannot be read as TOML: {error}") from None
    exercises = data.pop("exercise", [])
    data = {"bonus": [], "threads": 0, **data}
    _check_table(data, _MODULE, path)
    if f"{data['number']}_{data['name']}" != path.parent.name or not data["number"].isdigit():
        raise CourseError(f"{path} says {data['number']}_{data['name']}, but its folder is {path.parent.name}")
    notebooks = tuple(path.parent / name for name in data.pop("notebooks"))
    exercises = tuple(_exercise(table, notebooks, data["bonus"], path) for table in exercises)
    if unknown := set(data.pop("bonus")) - {file.name for file in notebooks}:
        raise CourseError(f"{path}: `bonus` names {min(unknown)}, which `notebooks` does not")
    if not 0 <= data["threads"] <= MOST_THREADS:
        raise CourseError(f"{path}: `threads` must be 0 to {MOST_THREADS}, and is {data['threads']}")
    requires = tuple(data.pop("requires"))
    return Module(path=path.parent, requires=requires, notebooks=notebooks, exercises=exercises, **data)


def _exercise(table: dict, notebooks: tuple[Path, ...], bonus: list[str], path: Path) -> Exercise:
    name = table.pop("notebook", notebooks[0].name if len(notebooks) == 1 else None)
    where = f"{path}, exercise {table.get('id', '?')!r}"
    _check_table(table, _EXERCISE, where)
    if path.parent / str(name) not in notebooks:
        known = ", ".join(file.name for file in notebooks)
        raise CourseError(f"{where}: `notebook` must be one of {known}, and is {name}")
    lists: dict[str, Any] = {key: tuple(table.pop(key)) for key in ("solution", "tests", "hints")}
    return Exercise(notebook=path.parent / name, bonus=name in bonus, **lists, **table)


def _check_table(table: dict, kinds: dict[str, type], where: object) -> None:
    for key, kind in kinds.items():
        if not isinstance(table.get(key), kind):
            given = f"{table[key]!r}" if key in table else "missing"
            raise CourseError(f"{where}: `{key}` must be a {kind.__name__}, and is {given}")
        if kind is list and not all(isinstance(item, str) for item in table[key]):
            raise CourseError(f"{where}: `{key}` must be a list of strings, and is {table[key]!r}")
    if unknown := sorted(table.keys() - kinds.keys()):
        raise CourseError(f"{where}: unknown key `{unknown[0]}`; known are {', '.join(kinds)}")


def _pick(key: str, table: dict, what: str, given: object = None, listed: Iterable[str] = ()):
    """What the table holds under a key; else an error with the names that are near, or with all of them."""
    if key in table:
        return table[key]
    near = [] if key.isdigit() else difflib.get_close_matches(key, table, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(listed or table) or 'none'}"
    raise CourseError(f"no {what} {str(given or key)!r}: {hint}")
