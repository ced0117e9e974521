"""Does a graded cell believe a liar? Each is run by the grader's own tester with a liar between it and the reference.

A liar changes every number and array that comes from the student's process, or the student's names are junk that knows
nothing but its name, or the answers are those to another student's hidden inputs. Who earns a point so is a finding.
"""

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tito.author.mutation import ask_child
from tito.course.registry import Course
from tito.grading.plan import LIMITS, assemble, defined, prepare, reference_submission
from tito.grading.sandbox import hidden
from tito.grading.sandbox.box import Box
from tito.grading.sandbox.isolation import Rung
from tito.grading.sandbox.proxy import Proxy, read
from tito.grading.sandbox.readings import Reading, guard
from tito.grading.sandbox.student import CellTimeoutError, StudentProcess, alarm
from tito.grading.sandbox.tester import SubmissionRun
from tito.grading.sandbox.wire import WireError

PATIENCE = 600  # seconds for a notebook
LONGEST, HONEST = 5.0, 60.0  # seconds for a cell with a liar, and without
OTHERS = [5, 4, 3, 2]  # another student's hidden inputs


# Lies: value -> value, for numbers and arrays


def _empty(value, turn):
    return np.zeros((0, *[1] * max(np.ndim(value), 1)), _dtype(value)).view(Reading)


def _same(number: float) -> Callable:
    def lie(value, turn):
        made = np.full(np.shape(value), number if _dtype(value).kind == "f" or number == number else -1)
        return _like(value, made)

    return lie


def _other(value, turn):
    values = np.asarray(value, float).view(np.ndarray)
    return _like(
        value, np.where(np.isfinite(values), 1.5 * values + 1 + np.arange(values.size).reshape(values.shape), 3)
    )


def _number(value, turn):
    return 0.0


def _first(value, turn):
    """One entry for all."""
    return np.asarray(value).view(np.ndarray).reshape(-1)[:1].copy().view(Reading) if np.ndim(value) else 0


def _turning(value, turn):
    return (_same(0.0), _same(1.0), _other, _empty)[turn % 4](value, turn)


def _dtype(value):
    return np.asarray(value).dtype


def _like(value, made):
    """Numbers of the kind of a value: whole ones stay whole, Python's stay Python's."""
    if isinstance(value, np.ndarray):
        return made.astype(value.dtype).view(Reading)
    return type(value)(made)


LIES = {
    "empty arrays": _empty,
    "zeros": _same(0.0),
    "ones": _same(1.0),
    "NaN": _same(float("nan")),
    "other values of the right shape": _other,
    "a number for every array": _number,
    "one entry for every array": _first,
    "values that change between readings": _turning,
}
TOLD = ("shape", "dtype", "ndim", "size")


class Liar:
    """Stands between the tester and a student's process; `lie` is told, nothing if it is None. It remembers answers."""

    def __init__(self, conversation):
        self.honest, self.lie, self.turn, self.answers, self.replay = conversation._asked, None, 0, [], None
        self.measures, self.yes, self.told = True, None, 0
        conversation._asked = self.asked

    def asked(self, what, inputs, named):
        """The answer to a question, changed."""
        try:
            answer = self.honest(what, inputs, named)
        except WireError:
            raise
        except Exception as error:
            known = self._known(error)
            self.answers.append(known)
            raise known from None
        told = self.measures and what == "get" and inputs[-1] in TOLD
        if told or what in ("execute", "name", "import", "isinstance", "iterate"):
            return answer
        if self.replay is not None:
            return self._known(answer)
        self.answers.append(answer)
        return answer if self.lie is None else self._changed(answer)

    def _known(self, answer):
        """The answer that was given at this turn to somebody else; the true one if either holds a stand-in."""
        if self.replay is None:
            return answer
        self.turn, self.told = self.turn + 1, self.told + 1
        known = self.replay[self.turn - 1] if self.turn <= len(self.replay) else answer
        errors = isinstance(known, Exception), isinstance(answer, Exception)
        return answer if _stands_in(known) or _stands_in(answer) or errors[0] != errors[1] else known

    def _changed(self, value):
        if isinstance(value, bool):
            return value if self.yes is None else self.yes
        if isinstance(value, np.ndarray | np.generic | int | float):
            self.turn, self.told = self.turn + 1, self.told + 1
            return self.lie(value, self.turn)
        if type(value) in (list, tuple):
            return type(value)(map(self._changed, value))
        return {name: self._changed(item) for name, item in value.items()} if type(value) is dict else value


def _stands_in(value) -> bool:
    inner = value.values() if type(value) is dict else value if type(value) in (list, tuple) else ()
    return isinstance(value, Proxy) or any(map(_stands_in, inner))


# Junk: what knows its name only

JUNK = """
import numpy as _np
class _Junk:
    def __init__(self, answer): self.__dict__["answer"] = answer
    def __getattr__(self, name):
        if name.startswith("__") and name != "__wrapped__": raise AttributeError(name)
        return {"data": self.answer(), "shape": (), "grad": None}.get(name, self)
    def __setattr__(self, name, value): pass
    def __call__(self, *inputs, **named): return self.answer(*inputs, **named)
    def __array__(self, dtype=None, copy=None): return _np.zeros((0, 1, 1), dtype or "float32")
    def __iter__(self): return iter(())
    def __len__(self): return 0
    def __enter__(self): return self
    def __exit__(self, *error): return True
    def __getitem__(self, key): return self
    def __float__(self): return 0.0
    __int__ = __index__ = __len__
    def __repr__(self): return MESSAGE
def _raiser(kind):
    def answer(*inputs, **named):
        raise kind(MESSAGE)
    return answer
def _echo(*inputs, **named): return inputs[0] if inputs else None
def _blank(*inputs, **named):
    shape = _np.shape(getattr(inputs[0], "data", inputs[0])) if inputs else ()
    value = _np.zeros(shape, "float32")
    return type(inputs[0])(value) if inputs and type(inputs[0]).__name__ == "Tensor" else value
def _itself(*inputs, **named): return _Junk(_itself)
_FORMS = {"None": lambda *a, **k: None, "an empty array": lambda *a, **k: _np.zeros((0, 1, 1), "float32"), "NaN":
    lambda *a, **k: float("nan"), "0": lambda *a, **k: 0, "1": lambda *a, **k: 1, "True": lambda *a, **k: True,
    "its first input": _echo, "zeros like its first input": _blank, "an empty list": lambda *a, **k: [],
    "an empty tuple": lambda *a, **k: (), "an empty dict": lambda *a, **k: {}, "the test's own text": lambda *a, **k:
    MESSAGE, "itself": _itself} | {f"a {k.__name__}": _raiser(k) for k in (ValueError, TypeError, KeyError, IndexError,
    RuntimeError, FloatingPointError, FileNotFoundError, StopIteration)}
_kept = {}
"""
FORMS = (
    "None", "an empty array", "NaN", "0", "1", "True", "its first input", "zeros like its first input", "an empty list",
    "an empty tuple", "an empty dict", "the test's own text", "itself", "a ValueError", "a TypeError", "a KeyError",
    "a IndexError", "a RuntimeError", "a FloatingPointError", "a FileNotFoundError", "a StopIteration",
)  # fmt: skip


class LiarPass(SubmissionRun):
    """The reference on its way through the cells; each graded one meets every liar."""

    fresh: dict = {}  # names that a graded cell finds changed when it begins

    def findings(self) -> Iterator[tuple[str, str]]:
        """(cell, which liar earned points there)."""
        self.student.start()
        self._forget()
        self.liar, made = Liar(self.student.conversation), set()
        for number, step in enumerate(self.steps):
            if step["kind"] != "graded":
                self._student_cell(number, step)
                made |= set(defined(step["source"])["names"]) if step["kind"] == "solution" else set()
                continue
            saved = dict(self.namespace)
            if self._points(step, HONEST) != step["points"]:
                yield step["id"], "the reference itself does not earn its points"
            after = dict(self.namespace)
            for words in self._liars(step, sorted(made)):
                self.namespace.clear()
                self.namespace.update(saved)
                if self._points(step) and (self.liar.told or words.startswith("junk")):
                    yield step["id"], words
            self.namespace.clear()
            self.namespace.update(after)

    def lost(self, seeds: list[list[int]]) -> Iterator[tuple[str, str]]:
        """(cell, seed) where the reference does not earn its points with other hidden inputs."""
        self.student.start()
        self._forget()
        self.liar = Liar(self.student.conversation)
        for number, step in enumerate(self.steps):
            if step["kind"] != "graded":
                self._student_cell(number, step)
                continue
            for words in seeds if step["hidden"] else [None]:
                hidden.seed(words)
                if self._points(step, HONEST) != step["points"]:
                    yield step["id"], str(words)
            hidden.seed(None)

    def _graded_cell(self, step: dict) -> dict:
        self.namespace.update(self.fresh)
        return super()._graded_cell(step)

    def _points(self, step: dict, seconds: float = LONGEST) -> float:
        """What the cell earns as things are."""
        self.liar.turn = self.liar.told = 0
        self.student.conversation.seen.clear()
        try:
            with alarm(seconds), contextlib.redirect_stdout(io.StringIO()):
                return self._graded_cell(step)["points"]
        except (Exception, CellTimeoutError):
            return 0.0
        finally:
            hidden.inside(False)
            self.student.drain()

    def _liars(self, step: dict, names: list[str]) -> Iterator[str]:
        """Which liar is at work from now on, one after the other."""
        liar = self.liar
        for words, lie in LIES.items():
            for liar.measures in (True, False):
                for liar.yes in (None, True, False) if words in ("zeros", "ones") else (None,):
                    liar.lie = lie
                    sure = "" if liar.yes is None else f", and {liar.yes} throughout"
                    yield f"{words}{sure}{', under the shape that is told' if liar.measures else ''}"
        liar.lie, liar.measures, liar.yes = None, True, None
        liar.answers = []
        self._points(step, HONEST)  # once more: what is imported for the first time asks more
        hidden.seed(OTHERS)
        liar.replay = liar.answers
        yield "the answers to somebody else's hidden inputs"
        liar.replay = None
        hidden.seed(None)
        ask = self.student.conversation.ask
        ask(
            "execute", f"{JUNK}MESSAGE = {step['source']!r}\n_kept.update({{n: globals()[n] for n in {names}}})", "junk"
        )
        for form in FORMS:
            ask("execute", f"globals().update({{n: _Junk(_FORMS[{form!r}]) for n in {names}}})", "junk")
            fresh = {name: ask("name", name) for name in names if name in self.namespace}
            self.fresh = fresh
            try:
                yield f"junk that answers with {form}"
            finally:
                self.fresh = {}
        ask("execute", "globals().update(_kept)", "junk")


def try_notebook(course: Course, path: Path, seeds: list | None = None) -> list[list[str]]:
    """[cell, liar] for every liar whom a graded cell of a notebook believed, found in a process of its own.

    With `seeds`: [cell, seed] for every one whose hidden inputs cost the reference its points.
    """
    return ask_child("liars", path, course.package.parent, [str(course.root), str(path), seeds], PATIENCE)


def believed(course: Course, path: Path) -> Iterator[str]:
    """A sentence for each cell of a notebook that pays liars. Nothing where there is no Linux."""
    if not sys.platform.startswith("linux"):
        return
    cells: dict[str, list[str]] = {}
    for cell, words in try_notebook(course, path):
        cells.setdefault(cell, []).append(words)
    for cell, liars in cells.items():
        more = f", and {len(liars) - 1} more" if len(liars) > 1 else ""
        yield f"{cell} pays a liar ({liars[0]}{more}): hold every answer against the test's own numbers"


def main() -> None:
    """What that process does: a question on standard input, the answer on standard output."""
    root, path, seeds = json.load(sys.stdin)
    root, path = Path(root), Path(path)
    answer, sys.stdout = sys.stdout, sys.stderr
    course = Course.load(root)
    module = next(module for module in course.modules if path in module.notebooks)
    assignment = prepare(course, module, Rung("none", False, "a liar"), {"threads": 0, "cpu": PATIENCE})
    with assignment.home:
        part = next(part for part in assignment.parts if part.path == path)
        box, steps = assignment.setting(part)["setting"], assemble(part.plan, reference_submission(part))[0]
        os.environ["TMPDIR"] = box["exchange"]
        guard(read)
        hidden.install()
        limits = {**LIMITS, "wall": PATIENCE, "cell": PATIENCE}
        task = {"steps": steps, "limits": limits, "package": box["package"], "own": box["own"]}
        student = StudentProcess(Box(box["command"], box["environment"], None))
        try:
            run = LiarPass(task, student, lambda message: None)
            found = list(run.findings() if seeds is None else run.lost(seeds))
        finally:
            student.box.stop()
    json.dump(found, answer)
