"""Runs one submission: the student's cells in the student's process, the pristine graded cells here.

Runs in a process of its own, forked by the worker, and reports every cell as it ends. A cell that hangs or takes the
student's process down costs its own points: the process is started again and brought to where it was.
"""

import ast
import contextlib
import io
import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from tito.course.notebook import definitions
from tito.grading.sandbox import cells, hidden
from tito.grading.sandbox.box import NotStartedError
from tito.grading.sandbox.importing import Importer, module_code
from tito.grading.sandbox.proxy import read
from tito.grading.sandbox.readings import guard
from tito.grading.sandbox.student import CellTimeoutError, FloodError, StudentProcess, alarm
from tito.grading.sandbox.wire import ClosedError, WireError

MOST_RESTARTS = 8
IN_PLACE = "your code changed an array that it was given, which the test goes on with: work on a copy"
LONGEST_MESSAGE = 4000
HELD = "... (more is not shown, as a hidden test had run: run the cell in your notebook)"
MOST_PARTS, SHORTEST = 3, 4  # of a message: parts between colons that are told, letters of one that is told in part
UNDEFINED = re.compile(r"name '(\w+)' is not defined")


class SubmissionRun:
    """One submission on its way through the cells.

    What the student's code says after a hidden test has run may hold that test's inputs: of it an outcome has only
    what stands in the source of the cell or the test as well.
    """

    def __init__(self, task: dict, student: StudentProcess, report: Callable):
        self.steps, self.limits, self.package = task["steps"], task["limits"], task["package"]
        self.own = task.get("own", {})  # modules of the tester's own: full name -> source
        self.student, self.report = student, report
        self.deadline = time.monotonic() + self.limits["wall"]
        self.names = {name for step in self.steps for name in step.get("names", ())}
        self.namespace: dict = {"__name__": "__main__", hidden.MARK: self._mark}
        self.broken: Counter = Counter()  # step -> how often the student's cell took the process down
        self.restarts = 0
        self.shown = 0  # up to here, what was printed in this step was printed before a hidden test
        self.exposed = False  # whether a hidden test has run

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
            said = "" if self.exposed else f": {error}"
            outcome = {"status": "died", "message": f"stopped: {type(error).__name__}{said}"[:LONGEST_MESSAGE]}
        finally:
            hidden.inside(False)
        if self.student.conversation is not None:
            with contextlib.suppress(WireError, OSError):
                self.student.drain()
        end = (seen if before else self.shown) if self.exposed else len(self.student.output)
        outcome["output"] = bytes(self.student.output[seen:end]).decode("utf-8", "replace")
        return {"points": 0.0, **outcome, "seconds": round(time.monotonic() - start, 4)}

    def _told(self, message: str, step: dict | None) -> str:
        """Of a message after a hidden test: what stands in the student's cells or the test, up to where it does not."""
        unknown = UNDEFINED.fullmatch(message)
        if message == "" or unknown and unknown[1] in self.names:
            return message
        sources = [step["source"]] if step else []
        sources += [one["source"] for one in self.steps if one["kind"] != "graded"]
        told = ""
        for part in re.split(r"(: |\n)", message)[: 2 * MOST_PARTS - 1]:
            known = part if part in (": ", "\n") else max((_written(part, source) for source in sources), key=len)
            told += known
            if known != part:
                break
        return told if told == message else f"{told} {HELD}".strip()

    def _process_ended(self, number: int, step: dict, error: BaseException | None = None) -> dict:
        """The process is ended, or has ended: what to say, and what to leave out next time."""
        if step["kind"] != "graded":
            self.broken[number] += 1
        closed = isinstance(error, ClosedError | OSError)
        code = self.student.stop(1.0 if closed else 0.0)
        if not closed:
            return {"status": "died", "message": f"your code answered in no known form: {error}"}
        if code is None:
            return {"status": "died", "message": "your code broke off the conversation with the tests"}
        if code == -signal.SIGXCPU:
            return {"status": "timeout", "message": "your code used up its processor time"}
        if code == -signal.SIGKILL:
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
            if isinstance(error, SyntaxError) and self.exposed:  # the text alone says what is wrong with it
                failure["message"] = cells.mistake(cell.source, f"<{step['id']}>") or failure["message"]
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
                    **(found := self._failure(error)),
                    "message": f"{name} cannot be used: {found['message']}"[:LONGEST_MESSAGE],
                }
        if step["imports"]:
            try:
                exec(compile(step["imports"], "<imports>", "exec"), self.namespace)
            except WireError:
                raise
            except Exception as error:
                failure = failure or self._failure(error)
        if step["kind"] == "own" and failure is not None:
            notes.append(cells.one_line(f"{step['id']} failed: {failure['error']}: {failure['message']}"))
            failure = None
        return {"status": "ran" if failure is None else "failed", "notes": notes, **(failure or {})}

    def _graded_cell(self, step: dict) -> dict:
        """A graded cell, here; its points, or why there are none."""
        shown, name, self.student.conversation.changed = io.StringIO(), f"<{step['id']}>", False
        if step.get("lends"):  # what a test imports, the notebook's later cells have too
            with contextlib.suppress(Exception):
                self.student.conversation.ask("execute", step["lends"], step["id"])
        code, last = compiled(step["source"], tuple(map(tuple, step["hidden"])), name)
        try:
            with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(io.StringIO()):
                exec(code, self.namespace)
                value: Any = eval(last, self.namespace) if last else None
            points = step["points"]
            if type(value) in (int, float):
                points = min(max(float(value), 0.0), points) if value == value else 0.0
            status = "passed" if points == step["points"] else "partly"
            return {"status": status, "points": points, "printed": self._printed(shown, step)}
        except WireError:
            raise
        except Exception as error:
            failure = self._failure(error, step)
            return {"status": "failed", "points": 0.0, **failure, "printed": self._printed(shown, step)}
        except (SystemExit, GeneratorExit, KeyboardInterrupt) as error:
            return {"status": "failed", "points": 0.0, "message": f"{type(error).__name__} in the test"}

    def _printed(self, shown: io.StringIO, step: dict) -> str:
        """What a test printed; after a hidden part, the lines that stand in its source."""
        lines = shown.getvalue()[:10_000].split("\n")
        return "\n".join(line for line in lines if not self.exposed or line in step["source"])

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
        if self.exposed and not hidden:
            known = None if theirs else getattr(error, "told", None)
            message = f"{known} {HELD}" if type(known) is str else self._told(message, step)
        if step and self.student.conversation is not None and self.student.conversation.changed:
            message = f"{message}\n({IN_PLACE})".strip()
        out = {"error": type(error).__name__, "message": message[:LONGEST_MESSAGE], "hidden": hidden}
        if step and lines and not hidden:
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


def _written(text: str, source: str) -> str:
    """The text if it stands in the source, else what of its beginning does, up to a word's end."""
    if text in source:
        return text
    length = next(n for n in range(len(text), -1, -1) if text[:n] in source)
    found = re.sub(r"[\w.]*$", "", text[:length]).rstrip()
    return found if len(found) >= SHORTEST else ""


@cache
def compiled(source: str, regions: tuple, name: str) -> tuple:
    """The code of a graded cell, and of the expression at its end, if it ends with one."""
    tree = hidden.marked(source, list(regions), name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    return compile(tree, name, "exec"), last and compile(ast.Expression(last.value), name, "eval")


def warm(setting: dict) -> None:
    """Do once, before any fork, what every submission needs: the tests' code, and what they import."""
    import tempfile  # noqa: F401

    import numpy.fft
    import numpy.linalg
    import numpy.ma
    import numpy.random
    import numpy.testing  # noqa: F401

    for source, regions, name in setting.get("tests", ()):
        with contextlib.suppress(SyntaxError):
            compiled(source, tuple(map(tuple, regions)), f"<{name}>")
    for name, source in setting.get("own", {}).items():
        with contextlib.suppress(SyntaxError):
            module_code(source, f"<{name}>")


def run_submission(task: dict, report: Callable) -> None:
    """Grade one submission in this process, a fresh fork of the one that holds the task's box. `report` gets each
    cell's outcome.
    """
    os.environ["TMPDIR"] = task["exchange"]
    _open_folders()
    np.seterr(all="warn")
    guard(read)
    hidden.install()
    hidden.seed(task.get("seed"))
    threads = task["limits"].get("threads", 0)
    student = StudentProcess(task["box"], threads)
    try:
        SubmissionRun(task, student, report).all()
        report({"done": student.levels})
    except NotStartedError as error:
        report({"infrastructure": str(error)})
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
