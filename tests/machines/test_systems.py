"""runner/platform.py on each system: what of Windows' part can be tried elsewhere is tried with fakes."""

import ctypes
import errno
import importlib.util
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import psutil
import pytest

from tito.course import storage
from tito.runner import platform

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def windows(monkeypatch):
    """The platform file as on Windows; what it starts is noted."""
    noted = types.SimpleNamespace(started=[], ran=[])

    def popen(command, **options):
        noted.started.append((command, options))

    monkeypatch.setattr(platform, "WINDOWS", True)
    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0x200, raising=False)
    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(subprocess, "run", lambda command, **options: noted.ran.append(command))
    return noted


class Process:
    """Stands in for a Popen."""

    pid = 4321

    def __init__(self, waits=0):
        self.told, self.waits = [], waits

    def wait(self, timeout=None):
        self.waits -= 1
        if self.waits >= 0:
            raise subprocess.TimeoutExpired("child", timeout)
        self.told.append("waited")
        return 7

    def kill(self):
        self.told.append("killed")

    def send_signal(self, number):
        self.told.append(number)


class Kernel:
    """Stands in for kernel32: every function can be called, and notes that it was."""

    def __init__(self, assigned=1):
        self.calls, self.assigned = [], assigned

    def __getattr__(self, name):
        def call(*given):
            self.calls.append((name, given))
            return {"CreateJobObjectW": 77, "GetCurrentProcess": -1, "AssignProcessToJobObject": self.assigned}.get(
                name, 1
            )

        setattr(self, name, call)
        return call


# Trees of processes


def test_a_child_is_apart_from_the_terminal(windows):
    platform.start(["python"], cwd="here")
    platform.start_beside(["python"])
    assert windows.started == [(["python"], {"creationflags": 0x200, "cwd": "here"}), (["python"], {})]


@pytest.mark.skipif(os.name != "posix", reason="sessions and groups")
def test_a_child_is_apart_from_the_terminal_here():
    look = [sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid())"]
    for begin, own in ((platform.start, b"True True\n"), (platform.start_beside, b"False True\n")):
        with begin(look, stdout=subprocess.PIPE) as child:
            assert child.stdout.read() == own


FOREVER = """\
import subprocess, sys
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
Path("number").write_text(str(child.pid), encoding="utf-8")
child.wait()
"""


def test_a_command_is_run_to_its_end_or_ended_with_what_it_started(tmp_path):
    said = platform.run([sys.executable, "-c", "import sys; print(input()[::-1]); sys.exit(3)"], 60, "olleh\n")
    assert (said.returncode, said.stdout.strip(), said.stderr) == (3, "hello", "")
    with pytest.raises(subprocess.TimeoutExpired):
        platform.run([sys.executable, "-c", FOREVER], 5.0, cwd=tmp_path)
    number = int((tmp_path / "number").read_text(encoding="utf-8"))
    latest = time.monotonic() + 20  # a signal has been sent; on a busy machine it arrives a little later
    while psutil.pid_exists(number) and psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < latest
        time.sleep(0.02)


def test_a_job_ends_with_its_process_and_holds_it_to_its_time(windows, monkeypatch):
    kernel, seen = Kernel(), {}

    def limits(job, what, pointer, size):
        data = pointer._obj
        seen.update(job=job, what=what, size=size, flags=data.basic.flags, time=data.basic.process_time)
        return 1

    kernel.SetInformationJobObject = limits
    monkeypatch.setattr(ctypes, "WinDLL", lambda name, **options: kernel, raising=False)
    platform.confine(1 << 20, 3600)
    assert seen == {"job": 77, "what": 9, "size": 144, "flags": 0x2002, "time": 36_000_000_000}
    assert kernel.calls[-1] == ("AssignProcessToJobObject", (77, -1))
    platform.start_beside(["python"])
    assert seen["flags"] == 0x2000, "a milestone may take its time, and ends with tito"


def test_without_a_job_the_child_runs_all_the_same(windows, monkeypatch):
    platform.confine(1 << 20, 3600)  # no kernel32 here at all
    monkeypatch.setattr(ctypes, "get_last_error", lambda: 5, raising=False)
    monkeypatch.setattr(ctypes, "WinDLL", lambda name, **options: Kernel(assigned=0), raising=False)
    with pytest.raises(OSError, match="no job object"):
        platform._join_job(1)
    platform.confine(1 << 20, 3600)


def test_windows_ends_a_tree_from_its_root(windows, monkeypatch):
    children, process = [Process(), Process()], Process()
    monkeypatch.setattr(psutil, "Process", lambda number: types.SimpleNamespace(children=lambda recursive: children))
    platform.end(process)
    assert process.told == ["killed", "waited"] and [child.told for child in children] == [["killed"]] * 2
    assert windows.ran == []


@pytest.mark.parametrize("error, ran", [(psutil.NoSuchProcess(1), False), (psutil.AccessDenied(1), True)])
def test_windows_own_tool_ends_what_psutil_cannot_see(windows, monkeypatch, error, ran):
    def refused(number):
        raise error

    monkeypatch.setattr(psutil, "Process", refused)
    process = Process()
    platform.end(process)
    assert process.told == ["killed", "waited"]
    assert windows.ran == [["taskkill", "/T", "/F", "/PID", "4321"]] * ran


# How a process ended, and waiting for it


@pytest.mark.parametrize(
    "code, sentence",
    [
        (3221225477, "Python crashed (access violation, 0xC0000005)."),
        (-1073741571, "Python crashed (stack overflow, 0xC00000FD)."),
        (0xC0000123, "Python crashed (0xC0000123)."),
        (3, "Python crashed (exit code 3, as os.abort() does)."),
        (1, "Python ended in the middle of it (exit code 1). Does it call os._exit?"),
    ],
)
def test_how_a_process_ended_on_windows(windows, code, sentence):
    assert platform.how_it_ended(code) == sentence


def test_waits_are_short_where_nothing_interrupts_them(windows, monkeypatch):
    monkeypatch.setattr(platform, "HEARD", 0.2)
    process = Process(waits=3)
    assert platform.wait(process) == 7 and process.waits == -1


def test_the_console_tells_its_processes_of_ctrl_c_by_itself(windows):
    process = Process()
    platform.pass_on(process, signal.SIGINT)
    platform.pass_on(process, signal.SIGTERM)
    assert process.told == [signal.SIGTERM]


def test_windows_waits_for_the_program_that_it_cannot_become(windows, monkeypatch):
    monkeypatch.setattr(
        subprocess, "call", lambda words, env: 5 if signal.getsignal(signal.SIGINT)(2, None) is None else 6
    )
    before = {number: signal.getsignal(number) for number in platform.ENDING}
    try:
        with pytest.raises(SystemExit) as end:
            platform.become(["jupyter"], {})
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert end.value.code == 5


# Words to copy


@pytest.mark.parametrize(
    "word, shown",
    [
        ("course", "course"),
        (r"C:\Users\jane\course", r"C:\Users\jane\course"),
        (r"C:\Users\Jane Döe", r'"C:\Users\Jane Döe"'),
        ("a&b", '"a&b"'),
        ("numpy>=2.2", '"numpy>=2.2"'),
        ("--seed=3", "--seed=3"),
    ],
)
def test_a_word_to_copy_on_windows(windows, monkeypatch, word, shown):
    assert platform.quoted(word) == shown
    stage = load_stage()
    monkeypatch.setattr(stage.os, "name", "nt")
    assert stage.quoted(word) == shown and stage.joined([word, "x"]) == f"{shown} x"


def test_commands_to_copy_on_windows(windows, monkeypatch):
    assert platform.commands_in("my course", "tito").split("\n") == ['cd "my course"', "      tito"]
    monkeypatch.setattr(platform.os.path, "splitdrive", lambda path: ("D:", path[2:]))
    assert platform.commands_in(r"D:\course", "tito").startswith("pushd D:\\course\n"), "cmd's cd stays on its drive"


@pytest.mark.skipif(os.name != "posix", reason="other shells")
def test_words_and_commands_to_copy_here():
    assert platform.quoted("it's") == """'it'"'"'s'"""
    assert platform.commands_in("my course", "tito") == "cd 'my course' && tito"


def load_stage():
    """What the milestones share, as they import it."""
    spec = importlib.util.spec_from_file_location("stage", ROOT / "milestones" / "stage.py")
    stage = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(stage)
    return stage


# Files that somebody holds open


@pytest.fixture
def held(monkeypatch):
    """held(times): the next so many replacements are refused; returns the list of pauses."""

    def hold(times):
        left, pauses, replace = [times], [], os.replace

        def refusing(*paths, **options):
            left[0] -= 1
            if left[0] >= 0:
                raise PermissionError(errno.EACCES, "Access is denied", str(paths[0]))
            return replace(*paths, **options)

        monkeypatch.setattr(os, "replace", refusing)
        monkeypatch.setattr("time.sleep", pauses.append)
        return pauses

    return hold


def by_storage(folder):
    return storage.replace(folder / "new", folder / "old")


def by_the_trainer(folder):
    from tinytorch.files import write_safely

    return write_safely(folder / "old", b"new")


def by_a_milestone(folder):
    return load_stage().put_in_place(folder / "new", folder / "old")


@pytest.mark.parametrize("way", [by_storage, by_the_trainer, by_a_milestone])
def test_a_file_that_is_held_for_a_moment_is_replaced(tmp_path, held, way):
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"old")
    pauses = held(5)
    way(tmp_path)
    assert (tmp_path / "old").read_bytes() == b"new" and pauses == [0.05] * 5


@pytest.mark.parametrize("way", [by_storage, by_the_trainer, by_a_milestone])
def test_a_file_that_stays_held_is_told(tmp_path, held, monkeypatch, way):
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "old").write_bytes(b"old")
    held(99)
    monkeypatch.setattr(storage, "WINDOWS", True)
    with pytest.raises(Exception, match="perhaps another program (holds|has) it open.*close that"):
        way(tmp_path)
    assert (tmp_path / "old").read_bytes() == b"old"


# No more threads


def test_no_more_threads_or_processes_is_told_with_its_mend():
    for error in (
        RuntimeError("can't start new thread"),
        BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
    ):
        assert "gives no more" in platform.out_of(error) and "ulimit -u" in platform.out_of(error)
    assert platform.out_of(RuntimeError("dictionary changed")) == platform.out_of(FileNotFoundError(2, "no")) == ""
