"""Times as systems write them, and as people type them: read with their zone, kept in UTC without one."""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tito import CourseError

STAMP = "%Y-%m-%d %H:%M:%S.%f UTC"  # as nbgrader writes timestamp.txt
WRITTEN = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d)?)(?:[.,](\d+))? ?([A-Za-z][\w/+-]*|[+-]\d\d:?\d\d|)")
MONTHS = (  # of Moodle's languages: en de fr es it nl pt
    "january|januar|jänner|janvier|enero|gennaio|januari|janeiro",
    "february|februar|février|febrero|febbraio|februari|fevereiro",
    "march|märz|mars|marzo|maart|março",
    "april|avril|abril|aprile",
    "may|mai|mayo|maggio|mei|maio",
    "june|juni|juin|junio|giugno|junho",
    "july|juli|juillet|julio|luglio|julho",
    "august|août|agosto|augustus",
    "september|septembre|septiembre|settembre|setembro",
    "october|oktober|octobre|octubre|ottobre|outubro",
    "november|novembre|noviembre|novembro",
    "december|dezember|décembre|diciembre|dicembre|dezembro",
)
NUMBER = {name: number for number, names in enumerate(MONTHS, 1) for name in names.split("|")}


def in_utc(moment: datetime) -> datetime:
    """A moment in UTC, without its zone; without one it is local, and an hour that the clocks leave out is the next."""
    if moment.tzinfo is None:
        with suppress(ValueError, OverflowError, OSError):  # beyond what the system's clock knows
            whole = datetime.fromtimestamp(moment.replace(microsecond=0).timestamp(), UTC)
            moment = whole + timedelta(microseconds=moment.microsecond)
    return moment.astimezone(UTC).replace(tzinfo=None)


def local(moment: datetime) -> str:
    """A moment in UTC as people here read it, with day, hour and zone."""
    here = moment.replace(tzinfo=UTC).astimezone()
    return here.strftime("%Y-%m-%d %H:%M ") + (f"{here.tzname()} (UTC{here:%z})" if here.tzname() != "UTC" else "UTC")


def parse_stamp(text: str, bare=UTC) -> datetime | None:
    """A time as nbgrader, Gradescope or ISO write it, in UTC; None for anything else. `bare`: the zone otherwise."""
    match = WRITTEN.fullmatch(text.strip())
    if not match:
        return None
    day, hour, fraction, zone = match.groups()
    try:
        part = timedelta(microseconds=int((fraction or "0")[:6].ljust(6, "0")))
        moment = datetime.fromisoformat(f"{day} {hour}") + part
        if zone in ("UTC", "Z", "GMT"):
            return moment
        if not zone:
            return moment if bare is UTC else in_utc(moment)
        if zone[0] in "+-":
            return in_utc(datetime.fromisoformat(f"{moment.isoformat()}{zone[:3]}:{zone[-2:]}"))
        return in_utc(moment.replace(tzinfo=ZoneInfo(zone)))
    except (ValueError, OverflowError, OSError, ZoneInfoNotFoundError):
        return None


def written(text: str) -> datetime | None:
    """A time of a Moodle worksheet, such as `Wednesday, 23 September 2020, 9:00 PM`: no zone, so local, in UTC."""
    if found := parse_stamp(text, bare=None):
        return found
    words = [word for word in re.findall(r"[^\W\d]+", text.lower().replace(".", " ")) if word in NUMBER]
    day, hour = re.search(r"(?<![\d:])(\d{1,2})(?![\d:])", text), re.search(r"(\d{1,2})[:.h](\d\d)(?:[:.]\d\d)?", text)
    year = re.search(r"\b(\d{4})\b", text)
    if not (words and day and hour and year):
        return None
    hours = int(hour[1])
    if half := re.search(r"\b([ap])\.?\s?m\b", text.lower()):
        hours = hours % 12 + (12 if half[1] == "p" else 0)
    try:
        return in_utc(datetime(int(year[1]), NUMBER[words[0]], int(day[1]), hours, int(hour[2])))
    except (ValueError, OverflowError):
        return None


def parse_due(text: str) -> datetime:
    """A date or a time as an instructor types it, in UTC: a bare date is the end of that day, local."""
    try:
        moment = datetime.fromisoformat(text.strip())
        if re.fullmatch(r"\d{4}-\d\d-\d\d|\d{8}|\d{4}-?W\d\d-?\d?", text.strip()):
            moment = datetime.combine(moment, clock(23, 59, 59))
        return in_utc(moment)
    except (ValueError, OverflowError):
        raise CourseError(
            f"the date {text!r} is not of the form 2026-12-24 (the end of that day) or 2026-12-24T18:00, both local, "
            "or 2026-12-24T18:00+01:00"
        ) from None
