"""Grading against plain nbgrader on the same submissions, in turns.

python tests/benchmarks/bench_grading.py [--count 60] [--turns N] [--jobs 2] [--module three|09_spatial] [--unchanged N]
Submissions a minute of both and their ratio; what grading costs a submission beyond its cells run bare in one process;
the time of a run over unchanged submissions. --count 10 gives a first look at 09_spatial, of which nbgrader grades some
five a minute on one processor.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tito.course import notebook  # noqa: E402
from tito.course.registry import Course  # noqa: E402
from tito.course.scaffold import released  # noqa: E402
from tito.grading.service import GradingService  # noqa: E402

TOML = """number = "01"
name = "three"
title = "Three"
summary = "three cells"
requires = []
notebooks = ["three_dev.ipynb"]
"""


def three(folder: Path) -> None:
    """A module of three light exercises."""
    marks = {"schema_version": 3, "locked": False, "grade": False, "solution": True}
    cells = [("default", "#| default_exp core.three", None), ("imports", "#| export\nimport numpy as np", None)]
    for name, body in (("double", "x * 2"), ("square", "x * x"), ("shift", "x + 1")):
        source = f"#| export\ndef {name}(x):\n    ### BEGIN SOLUTION\n    return {body}\n    ### END SOLUTION"
        cells.append((name, source, {**marks, "grade_id": name}))
        test = f"x = np.arange(5.0)\nassert np.array_equal({name}(x), {body}), 'wrong'"
        graded = {**marks, "grade": True, "locked": True, "solution": False, "points": 10, "grade_id": f"test_{name}"}
        cells.append((f"test_{name}", test, graded))
    nb = {
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    nb["cells"] = [
        {
            "cell_type": "code",
            "id": id,
            "source": source,
            "metadata": {"nbgrader": mark} if mark else {},
            "outputs": [],
            "execution_count": None,
        }
        for id, source, mark in cells
    ]
    folder.mkdir(parents=True)
    (folder / "module.toml").write_text(TOML)
    (folder / "three_dev.ipynb").write_text(notebook.dumps(nb))


def make_course(folder: Path, module: str) -> Course:
    """A course in `folder` with one module, or the repository's."""
    for name in ("settings.ini", "nbgrader_config.py"):
        shutil.copy(ROOT / name, folder)
    if module == "three":
        three(folder / "modules/01_three")
        (folder / "tinytorch").mkdir()
        (folder / "tinytorch/__init__.py").touch()
    else:
        shutil.copytree(ROOT / "modules", folder / "modules", ignore=shutil.ignore_patterns("*_dev.py", "__pycache__"))
        shutil.copytree(ROOT / "tinytorch", folder / "tinytorch", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "grading").mkdir()
    return Course.load(folder)


def hand_in(course: Course, module, numbers: range) -> None:
    """Submissions, every second one only half solved; exploration cells are cleared, as they only cost time."""
    for path in module.notebooks:
        nb, solutions = notebook.read(path), 0
        for number in numbers:
            cells = []
            for cell in nb["cells"]:
                made = {**cell, "source": released(cell)}
                if notebook.kind(cell) == "solution":
                    solutions += 1
                    if number % 2 == 0 or solutions % 2:
                        made["source"] = cell["source"]
                elif notebook.kind(cell) == "exploration":
                    made["source"] = ""
                cells.append(made)
            folder = course.root / f"grading/submitted/s{number:04d}/{module.folder}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / path.name).write_text(json.dumps({**nb, "cells": cells}))


BARE = """
import json, resource, sys, time
import numpy
sys.path.insert(0, sys.argv[1])
from tito.course import notebook
start, used = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
for path in sys.argv[3:]:
    source = {cell["id"]: cell["source"] for cell in json.load(open(path))["cells"]}
    names = {"__name__": "__main__"}
    for cell in notebook.read(__import__("pathlib").Path(sys.argv[2]) / path.rsplit("/", 1)[1])["cells"]:
        if notebook.kind(cell) in notebook.CORE:
            text = cell["source"] if notebook.kind(cell) == "graded" else source[cell["id"]]
            try:
                exec(compile(text, cell["id"], "exec"), names)
            except Exception:
                pass
now = resource.getrusage(resource.RUSAGE_SELF)
print("\\n", time.perf_counter() - start, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime)
"""


def bare(course: Course, module, numbers: range) -> tuple[float, float]:
    """(wall, processor) seconds of a submission's cells and the hidden tests, in one process; the mean of some."""
    found = []
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(course.root)}
    for number in numbers:
        folder = course.root / f"grading/submitted/s{number:04d}/{module.folder}"
        files = [str(folder / path.name) for path in module.notebooks]
        command = [sys.executable, "-P", "-c", BARE, str(ROOT), str(module.notebooks[0].parent), *files]
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        found.append([float(word) for word in done.stdout.split()[-2:]])
    return tuple(sum(column) / len(found) for column in zip(*found, strict=True))


def plain(course: Course, module) -> float:
    """Seconds of nbgrader's own autograde of everything."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(course.root),
    }
    start = time.perf_counter()
    command = ["nbgrader", "autograde", module.folder, "--force"]
    subprocess.run(command, cwd=course.root, env=environment, check=True, capture_output=True)
    return time.perf_counter() - start


def ours(desk: GradingService, module, jobs: int, isolation: str | None = None) -> tuple[float, float]:
    """(wall, processor) seconds of `tito grade run` of everything, nothing kept from before.

    The processor time of what dies inside bubblewrap's own process space is nobody's: it counts on "landlock" only.
    """
    shutil.rmtree(desk.folder / "results", ignore_errors=True)
    start, used = time.perf_counter(), processor()
    report = desk.grade_submissions(module, jobs=jobs, isolation=isolation)
    if report.failures or not all(row.fresh for row in report.rows):
        sys.exit(f"not everything was graded: {report}")
    return time.perf_counter() - start, processor() - used


def processor() -> float:
    """Processor seconds of this process and of its ended children."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in usage)


def main() -> None:
    """Both in turns; the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--turns", type=int, help="rounds of both; 3, and 1 for a module of the course")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--module", default="three")
    parser.add_argument("--unchanged", type=int, help="submissions of a run in which nothing changed; 1000, or COUNT")
    parser.add_argument("--without-nbgrader", action="store_true")
    asked = parser.parse_args()
    light = asked.module == "three"
    turns = asked.turns or (3 if light else 1)
    unchanged = asked.unchanged if asked.unchanged is not None else 1000 if light else asked.count
    with tempfile.TemporaryDirectory(prefix="tito-bench-") as folder:
        course = make_course(Path(folder), asked.module)
        module, desk = course.module(asked.module), GradingService(course)
        desk.assign(module)
        hand_in(course, module, range(asked.count))
        cells = bare(course, module, range(min(asked.count, 10)))
        times = {"tito": [], "nbgrader": []}
        for turn in range(turns):
            print(f"round {turn + 1} of {turns} ...", file=sys.stderr)
            times["tito"].append(ours(desk, module, asked.jobs))
            if not asked.without_nbgrader:
                times["nbgrader"].append(plain(course, module))
        wall = min(seconds for seconds, _ in times["tito"]) / asked.count
        used = ours(desk, module, asked.jobs, "landlock")[1] / asked.count
        print(f"{asked.module}, {asked.count} submissions, {asked.jobs} at a time, best of {turns}")
        print(f"{'':34}{'measured':>10}{'wanted':>10}")
        row("submissions a minute, tito", 60 / wall)
        if times["nbgrader"]:
            theirs = min(times["nbgrader"]) / asked.count
            row("submissions a minute, nbgrader", 60 / theirs)
            row("ratio", theirs / wall, f">= {8 if light else 3}")
        row("seconds of its cells, bare", cells[0])
        row("seconds more, wall", wall * asked.jobs - cells[0], "<= 0.4" if light else "<= 0.6")
        row("seconds more, processor", used - cells[1], "<= 0.3" if light else "<= 0.4")
        hand_in(course, module, range(asked.count, unchanged))
        desk.grade_submissions(module, jobs=asked.jobs)
        start = time.perf_counter()
        report = desk.grade_submissions(module, jobs=asked.jobs)
        assert not any(line.fresh for line in report.rows)
        row(f"seconds for {len(report.rows)} unchanged", time.perf_counter() - start, "<= 2")


def row(what: str, value: float, wanted: str = "") -> None:
    """A line of the table."""
    print(f"{what:34}{value:10.2f}{wanted:>10}", flush=True)


if __name__ == "__main__":
    main()
