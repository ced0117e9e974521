"""A database's complaints, in a sentence with what helps."""

from pathlib import Path

PATIENCE = 20  # seconds to wait for a locked database
DRIVERS = {"psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}  # import name -> distribution


def file_of(url: str) -> Path | None:
    """The file of an SQLite database, None for another kind."""
    path = url.partition("?")[0]
    return Path(path.removeprefix("sqlite:///")) if path.startswith("sqlite:///") else None


def database_message(text: str, url: str) -> str:
    """A database's complaint in a sentence, with what helps; without the password that stands in its address."""
    file = file_of(url)
    place, rest = file or _server(url), "nothing was written"
    line = " ".join(next((line for line in text.splitlines() if line.strip()), text).split())
    if "locked" in text or "busy" in text:
        return f"{place} is locked by another program for over {PATIENCE} s: close it; {rest}"
    if "malformed" in text or "not a database" in text or "corrupt" in text:
        return f"{place} is damaged ({line}): put back the last copy from the folder backups; {rest}"
    if "disk is full" in text or "No space left" in text:
        return f"the disk is full: {place} could not be written; nothing was changed in it"
    if "no such table" in text or "relation" in text and "does not exist" in text:
        return f"{place} holds no gradebook of nbgrader's yet: tito grade assign makes one ({line})"
    if "readonly" in text or "unable to open" in text:
        return f"{place} may not be opened or written by you: check its owner and rights ({line})"
    where = "c.CourseDirectory.db_url in nbgrader_config.py"
    if "password" in text or "authentication" in text or "role" in text and "does not exist" in text:
        return f"{place} does not let you in ({line}): mend the user and the password in {where}"
    if "database" in text and "does not exist" in text:
        return f"{place} has no such database ({line}): make it with createdb, or mend {where}"
    gone = ("refused", "could not connect", "connection failed", "connection to server", "translate host", "timeout",
            "closed the connection", "terminating connection", "shutting down", "starting up")  # fmt: skip
    if file is None and any(word in text for word in gone):
        return f"{place} does not answer ({line}): start it (systemctl start postgresql), or mend {where}; {rest}"
    return f"{place}: {line}; {rest}"


def _server(url: str) -> str:
    """How a database that is no file is called."""
    from sqlalchemy.engine import make_url

    found = make_url(url)
    kind = {"postgresql": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB"}.get(found.get_backend_name(), "")
    return f"{kind or found.get_backend_name()} at {found.host or 'localhost'}:{found.port or 5432}"
