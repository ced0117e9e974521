"""The rooms of tito: imports go down only, lazy ones too, and a file is read in one sitting."""

from pathlib import Path

import pytest

from tito.author import drawing
from tito.author.drawing import direct, draw, imported, imports, levels

ROOT = Path(__file__).resolve().parents[2]
TITO = ROOT / "tito"
LONGEST = 400  # lines of a file that are not blank
# room -> the rooms that it may import from; a room's own files may import each other
ROOMS = {
    "course": "",
    "runner": "course",
    "student": "course runner",
    "grading": "course runner",
    "jupyter": "course runner",
    "web": "course",
    "milestone": "course runner web",
    "data": "course runner",
    "bench": "course runner",
    "author": "course runner student grading jupyter web milestone data bench doctor",
    "doctor": "course runner student grading jupyter web milestone data bench",
    "cli": "course runner student grading jupyter web milestone data bench author doctor",
    "__main__": "cli",
    "__init__": "",
}
PARTS = {"kernel": "jupyter", "pickled": "data"}  # files that share a room beside the others


def room(path: Path) -> str:
    """The room of a file of tito, as the table has it."""
    name = drawing.room(path, TITO)
    return PARTS.get(name, name)


def test_every_file_is_in_a_room():
    assert {room(path) for path in TITO.rglob("*.py") if "_course" not in path.parts} == ROOMS.keys()


def test_imports_go_down_only():
    wrong = []
    for path in sorted(TITO.rglob("*.py")):
        if "_course" in path.parts:
            continue
        here = room(path)
        for line, name in imported(path, "tito"):
            _, top, *_ = [*name.split("."), ""]  # `import tito` alone is of no room
            there = PARTS.get(top, top)
            if there in ROOMS and there != here and there not in ROOMS[here].split():
                wrong.append(f"{path.relative_to(ROOT)}, line {line}: {here} imports {name}")
    assert wrong == []


def test_the_rooms_have_no_circle():
    below = {name: set(rooms.split()) for name, rooms in ROOMS.items()}
    done: set[str] = set()
    while ready := {name for name, rooms in below.items() if rooms <= done} - done:
        done |= ready
    assert done == below.keys()


@pytest.mark.parametrize("path", sorted(TITO.rglob("*.py")), ids=lambda path: path.relative_to(TITO).as_posix())
def test_a_file_is_read_in_one_sitting(path):
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= LONGEST


def test_the_package_imports_nothing_of_tito():
    assert [str(path) for path in (ROOT / "tinytorch").rglob("*.py") if list(imported(path, "tito"))] == []


def test_the_drawing_of_the_rooms_is_the_codes():
    assert (ROOT / "docs" / "rooms.svg").read_text(encoding="utf-8") == draw(TITO), "type: tito dev draw"
    found = imports(TITO)
    assert found["cli"] >= {"author", "student"} and found["course"] == set()
    assert levels({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == [["a"], ["b"], ["c"]]
    assert direct({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == {"a": {"b"}, "b": {"c"}, "c": set()}
    with pytest.raises(ValueError, match="in a circle: a, b"):
        levels({"a": {"b"}, "b": {"a"}})
