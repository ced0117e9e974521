"""The student's process, as the tester holds it: started, talked to within a time, heard, killed."""

import contextlib
import os
import select
import signal
import socket
from typing import Any

from tito.grading.sandbox.box import STARTING, Box, NotStartedError
from tito.grading.sandbox.proxy import Conversation
from tito.grading.sandbox.threads import admit
from tito.grading.sandbox.wire import WireError

KEPT_OUTPUT = 1 << 20
MOST_OUTPUT = 64 << 20


class CellTimeoutError(BaseException):
    """The cell's time is up. Not an Exception, so that no test catches it."""


class FloodError(WireError):
    """The student's code printed without end."""


class StudentProcess:
    """A student's process in its box: started, talked to, killed."""

    def __init__(self, box: Box, threads: int = 0):
        self.box, self.threads, self.output, self.printed = box, threads, bytearray(), 0
        self.listener: int | None = None
        self.conversation: Any = None  # a Conversation, while the process is there
        self.levels: list = []

    def start(self) -> None:
        """Start the process and wait until it has locked itself in."""
        self.stop()
        self.box.start()
        requests, replies, shown = os.pipe(), os.pipe(), os.pipe()
        door, theirs = socket.socketpair() if self.threads else (None, None)
        inside = [requests[0], replies[1], shown[1], *([theirs.fileno()] if theirs else [])]
        self.writing, self.reading, self.shown = requests[1], replies[0], shown[0]
        os.set_blocking(self.shown, False)
        self.conversation = Conversation(self.reading, self.writing)
        self.poll = _poll(self.reading, self.shown)
        self.conversation.pipe.wait = self.wait
        self.printed, early = 0, len(self.output)
        try:
            try:
                self.box.fork(inside)
            finally:
                for descriptor in inside[:3]:
                    os.close(descriptor)
                if theirs:
                    theirs.close()
            with alarm(STARTING):
                self.levels = self.conversation.greet()
                self._open(door)
        except NotStartedError:
            self.stop()
            raise
        except (CellTimeoutError, WireError, OSError) as error:
            self.drain()
            said = bytes(self.output[early:]).decode("utf-8", "replace").strip().splitlines()[-1:]
            self.stop()
            raise NotStartedError(f"the sandbox did not come up: {(said or [type(error).__name__])[0][:300]}") from None

    def _open(self, door: socket.socket | None) -> None:
        """Take the kernel's questions whether a thread may start."""
        if door:
            with door:
                for self.listener in socket.recv_fds(door, 1, 1)[1]:
                    self.poll.register(self.listener, select.POLLIN)

    def wait(self) -> None:
        """Until there is something to read from the process; what it prints is taken in meanwhile, threads let in."""
        while True:
            ready = {descriptor for descriptor, _ in self.poll.poll()}
            if self.shown in ready and not self.drain():
                self.poll.unregister(self.shown)
            if self.listener is not None and self.listener in ready:
                admit(self.listener, self.threads)
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

    def stop(self, patience: float = 0.0) -> int | None:
        """End the process; its exit code, None if it was still alive after `patience` seconds."""
        if self.conversation is None:
            return None
        code = self.box.end(patience)
        for descriptor in (self.writing, self.reading, self.shown, self.listener):
            if descriptor is not None:
                os.close(descriptor)
        self.listener = self.conversation = None
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
