"""A process locks itself in: resource limits, then Landlock (files), then seccomp (system calls). No way back.

Through ctypes and the kernel's own interface, so there is nothing to install. Each step raises OSError if it fails.
"""

import ctypes
import os
import platform
import resource
import struct

LIBC = ctypes.CDLL(None, use_errno=True)
NO_NEW_PRIVILEGES, SET_SECCOMP, DEATH_SIGNAL, CAPABILITY_DROP = 38, 22, 1, 24
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # Landlock: the same numbers on every architecture

# Numbers of system calls: (x86-64, aarch64); None where there is no such call.
CALLS = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    "accept": (43, 202), "sendto": (44, 206), "sendmsg": (46, 211), "ptrace": (101, 117), "fork": (57, None),
    "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281), "kill": (62, 129), "tkill": (200, 130),
    "tgkill": (234, 131), "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "unshare": (272, 97), "setns": (308, 268), "bpf": (321, 280), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "init_module": (175, 105),
    "finit_module": (313, 273), "kexec_load": (246, 104), "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264), "shmget": (29, 194), "semget": (64, 190), "msgget": (68, 186),
    "mq_open": (240, 180), "setpriority": (141, 140), "sched_setaffinity": (203, 122), "prlimit64": (302, 261),
    "setrlimit": (160, 164), "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "utimensat": (280, 88), "utime": (132, None),
    "utimes": (235, None), "futimesat": (261, None), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "inotify_init1": (294, 26), "fanotify_init": (300, 262), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsmount": (432, 432), "mount_setattr": (442, 442),
    "reboot": (169, 142), "sethostname": (170, 161), "setuid": (105, 146), "setgid": (106, 144),
    "setresuid": (117, 147), "setresgid": (119, 149), "setgroups": (116, 159), "prctl": (157, 167),
}  # fmt: skip
CLONE, CLONE3 = (56, 220), (435, 435)
ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
CLONE_THREAD = 0x10000
ALLOW, ERRNO, KILL = 0x7FFF0000, 0x00050000, 0x80000000
EPERM, ENOSYS = 1, 38


def lock(settings: dict) -> list[str]:
    """Apply what `settings` ask for; returns what was applied."""
    LIBC.prctl(DEATH_SIGNAL, 9, 0, 0, 0)  # ends with the tester
    done = limit(settings["memory"], settings["cpu"], settings["file"])
    drop_capabilities()
    _check(LIBC.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no_new_privs")
    if settings["landlock"]:
        landlock(settings["readable"])
        done.append("landlock")
    if settings["seccomp"]:
        seccomp()
        done.append("seccomp")
    return done


def limit(memory: int, cpu: int, file: int) -> list[str]:
    """Limits of memory (bytes), CPU (seconds), written files (bytes); no core dumps, 64 open files."""
    for what, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, file),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        resource.setrlimit(what, (value, value))
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


def landlock(readable: list[str]) -> None:
    """From now on: read below `readable`, and nothing else in any file system; no network, no signals to others."""
    version = landlock_version()
    if not version:
        raise OSError("this kernel has no Landlock")
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


def seccomp() -> None:
    """From now on, the listed system calls fail: no process, no socket, no signal, no change of limits."""
    program = seccomp_program()
    code = ctypes.create_string_buffer(program, len(program))
    packed = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    _check(LIBC.prctl(SET_SECCOMP, 2, packed, 0, 0), "seccomp")


def seccomp_program() -> bytes:
    """The filter as classic BPF. Other architectures' calls end the process; threads may be made, processes not."""
    audit, column = ARCHITECTURES[platform.machine()]
    denied = sorted(numbers[column] for numbers in CALLS.values() if numbers[column] is not None)
    program = [(0x20, 0, 0, 4), (0x15, 1, 0, audit), (0x06, 0, 0, KILL), (0x20, 0, 0, 0)]
    if column == 0:  # the x32 interface has its own numbers
        program += [(0x35, 0, 1, 0x40000000), (0x06, 0, 0, KILL)]
    program += [(0x15, 0, 1, CLONE3[column]), (0x06, 0, 0, ERRNO | ENOSYS)]  # then libc uses clone, whose flags show
    program += [(0x15, 0, 4, CLONE[column]), (0x20, 0, 0, 16), (0x45, 1, 0, CLONE_THREAD)]
    program += [(0x06, 0, 0, ERRNO | EPERM), (0x06, 0, 0, ALLOW)]
    for number in denied:
        program += [(0x15, 0, 1, number), (0x06, 0, 0, ERRNO | EPERM)]
    program.append((0x06, 0, 0, ALLOW))
    return b"".join(struct.pack("HBBI", *line) for line in program)


def _check(result: int, what: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
