"""nbgrader's own programs, in a process of their own, and their reasons in a sentence."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tito import CourseError
from tito.course.registry import Course

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
