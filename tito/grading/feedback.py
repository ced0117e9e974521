"""What students get back, as data: why a cell earned less than its points, and the release with answers and verdicts.

The notebook that is made for formgrader holds no hidden test, nothing that was handed in but text, and no text that a
browser would run; what is very long in it is cut. `pages` makes the students' pages of it.
"""

import ast
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Exercise, Module
from tito.course.scaffold import released
from tito.course.storage import write_atomic
from tito.grading.plan import Assignment, Part, assemble
from tito.grading.result import CellResult, PartResult, SubmissionResult
from tito.grading.submissions import RejectedError, Submission, parse

SCHEMES = re.compile(r"(javascript|vbscript|data)\s*:", re.I)
SUMMARY = "result-summary"  # the id of the first cell
LONGEST_WORDS = 300  # characters of a message in the table on top
MOST_LINES, WIDEST, LONGEST_CELL = 1000, 1000, 30_000  # of a student's cell, as it is shown
LONGEST_NOTEBOOK = 300_000  # characters of all that is the student's in it
FINE = ("passed", "ran")
STATUS = {
    "passed": "passed",
    "partly": "partly right",
    "failed": "not yet right",
    "timeout": "stopped: it took too long",
    "oom": "stopped: it needed too much memory",
    "died": "stopped: the process ended",
    "rejected": "not graded: the file could not be read",
}
UNDEFINED = re.compile(r"name '(\w+)' is not defined")
AT_END = re.compile(r"\s*\(<[^>]*>, line \d+\)$")  # Python's own words for where a SyntaxError is


@dataclass(frozen=True)
class Verdict:
    """What became of a graded cell: a state in a few words, why (the cause first), and the command for a hint."""

    state: str
    lines: tuple[str, ...] = ()
    hint: str = ""

    @property
    def cause(self) -> str:
        """The cause in a line."""
        return " ".join(self.lines[0].split()) if self.lines else ""


def verdicts(module: Module, path: Path, cells: dict[str, CellResult]) -> dict[str, Verdict]:
    """Graded cell -> its verdict, of one notebook's result."""
    owners = {test: exercise for exercise in module.exercises for test in exercise.tests if exercise.notebook == path}
    homes = _reference(path, path.stat().st_mtime_ns)
    found = {}
    for name, outcome in cells.items():
        if outcome["kind"] == "graded":
            exercise = owners.get(name)
            found[name] = _verdict(name, cells, exercise, homes, module.number)
    return found


def _verdict(name: str, cells: dict, exercise: Exercise | None, homes: dict, number: str) -> Verdict:
    outcome = cells[name]
    state = STATUS.get(outcome["status"], outcome["status"])
    if outcome["status"] in FINE:
        return Verdict(state)
    hint = f"tito hint {number} {exercise.id}" if exercise and exercise.hints else ""
    if outcome["status"] in ("partly", "rejected") and not outcome.get("message"):
        return Verdict(state, hint=hint)
    first = exercise.solution if exercise else ()
    root = _root(name, cells, first, homes) if outcome["status"] == "failed" else None
    lines = explain(outcome) if root is None else _broken(root, cells[root])
    if lines[0].startswith("Not written yet"):
        return Verdict("not written yet", tuple(lines), hint)
    return Verdict(state, tuple(lines), hint)


def _root(name: str, cells: dict, solution: Iterable[str], homes: dict[str, str]) -> str | None:
    """The student's cell for which a test fails because the cell itself did not run; None if there is none."""
    for cell in solution:
        if cells.get(cell, {}).get("status", "ran") != "ran":
            name = cell
            break
    else:
        name = _home(cells[name], homes) or ""
    for _ in range(10):  # a name may be missing because another one was
        outcome = cells.get(name, {})
        if outcome.get("status", "ran") == "ran":
            return None
        further = _home(outcome, homes)
        if not further or further == name or cells.get(further, {}).get("status", "ran") == "ran":
            return name
        name = further
    return name


def _home(outcome: CellResult, homes: dict[str, str]) -> str | None:
    """The cell that should have defined the name which was missing."""
    missing = UNDEFINED.search(outcome.get("message", "")) if outcome.get("error") == "NameError" else None
    return homes.get(missing[1]) if missing else None


@lru_cache(maxsize=64)
def _reference(path: Path, changed: int) -> dict[str, str]:
    """Name -> the cell of the reference that defines it."""
    homes = {}
    for cell in notebook.read(path)["cells"]:
        if notebook.kind(cell) not in ("export", "solution"):
            continue
        for node in ast.parse(cell["source"]).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            names += [node.name] if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
            homes.update(dict.fromkeys(names, cell["id"]))
    return homes


def _broken(name: str, outcome: CellResult) -> list[str]:
    """Why a cell of the student's own did not run."""
    lines = explain(outcome)
    if lines[0].startswith("Not written yet"):
        return lines
    if outcome.get("error") in ("SyntaxError", "IndentationError", "TabError"):
        place = re.search(r"line (\d+)\)$", outcome.get("message", ""))
        where = f", line {place[1]}" if place else ""
        return [
            f"{outcome['error']} in your cell {name}{where}: {AT_END.sub('', lines[0]).partition(': ')[2]}",
            *lines[1:],
        ]
    return [f"Your cell {name} does not run. {lines[0]}", *lines[1:]]


def explain(outcome: CellResult) -> list[str]:
    """Why a cell earned less than its points, in lines for the student."""
    message, name = outcome.get("message", ""), outcome.get("error")
    if outcome.get("hidden"):
        return [f"A hidden check failed ({name}). Try more inputs of your own: other shapes, settings, edge cases."]
    if name == "NotImplementedError" and not message:
        lines = ["Not written yet: the solution still raises NotImplementedError."]
    elif name == "AssertionError":
        lines = [message or "An assertion failed."]
    elif name:
        lines = [f"{name}: {message}"]
    else:
        lines = [message or STATUS.get(outcome["status"], outcome["status"])]
    if outcome.get("line"):
        lines.append(f"in the test: {outcome['line']}")
    return lines + [f"in your cell {cell}, line {line}: {text}" for cell, line, text in outcome.get("places", [])]


def causes(module: Module, results: Iterable[SubmissionResult]) -> dict[str, Counter]:
    """Graded cell -> how often each cause stood behind lost points, in a few words."""
    found: dict[str, Counter] = {}
    paths = {path.stem: path for path in module.notebooks}
    for result in results:
        for name, part in result["notebooks"].items():
            if name not in paths:
                continue
            for cell, verdict in verdicts(module, paths[name], part["cells"]).items():
                if verdict.state != "passed":
                    found.setdefault(cell, Counter())[_briefly(verdict)] += 1
    return found


def _briefly(verdict: Verdict) -> str:
    """A cause as it can be counted: without what differs from student to student."""
    if not verdict.lines or verdict.state == "not written yet":
        return verdict.state
    if verdict.lines[0].startswith("A hidden check failed"):
        return "a hidden check"
    line = next((line for line in verdict.lines[0].split("\n") if line.strip()), verdict.state)
    line = re.sub(r":? (expected|got)\b.*$", "", line).strip().rstrip(":")
    return line if len(line) <= 70 else line[:70].rstrip() + " ..."


def write_marked(
    assignment: Assignment, folder: Path, student: str, files: dict[str, bytes | str], result: SubmissionResult
) -> bool:
    """Write the student's notebooks into nbgrader's `autograded` folder; False if they were there already."""
    changed = False
    for part in assignment.parts:
        part_result = result["notebooks"].get(part.name)
        if part_result is None:
            continue
        nb = build_marked(assignment.module, part, _parsed(files[part.name]), part_result)
        target = folder / student / assignment.name / part.path.name
        if target.is_symlink() or target.parent.is_symlink() or target.parent.parent.is_symlink():
            raise CourseError(f"{target} is reached by a link: remove it")
        changed = write_atomic(target, json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + "\n") or changed
    return changed


def is_marked(path: Path) -> bool:
    """Whether a notebook in `autograded` is one that this file has made, not plain nbgrader."""
    try:
        with open(path, encoding="utf-8") as file:
            return f'"id": "{SUMMARY}"' in file.read(300)
    except (OSError, UnicodeDecodeError):
        return False


def _parsed(data: bytes | str) -> Submission:
    try:
        return parse(data) if isinstance(data, bytes) else Submission([])
    except RejectedError:
        return Submission([])


class _Clipper:
    """Cuts what is the student's to a length that can be shown, cell by cell and in all."""

    def __init__(self):
        self.left = LONGEST_NOTEBOOK

    def __call__(self, text: str, sign: str = "# ", widest: int = WIDEST) -> str:
        cut = (
            clip(text, sign, tail=", which were graded whole", widest=widest)
            if self.left > 0
            else f"{sign}... not shown: the notebook is too long for that"
        )
        self.left -= len(cut)
        return cut


def clip(text: str, sign: str = "# ", most: int = LONGEST_CELL, tail: str = "", widest: int = WIDEST) -> str:
    """A text, cut where it has more or longer lines than can be shown, with a line that says so."""
    lines, kept, total = text.split("\n"), [], 0
    for line in lines[:MOST_LINES]:
        kept.append(line if len(line) <= widest else line[:widest] + " ...")
        total += len(kept[-1]) + 1
        if total > most:
            break
    if kept == lines:
        return text
    told = f"{sign}... shown in part: {len(text):,} characters in {len(lines):,} lines{tail}"
    return "\n".join([*kept, told])


def build_marked(module: Module, part: Part, submission: Submission, part_result: PartResult) -> dict:
    """The notebook as data."""
    reference, shown = notebook.read(part.path), _Clipper()
    steps = {step["id"]: step for step in assemble(part.plan, submission)[0]}
    texts = {cell.id: cell.source for cell in submission.cells if cell.id in part.plan["manual"]}
    found = verdicts(module, part.path, part_result["cells"])
    cells = [_summary(part_result, found)]
    for cell in reference["cells"]:
        kind, outcome = notebook.kind(cell), part_result["cells"].get(cell["id"])
        made = {
            "cell_type": cell["cell_type"],
            "id": cell["id"],
            "metadata": cell["metadata"],
            "source": cell["source"],
        }
        for number, helper in enumerate(steps.get(cell["id"], {}).get("helpers", ()), 1):
            cells.append(_code(f"{cell['id'][:50]}-own-{number}", shown(helper), {}, []))
        if kind == "solution":
            outputs = _outputs(outcome, None)
            made = _code(cell["id"], shown(steps[cell["id"]]["source"]), cell["metadata"], outputs)
        elif kind == "graded":
            outputs = _outputs(outcome, found.get(cell["id"]))
            made = _code(cell["id"], released(cell), cell["metadata"], outputs)
        elif kind == "manual":
            made["source"] = harmless(shown(texts.get(cell["id"], "(no answer)"), "", LONGEST_CELL))
        elif kind == "exploration":
            continue  # not graded, and long
        elif cell["cell_type"] == "code":
            source = steps.get(cell["id"], {}).get("source", released(cell))  # a given cell, as it was run
            made = _code(cell["id"], shown(source), cell["metadata"], [])
        cells.append(made)
    metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _code(id: str, source: str, metadata: dict, outputs: list[dict]) -> dict:
    cell = {"cell_type": "code", "id": id, "metadata": metadata, "source": source}
    return {**cell, "execution_count": None, "outputs": outputs}


def _outputs(outcome: CellResult | None, verdict: Verdict | None) -> list[dict]:
    """The verdict on a cell as a notebook's output."""
    if not outcome:
        return []
    said = (outcome.get("printed") if outcome["kind"] == "graded" else outcome.get("output")) or ""
    outputs = [{"output_type": "stream", "name": "stdout", "text": clip(said, "")}] if said else []
    if outcome["status"] in FINE:
        return outputs
    lines = list(verdict.lines if verdict else explain(outcome)) or [STATUS.get(outcome["status"], outcome["status"])]
    error = {"output_type": "error", "ename": outcome.get("error", "Stopped"), "evalue": lines[0], "traceback": lines}
    return [*outputs, error]


def _summary(part_result: PartResult, found: dict[str, Verdict]) -> dict:
    """A first cell that says how it went, cell by cell."""
    rows = ["### Your result, cell by cell", "", "| cell | &emsp;points | &emsp;what happened |", "|---|---|---|"]
    for name, cell in part_result["cells"].items():
        if cell["kind"] == "graded":
            verdict = found[name]
            words = (
                verdict.state
                if verdict.state == "not written yet"
                else ": ".join(filter(None, (verdict.state, _short(verdict.cause))))
            )
            words += f" (`{verdict.hint}`)" if verdict.hint else ""
            rows.append(f"| {name} | &emsp;{cell['points']:g} of {cell['max']:g} | &emsp;{words} |")
    rows += ["", *([f"**{harmless(part_result['reason'])}**", ""] if part_result.get("reason") else [])]
    rows += [f"- {_short(note)}" for note in part_result.get("notes", [])]
    rows += ["", "Below is your notebook as it was graded, without the cells that are not."]
    return {"cell_type": "markdown", "id": SUMMARY, "metadata": {}, "source": "\n".join(rows)}


def _short(text: str) -> str:
    """A message on one line for a table: no markup, nothing that ends the row."""
    line = " ".join(text.split())
    line = line if len(line) <= LONGEST_WORDS else line[:LONGEST_WORDS].rstrip() + " ..."
    return re.sub(r"([\\`*_\[\]$~|!#])", r"\\\1", harmless(line))


def harmless(text: str) -> str:
    """Markdown that shows as it was typed, and in which nothing can run."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("\x00", "")
    return SCHEMES.sub(r"\1 :", text)


POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"
FORBIDDEN = ("script", "iframe", "object", "embed", "form", "base", "link", "applet", "frame", "frameset", "noscript")
LINKS = ("href", "src", "action", "formaction", "xlink:href", "srcset", "data", "poster", "background")
SAFE_LINK, SAFE_PICTURE = re.compile(r"(#|https?://|mailto:)", re.I), re.compile(r"data:image/(png|jpeg|gif);", re.I)


def sanitize_page(text: str) -> str:
    """HTML in which nothing runs and nothing is fetched."""
    from bs4 import BeautifulSoup, Comment

    page = BeautifulSoup(text, "html.parser")
    for tag in page.find_all(FORBIDDEN):
        tag.decompose()
    for tag in page.find_all("meta"):
        if tag.get("http-equiv"):
            tag.decompose()
    for comment in page.find_all(string=lambda text: isinstance(text, Comment)):
        comment.extract()
    for tag in page.find_all(True):
        for name in list(tag.attrs):
            value = " ".join(tag[name]) if isinstance(tag[name], list) else str(tag[name])
            safe = SAFE_LINK if tag.name == "a" and name.lower() == "href" else SAFE_PICTURE
            if name.lower().startswith("on") or (name.lower() in LINKS and not safe.match(value.strip())):
                del tag[name]
    if page.head:
        policy = page.new_tag("meta", attrs={"http-equiv": "Content-Security-Policy", "content": POLICY})
        page.head.insert(0, policy)
    return str(page)
