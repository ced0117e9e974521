"""Marks for the school's own system: CSV from the gradebook, safe to open in a spreadsheet."""

import csv
import io
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tito import CourseError
from tito.course.registry import Module
from tito.grading.gradebook import Gradebook, penalty_of, score_of, seconds_late

# Column -> what stands in it. {question:ID} stands for a question's points; with --per-question all are added.
MAPS = {
    "plain": {"student": "{student}", "last_name": "{last_name}", "first_name": "{first_name}", "email": "{email}",
              "assignment": "{assignment}", "score": "{score}", "max": "{max}", "waiting": "{waiting}",
              "late_hours": "{late_hours}", "penalty": "{penalty}", "bonus": "{bonus}"},
}  # fmt: skip


@dataclass
class Mark:
    """A student's marks in an assignment: the one total that every command shows.

    `waiting` cells still want a person, `unread` are those of them without any score. `penalty` is what lateness costs
    of the `score`. Notebooks that are a bonus stand apart: they count neither in `score` nor in `most`.
    """

    student: dict
    assignment: str
    questions: dict[str, tuple[float, float]]
    waiting: int
    late_hours: float
    penalty: float = 0.0
    unread: frozenset[str] = frozenset()
    apart: frozenset[str] = frozenset()  # the questions of the bonus
    bonus_penalty: float = 0.0
    graded: bool = True  # there is a score of anything

    @property
    def score(self) -> float:
        """The points that count: by machine and by hand, extra credit, less what lateness costs."""
        return self._sum(0, False, self.penalty)

    @property
    def most(self) -> float:
        """What `score` is out of."""
        return self._sum(1, False)

    @property
    def bonus(self) -> float:
        """The points of the bonus."""
        return self._sum(0, True, self.bonus_penalty)

    @property
    def bonus_most(self) -> float:
        """What `bonus` is out of; 0 where there is none."""
        return self._sum(1, True)

    def _sum(self, which: int, apart: bool, less: float = 0.0) -> float:
        total = sum(points[which] for name, points in self.questions.items() if (name in self.apart) == apart)
        return round(max(total - less, 0.0), 4)

    def fields(self) -> dict:
        """What a column may name."""
        names = {name: value or "" for name, value in self.student.items() if name != "id"}
        score = {
            "score": f"{self.score:g}",
            "max": f"{self.most:g}",
            "bonus": f"{self.bonus:g}",
            "bonus_max": f"{self.bonus_most:g}",
            "waiting": self.waiting,
            "late_hours": f"{self.late_hours:g}",
            "penalty": f"{self.penalty:g}",
        }
        return {**names, "student": self.student["id"], "assignment": self.assignment, **score}


@dataclass
class Question:
    """How a class did on a question: of those who were graded the mean, and how many have all its points."""

    name: str
    most: float
    mean: float
    solved: int
    graded: int
    causes: list[tuple[str, int]]  # the most frequent reasons for lost points, and of how many students
    bonus: bool = False


def questions(marks: Iterable[Mark], causes: dict[str, Counter]) -> list[Question]:
    """The statistics of an assignment. `causes`: of every question, how often each stood behind lost points."""
    graded = [mark for mark in marks if mark.graded]
    found = []
    for name, (_, most) in graded[0].questions.items() if graded else ():
        scores = [mark.questions[name][0] for mark in graded if name not in mark.unread]
        mean, solved = sum(scores) / max(len(scores), 1), sum(score >= most for score in scores)
        often = causes.get(name, Counter()).most_common(3)
        found.append(Question(name, most, round(mean, 2), solved, len(scores), often, name in graded[0].apart))
    return found


def apart(module: Module) -> frozenset[str]:
    """The names of the notebooks that are a bonus: `bonus` in module.toml."""
    return frozenset(exercise.notebook.stem for exercise in module.exercises if exercise.bonus)


def read(book: Gradebook, chosen: Iterable[Module | str], policy=None) -> list[Mark]:
    """The marks of some modules (or assignments by name, without a bonus), from an open gradebook.

    With the course's `policy` for late submissions penalties follow from the due date as it is now; without one they
    are those that the gradebook holds.
    """
    columns = list(book.t.student.c)
    people = {
        row[0]: dict(zip((c.name for c in columns), row, strict=True)) for row in book.rows(book.sql.select(*columns))
    }
    marks = []
    for one in chosen:
        name, extra = (one, frozenset()) if isinstance(one, str) else (one.folder, apart(one))
        id, due = book.assignment(name)
        known = _questions(book.cells(id))
        notebooks: dict[str, tuple[bool, list]] = {}
        for cell, _, notebook, notebook_id in known.values():
            notebooks.setdefault(notebook_id, (notebook in extra, []))[1].append(cell)
        beyond = frozenset(cell for special, cells in notebooks.values() if special for cell in cells)
        for student, entry in sorted(book.scores(id).items()):
            questions = dict.fromkeys((cell for cell, *_ in known.values()), (0.0, 0.0))
            waiting, unread, graded = 0, set(), False
            for cell_id, (cell, most, _, _) in known.items():
                row = entry["grades"].get(cell_id) or (None, None, None, None, None, None, False)
                auto, manual, needs = row[3], row[4], row[6]
                questions[cell], waiting = (score_of(row), most), waiting + bool(needs)
                graded = graded or auto is not None or manual is not None
                if needs and manual is None and auto is None:
                    unread.add(cell)
            late = seconds_late(entry, due)
            lost = [0.0, 0.0]
            for notebook, points in entry["penalties"].items():
                special, cells = notebooks.get(notebook, (False, []))
                if policy:
                    points = penalty_of(policy, student, sum(questions[cell][0] for cell in cells), late)
                lost[special] += points or 0.0
            hours = round(late / 3600, 2)
            mark = Mark(people[student], name, questions, waiting, hours, lost[0], frozenset(unread), beyond, lost[1])
            mark.graded = graded
            marks.append(mark)
    return marks


def _questions(cells: dict[str, dict[tuple[str, str], tuple]]) -> dict[str, tuple]:
    """Cell id -> (the question's name, its points, notebook, the notebook's id)."""
    return {
        row[0]: (cell, row[2], notebook, row[3])
        for notebook, names in cells.items()
        for (cell, kind), row in names.items()
        if kind in ("GradeCell", "TaskCell")
    }


def columns_of(which: str) -> dict[str, str]:
    """A map of columns: plain, or a TOML file of `"Column" = "{score}"` lines."""
    if which in MAPS:
        return MAPS[which]
    try:
        found = tomllib.loads(Path(which).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CourseError(
            f"no map of columns {which!r}: there are plain, canvas, moodle and gradescope, or name a TOML file"
        ) from None
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
