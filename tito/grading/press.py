"""Many pages at once, in processes of their own: one student's text costs that student's page its colours, at most."""

import hashlib
import json
import multiprocessing
import multiprocessing.connection
import os
import resource
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

from tito.course import notebook
from tito.course.registry import Module
from tito.course.storage import digest, write_atomic
from tito.grading import feedback, pages
from tito.grading.commit import Shown
from tito.grading.grade import Store
from tito.grading.gradebook import Gradebook
from tito.grading.history import History, marks_only
from tito.grading.marks import Mark
from tito.grading.result import PartResult
from tito.grading.submissions import stamp_of

PATIENCE = 60.0  # seconds for a page, before its process is ended and the page is made plainly
MEMORY = 3 << 30  # bytes of address space


def jobs_for(module: Module, settings: dict, shown: Shown, store: Store, marks: dict[str, Mark], students) -> Iterator:
    """What the students' pages are made from, one job for each notebook: `target`, `marked`, `facts`, `key`."""
    with Gradebook(settings["url"]) as book:
        comments = book.comments(book.assignment(module.folder)[0])
    for student in students:
        result, mark = store.read(shown.read(student)[0]), marks.get(student)
        if result is None or mark is None:
            continue
        stamp = stamp_of(settings["submitted"], student, module.folder)
        if marks_only(History(settings["grading"], module.folder, student).in_place()):
            stamp = None  # the file's time is that of the download
        for path in module.notebooks:
            marked = settings["autograded"] / student / module.folder / path.name
            target = settings["feedback"] / student / module.folder / f"{path.stem}.html"
            part = result["notebooks"].get(path.stem)
            facts = _facts(module, path, student, mark, part, comments.get((student, path.stem), {}))
            facts["handed_in"] = f"handed in {stamp:%Y-%m-%d %H:%M} UTC" if stamp else ""
            job = {"student": student, "marked": str(marked), "target": str(target), "facts": facts}
            yield {**job, "key": _key(marked, facts)}


def _facts(
    module: Module, path: Path, student: str, mark: Mark, part: PartResult | None, comments: dict[str, str]
) -> dict:
    """Everything on a page beside the notebook itself."""
    found = feedback.verdicts(module, path, part["cells"] if part else {})
    titles = {test: exercise for exercise in module.exercises for test in exercise.tests}
    rows = []
    for cell in _questions(path, path.stat().st_mtime_ns):
        verdict, (points, most) = found.get(cell), mark.questions.get(cell, (0.0, 0.0))
        unread = cell in mark.unread
        state = verdict.state if verdict else "not read yet" if unread else "read"
        row = {"cell": cell, "title": titles[cell].title if cell in titles else "", "points": points, "most": most}
        row |= {"state": state, "lines": verdict.lines if verdict else (), "hint": verdict.hint if verdict else ""}
        rows.append({**row, "unread": unread})
    person, names = mark.student, ("score", "most", "bonus", "bonus_most", "penalty", "late_hours", "waiting")
    return {
        "number": module.number,
        "title": module.title,
        "notebook": path.stem,
        "student": student,
        "name": " ".join(filter(None, (person.get("first_name"), person.get("last_name")))),
        "total": {name: getattr(mark, name) for name in names},
        "rows": rows,
        "comments": comments,
        "reason": part["reason"] if part else "",
        "notes": part["notes"] if part else [],
    }


@lru_cache(maxsize=64)
def _questions(path: Path, changed: int) -> list[str]:
    """The cells of a notebook that have points, in order."""
    return [cell["id"] for cell in notebook.read(path)["cells"] if notebook.kind(cell) in ("graded", "manual")]


@cache
def _code() -> str:
    return digest(Path(pages.__file__).read_bytes() + Path(feedback.__file__).read_bytes())


def _key(marked: Path, facts: dict) -> str:
    """A hash of all that a page follows from, the code that makes it included."""
    text = marked.read_bytes() if marked.is_file() else b""
    return hashlib.sha256(json.dumps([digest(text), facts, _code()], sort_keys=True).encode()).hexdigest()[:40]


def print_pages(jobs: list[dict], count: int) -> Iterator[tuple[dict, str]]:
    """(job, what went wrong or nothing) for every job, as its page is put in place: whole and clean, or not at all."""
    for job, page, trouble in _rendered(jobs, count):
        if page is None:
            try:
                page, trouble = pages.render(job, pages.Plain()), f"is plain ({trouble})"
            except Exception as error:
                yield job, f"is not made: {error}"
                continue
        write_atomic(Path(job["target"]), page)
        yield job, trouble


def _rendered(jobs: list[dict], count: int) -> Iterator[tuple[dict, str | None, str]]:
    """(job, its page or None, why there is none)."""
    waiting = deque(jobs)
    busy: dict = {}
    try:
        for _ in range(min(count, len(waiting))):
            _give(_hire(), waiting, busy)
        while busy:
            ready = multiprocessing.connection.wait(list(busy), timeout=0.5)
            for pipe in list(busy):
                process, job, since = busy[pipe]
                late = time.monotonic() - since > PATIENCE
                if pipe not in ready and not late:
                    continue
                try:
                    if pipe not in ready:
                        raise EOFError
                    page, trouble = pipe.recv()
                except (EOFError, OSError):
                    _dismiss(pipe, process)
                    page, trouble = None, f"it took over {PATIENCE:.0f} s" if late else "it took too much memory"
                    del busy[pipe]
                    if waiting:
                        _give(_hire(), waiting, busy)
                else:
                    del busy[pipe]
                    if waiting:
                        _give((pipe, process), waiting, busy)
                    else:
                        _dismiss(pipe, process)
                yield job, page, trouble
    finally:
        for pipe, (process, _, _) in busy.items():
            _dismiss(pipe, process)


def _hire() -> tuple:
    ours, theirs = multiprocessing.Pipe()
    paths = [str(Path(__file__).resolve().parents[2]), *filter(None, sys.path)]
    command = [sys.executable, "-P", "-m", "tito.grading.press", str(theirs.fileno())]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], start_new_session=True
    )
    theirs.close()
    return ours, process


def _give(worker: tuple, waiting: deque, busy: dict) -> None:
    pipe, process = worker
    job = waiting.popleft()
    busy[pipe] = process, job, time.monotonic()
    try:
        pipe.send(job)
    except OSError:
        pass  # it has ended: the pipe says so when it is read


def _dismiss(pipe, process) -> None:
    process.kill()
    process.wait()
    pipe.close()


def serve(pipe) -> None:
    """A worker: a job comes in, (the page, nothing) or (None, what went wrong) goes out."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    colours = pages.Colours()
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer: tuple = pages.render(job, colours), ""
        except Exception as error:
            answer = None, f"{type(error).__name__}: {error}"[:300]
        pipe.send(answer)


if __name__ == "__main__":
    serve(multiprocessing.connection.Connection(int(sys.argv[1])))
