"""What runs inside the fresh process that `tito` starts. Started by its path; imports nothing else from tito.

Requests come in on one pipe and replies go out on another, one JSON object a line, so nothing that a student's code
prints can mix with a result. Usage: python -P child.py MODE PACKAGE_FOLDER READ_FD WRITE_FD
"""

import importlib
import json
import linecache
import os
import re
import resource
import sys
import time
import traceback
import types
from pathlib import Path

LONGEST_MESSAGE = 4000
HERE = Path.cwd()
LARGEST_FILE = 512 << 20  # bytes: an endless print into a file ends here
LONGEST_LIFE = 3600  # seconds of CPU: an endless loop whose parent was killed ends here
STUB = "raise NotImplementedError()"


def main() -> None:
    """Serve requests of one mode until the parent closes its pipe."""
    mode, package, inbox, outbox = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    for descriptor in (inbox, outbox):
        os.set_inheritable(descriptor, False)
    forget_editable_installs()
    lower(resource.RLIMIT_FSIZE, LARGEST_FILE)
    lower(resource.RLIMIT_CPU, LONGEST_LIFE)
    serve = {"cells": serve_cells, "imports": serve_imports, "pytest": serve_pytest}[mode]
    # Bound now, so a student who patches json or os does not silence the replies.
    encode, write = json.JSONEncoder().encode, os.write

    def reply(**message) -> None:
        for stream in (sys.__stdout__, sys.__stderr__):
            stream.flush()
        line = memoryview(encode({**message, "origin": origin()}).encode() + b"\n")
        while line:
            line = line[write(outbox, line) :]

    with open(inbox, encoding="utf-8") as requests:
        serve((json.loads(line) for line in requests), reply, package)


def forget_editable_installs() -> None:
    """Drop the finders of editable installs: they would lend an installed package's modules where this one has none."""
    kept = [finder for finder in sys.meta_path if not str(getattr(finder, "__module__", "")).startswith("__editable__")]
    sys.meta_path[:] = kept


def lower(limit: int, value: int) -> None:
    """Set one of the system's limits for this process, unless it is lower already."""
    _, hard = resource.getrlimit(limit)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(limit, (value, value))


def origin() -> str | None:
    """The file that `tinytorch` was imported from, if it was."""
    return getattr(sys.modules.get("tinytorch"), "__file__", None)


def serve_cells(requests, reply, package: Path) -> None:
    """Run a notebook's cells one by one in one namespace, as a kernel would."""
    notebook = types.ModuleType("__main__")
    notebook.display = print
    sys.modules["__main__"] = notebook
    for request in requests:
        outcome = run_cell(request, notebook.__dict__, package)
        reply(ticket=request["ticket"], **outcome)


def run_cell(cell: dict, namespace: dict, package: Path) -> dict:
    """Execute one cell; what it raised, if it did, comes back as plain data."""
    name, source = f"<{cell['id']}>", cell["source"]
    if cell["magics"]:
        source = re.sub(r"(?m)^(\s*)[%!].*$", r"\1pass", source)
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    start = time.perf_counter()
    try:
        exec(compile(source, name, "exec", dont_inherit=True), namespace)
        outcome = {"state": "passed"}
    except BaseException as error:  # sys.exit and KeyboardInterrupt are a cell's failures too
        outcome = describe(error, package)
    return {**outcome, "seconds": time.perf_counter() - start}


def serve_imports(requests, reply, package: Path) -> None:
    """Import modules by name and say which of them failed, and why."""
    for request in requests:
        try:
            importlib.import_module(request["name"])
            outcome = {"state": "passed"}
        except BaseException as error:
            outcome = describe(error, package)
        reply(ticket=request["ticket"], **outcome)


def serve_pytest(requests, reply, package: Path) -> None:
    """Run one pytest session; every test's start and end, and the way it ended, are told as they happen."""
    import pytest

    for request in requests:
        code = pytest.main(request["arguments"], plugins=[Reporter(reply, package)])
        reply(event="end", code=int(code), ticket=request["ticket"])


class Reporter:
    """A pytest plugin that sends plain data to the parent."""

    def __init__(self, reply, package: Path):
        self.reply, self.package = reply, package

    def pytest_runtest_logstart(self, nodeid, location):
        self.reply(event="start", test=nodeid)

    def pytest_runtest_logreport(self, report):
        if report.failed or report.skipped or report.when == "call":
            self.reply(event="result", test=report.nodeid, outcome=report.outcome)

    def pytest_collectreport(self, report):
        if report.failed or report.skipped:
            self.reply(event="result", test=report.nodeid, outcome=report.outcome)

    def pytest_exception_interact(self, node, call, report):
        error = call.excinfo.value
        if type(error).__name__ == "CollectError" and error.__cause__ is not None:
            error = error.__cause__
        self.reply(event="failure", test=node.nodeid, **describe(error, self.package))


def describe(error: BaseException, package: Path) -> dict:
    """An exception as data: its type, its message and the reader's own lines that it passed through."""
    stub = next((cause for cause in causes(error) if is_stub(cause)), None)
    try:
        message = str(error)
    except Exception:
        message = "(the message itself could not be made)"
    if isinstance(error, SystemExit):
        message = f"It called sys.exit({message}), which ends Python."
    lines = lines_concerned(stub or error, package)
    state = "stub" if stub else "failed"
    return {"state": state, "type": type(error).__name__, "message": message[:LONGEST_MESSAGE], "lines": lines}


def causes(error: BaseException | None):
    """The exception and those it came from, nearest first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
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
    last: dict[str, int] = {}
    walked = [step for step in traceback.walk_tb(error.__traceback__) if "__tracebackhide__" not in step[0].f_locals]
    steps = [(frame.f_code.co_filename, number) for frame, number in walked]
    if isinstance(error, SyntaxError) and error.filename:
        steps.append((error.filename, error.lineno or 0))
    for file, number in steps:
        last.pop(file, None)
        last[file] = number
    places = ((place(file, package), file, number) for file, number in last.items())
    return [
        {"place": where, "line": number, "source": linecache.getline(file, number).strip()}
        for where, file, number in places
        if where
    ]


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
