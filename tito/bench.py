"""Benchmarks: run a module's measurements in a process of their own, show them as a table, keep a plot and the figures.

What is measured stands in tests/benchmarks/MODULE/measure.py, which prints a line of JSON for each figure.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tito import CourseError
from tito.course.registry import Course, Module
from tito.course.storage import write_atomic

WIDE, USUAL = 104, 74  # columns from which on the table shows the other side's times, and its own
COLOURS = {"aim": "tab:green", "reached": "tab:blue", "short": "tab:red", "above aim": "tab:orange"}


@dataclass(frozen=True)
class Request:
    """What to measure: the other side, groups of figures (none: all), and whether rough figures will do."""

    against: str | None = None
    only: list[str] | None = None
    quick: bool = False

    def words(self) -> list[str]:
        """For the script's command line."""
        against = ["--against", self.against] if self.against else []
        return [*against, *["--quick"] * self.quick, *(["--only", *self.only] if self.only else [])]

    def suffix(self) -> str:
        """What a partial or rough run adds to the names of its files, so that a whole one is not lost."""
        return "".join(f"-{word}" for word in (*(self.only or ()), *["quick"] * self.quick))


@dataclass
class Figures:
    """What one run measured. `facts`: the machine, the backend, the load; `rows`: a dictionary for each figure."""

    module: Module
    facts: dict = field(default_factory=dict)
    rows: list[dict] = field(default_factory=list)

    def plain(self) -> dict:
        """For JSON."""
        return {"module": self.module.number, **self.facts, "rows": self.rows}

    def short(self) -> list[dict]:
        """The figures that miss what is required."""
        return [row for row in self.rows if row["verdict"] == "short"]


def run_benchmark(course: Course, module: Module, asked: Request, screen) -> Figures:
    """Measure, show, keep."""
    with screen.working("Measuring") as line:
        tell = getattr(line, "update", str)
        found = measure(course, module, asked.words(), lambda what: tell(f"Measuring: {what}"))
    kept = save_figures(found, course.folder("runs") / "bench", asked.suffix())
    show_figures(found, screen)
    for path in kept:
        screen.line(f"Kept: {path.relative_to(course.root)}")
    return found


def measure(course: Course, module: Module, options: list[str], now: Callable[[str], object]) -> Figures:
    """Run the module's measurements; `now` hears what is being measured. CourseError if they cannot be made."""
    script = course.folder("tests") / "benchmarks" / module.folder / "measure.py"
    if not script.is_file():
        raise CourseError(f"module {module.number} has no benchmark: there is no {script}")
    found = Figures(module)
    for line in _lines([sys.executable, str(script), *options], course):
        if "row" in line:
            found.rows.append(line["row"])
        elif "now" in line:
            now(line["now"])
        else:
            found.facts |= line
    return found


def _lines(command: list[str], course: Course) -> Iterator[dict]:
    """The JSON that the script prints, line by line; the course's package is the first on its path."""
    environment = course.environment(PYTHONIOENCODING="utf-8:backslashreplace")
    environment.pop("PYTHONSAFEPATH", None)  # the script's own folder belongs on the path
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8", env=environment)
        assert child.stdout
        try:
            yield from map(json.loads, child.stdout)
        except json.JSONDecodeError as error:
            raise CourseError(f"the benchmark printed what is not a figure: {error.doc.strip()[:200]}") from None
        finally:
            child.stdout.close()
            if child.poll() is None:
                _end(child)
        if child.returncode:
            errors.seek(0)
            said = errors.read().strip().splitlines() or [f"exit code {child.returncode}"]
            raise CourseError(f"the benchmark stopped: {said[-1]}")


def _end(child: subprocess.Popen) -> None:
    """Wait a moment for the script; end it if it goes on."""
    try:
        child.wait(2)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


# The table


def number(value: float) -> str:
    """Three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def time_of(row: dict, side: str) -> str:
    """The median of one side, with its unit."""
    return f"{number(row[side]['median'])} {row['unit']}" if row.get(side) else ""


def figure(row: dict) -> str:
    """What is judged, with its quartiles."""
    if row["kind"] == "microseconds":
        return f"{number(row['value'])} us"
    ratio = row.get("ratio")
    quartiles = f" ({ratio['low']:.2f}-{ratio['high']:.2f})" if ratio else ""
    return f"{row['value']:.2f}{quartiles}"


def marks(row: dict) -> str:
    """Required and aim."""
    return "/".join("-" if mark is None else f"{mark:.2f}" for mark in (row["required"], row["aim"]))


def table(rows: list[dict], width: int) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and lines: name, times where there is room, the figure, its marks, the verdict."""
    header = ["", *["TinyTorch"] * (width >= USUAL), *["other"] * (width >= WIDE), "ratio"]
    header += ["best"] * (width >= WIDE) + ["most/aim"] * (width >= USUAL) + ["verdict"]
    lines, group = [], None
    for row in rows:
        if row["group"] != group:
            group = row["group"]
            lines.append((group, *[""] * (len(header) - 1)))
        line = [f"  {row['name']}"]
        line += [time_of(row, side) for side, least in (("ours", USUAL), ("theirs", WIDE)) if width >= least]
        line.append(figure(row) if width >= USUAL else number(row["value"]))
        line += [number(row["best"]) if "best" in row else ""] * (width >= WIDE) + [marks(row)] * (width >= USUAL)
        lines.append((*line, row["verdict"]))
    return tuple(header), lines


def heading(facts: dict) -> str:
    """What was measured on what, and how busy the machine was."""
    machine = facts.get("machine", {})
    other = f"PyTorch {machine['torch']}, NCHW" if "torch" in machine else f"the backend {machine.get('against')}"
    software = f"NumPy {machine.get('numpy')}, {machine.get('blas')}, {machine.get('system')}"
    return (
        f"Convolution on the backend {machine.get('backend')}, as a part of the time of {other}: "
        "process time on one thread, medians of rounds in turns (quartiles; best: the quickest rounds of both). "
        f"{software}, "
        f"{machine.get('cores')} cores; load {facts.get('load_before')} before and {facts.get('load_after')} after."
    )


def conclusion(found: Figures) -> str:
    """How many figures reach their marks."""
    judged = [row for row in found.rows if row["verdict"]]
    if not judged:
        return "Nothing was judged: the marks are for PyTorch and the usual batches."
    aims = sum(row["verdict"] == "aim" for row in judged)
    short = found.short()
    names = f": {'; '.join(row['name'] for row in short)}" if short else ""
    return f"{len(judged)} figures have marks: {aims} reach the aim, {len(short)} miss what is required{names}."


def show_figures(found: Figures, screen) -> None:
    """The heading, the table and how it stands."""
    screen.say(heading(found.facts))
    screen.say()
    header, lines = table(found.rows, screen.terminal.width)
    screen.table(lines, header, right=tuple(range(1, len(header) - 1)), wide=0)
    screen.say(f"\n{conclusion(found)}")


# What is kept


def save_figures(found: Figures, folder: Path, suffix: str = "") -> list[Path]:
    """Write the figures and the plot to the folder; returns both files."""
    folder.mkdir(parents=True, exist_ok=True)
    figures, picture = (folder / f"{found.module.folder}{suffix}{kind}" for kind in (".json", ".png"))
    write_atomic(figures, as_json(found) + "\n")
    draw(found, picture)
    return [figures, picture]


def as_json(found: Figures) -> str:
    """One object."""
    return json.dumps(found.plain(), indent=1)


def draw(found: Figures, path: Path) -> None:
    """Every ratio with its quartiles and marks, and how the cost grows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ratios = [row for row in found.rows if row["kind"] == "ratio"]
    grown = [row for row in found.rows if "series" in row]
    page = Figure(figsize=(13, max(4, 0.24 * len(ratios) + 1.2)), layout="constrained")
    FigureCanvasAgg(page)
    grid = page.add_gridspec(max(len(grown), 1), 2, width_ratios=(3, 1.4))
    if ratios:
        _draw_ratios(page.add_subplot(grid[:, 0]), ratios, found.facts)
    for place, row in enumerate(grown):
        _draw_growth(page.add_subplot(grid[place, 1]), row)
    page.savefig(path, dpi=110)


def _draw_ratios(axes, rows: list[dict], facts: dict) -> None:
    """One line for each figure, the first at the top."""
    for place, row in enumerate(rows):
        ratio = row["ratio"]
        axes.plot([ratio["low"], ratio["high"]], [place, place], color="0.6", lw=2, zorder=1)
        axes.plot(row["value"], place, "o", ms=5, color=COLOURS.get(row["verdict"], "0.4"), zorder=3)
        for mark, colour in ((row["required"], "black"), (row["aim"], "0.6")):
            if mark is not None:
                axes.plot(mark, place, "|", ms=9, mew=1.5, color=colour, zorder=2)
    axes.axvline(1, color="0.8", lw=1, zorder=0)
    axes.set(xscale="log", ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)))
    axes.set_yticklabels([row["name"] for row in rows], fontsize=7)
    ticks = [0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    machine = facts.get("machine", {})
    axes.set_xlabel(f"time as a part of {machine.get('against')}'s; dark tick: required, light tick: aim")
    axes.set_title(f"backend {machine.get('backend')}, one thread; green: aim, blue: reached, red: short", fontsize=10)


def _draw_growth(axes, row: dict) -> None:
    """Cost of one image or pixel against the size, both sides."""
    for who, label in (("ours", "TinyTorch"), ("theirs", row["rival"])):
        points = {int(size): point["median"] for size, point in row["series"][who].items()}
        axes.plot(list(points), list(points.values()), "o-", label=label)
    sizes = [int(size) for size in row["series"]["ours"]]
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, list(map(str, sizes)))
    axes.set_ylim(bottom=0)
    axes.set(title=row["name"], ylabel=row["unit"])
    axes.legend(frameon=False, fontsize=8)
