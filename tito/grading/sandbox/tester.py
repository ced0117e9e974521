"""Runs one submission: the student's cells in the student's process, the pristine graded cells here.

Runs in a process of its own, forked by the worker, and reports every cell as it ends. A cell that hangs or takes the
student's process down costs its own points: the process is started again and brought to where it was.
"""

import ast
import contextlib
import io
import os
import select
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from tito.course.notebook import definitions
from tito.grading.sandbox.proxy import Conversation, Importer, read
from tito.grading.sandbox.readings import guard
from tito.grading.sandbox.wire import ClosedError, WireError

MOST_RESTARTS = 8
STARTING = 30.0  # seconds for a sandbox to come up
KEPT_OUTPUT = 1 << 20
MOST_OUTPUT = 64 << 20
IN_PLACE = "your code changed an array that it was given, which the test goes on with: work on a copy"
LONGEST_MESSAGE = 4000


class CellTimeoutError(BaseException):
    """The cell's time is up. Not an Exception, so that no test catches it."""


class FloodError(WireError):
    """The student's code printed without end."""


class NotStartedError(Exception):
    """The sandbox did not come up: a fault of the machine, never of the student."""


class StudentProcess:
    """A student's process in its box: started, talked to, killed."""

    def __init__(self, command: list[str], environment: dict, user: int | None, report: Callable):
        self.command, self.environment, self.user, self.report = command, environment, user, report
        self.process, self.conversation, self.output, self.printed = None, None, bytearray(), 0
        self.levels: list = []

    def start(self) -> None:
        """Start the process and wait until it has locked itself in."""
        self.stop()
        requests, replies, shown = os.pipe(), os.pipe(), os.pipe()
        command = [part.format(requests=requests[0], replies=replies[1]) for part in self.command]
        drop = {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=shown[1], stderr=shown[1], env=self.environment, cwd="/",
                pass_fds=(requests[0], replies[1]), **drop,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise NotStartedError(f"the sandbox cannot be started: {error}") from None
        finally:
            for descriptor in (requests[0], replies[1], shown[1]):
                os.close(descriptor)
        self.report({"pid": self.process.pid})
        self.writing, self.reading, self.shown = requests[1], replies[0], shown[0]
        os.set_blocking(self.shown, False)
        self.conversation = Conversation(self.reading, self.writing)
        self.poll = _poll(self.reading, self.shown)
        self.conversation.pipe.wait = self.wait
        self.printed, early = 0, len(self.output)
        try:
            with alarm(STARTING):
                self.levels = self.conversation.greet()
        except (CellTimeoutError, WireError, OSError) as error:
            self.drain()
            said = bytes(self.output[early:]).decode("utf-8", "replace").strip().splitlines()[-1:]
            self.stop()
            raise NotStartedError(f"the sandbox did not come up: {(said or [type(error).__name__])[0][:300]}") from None

    def wait(self) -> None:
        """Until there is something to read from the process; what it prints is taken in meanwhile."""
        while True:
            ready = {descriptor for descriptor, _ in self.poll.poll()}
            if self.shown in ready and not self.drain():
                self.poll.unregister(self.shown)
            if self.reading in ready:
                return

    def drain(self) -> bool:
        """Take in what was printed; False at the end of it."""
        while True:
            try:
                part = os.read(self.shown, 1 << 16)
            except BlockingIOError:
                return True
            if not part:
                return False
            self.printed += len(part)
            if len(self.output) < KEPT_OUTPUT:
                self.output += part[: KEPT_OUTPUT - len(self.output)]
            if self.printed > MOST_OUTPUT:
                raise FloodError(f"more than {MOST_OUTPUT >> 20} MiB were printed")

    def stop(self) -> int | None:
        """End the process; its exit code, None if it was still alive."""
        if self.process is None:
            return None
        code = self.process.poll()
        self.process.kill()
        self.process.wait()
        for descriptor in (self.writing, self.reading, self.shown):
            os.close(descriptor)
        self.process = self.conversation = None
        return code


def _poll(*descriptors):
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
    return poll


@contextlib.contextmanager
def alarm(seconds: float):
    """CellTimeoutError after `seconds` of wall time, again and again until the block is left."""
    armed = [True]

    def ring(*_):
        if armed[0]:
            raise CellTimeoutError

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001), 0.2)
    try:
        yield
    finally:
        armed[0] = False
        signal.setitimer(signal.ITIMER_REAL, 0)


class SubmissionRun:
    """One submission on its way through the cells."""

    def __init__(self, task: dict, student: StudentProcess, report: Callable):
        self.steps, self.limits, self.package = task["steps"], task["limits"], task["package"]
        self.own = task.get("own", {})  # modules of the tester's own: full name -> source
        self.student, self.report = student, report
        self.deadline = time.monotonic() + self.limits["wall"]
        self.namespace: dict = {"__name__": "__main__"}
        self.broken = Counter()  # (step, part) of the student's cells -> how often it took the process down
        self.restarts = 0

    def all(self) -> None:
        """Every cell in order."""
        self.student.start()
        self._forget()
        for number, step in enumerate(self.steps):
            outcome = self._step(number, step)
            if outcome is not None:
                self.report({"cell": step["id"], **outcome})

    def _step(self, number: int, step: dict) -> dict:
        """Run a step; whatever ends it is its outcome."""
        start, seen = time.monotonic(), len(self.student.output)
        left = self.deadline - start
        if left <= 0:
            return {
                "status": "timeout",
                "points": 0.0,
                "seconds": 0.0,
                "message": "the time for the submission was up before this cell",
            }
        if self.student.conversation is None and not self._restart(number):
            return {
                "status": "died",
                "points": 0.0,
                "seconds": 0.0,
                "message": "your code ended its process too often to go on",
            }
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
        if self.student.conversation is not None:
            with contextlib.suppress(WireError, OSError):
                self.student.drain()
        shown = bytes(self.student.output[seen:]).decode("utf-8", "replace")
        seconds = round(time.monotonic() - start, 4)
        return {"points": 0.0, "output": shown, **outcome, "seconds": seconds}

    def _process_ended(self, number: int, step: dict, error: BaseException | None = None) -> dict:
        """The process is ended, or has ended: what to say, and what to leave out next time."""
        if step["kind"] != "graded":
            self.broken[number, getattr(self, "part", None)] += 1
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
        """A given or solution cell, in the student's process; then its names and imports are known to the tests."""
        ask, notes, failure = self.student.conversation.ask, [], None
        for part, source in enumerate([*step.get("helpers", []), step["source"]]):
            self.part = part
            if self.broken[number, part] > 1:
                continue
            if self.broken[number, part]:
                source = definitions(source)
            own = part == len(step.get("helpers", []))
            try:
                magics = ask("execute", source, step["id"] if own else f"your cell {part + 1} before {step['id']}")
                notes += (
                    [f"{magic} was left out" for magic in magics if isinstance(magic, str)]
                    if isinstance(magics, list)
                    else []
                )
            except WireError:
                raise
            except Exception as error:
                told = self._failure(error)
                failure = told if own else failure
                if not own:
                    notes.append(f"your own cell before {step['id']}: {told['message'][:200]}")
        for name in step["names"]:
            try:
                self.namespace[name] = ask("name", name)
            except NameError:
                self.namespace.pop(name, None)
        if step["imports"]:
            with contextlib.suppress(ImportError, AttributeError):
                exec(compile(step["imports"], "<imports>", "exec"), self.namespace)
        outcome = {"status": "ran" if failure is None else "failed", "notes": notes}
        return outcome if failure is None else {**outcome, **failure}

    def _graded_cell(self, step: dict) -> dict:
        """A graded cell, here; its points, or why there are none."""
        shown, name, self.student.conversation.changed = io.StringIO(), f"<{step['id']}>", False
        tree = compile(step["source"], name, "exec", ast.PyCF_ONLY_AST)
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
            return {
                "status": "failed",
                "points": 0.0,
                **self._failure(error, step),
                "printed": shown.getvalue()[:10_000],
            }
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
            out["places"] = [place for place in self.student.conversation.places if _is_place(place)][-3:]
        if isinstance(error, MemoryError):
            out["status"] = "oom"
        return out


def _is_place(place) -> bool:
    return isinstance(place, list) and len(place) == 3 and [type(part) for part in place] == [str, int, str]


def run_submission(task: dict, report: Callable) -> None:
    """Grade one submission in this process, which must be a fresh fork. `report` gets each cell's outcome."""
    os.environ["TMPDIR"] = task["exchange"]
    _open_folders()
    np.seterr(all="warn")
    guard(read)
    student = StudentProcess(task["command"], task["environment"], task["user"], report)
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
