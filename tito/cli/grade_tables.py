"""What the grading commands show on a terminal: a progress bar, tables, one line for each problem."""

import shlex
import sys
from contextlib import suppress
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from tito.author.graded_cells import NotebookReport
from tito.course.registry import Module
from tito.grading.collecting import Collection
from tito.grading.grade import one_line
from tito.grading.marks import Question
from tito.grading.migrate import GIVEN, Plan
from tito.grading.result import PresenceRow, StatusRow, SubmissionResult
from tito.grading.service import GradingReport
from tito.grading.similar import Pair
from tito.grading.times import local

WORDS = {
    "graded": "graded",
    "partial": "a notebook is missing",
    "timeout": "stopped for its time",
    "oom": "stopped for its memory",
    "died": "its process ended",
    "rejected": "not readable",
    "infra_error": "NOT GRADED: a fault of this machine",
}


class ProgressBar:
    """A bar with the time left on a terminal, a line for each problem everywhere."""

    def __init__(self, title: str, quiet: bool = False):
        self.title, self.quiet, self.live = title, quiet, not quiet and sys.stderr.isatty()
        self.bar: Any = None  # of Rich, which is imported only where there is a terminal
        self.before: int | None = None
        self.fresh = 0

    def __enter__(self):
        if self.live:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
            left = [TimeRemainingColumn(), TextColumn("left")]
            self.bar = Bar(*columns, *left, console=Console(stderr=True), transient=True)
            self.task = self.bar.add_task(self.title, total=None)
            self.bar.start()
        return self

    def __exit__(self, *error):
        if self.bar:
            self.bar.stop()

    def __call__(self, done: int, total: int, result: SubmissionResult | None) -> None:
        """A submission is graded."""
        line = ""
        if result and result["status"] != "graded":
            line = f"{one_line(result['student'])}: {WORDS[result['status']]}"
            line += f" ({one_line(result['reason'])[:200]})" if result["reason"] else ""
        self._step(done, total, line)

    def page(self, done: int, total: int, line: str) -> None:
        """A page is made; the first call says how many were there before."""
        self.before = done if self.before is None else self.before
        self.fresh = done - self.before
        self._step(done, total, one_line(line))

    def _step(self, done: int, total: int, line: str) -> None:
        if self.bar:
            self.bar.update(self.task, completed=done, total=total)
        if line and not self.quiet:
            with suppress(BrokenPipeError):
                if self.bar:
                    self.bar.console.print(line, markup=False, highlight=False)
                else:
                    print(line, file=sys.stderr)


def grading_report(report: GradingReport) -> None:
    """The tables at the end of a run: every submission, and every question."""
    bonus, waiting = any(row.bonus_max for row in report.rows), any(row.waiting for row in report.rows)
    extra = (["bonus"] if bonus else []) + (["to read"] if waiting else [])
    table = _table(report.assignment, ("student", "score", "of", *extra, "before", "status", "seconds"))
    for row in report.rows:
        more = ([_points(row.bonus)] if bonus else []) + ([str(row.waiting or "")] if waiting else [])
        before = _points(row.before) if row.changed and row.before is not None else ""
        seconds = f"{row.seconds:.1f}" if row.fresh else "kept"
        score = _points(row.score)
        table.add_row(one_line(row.student), score, _points(row.max), *more, before, WORDS[row.status], seconds)
    _show(table)
    questions(report.questions)
    scores = [row.score for row in report.rows if row.score is not None]
    fresh = sum(row.fresh for row in report.rows)
    mean = f", mean {sum(scores) / len(scores):.1f}" if scores else ""
    print(
        f"\n{len(report.rows)} submissions, {fresh} graded now, {len(report.rows) - fresh} unchanged, "
        f"in {report.seconds:.1f} s{mean}."
    )
    if left := sum(row.waiting for row in report.rows):
        print(f"Answers that wait for a person, and count 0 points until then: {left}.")
    if report.failures:
        print(f"{len(report.failures)} could not be graded and have no score: mend the cause and run it again.")
    print(f"Isolation: {report.isolation}")


def questions(found: list[Question]) -> None:
    """How the class did, question by question."""
    if not found:
        return
    print()
    table = _table("", ("question", "of", "mean", "solved", "most frequent causes of lost points"))
    for one in found:
        causes = "; ".join(f"{count}x {one_line(text)}" for text, count in one.causes)
        name = one_line(one.name) + (" (bonus)" if one.bonus else "")
        table.add_row(name, _points(one.most), _points(one.mean), f"{one.solved} of {one.graded}", causes)
    _show(table)


def _points(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _table(title: str, columns: tuple[str, ...]) -> Table:
    """A table without a frame, numbers to the right; whole in a file or a pipe, folded on a terminal."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False)
    for name in columns:
        words = name.startswith(("student", "question", "status", "most", "graded"))
        table.add_column(name, justify="left" if words else "right", overflow="fold")
    return table


def _show(table: Table) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, emoji=False, width=max(console.width, 240))
    for line in console.render_lines(table, pad=False):
        print("".join(segment.text for segment in line).rstrip())


def grading_data(report: GradingReport) -> dict:
    """A report as data."""
    rows = [{**vars(row)} for row in report.rows]
    return {
        "assignment": report.assignment,
        "isolation": report.isolation,
        "seconds": report.seconds,
        "submissions": rows,
        "questions": [vars(question) for question in report.questions],
    }


def status_table(module: Module, rows: list[StatusRow]) -> None:
    """The table of `tito grade status`."""
    tail = ["bonus"] if any(row["bonus_max"] for row in rows) else []
    tail += ["hours late"] if any(row["late_hours"] for row in rows) else []
    tail += ["penalty"] if any(row["penalty"] for row in rows) else []
    tail += ["to read"] if any(row["manual"] for row in rows) else []
    table = _table(module.folder, ("student", "score", "of", "status", *tail))
    for row in rows:
        words = WORDS.get(row["status"], row["status"])
        words += ", handed in again since" if row["changed"] else ""
        more = {
            "bonus": "" if row["score"] is None else _points(row["bonus"]),
            "hours late": f"{row['late_hours']:.1f}" if row["late_hours"] else "",
            "penalty": _points(row["penalty"]) if row["penalty"] else "",
            "to read": str(row["manual"] or ""),
        }
        top = "" if row["max"] is None else _points(row["max"])
        table.add_row(one_line(row["student"]), _points(row["score"]), top, words, *(more[name] for name in tail))
    _show(table)
    levels = sorted({row["isolation"] for row in rows if row["isolation"]})
    print(f"\n{len(rows)} submissions. Isolation: {'; '.join(levels) or 'none graded yet'}")
    if any(row["changed"] or row["score"] is None for row in rows):
        print(f"Some wait to be graded: tito grade run {module.number}")


def migration(module: Module, plan: Plan, names: dict[str, str]) -> None:
    """What a migration does, and what it leaves alone."""
    if not plan.changes and not names:
        return print(f"The gradebook matches the notebooks of {module.folder}.")
    print(f"{module.folder}, {plan.submissions} submissions in the gradebook")
    for old, new in names.items():
        print(f"  cell renamed: {one_line(old)} -> {one_line(new)}")
    for change in plan.changes:
        print(f"  {one_line(change)}")
    print("Kept: " + ", ".join(f"{count} {name}" for count, name in zip(plan.kept, GIVEN, strict=True)) + ".")


def migration_data(module: Module, plan: Plan) -> dict:
    """The same as data."""
    changes = [vars(change) for change in plan.changes]
    return {"assignment": module.folder, "submissions": plan.submissions, "kept": plan.kept, "changes": changes}


def notebook_report(report: NotebookReport) -> None:
    """What lint says of a notebook."""
    noticed = report.mutants - len(report.alive)
    print(
        f"{report.notebook}: {noticed} of {report.mutants} mutants noticed ({100 * report.noticed:.1f} %)"
        + ("" if report.ok else "  MEND")
    )
    for problem in report.problems:
        print(f"  {problem}")
    for cell, line, change in report.alive:
        print(f"  lives on: {cell}, line {line}: {change}")
    if report.alive:
        print("  Let a test notice it, or say in tests/grading/equivalent.toml why nobody could.")


def notebook_data(report: NotebookReport) -> dict:
    """The same as data."""
    alive = [{"cell": cell, "line": line, "change": change} for cell, line, change in report.alive]
    return {
        "notebook": report.notebook,
        "ok": report.ok,
        "problems": report.problems,
        "mutants": report.mutants,
        "alive": alive,
    }


MOST_LINES = 12  # of files that are listed for one and the same harmless reason


def collected(found: Collection, module: Module) -> None:
    """What became of every file, the ones that want a person last."""
    wanting = found.open
    quiet = [one for one in found.files if one.what in ("other", "skipped") and one not in wanting]
    for reason in dict.fromkeys(one.reason for one in quiet):
        these = [one for one in quiet if one.reason == reason]
        for one in these[:MOST_LINES]:
            print(f"not taken: {one_line(one.path)}: {one_line(reason)}")
        if len(these) > MOST_LINES:
            print(f"not taken: {len(these) - MOST_LINES} more, for the same reason (--json lists all)")
    for one in found.files:
        if one.what == "older":
            print(f"kept, does not count: {one_line(one.student)}, {one_line(one.path)}: {one.reason}")
    for one in wanting:
        who = f"{one_line(one.student)}, " if one.student else ""
        state = {"refused": "refused", "unknown": "NOT TAKEN", "other": "NOT TAKEN"}.get(one.what, "CANNOT BE GRADED")
        print(f"{state}: {who}{one_line(one.path)}: {one_line(one.reason)}")
    unknown = [one for one in wanting if one.what == "unknown"]
    if unknown:
        one = next((one for one in unknown if one.like), unknown[0])
        example = shlex.quote(f"{one.path}={one.like[0] if one.like else 'STUDENT'}")
        print(f"\nTo say whose a file is, add for each: --as {example}")
        for other in unknown:
            if other.like:
                print(f"  {one_line(other.path)} may be of {' or '.join(one_line(id) for id in other.like)}")
    counts = {what: sum(one.what == what for one in found.files) for what in ("new", "changed", "same", "older")}
    counts |= {"refused": sum(one.what == "refused" for one in found.files)}
    rest = sum(one.what in ("unknown", "other") for one in found.files)
    print("Collected: " + ", ".join(f"{count} {what}" for what, count in counts.items()) + f", {rest} not taken.")
    for note in found.notes:
        print(note)
    if not found.took:
        print(f"No submission of {module.folder} was found.")
    else:
        print(f"\nNext: tito grade run {module.number}")


def roster_table(module: Module, rows: list[PresenceRow]) -> None:
    """Who has not handed in, then who has and when."""
    table = Table(title=module.folder, title_justify="left", box=None, pad_edge=False)
    for name in ("student", "name", "handed in", "how it is known", "remarks"):
        table.add_column(name, overflow="fold")
    for row in rows:
        remarks = ["LATE, says the system"] if row["late_mark"] else []
        remarks += [f"has until {local(datetime.fromisoformat(row['until']))}"] if row["until"] else []
        remarks += [f"{row['versions']} versions kept"] if row["versions"] > 1 else []
        remarks += [] if row["listed"] or not any(one["listed"] for one in rows) else ["not in the roster"]
        when = local(datetime.fromisoformat(row["handed_in"])) if row["handed_in"] else row["handed_in"]
        when = "not handed in" if when is None else when or "yes"
        cells = (row["student"], row["name"], when, TIMES.get(row["time_from"] or "", ""), "; ".join(remarks))
        table.add_row(*map(one_line, cells))
    wide = None if sys.stdout.isatty() else 200
    Console(highlight=False, width=wide).print(table, markup=False)
    missing = sum(row["handed_in"] is None for row in rows)
    print(f"\n{len(rows)} students, {missing} without a submission.")
    if not any(row["listed"] for row in rows):
        print("Nobody has said who is in the course: tito grade roster MODULE --roster FILE, the school's own CSV.")


TIMES = {
    "system": "the system's time",
    "timestamp.txt": "timestamp.txt",
    "file": "the file's time",
    "mark": "Canvas tells no time",
    "zip": "the zip's time, without a zone",
}


def similar_table(module: Module, pairs: list[Pair]) -> None:
    """Pairs of students whose code has much in common."""
    if not pairs:
        print(f"No two submissions of {module.folder} share more than the release, the reference and chance explain.")
        return
    table = Table(title=module.folder, title_justify="left", box=None, pad_edge=False)
    for name in ("students", "shared", "of their own code", "where"):
        table.add_column(name, overflow="fold", justify="right" if name == "shared" else "left")
    for pair in pairs:
        shares = " and ".join(f"{100 * share:.0f} %" for share in pair.shares)
        table.add_row(one_line(" and ".join(pair.students)), str(pair.shared), shares, one_line(", ".join(pair.cells)))
    Console(highlight=False).print(table, markup=False)
    print("\nA hint where to look, and no proof: read both, and talk to both. No mark follows from it.")
