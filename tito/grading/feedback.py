"""nbgrader's feedback, and the page cleaned: no script, no event handler, nothing fetched from elsewhere."""

import os
import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from tito import CourseError
from tito.course import Course
from tito.files import write_atomic

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


def nbgrader(course: Course, what: str, *names: str, patience: float = 3600) -> None:
    """Call a method of nbgrader's API in the course's folder, in a process of its own."""
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"  # it calls alembic by name
    command = [sys.executable, "-P", "-c", API, what, *names]
    environment = {**os.environ, "PATH": tools, "MPLBACKEND": "Agg"}
    try:
        ended = subprocess.run(
            command, cwd=course.root, env=environment, capture_output=True, text=True, timeout=patience
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


def clean(html: str, unread: Collection[str] = ()) -> str:
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


def clean_folder(folder: Path, assignment: str, students: list[str], unread: dict) -> list[Path]:
    """Clean the pages of an assignment in nbgrader's `feedback` folder; returns them. `unread`: of each student."""
    pages = []
    for student in students:
        for page in sorted((folder / student / assignment).glob("*.html")):
            write_atomic(page, clean(page.read_text(encoding="utf-8"), unread.get(student, ())))
            pages.append(page)
    return pages
