"""`tito dev check`: is the course itself in order? What rustlings does for its exercises, for notebooks.

Every scaffold must fail every graded test, every solution must pass, planted faults must be noticed, and the files,
their metadata and the commands they name must be right. The rules stand here once; the course's own tests run them too.
"""

import ast
import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from tito import CourseError
from tito.author import answers, expected
from tito.author.leak_check import quoted
from tito.author.mutation import changes_nothing, shares, try_in_process
from tito.course import notebook
from tito.course.lint import lint_notebook
from tito.course.registry import REGISTRY, Course, Exercise, Module
from tito.course.scaffold import strip
from tito.doctor import Finding
from tito.runner.results import Outcome
from tito.runner.testing import GRADED, OTHER, Cell, run_cells

LARGEST = {"spatial_dev": (80, 4000), "fast_dev": (120, 4000)}  # cells and words of prose in a notebook
USUAL = (75, 2000)
POINTS, BONUS = 100, 50  # of a module's first notebook, and of each other one
SHOWS_NOTHING = ("spatial_dev", "blocks_dev")  # notebooks in which no visible or importable function may be an answer
MUTANTS_EACH = 60  # mutants that one process tries
HINTS = 3  # a nudge, more, nearly the answer

Check = Iterator[str]  # what is wrong, one sentence each


def check_course(course: Course, tree, mutants: bool = True, since: str = "HEAD") -> Iterator[Finding]:
    """One finding for every part of the course that is in order, and for every fault; `tree`: Typer's commands."""
    with ThreadPoolExecutor(2) as pool:
        runs = _start(course, pool, mutants)
        yield from check_files(course, tree, since)
        for what, futures, good in runs:
            yield from _report(what, (_answer(future) for future in futures), good)


def check_files(course: Course, tree, since: str = "HEAD") -> Iterator[Finding]:
    """The part of it for which nothing is executed."""
    yield from _report("files", [_files(course)], f"nothing strange in {course.folder('nbs').name}")
    yield from _report("expected values", [expected.check(course)], "the tests expect what the references give")
    yield from _report("commands", [_commands(course, tree)], "all that pages, notebooks and messages name exist")
    for module in course.modules:
        checks = [*(rule(course, module) for rule in RULES), _stable(course, module, since)]
        yield from _report(module.folder, checks, "metadata, points, prose and ids are right")


def _report(what: str, checks: Iterable[Check], good: str) -> Iterator[Finding]:
    problems: dict[str, None] = {}  # each once
    for check in checks:
        try:
            for problem in check:
                problems[problem] = None
        except CourseError as error:
            problems[str(error)] = None
    yield from (Finding("wrong", what, problem) for problem in problems)
    if not problems:
        yield Finding("ok", what, good)


def _answer(future: Future) -> Check:
    yield from future.result()


# Files and metadata


def _files(course: Course) -> Check:
    """Everything under modules/ must be a page, a registry entry, a notebook, or made from one."""
    for path in sorted(course.folder("nbs").iterdir()):
        if not any(path == module.path for module in course.modules) and not _left_by_tools(path):
            yield f"{path.relative_to(course.root)} is no module's folder"
    for module in course.modules:
        known = {module.path / "README.md", module.path / REGISTRY, *module.notebooks}
        yield from (f"{path.relative_to(course.root)} is missing" for path in sorted(known) if not path.is_file())
        twins = {path.with_suffix(".py") for path in module.notebooks}
        for path in sorted(module.path.iterdir()):
            if path not in known | twins and not _left_by_tools(path):
                yield f"{path.relative_to(course.root)} is named in no {REGISTRY}: delete it, or name it"


def _left_by_tools(path: Path) -> bool:
    """Whether Python or Jupyter left this, and git ignores it."""
    return path.name in ("__pycache__", ".ipynb_checkpoints")


def _form(course: Course, module: Module) -> Check:
    """The notebooks as they are committed."""
    for path in module.notebooks:
        nb = notebook.read(path)
        yield from (f"{path.name}, {problem}" for problem in lint_notebook(nb))
        if path.read_text(encoding="utf-8") != notebook.dumps(nb):
            yield f"{path.name} is not in canonical form: write it with tito.course.notebook.write"


def _claims(course: Course, module: Module) -> Check:
    """Every solution cell and every graded cell belongs to one exercise, of its own notebook."""
    for path in module.notebooks:
        kinds = {cell["id"]: notebook.kind(cell) for cell in notebook.read(path)["cells"]}
        exercises = [exercise for exercise in module.exercises if exercise.notebook == path]
        for kind, field, allowed in (("solution", "solution", ()), ("graded", "tests", ("manual",))):
            claimed = Counter(id for exercise in exercises for id in getattr(exercise, field))
            for exercise in exercises:
                if lost := [id for id in getattr(exercise, field) if kinds.get(id) not in (kind, *allowed)]:
                    yield f"{_named(exercise)} names the {kind} cell {lost[0]}, which {path.name} does not have"
            yield from (f"{id} is claimed by two exercises" for id in sorted(claimed) if claimed[id] > 1)
            left = sorted(id for id in kinds if kinds[id] == kind and id not in claimed)
            yield from (f"{REGISTRY}: no exercise claims the {kind} cell {id}" for id in left)


def _exercises(course: Course, module: Module) -> Check:
    """What a student sees of an exercise before the work."""
    for exercise in module.exercises:
        if len(exercise.hints) != HINTS:
            yield f"{_named(exercise)} has {len(exercise.hints)} hints, not three"
        if not exercise.title:
            yield f"{_named(exercise)} has no title"
        if not 1 <= exercise.difficulty <= 3:
            yield f"{_named(exercise)} has the difficulty {exercise.difficulty}, which goes from 1 to 3"
        if exercise.minutes <= 0:
            yield f"{_named(exercise)} takes {exercise.minutes} minutes"


def _hints(course: Course, module: Module) -> Check:
    """Hints tell in words; the lines themselves are the student's to write."""
    for id, line in quoted(course, module):
        yield f"{REGISTRY}: a hint of exercise {id} quotes its solution: {line}"


def _named(exercise: Exercise) -> str:
    return f"{REGISTRY}: exercise {exercise.id}"


def _points(course: Course, module: Module) -> Check:
    """The first notebook of a module carries its hundred points; others are a bonus."""
    for number, path in enumerate(module.notebooks):
        total, wanted = sum(notebook.points(notebook.read(path)).values()), BONUS if number else POINTS
        if total != wanted:
            yield f"{path.name}: its points add up to {total:g}, not {wanted}: share them out anew"
    for exercise in module.exercises:
        if exercise.bonus == (exercise.notebook == module.notebooks[0]):
            yield f"{_named(exercise)}: `bonus` names all notebooks but the first"


def _requires(course: Course, module: Module) -> Check:
    """What a module imports at its cells' top is what it requires, all of it earlier; functions may name later ones."""
    targets = {f"{course.lib_name}.{target}": one.number for one in course.modules for target in one.targets.values()}
    cells = [cell for path in module.notebooks for cell in notebook.read(path)["cells"] if notebook.exported(cell)]
    nodes = [node for cell in cells if not notebook.fault(cell["source"]) for node in ast.parse(cell["source"]).body]
    imported = {targets[node.module] for node in nodes if isinstance(node, ast.ImportFrom) and node.module in targets}
    for number in sorted(imported - {module.number, *module.requires}):
        yield f"{REGISTRY}: `requires` lacks {number}, which the module imports"
    for number in (number for number in module.requires if number >= module.number):
        yield f"{REGISTRY}: `requires` names {number}, which does not come before {module.number}"


def _page(course: Course, module: Module) -> Check:
    """A module's page says what to type, and what each exercise asks and is worth."""
    path = module.path / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    for command in (f"tito test {module.number}", f"tito export {module.number}"):
        if text and command not in text:
            yield f"{path.name} does not name `{command}`"
    if not (tables := re.findall(r"^\| exercise \|.*\n((?:\|.*\n?)+)", text, re.M)):
        return
    rows = [[part.strip() for part in row.strip("|").split("|")] for table in tables for row in table.splitlines()]
    points = {id: worth for one in module.notebooks for id, worth in notebook.points(notebook.read(one)).items()}
    for exercise in module.exercises:
        name, worth = f"`{exercise.id}`", sum(points.get(id, 0) for id in exercise.tests)
        stars, minutes = "*" * exercise.difficulty, str(exercise.minutes)
        row = next((row for row in rows if row[0].startswith(name)), [])
        if row[1:] not in ([stars, minutes, f"{worth:g}"], [stars, f"{worth:g}"]):
            wanted = " | ".join((f"{name}: {exercise.title}", stars, minutes, f"{worth:g}"))
            yield f"{path.name}: its table lacks the row | {wanted} |"


def _headings(course: Course, module: Module) -> Check:
    """Where exercises are numbered, they count from 1."""
    for path in module.notebooks:
        prose = "\n".join(cell["source"] for cell in notebook.read(path)["cells"] if cell["cell_type"] == "markdown")
        for wanted, found in enumerate(re.findall(r"^#+ Exercise (\d+)", prose, re.M), 1):
            if int(found) != wanted:
                yield f"{path.name}: after Exercise {wanted - 1} the heading Exercise {found} follows: number them anew"
                break


def _prose(course: Course, module: Module) -> Check:
    """A notebook is read in one sitting."""
    for path in module.notebooks:
        most_cells, most_words = LARGEST.get(path.stem, USUAL)
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


RULES = (_form, _claims, _exercises, _hints, _points, _headings, _prose, _requires, _page)  # of each module


# Running


def _start(course: Course, pool: ThreadPoolExecutor, mutants: bool) -> list[tuple[str, list[Future], str]]:
    """Begin what takes long, the longest first: (what, futures of problems, what to say if there are none)."""
    notebooks = [path for module in course.modules for path in module.notebooks]
    planted: dict[Path, list[Future]] = {}
    if mutants:
        equivalent = changes_nothing(course)
        for path in sorted(notebooks, key=lambda path: -path.stat().st_size if path.is_file() else 0):
            parts = shares(path, MUTANTS_EACH)
            planted[path] = [_begin(pool, _mutants, course, path, part, equivalent) for part in parts]
            planted[path].append(_begin(pool, _liars, course, path))
    runs = []
    for module in course.modules if mutants else ():
        for path in module.notebooks:
            if path.stem in SHOWS_NOTHING:
                tried = [_begin(pool, answers.check, course, module, path)]
                runs.append((path.name, tried, "nothing that students see or import solves an exercise"))
    for path in notebooks:
        both = [_begin(pool, rule, course, path) for rule in (_solved, _scaffold)]
        runs.append((path.name, both, "the solutions earn full marks, the scaffold earns nothing"))
    return runs + [
        (path.name, planted[path], "planted faults are noticed, no liar is paid")
        for path in notebooks
        if path in planted
    ]


def _begin(pool: ThreadPoolExecutor, rule: Callable[..., Check], *words) -> Future:
    """Run a rule to its end in the pool; a generator alone would wait for whoever reads it."""
    return pool.submit(lambda: list(rule(*words)))


def _solved(course: Course, path: Path) -> Check:
    """Every graded cell passes with the solutions, and writes nothing to stderr, for which nbgrader gives no points."""
    for id, outcome in _outcomes(course, path, notebook.read(path)):
        if outcome["state"] != "passed":
            yield f"{path.name}, {id} fails with its own solution: {outcome['type']} {outcome['message']}"
        elif outcome["complained"]:
            yield f"{path.name}, {id} writes to stderr: {outcome['complained'].strip().splitlines()[0]}"


def _scaffold(course: Course, path: Path) -> Check:
    """No graded cell passes on what students are given."""
    for id, outcome in _outcomes(course, path, strip(notebook.read(path)), keep_going=True):
        if outcome["state"] == "passed":
            yield f"{path.name}, {id} passes on the untouched scaffold"


def _outcomes(course: Course, path: Path, nb: dict, keep_going: bool = False) -> Iterator[tuple[str, Outcome]]:
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


def _mutants(course: Course, path: Path, part: tuple[int, int], equivalent: dict[str, str]) -> Check:
    _, alive = try_in_process(path, course.package.parent, part=part)
    for cell, line, change in alive:
        if f"{cell}: {change}" not in equivalent:
            yield f"{path.name}, {cell}, line {line}: no test notices {change}"


def _liars(course: Course, path: Path) -> Check:
    from tito.author.liars import believed  # the grader's, so not on every system

    yield from (f"{path.name}, {problem}" for problem in believed(course, path))


# Commands


def _commands(course: Course, tree) -> Check:
    """Every `tito ...` that is named anywhere a reader looks must exist, its options too."""
    for place, text in _texts(course):
        for words in named_commands(text):
            if problem := unknown(words, tree):
                yield f"{place} names `{' '.join(words)}`: {problem}"


def _texts(course: Course) -> Iterator[tuple[str, str]]:
    """(where, text) of pages, prose and code of notebooks, and tito's own messages."""
    docs = (course.root / "docs").rglob("*.md")
    pages = [course.root / "README.md", *docs, *course.folder("nbs").glob("*/README.md")]
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
        words = match[1].rstrip(".").split()
        yield ["tito", *words[: words.index("--") if "--" in words else None]]  # what follows it is another program's


def unknown(words: list[str], tree) -> str:
    """What is wrong with a command line, without running it; nothing if it could be typed. `tree`: the commands."""
    command = tree
    path: list[str] = []
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
