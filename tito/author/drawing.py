"""`tito dev draw`: the rooms of tito and what they import, as a picture made from the code."""

import ast
from collections.abc import Iterator
from pathlib import Path

BOX, GAP, HIGH = (132, 34), (24, 46), 20


def room(path: Path, tito: Path) -> str:
    """The room of a file of tito: its folder, or its own name where it stands beside them."""
    first, *others = path.relative_to(tito).parts
    return first if others else Path(first).stem


def imported(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of everything that a file imports from a package, at its top or inside a function."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.split(".")[0] == package)
        elif isinstance(node, ast.ImportFrom):
            if node.module and node.module.split(".")[0] == package and not node.level:
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def imports(tito: Path) -> dict[str, set[str]]:
    """Room -> the rooms that its files import from. A room is a folder, or a file by itself."""
    rooms: dict[str, set[str]] = {}
    for path in sorted(tito.rglob("*.py")):
        if not (name := room(path, tito)).startswith("_"):
            below = (dotted.split(".") for _, dotted in imported(path, "tito"))
            rooms.setdefault(name, set()).update(parts[1] for parts in below if len(parts) > 1)
    return {name: {to for to in below if to in rooms and to != name} for name, below in rooms.items()}


def levels(rooms: dict[str, set[str]]) -> list[list[str]]:
    """The rooms from the top down: each stands above all that it imports."""
    done: dict[str, int] = {}
    while len(done) < len(rooms):
        ready = {name for name in rooms.keys() - done.keys() if rooms[name] <= done.keys()}
        if not ready:
            raise ValueError(
                f"the rooms import each other in a circle: {', '.join(sorted(rooms.keys() - done.keys()))}"
            )
        done |= {name: 1 + max((done[below] for below in rooms[name]), default=-1) for name in ready}
    return [sorted(n for n in done if done[n] == level) for level in range(max(done.values()), -1, -1)]


def direct(rooms: dict[str, set[str]]) -> dict[str, set[str]]:
    """The imports without those that another import implies, so that the drawing stays legible."""

    def reach(name: str) -> set[str]:
        return rooms[name].union(*(reach(below) for below in rooms[name]))

    return {name: {to for to in below if not any(to in reach(via) for via in below)} for name, below in rooms.items()}


def draw(tito: Path) -> str:
    """The picture as SVG: a room imports only from rooms below it; arrows that follow from others are left out."""
    rooms = imports(tito)
    rows, (wide, high), (across, down) = levels(rooms), BOX, GAP
    width = max(len(row) for row in rows) * (wide + across) + across
    at: dict[str, tuple[float, float]] = {}
    for number, row in enumerate(rows):
        left = (width - len(row) * (wide + across) + across) / 2
        at |= {name: (left + place * (wide + across), HIGH + number * (high + down)) for place, name in enumerate(row)}
    parts = []
    for name, below in sorted(direct(rooms).items()):
        x, y = at[name]
        for to in sorted(below):
            u, v = at[to]
            ends = f"M{x + wide / 2:g} {y + high} L{u + wide / 2:g} {v - 4:g}"
            parts.append(f'<path fill="none" d="{ends}" marker-end="url(#head)"/>')
    for name, (x, y) in sorted(at.items()):
        place = f'x="{x + wide / 2:g}" y="{y + 22:g}" text-anchor="middle"'
        parts.append(f'<rect x="{x:g}" y="{y:g}" width="{wide}" height="{high}" rx="5"/>')
        parts.append(f'<text fill="#24292f" stroke="none" {place}>{name}</text>')
    tall = HIGH + len(rows) * (high + down)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {tall}" width="{width}" role="img">',
        "<title>The rooms of tito: each imports only from rooms below it</title>",
        '<defs><marker id="head" markerWidth="8" markerHeight="8" refX="5" refY="4" orient="auto">',
        '<path d="M0 0 L8 4 L0 8 z" fill="#57606a"/></marker></defs>',
        '<rect width="100%" height="100%" fill="#fcfcfa"/>',
        '<g fill="#fff" stroke="#57606a" font-family="system-ui, sans-serif" font-size="14">',
        *parts,
        "</g>",
        "</svg>",
        "",
    ])  # fmt: skip
