"""Attacks and accidents: the right score for each, the course untouched, no process left, everybody else graded."""

import hashlib
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

from tito import CourseError
from tito.grading.sandbox import isolation
from tito.grading.service import GradingService

LIMITS = {"wall": 12.0, "cell": 2.0, "cpu": 6}
LOUD = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]")  # what a terminal would obey
WORDS = ("WROTE", "READ", "SOCKET", "KILLED", "TRACED", "ESCAPED")  # printed by an attack that came through


@pytest.fixture
def hand_in(course, submission, secret):
    return lambda cases: _hand_in(course, cases, submission, secret)


def _hand_in(course, cases, submission, secret):
    """Write a submission for each case; student -> case."""
    students = {}
    for number, case in enumerate(cases):
        student = f"s{number:03d}"
        code = case.code.replace("{course}", str(course.root)).replace("{secret}", secret)
        solved = {"stub": (), "relu": ("relu",), "solved": "all"}[case.base]
        own = code if case.cell == "own" else ""
        changes = {} if own or not code else {"relu": f"\n{code}\n"}
        path = course.root / f"grading/submitted/{student}/02_activations/activations_dev.ipynb"
        submission(path, solved=solved, changes=changes, own=own)
        students[student] = case
    return students


def fingerprint(folder):
    """path -> hash of everything in a course but what grading writes."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).as_posix()
        if path.is_file() and not inside.startswith(("grading/results", "grading/autograded", "grading/backups")):
            if inside not in ("grading/gradebook.db", "grading/audit.jsonl", "grading/.lock"):
                found[inside] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def _texts(kept):
    """Every text in a result."""
    if isinstance(kept, dict | list):
        return [text for part in (kept.values() if isinstance(kept, dict) else kept) for text in _texts(part)]
    return [kept] if isinstance(kept, str) else []


def _notes(result):
    return [note for part in result["notebooks"].values() for note in [*part["notes"], part["reason"]]]


@pytest.fixture
def mark(monkeypatch):
    """A folder for the sandboxes of this test alone, which every one of their processes names."""
    with tempfile.TemporaryDirectory(prefix="tito-test-") as folder:
        os.chmod(folder, 0o755)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield folder


def processes(mark):
    """Ids of all processes whose command line names the test's own folder."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "cmdline").read_bytes():
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


@pytest.fixture
def run_cases(course, hand_in, secret, mark):
    return lambda cases, isolation: _run_cases(course, hand_in, secret, mark, cases, isolation)


def _run_cases(course, hand_in, secret, mark, cases, isolation, jobs=2):
    """Grade all cases on a rung; the rows of the table, and what was wrong."""
    students = hand_in(cases)
    untouched, desk = fingerprint(course.root), GradingService(course)
    try:
        report = desk.grade_submissions(course.module("02"), jobs=jobs, isolation=isolation, limits=LIMITS)
    except CourseError as error:
        if "does not work" in str(error):
            pytest.skip(f"{isolation} does not work on this machine")
        raise
    wrong, lines = [], []
    results = {result["student"]: result for result in desk.store(course.module("02")).all()}
    for row in report.rows:
        case, result = students[row.student], results.get(row.student)
        lines.append(
            f"{case.name:34} {row.score!s:>6} {case.score:>6g}  {row.status:12} {row.seconds:6.1f} s  {row.reason[:70]}"
        )
        text = str(result)
        if row.score != case.score or row.status not in case.status:
            wrong.append(
                f"{case.name}: {row.score} and {row.status}, expected {case.score} and {case.status}: {text[-900:]}"
            )
        if any(f"{word} " in text or f"{word}\\n" in text for word in WORDS) or row.seconds > LIMITS["wall"] + 5:
            wrong.append(f"{case.name}: came through, or took {row.seconds} s: {text[-600:]}")
        if any(map(LOUD.search, _texts(result))) or any(len(text) > 300 for text in _notes(result)):
            wrong.append(f"{case.name}: what is kept would act on a terminal, or is long: {text[-600:]}")
        if secret in str(result["notebooks"]["activations_dev"]["cells"].get("relu", {}).get("output")):
            wrong.append(f"{case.name}: has seen what it must not see")
        assert result["isolation"] == report.isolation and isolation in report.isolation
    if fingerprint(course.root) != untouched:
        wrong.append("files of the course changed")
    if processes(mark):
        wrong.append("processes were left")
    print(
        f"\n{report.isolation}, {report.seconds} s\n{'case':34} {'score':>6} {'right':>6}  status\n" + "\n".join(lines)
    )
    return wrong


RUNGS = ("bubblewrap", "landlock")


@pytest.fixture(scope="session")
def working():
    """The rungs of this machine."""
    return [rung.name for rung in isolation.ladder(RUNGS)]


@pytest.mark.parametrize("rung", RUNGS)
def test_a_part_of_the_attacks(hostile, run_cases, working, rung):
    """The rungs that work here share them; at night each gets all, and more."""
    if rung not in working:
        pytest.skip(f"{rung} does not work on this machine")
    names = {
        "says yes to everything",
        "agent answers yes",
        "imports the reference",
        "control: half",
        "magics",
        "ends it in a function",
    }
    names |= {"loops in a function", "writes the gradebook", "reads the hidden tests", "opens sockets", "a fork bomb"}
    cases = [case for case in hostile.CASES if case.name in names]
    others = hostile.KERNEL[::4] + hostile.NOT_FUNCTIONS[::6] + hostile.OBJECTS[::6] + hostile.RUNTIME[::7]
    cases += [case for case in others if "timeout" not in case.status]  # one that has to be waited for is enough
    wrong = run_cases(cases[working.index(rung) :: len(working)], rung)
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("rung", RUNGS)
def test_every_attack(hostile, run_cases, rung):
    wrong = run_cases(hostile.CASES, rung)
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.slow
def test_a_part_of_the_attacks_on_a_user_who_is_not_root(as_somebody):
    as_somebody(__file__, "-k", "test_a_part_of_the_attacks and not user")


def test_refuses_without_isolation(course, hostile, hand_in, monkeypatch):
    hand_in(hostile.HONEST[:1])
    monkeypatch.setattr(isolation, "_works", lambda rung, kit: False)
    with pytest.raises(CourseError, match="--allow-unsafe"):
        GradingService(course).grade_submissions(course.module("02"))
    report = GradingService(course).grade_submissions(course.module("02"), unsafe=True)
    assert report.rows[0].score == 100 and report.isolation.startswith("NO ISOLATION")


def test_the_probe_tries_the_rungs(monkeypatch):
    rungs = list(isolation.ladder())
    assert all("seccomp" in rung.words for rung in rungs)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert [rung.name for rung in isolation.ladder()] == [rung.name for rung in rungs if rung.name != "bubblewrap"]
