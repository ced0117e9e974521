"""What students get back: the release with their answers and the verdicts, as a notebook and as nbgrader's page.

The notebook holds no hidden test, nothing that was handed in but text, and no text that a browser would run; in the
page no script, no event handler, and nothing fetched from elsewhere is left.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from tito import CourseError
from tito.course import notebook
from tito.course.registry import Course
from tito.course.scaffold import released
from tito.course.storage import write_atomic
from tito.grading.plan import Assignment, Part, assemble
from tito.grading.submissions import RejectedError, Submission, parse

SCHEMES = re.compile(r"(javascript|vbscript|data)\s*:", re.I)
LONGEST_WORDS = 90  # characters of a message in the table on top
STATUS = {
    "passed": "passed",
    "partly": "partly right",
    "failed": "not yet right",
    "timeout": "stopped: it took too long",
    "oom": "stopped: it needed too much memory",
    "died": "stopped: the process ended",
    "rejected": "not graded: the file could not be read",
}


def write_marked(
    assignment: Assignment, folder: Path, student: str, files: dict[str, bytes | str], result: dict
) -> bool:
    """Write the student's notebooks into nbgrader's `autograded` folder; False if they were there already."""
    changed = False
    for part in assignment.parts:
        part_result = result["notebooks"].get(part.name)
        if part_result is None:
            continue
        nb = build_marked(part, _parsed(files[part.name]), part_result)
        target = folder / student / assignment.name / part.path.name
        if target.is_symlink() or target.parent.is_symlink() or target.parent.parent.is_symlink():
            raise CourseError(f"{target} is reached by a link: remove it")
        changed = write_atomic(target, json.dumps(nb, indent=1, ensure_ascii=False, sort_keys=True) + "\n") or changed
    return changed


def _parsed(data: bytes | str) -> Submission:
    try:
        return parse(data) if isinstance(data, bytes) else Submission([])
    except RejectedError:
        return Submission([])


def build_marked(part: Part, submission: Submission, part_result: dict) -> dict:
    """The notebook as data."""
    reference = notebook.read(part.path)
    steps = {step["id"]: step for step in assemble(part.plan, submission)[0]}
    texts = {cell.id: cell.source for cell in submission.cells if cell.id in part.plan["manual"]}
    cells = [_summary(part_result)]
    for cell in reference["cells"]:
        kind, outcome = notebook.kind(cell), part_result["cells"].get(cell["id"], {})
        made = {
            "cell_type": cell["cell_type"],
            "id": cell["id"],
            "metadata": cell["metadata"],
            "source": cell["source"],
        }
        if kind == "solution":
            for number, helper in enumerate(steps[cell["id"]]["helpers"], 1):
                cells.append(_code(f"{cell['id'][:50]}-own-{number}", helper, {}, []))
            made = _code(cell["id"], steps[cell["id"]]["source"], cell["metadata"], _outputs(outcome))
        elif kind == "graded":
            made = _code(cell["id"], released(cell), cell["metadata"], _outputs(outcome))
        elif kind == "manual":
            made["source"] = harmless(texts.get(cell["id"], "(no answer)"))
        elif kind == "exploration":
            continue  # not graded, and long
        elif cell["cell_type"] == "code":
            made = _code(cell["id"], released(cell), cell["metadata"], [])
        cells.append(made)
    metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def _code(id: str, source: str, metadata: dict, outputs: list[dict]) -> dict:
    cell = {"cell_type": "code", "id": id, "metadata": metadata, "source": source}
    return {**cell, "execution_count": None, "outputs": outputs}


def _outputs(outcome: dict) -> list[dict]:
    """The verdict on a cell as a notebook's output."""
    if not outcome:
        return []
    shown = outcome.get("printed" if outcome["kind"] == "graded" else "output", "")
    outputs = [{"output_type": "stream", "name": "stdout", "text": shown}] if shown else []
    if outcome["status"] in ("passed", "ran"):
        return outputs
    lines = explain(outcome)
    error = {"output_type": "error", "ename": outcome.get("error", "Stopped"), "evalue": lines[0], "traceback": lines}
    return [*outputs, error]


def explain(outcome: dict) -> list[str]:
    """Why a cell earned less than its points, in lines for the student."""
    message, name = outcome.get("message", ""), outcome.get("error")
    if outcome.get("hidden"):
        lines = [f"A hidden check failed ({name}). Try more inputs of your own: other shapes, settings, edge cases."]
    elif name == "NotImplementedError" and not message:
        lines = ["Not written yet: the solution still raises NotImplementedError."]
    elif name == "AssertionError":
        lines = [message or "An assertion failed."]
    elif name:
        lines = [f"{name}: {message}"]
    else:
        lines = [message or STATUS.get(outcome["status"], outcome["status"])]
    if outcome.get("line") and not outcome.get("hidden"):
        lines.append(f"in the test: {outcome['line']}")
    for cell, line, text in [] if outcome.get("hidden") else outcome.get("places", []):
        lines.append(f"in your cell {cell}, line {line}: {text}")
    return lines


def _summary(part_result: dict) -> dict:
    """A first cell that says how it went, cell by cell."""
    rows = ["### Your result, cell by cell", "", "| cell | &emsp;points | &emsp;what happened |", "|---|---|---|"]
    for name, cell in part_result["cells"].items():
        if cell["kind"] == "graded":
            words = STATUS.get(cell["status"], cell["status"])
            if cell["status"] == "failed":
                message = explain(cell)[0]
                words = "not written yet" if message.startswith("Not written yet") else f"{words}: {_short(message)}"
            rows.append(f"| {name} | &emsp;{cell['points']:g} of {cell['max']:g} | &emsp;{words} |")
    rows += ["", *([f"**{harmless(part_result['reason'])}**", ""] if part_result.get("reason") else [])]
    rows += [f"- {harmless(note)}" for note in part_result.get("notes", [])]
    rows += ["", "Below is your notebook as it was graded, without the cells that are not."]
    return {"cell_type": "markdown", "id": "result-summary", "metadata": {}, "source": "\n".join(rows)}


def _short(text: str) -> str:
    """The first line of a message for a table: no markup, nothing that ends the row."""
    line = (text.strip().splitlines() or [""])[0]
    line = line if len(line) <= LONGEST_WORDS else line[:LONGEST_WORDS].rstrip() + " ..."
    return re.sub(r"([\\`*_\[\]$~|!#])", r"\\\1", harmless(line))


def harmless(text: str) -> str:
    """Markdown that shows as it was typed, and in which nothing can run."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace("\x00", "")
    return SCHEMES.sub(r"\1 :", text)


FORBIDDEN = ("script", "iframe", "object", "embed", "form", "base", "link", "applet", "frame", "frameset", "noscript")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"
STYLE = "td, th { padding: 2px 24px 2px 0; text-align: left } .anchor-link { display: none }"
SAFE_LINK = re.compile(r"(#|https?://|mailto:|data:image/(png|jpeg|gif);)", re.I)
SCORE = re.compile(r"Score: [\d.]+ / ")
REASON = re.compile(r"([\w.]+\.)?\w*(Error|Exception)\b")  # the last line of a traceback
API = """
import sys
from nbgrader.apps import NbGraderAPI
from nbgrader.apps.nbgraderapp import NbGraderApp
app = NbGraderApp(); app.initialize([])
api = NbGraderAPI(config=app.config)
what, *names = sys.argv[1:]
outcome = getattr(api, what)(*names)
if not outcome["success"]:
    sys.exit((outcome.get("error") or "") + "\\n" + (outcome.get("log") or ""))
"""


def call_nbgrader(course: Course, what: str, *names: str, patience: float = 3600) -> None:
    """Call a method of nbgrader's API in the course's folder, in a process of its own."""
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # it calls alembic by name
    command = [sys.executable, "-P", "-c", API, what, *names]
    environment = {**os.environ, "PATH": tools, "MPLBACKEND": "Agg"}
    try:
        ended = subprocess.run(
            command,
            cwd=course.root,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=patience,
        )
    except subprocess.TimeoutExpired:
        raise CourseError(f"nbgrader's {what} took over {patience:.0f} s and was ended") from None
    if ended.returncode:
        said = [line for line in (ended.stdout + ended.stderr).strip().splitlines() if line.strip()]
        reasons = [line for line in said if REASON.match(line)] or [line for line in said if "rror" in line] or said
        reason = (reasons or ["no reason given"])[-1]
        hint = " (pip install 'tinytorch[grade]')" if "No module named 'nbgrader'" in reason else ""
        raise CourseError(
            f"nbgrader could not {what.replace('_', ' ')} {' '.join(names)}: {reason.strip()[:300]}{hint}"
        )


def sanitize_page(html: str, unread: Collection[str] = ()) -> str:
    """A page in which nothing runs and nothing is fetched; nbgrader's 0 of the cells `unread` is no score yet."""
    from bs4 import BeautifulSoup, Comment

    page = BeautifulSoup(html, "html.parser")
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
            link = name.lower() in (
                "href",
                "src",
                "action",
                "formaction",
                "xlink:href",
                "srcset",
                "data",
                "poster",
                "background",
            )
            if name.lower().startswith("on") or (link and not SAFE_LINK.match(value.strip())):
                del tag[name]
    for link in page.find_all("a"):
        if link.get("name") in unread or link.get("href", "").removeprefix("#") in unread:
            for text in link.parent.find_all(string=SCORE):
                text.replace_with(SCORE.sub("Not read yet, of ", text, count=1))
    if page.head:
        policy = page.new_tag("meta", attrs={"http-equiv": "Content-Security-Policy", "content": POLICY})
        page.head.insert(0, policy)
        style = page.new_tag("style")
        style.string = STYLE
        page.head.append(style)
    return str(page)


def sanitize_pages(folder: Path, assignment: str, students: list[str], unread: dict) -> list[Path]:
    """Clean the pages of an assignment in nbgrader's `feedback` folder; returns them. `unread`: of each student."""
    pages = []
    for student in students:
        for page in sorted((folder / student / assignment).glob("*.html")):
            write_atomic(page, sanitize_page(page.read_text(encoding="utf-8"), unread.get(student, ())))
            pages.append(page)
    return pages
