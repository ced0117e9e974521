"""Plants a mistake in a notebook's solution and reads what its graded cells say to a student, who sees no hidden tests.

Tests ask through the fixture `messages` (conftest.py). As a script: a question on standard input, answers on standard
output, so that a notebook's cells are executed in a process of their own; each mistake is tried in a fork of it.
"""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REGION = re.compile(r"(?ms)^([ \t]*)### BEGIN SOLUTION\n.*?^[ \t]*### END SOLUTION")


def messages(path, mistakes):
    """{name: what the first graded cell that fails says, "" if all pass} for {name: (solution cell, code, ...)}.

    The pieces of code take the place of the cell's solution regions, in order; None leaves a region as it is.
    """
    command = [sys.executable, "-P", __file__, str(ROOT / "modules" / path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(command, input=json.dumps(mistakes), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def plant(source, pieces):
    """A solution cell's source with other code in its regions."""
    left = iter(pieces)

    def other(region):
        code = next(left, None)
        return region[0] if code is None else textwrap.indent(textwrap.dedent(code).strip("\n"), region[1])

    return REGION.sub(other, source)


def answers(path, mistakes):
    """Run solution and graded cells in order, as `tito test` does, and try each mistake where it belongs."""
    from tito.course import notebook
    from tito.course.scaffold import without_hidden
    from tito.runner import child

    child.marks, run_cell = child.load_beside("marks"), child.run_cell

    core = [cell for cell in notebook.read(Path(path))["cells"] if notebook.kind(cell) in notebook.CORE]
    cells = [{"id": cell["id"], "source": without_hidden(cell["source"]), "magics": False} for cell in core]
    graded = {cell["id"] for cell in core if notebook.kind(cell) == "graded"}
    unknown = {cell for cell, *_ in mistakes.values()} - {cell["id"] for cell in cells}
    assert not unknown, f"{path} has no cells {unknown}"
    namespace, found = {"__name__": "__main__"}, {}
    for at, cell in enumerate(cells):
        for name, (where, *pieces) in mistakes.items():
            if where == cell["id"]:
                faulty = {**cell, "source": plant(cell["source"], pieces)}
                assert faulty != cell, f"{name}: nothing was planted in {where}"
                found[name] = _forked([faulty, *cells[at + 1 :]], graded, namespace, run_cell)
        assert run_cell(cell, namespace, ROOT)["state"] == "passed", f"the reference fails in {cell['id']}"
    return found


def _forked(cells, graded, namespace, run_cell):
    """The first message of a graded cell, with its notes; the child process takes its faulty definitions with it."""
    reading, writing = os.pipe()
    fork = getattr(os, "fork", None)  # see conftest.py
    if not fork():
        said = ""
        for cell in cells:
            outcome = run_cell(cell, namespace, ROOT)
            if outcome["state"] != "passed" and cell["id"] in graded:
                said = f"{cell['id']}: {outcome['message']}"
                break
        os.write(writing, said.encode()[:60_000])
        os._exit(0)
    os.close(writing)
    with open(reading, encoding="utf-8") as pipe:
        said = pipe.read()
    getattr(os, "wait", int)()
    return said


if __name__ == "__main__":
    question, answer, sys.stdout = json.load(sys.stdin), sys.stdout, sys.stderr
    json.dump(answers(sys.argv[1], question), answer)
