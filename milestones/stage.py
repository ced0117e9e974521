"""What the four milestones share: the terminal, the options, the files of runs, the verdict.

A milestone makes a `Stage`, tells its five acts on it, and ends with `stage.run(play)`. Runs are kept as JSON under
runs/, and the verdict is read back from those files. Rich colours the terminal where it is installed; a pipe, a
narrow window, NO_COLOR and an ASCII terminal get the same words, plainly.
"""

import _thread
import argparse
import json
import math
import os
import re
import shlex
import shutil
import statistics
import sys
import textwrap
import threading
import time
import traceback
from configparser import ConfigParser
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
REACHED, BELOW, UNUSABLE, STOPPED = 0, 1, 2, 130
ASCII = str.maketrans("─│█▀▄·→−–≤≥²×…", '-|#"_*>--<>2x.')


def put_course_first():
    """Import the package of this course folder, unless PYTHONPATH names another one first."""
    given = {os.path.abspath(part) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part}
    at = max((place + 1 for place, part in enumerate(sys.path) if os.path.abspath(part) in given), default=0)
    if (ROOT / "tinytorch").is_dir():
        sys.path.insert(at, str(ROOT))


put_course_first()


# The terminal -----------------------------------------------------------------------------------------------------


class Screen:
    """Writes to standard output: wrapped, coloured only on a terminal, and one live line that is written over."""

    def __init__(self):
        self.terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        self.width = max(24, min(shutil.get_terminal_size().columns, 96))
        self.console, self.live_line = None, ""
        self.unicode = _encodes("─█→", sys.stdout.encoding)
        if self.terminal:
            if os.name == "nt":
                os.system("")  # Windows' older console knows escape sequences only after that
            try:
                from rich.console import Console

                self.console = Console(highlight=False, soft_wrap=True)
            except ImportError:
                pass

    def write(self, text="", style=""):
        self.clear()
        text = text if self.unicode else text.translate(ASCII)
        if self.console is None:
            print(text if _encodes(text, sys.stdout.encoding) else text.encode("ascii", "replace").decode(), flush=True)
        else:
            self.console.print(text, style=style, markup=False)

    def say(self, text, style="", label=""):
        """A paragraph, wrapped to the window; a label hangs in front of it."""
        words, pad = " ".join(text.split()).replace(" %", "\xa0%"), " " * len(label)
        lines = textwrap.fill(words, self.width, initial_indent=label, subsequent_indent=pad)
        self.write(lines.replace("\xa0", " "), style)

    def heading(self, text, style="bold"):
        self.write()
        self.write(f"── {text} ".ljust(self.width, "─")[: self.width], style)

    def live(self, text):
        """Show progress in place; on a pipe nothing is shown, as lines come at the end of each run."""
        if self.terminal:
            self.live_line = (text if self.unicode else text.translate(ASCII))[: self.width - 1]
            sys.stdout.write(f"\r\x1b[K{self.live_line}")
            sys.stdout.flush()

    def clear(self):
        if self.live_line:
            sys.stdout.write("\r\x1b[K")
            sys.stdout.flush()
            self.live_line = ""

    def table(self, header, rows, align=None):
        """Aligned columns; in a window too narrow for them, one small record per row. align: 'l' or 'r' a column."""
        rows = [[str(cell) for cell in row] for row in rows]
        align = align or "l" + "r" * (len(header) - 1)
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        if sum(widths) + 2 * len(widths) > self.width:
            return self._records(header, rows)

        def line(cells):
            placed = (
                cell.ljust(w) if a == "l" else cell.rjust(w) for cell, w, a in zip(cells, widths, align, strict=True)
            )
            return "  " + "  ".join(placed).rstrip()

        self.write(line(header), "bold")
        self.write("  " + "  ".join("─" * width for width in widths), "dim")
        for row in rows:
            self.write(line(row))

    def _records(self, header, rows):
        room = max(map(len, header[1:]))
        for row in rows:
            self.write(f"  {row[0]}", "bold")
            for name, cell in zip(header[1:], row[1:], strict=True):
                self.write(f"    {name.ljust(room)}  {cell}")


def _encodes(text, encoding):
    try:
        text.encode(encoding or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


def percent(share):
    return "n/a" if share is None or math.isnan(share) else f"{100 * share:.1f} %"


def count(number, one, more=None):
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def span(seconds):
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def blocks(image):
    """A picture in two tones as text, two pixel rows to a line."""
    ink = np.asarray(image) > 0.45 * np.max(image)
    ink = np.pad(ink, ((0, ink.shape[0] % 2), (0, 0)))
    marks = " ▀▄█"
    return [
        "".join(marks[int(top) + 2 * int(low)] for top, low in zip(a, b, strict=True))
        for a, b in zip(ink[::2], ink[1::2], strict=True)
    ]


# One milestone ----------------------------------------------------------------------------------------------------


class Stage:
    """One milestone: its options, its acts, its kept runs, its verdict.

    script: the milestone's __file__. epochs and seeds: what the verdict is about (or `expect` says it later); other
    epochs, or part of the data, are "not judged". more(parser) adds options of the milestone's own.
    """

    def __init__(self, script, title, epochs=None, seeds=(0, 1, 2, 3, 4), more=None):
        self.script, self.title = Path(script).resolve(), title
        self.folder = self.script.parent.name
        self.default = epochs, seeds
        self.screen, self.acts, self.requirements, self.last_checkpoint = Screen(), 0, [], None
        self.crew = Alone()
        self.parser = argparse.ArgumentParser(prog=self.command(), description=title)
        add = self.parser.add_argument
        add("--epochs", type=positive, metavar="N", help="passes over the data (other than the default: not judged)")
        add("--seed", type=int, action="append", dest="seeds", metavar="S", help="run this seed only; repeat for more")
        add("--resume", action="store_true", help="go on where the last run stopped")
        add("--no-page", action="store_false", dest="page", help="leave out the page of figures")
        add("--runs", type=Path, metavar="DIR", help="where runs are kept (default: runs/ of the course)")
        if more:
            more(self.parser)
        self.options = self.epochs = self.default_epochs = self.runs = None

    def parse(self, argv=None):
        self.options = self.parser.parse_args(argv)
        self.expect(*self.default)
        return self.options

    def expect(self, epochs, seeds, part=1.0, variant=""):
        """What the verdict is about, and how much of the data is used; options that were given go before.

        Runs that are not judged are kept in a folder of their own, so that they replace none that are; variant: how
        they differ from what is judged, the name of a folder in there.
        """
        self.default_epochs, self.epochs = epochs, self.options.epochs or epochs
        self.seeds = tuple(dict.fromkeys(self.options.seeds or seeds))
        whole = self.epochs == epochs and part == 1 and not variant
        base = self.options.runs or ROOT / setting("runs_path", "runs")
        self.runs = base / self.folder / ("" if whole else Path("trial", variant))

    def command(self):
        """How this milestone was called, for messages that say what to type next."""
        called = os.environ.get("TITO_COMMAND")
        return called or f"python {quoted(near(self.script))}"

    # The acts

    def act(self, name):
        if not self.acts:
            self.screen.say(self.title, "bold")
        self.acts += 1
        self.screen.heading(f"{self.acts} {name}")

    def say(self, text, style="", label=""):
        self.screen.say(text, style, label)

    def table(self, header, rows, align=None):
        self.screen.table(header, rows, align)

    # The runs

    def path(self, name):
        return self.runs / name

    def save(self, name, record):
        """Keep a run as JSON, whole or not at all; of several workers only the first does."""
        if self.crew.rank:
            return
        self.runs.mkdir(parents=True, exist_ok=True)
        part = self.path(f"{name}.json.part")
        text = json.dumps({"milestone": self.folder, **record}, indent=1, default=_plain) + "\n"
        part.write_text(text, encoding="utf-8", newline="\n")
        put_in_place(part, self.path(f"{name}.json"))

    def load(self, name):
        """A kept run; None where there is none."""
        try:
            return json.loads(self.path(f"{name}.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None

    def kept(self):
        """The run of each seed, as the files hold them."""
        runs = [run for seed in self.seeds if (run := self.load(f"seed-{seed}"))]
        if not runs:
            raise UnusableError(f"no run was kept in {self.runs}")
        return runs

    def finished(self, name, **same):
        """The kept run, if --resume asks for it and it was made with the same settings."""
        record = self.load(name) if self.options.resume else None
        return record if record and all(record.get(key) == value for key, value in same.items()) else None

    def draw(self, name, figure):
        """Save the figure that `figure()` returns as a PNG; the path, or None where there is to be none."""
        if not self.options.page:
            return None
        self.screen.live("drawing the page")
        try:
            figure().savefig(self.path(name), dpi=130)
        except ImportError as error:
            return self.say(f"No page of figures: {error}", "bold yellow")
        return self.path(name)

    # The verdict

    def require(self, text, reached):
        self.requirements.append((text, bool(reached)))

    def why_not(self, one="epoch", more=None, how=""):
        """Why runs with other epochs than the default are not judged; empty if they are."""
        same = self.epochs == self.default_epochs
        return "" if same else f"{count(self.epochs, one, more)}{how} in place of {self.default_epochs}"

    def verdict(self, why_not="", page=None, note=""):
        """Say what was required and what was reached; return the exit code. why_not: why it is not judged, if so."""
        judged = not why_not
        self.screen.heading("Verdict")
        for text, reached in self.requirements:
            missed = ("missed   ", "bold red") if judged else ("not yet  ", "yellow")
            label, style = ("reached  ", "") if reached else missed
            self.say(text, style, label)
        for label, file in (("Runs", self.runs), ("Page", page)):
            if _there(file):
                self.screen.write(f"{label}: {near(file)}", "dim")
        if note:
            self.say(note, "dim")
        good = all(reached for _, reached in self.requirements)
        if not judged:
            self.say(f"Not judged: {why_not}.", "bold yellow")
            return REACHED
        if good:
            self.say(f"Reached: {self.title}.", "bold green")
            return REACHED
        self.say("Below the threshold. Mend what was missed, and run it again.", "bold red")
        return BELOW

    # From start to exit code

    def run(self, play, argv=None):
        """Play the milestone and exit with its code."""
        try:
            end_with_tito()
            self.parse(argv)
            code = play(self)
        except KeyboardInterrupt:
            code = self._stopped()
        except BrokenPipeError:  # the reader of the pipe has left
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = UNUSABLE
        except (ModuleNotFoundError, NotImplementedError) as error:
            code = self._unfinished(error)
        except (UnusableError, PermissionError) as error:
            self.screen.clear()
            print(f"{self.folder}: {error}", file=sys.stderr)
            code = UNUSABLE
        self.crew.leave(code)
        sys.exit(code)

    def _stopped(self):
        rest = [part for part in sys.argv[1:] if part != "--resume"]
        self.screen.write()
        kept = f"The last checkpoint is kept: {near(self.last_checkpoint)}." if _there(self.last_checkpoint) else ""
        self.say(f"Stopped. Finished runs are kept. {kept} To go on:", "bold yellow")
        self.screen.write(f"  {self.command()} {joined([*rest, '--resume'])}")
        return STOPPED

    def _unfinished(self, error):
        """A module that is not exported, or a function that is still a stub: say which, and what to type."""
        name = getattr(error, "name", None) or ""
        if isinstance(error, ModuleNotFoundError) and not name.startswith("tinytorch"):
            raise error
        self.screen.clear()
        module = next(
            (m.name for m in sorted(ROOT.glob("modules/[0-9]*")) if name and m.name.endswith(name.rsplit(".")[-1])), ""
        )
        if isinstance(error, NotImplementedError):
            said = " ".join(filter(None, [str(error), *getattr(error, "__notes__", [])])) or _where(error)
            text = f"something this milestone needs is still to be written: {said}"
        elif module:
            text = f"needs module {module}, which is not exported yet: tito export {module[:2]}"
        else:
            text = f"{error}; set the course up first (README.md)"
        print(f"{self.folder}: {text}", file=sys.stderr)
        return UNUSABLE


class Alone:
    """One process by itself; workers.Crew is several that train together."""

    rank, size = 0, 1

    def told(self, value=None):
        """What rank 0 knows."""
        return value

    def leave(self, code):
        """Before the process ends."""

    def trainer(self, kind):
        """The class of Trainer to train with."""
        return kind


class UnusableError(Exception):
    """The milestone cannot run as asked: missing data, an option that does not fit."""


# Small change -----------------------------------------------------------------------------------------------------


def positive(text):
    """A whole number from 1 on, for an option."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"give a whole number from 1 on, not {text!r}")
    return number


def setting(key, default):
    settings = ConfigParser()
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    return settings["DEFAULT"].get(key, default)


def given(number, file):
    """Whether a module of this course is the reference and not the student's: `tito init` notes it in both places."""
    settings = ConfigParser()
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    yours = settings.get("workspace", "yours", fallback=number).split()
    return number not in yours or file.read_text(encoding="utf-8").startswith("# The course's reference")


def near(path):
    """A path as one would type it here."""
    path = Path(path).resolve()
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def quoted(word):
    """A word of a command to copy, in quotes where the system's shells need them."""
    if os.name != "nt":
        return shlex.quote(word)
    return word if re.fullmatch(r"[\w@+=:.,/\\~-]+", word) else '"' + word.replace('"', '\\"') + '"'


def joined(words):
    """Words as a command to copy."""
    return " ".join(map(quoted, words))


def put_in_place(part, target, tries=6):
    """Rename a file; Windows refuses it while any program has one of both open, and most let go after a moment."""
    for left in reversed(range(tries)):
        try:
            return part.replace(target)
        except PermissionError as error:
            if not left:
                held = "perhaps another program holds it open: close that, and run this again"
                raise UnusableError(f"cannot write {near(target)} ({error.strerror}); {held}") from error
        time.sleep(0.05)


def end_with_tito():
    """Stop as at Ctrl-C when the `tito` that has started this is gone, even if it was killed."""
    parent = os.getppid()

    def watch():
        while os.getppid() == parent:
            time.sleep(0.5)
        _thread.interrupt_main()

    if "TITO_COMMAND" in os.environ:
        threading.Thread(target=watch, daemon=True).start()


def _where(error):
    """The function that raised an error, and its file."""
    code = traceback.extract_tb(error.__traceback__)[-1]
    return f"{code.name} in {near(code.filename)}"


def _there(path):
    return path is not None and Path(path).exists()


def _plain(value):
    """Arrays and NumPy numbers for JSON."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else str(value)


def median(values):
    return statistics.median(values) if values else math.nan


def peak_memory():
    """The most memory this process has held so far, in bytes; None where the system does not tell."""
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        try:
            from psutil import Process

            return Process().memory_info().peak_wset
        except (ImportError, AttributeError):
            return None
    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class Clock:
    """Seconds since it was made, by the wall and by the processor."""

    def __init__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self):
        return {
            "seconds": round(time.perf_counter() - self.wall, 3),
            "cpu_seconds": round(time.process_time() - self.cpu, 3),
        }
