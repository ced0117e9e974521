"""The box, as the worker holds it: one process in the sandbox, from which each student's process is forked.

It imports NumPy and the earlier modules once. It runs nothing of a student's: a fork does, after it has locked itself
in. What comes from the box itself can therefore be believed.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from typing import Any

STARTING = 30.0  # seconds for a box to come up
ANSWERING = 15.0  # seconds for it to answer


class NotStartedError(Exception):
    """The sandbox did not come up, or was lost: a fault of the machine, never of the student."""


class Box:
    """One box: started, asked for a student's process, ended with all that is in it."""

    def __init__(self, command: list[str], environment: dict, user: int | None):
        self.command, self.environment, self.user = command, environment, user
        self.process: Any = None  # a Popen, while there is one
        self.control: Any = None  # a socket
        self.owner = 0  # who started it: a tester, forked from the worker, only talks to it

    def start(self) -> None:
        """Start it, unless it is there."""
        if self.process is not None and (self.owner != os.getpid() or self.process.poll() is None):
            return
        self.stop()
        self.owner = os.getpid()
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [part.format(control=theirs.fileno()) for part in self.command]
        drop: dict[str, Any] = {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                env=self.environment, cwd="/", pass_fds=[theirs.fileno()], **drop,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            self.stop()
            raise NotStartedError(f"the sandbox cannot be started: {error}") from None
        finally:
            theirs.close()
        try:
            self._ask("ready", seconds=STARTING)
        except NotStartedError as error:
            self.process.kill()
            said = self.process.stderr.read().decode("utf-8", "replace").strip().splitlines()[-1:]
            self.stop()
            raise NotStartedError(f"the sandbox did not come up: {(said or [str(error)])[0][:300]}") from None

    def fork(self, descriptors: Sequence[int]) -> None:
        """A new student's process, with these descriptors: requests, replies, what it prints, and the door if any."""
        if trouble := self._ask("fork", descriptors=descriptors):
            raise NotStartedError(f"the sandbox did not come up: {trouble}")

    def end(self, patience: float = 0.0) -> int | None:
        """End the student's process; its exit code, None if it was still alive after `patience` seconds."""
        if self.process is None:
            return None
        try:
            return self._ask("end", patience, seconds=ANSWERING + patience)
        except NotStartedError:  # then all of it is gone
            self.stop()
            return -signal.SIGKILL

    def spent(self) -> float:
        """Processor seconds of all students' processes so far; 0 if there is no box."""
        with contextlib.suppress(NotStartedError):
            return self._ask("spent") if self.process is not None else 0.0
        return 0.0

    def _ask(self, what: str, *inputs, descriptors: Sequence[int] = (), seconds: float = ANSWERING):
        if self.control is None:
            raise NotStartedError("the sandbox is gone")
        token = time.monotonic_ns()  # a tester that was killed may have left an answer
        try:
            self.control.settimeout(seconds)
            socket.send_fds(self.control, [json.dumps([what, token, *inputs]).encode()], descriptors)
            while answer := self.control.recv(4096):
                of, value = json.loads(answer)
                if of == token:
                    return value
        except OSError as error:
            raise NotStartedError(f"the sandbox does not answer: {error}") from None
        raise NotStartedError("the sandbox has ended")

    def stop(self) -> None:
        """End it, and whatever is in it."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGKILL)
            if self.owner == os.getpid():
                self.process.wait()
            self.process.stderr.close()
        if self.control is not None:
            self.control.close()
        self.process = self.control = None
