"""nbgrader's own programs, in a process of their own, and their reasons in a sentence."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tito import CourseError
from tito.course.registry import Course
from tito.grading.reasons import DRIVERS, database_message

# the last line of a traceback, indented in nbgrader's log
REASON = re.compile(r"\s*(?P<module>(?:\w+\.)*)(?P<kind>\w*(?:Error|Exception))(?:: (?P<text>.*))?$")
POINTLESS = re.compile("above traceback|There was an error processing")  # the words of nbgrader's that say nothing
WRAPPED = re.compile(r"^\([\w.]+\) ")  # SQLAlchemy's name of the driver's own error
PLAIN = ("RuntimeError", "NbGraderException", "CourseError")  # kinds that say nothing beyond their text
TOOLS = {"nbgrader": "'tinytorch[grade]'"}
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


def call_nbgrader(course: Course, url: str, what: str, *names: str, patience: float = 3600) -> None:
    """Call a method of nbgrader's API in the course's folder, in a process of its own. `url`: of the database."""
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
        said = f"{ended.stdout}\n{ended.stderr}"
        raise CourseError(f"nbgrader could not {what.replace('_', ' ')} {' '.join(names)}: {reason_of(said, url)}")


def reason_of(said: str, url: str) -> str:
    """The reason in what nbgrader has said: the last exception that says one, in a sentence."""
    reasons = [found for line in said.splitlines() if (found := REASON.match(line)) and not POINTLESS.search(line)]
    if not reasons:
        errors = [
            line.partition("] ")[2] for line in said.splitlines() if "ERROR]" in line and not POINTLESS.search(line)
        ]
        lines = errors or [line for line in said.splitlines() if line.strip()] or ["it gave no reason"]
        return lines[-1].strip()[:300]
    module, kind, text = reasons[-1].group("module", "kind", "text")
    text = (text or "").strip()
    if module == "sqlalchemy.exc.":
        return database_message(WRAPPED.sub("", text), url)
    if kind == "ModuleNotFoundError":
        name = text.rpartition("'")[0].rpartition("'")[2]
        return f"{name} is not installed: pip install {DRIVERS.get(name, TOOLS.get(name, name))}"
    text = text if text and kind in PLAIN else f"{kind}: {text}" if text else kind
    return text[:300]
