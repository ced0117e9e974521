"""What one submission takes, no other one lacks; and whose fault it is when a submission is not graded to its end."""

import ast
import dataclasses
import os
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest

from tito import CourseError
from tito.course.registry import Course
from tito.grading import grade
from tito.grading.grade import Worker, WorkerLostError
from tito.grading.plan import assemble, prepare, reference_submission
from tito.grading.sandbox import isolation, worker
from tito.grading.sandbox.box import Box
from tito.grading.service import GradingService

ROOT = Path(__file__).resolve().parents[2]
NAME = "activations_dev.ipynb"
LIMITS = {"wall": 12.0, "cell": 2.0, "cpu": 6}
BOMBS = (
    "bare threads without end", "a memory bomb", "files without end", "prints without end", "sleeps",
    "returns 400 MB", "no limit of recursion", "ignores signals and loops", "a finaliser that makes another",
    "a flood of frames",
)  # fmt: skip
SOLVED = ((100, "all"), (10, ("relu",)), (0, ()), (40, ("gelu", "softmax")))


def a_class(course, submission, bombs, honest, code=""):
    """Hand in: a bomb after every few honest ones; student -> right score, those who are honest."""
    students, folder = {}, GradingService(course).settings["submitted"]
    for number in range(honest):
        score, solved = SOLVED[number % len(SOLVED)]
        students[f"s{number:02d}"] = score
        submission(folder / f"s{number:02d}/02_activations" / NAME, solved=solved, changes={"relu": code})
    for number, case in enumerate(bombs):
        solved = {"stub": (), "relu": ("relu",), "solved": "all"}[case.base]
        student = f"s{number * honest // len(bombs):02d}-bomb"
        submission(folder / student / "02_activations" / NAME, solved=solved, changes={"relu": f"\n{case.code}\n"})
    return students


def graded(course, rung, **options):
    """student -> score of a run on a rung, and its report."""
    desk = GradingService(course)
    try:
        report = desk.grade_submissions(course.module("02"), jobs=2, isolation=rung, limits=LIMITS, **options)
    except CourseError as error:
        if "does not work" in str(error):
            pytest.skip(str(error))
        raise
    return {row.student: row.score for row in report.rows}, report


def check_a_class(course, submission, hostile, rung, names, honest):
    bombs = [case for name in names for case in hostile.CASES if case.name == name]
    right = a_class(course, submission, bombs, honest)
    found, report = graded(course, rung)
    for row in report.rows:
        print(f"{row.student:10} {row.score!s:>6} {row.status:9} {row.seconds:5.1f} s {row.reason[:70]}")
    print(f"{len(report.rows)} submissions, {report.seconds} s on {report.isolation}")
    assert len(found) == honest + len(names) and {student: found[student] for student in right} == right
    assert not report.failures


@pytest.mark.slow
@pytest.mark.parametrize("rung", isolation.RUNGS[:2])
def test_a_class_of_fifty_with_ten_bombs_of_ten_kinds(course, submission, hostile, rung):
    check_a_class(course, submission, hostile, rung, BOMBS, 40)


def test_a_class_with_bombs(course, submission, hostile):
    check_a_class(course, submission, hostile, None, BOMBS[:3] + BOMBS[-1:], 4)


def test_a_module_that_asks_for_threads_gets_those_only(course):
    assert course.module("02").threads == 0
    assignment = prepare(course, course.module("02"), isolation.Rung("landlock", False, ""), {"threads": 3})
    with assignment.home:
        setting = assignment.setting(assignment.parts[0])["setting"]
    assert setting["limits"]["threads"] == 3


BOTH = """
for _ in DataLoader(TensorDataset(np.zeros((64, 3), np.float32)), batch_size=8, prefetch=2): pass
import threading
made, stop = [], threading.Event()
try:
    while len(made) < 99:
        threading.Thread(target=stop.wait, daemon=True).start()
        made.append(1)
except RuntimeError:
    pass
stop.set()
assert len(made) == MOST
"""


@pytest.mark.parametrize("rung", isolation.RUNGS[:2])
def test_the_module_of_the_loader_may_prefetch(rung):
    """And start no more threads than its module.toml says."""
    rung, course = next(isolation.ladder((rung,)), None), Course.load(ROOT)
    if rung is None:
        pytest.skip("this rung does not work on this machine")
    module, one = course.module("08"), Worker(0)
    assignment = prepare(course, module, rung)
    part = assignment.parts[0]
    with assignment.home:
        submission = reference_submission(part)
        place = [cell.id for cell in submission.cells].index("data_loader")
        cell = submission.cells[place]
        submission.cells[place] = dataclasses.replace(cell, source=f"{cell.source}\nMOST = {module.threads}\n{BOTH}")
        result = grade.run_steps(assignment, one, part, assemble(part.plan, submission)[0], [])
    one.stop()
    assert "error" not in result["cells"]["data_loader"]
    assert sum(cell.get("points", 0) for cell in result["cells"].values()) == assignment.points and module.threads


FEW = """
import resource, sys
from tito.course.registry import Course
from tito.grading.service import GradingService
course, most = Course.load(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
report = GradingService(course).grade_submissions(course.module("02"), jobs=4, isolation="landlock")
print({row.student: row.score for row in report.rows})
"""


@pytest.mark.slow
def test_a_machine_with_few_processes_left(course, submission, as_somebody):
    """Four at a time cannot all start, for want of processes; in the end everybody has the right score."""
    right = a_class(course, submission, [], 6)
    subprocess.run(["chmod", "-R", "a+rwX", course.root], check=True)
    found = as_somebody.python(FEW, course.root, 9)
    assert ast.literal_eval(found) == right


# whose fault it is


class Told(Worker):
    """A worker that says what it is told to."""

    def __init__(self, outcome):
        super().__init__(0)
        self.outcome = outcome

    def execute(self, assignment, part, steps, *seed):
        if self.outcome is None:
            raise WorkerLostError("a worker ended in the middle of a submission")
        cells = {steps[0]["id"]: {"status": "ran", "points": 0.0}, **self.outcome.get("cells", {})}
        known = {"infrastructure": None, "escaped": None, "overdue": False, "ended": False, "level": []}
        return {**known, "seconds": 1.0, "cpu": 1.0, **self.outcome, "cells": cells}


class NoBox:
    """Stands in for a box where none is needed."""

    start = stop = end = lambda self: None

    def spent(self):
        return 0.0


class Few:
    limits = {"threads": 0}


STEPS = [{"id": "f", "kind": "solution"}, {"id": "test_f", "kind": "graded", "points": 5.0}]
OOM = {"f": {"status": "oom", "points": 0.0}}
DONE = {"test_f": {"status": "passed", "points": 5.0}}


@pytest.mark.parametrize(
    ("outcome", "alone", "status", "again"),
    [
        (None, False, "infra_error", True),  # the worker was lost
        (None, True, "infra_error", True),
        ({"infrastructure": "no box"}, True, "infra_error", True),
        ({"escaped": "TypeError: x"}, False, "died", False),  # whatever comes from the student's side
        ({}, False, "infra_error", True),  # the tester was killed or crashed: once more, alone
        ({}, True, "died", False),
        ({"overdue": True}, False, "timeout", False),
        ({"ended": True, "cells": {**OOM, **DONE}}, False, "oom", True),
        ({"ended": True, "cells": DONE}, False, "graded", False),
    ],
)
def test_whose_fault_it_is(outcome, alone, status, again):
    part = type("Part", (), {"reference": {}})
    result = grade.run_steps(Few, Told(outcome), part, [dict(step) for step in STEPS], [], alone)
    assert result["status"] == status and bool(result.get("starved")) == again
    if status in ("died", "timeout"):
        cell = result["cells"]["test_f"]
        assert cell["points"] == 0 and cell["status"] == status and cell["message"]


def test_what_the_machine_lacks_is_not_the_student_s(monkeypatch):
    """In the fork: a scarce machine is told from an exception that the student's objects caused."""
    told = {}
    for error in (BlockingIOError(11, "try again"), OSError(24, "too many files"), TypeError("x"), KeyboardInterrupt()):

        def fails(task, report, error=error):
            raise error

        monkeypatch.setattr(worker.tester, "run_submission", fails)
        outcome = worker.run_in_fork({"limits": {"wall": 5}}, NoBox())
        told[type(error).__name__] = outcome["infrastructure"] is not None, outcome["escaped"] is not None
        assert not outcome["ended"] and not outcome["overdue"]
    scarce, theirs = (True, False), (False, True)
    assert told == {"BlockingIOError": scarce, "OSError": scarce, "TypeError": theirs, "KeyboardInterrupt": theirs}
    monkeypatch.setattr(os, "fork", lambda: (_ for _ in ()).throw(BlockingIOError(11, "try again")))
    assert "cannot be started" in worker.run_in_fork({"limits": {"wall": 5}}, NoBox())["infrastructure"]


def test_a_report_without_end_is_cut(monkeypatch):
    def talks(task, report):
        while True:
            report({"cell": "x", "message": "y" * 100_000})

    monkeypatch.setattr(worker.tester, "run_submission", talks)
    outcome = worker.run_in_fork({"limits": {"wall": 20}}, NoBox())
    assert "MiB to report" in outcome["escaped"] and outcome["seconds"] < 15


def in_a_box(rung, steps, **limits):
    """The outcome of steps on a rung."""
    rung = next(isolation.ladder((rung,)), None)
    if rung is None:
        pytest.skip("this rung does not work on this machine")
    limits = {"wall": 30.0, "cell": 10.0, "cpu": 20, "memory": 1 << 30, **limits}
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        kit = isolation.make_kit(Path(folder), Path(folder) / "none", [])
        box = Box(*isolation.command(rung, kit, limits), isolation.FIRST_USER if rung.drop else None)
        task = {"limits": limits, "package": "tinytorch", "own": {}, "exchange": str(kit.exchange), "steps": steps}
        try:
            return worker.run_in_fork(task, box)
        finally:
            box.stop()


def test_the_tester_takes_little_memory():
    """A test that keeps the 720 MB that it is given by a student who answers as much as can be sent."""
    source = "import numpy as np\ndef f(): return np.ones(7_500_000)\nrelu = [np.ones(10**6)] * 7"
    keep = "kept = []\nfor _ in range(12):\n    kept.append(f())"
    steps = [{"kind": "solution", "id": "f", "source": source, "names": ["f", "relu"], "imports": ""}]
    steps += [{"kind": "graded", "id": name, "source": keep, "points": 4.0, "hidden": []} for name in ("one", "two")]
    outcome = in_a_box("landlock", steps, wall=60.0, cell=40.0)
    cells = {name: (cell["status"], cell["points"]) for name, cell in outcome["cells"].items()}
    assert outcome["ended"] and cells["one"] == ("oom", 0.0) and cells["two"][1] == 0.0, outcome


IGNORES = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"


@pytest.mark.parametrize("rung", isolation.RUNGS[:2])
@pytest.mark.parametrize("first", ["", pytest.param(IGNORES, marks=pytest.mark.slow)], ids=["obeys", "ignores"])
def test_processor_time_is_limited(rung, first):
    """Told by the kernel's signal; who ignores it is killed two seconds later."""
    steps = [{"kind": "solution", "id": "f", "source": f"{first}while True: pass", "names": [], "imports": ""}]
    cell = in_a_box(rung, steps, cpu=1, cell=25.0)["cells"]["f"]
    assert cell["status"] == ("oom" if first else "timeout") and cell["seconds"] < 25
    assert first or cell["message"] == "your code used up its processor time"


# what is killed from outside


def kill_one(match, seconds=30):
    """A thread that kills the first process below this one of which `match(process)` is true; what it has killed."""
    killed = []

    def hunt():
        until = time.monotonic() + seconds
        while not killed and time.monotonic() < until:
            for process in psutil.Process().children(recursive=True):
                try:
                    if match(process):
                        process.send_signal(signal.SIGKILL)
                        killed.append(process.pid)
                        return
                except psutil.Error:
                    continue
            time.sleep(0.005)

    threading.Thread(target=hunt, daemon=True).start()
    return killed


def _is_worker(process):
    return "tito.grading.sandbox.worker" in process.cmdline()


def _is_box(process):
    return any("agent.py" in word for word in process.cmdline())


VICTIMS = {
    "a worker": lambda process: _is_worker(process) and not _is_worker(process.parent()) and process.children(),
    "a tester": lambda process: _is_worker(process)
    and _is_worker(process.parent())
    and time.time() - process.create_time() > 0.5,
    "a box": lambda process: _is_box(process) and not _is_box(process.parent()) and process.children(),
    "a student's process": lambda process: _is_box(process)
    and _is_box(process.parent())
    and not process.children(),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("who", VICTIMS)
def test_what_is_killed_from_outside_is_graded_again(course, submission, who):
    right = a_class(course, submission, [], 6, "\nimport time\ntime.sleep(1)\n")
    killed = kill_one(VICTIMS[who])
    found, report = graded(course, "landlock")
    assert killed and found == right, [(row.student, row.status, row.reason) for row in report.rows]
