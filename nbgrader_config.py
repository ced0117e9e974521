"""nbgrader's settings for this course: sources in modules/, everything that grading makes under grading/."""

from pathlib import Path

c = get_config()  # noqa: F821  (nbgrader defines it)
root = Path(__file__).resolve().parent

c.CourseDirectory.course_id = "tinytorch"
c.CourseDirectory.root = str(root)
c.CourseDirectory.source_directory = "modules"
for step in ("release", "submitted", "autograded", "feedback", "solution"):
    setattr(c.CourseDirectory, f"{step}_directory", f"grading/{step}")
(root / "grading").mkdir(exist_ok=True)  # a fresh clone has none, and SQLite makes no folders
c.CourseDirectory.db_url = f"sqlite:///{root / 'grading' / 'gradebook.db'}?timeout=120"
# what lies beside a notebook but is no part of an assignment
c.CourseDirectory.ignore = ["*_dev.py*", "*.md", "*.toml", "__pycache__", ".ipynb_checkpoints", "tinytorch"]
c.ExecutePreprocessor.timeout = 120
