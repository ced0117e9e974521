"""What is wrong with a course notebook as committed: metadata, code cells, graded cells and solutions."""

import ast
import re
from collections import Counter
from collections.abc import Iterator

from tito import CourseError
from tito.course import notebook
from tito.course.scaffold import without_solutions

LONGEST = 45  # lines of a code cell
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FLAGS = {"grade", "locked", "solution"}
_NBGRADER = {"solution": (False, False, True), "graded": (True, True, False), "manual": (True, False, True)}


def lint_notebook(nb: dict) -> list[str]:
    """What is wrong with a course notebook as committed, in plain words; empty if nothing is."""
    found = [] if nb.get("nbformat_minor", 0) >= 5 else ["nbformat_minor must be 5 or more: cells need ids"]
    marks = [cell["metadata"].get("nbgrader", {}).get("grade_id") for cell in nb["cells"]]
    for what, values in (("id", [cell["id"] for cell in nb["cells"]]), ("grade_id", filter(None, marks))):
        found += [f"{what} {value!r} stands on {n} cells" for value, n in Counter(values).items() if n > 1]
    for number, cell in enumerate(nb["cells"], 1):
        problems = [*_lint_metadata(cell), *(_lint_code(cell) if cell["cell_type"] == "code" else ())]
        found += [f"{notebook.label(number, cell)}: {problem}" for problem in problems]
    return found


def _lint_metadata(cell: dict) -> Iterator[str]:
    if not _ID.fullmatch(cell["id"]):
        yield "an id is 1 to 64 letters, digits, _ and -"
    marks = cell["metadata"].get("nbgrader")
    if marks is None:
        return
    if marks.get("schema_version") != 3 or not all(isinstance(marks.get(flag), bool) for flag in _FLAGS):
        yield "nbgrader needs schema_version 3 and grade, locked and solution, each true or false"
    if unknown := marks.keys() - _FLAGS - {"schema_version", "grade_id", "points", "task"}:
        yield f"nbgrader does not know {', '.join(sorted(unknown))}"
    if ("points" in marks) != bool(marks.get("grade")):
        yield "points belong on graded cells, on each of them, and nowhere else"
    if marks.get("points", 0) < 0:
        yield f"points must not be negative, and are {marks['points']}"
    if marks.get("grade_id") != cell["id"]:
        yield f"grade_id {marks.get('grade_id')!r} must equal the cell's id"
    flags = tuple(marks.get(flag) for flag in sorted(_FLAGS))
    if flags != _NBGRADER.get(notebook.kind(cell)) or marks.get("task"):
        yield "nbgrader cells are solution, graded and locked, or manual (graded and solution)"


def _lint_code(cell: dict) -> Iterator[str]:
    source, lines = cell["source"], notebook.python_lines(cell["source"])
    if cell.get("outputs") or cell.get("execution_count") is not None:
        yield "holds outputs or an execution count: clear them"
    if len(lines) > LONGEST:
        yield f"has {len(lines)} lines, more than {LONGEST}: split it"
    if any(line.startswith("# %%") for line in lines):
        yield "a line `# %%` would split the cell in its .py twin"
    if problem := notebook.misplaced(source) if notebook.kind(cell) == "exploration" else notebook.fault(source):
        yield f"line {problem[0]}: {problem[1]}"
    elif notebook.kind(cell) == "graded":
        yield from _lint_graded(source)
    elif notebook.kind(cell) == "solution":
        yield from _lint_solution(source)


def _lint_graded(source: str) -> Iterator[str]:
    tree = ast.parse(source)
    tests = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    calls = {getattr(call.func, "id", None) for node in tree.body if (call := _call(node))}
    if tests - calls:
        yield f"defines {', '.join(sorted(tests - calls))} without calling it: no error would mean full points"
    if source.count(notebook.BEGIN_HIDDEN) != source.count(notebook.END_HIDDEN):
        yield "a hidden-test region has no end or no beginning"
    if notebook.BEGIN in source:
        yield "a solution region belongs in a solution cell"


def _lint_solution(source: str) -> Iterator[str]:
    if not notebook.directives(source).keys() & notebook.EXPORTS:
        yield "a solution cell begins with `#| export`"
    regions = _regions(source)
    if not regions:
        yield f"needs {notebook.BEGIN} .. {notebook.END}, in this order: without them the whole cell would be replaced"
        return
    owners = [_owner(ast.parse(source), *region) for region in regions]
    if None in owners:
        yield f"line {regions[owners.index(None)][0]}: a solution region must be inside one function"
    if len(set(owners)) < len(owners):
        yield "a function has more than one solution region"
    try:
        compile(without_solutions(source), "<stub>", "exec", dont_inherit=True)
    except CourseError as error:
        yield str(error)
    except SyntaxError as error:
        yield f"without its solution the cell does not compile: {error.msg}"


def _regions(source: str) -> list[tuple[int, int]]:
    """(first, last) line of every solution region; empty unless every begin has its end."""
    numbered = list(enumerate(notebook.python_lines(source), 1))
    marks = [(n, notebook.BEGIN in line) for n, line in numbered if notebook.BEGIN in line or notebook.END in line]
    if len(marks) % 2 or any(begins == bool(n % 2) for n, (_, begins) in enumerate(marks)):
        return []
    return [(marks[n][0], marks[n + 1][0]) for n in range(0, len(marks), 2)]


def _owner(tree: ast.Module, first: int, last: int) -> int | None:
    """The line of the innermost function that holds the statements of lines first..last; None if that's no function."""
    nodes = list(ast.walk(tree))
    inside = [node for node in nodes if isinstance(node, ast.stmt) and first < node.lineno < last]
    end = max((node.end_lineno or node.lineno for node in inside), default=last)
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    around = (node for node in nodes if isinstance(node, kinds) and node.lineno < first)
    holders = [node for node in around if end <= (node.end_lineno or 0)]
    owner = max(holders, key=lambda node: node.lineno, default=None)
    return None if owner is None or isinstance(owner, ast.ClassDef) else owner.lineno


def _call(node: ast.stmt) -> ast.Call | None:
    return node.value if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
