"""tito: the command line of the TinyTorch course."""

__version__ = "0.1.0"


class CourseError(Exception):
    """Something in the course's files or in what was asked is wrong; the message says what, and how to mend it."""
