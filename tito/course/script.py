"""The py:percent twin of a notebook: a generated view that runs as a script."""

import hashlib
import re
import sys
from pathlib import Path

from tito.course import notebook
from tito.course.registry import Course
from tito.course.storage import write_atomic

# The names are deleted again, so that they can't stand in for an import the notebook forgot.
_OPENING = """\
# Generated from {name} by `tito export` ({digest}): edit the notebook, not this file.
import pathlib, sys  # the course this file lies in comes first on the path
sys.path[:0] = [str(p) for p in pathlib.Path(__file__).resolve().parents if (p / "settings.ini").is_file()][:1]
del pathlib, sys"""
# What ends a line for str.splitlines, which jupytext uses, and not for Python: put away in a private plane meanwhile.
_AWAY = {ord(odd): 0xF0000 + n for n, odd in enumerate("\v\f\x1c\x1d\x1e\x85\u2028\u2029")}
_BACK = {there: odd for odd, there in _AWAY.items()}
_MARK = re.compile(r"^# Generated from .* by `tito export` \((\w+)\): edit the notebook, not this file\.\n", re.M)


def write_twin(course: Course, source: Path) -> tuple[bool, Path | None]:
    """Write the .py twin beside the notebook `source`: (whether it changed, the backup if someone had edited it)."""
    path = source.with_suffix(".py")
    text = twin_text(source)
    old = path.read_text(encoding="utf-8") if path.exists() else None
    if old == text:
        return False, None
    backup = _back_up(course, path, old) if old is not None and _edited(old) else None
    return write_atomic(path, text), backup


def twin_text(source: Path) -> str:
    """The twin's text: exported and graded cells run, exploration cells are comments."""
    jupytext, nbformat = _import_jupytext()
    nb = notebook.read(source)
    for cell in nb["cells"]:
        cell["source"] = cell["source"].translate(_AWAY)
        if cell["cell_type"] == "code" and notebook.kind(cell) not in notebook.CORE:
            cell["metadata"]["tags"] = ["active-ipynb"]
    opening = nbformat.v4.new_code_cell(_OPENING.format(name=source.name, digest="0"), id="twin")
    node = nbformat.from_dict({**nb, "cells": [opening, *nb["cells"]]})
    text = jupytext.writes(node, fmt="py:percent").translate(_BACK)
    return text.replace("(0): edit", f"({_digest(text)}): edit", 1)


def _import_jupytext():
    """jupytext and nbformat, without what they import at length and a twin does not need.

    That is jupytext's part for Jupyter's server, and the grammar of URLs that jsonschema from 4.25 on builds.
    """
    unneeded = [name for name in ("tornado", "rfc3987_syntax") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(unneeded))  # None: importing it fails, and both do without
    try:
        import jupytext
        import nbformat
    finally:
        for name in unneeded:
            del sys.modules[name]
    return jupytext, nbformat


def _digest(text: str) -> str:
    """A short hash of a twin without the line that carries it."""
    return hashlib.sha256(_MARK.sub("", text, count=1).encode()).hexdigest()[:16]


def _edited(text: str) -> bool:
    mark = _MARK.search(text)
    return mark is None or mark[1] != _digest(text)


def _back_up(course: Course, path: Path, text: str) -> Path:
    folder = course.state / "backups" / path.parent.name
    number = 1
    while (folder / f"{path.name}.{number}").exists():
        number += 1
    write_atomic(folder / f"{path.name}.{number}", text)
    return folder / f"{path.name}.{number}"
