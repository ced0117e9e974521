"""Marks and feedback in the form that a school's system takes back: its own file filled in, or a small one of our own.

In a school's own file one column for each assignment is filled, or added at the end; every other byte stays.
"""

import csv
import io
import re
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tito import CourseError
from tito.course.registry import Module
from tito.course.storage import put
from tito.grading.downloads import MOODLE
from tito.grading.history import History, marks_only
from tito.grading.marks import Mark, safe
from tito.grading.roster import Person, Roster, letters, plain, read_roster
from tito.grading.sheet import Sheet

NO = ("no", "nein", "non", "não", "nee", "nie", "nej", "nei", "否", "нет")
SYSTEMS = ("canvas", "moodle", "gradescope")
OWN = re.compile(r" \((\d+|real|punkte|points?)\)$", re.I)  # what a system adds to an assignment's name
MAXIMUM = "    Points Possible"  # Canvas's second row begins so


@dataclass
class Filled:
    """What was written: the bytes, for how many students, and what a person should know."""

    data: bytes
    count: int
    notes: list[str] = field(default_factory=list)
    columns: dict[str, str] = field(default_factory=dict)  # module's folder -> the column that was filled


def with_absent(marks: list[Mark], roster: Roster, modules: list[Module]) -> list[Mark]:
    """The marks, and an empty one for everybody in the roster who has none."""
    found = []
    for module in modules:
        own = [mark for mark in marks if mark.assignment == module.folder]
        have = {mark.student["id"] for mark in own}
        for person in roster.listed():
            if person.id not in have:
                about = {"id": person.id, "first_name": person.first, "last_name": person.last, "email": person.email}
                blank = {name: (0.0, most) for name, (_, most) in own[0].questions.items()} if own else {}
                mark = Mark({**about, "lms_user_id": person.lms}, module.folder, blank, 0, 0.0)
                mark.graded, mark.apart = False, own[0].apart if own else frozenset()
                own.append(mark)
        found += own
    return found


def fill(
    sheet: Sheet,
    modules: list[Module],
    marks: list[Mark],
    roster: Roster,
    columns: dict[str, str] | None = None,
    missing: str | None = None,
) -> Filled:
    """Fill a school's own file. `columns`: module's folder -> the column's name; `missing`: the text for the absent."""
    rows = read_roster(sheet)
    kept = roster.add(person for _, person in rows)
    marked: dict[str, dict[str, Mark]] = {}
    for mark in marks:
        marked.setdefault(mark.student["id"], {})[mark.assignment] = mark
    ids = _by_names(rows, kept, roster, marked)
    notes: list[str] = []
    comma = sheet.comma or (sheet.delimiter == ";" and "." not in "".join(_numbers(sheet)))
    places = {}
    for module in modules:
        place = _column(sheet, module, modules, (columns or {}).get(module.folder), rows, notes)
        most = next((mark.most for mark in marks if mark.assignment == module.folder), None)
        places[module.folder] = _ready(sheet, place, module, most, comma, notes)
    count, locked = 0, sheet.column("locked")
    for (row, _), id in zip(rows, ids, strict=True):
        for name, place in places.items():
            got, before = marked.get(id, {}).get(name), sheet.cell(row, place)
            text = number(got.score, comma) if got and got.graded else missing
            if text is None:
                continue
            if plain(before) in ("ex", "excused", "n/a") or plain(sheet.cell(row, locked)) in NO:
                notes.append(f"{id}: the school's file says {before or 'that this grade is locked'}; left as it is.")
                continue
            sheet.fill(row, place, text)
            count += bool(got and got.graded)
    strangers = sorted({id for id, found in marked.items() if any(m.graded for m in found.values())} - set(ids))
    if strangers:
        names = ", ".join(strangers[:10]) + (" ..." if len(strangers) > 10 else "")
        notes.append(f"{len(strangers)} with marks have no line in {sheet.name}: {names}.")
    return Filled(sheet.data(), count, notes, {name: sheet.header[place] for name, place in places.items()})


def number(value: float, comma: bool = False) -> str:
    """Points as a system reads them."""
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return text.replace(".", ",") if comma else text


def _numbers(sheet: Sheet) -> Iterable[str]:
    for row in sheet.people()[:200]:
        for column in range(len(sheet.header)):
            if re.fullmatch(r"\d+[.,]\d+", text := sheet.cell(row, column)):
                yield text


def _by_names(rows: list, kept: list[Person], roster: Roster, marked: dict) -> list[str]:
    """The id of every row's student: who has no marks under it may have them under the name alone."""
    own, ids = {person.id for person in kept}, []
    for (_, seen), person in zip(rows, kept, strict=True):
        others = [one for one in roster.by_name(seen.name) if one.id in marked and one.id not in own]
        same = sum(letters(one.name) == letters(seen.name) for _, one in rows)
        fits = person.id not in marked and len(others) == 1 and same == 1
        if fits and not (others[0].lms and seen.lms and others[0].lms != seen.lms):
            ids.append(others[0].id)
        else:
            ids.append(person.id)
    return ids


def _column(
    sheet: Sheet, module: Module, modules: list, wanted: str | None, rows: list, notes: list[str]
) -> int | None:
    """The number of an assignment's column, None for one that is to be added."""
    if wanted is not None:
        found = [n for n, name in enumerate(sheet.header) if name == wanted] or [
            n for n, name in enumerate(sheet.header) if letters(OWN.sub("", name)) == letters(OWN.sub("", wanted))
        ]
        if len(found) != 1:
            there = ", ".join(repr(name) for name in sheet.header)
            many = "several columns are" if found else "no column is"
            raise CourseError(f"{many} called {wanted!r} in {sheet.name}: there are {there}")
        if found[0] in _computed(sheet):
            raise CourseError(
                f"{sheet.header[found[0]]!r} in {sheet.name} is what the school's system works out itself"
            )
        return found[0]
    if sheet.kind == "moodle" and sheet.column("grade") is not None and sheet.column("participant") is not None:
        if len(modules) > 1:
            raise CourseError(f"{sheet.name} is Moodle's worksheet of one assignment: export one module at a time")
        return sheet.column("grade")
    short = module.title.partition(":")[0]
    names = {
        module.folder,
        module.name,
        module.title,
        short,
    }
    numbers = [text for n in (module.number, str(int(module.number))) for text in (n, f"module {n}")]
    names |= {f"{n} {one}" for n in numbers for one in (module.name, short)} | {n for n in numbers if not n.isdigit()}
    names = {letters(name) for name in names}
    strip = re.compile(r"^(assignment|aufgabe|devoir|tarea|compito|opdracht|tarefa): ?", re.I)
    found = [n for n, name in enumerate(sheet.header) if letters(strip.sub("", OWN.sub("", name.strip()))) in names]
    if len(found) > 1:
        there = " or ".join(repr(sheet.header[n]) for n in found)
        raise CourseError(f"{there} may be the column of {module.folder} in {sheet.name}: say which with --column NAME")
    if found:
        return found[0]
    total = next((n for n, name in enumerate(sheet.header) if plain(name) == "total score"), None)
    if sheet.kind == "gradescope" and total is not None and len(modules) == 1:
        return total
    marked = [n for n, name in enumerate(sheet.header) if OWN.search(name) or f"{name} - Max Points" in sheet.header]
    marked = [n for n in marked if n not in _computed(sheet)]
    blank = ("", "-", "0", "0.0") if sheet.kind == "gradescope" else ("", "-")
    empty = [n for n in marked if all(sheet.cell(row, n) in blank for row, _ in rows)]
    if len(modules) == len(empty) == 1:
        notes.append(f"{module.folder} went into {sheet.header[empty[0]]!r}, the one empty column of an assignment.")
        return empty[0]
    more = (
        f" (to fill one that is there: --column, {', '.join(repr(sheet.header[n]) for n in marked)})" if marked else ""
    )
    notes.append(f"No column is called {module.folder}: one was added{more}.")
    return None


def _computed(sheet: Sheet) -> set[int]:
    """The columns that a system works out itself and does not take back: read only, or a course's total."""
    tops = [row for row in range(sheet.first + 1, min(sheet.first + 4, len(sheet.rows))) if sheet.is_top(row)]
    return {
        n
        for n, name in enumerate(sheet.header)
        if any("read only" in sheet.cell(row, n).lower() for row in tops)
        and sheet.kind == "canvas"
        or plain(OWN.sub("", name)) in ("course total", "category total", "kurs gesamt", "total du cours")
    }


def _ready(sheet: Sheet, place: int | None, module: Module, most: float | None, comma: bool, notes: list[str]) -> int:
    """The column's number, after it was added if there is none; a maximum that differs is told."""
    under = range(sheet.first + 1, min(sheet.first + 4, len(sheet.rows))) if sheet.kind == "canvas" else ()
    top = next(
        (row for row in reversed(under) if sheet.is_top(row) and "manual" not in sheet.cell(row, 0).lower()), None
    )
    if place is None:
        place = max(len(cells) for cells, _ in sheet.rows[sheet.first :])
        for row in range(sheet.first, len(sheet.rows)):
            cells = sheet.rows[row][0]
            if cells != [""]:
                text = module.folder if row == sheet.first else number(most, comma) if row == top and most else ""
                cells += [""] * (place + 1 - len(cells))
                sheet.fill(row, place, text)
        sheet.header.append(module.folder)
        return place
    people = sheet.people()
    said = sheet.cell(top, place) if top is not None else ""
    if sheet.kind == "moodle" and people and place == sheet.column("grade"):
        said = sheet.cell(people[0], sheet.column("top"))
    try:
        theirs = float(said.replace(",", "."))
    except ValueError:
        return place
    if most is not None and theirs != most:
        where = f"{sheet.header[place]!r} is out of {theirs:g} there, {module.folder} out of {most:g} here"
        notes.append(f"{where}: the points were written as they are here.")
    return place


def small(
    system: str,
    modules: list[Module],
    marks: list[Mark],
    roster: Roster,
    grading: Path,
    missing: str | None = None,
    per_question: bool = False,
) -> Filled:
    """A file that a system imports, made of what is known here: a row for each student, a column for each module."""
    students = list(dict.fromkeys(mark.student["id"] for mark in marks))
    found = {(mark.student["id"], mark.assignment): mark for mark in marks}
    names = [module.folder for module in modules]
    tops = {name: next((number(m.most) for m in marks if m.assignment == name), "") for name in names}
    questions = [(name, q) for name in names if per_question
                 for q in dict.fromkeys(q for m in marks if m.assignment == name for q in m.questions)]  # fmt: skip
    people = {id: roster.people.get(id) or Person(id) for id in students}
    for mark in marks:
        person = people[mark.student["id"]]
        for own, name in (("first", "first_name"), ("last", "last_name"), ("email", "email"), ("lms", "lms_user_id")):
            setattr(person, own, getattr(person, own) or mark.student.get(name) or "")
    sheet = system == "moodle" and len(names) == 1
    numbers = {id: _participant(people[id], grading, names[0]) for id in students} if sheet else {}
    about, head = _form(system, numbers)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*head, *_titles(system, names, numbers), *(f"{name} {q}" for name, q in questions)])
    if system == "canvas":
        writer.writerow([MAXIMUM, *[""] * (len(head) - 1), *(tops[name] for name in names)])
    count = 0
    for id in students:
        row = [safe(text) for text in about(people[id], numbers.get(id, ""))]
        for name in names:
            got = found.get((id, name))
            score = number(got.score) if got and got.graded else missing or ""
            row += _cells(system, got, score, tops[name], numbers, grading, id)
            count += bool(got and got.graded)
        marked = [(found.get((id, name)), q) for name, q in questions]
        row += [number(m.questions[q][0]) if m and m.graded and q in m.questions else "" for m, q in marked]
        writer.writerow(row)
    return Filled(out.getvalue().encode(), count)


def _form(system: str, numbers: dict):
    """(person, number of the participant -> the first cells of a row, their titles)."""
    if system == "canvas":

        def about(p: Person, _: str) -> list[str]:
            alone = not (p.login or p.number or p.lms)
            name = ", ".join(part for part in (p.last, p.first) if part) or p.full or p.id
            return [name, p.lms, p.number or (p.id if alone else ""), p.login or (p.id if alone else ""), ""]

        return about, ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    if system == "gradescope":
        head = ["First Name", "Last Name", "SID", "Email", "Sections"]
        return lambda p, _: [*_both(p), p.number or (p.id if "@" not in p.id else ""), p.email, ""], head
    if numbers and all(numbers.values()):
        head = ["Identifier", "Full name", "ID number", "Email address", "Status"]
        return lambda p, one: [f"Participant {one}", p.name, p.number, p.email, ""], head
    head = ["First name", "Last name", "ID number", "Email address"]
    return lambda p, _: [*_both(p), p.number or ("" if p.email else p.id), p.email], head


def _both(person: Person) -> list[str]:
    """First and last name."""
    if person.first or person.last or not person.full:
        return [person.first, person.last or ("" if person.first else person.id)]
    first, _, last = person.full.rpartition(" ")
    return [first, last]


def _titles(system: str, names: list[str], numbers: dict) -> list[str]:
    if system == "gradescope":
        ends = ("", " - Max Points", " - Submission Time", " - Lateness (H:M:S)")
        return [f"{name}{end}" for name in names for end in ends]
    if numbers and all(numbers.values()):
        return ["Grade", "Maximum Grade", "Grade can be changed", "Last modified (grade)", "Feedback comments"]
    return names


def _cells(system: str, mark: Mark | None, score: str, top: str, numbers: dict, grading: Path, id: str) -> list[str]:
    if system == "gradescope":
        versions = History(grading, mark.assignment, id).in_place() if mark else []
        stamp = None if marks_only(versions) else max((version.moment for version in versions), default=None)
        seconds = round(mark.late_hours * 3600) if mark else 0
        late = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}" if stamp else ""
        return [score, top, f"{stamp:%Y-%m-%d %H:%M:%S} +0000" if stamp else "", late]
    if numbers and all(numbers.values()):
        return [score, top, "Yes", "-", ""]
    return [score]


def _participant(person: Person, grading: Path, assignment: str) -> str:
    """Moodle's number of a student in an assignment: from the download, or the only one that is known."""
    seen = [v.number for v in History(grading, assignment, person.id).versions if v.system == "moodle"]
    return seen[-1] if seen else person.participants[-1] if len(person.participants) == 1 else ""


# Feedback -------------------------------------------------------------------------------------------------------


def pack(settings: dict, grading: Path, module: Module, system: str, students: list[str], target: Path) -> Filled:
    """A zip of the students' pages, named as the system's download was, so that it finds each student again."""
    pages, left = {}, []
    for student in students:
        mine = 0
        for version in History(grading, module.folder, student).in_place():
            page = settings["feedback"] / student / module.folder / f"{version.notebook.removesuffix('.ipynb')}.html"
            if version.system == system and page.is_file():
                name = _returned(version.path, system, page.stem)
                if name in pages and len(version.group) > 1:
                    mine += 1  # one page for the group, as there was one submission
                    continue
                if name in pages:
                    name = f"{name.removesuffix('.html')}-{page.stem}.html"
                pages[name] = page
                mine += 1
        left += [] if mine else [student]
    if not pages:
        raise CourseError(
            f"no page of {module.folder} belongs to a submission from {system.capitalize()}: "
            f"tito grade collect {module.number} its download, run, feedback"
        )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, page in sorted(pages.items()):
            member = zipfile.ZipInfo.from_file(page, name)
            member.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(member, page.read_bytes())
    put(target, out.getvalue())
    words = ", ".join(left[:10]) + (" ..." if len(left) > 10 else "")
    notes = [f"{len(left)} are not in it, their submissions came another way: {words}."] if left else []
    return Filled(b"", len(pages), notes)


def _returned(path: str, system: str, notebook: str) -> str:
    head = path.partition("/")[0]
    if system == "canvas":
        return f"{re.sub(r'[.](ipynb|zip)$', '', head, flags=re.I)}.html"
    match = MOODLE.fullmatch(head)
    if match and match["file"]:
        return f"{head[: match.start('file')]}{notebook}.html"
    return f"{head}/{notebook}.html"
