"""Grading against plain nbgrader on the same submissions, in turns.

python tests/benchmarks/bench_grading.py [--count 60] [--turns 3] [--jobs 2] [--module three|09_spatial]
Submissions a minute of both, their ratio, seconds of wall and processor a submission, and the time of a re-run.
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

from tito import notebook  # noqa: E402
from tito.course import Course  # noqa: E402
from tito.grading import skeleton  # noqa: E402
from tito.grading.desk import Desk  # noqa: E402

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


def hand_in(course: Course, module, count: int) -> None:
    """`count` submissions, every second one only half solved; exploration cells are cleared, as they only cost time."""
    path = module.notebooks[0]
    nb, solutions = notebook.read(path), 0
    for number in range(count):
        cells = []
        for cell in nb["cells"]:
            made = {**cell, "source": skeleton.released(cell)}
            if notebook.kind(cell) == "solution":
                solutions += 1
                if number % 2 == 0 or solutions % 2:
                    made["source"] = cell["source"]
            elif notebook.kind(cell) == "exploration":
                made["source"] = ""
            cells.append(made)
        folder = course.root / f"grading/submitted/s{number:03d}/{module.folder}"
        folder.mkdir(parents=True)
        (folder / path.name).write_text(json.dumps({**nb, "cells": cells}))


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


def ours(desk: Desk, module, jobs: int) -> float:
    """Seconds of `tito grade run` of everything, nothing kept from before."""
    shutil.rmtree(desk.folder / "results", ignore_errors=True)
    start = time.perf_counter()
    report = desk.run(module, jobs=jobs)
    if report.failures or not all(row.fresh for row in report.rows):
        sys.exit(f"not everything was graded: {report}")
    return time.perf_counter() - start


def main() -> None:
    """Both in turns; the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--module", default="three")
    parser.add_argument("--without-nbgrader", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tito-bench-") as folder:
        course = make_course(Path(folder), arguments.module)
        module, desk = course.module(arguments.module), Desk(course)
        desk.assign(module)
        hand_in(course, module, arguments.count)
        times = {"nbgrader": [], "tito": []}
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(arguments.turns):
            times["tito"].append(ours(desk, module, arguments.jobs))
            if not arguments.without_nbgrader:
                times["nbgrader"].append(plain(course, module))
        start = time.perf_counter()
        desk.run(module, jobs=arguments.jobs)
        again = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    best = {name: min(found) for name, found in times.items() if found}
    for name, seconds in best.items():
        print(
            f"{name:9} {60 * arguments.count / seconds:7.1f} submissions a minute "
            f"({seconds:.1f} s for {arguments.count}, best of {arguments.turns})"
        )
    if "nbgrader" in best:
        print(f"ratio     {best['nbgrader'] / best['tito']:7.1f}")
    else:
        used = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / arguments.turns / arguments.count
        print(f"processor {used:7.3f} s a submission")
    print(f"re-run of {arguments.count} unchanged: {again:.2f} s")


if __name__ == "__main__":
    main()
