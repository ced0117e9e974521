"""The command line itself: help in no time, clean messages, and screens that fit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tito import __version__

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def course(toy):
    exercises = [("double", toy.WRONG, toy.TEST_DOUBLE, 10), ("triple", toy.STUB, toy.TEST_TRIPLE, 5)]
    toy.module("01", "alpha", exercises)
    return toy


def test_help_is_fast():
    """In processor time, of Python's own start too: what else runs on the machine counts as little as can be."""
    program = """
import atexit, sys, time
atexit.register(lambda: print(time.process_time(), file=sys.stderr))
sys.argv = ["tito", "--help"]
from tito.cli import main
main()
"""
    times = []
    for _ in range(3):
        ended = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, encoding="utf-8")
        assert ended.returncode == 0 and "Usage" in ended.stdout, ended.stderr
        times.append(float(ended.stderr))
    assert min(times) < 0.3


def test_help_loads_nothing_heavy():
    command = [sys.executable, "-c", "import sys, tito.cli\nprint(*sys.modules)"]
    loaded = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split()
    assert not {"nbdev", "numpy", "nbgrader", "matplotlib", "rich.table"} & set(loaded)


def test_version(tito):
    assert tito("--version").out == f"tito {__version__}\n"


def test_tito_alone_shows_where_you_are(course, tito):
    end = tito()
    assert end.code == 0 and end.out == tito("status").out
    assert "01_alpha  not tested" in end.out
    assert "Next exercise: Task double (double), about 5 min" in end.out and "Next: tito module start 01" in end.out


def test_tito_alone_outside_of_a_course_shows_the_commands(tito, tmp_path):
    end = tito(cwd=tmp_path)
    assert end.code == 0 and "To make one: tito init DIR" in end.out
    for name in ("export", "test", "lab", "watch", "hint", "module", "status", "milestone", "doctor"):
        assert f"  {name} " in end.out


@pytest.mark.parametrize("name", ["9", "spatial", "01_alfa"])
def test_an_unknown_module_is_a_sentence(course, tito, name):
    for command in (["test"], ["export"], ["module", "start"], ["module", "complete"], ["module", "status"]):
        end = tito(*command, name)
        assert end.code == 1 and end.out == "" and f"no module '{name}'" in end.err


def test_close_matches_are_offered(course, tito):
    assert "did you mean" in tito("test", "alhpa").err
    assert "Did you mean 'test'" in tito("tset").err


@pytest.mark.parametrize("words", ["test", "export", "test 1 --all", "tset", "test --wrong", "module start"])
def test_misuse_exits_with_2(course, tito, words):
    end = tito(*words.split())
    assert end.code == 2 and end.err and "Traceback" not in end.err


def test_outside_of_a_course(tito, tmp_path):
    for words in (["status"], ["test", "1"], ["doctor"], ["export", "--all"], ["milestone", "list"]):
        end = tito(*words, cwd=tmp_path)
        assert end.code == 1 and "settings.ini" in end.err


def test_export_and_check(course, tito):
    assert tito("export", "1", "--check").code == 1
    end = tito("export", "1")
    assert end.code == 0 and "tinytorch/core/alpha.py: written" in end.out
    assert tito("export", "--all", "--check").code == 0
    assert "in sync" in tito("export", "1").out


@pytest.mark.parametrize("columns", [40, 80])
def test_screens_fit_and_are_plain_in_a_pipe(course, tito, columns):
    for words in (["test", "1"], ["status"], ["module", "start", "1"], ["module", "status", "1"]):
        end = tito(*words, columns=columns)
        assert "\x1b" not in end.out
        assert max(map(len, end.out.splitlines())) <= columns, end.out
        assert not set("│┃─━┏┗╭╰…") & set(end.out)
        assert not any(line.endswith(" ") for line in end.out.splitlines())


def on_terminal(tito_process, *words, columns=40, **environment):
    """What a command writes to a pseudo-terminal."""
    pty, select = (pytest.importorskip(name, reason="no pseudo-terminals here") for name in ("pty", "select"))
    parent, child = pty.openpty()
    environment = {"COLUMNS": str(columns), "TERM": "xterm-256color", **environment}
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), child)
    process = tito_process(*words, environment=environment, start=subprocess.Popen, **streams)
    os.close(child)
    written = b""
    while select.select([parent], [], [], 30)[0]:
        try:
            written += os.read(parent, 1 << 16)
        except OSError:  # the other end closed
            break
    process.wait(timeout=60)
    os.close(parent)
    return written.decode()


def test_a_terminal_gets_colours_unless_it_refuses_them(course, tito_process):
    coloured = on_terminal(tito_process, "test", "1", NO_COLOR="")
    assert "\x1b[31mfailed" in coloured and "expected 8, got 12" in coloured
    plain = on_terminal(tito_process, "test", "1", NO_COLOR="1")
    assert "\x1b" not in plain and "expected 8, got 12" in plain
    assert max(map(len, plain.splitlines())) <= 40


@pytest.mark.skipif(os.name != "posix", reason="the shell closes it there")
def test_a_closed_output_is_no_fault(course):
    words = f'"{sys.executable}" -m tito status'
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        ended = subprocess.run(f"{words} {closed}", shell=True, cwd=course.root, capture_output=True)
        assert ended.returncode == 0 and b"Traceback" not in ended.stderr, closed


def test_no_more_threads_is_a_sentence(toy):
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 1)])
    code = 'import threading\ndef start(self):\n    raise RuntimeError("can\'t start new thread")\n'
    code += "threading.Thread.start = start\nfrom tito.cli import main\nmain()"
    command = [sys.executable, "-c", code, "test", "1"]
    ended = subprocess.run(command, cwd=toy.root, capture_output=True, encoding="utf-8")
    assert ended.returncode == 1 and ended.stderr.startswith("tito: this system gives no more threads")
    assert "ulimit -u" in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals work differently there: see tests/machines")
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_test_and_its_processes(toy, tito_process, number, code):
    marker = toy.root / "alive"
    loop = f"#| export\nimport time\ndef double(x):\n    while True:\n        open({str(marker)!r}, 'w').close()"
    toy.module("01", "alpha", [("double", loop, toy.TEST_DOUBLE, 1)])
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = tito_process("test", "1", "--timeout", "60", start=subprocess.Popen, **pipes)
    end = time.monotonic() + 60
    while not marker.exists() and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code and "Traceback" not in out + err
    marker.unlink()
    time.sleep(0.3)
    assert not marker.exists()


@pytest.mark.skipif(os.name != "posix", reason="one process cannot send another Ctrl-C there")
@pytest.mark.parametrize("words", [["test", "1"], ["module", "complete", "1"], ["solution", "1", "double"]])
def test_ctrl_c_ends_a_command_with_one_sentence(toy, tito_process, words):
    begun = toy.root / "modules/01_alpha/begun"
    hang = toy.HANG.replace("    while", "    open('begun', 'w').close()\n    while")
    toy.module("01", "alpha", [("double", hang, toy.TEST_DOUBLE, 10)])
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    if words[0] == "solution":
        solved = hang.replace("    open", "    ### BEGIN SOLUTION\n    open") + "\n    ### END SOLUTION"
        toy.notebook("01", "alpha", [("double", solved, toy.TEST_DOUBLE, 10)])
    process = tito_process(*words, start=subprocess.Popen, start_new_session=True, **pipes)
    for _ in range(1200):
        if begun.exists():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "Stopped by Ctrl-C.\n")
