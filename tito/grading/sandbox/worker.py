"""A worker: a long-lived process that grades submissions one after the other, each in a fork of its own.

Reads tasks from stdin and writes results to stdout, one JSON object a line. What a submission leaves behind, however it
ends, is killed: the worker is the one that orphans come back to.
"""

import contextlib
import ctypes
import errno
import json
import os
import resource
import select
import signal
import sys
import time

import numpy as np  # noqa: F401  (imported before the fork, once)

from tito.grading.sandbox import tester
from tito.grading.sandbox.box import Box, NotStartedError

GRACE = 4.0  # seconds beyond the submission's wall time before the tester itself is ended
TESTER_MEMORY = 512 << 20  # bytes that a tester may take beyond what it begins with
MOST_REPORT = 32 << 20  # bytes of one tester's report
MOST_BOXES = 4  # that wait for a next submission
SCARCE = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC)  # a machine that has no more to give
DEATH_SIGNAL, SUBREAPER = 1, 36
LIBC = ctypes.CDLL(None)
boxes: dict[str, Box] = {}  # by the name of their setting


def main() -> None:
    """Grade what comes in, until stdin is closed."""
    LIBC.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    LIBC.prctl(SUBREAPER, 1, 0, 0, 0)
    settings: dict = {}
    for line in sys.stdin:
        task = json.loads(line)
        if "setting" in task:  # sent once for a notebook; later tasks name it
            settings[task["name"]] = task["setting"]
            tester.warm(task["setting"])
        else:
            task = {**settings[task["name"]], **task}
            print(json.dumps(run_in_fork(task, _box(task))), flush=True)
    for box in boxes.values():
        box.stop()


def _box(task: dict) -> Box:
    """The box of a task's setting, kept for the next submission."""
    name = task["name"]
    if name not in boxes:
        while len(boxes) >= MOST_BOXES:
            boxes.pop(next(iter(boxes))).stop()
        boxes[name] = Box(task["command"], task["environment"], task["user"])
    return boxes[name]


def run_in_fork(task: dict, box: Box) -> dict:
    """The outcome of every cell of one submission, and how it ended.

    "infrastructure" is a box that did not start. "escaped" is what came through from the student's side and ended the
    tests. If neither is set and the tester has not "ended", it was killed or crashed.
    """
    start, used, spent = time.monotonic(), _processor_time(), 0.0
    outcome: dict = {"cells": {}, "level": None, "infrastructure": None, "escaped": None, "overdue": False}
    try:
        box.start()
        spent = box.spent()
        for message in _messages({**task, "box": box}, start + task["limits"]["wall"] + GRACE):
            if "cell" in message:
                outcome["cells"][message.pop("cell")] = message
            elif "done" in message:
                outcome["level"] = message["done"]
            else:
                outcome |= {name: message[name] for name in ("infrastructure", "escaped", "overdue") if name in message}
    except NotStartedError as error:
        outcome["infrastructure"] = str(error)
    except OSError as error:
        outcome["infrastructure"] = f"the tester cannot be started: {error.strerror or error}"
    if outcome["infrastructure"]:
        box.stop()  # the next one begins with another
    used -= max(box.spent() - spent, 0.0)
    outcome["ended"] = outcome["level"] is not None
    outcome["seconds"], outcome["cpu"] = round(time.monotonic() - start, 3), round(_processor_time() - used, 3)
    return outcome


def _messages(task: dict, deadline: float) -> list[dict]:
    """What a fork of this process reports of a submission, and whether it was stopped; nothing of it is left."""
    reading, writing = os.pipe()
    try:
        child = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        raise
    if not child:
        _child(task, reading, writing)
    os.close(writing)
    try:
        return _listen(reading, deadline)
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        _reap()
        if "box" in task:
            task["box"].end()


def _child(task: dict, reading: int, writing: int) -> None:
    """In the fork: report each cell as a line, then leave without any clean-up."""
    os.close(reading)
    LIBC.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    quiet = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(quiet, descriptor)
    most = _size() + TESTER_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))

    def report(message: dict) -> None:
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            data = data[os.write(writing, data) :]

    try:
        tester.run_submission(task, report)
    except BaseException as error:
        scarce = isinstance(error, OSError) and error.errno in SCARCE
        with contextlib.suppress(BaseException):
            if scarce:
                report({"infrastructure": f"{type(error).__name__}: {error}"[:500]})
            else:  # its words may be the student's
                report({"escaped": type(error).__name__})
    finally:
        os._exit(0)


def _listen(reading: int, deadline: float) -> list[dict]:
    """What the tester reports until it closes its end; {"overdue"} at the deadline, {"escaped"} if it is too much."""
    data = bytearray()
    last: list[dict] = [{"overdue": True}]
    poll = select.poll()
    poll.register(reading, select.POLLIN | select.POLLHUP)
    while (left := deadline - time.monotonic()) > 0:
        if poll.poll(left * 1000):
            part = os.read(reading, 1 << 18)
            data += part
            if not part or len(data) > MOST_REPORT:
                last = [{"escaped": f"more than {MOST_REPORT >> 20} MiB to report"}] if part else []
                break
    return [json.loads(line) for line in bytes(data).split(b"\n")[:-1]] + last


def _reap() -> None:
    """Kill and collect every child but the boxes, until there is none."""
    kept = {box.process.pid for box in boxes.values() if box.process is not None}
    while children := set(_children()) - kept:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)


def _children() -> list[int]:
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="utf-8") as file:
        return [int(number) for number in file.read().split()]


def _size() -> int:
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _processor_time() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in usage)


if __name__ == "__main__":
    main()
