"""Who is in the course: read from the school's own CSV, kept in `grading/roster.json`, asked whose a file is.

A student's id in the gradebook is the first of these that the school's file holds: the login, the school's number, the
e-mail address, the system's own number; it never changes afterwards. What a folder's name should not hold becomes `~`
and two hexadecimal digits for each of its bytes, and can be read back.
"""

import json
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tito import CourseError
from tito.course.storage import restored, write_atomic
from tito.grading.sheet import PARTICIPANT, Sheet
from tito.grading.submissions import LONGEST, is_id
from tito.grading.times import written

INVISIBLE = re.compile("[\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")  # directions, blanks of no width


@dataclass
class Person:
    """A student. `participants`: Moodle's numbers, one for each assignment; `times`: when that was handed in, in UTC.

    `listed`: stands in a file of the school, and was not only seen in a download.
    """

    id: str
    first: str = ""
    last: str = ""
    full: str = ""
    email: str = ""
    login: str = ""
    number: str = ""
    lms: str = ""
    participants: list[str] = field(default_factory=list)
    times: dict[str, str] = field(default_factory=dict)
    listed: bool = False
    groups: list[str] = field(default_factory=list)  # Moodle's, which hand in together

    @property
    def name(self) -> str:
        """The name as people write it, else the id."""
        return f"{self.first} {self.last}".strip() or self.full or self.id

    def keys(self) -> set[str]:
        """What names this student and nobody else in the course."""
        return {plain(text) for text in (self.id, readable(self.id), self.login, self.number, self.email) if text}

    def names(self) -> set[str]:
        """The ways in which systems write the name, without blanks and signs."""
        found = (f"{self.first} {self.last}", f"{self.last} {self.first}", self.full, _turned(self.full))
        return {letters(text) for text in found} - {""}


def plain(text: str) -> str:
    """Text for comparison: composed, without the difference of capitals."""
    text = INVISIBLE.sub("", unicodedata.normalize("NFC", text))
    return unicodedata.normalize("NFC", text.casefold()).strip()


def letters(text: str) -> str:
    """A name as Canvas writes it: letters, marks and numbers of any script, nothing between them."""
    return "".join(ch for ch in plain(text) if unicodedata.category(ch)[0] in "LMN")


def _bare(text: str) -> str:
    """A name without accents, to suggest and never to decide."""
    return "".join(ch for ch in unicodedata.normalize("NFKD", letters(text)) if not unicodedata.combining(ch))


def _turned(full: str) -> str:
    """`Last, First` the other way round."""
    last, comma, first = full.partition(",")
    return f"{first} {last}" if comma else ""


def student_id(text: str) -> str:
    """An id that may name a folder: letters, marks, digits of any script and . _ @ + - stay, others become ~XX."""
    text = INVISIBLE.sub("", unicodedata.normalize("NFC", text)).strip()
    made = []
    for number, ch in enumerate(text):
        fits = bool(re.fullmatch(r"[\w.@+-]" if number else r"[^\W_]", ch))
        fits = fits or number > 0 and unicodedata.category(ch)[0] == "M"
        made.append(ch if fits else "".join(f"~{byte:02X}" for byte in ch.encode("utf-8", "replace")))
    return "".join(made)


def readable(id: str) -> str:
    """The text that `student_id` was given."""
    parts = re.split(r"((?:~[0-9A-F]{2})+)", id)
    return "".join(
        bytes.fromhex(part.replace("~", "")).decode("utf-8", "replace") if part.startswith("~") else part
        for part in parts
    )


class Roster:
    """The students that are known, by id."""

    def __init__(self, people: Iterable[Person] = (), path: Path | None = None):
        self.path, self.people = path, {person.id: person for person in people}
        self._found: dict = {}
        self._built = -1

    @classmethod
    def load(cls, folder: Path) -> "Roster":
        """What is kept in the grading folder."""
        path = folder / "roster.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
            return cls([restored(Person, one) for one in data], path)
        except (OSError, ValueError, TypeError) as error:
            raise CourseError(f"{path} cannot be read ({error}): remove it, and give --roster FILE again") from None

    def save(self) -> None:
        """Keep it."""
        lines = (json.dumps(asdict(self.people[id]), ensure_ascii=False, sort_keys=True) for id in sorted(self.people))
        assert self.path  # of a roster that `load` made
        write_atomic(self.path, "[\n" + ",\n".join(lines) + "\n]\n")

    @property
    def whole(self) -> bool:
        """Whether a file of the school said who is in the course: then there is nobody else."""
        return any(person.listed for person in self.people.values())

    def listed(self) -> list[Person]:
        """Those whom a file of the school named, by name."""
        return sorted((p for p in self.people.values() if p.listed), key=lambda p: (plain(p.last or p.name), p.id))

    def add(self, found: Iterable[Person], by_id: bool = False) -> list[Person]:
        """Take people in; who is known already keeps the id and gains what was not known. Returns them as kept.

        With `by_id` nobody is known by anything else: two ids of a gradebook are two students.
        """
        kept, these = [], set()
        by_key = {key: person for person in self.people.values() for key in self._strong(person)}
        for new in found:
            old = self.people.get(new.id) if by_id else None
            old = old or next((by_key[key] for key in self._strong(new) if key in by_key and not by_id), None)
            if old and old in kept and letters(old.name) != letters(new.name):
                raise CourseError(
                    f"the roster has one number or address twice: {old.name} and {new.name}; mend the file"
                )
            if old is None:
                old = self.people[new.id] = new
            elif old is not new:
                for name in ("first", "last", "full", "email", "login", "number", "lms"):
                    setattr(old, name, getattr(new, name) or getattr(old, name))
                old.participants = list(dict.fromkeys([*old.participants, *new.participants]))
                old.times, old.listed = {**old.times, **new.times}, old.listed or new.listed
                old.groups = new.groups or old.groups
            by_key.update(dict.fromkeys(self._strong(old), old))
            kept.append(old)
            these.add(old.id)
        self._built = -1
        return kept

    @staticmethod
    def _strong(person: Person) -> list[tuple[str, str]]:
        own = [("canvas", person.lms)] if person.lms else []
        return [*own, *(("moodle", one) for one in person.participants), *(("key", key) for key in person.keys())]

    def _index(self) -> dict[tuple[str, str], list[Person]]:
        """What names somebody -> whom: built anew after somebody came in."""
        if self._built != len(self.people):
            self._found, self._built = {}, len(self.people)
            for person in self.people.values():
                names = [("name", name) for name in person.names()]
                names += [("group", name) for name in map(letters, person.groups) if name]
                for key in {*self._strong(person), *names}:
                    self._found.setdefault(key, []).append(person)
        return self._found

    def by_number(self, system: str, number: str) -> Person | None:
        """The student to whom a system gives a number."""
        return next(iter(self._index().get((system, number), ())), None) if number else None

    def by_key(self, text: str) -> list[Person]:
        """Those whose id, login, number or address the text is."""
        return self._index().get(("key", plain(text)), []) if plain(text) else []

    def by_name(self, text: str) -> list[Person]:
        """Those whose name the text is, in either order."""
        found = (self._index().get(("name", name), []) for name in {letters(text), letters(_turned(text))} - {""})
        return list({person.id: person for people in found for person in people}.values())

    def group(self, name: str) -> list[Person]:
        """The members of a group, where nobody has its name."""
        return [] if self.by_name(name) else self._index().get(("group", letters(name)), [])

    def find(self, text: str) -> list[Person]:
        """Those whom a text names: by what is theirs alone, else by name."""
        return self.by_key(text) or self.by_name(text)

    def like(self, text: str) -> list[Person]:
        """Whom a text might mean: a guess, for a person to decide."""
        wanted = _bare(text)
        return [
            person
            for person in self.people.values()
            if wanted
            and (
                wanted in {_bare(name) for name in person.names()}
                or wanted in {_bare(key.partition("@")[0]) for key in person.keys()}
            )
        ][:3]

    def one(self, text: str) -> Person | None:
        """The student whom an instructor's word names, None if nobody; CourseError if several."""
        exact = self.people.get(text)
        found = [exact] if exact else self.find(text)
        if len(found) > 1:
            raise CourseError(f"{text!r} names {' and '.join(p.id for p in found[:5])}: say which id is meant")
        return found[0] if found else None


def read_roster(sheet: Sheet) -> list[tuple[int, Person]]:
    """(row, student) of every student in a school's file."""
    column = {name: sheet.column(name) for name in ("first name", "last name", "full name", "email", "login", "number")}
    number = {"canvas": "id", "moodle": "participant", "nbgrader": "lms"}.get(sheet.kind)
    system = sheet.column(number) if number else None
    when, group = sheet.column("handed in"), sheet.column("group")
    people = []
    for row in sheet.people():
        said = {name: sheet.cell(row, place) for name, place in column.items()}
        own = sheet.cell(row, system)
        person = Person("", said["first name"], said["last name"], said["full name"], said["email"], listed=True)
        if sheet.kind == "canvas" and "," in person.full:
            person.last, _, person.first = (part.strip() for part in person.full.partition(","))
        person.login, person.number = said["login"], said["number"]
        if sheet.kind == "moodle":
            match = PARTICIPANT.fullmatch(own)
            person.participants = [match[1]] if match else []
            together = sheet.cell(row, group)
            person.groups = [one for one in dict.fromkeys([together, *together.split(", ")]) if one]
            moment = written(sheet.cell(row, when)) if match and when is not None else None
            person.times = {match[1]: moment.isoformat()} if match and moment else {}
            own = f"participant-{match[1]}" if match else ""
        elif sheet.kind in ("canvas", "nbgrader"):
            person.lms = own
        key = sheet.cell(row, sheet.column("id")) if sheet.kind == "nbgrader" else ""
        text = key or person.login or person.number or person.email or own or person.name
        person.id = student_id(text)
        if not is_id(person.id):
            where = f"{sheet.name}, line {row + 1}"
            raise CourseError(f"{where}: no id can be made of {text!r} (1 to {LONGEST} characters)")
        people.append((row, person))
    return people


def gradebook_people(book) -> list[Person]:
    """The students of an open gradebook."""
    s = book.t.student
    rows = book.rows(book.sql.select(s.c.id, s.c.first_name, s.c.last_name, s.c.email, s.c.lms_user_id))
    return [Person(id, first or "", last or "", email=mail or "", lms=lms or "") for id, first, last, mail, lms in rows]


def to_gradebook(book, people: Iterable[Person]) -> int:
    """Write students into an open gradebook, where something is new; returns how many."""
    s, known, count = book.t.student, {person.id: person for person in gradebook_people(book)}, 0
    for person in people:
        old = known.get(person.id)
        new = {"first_name": person.first, "last_name": person.last, "email": person.email, "lms_user_id": person.lms}
        if not person.first and not person.last and person.full:
            new["first_name"], _, new["last_name"] = person.full.rpartition(" ")
        if old is None:
            book.connection.execute(book.sql.insert(s).values(id=person.id, **{k: v or None for k, v in new.items()}))
            count += 1
            continue
        have = {"first_name": old.first, "last_name": old.last, "email": old.email, "lms_user_id": old.lms}
        changed = {name: text for name, text in new.items() if text and text != have[name]}
        if changed:
            book.connection.execute(book.sql.update(s).where(s.c.id == person.id).values(**changed))
            count += 1
    return count
