"""What a student's process may ask of the kernel, tried inside the box: every call, and the arguments of some."""

import contextlib
import functools
import os
import struct
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from tito.grading.sandbox import isolation, lockdown
from tito.grading.sandbox.box import Box
from tito.grading.sandbox.student import StudentProcess

MACHINES = sorted(lockdown.ARCHITECTURES)
LAST = 600  # the highest number of a system call that is tried
EVERY = {**lockdown.CALLS, **lockdown.THREADS}
ENDING = {"exit", "exit_group", "rt_sigreturn"}  # whoever calls them is gone
UNFILTERED = {"x86_64": {335, 336}}  # uretprobe, uprobe: the kernel's own trampolines, which it asks no filter about

HEAD = """
import ctypes, errno, os
import numpy as np
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *inputs):
    "0 and more, or the error's name."
    ctypes.set_errno(0)
    got = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, inputs))
    return got if got >= 0 else errno.errorcode[ctypes.get_errno()]
"""


@functools.cache
def working(name):
    """The rung of this name, None if it does not work here."""
    return next(isolation.ladder((name,)), None)


@contextlib.contextmanager
def box(name, threads=0):
    """A function that runs code in a box on a rung and gives the value of its `answer`."""
    if (rung := working(name)) is None:
        pytest.skip(f"{name} does not work on this machine")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        kit = isolation.make_kit(Path(folder), Path(folder) / "none", [])
        words, environment = isolation.command(rung, kit, {"memory": 1 << 30, "cpu": 20, "threads": threads})
        user = isolation.FIRST_USER if rung.drop else None
        student = StudentProcess(Box(words, environment, user), threads)
        student.start()
        ask = student.conversation.ask

        def run(code):
            ask("execute", textwrap.dedent(code), "a cell")
            return ask("name", "answer")

        run.student = student
        ask("execute", HEAD, "the head")
        try:
            yield run
        finally:
            student.stop()
            student.box.stop()


rungs = pytest.mark.parametrize("rung", isolation.RUNGS[:2])
column = lockdown.ARCHITECTURES[os.uname().machine][1]

FRESH = """
import errno, os, sys
import numpy as np
def tried(what, *inputs):
    try: what(*inputs)
    except OSError as error: return errno.errorcode[error.errno]
    return True
answer = [hasattr(np, "left"), np.random.random(), sum(tried(os.fstat, n) is True for n in range(64))]
answer.append(tried(os.kill, os.getppid() or 1, 9))
np.left = "behind"
"""


@rungs
@pytest.mark.parametrize("threads", [0, 2])
def test_every_student_s_process_is_a_fork_of_its_own(rung, threads):
    """Nothing of the one before is there; neither is the box's socket, and the box cannot be sent a signal."""
    with box(rung, threads) as run:
        found = []
        for _ in range(3):
            run.student.start()
            run.student.conversation.ask("execute", FRESH, "a cell")
            found.append(run.student.conversation.ask("name", "answer"))
    drawn = {random for _, random, _, _ in found}
    assert len(drawn) == 3, "the state of NumPy's generator is each one's own"
    assert {(left, count, kill) for left, _, count, kill in found} == {(False, 5, "EPERM")}, found


@rungs
def test_a_box_that_is_gone_is_made_anew(rung):
    with box(rung) as run:
        run.student.box.process.kill()
        run.student.box.process.wait()
        assert run.student.stop() in (None, -9)
        run.student.start()
        run.student.conversation.ask("execute", "answer = 7", "a cell")
        assert run.student.conversation.ask("name", "answer") == 7


@rungs
@pytest.mark.parametrize("threads", [0, 2])
def test_every_number_is_tried_and_only_the_list_works(rung, threads):
    """With arguments that no call can do anything with, what is allowed fails by those, or tells its answer."""
    listed = {**lockdown.CALLS, **(lockdown.THREADS if threads else {})}
    numbers = {name: pair[column] for name, pair in listed.items() if pair[column] is not None}
    left_out = {numbers[name] for name in ENDING} | UNFILTERED.get(os.uname().machine, set())
    with box(rung, threads) as run:
        found = run(f"answer = [[n, call(n, *[-1] * 6)] for n in range({LAST + 1}) if n not in {left_out}]")
    passed = {number for number, told in found if told != ("EPERM" if number < lockdown.NEWER else "ENOSYS")}
    by_argument = {"open", "openat", "fcntl", "ioctl", "mmap", "prlimit64", "clone"}
    assert len(found) == LAST + 1 - len(left_out) and len(lockdown.CALLS) < 60
    assert passed == set(numbers.values()) - left_out - {numbers[name] for name in by_argument & set(numbers)}


@rungs
def test_arguments_decide(rung):
    one = {name: pair[column] for name, pair in EVERY.items()}
    with box(rung) as run:
        found = run(
            f"""
            n = {one!r}
            path = ctypes.create_string_buffer(np.__file__.encode())
            at = ctypes.addressof(path)
            limits = ctypes.addressof(ctypes.create_string_buffer(16))
            fd = call(n["openat"], -100, at, 0)
            answer = {{"read": fd >= 0}}
            for flags in (1, 2, 3, 0o100, 0o1000, 0o102, 0o20200000, 0o10000000, 0o101000):
                answer[f"open {{flags:o}}"] = call(n["openat"], -100, at, flags, 0o600)
                answer[f"open {{flags:o}}, high bits"] = call(n["openat"], -100, at, flags | 1 << 40, 0o600)
            for command in (0, 1, 2, 3, 4, 1030):
                answer[f"fcntl {{command}} is fine"] = call(n["fcntl"], fd, command, 0) not in ("EPERM",)
            for command in (5, 6, 7, 8, 9, 10, 11, 15, 16, 1024, 1025, 1026, 1031, 1033, 1034, 1036, 8 | 1 << 35):
                answer[f"fcntl {{command}}"] = call(n["fcntl"], 0, command, 0)
            for command in (0x5401, 0x5413, 0x5450, 0x5451):
                answer[f"ioctl {{command:x}} is fine"] = call(n["ioctl"], fd, command, limits) not in ("EPERM",)
            for command in (0x5402, 0x540E, 0x5412, 0x541B, 0x5421, 0x5452, 0x8901, 0x8902, 0x6601, 0xC0502100):
                answer[f"ioctl {{command:x}}"] = call(n["ioctl"], 0, command, limits)
            answer["limits are read"] = call(n["prlimit64"], 0, 9, 0, limits) == 0
            answer["limits set"] = call(n["prlimit64"], 0, 9, limits, 0)
            answer["limits set, low half 0"] = call(n["prlimit64"], 0, 9, 1 << 32, 0)
            answer["another's limits"] = call(n["prlimit64"], os.getppid() or 1, 9, 0, limits)
            answer["huge pages"] = call(n["mmap"], 0, 1 << 21, 3, 0x40022, -1, 0)
            for flags in (0, 17, 0x100, 0x3D0F00, 0x10000, 0x10000 | 0x10000000):
                answer[f"clone {{flags:x}}"] = call(n["clone"], flags, 0, 0, 0, 0)
            """
        )
    assert {name: told for name, told in found.items() if told not in ("EPERM", True)} == {}


@rungs
@pytest.mark.parametrize("number", [0x40000000 + 39, 0x40000000 + 512, 0x7FFFFFFF, -1])
def test_the_numbers_of_x32_end_the_process(rung, number):
    if os.uname().machine != "x86_64":
        pytest.skip("x32 is x86-64's")
    assert _ends(rung, f"call({number})") == -31  # SIGSYS


@rungs
def test_calls_of_another_architecture_end_the_process(rung):
    """`int 0x80` with getpid's number of 32-bit programs, from memory made executable."""
    if os.uname().machine != "x86_64":
        pytest.skip("machine code of x86-64")
    code = """
    import mmap
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(bytes([0xB8, 20, 0, 0, 0, 0xCD, 0x80, 0xC3]))
    ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
    """
    assert _ends(rung, code) == -31


def _ends(rung, code):
    """The exit code of a process that `code` ends."""
    with box(rung) as run:
        with pytest.raises(Exception, match="the other side is gone"):
            run(code)
        return run.student.stop(60)


@rungs
def test_a_thread_is_made_only_where_the_module_asks(rung):
    code = """
    import threading
    stop, made = threading.Event(), []
    try:
        while len(made) < 50:
            made.append(threading.Thread(target=stop.wait))
            made[-1].start()
    except RuntimeError:
        made.pop()
    stop.set()
    [thread.join() for thread in made]
    answer = len(made)
    """
    for threads in (0, 1, 3):
        with box(rung, threads) as run:
            assert [run(code) for _ in range(3)] == [threads] * 3  # those that have ended make room again


@rungs
def test_bare_clones_are_counted_too(rung):
    """Threads without Python's or libc's knowledge, each of which sleeps for ever."""
    if os.uname().machine != "x86_64":
        pytest.skip("machine code of x86-64")
    code = """
    import mmap
    page, stacks = mmap.mmap(-1, 4096, prot=7), mmap.mmap(-1, 1 << 20)
    # mov eax,56; mov edi,0x10f00; (rsi = stack) xor edx,edx; xor r10d,r10d; xor r8d,r8d; syscall; test eax,eax; jz; ret
    page.write(bytes.fromhex("4889fe b838000000 bf000f0100 31d2 4531d2 4531c0 0f05 85c0 7401 c3")
        + bytes.fromhex("b818000000 0f05 ebf7"))  # the thread: sched_yield again and again
    start = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    top = ctypes.addressof(ctypes.c_char.from_buffer(stacks))
    answer = [int(start(top + 4096 * (i + 1)) > 0) for i in range(20)]
    """
    with box(rung, 2) as run:
        assert sum(run(code)) == 2
    with box(rung, 0) as run:
        assert sum(run(code)) == 0


PLAIN = {
    "algebra": "a = np.random.default_rng(0).random((300, 300)); a @ a; np.linalg.svd(a); np.linalg.eigh(a + a.T)",
    "transforms": "np.fft.rfft2(np.ones((256, 256))); np.fft.fft(np.ones(1000))",
    "memory": "x = np.ones(20_000_000); x = np.resize(x, 30_000_000); del x; import mmap; mmap.mmap(-1, 4096)[:2]",
    "chance": "import random; random.seed(); np.random.seed(); np.random.default_rng().random()",
    "files": "open(np.__file__).read(); np.fromfile(np.__file__, np.uint8, 9); np.memmap(np.__file__, mode='r')[:3]",
    "folders": "from pathlib import Path; sorted(Path(np.__file__).parent.glob('*')); Path.cwd(); Path('x').resolve()",
    "arrays kept": "import io; b = io.BytesIO(); np.savez_compressed(b, a=np.ones(3)); b.seek(0); np.load(b)['a']",
    "time": "import time, datetime; time.sleep(0.001); time.process_time(); datetime.datetime.now().astimezone()",
    "locks": "import threading, queue; l = threading.Lock(); l.acquire(); l.acquire(timeout=0.01); queue.Queue()",
    "machine": "import os, platform; os.uname(); os.cpu_count(); os.times(); platform.platform(); os.urandom(3)",
    "limits": "import resource; resource.getrusage(0); resource.getrlimit(resource.RLIMIT_AS)",
    "terminal": "import shutil, sys; shutil.get_terminal_size(); sys.stdout.isatty(); sys.stdin.read()",
    "tables": "import sqlite3; c = sqlite3.connect(':memory:'); c.execute('create table a(b)'); c.commit()",
    "profile": "import cProfile, timeit, tracemalloc; cProfile.Profile().runcall(sum, [1]); timeit.timeit('1')",
    "C": "import ctypes; F = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int); assert F(lambda x: x + 1)(2) == 3",
    "depth": "def f(): return f()\ntry: f()\nexcept RecursionError: pass",
    "copies": "import copy, pickle; pickle.loads(pickle.dumps(copy.deepcopy({'a': np.ones(3)})))",
    "signals": "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)",
    "imports": "import asyncio, concurrent.futures, ctypes, decimal, doctest, hashlib, logging, lzma, multiprocessing, "
    "numpy.testing, pdb, secrets, socket, ssl, subprocess, tempfile, unittest, uuid, zipfile; uuid.uuid4()",
    "a coroutine": "async def f(): return 1\ntry: f().send(None)\nexcept StopIteration as end: assert end.value == 1",
}


@rungs
def test_plain_code_has_what_it_needs(rung):
    with box(rung) as run:
        for name, code in PLAIN.items():
            assert run(f"{code}\nanswer = {name!r}") == name


def verdict(program, arch, number, *inputs):
    """What a filter says of a system call, by the rules of classic BPF."""
    seen = struct.pack("=iIQ6Q", number, arch, 0, *(value % (1 << 64) for value in (*inputs, *[0] * 6)[:6]))
    lines, at, held = [struct.unpack_from("HBBI", program, 8 * i) for i in range(len(program) // 8)], 0, 0
    while True:
        what, yes, no, value = lines[at]
        at += 1
        if what == lockdown.RETURN:
            return value
        if what == lockdown.LOAD:
            held = struct.unpack_from("=I", seen, value)[0]
        else:
            true = {lockdown.EQUAL: held == value, lockdown.AT_LEAST: held >= value, lockdown.ANY_OF: held & value}
            at += yes if true[what] else no


@pytest.mark.parametrize("machine", MACHINES)
def test_the_filter_of_each_machine_allows_its_own_list(machine):
    """Read line by line, as no machine is both; the numbers are those of the kernel's headers, where they lie here."""
    audit, mine = lockdown.ARCHITECTURES[machine]
    other = next(pair[0] for name, pair in lockdown.ARCHITECTURES.items() if name != machine)
    for threads in (False, True):
        program = lockdown.seccomp_program(machine, threads)
        listed = {**lockdown.CALLS, **(lockdown.THREADS if threads else {})}
        good = {"fcntl": (0, 3), "ioctl": (0, 0x5401), "clone": (0x3D0F00,), "prlimit64": (0, 9, 0)}
        allowed = {
            number
            for number in range(LAST + 1)
            for name in [next((name for name, pair in listed.items() if pair[mine] == number), "")]
            if verdict(program, audit, number, *good.get(name, ())) == lockdown.ALLOW
        }
        assert allowed == {pair[mine] for pair in listed.values()} - {None}
        assert verdict(program, other, 0) == lockdown.KILL
        assert verdict(program, audit, listed["prlimit64"][mine], 0, 9, 1 << 32) == lockdown.ERRNO | lockdown.EPERM
        assert verdict(program, audit, listed["openat"][mine], 0, 0, 0o1001) == lockdown.ERRNO | lockdown.EPERM


def test_the_numbers_are_those_of_the_headers():
    headers = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), Path("/usr/include/asm-generic/unistd.h")
    if not all(path.exists() for path in headers):
        pytest.skip("the kernel's headers are not installed")
    for place, path in enumerate(headers):  # the generic list is aarch64's
        lines = [line.replace("__NR3264_fstatat", "__NR_newfstatat").replace("__NR3264_", "__NR_").split()
                 for line in path.read_text(encoding="utf-8").splitlines()]  # fmt: skip
        known = {
            words[1][5:]: words[2]
            for words in lines
            if len(words) > 2 and words[2].isdigit() and words[1].startswith("__NR_")
        }
        assert {
            name: str(pair[place]) for name, pair in EVERY.items() if pair[place] is not None
        }.items() <= known.items()


OLD = """
import ctypes, errno, fcntl, os, signal
libc = ctypes.CDLL(None, use_errno=True)
path, folder, victim = {path!r}, {folder!r}, {victim}
def tried(what, *inputs):
    try: return what(*inputs) or "DONE"
    except OSError as error: return errno.errorcode[error.errno]
def own():
    fcntl.fcntl(1, fcntl.F_SETOWN, victim)
    fcntl.fcntl(1, fcntl.F_SETSIG, signal.SIGKILL)
answer = {{name: tried(*how) for name, how in {{
    "truncate": (os.truncate, path, 0), "write": (open, path, "a"), "make": (open, folder + "/new", "w"),
    "emptied": (os.open, path, os.O_RDONLY | os.O_TRUNC), "remove": (os.unlink, path), "list": (os.listdir, folder),
    "rename": (os.rename, path, path + "2"), "link": (os.link, path, folder + "/hard"), "read": (open, path),
    "symlink": (os.symlink, path, folder + "/soft"), "mkdir": (os.mkdir, folder + "/d"), "utime": (os.utime, path),
    "chmod": (os.chmod, path, 0o4777), "chown": (os.chown, path, 0, 0), "xattr": (os.setxattr, path, "user.a", b"b"),
    "kill": (os.kill, victim, 9), "priority": (os.setpriority, os.PRIO_PROCESS, victim, 19), "owner": (own,),
    "affinity": (os.sched_setaffinity, victim, [0]), "policy": (os.sched_setscheduler, victim, 3, os.sched_param(0)),
}}.items()}}
name = ctypes.c_char_p(path.encode())
for number in (452, 463, 468, 469, 466, 424, 129, 234, 310, 101):  # fchmodat2, setxattrat, file_setattr, ...
    answer[str(number)] = "DONE" if libc.syscall(number, -100, name, 0o4777, 0) == 0 else "EPERM"
"""


def state(path):
    """What of a file may not change."""
    found = path.stat()
    return found.st_mode, found.st_uid, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_nlink


@pytest.mark.parametrize("version", range(1, 7))
def test_landlock_holds_from_its_first_version(version, monkeypatch, tmp_path):
    """What an old kernel's Landlock does not know is closed by the filter: a file, and a process of the same user."""
    known = lockdown.landlock_version()
    monkeypatch.setattr(lockdown, "landlock_version", lambda: min(known, version))
    path = tmp_path / "book.db"
    path.write_text("marks")
    path.chmod(0o600)
    before, victim = state(path), subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with box("landlock") as run:
            assert "landlock" in run.student.levels
            found = run(OLD.format(path=str(path), folder=str(tmp_path), victim=victim.pid))
        assert set(found.values()) <= {"EPERM", "EACCES", "ENOSYS"}, found
        assert state(path) == before and path.read_text() == "marks" and os.listdir(tmp_path) == ["book.db"]
        assert victim.poll() is None and os.getpriority(os.PRIO_PROCESS, victim.pid) == os.getpriority(0, 0)
    finally:
        victim.kill()
        victim.wait()


@pytest.mark.slow
@pytest.mark.parametrize("rung", ["landlock", "bubblewrap"])
def test_all_of_this_as_a_user_who_is_not_root(rung, as_somebody):
    as_somebody(__file__, "-k", f"{rung} and not user")
