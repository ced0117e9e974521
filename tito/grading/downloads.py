"""Whose a file of a download is: the names that Canvas, Moodle, Gradescope and nbgrader give, and plain folders.

In this order: the system's own number, looked up in the roster; else the outermost folder; else the name. What inside
a student's folder or archive looks like somebody else's is still that student's.
"""

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from tito import CourseError
from tito.course.registry import Course
from tito.grading.roster import Person, Roster, letters, plain, student_id
from tito.grading.sources import NOTEBOOK, Budget, Entry, inside
from tito.grading.submissions import LONGEST, RejectedError, is_id
from tito.grading.times import parse_stamp

CANVAS = re.compile(r"_(?P<user>\d+)_(?P<attachment>\d+)_(?=.)")
ANONYMOUS = re.compile(r"(?P<late>LATE_)?anon_(?P<user>[A-Za-z0-9]+)_(?P<attachment>\d+)_(?P<file>.+)")
MOODLE = re.compile(r"(?P<name>.+?)_(?P<user>\d+)_assignsubmission_(?P<plugin>[a-z]+)(_(?P<file>.*))?", re.S)
AROUND = re.compile(r"submission|export|download|abgabe|assign|\d{3}", re.I)  # what stands around a whole download
METADATA = "submission_metadata.yml"
# what a browser, JupyterLab, a desktop or Canvas adds to the name of a second copy
COPY = re.compile(r"(?:[-_ ]+Copy(?P<copy>\d*)|[ _+]?\((?P<again>\d+)\)|[-_ ]+(?:Kopie|copie|copia)(?: ?\d*))$", re.I)
BEFORE = re.compile(r"^(?:copy|kopie|copie|copia|cópia)(?: ?\(?\d+\)?)? (?:of|von|van|de|di) ", re.I)
# what is no part of a student's name
STAGE = re.compile(r"(?:^|[\W_]+)(?:late|final|version|v\d{1,2}|copy|solutions?|submission)(?=$|[\W_])", re.I)
NUMBERED = re.compile(r"-(?P<number>\d+)$")


@dataclass
class Seen:
    """What a download says of a file: the student's number and name there, its order among the student's files."""

    system: str
    number: str = ""
    name: str = ""
    email: str = ""
    sid: str = ""
    order: int = 0  # Canvas: the attachment's number, which grows
    late: bool | None = None  # Canvas's mark
    stamp: datetime | None = None  # the system's own time, UTC
    other: tuple["Seen", ...] = ()  # other readings of the same name

    @property
    def words(self) -> str:
        """For a person: what was seen."""
        parts = [self.name, self.sid, self.email, f"number {self.number}" if self.number else ""]
        return f"{self.system}: " + ", ".join(part for part in parts if part)


@dataclass
class Owned:
    """A file and whose it is: ids of students, or why that cannot be said and whom it might be."""

    entry: Entry
    students: tuple[Person, ...] = ()
    seen: Seen | None = None
    why: str = ""
    like: list[Person] = field(default_factory=list)


def canvas(name: str) -> Seen | None:
    """What Canvas writes: `{name}[_LATE]_{user}_{attachment}_{file}`, or `[LATE_]anon_{code}_{attachment}_{file}`.

    Where several places could be the two numbers the first counts, as for Canvas itself; the others are kept.
    """
    if match := ANONYMOUS.fullmatch(name):
        code = f"anon_{match['user']}"
        return Seen("canvas", code, code, order=int(match["attachment"]), late=bool(match["late"]))
    found = []
    for match in re.finditer(rf"(?={CANVAS.pattern})", name):
        owner = name[: match.start()]
        late = owner.endswith("_LATE")
        owner = owner.removesuffix("_LATE")
        if (owner or not match.start() or late) and not owner.endswith("_LATE"):
            found.append(Seen("canvas", match["user"], owner, order=int(match["attachment"]), late=late))
    if not found:
        return None
    found[0].other = tuple(found[1:])
    return found[0]


def moodle(name: str) -> Seen | None:
    """What Moodle writes: `{First Last}_{participant}_assignsubmission_file_` as a folder or before a file's name."""
    match = MOODLE.fullmatch(name)
    return Seen("moodle", match["user"], match["name"]) if match else None


def exchange(name: str, assignment: str) -> Seen | None:
    """What nbgrader writes: `STUDENT+ASSIGNMENT+TIME[+RANDOM]`."""
    user, _, rest = name.partition(f"+{assignment}+")
    stamp = parse_stamp(rest) or parse_stamp(rest.rpartition("+")[0])
    return Seen("nbgrader", "", user, stamp=stamp) if user and stamp else None


def gradescope(entry: Entry) -> dict[str, list[Seen]]:
    """Folder -> the submitters, from `submission_metadata.yml`; keys may begin with a colon, all values are text."""
    import yaml

    try:
        data = yaml.load(entry.load(64 << 20), Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))
    except (yaml.YAMLError, RejectedError, ValueError, RecursionError) as error:
        raise CourseError(f"{entry.shown} cannot be read: {' '.join(str(error).split())[:200]}") from None
    found: dict[str, list[Seen]] = {}
    for folder, about in _bare(data).items() if isinstance(data, dict) else ():
        about = _bare(about)
        made = about.get("created_at", "")
        made = made.get("utc", "") if isinstance(made, dict) else made  # Rails' own way to write a time with its zone
        stamp = parse_stamp(_text(made))
        people = about.get("submitters")
        found[plain(folder)] = [
            Seen("gradescope", "", _text(one.get("name")), _text(one.get("email")), _text(one.get("sid")), stamp=stamp)
            for one in map(_bare, people if isinstance(people, list) else [])
        ]
    return found


def _text(data: object) -> str:
    """A scalar of YAML; nothing for what is none (written out, aliases inside each other would have no end)."""
    return data if isinstance(data, str) else ""


def _bare(data: object) -> dict:
    """A mapping whose keys are Ruby's symbols, without their colons."""
    return {_text(key).lstrip(":"): item for key, item in data.items()} if isinstance(data, dict) else {}


def owners(entries: list[Entry], course: Course, assignment: str, roster: Roster, budget: Budget) -> list[Owned]:
    """Whose each file of one download is."""
    form, entries, wrapper = _root(entries, course, assignment, roster, budget)
    if form == "gradescope":
        about = gradescope(next(entry for entry in entries if entry.parts == (METADATA,)))
        found = [(entry, about.get(plain(entry.parts[0]), [])) for entry in entries if entry.parts != (METADATA,)]
    else:
        read = {"canvas": canvas, "moodle": moodle, "nbgrader": lambda name: exchange(name, assignment)}.get(form)
        heads = {entry.parts[0]: read(entry.parts[0]) for entry in entries} if read else {}
        found = [(entry, [seen] if (seen := heads.get(entry.parts[0])) else []) for entry in entries]
    doubtful = _doubtful([seen for _, all in found for seen in all])
    made: dict = {}
    owned: list = []
    for entry, all in found:
        if form == "plain":
            owned.append(_plain(entry, course, roster, wrapper, made))
        elif form == "canvas" and all and all[0].name == "studenttest" and not roster.by_number(form, all[0].number):
            owned.append(Owned(entry, why="test"))
        elif not all:
            where = f"the download is {form.capitalize()}'s, and does not say whose this is"
            owned.append(Owned(entry, why=where, like=roster.like(entry.parts[0])))
        else:
            owned.append(_known(entry, all, roster, doubtful, made))
    return owned


def _root(entries: list[Entry], course: Course, assignment: str, roster: Roster, budget: Budget):
    """(form, entries seen from the folder that holds the students, name of what lay around it).

    Goes into a folder or archive that stands alone, as long as it leads to a form that is known.
    """
    here, names = entries, [entries[0].source.replace("\\", "/").rpartition("/")[2]] if entries else []
    for _ in range(6):
        useful = [entry for entry in here if not entry.junk]
        heads = {entry.parts[0] for entry in useful}
        form = _form(useful, heads, assignment)
        if form and here is not entries and len(heads) == 1 and not AROUND.search(names[-1]):
            break  # one student's folder or archive, whatever lies in it
        if form:
            return form, useful, names[-1] if names else ""
        if len(heads) != 1 or roster.by_key(next(iter(heads))):
            break
        if any(len(entry.parts) == 1 for entry in useful):
            if len(useful) > 1 or not useful[0].is_zip:
                break
            try:
                here = [entry.below(1) for entry in inside(useful[0], budget)]
            except RejectedError:
                break
        else:
            here = [entry.below(1) for entry in useful]
        names.append(next(iter(heads)))
    return "plain", *_class_folder([entry for entry in entries if not entry.junk], course, roster, names[:1])


def _form(entries: list[Entry], heads: Collection[str], assignment: str) -> str | None:
    if any(entry.parts == (METADATA,) for entry in entries):
        return "gradescope"
    if any(moodle(head) for head in heads):
        return "moodle"
    if any(exchange(head, assignment) for head in heads):
        return "nbgrader"
    return "canvas" if 2 * sum(bool(canvas(head)) for head in heads) >= max(len(heads), 1) else None


def _class_folder(entries: list[Entry], course: Course, roster: Roster, names: list[str]):
    """Plain folders: one that holds the whole class, or a module's, is gone through; (entries, its name)."""
    modules = {module.folder for module in course.modules}
    for _ in range(3):
        heads = {entry.parts[0] for entry in entries}
        if heads and heads <= modules and all(len(entry.parts) > 1 for entry in entries):
            entries, names = [entry.below(1) for entry in entries], [*names, next(iter(heads))]
            continue
        if len(heads) != 1 or roster.by_key(head := next(iter(heads))):
            break
        books = [entry for entry in entries if entry.is_notebook or entry.is_zip]
        inner = {entry.parts[1] for entry in books if len(entry.parts) > 2}
        straight = any(len(entry.parts) == 2 and entry.is_notebook for entry in books)
        whole = len(inner) > 1 and not inner & modules and not straight
        deeper = {entry.parts[2] for entry in books if len(entry.parts) > 3}
        whole = whole or bool(inner and inner <= modules and len(deeper) > 1)
        if not (whole or inner and not straight and all(roster.by_key(name) for name in inner)):
            break
        entries, names = [entry.below(1) for entry in entries if len(entry.parts) > 1], [*names, head]
    return entries, names[-1] if names else ""


def _doubtful(all: list[Seen]) -> dict[str, bool]:
    """Names that stand for several numbers of a download, and so for nobody without a roster.

    True for the one that Moodle writes in place of every name: nobody knows the word in all its languages.
    """
    numbers = defaultdict(set)
    for seen in all:
        if seen.number and seen.name:
            numbers[plain(seen.name)].add(seen.number)
    alone = len(numbers) == 1 and all[0].system == "moodle"
    return {
        name: alone and (len(found) > 2 or _hidden(name)) or all[0].system == "moodle" and _hidden(name)
        for name, found in numbers.items()
        if len(found) > 1
    }


def _known(entry: Entry, all: list[Seen], roster: Roster, doubtful: dict, made: dict) -> Owned:
    """The owner of a file of which the download says something."""
    people = roster.group(all[0].name) if all[0].system == "moodle" else []
    if people:
        return Owned(entry, tuple(people), all[0])
    for seen in all:
        person, why, chosen = _person(seen, roster, doubtful, made)
        if person is None:
            who = roster.like(seen.name) or roster.like(seen.email.partition("@")[0])
            return Owned(entry, (), seen, f"{why} ({seen.words})", who)
        people.append(person)
        all[all.index(seen)] = chosen
    unique = tuple({person.id: person for person in people}.values())
    return Owned(entry, unique, all[0])


def _person(seen: Seen, roster: Roster, doubtful: dict, made: dict) -> tuple[Person | None, str, Seen]:
    """(student or None, why not, the reading that was right)."""
    readings = [(roster.by_number(seen.system, one.number), one) for one in (seen, *seen.other) if one.number]
    known = [(person, one) for person, one in readings if person and (roster.whole or one is seen)]
    if len({person.id for person, _ in known}) > 1:
        known = [(person, one) for person, one in known if letters(one.name) in person.names()]
        if len(known) != 1:
            return None, "its name holds the numbers of several students", seen
    if known:
        return known[0][0], "", known[0][1]
    keys = {p.id: p for text in (seen.sid, seen.email) if text for p in roster.by_key(text)}
    found = list(keys.values()) or (roster.by_key(seen.name) if seen.system == "nbgrader" else [])
    if len(found) == 1:
        return found[0], "", seen
    anonymous = seen.number.startswith("anon_")
    if roster.whole and not anonymous:
        named = [person for person in roster.by_name(seen.name) if person.listed]
        # a number that the roster holds for this system is missing: then a name alone is enough if only one has it
        if len(named) == 1 and plain(seen.name) not in doubtful and not _other_number(named[0], seen):
            return named[0], "", seen
        why = f"{len(named)} students are called that" if len(named) > 1 else "the roster does not know whose it is"
        return None, why, seen
    hidden = doubtful.get(plain(seen.name), seen.system == "moodle" and _hidden(seen.name))
    if plain(seen.name) in doubtful and not hidden:
        return None, "several students are called that, and there is no roster", seen
    number = f"participant-{seen.number}" if seen.system == "moodle" else seen.number
    id = student_id(number if hidden else seen.sid or seen.email or seen.name or seen.number)
    if not is_id(id):  # longer than any folder's name
        same = {person.id for person in roster.by_name(seen.name)}
        id = same.pop() if len(same) == 1 else student_id(number)
    if not is_id(id):
        return None, f"no id can be made of the name (1 to {LONGEST} characters)", seen
    old = made.get(id) or roster.people.get(id)
    if old is None:
        old = made[id] = Person(id, full="" if anonymous else seen.name, email=seen.email, number=seen.sid)
        old.lms = seen.number if seen.system == "canvas" and not anonymous else ""
    elif _other_number(old, seen):
        return None, f"{old.id} has another number there ({old.lms})", seen
    if seen.system == "moodle" and seen.number not in old.participants:
        old.participants.append(seen.number)
    return old, "", seen


def _other_number(person: Person, seen: Seen) -> bool:
    """Whether Canvas, where a number stays a student's, gave this one another."""
    return bool(seen.system == "canvas" and person.lms and person.lms.isdigit() and person.lms != seen.number)


def _hidden(name: str) -> bool:
    """Whether Moodle hid the name: it then writes its word for a participant."""
    return plain(name) in {"participant", "teilnehmer/in", "teilnehmer_in", "teilnehmerin", "participante",
                           "partecipante", "deelnemer", "hidden user"}  # fmt: skip


def _plain(entry: Entry, course: Course, roster: Roster, wrapper: str, made: dict) -> Owned:
    """The owner of a file in plain folders: the outermost folder or archive, else the name."""
    head, *inner = entry.parts
    texts = [head if inner else head[:-4]] if inner or entry.is_zip else _names_of(head, course)
    around = re.sub(r"\.zip$", "", wrapper, flags=re.I)
    if roster.by_key(around):  # a folder or an archive of one student, whatever lies in it
        if any(roster.find(text) != roster.by_key(around) for text in texts if roster.find(text)):
            return Owned(entry, (), None, f"{around!r} is a student, and {texts[0]!r} in it is another")
        texts = [around]
    for text in texts:
        people = roster.find(text)
        if len(people) == 1:
            return Owned(entry, (people[0],), Seen("folder" if inner else "file", name=text))
        if len(people) > 1:
            return Owned(entry, (), None, f"{text!r} may be {' or '.join(p.id for p in people[:5])}")
    if not texts:
        return Owned(entry, (), None, "neither a folder nor its name says whose it is")
    if roster.whole:
        like = [person for text in texts for person in roster.like(text)][:3]
        return Owned(entry, (), None, f"the roster knows no {texts[0]!r}", like)
    id = student_id(texts[-1])
    if not is_id(id):
        return Owned(entry, (), None, f"no id can be made of {texts[-1]!r} (1 to {LONGEST} characters)")
    person = made.setdefault(id, roster.people.get(id) or Person(id))
    return Owned(entry, (person,), Seen("folder" if inner else "file", name=texts[-1]))


def _names_of(file: str, course: Course) -> list[str]:
    """What a file's name leaves when the notebook's is taken away: as it is, and without the marks of a copy."""
    own = {path.stem for module in course.modules for path in module.notebooks}
    own |= {name for module in course.modules for name in (module.folder, module.name)}
    stem, found = NOTEBOOK.sub("", file), []
    for text in dict.fromkeys((stem, strip_copy(stem)[0], strip_number(strip_copy(stem)[0])[0])):
        if strip_number(text)[0].lower() in own:
            return []  # the notebook's own name: nobody's
        for name in sorted(own, key=len, reverse=True):
            parts = re.fullmatch(
                rf"(?:(.+?)[^\w']+|(.+?)_+)?{re.escape(name)}(?:[^\w']+(.+)|_+(.+))?", text, re.I | re.S
            )
            rest = [part for part in parts.groups() if part] if parts else []
            if len(rest) == 1:
                text = rest[0]
                break
        found.append(text)
    found += [STAGE.sub("", found[-1])]
    return list(dict.fromkeys(text.strip(" _-–—()[]{},") for text in found)) if re.search(r"\w", found[-1]) else []


def is_called(stem: str, book: str) -> bool:
    """Whether a file's name is a notebook's: alone, with a number, or after what a system or a student put before."""
    return any(text == book or text.endswith(f"_{book}") for text in (stem, strip_number(stem)[0]))


def other(one: Owned, name: str) -> str:
    """What a file is that is no notebook."""
    system = one.seen.system if one.seen else ""
    if system == "moodle" and "onlinetext" in one.entry.shown or system == "canvas" and name.endswith("_text.html"):
        return "text that was typed in, no notebook"
    if system == "canvas" and name.endswith("_link.html"):
        return "a link, no notebook"
    return "no notebook"


def strip_copy(stem: str) -> tuple[str, int]:
    """(name without the marks of a copy, which copy it is)."""
    number, bare = 0, BEFORE.sub("", stem.lstrip())
    if bare != stem.lstrip():
        stem, number = bare, 1
    while match := COPY.search(stem):
        number = max(number, int(match["copy"] or match["again"] or 1))
        stem = stem[: match.start()]
    return stem, number


def strip_number(stem: str) -> tuple[str, int]:
    """(name without Canvas's number of a resubmission, the number)."""
    match = NUMBERED.search(stem)
    return (stem[: match.start()], int(match["number"])) if match else (stem, 0)
