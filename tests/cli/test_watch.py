"""`tito watch`: on a terminal of forty columns, after each save, and gone without a trace."""

import os
import re
import signal
import struct
import subprocess
import time

import pytest

from tito.course import notebook
from tito.course.registry import Course
from tito.student import watch

pty, fcntl, termios, select = (
    pytest.importorskip(name, reason="no pseudo-terminals here") for name in ("pty", "fcntl", "termios", "select")
)
watchfiles = pytest.importorskip("watchfiles", reason="watchfiles is not installed")
COLUMNS = 40


class Terminal:
    """A process on a pseudo-terminal, and what it wrote."""

    def __init__(self, start):
        self.parent, child = pty.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
        environment = {"TERM": "xterm-256color", "NO_COLOR": "", "COLUMNS": str(COLUMNS), "LINES": "24"}
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), child)
        self.process = start(environment=environment, start=subprocess.Popen, start_new_session=True, **streams)
        os.close(child)
        self.written = ""

    def until(self, text, seconds=60.0):
        """Read until `text` is on the screen."""
        start = time.monotonic()
        while text not in " ".join(self.screen.split()):
            left = start + seconds - time.monotonic()
            assert left > 0, f"{text!r} did not come:\n{self.screen}"
            if select.select([self.parent], [], [], min(left, 0.05))[0]:
                try:
                    self.written += os.read(self.parent, 1 << 16).decode(errors="replace")
                except OSError:
                    break

    @property
    def screen(self):
        """The last frame, without colours."""
        return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", self.written.rpartition("\x1b[H")[2]).replace("\r\n", "\n")


@pytest.fixture
def course(toy):
    exercises = [("double", toy.WRONG, toy.TEST_DOUBLE, 10), ("triple", toy.STUB, toy.TEST_TRIPLE, 5)]
    toy.module("01", "alpha", exercises, hints=["a nudge"])
    return toy


@pytest.fixture
def terminal(course, tito_process):
    made = Terminal(lambda **options: tito_process("watch", "1", **options))
    yield made
    if made.process.poll() is None:
        made.process.kill()
    made.process.wait()
    os.close(made.parent)


def save(toy, *exercises):
    """As JupyterLab saves: a new file is put in the old one's place."""
    toy.notebook("01", "alpha", [(id, source, getattr(toy, f"TEST_{id.upper()}"), 5) for id, source in exercises])


def test_every_save_is_tested_and_ctrl_c_ends_it(course, terminal):
    terminal.until("First failure")
    assert "expected 8, got 12" in terminal.screen
    assert "tito hint 01 double" in terminal.screen
    save(course, ("double", course.DOUBLE), ("triple", course.STUB))
    terminal.until("1 of 2 exercises")
    terminal.until("Next exercise: Task triple")
    course.path = course.root / "modules/01_alpha/alpha_dev.ipynb"
    course.path.write_text("{")
    terminal.until("is not a readable")
    save(course, ("double", course.DOUBLE), ("triple", "#| export\ndef triple(x):\n    return 3 * x"))
    terminal.until("Next: tito test 01")
    frames = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", terminal.written).replace("\r\n", "\n").splitlines()
    assert max(map(len, frames)) <= COLUMNS and "Traceback" not in terminal.written
    terminal.process.send_signal(signal.SIGINT)
    terminal.until("Stopped.")
    assert terminal.process.wait(60) == 0


def test_an_endless_loop_does_not_delay_the_next_save(course, terminal):
    terminal.until("First failure")
    save(course, ("double", course.HANG), ("triple", course.STUB))
    terminal.until("testing double")
    save(course, ("double", course.DOUBLE), ("triple", course.STUB))
    terminal.until("1 of 2 exercises")
    assert "ran for more than" not in terminal.written, "nobody waited for the loop's time to be up"


def test_without_a_terminal_each_run_is_a_block(course, tito_process):
    process = tito_process("watch", start=subprocess.Popen, stdout=subprocess.PIPE, text=True)
    lines = iter(process.stdout.readline, "")
    first = [next(lines) for _ in range(5)]
    assert first[0] == "01 The alpha\n" and "First failure" in first[3] and "\x1b" not in "".join(first)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def test_what_a_save_concerns(course):
    [module] = Course.load(course.root).modules
    before = watch.fingerprints(module)
    assert watch.affected(module, before, before) is None
    assert watch.affected(module, before, {**before, "double": "new"}) == ("double",)
    assert watch.affected(module, before, {**before, "double": "", "test_triple": ""}) == ("double", "triple")
    assert watch.affected(module, before, {**before, "imports": "#| export"}) == ()
    assert watch.affected(module, None, before) == ()
    path = module.notebooks[0]
    nb = notebook.read(path)
    nb["cells"].append(course.cell("code", "look", "print('only looking')"))
    notebook.write(path, nb)
    assert watch.affected(module, before, watch.fingerprints(module)) is None, "explorations are not tested"
