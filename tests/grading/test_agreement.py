# ruff: noqa: E501
"""`tito test` and the grade agree on whatever a student makes of a right notebook, hidden tests aside."""

import copy
import random
import sys
from pathlib import Path

import pytest

from tito.course import notebook
from tito.course.registry import Course
from tito.course.scaffold import released, without_hidden
from tito.grading import grade, plan
from tito.grading.sandbox import isolation
from tito.grading.submissions import parse
from tito.runner.testing import Options, _cells, run_cells

ROOT = Path(__file__).resolve().parents[2]
COURSE = Course.load(ROOT)
MODULE = COURSE.module("02")
PATH = MODULE.notebooks[0]
SOLUTIONS = [cell["id"] for cell in notebook.read(PATH)["cells"] if notebook.kind(cell) == "solution"]
HELPERS = ("why", "calm", "hold", "_positive", "test_unit_relu", "math")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="grading needs Linux")


def code(source, number, **metadata):
    return {
        "cell_type": "code",
        "id": f"own-{number}",
        "metadata": metadata,
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


def place_of(cells, id):
    return next(place for place, cell in enumerate(cells) if cell["id"] == id)


def scratch(cells, rng, number):
    """A cell of one's own somewhere: plots, prints, mistakes, magics, what a kernel alone has."""
    text = rng.choice([
        "print('here')", "1 / 0", "%matplotlib inline\nx = (7\n% 4)\nassert x == 3", "%%time\nown = 1", "!ls\nfiles = !ls", "get_ipython().run_line_magic('matplotlib', 'inline')",
        "import asyncio\nasync def f(): return 1\nawait asyncio.sleep(0.001)\nassert await f() == 1", "import asyncio\nawait asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))",
        "np.random.seed(1)", "import matplotlib.pyplot as plt, math", "from IPython.display import display", "display(1)", "raise KeyboardInterrupt", "def broken(:", "from tinytorch.core.tensor import *", "import nothing_of_the_kind", "?print", "relu?",
    ])  # fmt: skip
    cells.insert(rng.randrange(1, len(cells)), code(text, number))


def below(cells, rng, number):
    """The stub stays, and the solution stands in a new cell right below it."""
    place = place_of(cells, rng.choice(SOLUTIONS))
    original = next(cell for cell in notebook.read(PATH)["cells"] if cell["id"] == cells[place]["id"])
    cells.insert(
        place + 1,
        code(cells[place]["source"], number, **rng.choice([{}, {"nbgrader": cells[place]["metadata"]["nbgrader"]}])),
    )
    cells[place] = {**cells[place], "source": released(original)}


def helper(cells, rng, number):
    """A solution calls a function of the student's, from a cell above or the same, named as it likes."""
    name, place = rng.choice(HELPERS), place_of(cells, rng.choice(SOLUTIONS))
    first = cells[place]["source"].split("\n")
    at = next((n for n, line in enumerate(first) if "BEGIN SOLUTION" in line), None)
    if at is None:  # a stub by now
        return
    made = f"def {name}(a):\n    return a"
    argument = next(line for line in first if line.startswith("def ")).split("(")[1].split(",")[0].split(")")[0]
    first.insert(at + 1, f"    {argument} = {name}({argument})")
    if rng.random() < 0.5:
        cells[place] = {**cells[place], "source": "\n".join(first) + "\n" + made}
    else:
        cells[place] = {**cells[place], "source": "\n".join(first)}
        cells.insert(place if rng.random() < 0.7 else place + 1, code(made, number))


def again(cells, rng, number):
    """A function is defined once more, right or wrong, somewhere."""
    name = rng.choice(["relu", "leaky_relu", "sigmoid", "gelu", "softmax", "log_softmax"])
    text = rng.choice(
        [
            f"{name} = {name}",
            f"def {name}(x, *more, **named):\n    return x",
            f"_kept = {name}\ndef {name}(*inputs, **named):\n    return _kept(*inputs, **named)",
            f"del {name}",
        ]
    )
    cells.insert(rng.randrange(1, len(cells)), code(text, number))


def wrong(cells, rng, number):
    """A mistake in a solution."""
    place = place_of(cells, rng.choice(SOLUTIONS))
    old, new = rng.choice(
        [
            ("maximum", "minimum"),
            ("x", "y"),
            ("np.exp", "np.log"),
            ("axis", "0 * axis"),
            ("-", "+"),
            ("return", "pass; return"),
            ("1", "2"),
            ("### BEGIN SOLUTION", "return x"),
        ]
    )
    body = cells[place]["source"].split("BEGIN SOLUTION", 1)
    cells[place] = {
        **cells[place],
        "source": "BEGIN SOLUTION".join(
            [body[0].replace("### ", "### ", 1), body[-1].replace(old, new)] if len(body) > 1 else body
        ),
    }


def head(cells, rng, number):
    """More at the head or the end of a solution cell."""
    place, lines = (
        place_of(cells, rng.choice(SOLUTIONS)),
        [
            "import math, json",
            "import matplotlib.pyplot as plt",
            "import pandas as pd" if rng.random() < 0 else "import IPython",
            "print('hello')",
            "del np",
            "raise ValueError('end')",
            "import numpy as np",
            "np = np",
        ],
    )
    line, source = rng.choice(lines), cells[place]["source"]
    parts = source.split("\n")
    cells[place] = {
        **cells[place],
        "source": "\n".join([parts[0], line, *parts[1:]]) if rng.random() < 0.6 else f"{source}\n{line}",
    }


def split(cells, rng, number):
    """A solution cell is cut in two where a statement begins; the second half keeps the marks, as in JupyterLab."""
    place = place_of(cells, rng.choice(SOLUTIONS))
    source = cells[place]["source"] + "\n\n\ndef _after(a):\n    return a"
    first, second = source.rsplit("\n\n\n", 1)
    cells[place] = {**cells[place], "source": first}
    cells.insert(place + 1, code(second, number, **copy.deepcopy(cells[place]["metadata"])))


def borrowed(cells, rng, number):
    """A solution uses a name that only a test above has imported."""
    place = place_of(cells, rng.choice(SOLUTIONS))
    parts = cells[place]["source"].split("\n")
    at = next((n for n, line in enumerate(parts) if "BEGIN SOLUTION" in line), 1)
    cells[place] = {**cells[place], "source": "\n".join([*parts[: at + 1], "    math.sqrt(2)", *parts[at + 1 :]])}


def given(cells, rng, number):
    """A given cell gets another line."""
    places = [place for place, cell in enumerate(cells) if notebook.kind(cell) == "export"]
    place = rng.choice(places)
    cells[place] = {
        **cells[place],
        "source": cells[place]["source"] + "\n" + rng.choice(["import math", "extra = 3", "print('given')"]),
    }


def moved(cells, rng, number):
    """A cell stands elsewhere, such as a solution below its test."""
    cells.insert(rng.randrange(len(cells)), cells.pop(rng.randrange(len(cells))))


EDITS = (scratch, scratch, below, helper, helper, again, wrong, head, split, borrowed, given, moved, moved)


def edited(seed):
    """A right notebook of 02 after some random edits."""
    rng, nb = random.Random(seed), notebook.read(PATH)
    for number in range(rng.randint(1, 4)):
        rng.choice(EDITS)(nb["cells"], rng, number)
    return nb


@pytest.fixture(scope="module")
def graded():
    """A function: notebook -> graded cell -> whether it earns its points without its hidden parts."""
    rung = next(isolation.ladder(), None) or pytest.skip("no isolation works on this machine")
    worker = grade.Worker(0)
    assignment = plan.prepare(COURSE, MODULE, rung, {"wall": 120.0, "cell": 30.0})
    part = assignment.parts[0]

    def run(nb):
        steps, _ = plan.assemble(part.plan, parse(notebook.dumps(nb).encode()))
        steps = [
            {**step, "source": without_hidden(step["source"]), "hidden": []} if step["kind"] == "graded" else step
            for step in steps
        ]
        result = grade.run_steps(assignment, worker, part, steps, [])
        assert result["status"] != "infra_error", result["reason"]
        return {
            name: cell["points"] == cell["max"] for name, cell in result["cells"].items() if cell["kind"] == "graded"
        }

    yield run
    worker.stop()
    assignment.home.cleanup()


IDS = {cell["id"] for cell in notebook.read(PATH)["cells"]}


def local(nb):
    """What `tito test` says of each graded cell."""
    nb = {
        **nb,
        "cells": [
            {**cell, "source": without_hidden(cell["source"])} if notebook.kind(cell) == "graded" else cell
            for cell in nb["cells"]
        ],
    }
    cells = _cells(nb, Options(), IDS)
    outcomes = run_cells(cells, COURSE.package.parent, PATH.parent)
    return {cell.id: outcomes[cell.id]["state"] == "passed" for cell in cells if cell.kind == "graded"}


def disagreements(seeds, graded):
    for seed in seeds:
        nb = edited(seed)
        both = local(nb), graded(nb)
        if both[0] != both[1]:
            yield (
                seed,
                {name: (passes, both[1].get(name)) for name, passes in both[0].items() if passes != both[1].get(name)},
            )


FEW = 12  # in which every kind of edit comes


def test_a_few_edits(graded):
    assert list(disagreements(range(FEW), graded)) == []


@pytest.mark.slow
def test_many_edits(graded):
    assert list(disagreements(range(FEW, 300), graded)) == []
