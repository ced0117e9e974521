"""What runs inside the process that `tito` starts. Started by its path; imports nothing from tito.

A connection to the parent carries requests and replies, one JSON object a line, so nothing that a student's code
prints can mix with a result. Usage: python -P child.py MODE PACKAGE_FOLDER, with "PORT WORD" on standard input.
"""

import ast
import contextlib
import functools
import importlib
import importlib.util
import io
import json
import linecache
import os
import queue
import re
import reprlib
import socket
import sys
import threading
import time
import traceback
import types
from pathlib import Path

LONGEST_MESSAGE = 4000
HERE = Path.cwd()
LARGEST_FILE = 512 << 20  # bytes: an endless print into a file ends here
LONGEST_LIFE = 3600  # seconds of CPU: where nothing else could end it
STUB = "raise NotImplementedError()"
PLACEHOLDER = "raise ModuleNotFoundError('Module "  # of what is not exported yet: its message says all
LONGEST_CASE = 300


def main() -> None:
    """Serve requests of one mode until the parent closes the connection."""
    mode, package = sys.argv[1], Path(sys.argv[2])
    forget_editable_installs(package)
    platform = load_beside("platform")
    platform.confine(LARGEST_FILE, LONGEST_LIFE)
    serve = {"cells": serve_cells, "imports": serve_imports, "pytest": serve_pytest}[mode]
    port, word = sys.stdin.readline().split()
    connection = socket.create_connection(("127.0.0.1", int(port)))
    # Bound now, so a student who patches json, os or socket does not silence the replies.
    encode, send, write = json.JSONEncoder().encode, connection.sendall, os.write
    requests: queue.SimpleQueue = queue.SimpleQueue()
    parent, leave = os.getppid(), platform.leave
    try:
        threading.Thread(target=listen, args=(connection, requests.put, lambda: leave(1, parent)), daemon=True).start()
    except RuntimeError as error:
        send(encode({"word": word, "trouble": platform.out_of(error)}).encode() + b"\n")
        return
    send(encode({"word": word}).encode() + b"\n")

    def reply(**message) -> None:
        for stream, number in (sys.__stdout__, 1), (sys.__stderr__, 2):
            if stream is not None:
                stream.flush()
            if "ticket" in message:  # when it comes, the parent has all that was printed before
                with contextlib.suppress(OSError):
                    write(number, message["ticket"].encode())
        send(encode({**message, "origin": origin()}).encode() + b"\n")

    serve(iter(requests.get, None), reply, package)


@functools.cache
def load_beside(name: str) -> types.ModuleType:
    """A file beside this one, by its path: nothing of tito is on the path of modules."""
    spec = importlib.util.spec_from_file_location(f"tito_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def listen(connection: socket.socket, put, leave) -> None:
    """Take requests from the connection; at its end the parent is gone, or cut off, and this process goes too."""
    decode, pieces = json.JSONDecoder().decode, b""
    try:
        while piece := connection.recv(1 << 16):
            *lines, pieces = (pieces + piece).split(b"\n")
            for line in lines:
                put(decode(line.decode()))
    finally:
        leave()


class Others:
    """A finder that finds what another does, but for some packages."""

    def __init__(self, finder, hidden: set[str]):
        self.finder, self.hidden = finder, hidden

    def find_spec(self, name, path=None, target=None):
        """As the other finder; None for a hidden package and what is in it."""
        return None if name.partition(".")[0] in self.hidden else self.finder.find_spec(name, path, target)


def forget_editable_installs(folder: Path) -> None:
    """Keep editable installs from lending what the packages in `folder` do not have; other packages stay."""
    hidden = {"tinytorch", *(path.name for path in folder.iterdir())}
    for place, finder in enumerate(sys.meta_path):
        if str(getattr(finder, "__module__", "")).startswith("__editable__"):
            sys.meta_path[place] = Others(finder, hidden)


def origin() -> str | None:
    """The file that `tinytorch` was imported from, if it was."""
    return getattr(sys.modules.get("tinytorch"), "__file__", None)


def serve_cells(requests, reply, package: Path) -> None:
    """Run a notebook's cells one by one in one namespace, as a kernel would."""
    notebook, tests = types.ModuleType("__main__"), Tests()
    vars(notebook).update(display=print, get_ipython=Shell)
    sys.modules["__main__"] = notebook
    for request in requests:
        names = notebook.__dict__
        beside = tests.beside(names, request["source"]) if request.get("graded") else contextlib.nullcontext(names)
        with beside as namespace:
            outcome = run_cell(request, namespace, package)
        reply(ticket=request["ticket"], **outcome)


class Tests:
    """The names of the graded cells, beside the notebook's: a function of the student's keeps the helper that it knows
    by a name, also where a test has a helper of that name. As when a submission is graded.
    """

    def __init__(self):
        self.names, self.own = {"__name__": "__main__"}, set()

    @contextlib.contextmanager
    def beside(self, notebook: dict, source: str):
        """The names for a test; the notebook has what it imports, and afterwards all, where it has no such names."""
        with contextlib.suppress(Exception):
            tree = ast.parse(source)
            tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
            made: dict = {}
            exec(compile(tree, "<imports>", "exec"), made)
            for name in made.keys() - {"__builtins__"}:
                notebook.setdefault(name, made[name])
        self.names.update({name: value for name, value in notebook.items() if name not in self.own})
        before = dict(self.names)
        yield self.names
        self.own |= {name for name, value in self.names.items() if name not in before or before[name] is not value}
        for name in self.own & self.names.keys():
            notebook.setdefault(name, self.names[name])


class Shell:
    """What `get_ipython()` gives where there is no IPython: every request is answered with nothing."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *inputs, **named: None


def run_cell(cell: dict, namespace: dict, package: Path) -> dict:
    """Execute one cell; what it raised, if it did, comes back as plain data."""
    name, source = f"<{cell['id']}>", cell["source"]
    if cell["magics"]:
        source = re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source)
    linecache.cache[name] = (len(source), None, io.StringIO(source, newline="").readlines(), name)
    marks = load_beside("marks")
    marks.fell.clear()
    start = time.perf_counter()
    try:
        awaits = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        tree = compile(source, name, "exec", awaits | ast.PyCF_ONLY_AST, dont_inherit=True)
        marks.mark_ends(tree)
        waiting = eval(compile(tree, name, "exec", awaits, dont_inherit=True), namespace)
        if waiting is not None:
            import asyncio

            asyncio.run(waiting)
        outcome: dict = {"state": "passed"}
    except BaseException as error:  # sys.exit and KeyboardInterrupt are a cell's failures too
        outcome = {**describe(error, package), "fell": [*marks.fell]}
    return {**outcome, "seconds": time.perf_counter() - start}


def serve_imports(requests, reply, package: Path) -> None:
    """Import modules by name and say which of them failed, and why."""
    for request in requests:
        try:
            importlib.import_module(request["name"])
            outcome: dict = {"state": "passed"}
        except BaseException as error:
            outcome = describe(error, package)
        reply(ticket=request["ticket"], **outcome)


def serve_pytest(requests, reply, package: Path) -> None:
    """Run one pytest session; every test's start and end, and the way it ended, are told as they happen."""
    import pytest

    for request in requests:
        load_beside("marks").watch(request["watched"])
        code = pytest.main(request["arguments"], plugins=[Reporter(reply, package)])
        reply(event="end", code=int(code), ticket=request["ticket"])


class Reporter:
    """A pytest plugin that sends plain data to the parent."""

    def __init__(self, reply, package: Path):
        self.reply, self.package, self.marks = reply, package, load_beside("marks")

    def pytest_runtest_logstart(self, nodeid, location):
        self.marks.ran.clear()
        self.marks.fell.clear()
        self.reply(event="start", test=nodeid)

    def pytest_runtest_logreport(self, report):
        if report.failed or report.skipped or report.when == "call":
            told = {"reason": reason_of(report), "ran": sorted(self.marks.ran)}
            self.reply(event="result", test=report.nodeid, outcome=report.outcome, **told)

    def pytest_collectreport(self, report):
        if report.failed or report.skipped:
            told = {"reason": reason_of(report), "ran": []}
            self.reply(event="result", test=report.nodeid, outcome=report.outcome, **told)

    def pytest_exception_interact(self, node, call, report):
        error = call.excinfo.value
        if type(error).__name__ == "CollectError" and error.__cause__ is not None:
            error = error.__cause__
        told = {"case": case_of(node, error), "fell": [*self.marks.fell], **describe(error, self.package)}
        told["fell"] = told["fell"] if "None" in told["message"] else []  # elsewhere nothing may be what was wanted
        self.reply(event="failure", test=node.nodeid, **told)


def reason_of(report) -> str:
    """Why a test was skipped; nothing otherwise."""
    told = report.longrepr if report.skipped else None
    return str(told[2] if isinstance(told, tuple) else told or "").removeprefix("Skipped: ")


def case_of(node, error: BaseException) -> str:
    """The values that a test failed with, in one line: of its parameters, or those that Hypothesis has found."""
    given = getattr(getattr(node, "callspec", None), "params", {})
    shown = [f"{name}={short(value)}" for name, value in given.items()]
    for note in getattr(error, "__notes__", ()):
        if match := re.match(r"(?:Falsifying example|Failing test case): \w+\((.*)\)", note, re.DOTALL):
            lines = (line.partition("  # ")[0].strip() for line in match[1].splitlines())
            shown.append(" ".join(filter(None, lines)).strip(" ,"))
            break
    return ", ".join(filter(None, shown))[:LONGEST_CASE]


def short(value: object) -> str:
    """A value of a test's case as one would write it, shortened."""
    if callable(value) and hasattr(value, "__name__"):
        return value.__name__
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"array of {value.shape}"
    return " ".join(reprlib.repr(value).split())


def describe(error: BaseException, package: Path) -> dict:
    """An exception as data: its type, its message and the reader's own lines that it passed through."""
    stub = next((cause for cause in causes(error) if is_stub(cause)), None)
    try:
        message = str(error)
    except Exception:
        message = "(the message itself could not be made)"
    if isinstance(error, SystemExit):
        message = f"It called sys.exit({message}), which ends Python."
    message += "".join(f" ({note})" for note in getattr(error, "__notes__", ()) if note.startswith("in "))
    lines = lines_concerned(stub or error, package)
    state = "stub" if stub else "failed"
    return {"state": state, "type": type(error).__name__, "message": message[:LONGEST_MESSAGE], "lines": lines}


def causes(error: BaseException | None):
    """The exception and those it came from, nearest first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        if isinstance(error, BaseExceptionGroup):  # Hypothesis' way to say that it found several
            yield from (cause for one in error.exceptions for cause in causes(one))
        error = error.__cause__ or error.__context__


def is_stub(error: BaseException) -> bool:
    """Whether this is the line that stands in a scaffold where the student's code will stand."""
    if not isinstance(error, NotImplementedError) or error.__traceback__ is None:
        return False
    frame, number = list(traceback.walk_tb(error.__traceback__))[-1]
    return linecache.getline(frame.f_code.co_filename, number).strip() == STUB


def lines_concerned(error: BaseException, package: Path) -> list[dict]:
    """The last line in each cell, package file or test file on the way, outermost first.

    Left out are libraries, and functions that say `__tracebackhide__`, as pytest has it: a test's own tools.
    """
    last: dict[str, tuple[int, str]] = {}
    walked = [*traceback.walk_tb(error.__traceback__)]
    if error.__cause__ is not None:  # the sentence was made elsewhere: the reader's own line is where it came from
        walked += traceback.walk_tb(error.__cause__.__traceback__)
    walked = [step for step in walked if "__tracebackhide__" not in step[0].f_locals]
    steps = [(frame.f_code.co_filename, number, function_of(frame.f_code)) for frame, number in walked]
    if isinstance(error, SyntaxError) and error.filename:
        steps.append((error.filename, error.lineno or 0, ""))
    for file, number, function in steps:
        last.pop(file, None)
        last[file] = number, function
    found = []
    for file, (number, function) in last.items():
        source = linecache.getline(file, number).strip()
        if (where := place(file, package)) and not source.startswith(PLACEHOLDER):
            given = Path(file).is_relative_to(package)
            found.append({"place": where, "line": number, "source": source, "function": function, "given": given})
    return found


def function_of(code: types.CodeType) -> str:
    """The function or method that a line stands in, as one would call it; nothing outside of any."""
    *_, found = ["", *(name for name in code.co_qualname.split(".<locals>.") if not name.startswith("<"))]
    return found.partition(".<")[0]


def place(file: str, package: Path) -> str | None:
    """A cell's id, or the path of a file of the package or of the tests; None for anybody else's file."""
    if file.startswith("<") and file.endswith(">"):
        return file[1:-1] if file in linecache.cache else None
    path = Path(file)
    for base in (package, HERE):
        if path.is_relative_to(base) and "site-packages" not in path.parts:
            return str(path.relative_to(base))
    return None


if __name__ == "__main__":
    main()
