"""Gradebook and notebooks: whether they match; a change of cells, points or notebooks with submissions there.

Nothing that a person gave is touched but what hangs on a cell that is no more: marks by hand, extra credit, comments.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Module
from tito.grading.gradebook import Gradebook, new_id

POINTS = {"GradeCell": "grade_cells", "TaskCell": "task_cells"}  # kind of cell -> the table of its points
KINDS = {**POINTS, "SolutionCell": "solution_cells"}
GIVEN = ("marks by hand", "extra credits", "comments")


@dataclass(frozen=True)
class Change:
    """One difference. `lost`: how many marks by hand, extra credits and comments go with what is removed."""

    what: str
    notebook: str
    cell: str = ""
    kind: str = ""
    before: float | str | None = None
    after: float | str | None = None
    lost: tuple[int, int, int] = (0, 0, 0)

    def __str__(self) -> str:
        where = f"{self.cell} in {self.notebook}" if self.cell else self.notebook
        points = {"points changed": f", {self.before:g} -> {self.after:g}"} if self.what == "points changed" else {}
        detail = points.get(self.what, "")
        if self.what == "type changed":
            detail = f", {self.before} -> {self.after}"
        elif self.cell and self.what.endswith(("added", "removed")):
            number = self.after if self.what.endswith("added") else self.before
            detail = f" ({number:g} points)" if number is not None else " (not graded)"
        gone = ", ".join(f"{count} {name}" for count, name in zip(self.lost, GIVEN, strict=True) if count)
        return f"{self.what}: {where}{detail}" + (f"; {gone} go with it" if gone else "")


@dataclass
class Plan:
    """What a migration would do, and what it leaves alone: `kept` marks by hand, extra credits and comments."""

    changes: list[Change]
    submissions: int
    kept: tuple[int, int, int]


def wanted(module: Module) -> dict[str, dict]:
    """Notebook -> what nbgrader keeps of it: {"kernelspec", "cells": {(name, kind): (points, type)}, "sources"}."""
    found = {}
    for path in module.notebooks:
        nb = notebook.read(path)
        cells: dict[tuple, tuple] = {}
        sources: dict[str, dict] = {}
        for cell in nb["cells"]:
            marks = cell["metadata"].get("nbgrader", {})
            name, grade, solution, task = (marks.get(key) for key in ("grade_id", "grade", "solution", "task"))
            points = float(marks.get("points") or 0.0)
            if grade:
                cells[name, "GradeCell"] = (points, cell["cell_type"])
            if task:
                cells[name, "TaskCell"] = (points, cell["cell_type"])
            if solution:
                cells[name, "SolutionCell"] = (None, None)
            locked = bool(not solution and (grade or marks.get("locked")))
            if grade or solution or task or locked:
                sources[name] = {"cell_type": cell["cell_type"], "locked": locked, "source": cell["source"]}
        kernel = json.dumps(nb["metadata"].get("kernelspec", {}))
        found[path.stem] = {"kernelspec": kernel, "cells": cells, "sources": sources}
    return found


def known(book: Gradebook, assignment_id: str) -> dict[str, dict]:
    """Notebook -> what the gradebook has of it: {"id", "cells": {(name, kind): (points, type, id)}, "sources"}."""
    n, s = book.t.notebook, book.t.source_cell
    select, cells, found = book.sql.select, book.cells(assignment_id), {}
    for id, name in book.rows(select(n.c.id, n.c.name).where(n.c.assignment_id == assignment_id)):
        mine = {key: (points, type, cell) for key, (cell, _, points, _, type) in cells.get(name, {}).items()}
        found[name] = {"id": id, "cells": mine, "sources": set()}
    query = select(n.c.name, s.c.name).select_from(s.join(n, s.c.notebook_id == n.c.id))
    for notebook_name, name in book.rows(query.where(n.c.assignment_id == assignment_id)):
        found[notebook_name]["sources"].add(name)
    return found


def compare(book: Gradebook, module: Module) -> Plan:
    """What differs between an open gradebook and a module's notebooks. CourseError if the assignment is not there."""
    id, _ = book.assignment(module.folder)
    have, want = known(book, id), wanted(module)
    given = _given(book, id)
    changes = list(_differences(have, want, given))
    total = [sum(counts[n] for counts in given.values()) for n in range(3)]
    lost = [sum(change.lost[n] for change in changes) for n in range(3)]
    marks, comments, extra = (a - b for a, b in zip(total, lost, strict=True))
    s = book.t.submitted
    [(submissions,)] = book.rows(book.sql.select(book.sql.func.count()).where(s.c.assignment_id == id))
    return Plan(changes, submissions, (marks, comments, extra))


def _differences(have: dict, want: dict, given: dict) -> Iterator[Change]:
    for name in sorted(have.keys() - want.keys()):
        cells = [(cell, kind) for cell, kind in have[name]["cells"]]
        lost = tuple(sum(given.get((name, *cell), (0, 0, 0))[n] for cell in cells) for n in range(3))
        yield Change("notebook removed", name, lost=lost)
    for name, new in want.items():
        if name not in have:
            yield Change("notebook added", name)
            continue
        old = have[name]["cells"]
        for cell, kind in sorted(old.keys() - new["cells"].keys()):
            lost = given.get((name, cell, kind), (0, 0, 0))
            what = "cell removed" if not _remains(cell, new["cells"]) else f"{kind} removed"
            yield Change(what, name, cell, kind, before=old[cell, kind][0], lost=lost)
        for (cell, kind), (points, type) in new["cells"].items():
            if (cell, kind) not in old:
                what = "cell added" if not _remains(cell, old) else f"{kind} added"
                yield Change(what, name, cell, kind, after=points)
            elif kind in POINTS and old[cell, kind][0] != points:
                yield Change("points changed", name, cell, kind, old[cell, kind][0], points)
            elif kind in POINTS and old[cell, kind][1] != type:
                yield Change("type changed", name, cell, kind, old[cell, kind][1], type)


def _remains(cell: str, cells: Iterable[tuple]) -> bool:
    return any(cell == name for name, _ in cells)


def _given(book: Gradebook, assignment_id: str) -> dict[tuple, tuple[int, int, int]]:
    """(notebook, cell, kind) -> how many marks by hand, extra credits and comments people gave there."""
    n, c, g, m = book.t.notebook, book.t.base_cell, book.t.grade, book.t.comment
    found: dict[tuple, list[int]] = {}
    for table, columns in ((g, (g.c.manual_score, g.c.extra_credit)), (m, (m.c.manual_comment,))):
        joined = table.join(c, table.c.cell_id == c.c.id).join(n, c.c.notebook_id == n.c.id)
        query = book.sql.select(n.c.name, c.c.name, c.c.type, *columns).select_from(joined)
        for *place, first, second in (
            (*row, None)[:5] for row in book.rows(query.where(n.c.assignment_id == assignment_id))
        ):
            counts = found.setdefault(tuple(place), [0, 0, 0])
            if table is m:
                counts[2] += bool(first)
            else:
                counts[0] += first is not None
                counts[1] += bool(second)
    return {place: (a, b, c) for place, (a, b, c) in found.items()}


def rename(book: Gradebook, module: Module, names: dict[str, str]) -> None:
    """Cells that have another name now: what people gave there stays with them."""
    id, _ = book.assignment(module.folder)
    have, want = known(book, id), wanted(module)
    for old, new in names.items():
        homes = [name for name, one in have.items() if _remains(old, one["cells"])]
        if not homes:
            raise CourseError(f"the gradebook has no cell {old} in {module.folder}: it cannot be renamed")
        for name in homes:
            if not _remains(new, want.get(name, {"cells": {}})["cells"]) or _remains(new, have[name]["cells"]):
                raise CourseError(
                    f"{old} cannot become {new}: {name} has no such cell, or the gradebook has it already"
                )
            for table in (book.t.base_cell, book.t.source_cell):
                mine = (table.c.notebook_id == have[name]["id"]) & (table.c.name == old)
                book.connection.execute(book.sql.update(table).where(mine).values(name=new))


def migrate(book: Gradebook, module: Module) -> list[Change]:
    """Make an open gradebook match a module's notebooks; the changes that were made."""
    id, _ = book.assignment(module.folder)
    have, want, changes = known(book, id), wanted(module), compare(book, module).changes
    for change in changes:
        if change.what == "notebook removed":
            _remove_notebook(book, have[change.notebook])
        elif change.what == "notebook added":
            _add_notebook(book, id, change.notebook, want[change.notebook])
        elif change.what in ("points changed", "type changed"):
            points, type, cell = have[change.notebook]["cells"][change.cell, change.kind]
            table = getattr(book.t, POINTS[change.kind])
            values = {"max_score": change.after} if change.what == "points changed" else {}
            values |= {"cell_type": want[change.notebook]["cells"][change.cell, change.kind][1]}
            book.connection.execute(book.sql.update(table).where(table.c.id == cell).values(**values))
        elif change.what.endswith("removed"):
            _remove_cell(book, have[change.notebook]["cells"][change.cell, change.kind][2])
        else:
            new = want[change.notebook]["cells"][change.cell, change.kind]
            _add_cell(book, have[change.notebook]["id"], change.cell, change.kind, *new)
    for name, one in want.items():
        if name in have:
            _renew_sources(book, have[name]["id"], one["sources"])
    return changes


def _delete(book: Gradebook, table, condition) -> None:
    book.connection.execute(book.sql.delete(table).where(condition))


def _remove_cell(book: Gradebook, id: str) -> None:
    for table in (book.t.grade, book.t.comment):
        _delete(book, table, table.c.cell_id == id)
    for name in KINDS.values():
        table = getattr(book.t, name)
        _delete(book, table, table.c.id == id)
    _delete(book, book.t.base_cell, book.t.base_cell.c.id == id)


def _remove_notebook(book: Gradebook, one: dict) -> None:
    for *_, id in one["cells"].values():
        _remove_cell(book, id)
    for table in (book.t.source_cell, book.t.copy):
        _delete(book, table, table.c.notebook_id == one["id"])
    _delete(book, book.t.notebook, book.t.notebook.c.id == one["id"])


def _add_notebook(book: Gradebook, assignment_id: str, name: str, one: dict) -> None:
    id, insert = new_id(), book.sql.insert
    values = {"id": id, "name": name, "assignment_id": assignment_id, "kernelspec": one["kernelspec"]}
    book.connection.execute(insert(book.t.notebook).values(**values))
    s = book.t.submitted
    for (submission,) in book.rows(book.sql.select(s.c.id).where(s.c.assignment_id == assignment_id)):
        book.add_copy(submission, id)
    for (cell, kind), (points, type) in one["cells"].items():
        _add_cell(book, id, cell, kind, points, type)
    _renew_sources(book, id, one["sources"])


def _add_cell(book: Gradebook, notebook_id: str, name: str, kind: str, points: float | None, type: str | None) -> None:
    """A cell, and in every submission that is there a grade that waits and a comment that is empty."""
    id, insert = new_id(), book.sql.insert
    values: dict[str, Any] = {"id": id, "name": name, "notebook_id": notebook_id, "type": kind}
    book.connection.execute(insert(book.t.base_cell).values(**values))
    values = {"id": id} | ({"max_score": points, "cell_type": type} if kind in POINTS else {})
    book.connection.execute(insert(getattr(book.t, KINDS[kind])).values(**values))
    k = book.t.copy
    for (copy,) in book.rows(book.sql.select(k.c.id).where(k.c.notebook_id == notebook_id)):
        book.add_answer(copy, id, kind)


def _renew_sources(book: Gradebook, notebook_id: str, sources: dict[str, dict]) -> None:
    """The texts that nbgrader keeps; it fills in the checksums when it makes the release."""
    s = book.t.source_cell
    _delete(book, s, s.c.notebook_id == notebook_id)
    for name, values in sources.items():
        row = {"id": new_id(), "name": name, "notebook_id": notebook_id, "checksum": None, **values}
        book.connection.execute(book.sql.insert(s).values(**row))
