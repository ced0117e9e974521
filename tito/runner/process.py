"""Fresh Python processes: one package on their path, watched from outside, ended without mercy.

The child answers on a pipe of its own (see child.py). Whatever its code does, prints or breaks, the parent gets either
an answer that carries the ticket of the question or a `Stopped` with a plain sentence.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

CHILD = Path(__file__).with_name("child.py")
MOST_OUTPUT = 4 << 20  # bytes a cell or a test may print
TAIL = 2000  # characters of it that are kept


class Stopped(Exception):
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
        "MPLBACKEND": "Agg",
        "NO_COLOR": "1",
    }


class Fresh:
    """A child process of one mode ("cells", "imports" or "pytest"); use it in a `with` block, which ends it."""

    def __init__(self, mode: str, folder: Path, cwd: Path, stop=lambda: False, **variables: str):
        """`folder` holds `tinytorch/`; the child ends as soon as `stop()` is true; `variables` join its environment."""
        self.folder, self._stop = folder, stop
        read_requests, self._requests = os.pipe()
        self._replies, write_replies = os.pipe()
        command = [sys.executable, "-P", str(CHILD), mode, str(folder), str(read_requests), str(write_replies)]
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**environment(folder), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(read_requests, write_replies),
            start_new_session=True,  # so that it can be ended with everything it started
        )
        os.close(read_requests)
        os.close(write_replies)
        self._buffer = b""
        self._selector = selectors.DefaultSelector()
        for stream in (self._replies, self._process.stdout, self._process.stderr):
            self._selector.register(stream, selectors.EVENT_READ)
        self.begin()

    def __enter__(self) -> "Fresh":
        return self

    def __exit__(self, *exception) -> None:
        self._kill()
        self._selector.close()
        for stream in (self._process.stdout, self._process.stderr):
            stream.close()
        for descriptor in (self._requests, self._replies):
            os.close(descriptor)

    def begin(self) -> None:
        """Forget what was printed so far."""
        self.printed = self.complained = ""
        self._output = 0

    def ask(self, seconds: float, **request) -> dict:
        """Send a request and return its answer, or raise Stopped. Only an answer with the request's ticket counts."""
        ticket = self.send(**request)
        message = self.receive(seconds)
        if message.get("ticket") != ticket:
            raise Stopped("It answered something else than what was asked.")
        return message

    def send(self, **request) -> str:
        """Send a request; the returned ticket comes back with its last answer."""
        self.begin()
        ticket = os.urandom(8).hex()
        try:
            os.write(self._requests, json.dumps({**request, "ticket": ticket}).encode() + b"\n")
        except BrokenPipeError:
            raise Stopped(self._why_it_ended()) from None
        return ticket

    def receive(self, seconds: float) -> dict:
        """The next message, at the latest after `seconds`; what was printed until then stands in `printed`."""
        deadline = time.monotonic() + seconds
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            ready = self._selector.select(max(min(left, 0.1), 0))
            if left <= 0 or self._stop():
                self._kill()
                loop = f"It ran for more than {seconds:g} s and was stopped. Is there an endless loop?"
                raise Stopped(loop if left <= 0 else "It was stopped.")
            for key, _ in ready:
                self._take(key.fileobj)
        line, _, self._buffer = self._buffer.partition(b"\n")
        self._drain()
        try:
            return json.loads(line)
        except ValueError:
            raise Stopped("It wrote into the pipe that carries the results.") from None

    def _take(self, stream) -> None:
        """Read what a pipe holds: a piece of an answer, or output."""
        data = os.read(stream if isinstance(stream, int) else stream.fileno(), 1 << 16)
        if stream is self._replies:
            if not data:
                raise Stopped(self._why_it_ended())
            self._buffer += data
            return
        if not data:
            self._selector.unregister(stream)
            return
        self._output += len(data)
        name = "printed" if stream is self._process.stdout else "complained"
        setattr(self, name, (getattr(self, name) + data.decode(errors="replace"))[-TAIL:])
        if self._output > MOST_OUTPUT:
            self._kill()
            raise Stopped(f"It printed more than {MOST_OUTPUT >> 20} MB and was stopped.")

    def _drain(self) -> None:
        """Take the output that is already there; the child flushed it before it answered."""
        while ready := [key.fileobj for key, _ in self._selector.select(0) if key.fileobj != self._replies]:
            for stream in ready:
                self._take(stream)

    def _why_it_ended(self) -> str:
        """A sentence about a process that closed its pipe without an answer."""
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._kill()
            return "It closed the pipe that carries the results."
        if code == -signal.SIGKILL:
            return "The system ended it (SIGKILL); this happens when memory runs out."
        if code < 0:
            return f"Python crashed ({signal.Signals(-code).name})."
        return f"Python ended in the middle of it (exit code {code}). Does it call os._exit?"

    def _kill(self) -> None:
        """End the child and whatever it started."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        self._process.wait()


def import_all(folder: Path, names: list[str], seconds: float = 60) -> dict[str, dict]:
    """Import modules in one fresh process whose path holds `folder`: name -> outcome ("passed" or what went wrong)."""
    outcomes: dict[str, dict] = {}
    with Fresh("imports", folder, cwd=folder) as child:
        for name in names:
            try:
                outcomes[name] = child.ask(seconds, name=name)
            except Stopped as reason:
                return outcomes | {name: {"state": "failed", "type": "", "message": str(reason), "lines": []}}
    return outcomes
