"""What the kernel TinyTorch says beside IPython's own: of a failed test, and of a package that was exported anew.

A test's cell that fails shows its message, the student's own line and the hint's command, in place of the frames of
the test. The whole traceback: `%tb` in the next cell, or the environment variable TINYTORCH_TRACEBACK=full.
"""

import ast
import contextlib
import linecache
import os
import sys
import traceback
from pathlib import Path

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Course, Exercise, Module, find_root
from tito.course.storage import digest
from tito.runner.child import causes, function_of, is_stub, load_beside
from tito.runner.results import forgotten_return, grade_id

VARIABLE = "TINYTORCH_TRACEBACK"
LONGEST = 40  # lines of a message
STALE = (
    "This notebook still holds the package as it was before your last export: Kernel > Restart gives it the new one."
)
_RED, _PLAIN = "\x1b[31m", "\x1b[0m"


def load(shell, here: Path) -> None:
    """Let a shell of IPython, whose notebook lies in the folder `here`, speak to a student of the course there."""
    try:
        course = Course.load(find_root(here))
        module = next(module for module in course.modules if module.path == here.resolve())
    except (CourseError, OSError, StopIteration):
        return  # a notebook of nobody's course
    marks = load_beside("marks")
    shell.ast_transformers.append(_Ends(marks))
    package = _Package(course.package)

    def before(info) -> None:
        marks.fell.clear()
        package.look()

    shell.events.register("pre_run_cell", before)
    shell.events.register("post_run_cell", lambda result: package.remember())
    shell.set_custom_exc((Exception,), _Teller(module, marks).tell)


def _names(cell: dict) -> set[str]:
    """What a cell defines at its top: functions, classes, imports and variables."""
    if cell["cell_type"] != "code":
        return set()
    with contextlib.suppress(SyntaxError, ValueError):
        body = ast.parse("\n".join(line for line in cell["source"].split("\n") if line[:1] not in ("%", "!"))).body
        aliases = {
            a.asname or a.name for node in body if isinstance(node, ast.Import | ast.ImportFrom) for a in node.names
        }
        made = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        targets = (target for node in body if isinstance(node, ast.Assign) for target in node.targets)
        return (
            aliases | made | {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
        )
    return set()


class _Ends:
    """Lets functions that end without `return` say so; see runner/marks.py."""

    def __init__(self, marks):
        self.marks = marks

    def visit(self, tree):
        self.marks.mark_ends(tree)
        return tree


class _Package:
    """The files of the package that this process has imported, as they were then."""

    def __init__(self, folder: Path):
        self.folder = f"{folder}{os.sep}"
        self.known: dict[str, str] = {}

    def files(self) -> dict[str, str]:
        """Those that are imported now -> a digest of what they hold now."""
        found = {}
        for module in list(sys.modules.values()):
            file = getattr(module, "__file__", None) or ""
            if file.startswith(self.folder):
                with contextlib.suppress(OSError):
                    found[file] = digest(Path(file).read_bytes())
        return found

    def remember(self) -> None:
        """After a cell: what it has imported."""
        self.known = self.files() | self.known

    def look(self) -> None:
        """Before a cell: say once of every export that this process does not see it."""
        now = self.files()
        if any(now.get(file, seen) != seen for file, seen in self.known.items()):
            print(STALE)
            self.known |= now


class _Teller:
    """Tells of exceptions in a module's notebook."""

    def __init__(self, module: Module, marks):
        self.module, self.marks = module, marks

    def tell(self, shell, kind, error, frames, tb_offset=None) -> None:
        """Show an exception: shortly if a test's cell failed or something is not written, else as IPython does."""
        sys.last_type, sys.last_value, sys.last_traceback = kind, error, frames  # for %tb
        lines = None
        if os.environ.get(VARIABLE, "") != "full":
            with contextlib.suppress(Exception):  # whatever is odd in a notebook: IPython's own way is left
                lines = self.lines(shell, kind, error)
        if lines is None:
            shell.showtraceback((kind, error, frames), running_compiled_code=True)
        else:
            shell._showtraceback(kind, error, lines)

    def lines(self, shell, kind, error) -> list[str] | None:
        """What to show; None for an error of which nothing better than its traceback is known."""
        cells = [cell for path in self.module.notebooks for cell in notebook.read(path)["cells"]]
        if kind is NameError and (maker := next((cell["id"] for cell in cells if error.name in _names(cell)), None)):
            heading = f"`{error.name}` is made in the cell {maker}, which has not run since the kernel started."
            above = "Choose Run > Run All Above Selected Cell, then run this cell again."
            return [f"{_RED}NameError{_PLAIN}  {heading}", "", above]
        tested = self._tested(shell, cells)
        stub = next((cause for cause in causes(error) if is_stub(cause)), None)
        own, here = self._own_lines(stub or error, shell, cells)
        if stub:
            waits = next((each for each in self.module.exercises if own and own[-1][0] in each.solution), None)
            heading, said = f"{waits.title if waits else 'Something that this cell needs'} is not written yet.", []
            tested = waits or tested
        elif tested:
            heading, said = f"{tested.title}: the test does not pass.", self._message(kind, error)
        else:
            return None
        written = {cell["id"] for cell in cells if notebook.kind(cell) == "solution"}
        shown = {line: None for line in [*[line for line in own if line[0] in written][-1:], *own[-1:]]}
        places = [f"  {place}, line {number}: {source}" for _, place, number, source in shown]
        if not places and (kind is not AssertionError or not str(error)) and here:
            places = [f"  in the test, line {here[0]}: {here[1]}"]
        ends = (
            [f"For a hint, in a terminal: tito hint {self.module.number} {tested.id}"]
            if tested and tested.hints
            else []
        )
        parts = [[f"{_RED}{kind.__name__}{_PLAIN}  {heading}"], said, places, [*ends, "The whole traceback: %tb"]]
        return "\n\n".join("\n".join(part) for part in parts if part).split("\n")

    def _tested(self, shell, cells: list[dict]) -> Exercise | None:
        """The exercise that the running cell tests, by the cell's id or, where no front end tells it, by its text."""
        parent = getattr(shell, "parent_header", None) or {}
        id, source = parent.get("metadata", {}).get("cellId"), parent.get("content", {}).get("code", "").strip()
        graded = [cell for cell in cells if notebook.kind(cell) == "graded"]
        found = [cell for cell in graded if cell["id"] == id] or [
            cell for cell in graded if cell["source"].strip() == source
        ]
        names = {grade_id(cell) for cell in found[:1]}
        return next((exercise for exercise in self.module.exercises if names & {*exercise.tests}), None)

    def _own_lines(self, error, shell, cells: list[dict]) -> tuple[list[tuple], tuple | None]:
        """(the lines of other cells that the error came through, the last line of the running cell).

        A line is (id of its cell, place to show, number, text); a test's own tools, and tests, are left out.
        """
        walked = [
            step for step in traceback.walk_tb(error.__traceback__) if step[0].f_code.co_filename in linecache.cache
        ]
        steps = [(frame.f_code, number) for frame, number in walked if "__tracebackhide__" not in frame.f_locals]
        steps = [step for step in steps if step[0].co_filename in shell.compile._filename_map]
        sources = {cell["source"].strip(): cell for cell in cells}
        own, here = [], None
        for code, number in steps:
            text = linecache.getline(code.co_filename, number).strip()
            cell = sources.get("".join(linecache.getlines(code.co_filename)).strip())
            name = cell["id"] if cell else ""
            if code.co_filename == steps[0][0].co_filename:
                here = number, text
            elif not cell or notebook.kind(cell) != "graded":
                place = function_of(code) or name or "a cell"
                own.append((name, place if place == name or not name else f"{place} (cell {name})", number, text))
        return own, here

    def _message(self, kind, error) -> list[str]:
        said = (str(error).strip() or "the check does not hold").split("\n")
        said = said if len(said) <= LONGEST else [*said[:LONGEST], f"... and {len(said) - LONGEST} lines more"]
        forgotten = forgotten_return(self.marks.fell, said[0])
        return [forgotten, *said] if forgotten else said
