"""Workers in parallel: each job has a process of its own, and a thread here that waits for it."""

import itertools
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tito.grading.assignment import Assignment, Part
from tito.grading.sandbox import FIRST_USER

GRACE = 30.0  # seconds beyond the limits after which a worker is given up


class WorkerLost(Exception):
    """The worker ended or hangs: a fault of the machine."""


class Worker:
    """One worker process."""

    def __init__(self, number: int):
        self.user, self.process, self.known = FIRST_USER + number, None, set()

    def grade(self, assignment: Assignment, part: Part, steps: list[dict]) -> dict:
        """The outcome of one submission of one notebook. WorkerLost if the worker ends on the way."""
        if self.process is None or self.process.poll() is not None:
            self._start()
        setting = assignment.setting(part)
        try:
            if setting["name"] not in self.known:
                plan = setting["plan"]
                plan["user"] = self.user if plan.pop("drop") else None
                self._say(setting)
                self.known.add(setting["name"])
            self._say({"ticket": 1, **assignment.task(part, steps)})
            timer = threading.Timer(assignment.limits["wall"] + GRACE, self.process.kill)
            timer.start()
            try:
                line = self.process.stdout.readline()
            finally:
                timer.cancel()
            return json.loads(line)
        except (OSError, ValueError):
            self.stop()
            raise WorkerLost("a worker ended in the middle of a submission") from None

    def _start(self) -> None:
        paths = [str(Path(__file__).resolve().parents[2]), *filter(None, sys.path)]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-P", "-m", "tito.grading.worker"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, start_new_session=True
        )
        self.known = set()

    def _say(self, message: dict) -> None:
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None


def run(jobs: int, items: Iterable, work: Callable) -> Iterator[tuple]:
    """(item, work(worker, item)) for every item, as they end; an exception of `work` is the result.

    The workers are started from this thread, which outlives them: they end with the thread that started them.
    """
    items = list(items)
    waiting, done, workers = queue.Queue(), queue.Queue(), [Worker(number) for number in range(min(jobs, len(items)))]
    for item in items:
        waiting.put(item)
    stopped = threading.Event()

    def serve(worker: Worker) -> None:
        while not stopped.is_set():
            try:
                item = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((item, work(worker, item)))
            except BaseException as error:
                done.put((item, error))

    threads = [threading.Thread(target=serve, args=(worker,), daemon=True) for worker in workers]
    try:
        for worker in workers:
            worker._start()
        for thread in threads:
            thread.start()
        for _ in itertools.repeat(None, len(items)):
            yield done.get()
    finally:
        stopped.set()
        for worker in workers:
            if worker.process is not None:
                worker.process.kill()  # a thread that waits for it goes on
        for thread in threads:
            if thread.ident:
                thread.join()
        for worker in workers:
            worker.stop()
