"""`tito dev fmt`: a notebook that JupyterLab has saved, as the course commits it."""

from pathlib import Path

from tito.course import notebook
from tito.course.registry import Course

KEPT = {"alt", "jupyter", "nbgrader", "tags"}  # a cell's metadata; what JupyterLab remembers of a screen goes
KERNEL = {"display_name": "python3", "language": "python", "name": "python3"}  # committed notebooks name no machine's


def in_order(nb: dict) -> dict:
    """The notebook without outputs and counts, ids as the grader's, metadata as committed; what is written stays."""
    cells = []
    for cell in nb["cells"]:
        new = {key: cell[key] for key in ("cell_type", "id", "metadata", "source")}
        new["metadata"] = {key: value for key, value in cell["metadata"].items() if key in KEPT}
        if grade_id := cell["metadata"].get("nbgrader", {}).get("grade_id"):
            new["id"] = grade_id
        if cell["cell_type"] == "code":
            new |= {"outputs": [], "execution_count": None}
        if cell.get("attachments"):
            new["attachments"] = cell["attachments"]
        cells.append(new)
    return {"cells": cells, "metadata": {"kernelspec": KERNEL}, "nbformat": 4, "nbformat_minor": 5}


def format_course(course: Course) -> list[Path]:
    """Put every notebook of the course in order; those that have changed."""
    paths = [path for module in course.modules for path in module.notebooks]
    return [path for path in paths if notebook.write(path, in_order(notebook.read(path)))]
