"""Five submissions to try the grader with: python tests/grading/samples.py FOLDER [MODULE]

ada solved everything, ben handed in the scaffold, cleo half of it; dan's first solution never ends, and eve tries to
make every comparison true.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENDLESS = "\ndef {}(*inputs):\n    while True:\n        pass\n"
LIE = "\nimport numpy as np\nnp.allclose = np.array_equal = lambda *inputs, **named: True\n"


def write_submission(path, module="02_activations", solved=(), changes=None, own="", edit=None):
    """A submission: the release, with the reference in the cells `solved`, text added, an own cell in front."""
    from tito.course import notebook
    from tito.course.scaffold import released

    nb = notebook.read(next((ROOT / "modules" / module).glob("*_dev.ipynb")))
    cells = []
    for cell in nb["cells"]:
        made = {**cell, "source": released(cell)}
        if notebook.kind(cell) == "solution":
            if solved == "all" or cell["id"] in solved:
                made["source"] = cell["source"]
            made["source"] += (changes or {}).get(cell["id"], "")
        cells.append(made)
    if own:
        cells.insert(2, {"cell_type": "code", "id": "own-cell", "metadata": {}, "source": own, "outputs": []})
    cells = edit(cells) if edit else cells
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**nb, "cells": cells}), encoding="utf-8")
    return path


def main():
    """Write the five."""
    sys.path.insert(0, str(ROOT))
    from tito.course.registry import Course

    folder = Path(sys.argv[1])
    module = Course.load(ROOT).module(sys.argv[2] if len(sys.argv) > 2 else "02")
    solutions = [cell for exercise in module.exercises for cell in exercise.solution]
    half = solutions[: len(solutions) // 2]
    samples = {
        "ada": {"solved": "all"},
        "ben": {},
        "cleo": {"solved": half},
        "dan": {"solved": "all", "changes": {solutions[0]: ENDLESS.format(solutions[0])}},
        "eve": {"changes": {solutions[0]: LIE}},
    }
    for student, how in samples.items():
        write_submission(folder / student / module.notebooks[0].name, module.folder, **how)
    print(f"Five submissions of {module.folder} in {folder}: {', '.join(samples)}.")


if __name__ == "__main__":
    main()
