"""Marks that a child puts into a student's functions before they run: which of them ran, which forgot to return.

They change neither what the code does nor its line numbers. Loaded by child.py; imports nothing from tito.
"""

import ast
import builtins
import dis
import re
import sys
from importlib.machinery import PathFinder, SourceFileLoader

CELL = re.compile(r"# %% .*\.ipynb #(\S+)")  # how nbdev marks, in a file of the package, where a cell begins
VALUED = ("__call__", "__getitem__", "__len__", "__iter__", "__next__")  # of the special methods those that return

ran: set[str] = set()  # cells of which a function was called
fell: list[str] = []  # functions whose end was reached without a `return`, although their caller uses what they give
_dropped: dict[tuple, bool] = {}


def functions(tree: ast.Module):
    """(name to show, node) of the functions of a file or cell, and of the methods of its classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{each.name}", each) for each in node.body if isinstance(each, ast.FunctionDef))


def call(mark: str, word: str, place: ast.stmt) -> ast.stmt:
    """The statement `mark(word)`, at the place of another."""
    made = ast.Expr(ast.Call(ast.Name(mark, ast.Load()), [ast.Constant(word)], []))
    return ast.fix_missing_locations(ast.copy_location(made, place))


# Which functions a test runs


class Watched(SourceFileLoader):
    """Loads a file of the package so that every function says, when it is called, which cell it comes from."""

    def source_to_code(self, data, path, *, _optimize=-1):
        text = data.decode() if isinstance(data, bytes) else data
        tree = ast.parse(text, path)
        mark_ends(tree)
        begins = [(n, found[1]) for n, line in enumerate(text.split("\n"), 1) if (found := CELL.match(line))]
        for _, node in functions(tree):
            if cell := next((cell for line, cell in reversed(begins) if line < node.lineno), None):
                documented = len(node.body) > 1 and ast.get_docstring(node, clean=False) is not None
                node.body.insert(int(documented), call("__tito_ran__", cell, node.body[0]))
        return compile(tree, path, "exec", dont_inherit=True, optimize=_optimize)


class Finder:
    """Finds the modules that are watched, and no others."""

    def __init__(self, names):
        self.names = frozenset(names)

    def find_spec(self, name, path=None, target=None):
        spec = PathFinder.find_spec(name, path, target) if name in self.names else None
        if spec and spec.origin:
            spec.loader = Watched(name, spec.origin)
        return spec


def watch(names) -> None:
    """From now on, modules of these names fill `ran`."""
    vars(builtins)["__tito_ran__"] = ran.add
    sys.meta_path.insert(0, Finder(names))


# Which functions forget to return


def mark_ends(tree: ast.Module) -> None:
    """Let every function that can come to its end without `return` tell so, into `fell`."""
    vars(builtins)["__tito_fell__"] = note
    for name, node in functions(tree):
        plain = not node.name.startswith("__") or node.name in VALUED
        if (
            plain
            and goes_on(node.body)
            and not any(isinstance(each, ast.Yield | ast.YieldFrom) for each in ast.walk(node))
        ):
            node.body.append(call("__tito_fell__", name, node.body[-1]))


def note(name: str) -> None:
    """A function has come to its end: remember it if its caller does something with what it gives."""
    frame = sys._getframe(2)
    key = frame.f_code, frame.f_lasti
    if key not in _dropped:
        steps = [(step.offset, step.opname) for step in dis.get_instructions(frame.f_code)]
        after = [opname for offset, opname in steps if offset > frame.f_lasti]
        _dropped[key] = after[:1] == ["POP_TOP"]
    if not _dropped[key] and name not in fell:
        fell.append(name)


def goes_on(body: list[ast.stmt]) -> bool:
    """Whether the end of some statements can be reached, as far as their form tells."""
    return all(map(_completes, body))


def _completes(node: ast.stmt) -> bool:
    if isinstance(node, ast.Return | ast.Raise | ast.Continue | ast.Break):
        return False
    if isinstance(node, ast.If):
        return goes_on(node.body) or goes_on(node.orelse)
    if isinstance(node, ast.While) and isinstance(node.test, ast.Constant) and node.test.value:
        return any(isinstance(each, ast.Break) for each in ast.walk(node))
    if isinstance(node, ast.With):
        return goes_on(node.body)
    if isinstance(node, ast.Try):
        ways = [[*node.body, *node.orelse], *(handler.body for handler in node.handlers)]
        return any(map(goes_on, ways)) and goes_on(node.finalbody)
    if isinstance(node, ast.Match):
        return not any(_takes_all(case) for case in node.cases) or any(goes_on(case.body) for case in node.cases)
    return True


def _takes_all(case: ast.match_case) -> bool:
    return case.guard is None and isinstance(case.pattern, ast.MatchAs) and case.pattern.pattern is None
