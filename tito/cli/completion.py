"""What a shell offers when Tab is pressed: names of modules, exercises, backups and milestones.

Nothing here may print or fail: a shell in the middle of a line has no use for a message.
"""

import contextlib

import typer

from tito import CourseError
from tito.course.notebook import short_name

Words = list[tuple[str, str]]  # what can be typed, and what it is


def modules(incomplete: str) -> Words:
    """Module numbers; their names once a letter was typed."""
    with _quietly():
        key = "name" if incomplete[:1].isalpha() else "number"
        return _fitting([(getattr(module, key), module.title) for module in _course().modules], incomplete)
    return []


def exercises(ctx: typer.Context, incomplete: str) -> Words:
    """The exercises of the module that stands before."""
    return _exercises(ctx.params.get("module"), incomplete)


def modules_or_exercises(ctx: typer.Context, incomplete: str) -> Words:
    """For `tito test`: a module first, then its exercises, or more modules."""
    given = ctx.params.get("modules") or []
    return (_exercises(given[0], incomplete) if given else []) + modules(incomplete)


def notebooks(ctx: typer.Context, incomplete: str) -> Words:
    """For `tito lab`: the notebooks of the module that stands before."""
    with _quietly():
        paths = _course().module(ctx.params.get("module") or "").notebooks
        return _fitting([(short_name(path), path.name) for path in paths], incomplete)
    return []


def backups(incomplete: str) -> Words:
    """The kept copies of notebooks, newest first."""
    with _quietly():
        from tito.student.backup import backups

        found = backups(_course())
        return _fitting([(backup.name, f"{backup.module}, before {backup.why}") for backup in found], incomplete)
    return []


def milestones(incomplete: str) -> Words:
    """The milestones' numbers."""
    with _quietly():
        from tito.milestone import load_milestones

        return _fitting([(milestone.id, milestone.title) for milestone in load_milestones(_course())], incomplete)
    return []


def _exercises(module: str | None, incomplete: str) -> Words:
    with _quietly():
        found = _course().module(module or "").exercises
        return _fitting([(exercise.id, exercise.title) for exercise in found], incomplete)
    return []


def _quietly():
    """Without a course, or with a broken one, nothing is offered."""
    return contextlib.suppress(CourseError, OSError)


def _course():
    from tito.course.registry import Course

    return Course.load()


def _fitting(words: Words, incomplete: str) -> Words:
    return [(word, text) for word, text in words if word.startswith(incomplete)]
