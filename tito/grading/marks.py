"""Marks for the school's own system: CSV from the gradebook, safe to open in a spreadsheet."""

import csv
import io
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tito import CourseError
from tito.grading.gradebook import Gradebook, score_of, seconds_late

# Column -> what stands in it. {question:ID} stands for a question's points; with --per-question all are added.
MAPS = {
    "plain": {"student": "{student}", "last_name": "{last_name}", "first_name": "{first_name}", "email": "{email}",
              "assignment": "{assignment}", "score": "{score}", "max": "{max}", "waiting": "{waiting}",
              "late_hours": "{late_hours}", "penalty": "{penalty}"},
    "canvas": {"Student": "{last_name}, {first_name}", "ID": "{lms_user_id}", "SIS User ID": "{student}",
               "SIS Login ID": "{student}", "Section": "", "{assignment}": "{score}"},
    "moodle": {"ID number": "{student}", "Email address": "{email}", "Grade": "{score}", "Maximum Grade": "{max}",
               "Feedback comments": ""},
}  # fmt: skip


@dataclass
class Mark:
    """A student's marks in an assignment.

    `waiting` cells still want a person, `unread` are those of them without any score; `penalty` is for lateness.
    """

    student: dict
    assignment: str
    questions: dict[str, tuple[float, float]]
    waiting: int
    late_hours: float
    penalty: float = 0.0
    unread: frozenset[str] = frozenset()

    def fields(self) -> dict:
        """What a column may name."""
        total = max(sum(score for score, _ in self.questions.values()) - self.penalty, 0.0)
        top = sum(most for _, most in self.questions.values())
        names = {name: value or "" for name, value in self.student.items() if name != "id"}
        score = {
            "score": f"{total:g}",
            "max": f"{top:g}",
            "waiting": self.waiting,
            "late_hours": f"{self.late_hours:g}",
            "penalty": f"{self.penalty:g}",
        }
        return {**names, "student": self.student["id"], "assignment": self.assignment, **score}


def read(book: Gradebook, names: list[str]) -> list[Mark]:
    """The marks of some assignments, from an open gradebook."""
    columns = list(book.t.student.c)
    people = {
        row[0]: dict(zip((c.name for c in columns), row, strict=True)) for row in book.rows(book.sql.select(*columns))
    }
    marks = []
    for name in names:
        id, due = book.assignment(name)
        known = {
            row[0]: (cell, row[2])
            for cells in book.cells(id).values()
            for (cell, kind), row in cells.items()
            if kind in ("GradeCell", "TaskCell")
        }
        for student, entry in sorted(book.scores(id).items()):
            questions = dict.fromkeys((cell for cell, _ in known.values()), (0.0, 0.0))
            waiting, unread = 0, set()
            for cell_id, (cell, most) in known.items():
                row = entry["grades"].get(cell_id) or (None, None, None, None, None, None, False)
                auto, manual, needs = row[3], row[4], row[6]
                questions[cell], waiting = (score_of(row), most), waiting + bool(needs)
                if needs and manual is None and auto is None:
                    unread.add(cell)
            hours = round(seconds_late(entry, due) / 3600, 2)
            penalty = sum(points or 0.0 for points in entry["penalties"].values())
            marks.append(Mark(people[student], name, questions, waiting, hours, penalty, frozenset(unread)))
    return marks


def columns_of(which: str) -> dict[str, str]:
    """A map of columns: plain, canvas or moodle, or a TOML file of `"Column" = "{score}"` lines."""
    if which in MAPS:
        return MAPS[which]
    try:
        found = tomllib.loads(Path(which).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CourseError(f"no map of columns {which!r}: there are {', '.join(MAPS)}, or name a TOML file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CourseError(f"{which} cannot be read as TOML: {error}") from None
    if not all(isinstance(value, str) for value in found.values()):
        raise CourseError(f'{which}: every line is "Column" = "text with {{fields}}"')
    return found


def table(marks: list[Mark], columns: dict[str, str], per_question: bool = False) -> str:
    """The marks as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    questions = list(dict.fromkeys(name for mark in marks for name in mark.questions)) if per_question else []
    title = marks[0].assignment if marks else ""
    writer.writerow([safe(_fill(name, {"assignment": title})) for name in columns] + [safe(name) for name in questions])
    for mark in marks:
        fields = mark.fields()
        cells = [safe(_fill(text, fields)) for text in columns.values()]
        writer.writerow(
            cells + [f"{mark.questions[name][0]:g}" if name in mark.questions else "" for name in questions]
        )
    return out.getvalue()


def _fill(text: str, fields: dict) -> str:
    try:
        return text.format_map(fields).strip(", ")
    except (KeyError, ValueError, IndexError, AttributeError):
        raise CourseError(f"the column {text!r} names no known field: there are {', '.join(fields)}") from None


def safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "".join(" " if ch in "\t\r\n\0" else ch for ch in text)
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@", "|", "%")) else text
