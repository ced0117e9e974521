"""What is imported is declared, what is declared is used, and constraints.txt pins whatever may come along.

Nothing is imported here: sources are read as trees, the rest is metadata. tests/cli/test_install.py asks the registry.
"""

import ast
import importlib.metadata
import json
import sys
import tomllib
from functools import cache
from itertools import product
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OURS = "tito", "tinytorch", "milestones"
NEIGHBOURS = "milestones", "tests", "tito/grading/sandbox"  # their files import each other by bare names
BY_NAME = "import_module", "importorskip", "find_spec", "__import__"  # functions that take a module's name

# Used, but never imported: programs, or parts of one.
RUN = {
    "coverage": "docs/CONTRIBUTING.md, how much the tests reach",
    "expecttest": "PyTorch's own operator samples import it",
    "impi-rt": "mpiexec on Windows",
    "jupyterlab": "tito lab starts it",
    "mypy": ".ci/run",
    "mpich": "mpiexec, which starts several workers, elsewhere",
    "pytest-xdist": "pytest -n",
    "ruff": ".ci/run",
    "sphinx": "tito site build runs it",
    "uv": "tests/cli/test_install.py asks it for wheels",
}
# Import name -> distribution, for those that are often not installed; the others are asked of the installation.
EXTRA = {"distributed": "distributed", "mpi4py": "mpi4py", "psycopg2": "psycopg2-binary", "torch": "torch"}
SYSTEMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64"},
    "macos": {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix", "platform_machine": "arm64"},
    "windows": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt", "platform_machine": "AMD64"},
}


# Imports ----------------------------------------------------------------------------------------------------------


def imported(tree):
    """The first word of every module that a tree imports at whatever depth, or names to a function that imports."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            names = [node.args[0].value] if called in BY_NAME else []
        yield from (name.partition(".")[0] for name in names)


def sources(folder):
    """(file, tree) of every Python file below a folder, and of every code cell of the notebooks."""
    for file in sorted((ROOT / folder).rglob("*.py")):
        yield file, ast.parse(file.read_text(encoding="utf-8"))
    for file in sorted((ROOT / folder).rglob("*.ipynb")):
        for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
            if cell["cell_type"] == "code":
                lines = "".join(cell["source"]).splitlines()
                yield file, ast.parse("\n".join(line for line in lines if not line.lstrip().startswith(("%", "!"))))


@cache
def distributions(folder):
    """Distribution -> the files that import it; the standard library and the course's own modules are left out."""
    own = {path.stem for folder in NEIGHBOURS for path in (ROOT / folder).rglob("*.py")} | set(OURS)
    homes, found = importlib.metadata.packages_distributions(), {}
    for file, tree in sources(folder):
        for name in set(imported(tree)) - own - sys.stdlib_module_names:
            home = EXTRA.get(name) or homes.get(name, [name])[0]
            found.setdefault(canonicalize_name(home), set()).add(file.relative_to(ROOT).as_posix())
    return found


def declared(*extras):
    """The distributions that are declared without any extra, and with these; extras made of others are opened."""
    texts = list(PROJECT["dependencies"])
    for extra in extras:
        texts += PROJECT["optional-dependencies"][extra]
    found = {canonicalize_name(Requirement(text).name) for text in texts}
    return found - {PROJECT["name"]}


@pytest.mark.parametrize("folder", [*OURS, "modules", "tests"])
def test_what_is_imported_is_declared(folder):
    extras = set(PROJECT["optional-dependencies"]) - ({"dev"} if folder != "tests" else set())
    building = {"setuptools": {"tito/author/building.py"}}  # setuptools itself loads that file
    undeclared = {name: files for name, files in distributions(folder).items() if name not in declared(*extras)}
    assert {name: files for name, files in undeclared.items() if building.get(name) != files} == {}


def test_what_is_declared_is_imported_or_run():
    used = set().union(*(distributions(folder) for folder in (*OURS, "modules", "tests")))
    everything = declared(*PROJECT["optional-dependencies"])
    assert everything - used - RUN.keys() == set()
    assert RUN.keys() <= everything, "declared no more: take it from the list of programs"


# Pins -------------------------------------------------------------------------------------------------------------


def pins():
    """Distribution -> version in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    found = {canonicalize_name(name): version for name, version in pairs}
    assert len(found) == len(pairs), "a distribution is pinned twice"
    return found


@cache
def requirements(name):
    """What an installed distribution needs; nothing is known of one that is not installed."""
    try:
        return [Requirement(text) for text in importlib.metadata.requires(name) or []]
    except importlib.metadata.PackageNotFoundError:
        return []


def come_along(environment, extras):
    """Every distribution that the course brings along on such a system, as far as they are installed here."""
    texts = [*PROJECT["dependencies"], *(text for extra in extras for text in PROJECT["optional-dependencies"][extra])]
    todo, found = [(Requirement(text), "") for text in texts], set()
    while todo:
        needed, extra = todo.pop()
        if needed.marker and not needed.marker.evaluate({**environment, "extra": extra}):
            continue
        name = canonicalize_name(needed.name)
        for wanted in ("", *sorted(needed.extras)):
            if (name, wanted) not in found and name != PROJECT["name"]:
                found.add((name, wanted))
                todo += [(each, wanted) for each in requirements(name)]
    return {name for name, _ in found}


@pytest.mark.parametrize("system, python", list(product(SYSTEMS, ("3.11", "3.12", "3.13"))))
def test_whatever_may_come_along_is_pinned(system, python):
    environment = {**SYSTEMS[system], "python_version": python, "python_full_version": f"{python}.0"}
    extras = set(PROJECT["optional-dependencies"]) - {"compare"}
    assert come_along(environment, extras) - pins().keys() == set()


def test_the_declared_ranges_hold_the_pins():
    texts = [*PROJECT["dependencies"], *(text for each in PROJECT["optional-dependencies"].values() for text in each)]
    wanted = {canonicalize_name(needed.name): needed.specifier for needed in map(Requirement, texts)}
    assert {name: pin for name, pin in pins().items() if name in wanted and pin not in wanted[name]} == {}
