"""`tito watch`: on every save, the tests of the exercises that changed; when they pass, those of the whole notebook.

The processes that run student code are fresh each time; what takes long to import stays loaded in this one.
"""

import contextlib
import os
import threading
from dataclasses import dataclass, field

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Course, Module
from tito.runner.results import Trouble
from tito.runner.testing import ModuleResult, Options, check_module
from tito.student.progress import Progress

SETTLE = 60  # milliseconds without a change before a save counts as finished


@dataclass
class View:
    """What the screen shows: a module's last known states, and the first failure or what to do next."""

    module: Module
    states: dict[str, dict] = field(default_factory=dict)  # exercise -> state, points, possible
    result: ModuleResult | None = None
    changed: tuple[str, ...] = ()  # the exercises that this run was about; none: all
    running: bool = False

    @property
    def trouble(self) -> Trouble | None:
        return self.result.first_trouble if self.result else None

    def take(self, result: ModuleResult) -> None:
        """Add what a run found out."""
        self.result = result
        for exercise in result.exercises:
            found = {"state": exercise.state, "points": exercise.points, "possible": exercise.possible}
            self.states[exercise.id] = found


class Watch:
    """Watches modules; `show(View)` is called whenever there is something to see."""

    def __init__(self, course: Course, modules: list[Module], show):
        self.course, self.modules, self.show = course, modules, show
        self.views = {module.number: View(module) for module in modules}
        self.stop = threading.Event()
        self._known = {module.number: fingerprints(module) for module in modules}
        self._run: _Run | None = None

    def follow(self) -> None:
        """Test the first module, then whatever is saved, until `stop` is set."""
        watchfiles = _import_watchfiles()
        from nbdev.export import nb_export  # noqa: F401  (half a second, now and not on the first save)

        saves = watchfiles.watch(
            *(module.path for module in self.modules), watch_filter=_is_notebook, stop_event=self.stop,
            debounce=400, step=SETTLE, rust_timeout=50, yield_on_timeout=True, recursive=False,
            ignore_permission_denied=True,
        )  # fmt: skip
        try:
            next(saves, None)  # listen before the first run, so that no save is missed
            self._start(self.modules[0], ())
            for changes in saves:
                self._saved({os.path.realpath(path) for _, path in changes})
        finally:
            self.stop.set()
            if self._run:
                self._run.end()

    def _saved(self, paths: set[str]) -> None:
        for module in self.modules:
            if any(os.path.realpath(path) in paths for path in module.notebooks):
                now = fingerprints(module)
                exercises = affected(module, self._known[module.number], now)
                self._known[module.number] = now
                if exercises is not None:
                    self._start(module, exercises)

    def _start(self, module: Module, exercises: tuple[str, ...]) -> None:
        """Begin a run; one that is still going is ended, and what it did not finish joins the new one."""
        if self._run:
            unfinished = self._run.end()
            if self._run.view.module is module and unfinished is not None:
                exercises = () if () in (exercises, unfinished) else tuple(dict.fromkeys(exercises + unfinished))
        self._run = _Run(self.course, self.views[module.number], exercises, self.show)


class _Run:
    """One run in a thread of its own: the exercises that changed; if they pass, every exercise of the notebook."""

    def __init__(self, course: Course, view: View, exercises: tuple[str, ...], show):
        self.course, self.view, self.exercises, self._show = course, view, exercises, show
        self._cancel = threading.Event()
        self._first_done = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def end(self) -> tuple[str, ...] | None:
        """Stop it; returns the exercises whose verdict is still open, None if there are none."""
        self._cancel.set()
        self._thread.join()
        return None if self._first_done else self.exercises

    def _work(self) -> None:
        self.view.changed, self.view.running = self.exercises, True
        self._show(self.view)
        everything = tuple(exercise.id for exercise in self.view.module.exercises if exercise.tests)
        for some in filter(None, (self.exercises, everything)):
            options = Options(only=frozenset(some), interrupted=self._cancel)
            result = check_module(self.course, self.view.module, options)
            if self._cancel.is_set():
                return
            self._first_done = True
            _record(self.course, self.view.module, result)
            self.view.take(result)
            self.view.running = result.exercises_pass and some != everything
            self._show(self.view)
            if not self.view.running:
                return


def _import_watchfiles():
    try:
        import watchfiles
    except ImportError:
        raise CourseError('this needs watchfiles, of the extra [lab]: pip install "tinytorch[lab]"') from None
    return watchfiles


def _is_notebook(change, path: str) -> bool:
    name = os.path.basename(path)
    return name.endswith(".ipynb") and not name.startswith(".")


def fingerprints(module: Module) -> dict[str, str] | None:
    """Cell id -> source of the cells that are tested; None if a notebook cannot be read."""
    found: dict[str, str] = {}
    try:
        for path in module.notebooks:
            for cell in notebook.read(path)["cells"]:
                if notebook.kind(cell) in notebook.CORE:
                    found[cell["id"]] = cell["source"]
    except CourseError:
        return None
    return found


def affected(module: Module, before: dict | None, now: dict | None) -> tuple[str, ...] | None:
    """The exercises whose cells changed; () for all of them, None for none (a save that changed nothing to test)."""
    if before is None or now is None:
        return ()
    changed = {id for id in before.keys() | now.keys() if before.get(id) != now.get(id)}
    if not changed:
        return None
    owners = {cell: exercise.id for exercise in module.exercises for cell in (*exercise.solution, *exercise.tests)}
    found = {owners.get(id) for id in changed}
    return () if None in found else tuple(exercise.id for exercise in module.exercises if exercise.id in found)


def _record(course: Course, module: Module, result: ModuleResult) -> None:
    """Remember the states; a record that cannot be written must not end the watching."""
    with contextlib.suppress(CourseError):
        Progress(course).record_test(module, result, partly=True)
