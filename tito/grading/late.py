"""Late submissions: what nbgrader's own plugin takes off for them.

The policy is nbgrader's setting: `c.LateSubmissionPlugin.penalty_method = "zero"`, or a plugin of the course's own,
`c.AssignLatePenalties.plugin_class = "late.Policy"`. Without either nobody loses anything, and `status` and `export`
say how late a submission was. A penalty follows the score as it is, so it is worked out anew on every run.
"""

import sys
from pathlib import Path

from tito import CourseError


def plugin(config, root: Path):
    """The course's late submission plugin, None if it has set none."""
    chosen = config.AssignLatePenalties.get("plugin_class")
    if not chosen and not config.LateSubmissionPlugin:
        return None
    from nbgrader.plugins import LateSubmissionPlugin
    from traitlets.utils.importstring import import_item

    sys.path.insert(0, str(root))  # as nbgrader has it, which runs there
    try:
        kind = import_item(chosen) if isinstance(chosen, str) else chosen or LateSubmissionPlugin
        return kind(config=config)
    except Exception as error:
        raise CourseError(f"the plugin for late submissions cannot be used: {type(error).__name__}: {error}") from None
    finally:
        sys.path.remove(str(root))


def apply(book, name: str, policy) -> set[str]:
    """Write every submission's penalties into an open gradebook; the students for whom one has changed."""
    id, due = book.assignment(name)
    changed, totals = set(), {}
    notebook_of = {row[0]: row[3] for cells in book.cells(id).values() for row in cells.values()}
    for student, entry in book.scores(id).items():
        for cell, row in entry["grades"].items():
            totals[student, notebook_of[cell]] = totals.get((student, notebook_of[cell]), 0.0) + score_of(row)
        seconds = seconds_late(entry, due)
        for notebook, copy in entry["copies"].items():
            score, penalty = totals.get((student, notebook), 0.0), None
            if seconds:
                penalty = policy.late_submission_penalty(student, score, seconds)
                penalty = None if penalty is None else min(max(float(penalty), 0.0), score)
            if (penalty or 0.0) != (entry["penalties"].get(notebook) or 0.0):
                book.set_penalty(copy, penalty)
                changed.add(student)
    return changed


def score_of(row: tuple) -> float:
    """The points of a cell, from its row in `Gradebook.scores`: by a person, else the automatic ones; extra credit."""
    auto, manual, extra = row[3:6]
    return (manual if manual is not None else auto or 0.0) + (extra or 0.0)


def seconds_late(entry: dict, due) -> float:
    """How long after the due date, the student's extension included, a submission was handed in."""
    if entry["timestamp"] is None or due is None:
        return 0.0
    extra = entry["extension"].total_seconds() if entry.get("extension") else 0.0
    return max((entry["timestamp"] - due).total_seconds() - extra, 0.0)
