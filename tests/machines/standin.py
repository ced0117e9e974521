"""Another system's Python, on Linux: `install("windows")` or `install("macos")`, at the start of an interpreter.

What the system lacks is hidden from the course's code (tito, tinytorch, milestones), while libraries keep it: the
course's imports of `os`, `signal` and some others give a `Stand`. What Windows refuses is refused to everybody: to
replace or delete a file that is open, or a folder with such a file in it. Text that names no encoding is cp1252 with
CRLF, and from the course's own code it is an error.
"""

import builtins
import contextlib
import errno
import importlib
import importlib.util
import io
import os
import re
import shutil
import signal
import stat
import sys
import sysconfig
import tempfile
import types
import weakref
from pathlib import Path

from lacks import MODULES, NAMES

REPOSITORY = str(Path(__file__).resolve().parents[2])
STDLIB = sysconfig.get_path("stdlib")
COURSE = re.compile(r"(^|/)(tito|tinytorch|milestones)/")
RESERVED = re.compile(r'[<>:"|?*]|[. ]$|^(con|nul|aux|prn|com\d|lpt\d)(\.|$)', re.I)
REAL = {name: getattr(os, name) for name in ("open", "replace", "rename", "unlink", "rmdir", "mkdir", "kill")}
open_file, import_module = io.open, importlib.import_module
stands: dict[str, types.ModuleType] = {}  # what the course's code gets for a module
known: dict[str, bool] = {}
unshared: "weakref.WeakValueDictionary[str, object]" = weakref.WeakValueDictionary()  # NamedTemporaryFile's


def of_the_course(names: dict | None) -> bool:
    """Whether code with these globals is the course's own: from its files, or what tito runs with -c."""
    file = (names or {}).get("__file__")
    if not isinstance(file, str):
        return (names or {}).get("__name__") == "__main__" and sys.argv[:1] == ["-c"]
    if file not in known:
        known[file] = _of_the_course(os.path.abspath(file))
    return known[file]


def _of_the_course(file: str) -> bool:
    before, installed, after = file.rpartition("/site-packages/")
    if not installed and file.startswith(STDLIB):
        return False
    return bool(COURSE.search(after if installed else file.removeprefix(f"{REPOSITORY}/")))


class Stand(types.ModuleType):
    """A module as another system has it: without some names, and with others of its own."""

    def __init__(self, real: types.ModuleType, hidden: frozenset[str], **own):
        super().__init__(real.__name__)
        vars(self).update(_real=real, _hidden=hidden, _own=own)
        for name in ("__file__", "__path__"):
            if hasattr(real, name):
                vars(self)[name] = getattr(real, name)
        vars(self).update(own)

    def __getattr__(self, name: str):
        if name in self._hidden:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} on this system")
        return getattr(self._real, name)

    def __setattr__(self, name: str, value) -> None:
        setattr(self._real, name, value)


def install(system: str) -> None:
    """Become the system, as far as the course's code can tell."""
    own = windows() if system == "windows" else macos()
    for name, hidden in NAMES[system].items():
        if name not in MODULES[system]:
            stands[name] = Stand(import_module(name), hidden, **own.pop(name, {}))
    for name, more in own.items():
        stands[name] = Stand(import_module(name), frozenset(), **more)
    importing = builtins.__import__

    def imported(name, globals=None, locals=None, fromlist=(), level=0):
        if level or not of_the_course(globals):
            return importing(name, globals, locals, fromlist, level)
        refuse(name)
        module = importing(name, globals, locals, fromlist, level)
        return stands.get(module.__name__, module)

    def imported_by_name(name, package=None):
        if not of_the_course(sys._getframe(1).f_globals):
            return import_module(name, package)
        refuse(name)
        return stands.get(name) or import_module(name, package)

    def refuse(name: str) -> None:
        if name.partition(".")[0] in MODULES[system]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    builtins.__import__, importlib.import_module = imported, imported_by_name


# Windows


def windows() -> dict[str, dict]:
    """Refuse what Windows refuses; returns the names of modules that are otherwise there."""
    for name in ("replace", "rename", "unlink", "rmdir", "mkdir"):
        setattr(os, name, globals()[f"windows_{name}"])
    os.remove = windows_unlink
    shutil._use_fd_functions = False
    io.open = builtins.open = windows_open
    io.text_encoding = windows_text_encoding
    tempfile.NamedTemporaryFile = unshared_temporary(tempfile.NamedTemporaryFile)
    if "PYTHONIOENCODING" not in os.environ:
        for stream in (sys.stdin, sys.stdout, sys.stderr):
            with contextlib.suppress(AttributeError):
                stream.reconfigure(encoding="cp1252", newline="\r\n" if stream is not sys.stdin else None)
    return {
        "os": {"name": "nt", "linesep": "\r\n", "open": windows_os_open, "kill": windows_kill, "O_BINARY": 0},
        "sys": {"platform": "win32"},
        "signal": {"SIGBREAK": 21, "CTRL_C_EVENT": 0, "CTRL_BREAK_EVENT": 1, "signal": windows_signal},
        "select": {"select": windows_select},
        "selectors": windows_selectors(),
        "subprocess": windows_subprocess(),
    }


def held(path: str, inside: bool) -> str:
    """What keeps Windows from removing or replacing a path: a file that a process of ours has open there."""
    for process in family():
        folder = f"/proc/{process}"
        with contextlib.suppress(OSError):
            for number in os.listdir(f"{folder}/fd"):
                with contextlib.suppress(OSError):
                    target = os.readlink(f"{folder}/fd/{number}")
                    if target == path or inside and target.startswith(f"{path}/") and not os.path.isdir(target):
                        return target
            here = os.readlink(f"{folder}/cwd")
            if inside and f"{here}/".startswith(f"{path}/"):
                return here
    if path.endswith(".safetensors"):
        with open_file("/proc/self/maps", encoding="utf-8") as maps:
            return path if any(line.endswith(f" {path}\n") for line in maps) else ""
    return ""


def family() -> list[str]:
    """This process and those that it has started."""
    found, new = ["self"], [str(os.getpid())]
    while new:
        process = new.pop()
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"/proc/{process}/task"):
                with open_file(f"/proc/{process}/task/{thread}/children", encoding="ascii") as file:
                    new += (children := file.read().split())
                    found += children
    return found


def refuse_held(*paths, inside: bool = False) -> None:
    for path in map(os.path.realpath, paths):
        if os.path.lexists(path) and (holder := held(path, inside and os.path.isdir(path))):
            raise PermissionError(errno.EACCES, f"The process cannot access the file because {holder} is open", path)


def windows_replace(source, target, **options) -> None:
    refuse_held(source, target, inside=True)
    if os.path.isdir(target) or os.path.exists(target) and not os.stat(target).st_mode & stat.S_IWUSR:
        raise PermissionError(errno.EACCES, "Access is denied", str(target))
    REAL["replace"](source, target, **options)


def windows_rename(source, target, **options) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "Cannot create a file when that file already exists", str(target))
    windows_replace(source, target, **options)


def windows_unlink(path, *, dir_fd=None) -> None:
    if dir_fd is None:
        refuse_held(path)
        if os.path.isfile(path) and not os.stat(path).st_mode & stat.S_IWUSR:
            raise PermissionError(errno.EACCES, "Access is denied", str(path))
    REAL["unlink"](path, dir_fd=dir_fd)


def windows_rmdir(path, *, dir_fd=None) -> None:
    if dir_fd is None:
        refuse_held(path, inside=True)
    REAL["rmdir"](path, dir_fd=dir_fd)


def windows_mkdir(path, mode=0o777, *, dir_fd=None) -> None:
    check_name(path)
    REAL["mkdir"](path, mode, dir_fd=dir_fd)


def check_name(path) -> None:
    """Windows' names have no colons, no final dots, and are not `nul`. Only in the folder that a test plays in."""
    path, home = os.path.abspath(os.fspath(path)), os.environ.get("STANDIN_HOME")
    if home and path.startswith(f"{home}/"):
        for part in path.removeprefix(f"{home}/").split("/"):
            if RESERVED.search(part):
                raise OSError(errno.EINVAL, "The filename, directory name, or volume label syntax is incorrect", path)


def windows_open(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, closefd=True, opener=None):
    if isinstance(file, str | os.PathLike):
        path = os.path.realpath(file)
        temporary = unshared.get(path)
        folder = os.path.isdir(path) and not opener  # with one, tempfile makes a file without a name in it
        if folder or temporary is not None and not temporary.closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(file))
        if set(mode) & set("wax"):
            check_name(file)
    if "b" not in mode:
        if encoding is None and of_the_course(sys._getframe(1).f_globals):
            raise EncodingWarning(f"no encoding is named for {file}")
        encoding = "cp1252" if encoding in (None, "locale") else encoding
        if newline is None and "+" not in mode and set(mode) & set("wax"):
            newline = "\r\n"
    return open_file(file, mode, buffering, encoding, errors, newline, closefd, opener)


def windows_text_encoding(encoding, stacklevel=2):
    """What pathlib and tempfile ask for an encoding that nobody named."""
    if encoding is None and of_the_course(sys._getframe(stacklevel).f_globals):
        raise EncodingWarning("no encoding is named")
    return "locale" if encoding is None else encoding


def unshared_temporary(make):
    """NamedTemporaryFile whose file nobody can open again while it is open."""

    def named(*args, **options):
        made = make(*args, **options)
        if options.get("delete", True):
            unshared[os.path.realpath(made.name)] = made.file
        return made

    return named


def windows_os_open(path, flags, mode=0o777, *, dir_fd=None):
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))
    return REAL["open"](path, flags, mode, dir_fd=dir_fd)


def windows_kill(process: int, number: int) -> None:
    REAL["kill"](process, signal.SIGINT if number in (0, 1) else signal.SIGKILL)


def windows_signal(number: int, handler):
    if number == 21:  # SIGBREAK, which is another one here
        return signal.SIG_DFL
    if number not in (signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGINT, signal.SIGSEGV, signal.SIGTERM):
        raise ValueError("signal number out of range")
    return signal.signal(number, handler)


def check_socket(thing) -> None:
    if not stat.S_ISSOCK(os.fstat(thing if isinstance(thing, int) else thing.fileno()).st_mode):
        raise OSError(10038, "An operation was attempted on something that is not a socket")


def windows_select(readers, writers, others, timeout=None):
    import select

    for thing in (*readers, *writers, *others):
        check_socket(thing)
    return select.select(readers, writers, others, timeout)


def windows_selectors() -> dict:
    import selectors

    class SelectSelector(selectors.SelectSelector):
        def register(self, thing, events, data=None):
            check_socket(thing)
            return super().register(thing, events, data)

    return {"SelectSelector": SelectSelector, "DefaultSelector": SelectSelector}


ENDED = {signal.SIGKILL: 1, signal.SIGTERM: 1, signal.SIGABRT: 3, signal.SIGSEGV: 0xC0000005, signal.SIGINT: 0xC000013A}


def windows_subprocess() -> dict:
    """The names of a second subprocess module, all of whose functions start processes as Windows does."""
    spec = importlib.util.find_spec("subprocess")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    group = 0x200

    class Popen(module.Popen):
        def __init__(self, *args, creationflags=0, **options):
            if options.pop("preexec_fn", None):
                raise ValueError("preexec_fn is not supported on Windows platforms")
            if options.pop("pass_fds", ()):
                raise ValueError("pass_fds not supported on Windows.")
            for ignored in ("start_new_session", "process_group", "restore_signals"):
                options.pop(ignored, None)
            if any(options.get(name) for name in ("text", "universal_newlines", "errors")):
                if not options.get("encoding"):
                    raise EncodingWarning("no encoding is named for a process")
            super().__init__(*args, start_new_session=bool(creationflags & group), **options)

        def send_signal(self, number):
            if number == signal.SIGTERM:
                self.terminate()
            elif number in (0, 1):
                super().send_signal(signal.SIGINT)
            else:
                raise ValueError(f"Unsupported signal: {number}")

        def terminate(self):
            super().send_signal(signal.SIGKILL)

        kill = terminate

        def _handle_exitstatus(self, *status):
            super()._handle_exitstatus(*status)
            if self.returncode < 0:
                self.returncode = ENDED.get(-self.returncode, 1)

    module.Popen = Popen
    given = {name: value for name, value in vars(module).items() if not name.startswith("__")}
    return {**given, "CREATE_NEW_PROCESS_GROUP": group}


# macOS


def macos() -> dict[str, dict]:
    """macOS has no /proc, few open files, and no rights over groups of zombies."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))

    def macos_open(file, *args, **options):
        if str(file).startswith("/proc/") and of_the_course(sys._getframe(1).f_globals):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(file))
        return open_file(file, *args, **options)

    def killpg(group: int, number: int) -> None:
        members = [stat for stat in states() if stat[1] == group]
        if members and all(state == "Z" for state, _ in members):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        os.killpg(group, number)

    io.open = builtins.open = macos_open
    return {"os": {"killpg": killpg}, "sys": {"platform": "darwin"}}


def states() -> list[tuple[str, int]]:
    """(state, group) of every process."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open_file(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
            state, _, group = file.read().rpartition(")")[2].split()[:3]
            found.append((state, int(group)))
    return found
