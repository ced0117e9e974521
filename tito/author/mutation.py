"""Mutants: small faults planted in a reference solution, to see whether the graded tests notice.

`mutate` makes them from a solution's syntax tree; `survivors` runs a notebook's graded cells against each, in a forked
process, and returns those that no graded cell noticed.
"""

import ast
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Course
from tito.course.scaffold import without_hidden
from tito.runner import platform

PATIENCE = 900  # seconds for what one process tries
SWAPS: dict[type, Any] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, 
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
NAMES = {"max": "min", "sum": "mean", "zeros": "ones", "maximum": "minimum", "exp": "negative"}
NAMES |= {other: name for name, other in NAMES.items() if name != "exp"}


@dataclass(frozen=True)
class Mutant:
    """A solution cell with one fault: the cell's id, the line, what was changed, and the whole faulty source."""

    cell: str
    line: int
    change: str
    source: str


def mutate(cell: str, source: str) -> Iterator[Mutant]:
    """Every mutant of the solution regions of a cell. Messages, docstrings and strings are left alone."""
    lines, inside = notebook.python_lines(source, ends=True), False
    region: set[int] = set()
    for number, line in enumerate(lines, 1):
        inside = notebook.BEGIN in line or (inside and notebook.END not in line)
        if inside:
            region.add(number)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    data = source.encode()
    for node, text in _faults(ast.parse(source)):
        if node.lineno in region:
            start, end = starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset
            before = " ".join(data[start:end].decode().split())
            faulty = (data[:start] + text.encode() + data[end:]).decode()
            yield Mutant(cell, node.lineno, f"{before} -> {text}", faulty)


def _faults(node: ast.AST) -> Iterator[tuple[Any, str]]:
    """(node, replacement text) for everything under a node that has a plausible fault."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise | ast.AugAssign):
            yield child, "pass"
        if isinstance(child, ast.Raise | ast.JoinedStr):
            continue
        if isinstance(node, ast.UnaryOp) and isinstance(child, ast.Constant):
            continue  # -1 loses its sign; as -2 it often means the same to NumPy
        yield from ((child, text) for text in _replacements(child))
        yield from _faults(child)


def _replacements(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.BinOp(left, op, right) if type(op) in SWAPS:
            yield f"({ast.unparse(ast.BinOp(left, SWAPS[type(op)](), right))})"
        case ast.Compare(left, [op], [right]) if type(op) in SWAPS:
            yield f"({ast.unparse(ast.Compare(left, [SWAPS[type(op)]()], [right]))})"
        case ast.BoolOp(op, values):
            yield f"({ast.unparse(ast.BoolOp(SWAPS[type(op)](), values))})"
        case ast.UnaryOp(ast.Not() | ast.USub(), operand):
            yield f"({ast.unparse(operand)})"
        case ast.Constant(bool(value)):
            yield str(not value)
        case ast.Constant(int(value)) | ast.Constant(float(value)):
            yield str(value + 1)
        case ast.Attribute(value, name) if name in NAMES:
            yield f"{ast.unparse(value)}.{NAMES[name]}"
        case ast.Return(ast.expr()):
            yield "return None"


def survivors(cells: list[dict], chosen: list[Mutant], seconds: float = 10, hidden: bool = True) -> list[Mutant]:
    """The mutants that no graded cell notices; without `hidden`, only the visible tests run.

    cells: a notebook's cells, which are run here in order, so call this in a process of its own.
    A mutant that takes longer than `seconds` counts as noticed, as it would run into the time limit.
    """
    core = [cell for cell in cells if notebook.kind(cell) in notebook.CORE]
    sources = [cell["source"] if hidden else without_hidden(cell["source"]) for cell in core]
    namespace, alive = {"__name__": "__main__"}, []
    graded = [notebook.kind(cell) == "graded" for cell in core]
    for position, (cell, source) in enumerate(zip(core, sources, strict=True)):
        rest = list(zip(graded, sources, strict=True))[position + 1 :]
        for mutant in chosen:
            if mutant.cell == cell["id"] and _unnoticed(mutant.source, rest, namespace, seconds):
                alive.append(mutant)
        exec(compile(source, f"<{cell['id']}>", "exec"), namespace)
    return alive


def shares(path: Path, most: int) -> list[tuple[int, int]]:
    """How to share a notebook's mutants among processes that try about `most` each; see `part` below."""
    count = len(_all_mutants(notebook.read(path)["cells"]))
    pieces = count // most + 1
    return [(first, pieces) for first in range(pieces)]


def _all_mutants(cells: list[dict]) -> list[Mutant]:
    solutions = [cell for cell in cells if notebook.kind(cell) == "solution"]
    return [mutant for cell in solutions for mutant in mutate(cell["id"], cell["source"])]


def try_in_process(
    path: Path, folder: Path, planted: Iterable = (), hidden: bool = True, part: tuple[int, int] = (0, 1)
) -> tuple[int, list]:
    """(number of mutants, [cell, line, change] of the survivors) of a notebook, in a child process on one thread.

    It sees the package in `folder`. `planted`: mutants as tuples, instead of those that `mutate` makes. With `part`
    (n, m) every m-th mutant is tried, from the n-th on.
    """
    if not platform.CAN_FORK:
        raise CourseError("planted faults are tried in forks, which this system lacks: use Linux, WSL or macOS")
    return tuple(ask_child("mutants", path, folder, [str(path), list(planted), hidden, part], PATIENCE, cwd=folder))


def ask_child(what: str, path: Path, folder: Path, question: list, patience: int, **options):
    """What `main` of tito/author answers, which tries `what` on a notebook in a process of its own, on one thread.

    It sees the package in `folder`. CourseError if it takes over `patience` seconds or fails.
    """
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    places = os.pathsep.join([str(folder), str(Path(__file__).resolve().parents[2])])
    module = {"mutants": "mutation", "liars": "liars", "functions": "answers"}[what]
    command = [sys.executable, "-P", "-c", f"from tito.author.{module} import main; main()"]
    environment = {**os.environ, **threads, "PYTHONPATH": places}
    try:
        done = platform.run(command, patience, json.dumps(question), env=environment, **options)
    except subprocess.TimeoutExpired:
        raise CourseError(f"the {what} of {path.name} took over {patience} s") from None
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise CourseError(f"{path.name} could not be tried with {what}: {said[0]}")
    return json.loads(done.stdout)


def main() -> None:
    """What that process does: a question on standard input, the answer on standard output."""
    path, planted, hidden, (first, step) = json.load(sys.stdin)
    cells = notebook.read(Path(path))["cells"]
    chosen = ([Mutant(*fields) for fields in planted] or _all_mutants(cells))[first::step]
    answer, sys.stdout = sys.stdout, sys.stderr
    alive = survivors(cells, chosen, hidden=hidden)
    json.dump([len(chosen), [[m.cell, m.line, m.change] for m in alive]], answer)


def _unnoticed(faulty: str, rest: list[tuple[bool, str]], namespace: dict, seconds: float) -> bool:
    """Whether every graded cell passes after a faulty solution cell, tried in a forked process."""

    def passes() -> bool:
        for graded, source in [(False, faulty), *rest]:
            try:
                exec(compile(source, "<mutant>", "exec"), namespace)
            except BaseException:
                if graded:
                    return False
        return True

    return platform.in_fork(passes, seconds)


def changes_nothing(course: Course) -> dict[str, str]:
    """Changes that alter nothing; they are part of no package, as they quote solutions."""
    path = course.folder("tests") / "grading" / "equivalent.toml"
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))["equivalent"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError) as error:
        raise CourseError(f"{path} cannot be read: {error}") from None
