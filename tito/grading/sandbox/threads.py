"""How many threads a student's process may have: the kernel asks here before each one (seccomp's user notification).

A limit of the kernel's own counts all tasks of a user, and root's not at all; this one counts those of one process, on
every rung, whoever grades.
"""

import errno
import fcntl
import os
import struct
import time

RECEIVE, SEND = 0xC0502100, 0xC0182101  # SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND
CONTINUE = 1
PATIENCE = 0.2  # seconds for a thread that was joined to be really gone


def admit(listener: int, most: int) -> None:
    """Answer one question: go on if the process has fewer than `most` threads beside its first, EAGAIN otherwise."""
    asked = bytearray(80)
    try:
        fcntl.ioctl(listener, RECEIVE, asked)
        number, task = struct.unpack_from("=QI", asked)
        refusal = struct.pack("=QqiI", number, 0, -errno.EAGAIN, 0)
        if _room(task, most):
            try:
                fcntl.ioctl(listener, SEND, struct.pack("=QqiI", number, 0, 0, CONTINUE))
                return
            except OSError as error:
                if error.errno != errno.EINVAL:  # before Linux 5.5 a call cannot go on: there are no threads then
                    raise
        fcntl.ioctl(listener, SEND, refusal)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EINTR):  # whoever asked is gone
            raise


def _room(task: int, most: int) -> bool:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            if os.stat(f"/proc/{task}/task").st_nlink - 2 <= most:
                return True
        except FileNotFoundError:
            return False
        if time.monotonic() > until:
            return False
        time.sleep(0.001)
