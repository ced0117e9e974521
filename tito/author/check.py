"""`tito dev check`: is the course itself in order? What rustlings does for its exercises, for notebooks.

Every scaffold must fail every graded test, every solution must pass, planted faults must be noticed, and the files,
their metadata and the commands they name must be right.
"""

import json
import re
import subprocess
import tomllib
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tito import CourseError
from tito.course import notebook
from tito.course.lint import lint_notebook
from tito.course.registry import REGISTRY, Course, Module
from tito.course.scaffold import strip
from tito.doctor import Finding
from tito.runner.testing import GRADED, OTHER, Cell, run_cells

LARGEST = {"09": (120, 4000)}  # cells and words of prose in a notebook
USUAL = (75, 2000)
TOTAL = 100  # points of a module
MUTANTS_EACH = 60  # mutants that one process tries

Check = Iterator[str]  # what is wrong, one sentence each


def examine(course: Course, mutants: bool = True, since: str = "HEAD") -> Iterator[Finding]:
    """One finding for every check of every module, or for every fault."""
    with ThreadPoolExecutor(2) as pool:
        runs = _start(course, pool, mutants)
        yield from _report("files", _files(course), f"nothing strange in {course.folder('nbs').name}")
        yield from _report("commands", _commands(course), "all that pages, notebooks and messages name exist")
        for module in course.modules:
            checks = (_metadata(module), _points(module), _prose(module), _stable(course, module, since))
            problems = [problem for check in checks for problem in check]
            yield from _report(module.folder, problems, "metadata, points, prose and ids are right")
        for what, futures, good in runs:
            problems = [problem for future in futures for problem in _answer(future)]
            yield from _report(what, problems, good)


def _start(course: Course, pool: ThreadPoolExecutor, mutants: bool) -> list[tuple[str, list[Future], str]]:
    """Begin what takes long, the longest first: (what, futures of problems, what to say if there are none)."""
    notebooks = [(module, path) for module in course.modules for path in module.notebooks]
    planted: dict[Path, list[Future]] = {}
    if mutants:
        equivalent = _equivalent(course)
        for _, path in sorted(notebooks, key=lambda pair: -pair[1].stat().st_size if pair[1].is_file() else 0):
            planted[path] = [pool.submit(_mutants, course, path, part, equivalent) for part in _parts(path)]
    runs = []
    for module, path in notebooks:
        both = [pool.submit(_solved, course, module, path), pool.submit(_scaffold, course, module, path)]
        runs.append((path.name, both, "the solutions earn full marks, the scaffold earns nothing"))
    return runs + [(path.name, planted[path], "planted faults are noticed") for _, path in notebooks if path in planted]


def _answer(future: Future) -> list[str]:
    try:
        return list(future.result())
    except CourseError as error:
        return [str(error)]


def _report(what: str, problems: Iterable[str], good: str) -> Iterator[Finding]:
    try:
        problems = list(problems)
    except CourseError as error:
        problems = [str(error)]
    yield from (Finding("wrong", what, problem) for problem in problems)
    if not problems:
        yield Finding("ok", what, good)


# Files and metadata


def _files(course: Course) -> Check:
    """Everything under modules/ must be a page, a registry entry, a notebook, or made from one."""
    for path in sorted(course.folder("nbs").iterdir()):
        if not any(path == module.path for module in course.modules) and not _made(path):
            yield f"{path.relative_to(course.root)} is no module's folder"
    for module in course.modules:
        known = {module.path / "README.md", module.path / REGISTRY, *module.notebooks}
        yield from (f"{path.relative_to(course.root)} is missing" for path in sorted(known) if not path.is_file())
        twins = {path.with_suffix(".py") for path in module.notebooks}
        for path in sorted(module.path.iterdir()):
            if path not in known | twins and not _made(path):
                yield f"{path.relative_to(course.root)} is named in no {REGISTRY}: delete it, or name it"


def _made(path: Path) -> bool:
    """Whether Python or Jupyter left this, and git ignores it."""
    return path.name in ("__pycache__", ".ipynb_checkpoints")


def _metadata(module: Module) -> Check:
    """The metadata, and the registry's names for cells."""
    graded, solutions = set(), set()
    for path in module.notebooks:
        nb = notebook.read(path)
        yield from (f"{path.name}, {problem}" for problem in lint_notebook(nb))
        if path.read_text(encoding="utf-8") != notebook.dumps(nb):
            yield f"{path.name} is not in canonical form: write it with tito.course.notebook.write"
        graded |= {cell["id"] for cell in nb["cells"] if notebook.kind(cell) in ("graded", "manual")}
        solutions |= {cell["id"] for cell in nb["cells"] if notebook.kind(cell) == "solution"}
    claimed = [test for exercise in module.exercises for test in exercise.tests]
    for exercise in module.exercises:
        if lost := [id for id in exercise.solution if id not in solutions]:
            yield f"{REGISTRY}: exercise {exercise.id} names the solution cell {lost[0]}, which no notebook has"
        if lost := [id for id in exercise.tests if id not in graded]:
            yield f"{REGISTRY}: exercise {exercise.id} names the graded cell {lost[0]}, which no notebook has"
        if len(exercise.hints) != 3:
            yield f"{REGISTRY}: exercise {exercise.id} has {len(exercise.hints)} hints, not three"
    yield from (f"{id} is claimed by two exercises" for id in sorted({id for id in claimed if claimed.count(id) > 1}))
    tests = {id for id in graded if id.startswith("test_")}
    yield from (f"{REGISTRY}: no exercise claims the graded cell {id}" for id in sorted(tests - {*claimed}))


def _points(module: Module) -> Check:
    """The first notebook of a module carries its hundred points; others are a bonus."""
    total = sum(notebook.points(notebook.read(module.notebooks[0])).values())
    if total != TOTAL:
        yield f"{module.notebooks[0].name}: its points add up to {total:g}, not {TOTAL}"


def _prose(module: Module) -> Check:
    most_cells, most_words = LARGEST.get(module.number, USUAL)
    for path in module.notebooks:
        cells = notebook.read(path)["cells"]
        words = sum(count_words(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        if len(cells) > most_cells:
            yield f"{path.name} has {len(cells)} cells, more than {most_cells}"
        if words > most_words:
            yield f"{path.name} has {words} words of prose, more than {most_words}"


def count_words(text: str) -> int:
    """The words of a markdown cell: code, formulas and tables' rules are none."""
    text = re.sub(r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$", " ", text, flags=re.S)
    return len(re.findall(r"[^\W\d_]+(?:['’-][^\W\d_]+)*", text))


def _stable(course: Course, module: Module, since: str) -> Check:
    """Cells that nbgrader knows keep their names for ever: gradebooks and submissions hold them."""
    for path in module.notebooks:
        before = _committed(course, path, since)
        if before is None:
            continue
        names = {cell["id"] for cell in notebook.read(path)["cells"] if "nbgrader" in cell["metadata"]}
        old = {cell["id"] for cell in before["cells"] if "nbgrader" in cell.get("metadata", {})}
        yield from (f"{path.name}: the cell {id} of {since} is gone or renamed" for id in sorted(old - names))


def _committed(course: Course, path: Path, since: str) -> dict | None:
    """A notebook as committed; None without git, or if it was not there then."""
    where = f"{since}:./{path.relative_to(course.root).as_posix()}"
    try:
        shown = subprocess.run(["git", "show", where], cwd=course.root, capture_output=True, timeout=20)
        return json.loads(shown.stdout) if shown.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None


# Running


def _solved(course: Course, module: Module, path: Path) -> Check:
    """Every graded cell passes with the solutions, and writes nothing to stderr, for which nbgrader gives no points."""
    for id, outcome in _outcomes(course, path, notebook.read(path)):
        if outcome["state"] != "passed":
            yield f"{path.name}, {id} fails with its own solution: {outcome['type']} {outcome['message']}"
        elif outcome["complained"]:
            yield f"{path.name}, {id} writes to stderr: {outcome['complained'].strip().splitlines()[0]}"


def _scaffold(course: Course, module: Module, path: Path) -> Check:
    """No graded cell passes on what students are given."""
    for id, outcome in _outcomes(course, path, strip(notebook.read(path)), keep_going=True):
        if outcome["state"] == "passed":
            yield f"{path.name}, {id} passes on the untouched scaffold"


def _outcomes(course: Course, path: Path, nb: dict, keep_going: bool = False) -> Iterator[tuple[str, dict]]:
    """(id, outcome) of every graded cell; and of the others that fail, unless `keep_going`."""
    kinds = {cell["id"]: notebook.kind(cell) for cell in nb["cells"]}
    cells = [
        Cell(cell["id"], cell["source"], kinds[cell["id"]], GRADED if kinds[cell["id"]] == "graded" else OTHER)
        for cell in nb["cells"]
        if kinds[cell["id"]] in notebook.CORE
    ]
    for id, outcome in run_cells(cells, course.package.parent, path.parent).items():
        if kinds[id] == "graded" or (outcome["state"] != "passed" and not keep_going):
            yield id, outcome


def _parts(path: Path) -> list[tuple[int, int]]:
    """How to share a notebook's mutants among processes: (n, m) is every m-th from the n-th on."""
    from tito.author.mutation import mutate

    cells = notebook.read(path)["cells"]
    count = sum(1 for cell in cells if notebook.kind(cell) == "solution" for _ in mutate(cell["id"], cell["source"]))
    pieces = count // MUTANTS_EACH + 1
    return [(first, pieces) for first in range(pieces)]


def _mutants(course: Course, path: Path, part: tuple[int, int], equivalent: dict[str, str]) -> Check:
    from tito.author.mutation import try_in_process

    _, alive = try_in_process(path, course.package.parent, part=part)
    for cell, line, change in alive:
        if f"{cell}: {change}" not in equivalent:
            yield f"{path.name}, {cell}, line {line}: no test notices {change}"


def _equivalent(course: Course) -> dict[str, str]:
    """Changes that alter nothing; they are part of no package, as they quote solutions."""
    path = course.folder("tests") / "grading" / "equivalent.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))["equivalent"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError) as error:
        raise CourseError(f"{path} cannot be read: {error}") from None


# Commands


def _commands(course: Course) -> Check:
    """Every `tito ...` that is named anywhere a reader looks must exist, its options too."""
    for place, text in _texts(course):
        for words in named_commands(text):
            if problem := unknown(words):
                yield f"{place} names `{' '.join(words)}`: {problem}"


def _texts(course: Course) -> Iterator[tuple[str, str]]:
    """(where, text) of pages, prose and code of notebooks, and tito's own messages."""
    pages = [course.root / "README.md", *course.folder("nbs").glob("*/README.md")]
    tito = Path(__file__).parents[1]
    sources = [*(tito.rglob("*.py") if tito.parent == course.root else ()), *course.package.rglob("*.py")]
    scripts = course.folder("milestones").rglob("*")
    for path in [*pages, *sources, *(path for path in scripts if path.suffix in (".md", ".py", ".toml"))]:
        if path.is_file():
            yield str(path.relative_to(course.root)), path.read_text(encoding="utf-8")
    for module in course.modules:
        for path in module.notebooks:
            for number, cell in enumerate(notebook.read(path)["cells"], 1):
                yield f"{path.name}, {notebook.label(number, cell)}", cell["source"]


_NAMED = re.compile(r"(?:`|Next: |: |^|\"|')tito ((?:[a-z]+\b|--[a-z-]+)(?:[ ]+[^\s`\"',;:()|#]+)*)", re.M)


def named_commands(text: str) -> Iterator[list[str]]:
    """The commands in a text, where it is set as code or as a line to type, as words."""
    for match in _NAMED.finditer(text):
        yield ["tito", *match[1].rstrip(".").split()]


def unknown(words: list[str]) -> str:
    """What is wrong with a command line, without running it; nothing if it could be typed."""
    command, path = _root(), []
    for word in words[1:]:
        if not hasattr(command, "commands"):
            break
        if word.startswith(("-", "{")):  # an option, or a name that is filled in later
            break
        if word not in command.commands:
            return f"there is no command {' '.join(['tito', *path, word])}"
        command, path = command.commands[word], [*path, word]
    if command.context_settings.get("ignore_unknown_options"):
        return ""
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    known |= {"--help", "-h"}
    wrong = [word for word in words if word.startswith("--") and word.partition("=")[0].rstrip(".]") not in known]
    return f"it has no option {wrong[0]}" if wrong else ""


def _root():
    import typer

    from tito.cli import app

    return typer.main.get_command(app)
