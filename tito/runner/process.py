"""Child processes for a student's code: one package on their path, watched from outside, ended without mercy.

The child answers on a connection of its own (see child.py). Whatever its code does, prints or breaks, the parent gets
either an answer that carries the ticket of the question or a `ChildStoppedError` with a plain sentence.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, cast

from tito import CourseError
from tito.runner import platform
from tito.runner.results import Outcome

CHILD = Path(__file__).with_name("child.py")
START = 60.0  # seconds until Python must have come up; a virus scanner may look at every file first
STEP = 0.1  # seconds between two looks at whether the child is to be ended
MOST_OUTPUT = 4 << 20  # bytes a cell or a test may print
TAIL = 2000  # characters of it that are kept


class ChildStoppedError(Exception):
    """The process had to be ended, or ended by itself, before it answered. `str()` is a sentence for the reader."""


def environment(folder: Path) -> dict[str, str]:
    """The child's environment: `folder` is the only place on the path besides the installed libraries."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONSTARTUP", "PYTEST_ADDOPTS")}
    return {
        **kept,
        "PYTHONPATH": str(folder),
        "PYTHONSAFEPATH": "1",
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # what else is installed would take as long to load as pytest itself
        "MPLBACKEND": "Agg",
        "NO_COLOR": "1",
    }


class ChildProcess:
    """A child process of one mode ("cells", "imports" or "pytest"); use it in a `with` block, which ends it."""

    _process: subprocess.Popen  # these four are there once it has started, the connection once it has answered
    _printed: "_Output"
    _complained: "_Output"
    _connection: socket.socket

    def __init__(self, mode: str, folder: Path, cwd: Path, stop=lambda: False, **variables: str):
        """`folder` holds `tinytorch/`; the child ends as soon as `stop()` is true; `variables` join its environment."""
        self.folder, self._stop = folder, stop
        self._buffer, self._word = b"", os.urandom(16).hex()
        try:
            self._listener = socket.create_server(("127.0.0.1", 0))
        except OSError as error:
            raise CourseError(f"the children of tito answer at 127.0.0.1, which fails here: {error}") from None
        try:
            self._start((mode, str(folder)), cwd, {**environment(folder), **variables})
        except BaseException:
            self.close()
            raise

    def _start(self, words: tuple[str, str], cwd: Path, variables: dict[str, str]) -> None:
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        self._process = platform.start([sys.executable, "-P", str(CHILD), *words], cwd=cwd, env=variables, **pipes)
        self._printed, self._complained = _Output(self._process.stdout), _Output(self._process.stderr)
        with contextlib.suppress(OSError), cast(IO[bytes], self._process.stdin) as given:
            given.write(f"{self._listener.getsockname()[1]} {self._word}\n".encode())

    def __enter__(self) -> "ChildProcess":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """End the process with everything it started."""
        there = vars(self)
        if "_process" in there:
            platform.end(self._process)
        for name in there.keys() & {"_connection", "_listener", "_printed", "_complained"}:
            there[name].close()

    @property
    def printed(self) -> str:
        """The end of what it wrote to standard output since the last question."""
        return self._printed.text

    @property
    def complained(self) -> str:
        """The end of what it wrote to standard error since the last question."""
        return self._complained.text

    def begin(self) -> None:
        """Forget what was printed so far."""
        for output in (self._printed, self._complained):
            output.begin()

    def ask(self, seconds: float, **request) -> dict:
        """Send a request and return its answer, or raise ChildStoppedError. Only one with the request's ticket counts.

        The seconds do not include Python's own start.
        """
        ticket = self.send(**request)
        message = self.receive(seconds)
        if message.get("ticket") != ticket:
            raise ChildStoppedError("It answered something else than what was asked.")
        return message

    def send(self, **request) -> str:
        """Send a request; the returned ticket comes back with its last answer."""
        if "_connection" not in vars(self):
            self._connect()
        ticket = os.urandom(8).hex()
        for output in (self._printed, self._complained):
            output.begin(ticket)
        try:
            self._connection.settimeout(START)
            self._connection.sendall(json.dumps({**request, "ticket": ticket}).encode() + b"\n")
        except OSError:
            raise ChildStoppedError(self._why_it_ended()) from None
        return ticket

    def receive(self, seconds: float) -> dict:
        """The next message, at the latest after `seconds`; what was printed until then stands in `printed`."""
        late = f"It ran for more than {seconds:g} s and was stopped. Is there an endless loop?"
        message = self._message(time.monotonic() + seconds, late)
        if "ticket" in message:
            for output in (self._printed, self._complained):
                output.settle()
        return message

    def _connect(self) -> None:
        """Wait until the child is there. Who does not know the word that it was given is turned away."""
        deadline = time.monotonic() + START
        hello: dict = {}
        self._listener.settimeout(STEP)
        while not hello:
            self._look(deadline, f"Python did not start within {START:g} s.")
            with contextlib.suppress(TimeoutError):
                self._connection, _ = self._listener.accept()
                hello = self._greeting()
        self._listener.close()
        if hello.get("trouble"):
            raise ChildStoppedError(f"It could not begin: {hello['trouble']}")

    def _greeting(self) -> dict:
        """The first line over a new connection; empty if it is not the child's."""
        self._connection.settimeout(5)
        with contextlib.suppress(OSError, ValueError), self._connection.makefile("rb") as lines:
            hello = json.loads(lines.readline(1000))
            if isinstance(hello, dict) and hello.get("word") == self._word:
                return hello
        self._connection.close()
        return {}

    def _message(self, deadline: float, late: str) -> dict:
        """The next line that comes over the connection."""
        while b"\n" not in self._buffer:
            self._look(deadline, late, ended=False)
            self._connection.settimeout(max(min(deadline - time.monotonic(), STEP), 0.001))
            try:
                data = self._connection.recv(1 << 16)
            except TimeoutError:
                self._look(deadline, late)
                continue
            except OSError:  # Windows: the other end was reset
                data = b""
            if not data:
                raise ChildStoppedError(self._why_it_ended())
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        with contextlib.suppress(ValueError):
            if isinstance(message := json.loads(line), dict):
                return message
        raise ChildStoppedError("It wrote into the connection that carries the results.")

    def _look(self, deadline: float, late: str, ended: bool = True) -> None:
        """Raise if the child is to be ended, or has ended by itself."""
        why = ""
        if time.monotonic() >= deadline:
            why = late
        elif self._stop():
            why = "It was stopped."
        elif max(self._printed.size, self._complained.size) > MOST_OUTPUT:
            why = f"It printed more than {MOST_OUTPUT >> 20} MB and was stopped."
        if why:
            platform.end(self._process)
            raise ChildStoppedError(why)
        if ended and self._process.poll() is not None:
            raise ChildStoppedError(self._why_it_ended())

    def _why_it_ended(self) -> str:
        """A sentence about a process that closed its connection without an answer."""
        try:
            return platform.how_it_ended(self._process.wait(timeout=1))
        except subprocess.TimeoutExpired:
            platform.end(self._process)
            return "It closed the connection that carries the results."


class _Output:
    """One of a child's outputs, read in a thread: how much it was since the last question, and the end of it."""

    def __init__(self, pipe):
        self._pipe, self._lock, self._mark = pipe, threading.Lock(), b""
        self.begin()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def begin(self, mark: str | None = None) -> None:
        """Forget what came so far. `mark`: what the child writes when it has written all else that belongs together."""
        with self._lock:
            self._kept, self.size = b"", 0
            if mark is not None:
                self._mark, self._marked = mark.encode(), threading.Event()

    def settle(self) -> None:
        """Wait until the mark has come; a moment at most, as the child's code may have closed the output."""
        if self._thread.is_alive():
            self._marked.wait(0.5)

    @property
    def text(self) -> str:
        """The last characters that came."""
        return self._kept.decode(errors="replace").replace("\r\n", "\n")[-TAIL:]

    def close(self) -> None:
        """After the end of the process. What outlives it and holds the pipe open is left alone."""
        self._thread.join(0.5)
        if not self._thread.is_alive():
            self._pipe.close()

    def _read(self) -> None:
        while data := os.read(self._pipe.fileno(), 1 << 16):
            with self._lock:
                self.size += len(data)
                self._kept = (self._kept + data)[-4 * TAIL :]
                if self._mark and self._mark in self._kept:
                    self._kept = self._kept.replace(self._mark, b"")
                    self._marked.set()
        if self._mark:
            self._marked.set()


def import_all(folder: Path, names: list[str], seconds: float = 60) -> dict[str, Outcome]:
    """Import modules in one child process whose path holds `folder`: name -> outcome ("passed" or what went wrong)."""
    outcomes: dict[str, Outcome] = {}
    with ChildProcess("imports", folder, cwd=folder) as child:
        for name in names:
            try:
                outcomes[name] = cast(Outcome, child.ask(seconds, name=name))
            except ChildStoppedError as reason:
                return outcomes | {name: {"state": "failed", "type": "", "message": str(reason), "lines": []}}
    return outcomes
