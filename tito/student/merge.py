"""Newer course text for a notebook that a student has worked in, cell by cell.

What the student wrote stays: solutions, answers, cells of their own, and edits where the course has nothing new. The
course's cells come in the course's order. A passage that both changed becomes the course's, and the student's version
follows it as a raw cell. Tests are the course's alone.
"""

from dataclasses import dataclass, field

from tito.course import notebook
from tito.student.template import cell_digest, cell_name

WRITTEN = ("solution", "manual")  # the kinds a student fills in


@dataclass
class Merged:
    """The new notebook, and the names of the cells that changed or stayed."""

    nb: dict
    renewed: list[str] = field(default_factory=list)  # the course's new text
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)  # written by the student
    aside: list[str] = field(default_factory=list)  # changed by both: the student's version follows as a raw cell


def merge(current: dict, new: dict, base: dict[str, str]) -> Merged:
    """`new` with everything of the student's in `current`. `base`: digests of the cells that were handed out before."""
    merged = Merged({**current, "metadata": {**current["metadata"], "kernelspec": notebook.KERNEL}})
    mine = _counting(current["cells"], {cell_name(cell) for cell in new["cells"]})
    followers = _own_cells(current["cells"], mine, base, merged)
    cells = followers.pop(None, [])
    for fresh in new["cells"]:
        name = cell_name(fresh)
        if name in mine:
            cells += _one(current["cells"][mine[name]], fresh, base.get(name), merged)
        elif not _deleted(fresh, base):
            merged.added.append(name)
            cells.append(fresh)
        cells += followers.pop(name, [])
    merged.nb["cells"] = _unique(cells, {cell["id"] for cell in new["cells"]})
    merged.nb["nbformat_minor"] = max(new["nbformat_minor"], current.get("nbformat_minor", 0))
    return merged


def _counting(cells: list[dict], wanted: set[str]) -> dict[str, int]:
    """Name -> place of the cell that bears it. Of several, the one whose id says so too: the others are copies."""
    places: dict[str, int] = {}
    for place, cell in enumerate(cells):
        name = cell_name(cell)
        if name in wanted and (name not in places or (cell["id"] == name != cells[places[name]]["id"])):
            places[name] = place
    return places


def _own_cells(cells: list[dict], mine: dict[str, int], base: dict[str, str], merged: Merged) -> dict:
    """Name of a cell of the course -> the student's own cells that follow it; None: those at the top."""
    followers: dict[str | None, list[dict]] = {}
    places, after = {place: name for name, place in mine.items()}, None
    for place, cell in enumerate(cells):
        name = cell_name(cell)
        if place in places:
            after = places[place]
        elif name not in mine and base.get(name) == cell_digest(cell):
            merged.removed.append(name)  # the course's, untouched, and in the course no more
        else:
            followers.setdefault(after, []).append(cell)
            merged.kept.append(name)
    return followers


def _deleted(fresh: dict, base: dict[str, str]) -> bool:
    """Whether the student deleted this cell, may do so, and the course says nothing new in it."""
    return notebook.kind(fresh) in ("markdown", "exploration") and base.get(cell_name(fresh)) == cell_digest(fresh)


def _one(mine: dict, fresh: dict, base: str | None, merged: Merged) -> list[dict]:
    """A cell that both have, and the student's version after it if it has to stand aside."""
    name, kind, was, now = cell_name(fresh), notebook.kind(fresh), cell_digest(mine), cell_digest(fresh)
    if mine["source"] == fresh["source"]:
        return [_dressed(mine, fresh)]
    if kind in WRITTEN and was != base:
        merged.kept.append(name)
        return [_dressed(mine, fresh)]
    if kind not in ("graded", *WRITTEN) and now == base:
        merged.kept.append(name)
        return [mine]
    if kind in ("graded", *WRITTEN) or was == base:
        merged.renewed.append(name)
        return [fresh]
    merged.aside.append(name)
    return [fresh, {"cell_type": "raw", "id": f"{name[:50]}-yours", "metadata": {}, "source": mine["source"]}]


def _dressed(mine: dict, fresh: dict) -> dict:
    """The student's text and outputs in the course's cell: its type, id and marks, whatever became of them."""
    cell = {**fresh, "source": mine["source"], "metadata": {**mine["metadata"], **fresh["metadata"]}}
    kept = ("outputs", "execution_count") if fresh["cell_type"] == mine["cell_type"] == "code" else ()
    return {**cell, **{key: mine[key] for key in kept if key in mine}}


def _unique(cells: list[dict], course: set[str]) -> list[dict]:
    """The cells with ids that no two share; the course's keep theirs."""
    taken, result = set(), []
    for cell in cells:
        id, number = cell["id"], 1
        while id in taken or (id in course and cell_name(cell) != id):
            number += 1
            id = f"{cell['id'][:58]}-{number}"
        taken.add(id)
        result.append(cell if id == cell["id"] else {**cell, "id": id})
    return result
