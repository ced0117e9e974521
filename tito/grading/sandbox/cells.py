"""A student's cell as plain Python: what IPython alone understands is left out, and so are packages the box lacks.

Works on text only. What is left out is told in notes, which are made here, from the text, not by the student's process.
"""

import ast
import re
import sys
from dataclasses import dataclass, field

TOP_LEVEL_AWAIT = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
IN_THE_BOX = {*sys.stdlib_module_names, "numpy"}
LEFT_OUT = ("viz", "predict", "testing")  # of the package: not in the box either, nothing that is graded needs them
SHELLS = re.compile(
    r"%%(bash|sh|script|system|sx|!|cmd|html|HTML|javascript|js|latex|markdown|svg|perl|ruby|writefile|file)\b"
)
MAGIC = re.compile(r"[ \t]*(?:[%!?]|[\w., \t]+=[ \t]*[%!]|[\w.]+\?{1,2}[ \t]*$)")
STRING = re.compile(r"[rRbBuUfF]{0,2}('''|\"\"\"|'|\")")
MOST_NOTES, LONGEST_NOTE = 10, 120
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")


@dataclass
class Prepared:
    """A cell's Python, what was left out of it, and which packages it imports that the box lacks."""

    source: str
    notes: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)


def prepare(source: str, package: str) -> Prepared:
    """The cell as it can be run where there is no IPython; Python's own mistakes stay in it."""
    magics: list[str] = []
    if source.lstrip().startswith("%%"):
        magics, source = _cell_magic(source)
    tree = _parsed(source)
    if tree is None:
        source, found = without_magics(source)
        magics += found
        tree = _parsed(source)
    lacking = [] if tree is None else _lacking(tree, package)
    notes = [f"{one_line(magic, 60)} was left out" for magic in magics[:MOST_NOTES]]
    notes += [
        f"the import of {name} was left out: it is not there where this is graded" for name in lacking[:MOST_NOTES]
    ]
    return Prepared(source, notes, lacking)


def one_line(text: str, most: int = LONGEST_NOTE) -> str:
    """Text on one line, without control characters, no longer than `most`."""
    text = " ".join(CONTROL.sub(" ", text.encode("utf-8", "replace").decode()).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def _parsed(source: str):
    try:
        return compile(source, "<cell>", "exec", ast.PyCF_ONLY_AST | TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def mistake(source: str, name: str) -> str:
    """What Python says of a cell that it cannot read; empty if it can."""
    try:
        compile(source, name, "exec", ast.PyCF_ONLY_AST | TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return str(error)
    return ""


def _cell_magic(source: str) -> tuple[list[str], str]:
    """A `%%time` goes and its cell stays, a line for a line; another language's cell goes whole."""
    first, _, rest = source.lstrip().partition("\n")
    blank = "\n" * source[: len(source) - len(source.lstrip())].count("\n")
    return [first.strip()], "" if SHELLS.match(first) else f"{blank}pass\n{rest}"


def without_magics(source: str) -> tuple[str, list[str]]:
    """The cell with `pass` for each line of IPython's, and those lines.

    A line counts only where a statement may begin: `% b` after an open bracket or a backslash is Python's modulo.
    """
    lines, found, place, depth, end = source.split("\n"), [], 0, 0, ""
    while place < len(lines):
        line = lines[place]
        if not depth and not end and MAGIC.match(line):
            found.append(line.strip())
            indent = line[: len(line) - len(line.lstrip())]
            lines[place] = f"{indent}pass"
            while line.endswith("\\") and place + 1 < len(lines):
                place, line = place + 1, lines[place + 1]
                lines[place] = ""
        else:
            while True:
                depth, end = _scan(line, depth, end)
                if depth or end or not line.rstrip().endswith("\\") or place + 1 >= len(lines):
                    break
                place, line = place + 1, lines[place + 1]
        place += 1
    return "\n".join(lines), found


def _scan(line: str, depth: int, end: str) -> tuple[int, str]:
    """(open brackets, what ends the string that is open) after a line."""
    at = 0
    while at < len(line):
        if end:
            if line[at] == "\\":
                at += 2
                continue
            if line.startswith(end, at):
                at, end = at + len(end), ""
                continue
        elif match := STRING.match(line, at):
            at, end = match.end(), match[1]
            continue
        elif line[at] == "#":
            break
        elif line[at] in "([{":
            depth += 1
        elif line[at] in ")]}":
            depth = max(depth - 1, 0)
        at += 1
    return depth, end if len(end) == 3 else ""


def _lacking(tree: ast.Module, package: str) -> list[str]:
    """What the cell imports on its top level and the box does not have."""
    names: dict[str, None] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= dict.fromkeys(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == package else []
            names |= dict.fromkeys([node.module, *inner])
    ours = {f"{package}.{name}" for name in LEFT_OUT}
    return [
        name
        for name in names
        if name.partition(".")[0] not in IN_THE_BOX | {package} or ".".join(name.split(".")[:2]) in ours
    ]
