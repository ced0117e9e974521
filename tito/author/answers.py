"""Does anything that a student can see or import solve an exercise? Every such function is tried in its place.

A student who pastes a call of it into the solution, with the names that are there, must earn nothing.
"""

import ast
import importlib
import inspect
import io
import json
import pkgutil
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import cast

from tito import CourseError
from tito.author.mutation import ask_child
from tito.course import notebook
from tito.course.registry import Course, Module
from tito.course.scaffold import without_hidden
from tito.runner import platform

PATIENCE = 900  # seconds for a notebook
SECONDS = 3  # for one trial
IDLE = ("viz", "predict", "refusals", "files", "progress", "data")  # they draw, ask, refuse, read and write
SIGNS = ("add", "subtract", "multiply", "divide", "negative")  # to call one is to write a formula
_REGION = re.compile(rf"(?ms)^([ \t]*){notebook.BEGIN}\n(.*?)^[ \t]*{notebook.END}")


def check(course: Course, module: Module, path: Path) -> Iterator[str]:
    """One sentence for each function that passes a test of an exercise of this notebook."""
    if not platform.CAN_FORK:
        raise CourseError("functions are tried in forks, which this system lacks: use Linux, WSL or macOS")
    later = [target for one in course.modules if one.number >= module.number for target in one.targets.values()]
    later = [f"{course.lib_name}.{target}" for target in later]
    tests = {solution: list(one.tests) for one in module.exercises for solution in one.solution}
    own = f"{course.lib_name}.{module.targets[path]}"
    question = [str(path), course.lib_name, own, later, tests]
    for cell, where, name, test in ask_child("functions", path, course.package.parent, question, PATIENCE):
        yield f"{path.name}, {cell}: {name} in the place of {where} passes {test}"


def main() -> None:
    """What the child process does: a question on standard input, the answer on standard output."""
    path, package, own, later, tests = json.load(sys.stdin)
    answer, sys.stdout = sys.stdout, sys.stderr
    importable = _importable(package, later)
    sys.modules[own] = None  # type: ignore[assignment]  # what would reach it from elsewhere is the student's to write
    json.dump(list(_try_all(notebook.read(Path(path))["cells"], importable, tests)), answer)


def _try_all(cells: list[dict], importable: dict, tests: dict) -> Iterator[tuple[str, str, str, str]]:
    """(cell, function, what was put in its place, the test that passed)."""
    namespace: dict = {"__name__": "__main__"}
    written: set[str] = set()
    core = [cell for cell in cells if notebook.kind(cell) in notebook.CORE]
    sources = {cell["id"]: without_hidden(cell["source"]) for cell in core}
    graded = {cell["id"]: cell["source"] for cell in core}
    whole: dict = {"__name__": "__main__"}  # students read on: what stands below an exercise is visible, too
    for cell in core:
        _run(cell, sources, whole)
    for place, cell in enumerate(core):
        if notebook.kind(cell) == "solution":
            after = core[place + 1 :]
            own = {one["id"] for one in after if one["id"] in tests.get(cell["id"], ())}
            rest = [one["id"] for one in after]
            below = {n: whole[n] for n in _given(after) - {*namespace, *written}}
            for number, (where, inside) in enumerate(_regions(cell["source"])):
                lost = own & _asked(cell["source"], number, where, inside, rest, graded, own, namespace)
                if not lost:
                    continue
                visible = ((n, f) for n, f in namespace.items() if n not in written and n not in SIGNS)
                seen = importable | {n: f for n, f in visible if isinstance(f, FunctionType)}
                for name, function in (below | seen).items():
                    names = dict(namespace)
                    if name in below and isinstance(function, FunctionType):
                        # its lines, copied to where they are tried: they find only what stands above
                        rest_of_it = function.__defaults__, function.__closure__
                        function = FunctionType(function.__code__, names, name, *rest_of_it)
                    names["_try"] = _caller(function)
                    faulty = _replaced(cell["source"], number, _call(inside))
                    found = _passed(faulty, rest, graded, lost, names)
                    yield from ((cell["id"], where, name, test) for test in sorted(found))
        before = set(namespace)
        _run(cell, sources, namespace)
        if notebook.kind(cell) == "solution":  # what students write themselves is theirs to use
            written |= set(namespace) - before


def _run(cell: dict, sources: dict, namespace: dict) -> None:
    with redirect_stdout(io.StringIO()):
        exec(compile(sources[cell["id"]], f"<{cell['id']}>", "exec"), namespace)


def _given(cells: list[dict]) -> set[str]:
    """The plain functions at the top of those cells that students do not write, tests left out."""
    sources = (without_hidden(cell["source"]) for cell in cells if notebook.kind(cell) != "solution")
    nodes = [node for source in sources for node in ast.parse(source).body]
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef) and not node.decorator_list]
    return {node.name for node in functions if not node.name.startswith("test_")}


def _asked(source, number, where, inside, rest, sources, own, namespace) -> set[str]:
    """The tests that ask for this function: neither a stub passes them nor one that hands an input back."""
    lost = own - _passed(_replaced(source, number, "raise NotImplementedError()"), rest, sources, own, namespace)
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.name == where]
    for name in {argument.arg for node in found for argument in node.args.args}:
        handed = {**namespace, "_try": lambda names, name=name: names.get(name)}
        lost -= _passed(_replaced(source, number, _call(inside)), rest, sources, lost, handed)
    return lost


def _importable(package: str, later: list[str]) -> dict[str, FunctionType]:
    """Full name -> function, of every module of the package that a student has and that reckons with arrays."""
    found = {}
    for info in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if info.name in later or info.name.split(".")[1] in IDLE:
            continue
        module = importlib.import_module(info.name)
        for name, function in vars(module).items():
            if isinstance(function, FunctionType) and function.__module__ == info.name and name not in SIGNS:
                found[f"{info.name}.{name}"] = inspect.unwrap(function)
    return found


def _regions(source: str) -> list[tuple[str, str]]:
    """(name of the function around it, code) of every solution region."""
    found = []
    for match in _REGION.finditer(source):
        names = re.findall(r"(?m)^\s*def (\w+)", source[: match.start()])
        found.append((names[-1] if names else "?", textwrap.dedent(match[2])))
    return found


def _replaced(source: str, number: int, code: str) -> str:
    """The cell with other code in one of its regions."""
    count = iter(range(source.count(notebook.BEGIN)))

    def other(match):
        return textwrap.indent(code, match[1]) if next(count) == number else match[0]

    return _REGION.sub(other, source)


def _call(inside: str) -> str:
    """What a student would paste: a call with whatever fits, its result under every name that the solution sets."""
    try:
        body = cast(ast.FunctionDef, ast.parse(f"def f():\n{textwrap.indent(inside, '    ')}").body[0]).body
    except SyntaxError:
        return "return _try(locals())"
    ends = [node for node in body if isinstance(node, ast.Return)]
    if ends and isinstance(ends[0].value, ast.Tuple):
        rest = ", ".join(ast.unparse(part) for part in ends[0].value.elts[1:])
        return f"out = _try(locals())\nreturn out, {rest}"
    if ends:
        return "return _try(locals())"
    names = sorted({_stored(part) for node in body for part in ast.walk(node)} - {""})
    return " = ".join([*names, "_try(locals())"])


def _stored(node: ast.AST) -> str:
    """The name that a piece of code writes to, itself or one of its entries; nothing for other code."""
    if not isinstance(getattr(node, "ctx", None), ast.Store):
        return ""
    node = node.value if isinstance(node, ast.Subscript) else node
    return node.id if isinstance(node, ast.Name) else ""


def _caller(function: Callable) -> Callable:
    """A function of the local names that calls `function`: by the names of its parameters, else by their order."""
    parameters = list(inspect.signature(function).parameters.values())
    needed = [one.name for one in parameters if one.default is one.empty and one.kind == one.POSITIONAL_OR_KEYWORD]

    def call(names: dict):
        if all(name in names for name in needed):
            known = {one.name for one in parameters}
            return function(**{name: value for name, value in names.items() if name in known})
        values = [value for name, value in names.items() if name not in ("self", "out")]
        return function(*values[: max(len(needed), 1)])

    return call


def _passed(source: str, rest: list[str], sources: dict, wanted: set[str], namespace: dict) -> set[str]:
    """Which of the wanted tests pass after this solution cell; tried in a fork for each."""

    def passes(name: str) -> bool:
        for id in ["", *rest[: rest.index(name) + 1]]:
            if id in wanted and id != name:
                continue
            try:
                exec(compile(source if not id else sources[id], "<trial>", "exec"), namespace)
            except BaseException:
                return False
        return True

    return {name for name in sorted(wanted) if platform.in_fork(partial(passes, name), SECONDS)}
