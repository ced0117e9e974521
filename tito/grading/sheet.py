"""A school's CSV, cell by cell: what is not filled in keeps its bytes, and the header says which system wrote it."""

import re
from pathlib import Path

from tito import CourseError

LARGEST = 50 << 20  # bytes
MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}  # byte order marks
# what a column is called by the systems, in lower case; Moodle's worksheet speaks the language of its site
_WORDS = {
    "full name": "full name|name|names|vollständiger name|nom complet|nombre completo|nome completo"
    "|volledige naam|student",
    "first name": "first name|first_name|firstname|preferred/first name|vorname|prénom|nombre|nome|voornaam",
    "last name": "last name|last_name|lastname|surname|nachname|nom de famille|nom|apellido(s)|cognome|apelido"
    "|achternaam",
    "email": "email address|email|e-mail|e-mail-adresse|adresse de courriel|adresse e-mail|dirección de correo"
    "|dirección email|indirizzo email|endereço de e-mail|endereço de email|e-mailadres",
    "login": "sis login id|username|anmeldename",
    "number": "sis user id|id number|sid|id-nummer|matrikelnummer|numéro d'identification|número de id"
    "|codice identificativo|número de identificação|id-nummer",
    "participant": "identifier|teilnehmer/in|id|identifiant|identificador|identificativo|identificatie",
    "grade": "grade|bewertung|note|calificación|valutazione|nota|cijfer|beoordeling",
    "top": "maximum grade|max points|bestwertung|note maximale|calificación máxima|valutazione massima|nota máxima"
    "|maximumcijfer|maximale beoordeling",
    "handed in": "last modified (submission)|zuletzt geändert (abgabe)|dernière modification (travail remis)"
    "|última modificación (entrega)|ultima modifica (consegna)|laatst gewijzigd (inzending)",
    "locked": "grade can be changed|bewertung kann geändert werden",
    "group": "group|gruppe|groupe|grupo|gruppo|groep",
    "lms": "lms_user_id",
    "id": "id",
}
WORDS = {meaning: frozenset(words.split("|")) for meaning, words in _WORDS.items()}
PARTICIPANT = re.compile(r"\D+[ _]?(\d+)")
NUMBER = r"\d+(?:[.,]\d+)?"


class Sheet:
    """The cells of a CSV file as it was written.

    `kind` is canvas, moodle, gradescope, nbgrader or "" (unknown), `first` the number of the header's row.
    """

    def __init__(self, data: bytes, name: str):
        self.name, self.mark, self.encoding = name, b"", "utf-8"
        for mark, encoding in MARKS.items():
            if data.startswith(mark):
                self.mark, self.encoding, data = mark, encoding, data[len(mark) :]
        try:
            text = data.decode(self.encoding)
        except UnicodeDecodeError:
            if self.mark:
                raise CourseError(f"{name} is no text in {self.encoding}, as its first bytes say") from None
            self.encoding = "cp1252" if _decodes(data, "cp1252") else "latin-1"
            text = data.decode(self.encoding)
        self.kind = ""
        for delimiter in (",", ";", "\t"):
            rows = split(text, delimiter)
            found = next(((n, kind) for n, row in enumerate(rows[:5]) if (kind := _kind(rows, n))), None)
            if delimiter == "," or found:
                self.delimiter, self.rows, (self.first, self.kind) = delimiter, rows, found or (0, "")
            if found:
                break
        self.header = [value(raw) for raw in self.rows[self.first][0]] if self.rows else []
        self.places = _worksheet(self.rows, self.first) if self.kind == "moodle" else {}

    @classmethod
    def read(cls, path: Path) -> "Sheet":
        """The file at `path`; CourseError if it is none that a system writes."""
        try:
            with open(path, "rb") as file:
                data = file.read(LARGEST + 1)
        except OSError as error:
            raise CourseError(f"cannot read {path}: {error.strerror or error}") from None
        if len(data) > LARGEST or data[:2] == b"PK" or b"\0" in data[:1000].replace(b"\xff\xfe", b"")[:1]:
            raise CourseError(f"{path} is no CSV: export it from the system as CSV, not as a workbook")
        sheet = cls(data, str(path))
        if not sheet.kind:
            seen = ", ".join(sheet.header[:8])[:200] or "nothing"
            raise CourseError(
                f"{path} has no header that Canvas, Moodle, Gradescope or nbgrader writes (it begins with: {seen}): "
                "take the gradebook, the grading worksheet or the roster as the system exports it"
            )
        return sheet

    def column(self, meaning: str) -> int | None:
        """The number of the first column with a meaning of `WORDS`."""
        found = (n for n, name in enumerate(self.header) if _plain(name) in WORDS[meaning])
        return next(found, self.places.get(meaning))

    def cell(self, row: int, column: int | None) -> str:
        """What stands in a cell, without its quotes; nothing beyond the row's end."""
        cells = self.rows[row][0]
        text = value(cells[column]).strip() if column is not None and column < len(cells) else ""
        return text[2:-1] if text.startswith('="') and text.endswith('"') else text  # against formulas, by Canvas

    def people(self) -> list[int]:
        """The numbers of the rows that are a student's."""
        found = []
        for number in range(self.first + 1, len(self.rows)):
            raw = self.rows[number][0]
            text, own = value(raw[0]).strip(), self.cell(number, self.column("id"))
            test = text == "Student, Test" or text == "Student" and self.cell(number, 1) == "Test"
            canvas_own = self.kind == "canvas" and (test or not (text or own) or self.is_top(number))
            if any(value(cell).strip() for cell in raw) and not canvas_own:
                found.append(number)
        return found

    def is_top(self, row: int) -> bool:
        """Whether a row is one of those that Canvas puts under its header: maxima, ways of posting."""
        cells = self.rows[row][0]
        own = value(cells[0])
        return own.startswith("    ") or own.strip() in ("Points Possible", "Manual Posting", "Manual Publishing")

    def fill(self, row: int, column: int, text: str) -> None:
        """Put text into a cell; a row that is shorter is made longer."""
        cells = self.rows[row][0]
        if value(cells[column]) == text if column < len(cells) else not text and column > len(cells):
            return
        cells += [""] * (column + 1 - len(cells))
        special = any(ch in text for ch in f'{self.delimiter}"\r\n')
        quoted = special or cells[column].startswith('"')
        cells[column] = '"' + text.replace('"', '""') + '"' if quoted else text

    @property
    def comma(self) -> bool:
        """Whether its numbers are written with a decimal comma."""
        numbers = [self.cell(row, n) for row in range(self.first + 1, len(self.rows)) for n in range(len(self.header))]
        point = sum(bool(re.fullmatch(r"\d+\.\d+", number)) for number in numbers)
        return sum(bool(re.fullmatch(r"\d+,\d+", number)) for number in numbers) > point

    def data(self) -> bytes:
        """The file's bytes."""
        text = "".join(self.delimiter.join(cells) + end for cells, end in self.rows)
        return self.mark + text.encode(self.encoding)


def split(text: str, delimiter: str) -> list[tuple[list[str], str]]:
    """(cells as written, line end) of every row: joined again they are the text."""
    d = re.escape(delimiter)
    cell = re.compile(rf'("(?:[^"]|"")*+"[^{d}\r\n]*|[^{d}\r\n]*)({d}|\r\n|\r|\n|\Z)')
    rows, cells, place = [], [], 0
    while True:
        match = cell.match(text, place)
        assert match  # of an empty text too
        cells.append(match[1])
        place = match.end()
        if match[2] != delimiter:
            if place < len(text) or cells != [""] or match[2]:
                rows.append((cells, match[2]))
            cells = []
            if place >= len(text):
                return rows


def value(raw: str) -> str:
    """What a cell says."""
    if raw.startswith('"') and (end := raw.rfind('"')) > 0:
        return raw[1:end].replace('""', '"') + raw[end + 1 :]
    return raw


def _plain(text: str) -> str:
    return " ".join(text.lower().replace("\xa0", " ").replace("’", "'").split())


def _decodes(data: bytes, encoding: str) -> bool:
    try:
        data.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _kind(rows: list, number: int) -> str:
    """Which system writes a header like the row's."""
    names = [_plain(value(raw)) for raw in rows[number][0]]
    have = set(names)
    canvas = have & {"sis login id", "sis user id", "section", "integration id"}
    if canvas and ({"student", "id"} <= have or {"lastname", "firstname", "id"} <= have):
        return "canvas"
    if {"sid", "email"} <= have and (have & WORDS["first name"] or have & WORDS["full name"]):
        return "gradescope"
    if "id" in have and have & {"first_name", "last_name", "lms_user_id", "email"} or names == ["id"]:
        return "nbgrader"
    if have & WORDS["participant"] and have & WORDS["grade"]:
        first = [value(row[0]).strip() for row, _ in rows[number + 1 : number + 4]]
        if "identifier" in have or any(PARTICIPANT.fullmatch(text) for text in first):
            return "moodle"
    if have & WORDS["email"] and have & WORDS["first name"] and have & WORDS["last name"]:
        return "moodle"
    return "moodle" if _worksheet(rows, number) else ""


def _worksheet(rows: list, number: int) -> dict[str, int]:
    """Where Moodle's worksheet has its columns, by what stands in them: for the languages that `WORDS` lacks."""
    width = len(rows[number][0])
    body = [[value(raw).strip() for raw in cells] for cells, _ in rows[number + 1 :] if len(cells) == width]
    firsts = [cells[0] for cells in body]
    if (
        width < 5
        or not body
        or PARTICIPANT.fullmatch(value(rows[number][0][0]))
        or not all(map(PARTICIPANT.fullmatch, firsts))
    ):
        return {}

    def every(column: int, pattern: str) -> bool:
        return all(re.fullmatch(pattern, cells[column]) for cells in body)

    # all have one maximum, and before it stands the grade, or nothing
    tops = (n for n in range(2, width) if every(n, NUMBER) and len({cells[n] for cells in body}) == 1)
    top = next((n for n in tops if every(n - 1, rf"{NUMBER}|-?")), None)
    if top is None:
        return {}
    mail = next((n for n in range(1, top - 1) if every(n, r"\S+@\S+")), None)
    found = {"participant": 0, "grade": top - 1, "top": top} | ({"email": mail} if mail else {})
    return found | ({"full name": 1} if 1 < (mail or top - 1) else {})
