"""Runs one submission: the student's cells in the student's process, the pristine graded cells here.

Runs in a process of its own, forked by the worker, and reports every cell as it ends. A cell that hangs or takes the
student's process down costs its own points: the process is started again and brought to where it was.
"""

import ast
import contextlib
import io
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from tito.course.notebook import definitions
from tito.grading.sandbox import cells, hidden
from tito.grading.sandbox.importing import Importer
from tito.grading.sandbox.proxy import read
from tito.grading.sandbox.readings import guard
from tito.grading.sandbox.student import CellTimeoutError, FloodError, NotStartedError, StudentProcess, alarm
from tito.grading.sandbox.wire import ClosedError, WireError

MOST_RESTARTS = 8
IN_PLACE = "your code changed an array that it was given, which the test goes on with: work on a copy"
LONGEST_MESSAGE = 4000
HELD = "(what your code says here is not shown: hidden tests had run before)"
SAID, PRINTED = ("message", "line", "places"), ("output", "printed")  # of an outcome: a student's code had a hand in it


class SubmissionRun:
    """One submission on its way through the cells.

    What the student's code says after a hidden test has run may hold that test's inputs, so it is `held`: the outcome
    has it from a second look, at a run without any hidden test.
    """

    def __init__(self, task: dict, student: StudentProcess, report: Callable):
        self.steps, self.limits, self.package = task["steps"], task["limits"], task["package"]
        self.own = task.get("own", {})  # modules of the tester's own: full name -> source
        self.student, self.report = student, report
        self.deadline = time.monotonic() + self.limits["wall"]
        self.namespace: dict = {"__name__": "__main__", hidden.MARK: self._mark}
        self.broken = Counter()  # step -> how often the student's cell took the process down
        self.restarts = 0
        self.shown = 0  # up to here, what was printed in this step was printed before a hidden test
        self.exposed = False  # whether a hidden test has run
        self.held: dict[int, dict] = {}  # number of the step -> its outcome, of which something was not told

    def all(self) -> None:
        """Every cell in order."""
        self.student.start()
        self._forget()
        for number, step in enumerate(self.steps):
            outcome = self._step(number, step)
            self.report({"cell": step["id"], **outcome})

    def _mark(self, begins: bool) -> None:
        """A hidden part of a test begins or ends."""
        hidden.inside(begins)
        if begins and not self.exposed:
            if self.student.conversation is not None:
                self.student.drain()
            self.shown, self.exposed = len(self.student.output), True

    def _step(self, number: int, step: dict) -> dict:
        """Run a step; whatever ends it is its outcome."""
        start, seen, before = time.monotonic(), len(self.student.output), self.exposed
        none = {"points": 0.0, "seconds": 0.0}
        if self.deadline <= start:
            return {"status": "timeout", **none, "message": "the time for the submission was up before this cell"}
        if self.student.conversation is None and not self._restart(number):
            return {"status": "died", **none, "message": "your code ended its process too often to go on"}
        limit = min(self.limits["cell"] + step.get("reference", 0.0), self.deadline - time.monotonic())
        try:
            with alarm(limit):
                outcome = self._graded_cell(step) if step["kind"] == "graded" else self._student_cell(number, step)
        except CellTimeoutError:
            outcome = {"status": "timeout", "message": f"stopped after {limit:.0f} s"}
            self._process_ended(number, step)
        except FloodError as error:
            outcome = {"status": "died", "message": f"stopped: {error}"}
            self._process_ended(number, step)
        except (WireError, OSError) as error:
            outcome = self._process_ended(number, step, error)
        except NotStartedError:
            raise
        except Exception as error:  # whatever comes through from the student's side is the student's
            self._process_ended(number, step)
            outcome = {"status": "died", "message": f"stopped: {type(error).__name__}: {error}"[:LONGEST_MESSAGE]}
        finally:
            hidden.inside(False)
        if self.student.conversation is not None:
            with contextlib.suppress(WireError, OSError):
                self.student.drain()
        end = self.shown if self.exposed and not before else len(self.student.output)
        outcome["output"] = bytes(self.student.output[seen:end]).decode("utf-8", "replace")
        outcome = {"points": 0.0, **outcome, "seconds": round(time.monotonic() - start, 4)}
        return self._hold(number, step, outcome) if self.exposed else outcome

    def _hold(self, number: int, step: dict, outcome: dict) -> dict:
        """The outcome without what a hidden test's inputs might be in; that is told of a hidden test alone."""
        printed = outcome.get("printed", "")
        theirs = _theirs(outcome)
        if not theirs and not outcome["output"] and all(line in step["source"] for line in printed.split("\n")):
            return outcome
        self.held[number] = outcome
        return self._without(outcome, SAID * theirs + PRINTED)

    def _without(self, outcome: dict, names: tuple) -> dict:
        kept = {name: value for name, value in outcome.items() if name not in names}
        return {**kept, "message": HELD} if "message" in names else kept

    def look(self, steps: list[dict], first: dict[int, dict]) -> None:
        """Report the outcomes `first` of another run again, with what the student's code says without hidden tests."""
        self.student.start()
        self._forget()
        for number, step in enumerate(steps):
            again = self._step(number, step)
            if number in first:
                known, told = first[number], PRINTED
                same = all(known.get(name) == again.get(name) for name in ("status", "error"))
                theirs = _theirs(known)
                kept = self._without(known, SAID * theirs + PRINTED)
                told += SAID * (theirs and same)
                self.report({"cell": step["id"], **kept, **{name: again[name] for name in told if name in again}})

    def _process_ended(self, number: int, step: dict, error: BaseException | None = None) -> dict:
        """The process is ended, or has ended: what to say, and what to leave out next time."""
        if step["kind"] != "graded":
            self.broken[number] += 1
        closed = isinstance(error, ClosedError | OSError)
        if closed and self.student.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.student.process.wait(1.0)
        code = self.student.stop()
        if not closed:
            return {"status": "died", "message": f"your code answered in no known form: {error}"}
        if code is None:
            return {"status": "died", "message": "your code broke off the conversation with the tests"}
        if code in (-signal.SIGXCPU, 128 + signal.SIGXCPU):
            return {"status": "timeout", "message": "your code used up its processor time"}
        if code in (-signal.SIGKILL, 128 + signal.SIGKILL):
            return {"status": "oom", "message": "your code's process was killed, most likely for its memory"}
        return {"status": "died", "message": f"your code ended its process (exit code {code})"}

    def _restart(self, number: int) -> bool:
        """Start the student's process again and run its cells up to step `number`; False after too many times."""
        while self.restarts < MOST_RESTARTS and time.monotonic() < self.deadline:
            self.restarts += 1
            self.student.start()
            self._forget()
            done = 0
            try:
                with alarm(min(self.limits["cell"], self.deadline - time.monotonic())):
                    for done in range(number):
                        if self.steps[done]["kind"] != "graded":
                            self._student_cell(done, self.steps[done])
                return True
            except (CellTimeoutError, WireError, OSError):
                self._process_ended(done, self.steps[done], ClosedError())
        return False

    def _forget(self) -> None:
        """After a start: imports of the package go to the new process."""
        Importer(self.package, self.student.conversation.ask, self.own).install()

    def _student_cell(self, number: int, step: dict) -> dict:
        """A cell of the student's, or a given one, in the student's process; the tests then know its names, imports."""
        ask, failure, source = self.student.conversation.ask, None, step["source"]
        cell = cells.prepare(source, self.package)
        notes = cell.notes
        if self.broken[number]:
            cell.source = definitions(source) if self.broken[number] == 1 else ""
        try:
            ask("execute", cell.source, step["id"], cell.lacking)
        except WireError:
            raise
        except Exception as error:
            failure = self._failure(error)
            if cell.lacking and isinstance(error, ImportError):
                with contextlib.suppress(Exception):
                    ask("execute", definitions(cell.source), step["id"], cell.lacking)
        for name in step["names"]:
            self.namespace.pop(name, None)
            try:
                self.namespace[name] = ask("name", name)
            except (WireError, NameError) as error:
                if isinstance(error, WireError):
                    raise
            except Exception as error:
                failure = failure or {
                    **self._failure(error),
                    "message": f"{name} cannot be used: {error}"[:LONGEST_MESSAGE],
                }
        if step["imports"]:
            try:
                exec(compile(step["imports"], "<imports>", "exec"), self.namespace)
            except WireError:
                raise
            except Exception as error:
                failure = failure or self._failure(error)
        if step["kind"] == "own" and failure is not None:
            said = "" if self.exposed else f": {failure['message']}"
            notes.append(cells.one_line(f"{step['id']} failed: {failure['error']}{said}"))
            failure = None
        return {"status": "ran" if failure is None else "failed", "notes": notes, **(failure or {})}

    def _graded_cell(self, step: dict) -> dict:
        """A graded cell, here; its points, or why there are none."""
        shown, name, self.student.conversation.changed = io.StringIO(), f"<{step['id']}>", False
        if step.get("lends"):  # what a test imports, the notebook's later cells have too
            with contextlib.suppress(Exception):
                self.student.conversation.ask("execute", step["lends"], step["id"])
        tree = hidden.marked(step["source"], step["hidden"], name)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        try:
            with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(io.StringIO()):
                exec(compile(tree, name, "exec"), self.namespace)
                value = eval(compile(ast.Expression(last.value), name, "eval"), self.namespace) if last else None
            points = step["points"]
            if type(value) in (int, float):
                points = min(max(float(value), 0.0), points) if value == value else 0.0
            status = "passed" if points == step["points"] else "partly"
            return {"status": status, "points": points, "printed": shown.getvalue()[:10_000]}
        except WireError:
            raise
        except Exception as error:
            failure = self._failure(error, step)
            return {"status": "failed", "points": 0.0, **failure, "printed": shown.getvalue()[:10_000]}
        except (SystemExit, GeneratorExit, KeyboardInterrupt) as error:
            return {"status": "failed", "points": 0.0, "message": f"{type(error).__name__} in the test"}

    def _failure(self, error: BaseException, step: dict | None = None) -> dict:
        """An exception in plain words: kind, message, line of the test (unless hidden), place in the student's code."""
        theirs = getattr(error, "from_student", False)
        lines, hidden, trace = [], False, error.__traceback__
        while step and trace is not None:
            if trace.tb_frame.f_code.co_filename == f"<{step['id']}>":
                lines.append(trace.tb_lineno)
            trace = trace.tb_next
        if step:
            hidden = any(first <= line <= last for line in lines for first, last in step["hidden"])
        try:
            message = str(error) if not isinstance(error, KeyError) else str(error.args[0])
        except Exception:
            message = "(a message that cannot be shown)"
        if step and self.student.conversation is not None and self.student.conversation.changed:
            message = f"{message}\n({IN_PLACE})".strip()
        out = {"error": type(error).__name__, "message": message[:LONGEST_MESSAGE], "hidden": hidden}
        if lines and not hidden:
            out["line"] = step["source"].split("\n")[lines[-1] - 1].strip()
        if theirs and self.student.conversation is not None:
            out["places"] = [place for place in map(self._place, self.student.conversation.places) if place][-3:]
        if isinstance(error, MemoryError):
            out |= {"status": "oom", "message": out["message"] or "your code ran out of memory"}
        return out

    def _place(self, told) -> list | None:
        """[cell, line, its text] for a cell and a line that the student's process names: the text is the cell's own."""
        if not isinstance(told, list) or len(told) < 2 or type(told[0]) is not str or type(told[1]) is not int:
            return None
        source = next((step["source"] for step in self.steps if step["id"] == told[0] and step["kind"] != "graded"), "")
        lines = source.split("\n")
        return [told[0], told[1], lines[told[1] - 1].strip()[:200]] if 0 < told[1] <= len(lines) and source else None


def run_submission(task: dict, report: Callable) -> None:
    """Grade one submission in this process, which must be a fresh fork. `report` gets each cell's outcome."""
    os.environ["TMPDIR"] = task["exchange"]
    _open_folders()
    np.seterr(all="warn")
    guard(read)
    hidden.install()
    hidden.seed(task.get("seed"))
    student = _student(task, report)
    try:
        run = SubmissionRun(task, student, report)
        run.all()
        report({"done": student.levels})
        if run.held and time.monotonic() < run.deadline:
            _look_again(task, run, report)
    except NotStartedError as error:
        report({"infrastructure": str(error)})
    finally:
        student.stop()


def _student(task: dict, report: Callable) -> StudentProcess:
    threads = task["limits"].get("threads", 0)
    return StudentProcess(task["command"], task["environment"], task["user"], report, threads)


def _look_again(task: dict, run: SubmissionRun, report: Callable) -> None:
    """What is held of a run is told after all, as another process says it that never meets a hidden test."""
    run.student.stop()
    steps = [
        {**step, "source": hidden.without(step["source"], step["hidden"]), "hidden": []}
        if step["kind"] == "graded"
        else step
        for step in run.steps[: max(run.held) + 1]
    ]
    for number, step in enumerate(steps):
        if step["kind"] == "graded" and number not in run.held:  # tests share functions
            steps[number] = {**step, "source": definitions(step["source"])}
    student = _student(task, report)
    again = SubmissionRun({**task, "steps": steps}, student, report)
    again.deadline = run.deadline
    try:
        again.look(steps, run.held)
    except NotStartedError:
        pass
    finally:
        student.stop()


def _open_folders() -> None:
    """Temporary folders of tests are readable for the student's process, which may run as another user."""
    import tempfile

    made = tempfile.mkdtemp

    def mkdtemp(*inputs, **named):
        folder = made(*inputs, **named)
        os.chmod(folder, 0o755)
        return folder

    tempfile.mkdtemp, tempfile.tempdir = mkdtemp, None
    os.umask(0o022)


def _theirs(outcome: dict) -> bool:
    """Whether an outcome is an error that is not a hidden test's own."""
    return "error" in outcome and not outcome.get("hidden")
