"""What differs between Linux, macOS and Windows: the one file of tito in which it stands. Grading alone is Linux's.

`child.py` loads this file by its path, so it imports nothing of tito.
"""

import contextlib
import errno
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NoReturn

WINDOWS = os.name == "nt"
# Seconds that a wait may last for Ctrl-C to be heard: on Windows nothing interrupts one, elsewhere everything does.
HEARD = 0.2 if WINDOWS else None
# The signals that end a command: of the terminal, of other programs, of a closed window.
ENDING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))
CAN_FORK = hasattr(os, "fork")
UNLIMITED = "Windows sets no limit to a file's size: a cell that writes without end is ended by its time alone."


# Processes: a student's code, with all that it starts


def start(command: list[str], **options) -> subprocess.Popen:
    """Start a process that `end` ends with everything it started. The terminal's Ctrl-C does not reach it."""
    apart: dict[str, Any] = {"start_new_session": True}
    if WINDOWS:
        apart = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined, unused-ignore]
    return subprocess.Popen(command, **apart, **options)


def end(process: subprocess.Popen) -> None:
    """End a process that `start` made, with everything it started: its session; on Windows its tree, and its job."""
    if WINDOWS:
        _end_tree(process)
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS refuses where only zombies are left
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(command: list[str], seconds: float, given: str = "", **options) -> subprocess.CompletedProcess:
    """Run a command of ours to its end: its code and what it said to `given`.

    After `seconds` (subprocess.TimeoutExpired), or where this process is interrupted, it ends with all it started.
    """
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with start(command, encoding="utf-8", errors="replace", **pipes, **options) as process:
        try:
            said = process.communicate(given, timeout=seconds)
        except BaseException:
            end(process)
            raise
    return subprocess.CompletedProcess(command, process.returncode, *said)


def _end_tree(process: subprocess.Popen) -> None:
    """Windows: end a process and whatever has it for an ancestor, also where no job holds them together."""
    try:
        below = _below(process.pid)
        process.kill()
        _kill(below)
    except Exception:  # psutil is broken, or the system does not tell it: Windows' own tool, then
        command = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=10)
        process.kill()


def _below(number: int) -> list:
    """The processes that have this one for an ancestor; none if it has ended."""
    import psutil

    try:
        return psutil.Process(number).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill(processes: list) -> None:
    for process in processes:
        with contextlib.suppress(Exception):  # it has ended by itself
            process.kill()


def confine(largest_file: int, cpu_seconds: int) -> None:
    """Bounds for this process and what it starts, each where the system has it (see UNLIMITED)."""
    if WINDOWS:
        return _hold_together(cpu_seconds)
    import resource

    for limit, value in (resource.RLIMIT_FSIZE, largest_file), (resource.RLIMIT_CPU, cpu_seconds):
        _, hard = resource.getrlimit(limit)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))


def _hold_together(cpu_seconds: int = 0) -> None:
    """Windows: what this process starts ends when it ends, if the system gives a job for it; else see `_end_tree`."""
    if WINDOWS:
        with contextlib.suppress(AttributeError, OSError):
            _join_job(cpu_seconds)


def _join_job(cpu_seconds: int = 0) -> None:
    """Windows: put this process into a job of its own, which ends, with everything in it, when this process ends.

    The job's only handle is this process's; the system closes it however the process ends. cpu_seconds: what each
    process in it may use; 0: no limit.
    """
    import ctypes
    from ctypes import wintypes

    size, number = ctypes.c_size_t, ctypes.c_uint32

    class Basic(ctypes.Structure):  # JOBOBJECT_BASIC_LIMIT_INFORMATION
        _fields_ = [
            *(("process_time", ctypes.c_int64), ("job_time", ctypes.c_int64), ("flags", number)),
            *(("least_working_set", size), ("most_working_set", size), ("most_processes", number)),
            *(("affinity", size), ("priority", number), ("scheduling", number)),
        ]

    class Extended(ctypes.Structure):  # JOBOBJECT_EXTENDED_LIMIT_INFORMATION
        _fields_ = [("basic", Basic), ("io", ctypes.c_uint64 * 6), ("memory", size * 4)]

    kernel = ctypes.WinDLL("kernel32", use_last_error=True)  # type: ignore[attr-defined, unused-ignore]
    kernel.CreateJobObjectW.restype = kernel.GetCurrentProcess.restype = wintypes.HANDLE
    kernel.CreateJobObjectW.argtypes = ctypes.c_void_p, wintypes.LPCWSTR
    kernel.SetInformationJobObject.argtypes = wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, number
    kernel.AssignProcessToJobObject.argtypes = wintypes.HANDLE, wintypes.HANDLE
    limits = Extended()
    limits.basic.flags = 0x2000 | (0x2 if cpu_seconds else 0)  # JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, _PROCESS_TIME
    limits.basic.process_time = cpu_seconds * 10_000_000  # in units of 100 ns
    job = kernel.CreateJobObjectW(None, None)
    done = job and kernel.SetInformationJobObject(job, 9, ctypes.byref(limits), ctypes.sizeof(limits))
    if not done or not kernel.AssignProcessToJobObject(job, kernel.GetCurrentProcess()):
        raise OSError(ctypes.get_last_error(), "no job object")  # type: ignore[attr-defined, unused-ignore]


def leave(code: int, parent: int) -> NoReturn:
    """End this process at once and, if the `parent` that `start`ed it has gone, all that it started.

    A parent that is still there does that itself, and wants to know how this process ended.
    """
    if not WINDOWS and os.getppid() == parent:
        os._exit(code)
    if WINDOWS:
        with contextlib.suppress(Exception):
            _kill(_below(os.getpid()))
    elif os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os._exit(code)


_CRASHES = {
    0xC0000005: "access violation",
    0xC0000017: "no memory",
    0xC00000FD: "stack overflow",
    0xC0000374: "heap corruption",
    0xC0000409: "stack buffer overrun",
}


def how_it_ended(code: int) -> str:
    """A sentence about a process that ended with `code` in the middle of its work."""
    if WINDOWS and (status := code & 0xFFFFFFFF) >= 0xC0000000:
        return f"Python crashed ({', '.join(filter(None, [_CRASHES.get(status), f'0x{status:08X}']))})."
    if WINDOWS and code == 3:
        return "Python crashed (exit code 3, as os.abort() does)."
    if not WINDOWS and code == -signal.SIGKILL:
        return "The system ended it (SIGKILL); this happens when memory runs out."
    if code < 0:
        return f"Python crashed ({signal.Signals(-code).name})."
    return f"Python ended in the middle of it (exit code {code}). Does it call os._exit?"


def out_of(error: BaseException) -> str:
    """The cause and the mend, where an error says that the system gives no more threads or processes; else nothing."""
    if isinstance(error, OSError) and error.errno == errno.EAGAIN:
        return _NO_MORE.format(what="processes", reason=error)
    return out_of_threads(str(error)) if isinstance(error, RuntimeError) else ""


def out_of_threads(said: str) -> str:
    """The same for what a process says: Python itself, or OpenBLAS, which then interrupts the import of NumPy."""
    signs = (re.search(sign, said) for sign in ("can't start new thread", "pthread_create failed[^:\n]*"))
    return next((_NO_MORE.format(what="threads", reason=sign[0]) for sign in signs if sign), "")


_NO_MORE = (
    "this system gives no more {what} ({reason}): end other programs that run here. On Linux `ulimit -u` says how many "
    "you may have; a container has a limit of its own (docker run --pids-limit)"
)


# A script in the same terminal


def start_beside(command: list[str], **options) -> subprocess.Popen:
    """Start a process that gets Ctrl-C once: from `pass_on`, or on Windows from the console itself."""
    _hold_together()
    apart: dict[str, Any] = {} if WINDOWS else {"process_group": 0}
    return subprocess.Popen(command, **apart, **options)


def pass_on(process: subprocess.Popen, number: int) -> None:
    """Give a signal on to a process that `start_beside` made, unless the console has told it."""
    if not WINDOWS or number == signal.SIGTERM:
        process.send_signal(number)


def wait(process: subprocess.Popen) -> int:
    """Wait for the end of a process; signals are heard meanwhile. Returns its exit code."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(HEARD)


def become(words: list[str], environment: dict[str, str]) -> NoReturn:
    """Go on as another program, whose Ctrl-C is its own. Windows cannot: there this process waits, and is deaf."""
    sys.stdout.flush()
    if not WINDOWS:
        os.execve(words[0], words, environment)
    for number in ENDING:
        signal.signal(number, lambda *_: None)
    _hold_together()
    sys.exit(subprocess.call(words, env=environment))


def in_fork(work: Callable[[], bool], seconds: float) -> bool:
    """What `work()` says in a silent fork of this process; False if it says nothing within `seconds`. See CAN_FORK."""
    import select

    reading, writing = os.pipe()
    child = os.fork()
    if not child:  # leaves without any clean-up
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        os.write(writing, b"1" if work() else b"0")
        os._exit(0)
    os.close(writing)
    finished = select.select([reading], [], [], seconds)[0]
    verdict = os.read(reading, 1) if finished else b""
    os.close(reading)
    if not finished:
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return verdict == b"1"


# Words to copy, and who types them


def quoted(text: str) -> str:
    """A word of a command to copy, in quotes if the system's shells would take it for more than one word."""
    if WINDOWS:
        return text if re.fullmatch(r"[\w@+=:.,/\\~-]+", text) else '"' + text.replace('"', '\\"') + '"'
    import shlex

    return shlex.quote(text)


def commands_in(folder: str, command: str) -> str:
    """Commands to copy: change to a folder and go on there. Windows' PowerShell 5.1 has no `&&`, hence two lines."""
    if not WINDOWS:
        return f"cd {quoted(folder)} && {command}"
    change = "pushd" if os.path.splitdrive(folder)[0] else "cd"  # cmd's cd stays on its drive
    return f"{change} {quoted(folder)}\n      {command}"


def is_superuser() -> bool:
    """Whether this user may do everything; on Windows nobody asks."""
    return hasattr(os, "geteuid") and os.geteuid() == 0
