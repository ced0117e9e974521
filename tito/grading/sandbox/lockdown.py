"""A process locks itself in: Landlock (files), then resource limits, then seccomp (system calls). No way back.

Through ctypes and the kernel's own interface, so there is nothing to install. Each step raises OSError if it fails.
"""

import ctypes
import os
import platform
import resource
import struct

LIBC = ctypes.CDLL(None, use_errno=True)
NEW_LISTENER = 8
NO_NEW_PRIVILEGES, SET_SECCOMP, DEATH_SIGNAL, CAPABILITY_DROP = 38, 22, 1, 24
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # Landlock: the same numbers on every architecture

# The system calls that a student's process may make: name -> numbers (x86-64, aarch64), None where it does not exist.
# CPython, NumPy, BLAS, FFT, imports, reading files and the pipes to the tester need no others.
CALLS = {
    "read": (0, 63), "readv": (19, 65), "pread64": (17, 67), "write": (1, 64), "writev": (20, 66), "close": (3, 57),
    "lseek": (8, 62), "open": (2, None), "openat": (257, 56), "stat": (4, None), "lstat": (6, None), "fstat": (5, 80),
    "newfstatat": (262, 79), "access": (21, None), "faccessat": (269, 48), "readlink": (89, None),
    "readlinkat": (267, 78), "getdents64": (217, 61), "getcwd": (79, 17), "fcntl": (72, 25), "ioctl": (16, 29),
    "mmap": (9, 222), "mprotect": (10, 226), "munmap": (11, 215), "mremap": (25, 216), "brk": (12, 214),
    "madvise": (28, 233), "futex": (202, 98), "sched_yield": (24, 124), "sched_getaffinity": (204, 123),
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sigaltstack": (131, 132),
    "restart_syscall": (219, 128), "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153),
    "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174), "geteuid": (107, 175),
    "getgid": (104, 176), "getegid": (108, 177), "uname": (63, 160), "sysinfo": (99, 179), "getrusage": (98, 165),
    "getrandom": (318, 278), "prlimit64": (302, 261), "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
# For threads, where a module asks for them; without them `clone` is refused as what is not listed.
THREADS = {"clone": (56, 220), "set_robust_list": (273, 99), "rseq": (334, 293)}
# What the arguments of a call may be: (how, which argument, values). Names as in the kernel's headers.
WRITING = 0o3 | 0o100 | 0o1000 | 0o10000000 | 0o20000000  # O_ACCMODE, O_CREAT, O_TRUNC, O_PATH, O_TMPFILE
THREAD = 0x10000  # CLONE_THREAD
ASKED: dict[str, list] = {
    "open": [("without", 1, WRITING)],
    "openat": [("without", 2, WRITING)],
    "fcntl": [("one of", 1, (0, 1, 2, 3, 4, 1030))],  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC
    "ioctl": [("one of", 1, (0x5401, 0x802C542A, 0x5413, 0x5450, 0x5451))],  # TCGETS(2), TIOCGWINSZ, FIONCLEX, FIOCLEX
    "mmap": [("without", 3, 0x40000)],  # MAP_HUGETLB
    "prlimit64": [("one of", 0, (0,)), ("null", 2, 0)],  # one's own limits, to be read
    "clone": [("with", 0, THREAD), ("without", 0, 0xFFFFFFFF & ~0x7D0F00)],  # the flags of pthread_create
}
NEWER = 424  # libc knows a way around calls that came later, where they do not exist
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
ALLOW, ERRNO, KILL, ASK = 0x7FFF0000, 0x00050000, 0x80000000, 0x7FC00000
EPERM, ENOSYS = 1, 38
LOAD, EQUAL, AT_LEAST, ANY_OF, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # classic BPF


def enclose(settings: dict) -> list[str]:
    """Give up what a student's process, and the one that it is a fork of, need not; returns what was applied."""
    LIBC.prctl(DEATH_SIGNAL, 9, 0, 0, 0)  # ends with whoever started it
    drop_capabilities()
    _check(LIBC.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no_new_privs")
    if settings["landlock"]:
        landlock(settings["readable"], settings["landlock"])
        return ["landlock"]
    return []


def lock(settings: dict, door: int | None = None) -> list[str]:
    """The rest, in the student's process; returns what was applied. Through the socket `door` the tester lets threads
    in."""
    LIBC.prctl(DEATH_SIGNAL, 9, 0, 0, 0)  # a fork has none
    done = limit(settings["memory"], settings["cpu"], settings["file"])
    if settings["tasks"]:
        resource.setrlimit(resource.RLIMIT_NPROC, (settings["tasks"], settings["tasks"]))
    if settings["seccomp"]:
        seccomp(door is not None and hand_over(door))
        done.append("seccomp")
    return done


def limit(memory: int, cpu: int, file: int) -> list[str]:
    """Limits of memory (bytes), CPU (seconds), written files (bytes); no core dumps, 64 open files."""
    for what, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        most = resource.getrlimit(what)[1]
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(what, (value, value))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 2))  # told by a signal of its own, then killed
    return ["rlimits"]


def drop_capabilities() -> None:
    """Give up every capability, also those that root would get back; fails silently where there are none."""
    for capability in range(64):
        if LIBC.prctl(CAPABILITY_DROP, capability, 0, 0, 0) and ctypes.get_errno() == 22:
            break
    header, none = struct.pack("=Ii", 0x20080522, 0), bytes(24)
    LIBC.syscall({"x86_64": 126, "aarch64": 91}[platform.machine()], header, none)  # capset


def landlock_version() -> int:
    """The kernel's Landlock interface, 0 if there is none."""
    return max(LIBC.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1)), 0)


def landlock(readable: list[str], version: int) -> None:
    """From now on: read below `readable`, and nothing else in any file system; from `version` 4 on no network, from 6
    on no signals to others. What older versions leave open, the filter of system calls closes.
    """
    files = (1 << (13 + (version >= 2) + (version >= 3) + (version >= 5))) - 1
    network, scope = 3 if version >= 4 else 0, 3 if version >= 6 else 0
    fields = struct.pack("=QQQ", files, network, scope)
    fields = fields[: 24 if version >= 6 else 16 if version >= 4 else 8]
    ruleset = LIBC.syscall(CREATE_RULESET, fields, ctypes.c_size_t(len(fields)), ctypes.c_uint32(0))
    _check(ruleset, "landlock_create_ruleset")
    for path in readable:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        rights = 0b1100 if os.path.isdir(path) else 0b100  # read file, read folder
        rule = struct.pack("=Qi", rights, place)
        _check(LIBC.syscall(ADD_RULE, ruleset, 1, rule, ctypes.c_uint32(0)), f"landlock_add_rule {path}")
        os.close(place)
    _check(LIBC.syscall(RESTRICT_SELF, ruleset, ctypes.c_uint32(0)), "landlock_restrict_self")
    os.close(ruleset)


def hand_over(door: int) -> bool:
    """From now on every `clone` waits for the tester, to whom the kernel's end of that goes; False if it cannot be."""
    import socket

    audit, column = ARCHITECTURES[platform.machine()]
    lines = (LOAD, 0, 0, 0), (EQUAL, 0, 1, THREADS["clone"][column]), (RETURN, 0, 0, ASK), (RETURN, 0, 0, ALLOW)
    packed, code = _packed(b"".join(struct.pack("HBBI", *line) for line in lines))
    listener = LIBC.syscall((317, 277)[column], 1, ctypes.c_ulong(NEW_LISTENER), packed)
    with socket.socket(fileno=door) as channel:
        socket.send_fds(channel, [b"x"], [listener] if listener >= 0 else [])
    if listener >= 0:
        os.close(listener)
    return listener >= 0


def seccomp(threads: bool) -> None:
    """From now on only the system calls in CALLS work, with the arguments in ASKED."""
    program = seccomp_program(platform.machine(), threads)
    packed, code = _packed(program)
    _check(LIBC.prctl(SET_SECCOMP, 2, packed, 0, 0), "seccomp")


def _packed(program: bytes) -> tuple:
    """(the kernel's description of a filter, the memory that it points to)."""
    code = ctypes.create_string_buffer(program, len(program))
    return struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code)), code


def seccomp_program(machine: str, threads: bool = False) -> bytes:
    """The filter as classic BPF. Calls of other architectures, and x32's, end the process; the rest is an error."""
    audit, column = ARCHITECTURES[machine]
    program = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, audit), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    if column == 0:  # the x32 interface has its own numbers
        program += [(AT_LEAST, 0, 1, 0x40000000), (RETURN, 0, 0, KILL)]
    for name, numbers in {**CALLS, **(THREADS if threads else {})}.items():
        if (wanted := numbers[column]) is not None:
            body = [line for condition in ASKED.get(name, ()) for line in _condition(*condition)]
            program += [(EQUAL, 0, len(body) + 1, wanted), *body, (RETURN, 0, 0, ALLOW)]
    program += [(AT_LEAST, 0, 1, NEWER), (RETURN, 0, 0, ERRNO | ENOSYS), (RETURN, 0, 0, ERRNO | EPERM)]
    return b"".join(struct.pack("HBBI", *line) for line in program)


def _condition(how: str, argument: int, wanted) -> list[tuple]:
    """Lines that refuse the call, or fall through. Of an `int` or `unsigned int` the kernel reads the lower half."""
    low, refuse = (LOAD, 0, 0, 16 + 8 * argument), (RETURN, 0, 0, ERRNO | EPERM)
    match how:
        case "one of":
            count = len(wanted)
            return [low, *((EQUAL, count - place, 0, value) for place, value in enumerate(wanted)), refuse]
        case "without":
            return [low, (ANY_OF, 0, 1, wanted), refuse]
        case "with":
            return [low, (ANY_OF, 1, 0, wanted), refuse]
        case "null":
            return [low, (EQUAL, 0, 2, 0), (LOAD, 0, 0, 20 + 8 * argument), (EQUAL, 1, 0, 0), refuse]
    raise ValueError(how)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
