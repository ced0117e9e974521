"""`tito test`: a module's exercises and its pytest folder, run against what its notebooks export.

The notebooks are exported to a temporary copy of the package, and fresh processes see that copy and no other. The
notebook's cells and the pytest folder run side by side, each in a process of its own (see process.py).
"""

import contextlib
import hashlib
import importlib.util
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import cast

from tito import CourseError
from tito.course import notebook
from tito.course.export import export_to
from tito.course.registry import Course, Module
from tito.course.scaffold import kept_copy, origin_of
from tito.course.storage import temporary
from tito.runner import platform
from tito.runner.process import ChildProcess, ChildStoppedError
from tito.runner.results import ExerciseResult, Outcome, Trouble, grade_id, judge_all, trouble_of, untouched
from tito.runner.whose import explain

GRADED, OTHER, EXPLORATION, PYTEST = 10.0, 30.0, 300.0, 60.0  # seconds for a cell of each kind, and for one pytest test
STRIKES = 3  # how often a notebook's process may hang or die before the rest of it is left alone

_exporting = threading.Lock()  # nbdev keeps global state
_slots = threading.Semaphore(2)  # processes at work at the same time


@dataclass
class PytestResult:
    """Real counts of one pytest session; `problem` says why it does not count as passed although nothing failed."""

    folder: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    problem: str = ""
    trouble: Trouble | None = None
    waiting: list[str] = field(default_factory=list)  # exercises that are not written, where tests came upon them
    reasons: dict[str, int] = field(default_factory=dict)  # why tests were skipped -> how many

    @property
    def ok(self) -> bool:
        return self.passed > 0 and not self.failed and not self.problem


@dataclass
class ModuleResult:
    """Everything `tito test` found out about one module. `troubles` are those outside of an exercise."""

    number: str
    folder: str
    title: str
    exercises: list[ExerciseResult] = field(default_factory=list)
    by_hand: float = 0.0
    pytest: PytestResult | None = None
    troubles: list[Trouble] = field(default_factory=list)
    seconds: float = 0.0
    notebooks: str = ""  # a digest of what was tested
    hidden: bool = False  # whether grading adds tests that are not in the notebook

    @property
    def points(self) -> float:
        return sum(exercise.points for exercise in self.exercises)

    @property
    def possible(self) -> float:
        return sum(exercise.possible for exercise in self.exercises)

    @property
    def passed(self) -> bool:
        """True only if graded cells ran and passed, pytest ran and passed, and nothing else went wrong."""
        return self.exercises_pass and self.pytest is not None and self.pytest.ok

    @property
    def exercises_pass(self) -> bool:
        """Whether graded cells ran, all passed (bonus ones may wait), and nothing else in the notebook went wrong."""
        due = [each.state for each in self.exercises if not each.bonus or each.state in ("passed", "failed")]
        return bool(due) and all(state == "passed" for state in due) and not self.troubles

    @property
    def first_trouble(self) -> Trouble | None:
        """The one to show: of the notebook as a whole, else of the first exercise that failed, else of pytest."""
        failed = [exercise.trouble for exercise in self.exercises if exercise.state == "failed"]
        tests = [self.pytest.trouble] if self.pytest and self.started else []
        return next((trouble for trouble in (*self.troubles, *failed, *tests) if trouble), None)

    @property
    def started(self) -> bool:
        """Whether any exercise was worked on."""
        return any(exercise.state in ("passed", "failed") for exercise in self.exercises)

    def plain(self) -> dict:
        """The result as plain data for `--json`."""
        totals = {"passed": self.passed, "points": self.points, "possible": self.possible}
        return _rounded({**asdict(self), **totals})


def _rounded(data):
    """Plain data with times to the millisecond."""
    if isinstance(data, dict):
        return {key: _rounded(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_rounded(value) for value in data]
    return round(data, 3) if isinstance(data, float) else data


@dataclass
class Options:
    """How to test: exploration cells and parity with PyTorch too (`full`), or `only` some exercises and no pytest.

    `seconds` is what a graded cell may take; the event `interrupted` ends it all.
    """

    full: bool = False
    seconds: float = GRADED
    only: frozenset[str] = frozenset()
    interrupted: threading.Event = field(default_factory=threading.Event)


def check_modules(course: Course, modules: list[Module], options: Options) -> Iterator[ModuleResult]:
    """Check modules, two at a time; the results come in the modules' order."""
    pool = ThreadPoolExecutor(2)
    futures = [pool.submit(check_module, course, module, options) for module in modules]
    try:
        for future in futures:
            yield _result(future)
    finally:
        options.interrupted.set()
        pool.shutdown(cancel_futures=True)


def _result(future: Future) -> ModuleResult:
    """Its result; Ctrl-C is heard meanwhile."""
    while not wait([future], platform.HEARD).done:
        pass
    return future.result()


def check_module(course: Course, module: Module, options: Options) -> ModuleResult:
    """Export to a temporary package, run the notebooks' cells and the pytest folder against it, and report."""
    start = time.perf_counter()
    result = ModuleResult(module.number, module.folder, module.title, notebooks=digest_of(module.notebooks))
    result.hidden = origin_of(course, module) in ("scaffold", "yours")
    with temporary(prefix="tito-test-") as folder:
        try:
            notebooks = {path: notebook.read(path) for path in module.notebooks}
            result.exercises, result.by_hand = untouched(module, notebooks)
            if options.only:
                result.exercises = [exercise for exercise in result.exercises if exercise.id in options.only]
            with _exporting:
                export_to(course, [module], Path(folder))
        except CourseError as error:
            result.troubles.append(Trouble("export", str(error).removesuffix(" The package is as it was.")))
        else:
            run = _run_some if options.only else _run_both
            run(course, module, notebooks, Path(folder), result, options)
    if not result.exercises:
        result.troubles.append(Trouble(module.folder, "No graded cell was found, so there is nothing to pass."))
    result.seconds = time.perf_counter() - start
    return result


def _run_both(course, module, notebooks, folder: Path, result: ModuleResult, options: Options) -> None:
    """Notebook cells and pytest, side by side; pytest ends early if the notebook hangs, dies or is not begun."""
    enough = threading.Event()

    def stop() -> bool:
        return enough.is_set() or options.interrupted.is_set()

    with ThreadPoolExecutor(1) as pool:
        tests = pool.submit(run_pytest, course, module, folder, stop, options.full)
        outcomes: dict[str, Outcome] = {}
        for path, nb in notebooks.items():
            cells = _cells(nb, options, given(course, module, path))
            with _slots:
                found = run_cells(cells, folder, path.parent, options.interrupted.is_set, enough.set)
            result.troubles += _outside(course, path, cells, found, folder)
            outcomes |= found
        judge_all(result.exercises, module, outcomes, notebooks)
        result.troubles = _news(result)
        broken = enough.is_set()
        if not result.started:
            enough.set()
        result.pytest = tests.result()
    waiting = [exercise for exercise in result.exercises if exercise.state in ("not started", "not finished")]
    if result.pytest.failed and waiting and (result.pytest.waiting or not result.pytest.trouble):
        titles = [each.title for each in result.exercises if each.id in result.pytest.waiting]
        named = f": {', '.join(titles[:3])}{' and others' if len(titles) > 3 else ''}" if titles else ""
        result.pytest.problem = f"Tests also fail while exercises are not written{named}."
    if broken and not result.pytest.failed:
        result.pytest.problem = "Ended early, because the notebook hung or died."
    elif not broken and not result.started:
        result.pytest = PytestResult(result.pytest.folder, problem="Not run, because no exercise is written yet.")


def _run_some(course, module, notebooks, folder: Path, result: ModuleResult, options: Options) -> None:
    """The graded cells of some exercises, after the exported and solution cells that stand before them.

    Of the other graded cells before them only the functions are kept: tests share them.
    """
    wanted = {test for exercise in result.exercises for test in exercise.tests}
    outcomes: dict[str, Outcome] = {}
    for path, nb in notebooks.items():
        cells = _cells(nb, options, given(course, module, path))
        last = max((n for n, cell in enumerate(cells) if cell.kind == "graded" and cell.id in wanted), default=-1)
        cells = [
            replace(cell, source=notebook.definitions(cell.source), kind="shared")
            if cell.id not in wanted and cell.kind == "graded"
            else cell
            for cell in cells[: last + 1]
        ]
        found = run_cells(cells, folder, path.parent, options.interrupted.is_set) if cells else {}
        result.troubles += _outside(course, path, cells, found, folder)
        outcomes |= found
    judge_all(result.exercises, module, outcomes, notebooks)
    result.troubles = _news(result, always=True)


def _news(result: ModuleResult, always: bool = False) -> list[Trouble]:
    """The troubles without those that a scaffold causes elsewhere: no news beside "not started"."""
    waiting = any(exercise.state in ("not started", "not finished") for exercise in result.exercises)
    return [trouble for trouble in result.troubles if trouble.type != "NotImplementedError" or not (waiting or always)]


def digest_of(paths: Iterable[Path]) -> str:
    """One short digest of the content of files; a missing file counts as empty."""
    total = hashlib.sha256()
    for path in paths:
        content = path.read_bytes() if path.is_file() else b""
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()[:32]


# The notebook's cells


@dataclass(frozen=True)
class Cell:
    """A cell to run, and the seconds it may take."""

    id: str
    source: str
    kind: str
    limit: float


def given(course: Course, module: Module, path: Path) -> set[str] | None:
    """The ids of the cells that a workspace's notebook was handed out with; None where it is the author's."""
    kept = kept_copy(course, module, path)
    return {cell["id"] for cell in notebook.read(kept)["cells"]} if kept.is_file() else None


def _cells(nb: dict, options: Options, given: set[str] | None = None) -> list[Cell]:
    """The cells that `tito test` executes, in order; a student's own, which are not `given`, where they stand."""
    limits = {"graded": options.seconds, "exploration": max(EXPLORATION, options.seconds)}
    wanted = (*notebook.CORE, "own", *(["exploration"] if options.full else []))
    kinds = [(cell, notebook.kind(cell)) for cell in nb["cells"] if cell["cell_type"] == "code"]
    kinds = [
        (cell, "own" if given and kind == "exploration" and cell["id"] not in given else kind) for cell, kind in kinds
    ]
    return [
        Cell(grade_id(cell) if kind == "graded" else cell["id"], cell["source"], kind, limits.get(kind, OTHER))
        for cell, kind in kinds
        if kind in wanted
    ]


def run_cells(
    cells: list[Cell],
    folder: Path,
    cwd: Path,
    stop: Callable[[], bool] = lambda: False,
    on_break: Callable[[], None] = lambda: None,
) -> dict[str, Outcome]:
    """Run cells in a fresh process that sees `folder/tinytorch`: cell id -> outcome (state, message, lines, seconds).

    A cell that hangs or kills the process is left out of the next round, so that the others still get their verdict.
    """
    outcomes: dict[str, Outcome] = {}
    for _ in range(STRIKES):
        if _run_through(cells, folder, cwd, stop, outcomes) or stop():
            break
        on_break()
    return outcomes


def _run_through(cells, folder, cwd, stop, outcomes: dict[str, Outcome]) -> bool:
    """One round; False if a cell stopped the process."""
    with ChildProcess("cells", folder, cwd, stop) as child:
        for cell in cells:
            if cell.id in outcomes and outcomes[cell.id]["state"] == "stopped":
                continue
            try:
                outcome = child.ask(
                    cell.limit,
                    id=cell.id,
                    source=cell.source,
                    magics=cell.kind in ("exploration", "own"),
                    graded=cell.kind in ("graded", "shared"),
                )
            except ChildStoppedError as reason:
                where = [{"place": cell.id, "line": 0, "source": ""}]
                outcome = {"state": "stopped", "type": "", "message": str(reason), "lines": where, "seconds": 0.0}
            if outcome["state"] == "failed" and (
                cause := platform.out_of_threads(outcome["message"] + child.complained)
            ):
                outcome["message"] = cause
            outcome |= {"printed": child.printed, "complained": child.complained}
            outcomes[cell.id] = cast(Outcome, outcome)
            if outcome["state"] == "stopped":
                return False
    return True


def _outside(
    course: Course, path: Path, cells: list[Cell], outcomes: dict[str, Outcome], folder: Path
) -> list[Trouble]:
    """What went wrong outside of the graded cells."""
    twice = [id for id, count in Counter(cell.id for cell in cells).items() if count > 1]
    found = [Trouble(id, f"{path.name} has two cells called {id}: delete the copy.") for id in twice]
    for cell in cells:
        outcome = outcomes.get(cell.id)
        if outcome and cell.kind not in ("graded", "own") and outcome["state"] != "passed":
            found.append(trouble_of(cell.id, outcome))
            found[-1].message += _how_to_get(course, outcome)
    origins = {outcome["origin"] for outcome in outcomes.values() if outcome.get("origin")}
    strange = [origin for origin in origins if not Path(origin).is_relative_to(folder)]
    return found + [Trouble(path.name, f"It imported {origin}, not what it exports.") for origin in strange]


def _how_to_get(course: Course, outcome: Outcome) -> str:
    """The command that exports a module of the course which could not be imported, if that is what went wrong."""
    if outcome["type"] == "ModuleNotFoundError":
        for module in course.modules:
            with contextlib.suppress(CourseError):
                names = [f"'{course.lib_name}.{target}'" for target in module.targets.values()]
                if any(name in outcome["message"] for name in names):
                    return f". Module {module.number} is not exported yet: tito export {module.number}"
    return ""


# The pytest folder


def run_pytest(
    course: Course, module: Module, folder: Path, stop: Callable[[], bool] = lambda: False, full: bool = False
) -> PytestResult:
    """Run the module's pytest folder in a fresh process that sees `folder/tinytorch`; with PyTorch only if `full`.

    The first failure is told by the exercise that it is about; those that only reached a stub are told apart.
    """
    tests = course.folder("tests") / module.folder
    result = PytestResult(tests.relative_to(course.root).as_posix())
    if not any(tests.glob("**/test_*.py")):
        result.problem = f"There are no tests in {result.folder}."
        return result
    if importlib.util.find_spec("pytest") is None:
        result.problem = "pytest is not installed: pip install pytest"
        return result
    with _slots, temporary() as examples:
        start = time.perf_counter()
        variables = {"HYPOTHESIS_STORAGE_DIRECTORY": examples, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # a second less
        with ChildProcess("pytest", folder, course.root, stop, **variables) as child:
            words = [*_OPTIONS, *([] if full else _SHORT), f"--rootdir={course.root}", str(tests)]
            watched = [f"{course.lib_name}.{target}" for target in module.targets.values()]
            failures, told = _follow(child, {"arguments": words, "watched": watched}, result)
        result.seconds = time.perf_counter() - start
    notebooks = {path: notebook.read(path) for path in module.notebooks}
    for failure in failures:
        trouble = trouble_of(failure["test"], cast(Outcome, failure))
        trouble.case = failure["case"]
        explain(trouble, told, folder, module, notebooks)
        if failure["state"] == "stub":
            result.waiting += [id for id in trouble.exercises if id not in result.waiting]
        else:
            result.trouble = result.trouble or trouble
    if not result.passed and not result.failed and not result.problem:
        result.problem = f"No test ran: {result.skipped} skipped."
    return result


# No cache and no folder beyond the child's own path: the tests see the package that they are given.
_OPTIONS = ("-q", "--tb=no", "--color=no", "-p", "no:cacheprovider", "--import-mode=importlib", "-o", "pythonpath=")

# Importing PyTorch takes longer than a module's own tests, which hold the same values.
_SHORT = ("-m", "not slow and not browser and not parity", "--ignore-glob=*_parity.py")


def _follow(child: ChildProcess, request: dict, result: PytestResult) -> tuple[list[dict], list[dict]]:
    """Count what the child tells until it says that the session ended; returns (failures, results), as told."""
    outcomes: dict[str, str] = {}
    failures, results = [], []
    current = "the start of pytest"
    message: dict = {}
    try:
        ticket = child.send(**request)
        while message.get("ticket") != ticket:
            message = child.receive(PYTEST)
            current = message.get("test", current)
            if message.get("event") == "result" and outcomes.get(current) != "failed":
                outcomes[current] = message["outcome"]
                results.append(message)
                if message["outcome"] == "skipped":
                    result.reasons[message["reason"]] = result.reasons.get(message["reason"], 0) + 1
            elif message.get("event") == "failure":
                failures.append({**message, "test": current})
            elif message.get("event") == "start":
                child.begin()
        if message["code"] not in (0, 1, 2, 5):
            result.problem = f"pytest itself failed (exit code {message['code']}): {child.printed.strip()[-500:]}"
        if message["origin"] and not Path(message["origin"]).is_relative_to(child.folder):
            result.problem = f"The tests imported {message['origin']}, not what the notebook exports."
    except ChildStoppedError as reason:
        outcomes[current] = "failed"
        result.trouble = Trouble(current, str(reason))
    counts = Counter(outcomes.values())
    result.passed, result.failed, result.skipped = counts["passed"], counts["failed"], counts["skipped"]
    return failures, results
