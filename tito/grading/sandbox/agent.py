"""The student's process: runs the student's cells, and answers the tester's questions about what they made.

Started as `python -ISB agent.py CONTROL SETTINGS` with a socket and JSON. This process imports what a student needs and
forks when it is told. The fork locks itself in before it touches a line of the student's, and it is trusted no further
than that: whatever it says afterwards may be a lie, so the verdict is the tester's, who knows the tests and sees only
data.
"""

import ast
import builtins
import contextlib
import gc
import io
import json
import linecache
import operator
import os
import pathlib
import resource
import socket
import sys
import time
import types
import warnings
from collections import deque

sys.path[:0] = json.loads(sys.argv[2])["path"]

import numpy as np  # noqa: E402
from lockdown import enclose, lock  # noqa: E402  (a neighbour in the box)
from wire import REMEMBERED, WATCHED, CannotCrossError, ClosedError, Decoder, Pipe, WireError, frame  # noqa: E402

LONGEST_MESSAGE = 4000
LONGEST_LOOK = 60  # lines of a place in the student's code
AWAITS, COROUTINE = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, 0x80  # the flag of code that awaits


class Agent:
    """Holds the objects that the tester knows by number, and serves its requests."""

    def __init__(self, pipe):
        self.pipe, self.objects, self.numbers, self.next = pipe, {}, {}, 1
        self.notebook = types.ModuleType("__main__")
        self.notebook.display, self.notebook.get_ipython = print, Shell
        sys.modules["__main__"] = self.notebook
        self.given, self.count = deque(maxlen=REMEMBERED), 0  # arrays from the tester, and what they held

    # what the tester may know

    def refer(self, value):
        """The stand-in of an object: its number, and whether it is a function or class, which may be compared."""
        number = self.numbers.get(id(value))
        if number is None:
            number, self.next = self.next, self.next + 1
            self.numbers[id(value)], self.objects[number] = number, [value, 0]
        self.objects[number][1] += 1
        named = isinstance(value, type | types.FunctionType | types.BuiltinFunctionType)
        return ["object", number, "named" if named else "thing"]

    def resolve(self, parts):
        """What a stand-in from the tester stands for."""
        kind, number = parts[0], parts[1]
        if kind == "object":
            return self.objects[number][0]
        if kind == "callback":
            return Callback(self, number)
        raise WireError(f"unknown form {kind!r}")

    def forget(self, dropped):
        """The tester has let go of objects; each comes with how often it had been sent."""
        for number, count in dropped:
            entry = self.objects[number]
            entry[1] -= count
            if entry[1] <= 0:
                del self.objects[number], self.numbers[id(entry[0])]

    # serving

    def serve(self):
        """Answer until the tester closes the pipe."""
        while True:
            self.answer(*self.pipe.receive())

    def answer(self, document, data):
        """Do what one request asks."""
        arrays = []
        what, inputs, named, errors, dropped = Decoder(data, self.resolve, arrays).decode(document)
        for given in arrays:
            self.given.append([self.count, *given])
            self.count += 1
        reply = {}
        try:
            if errors:
                with np.errstate(**errors):
                    reply["value"] = OPERATIONS[what](self, *inputs, **named)
            else:
                reply["value"] = OPERATIONS[what](self, *inputs, **named)
            changed = self.changed()
            if changed:
                reply["changed"] = changed
            packet = frame(reply, self.refer)
        except ClosedError:
            raise
        except BaseException as error:
            packet = frame({"error": describe(error)}, self.refer)
        self.forget(dropped)
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass
        self.pipe.send(packet)

    def changed(self):
        """The numbers of the given arrays that the student's code has changed in place since the last look."""
        found = []
        for entry in self.given:
            number, array, axes, before = entry
            if array is not None:
                now = (array.transpose(axes) if axes else array).tobytes()
                if now != before:
                    found.append(number)
                    entry[3] = now
                if len(now) > WATCHED:
                    entry[1:] = None, None, None
        return found

    def call_back(self, number, inputs, named):
        """Call a function of the tester's; its requests in between are served."""
        self.pipe.send(frame({"callback": number, "with": list(inputs), "named": named}, self.refer))
        while True:
            document, data = self.pipe.receive()
            if not (type(document) is list and document[0] == "dict" and document[1][0] == "returned"):
                self.answer(document, data)
                continue
            returned = Decoder(data, self.resolve).decode(document)["returned"]
            if "error" in returned:
                name, message = returned["error"]
                raise getattr(builtins, name, RuntimeError)(message)
            return returned["value"]

    # operations with a state

    def execute(self, source, name, lacking=()):
        """Execute a cell of the student's. `lacking`: imports to leave out; using what they name says why it fails."""
        linecache.cache[f"<{name}>"] = (len(source), None, io.StringIO(source, newline="").readlines(), f"<{name}>")
        if lacking:
            tree = compile(source, f"<{name}>", "exec", AWAITS | ast.PyCF_ONLY_AST, dont_inherit=True)
            tree.body = [part for part in (self.spared(node, set(lacking)) for node in tree.body) if part]
            source = tree
        code = compile(source, f"<{name}>", "exec", AWAITS, dont_inherit=True)
        result = eval(code, self.notebook.__dict__)
        if code.co_flags & COROUTINE:
            await_all(result)

    def spared(self, node, lacking):
        """A statement without the imports that are left out; None if nothing of it is left."""
        if not isinstance(node, ast.Import | ast.ImportFrom):
            return node
        inside = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
        names = []
        for alias in node.names:
            if f"{inside}{alias.name}" in lacking or inside[:-1] in lacking:
                whole = f"{inside}{alias.name}"
                name = alias.asname or (alias.name if inside else alias.name.partition(".")[0])
                if inside or alias.asname or name not in self.notebook.__dict__:
                    self.notebook.__dict__[name] = Absent(whole)
            else:
                names.append(alias)
        node.names = names
        return node if names else None

    def name(self, name):
        """A global of the notebook."""
        try:
            return self.notebook.__dict__[name]
        except KeyError:
            raise NameError(f"name {name!r} is not defined") from None

    def import_(self, name):
        """A module of the package."""
        __import__(name)
        return sys.modules[name]

    def next_(self, iterator):
        """[item], or [] at the end: StopIteration never crosses."""
        try:
            return [next(iterator)]
        except StopIteration:
            return []


class Absent:
    """Stands for what was to be imported and is not here: to have it costs nothing, to use it raises."""

    def __init__(self, name):
        self.__dict__["_name"] = name

    def _used(self, *inputs, **named):
        raise ModuleNotFoundError(f"{self._name} is not there where this is graded: do without it in what is graded")

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        self._used()

    __call__ = __getitem__ = __iter__ = __enter__ = __setattr__ = _used


class Shell:
    """What `get_ipython()` gives: there is no IPython, so every request is answered with nothing."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *inputs, **named: None


def await_all(waiting):
    """Run what a cell awaits on its top level. The loop needs no socket: it sleeps, there is nothing else to hear."""
    import asyncio
    import selectors

    class Deaf(selectors.SelectSelector):
        def select(self, timeout=None):
            if timeout is None:
                raise RuntimeError("what the cell waits for never comes")
            time.sleep(max(timeout, 0))
            return []

    class Loop(asyncio.SelectorEventLoop):
        _make_self_pipe = _close_self_pipe = _write_to_self = lambda self: None

    loop = Loop(Deaf())
    asyncio.set_event_loop(loop)
    loop.run_until_complete(waiting)


class Callback:
    """A function of the tester's, as the student's code sees it."""

    def __init__(self, agent, number):
        self._agent, self._number = agent, number
        self.__name__ = self.__qualname__ = f"test_function_{number}"

    def __call__(self, *inputs, **named):
        return self._agent.call_back(self._number, inputs, named)


def describe(error):
    """[built-in type's names from the inside out, message, places in the student's cells]."""
    names = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ == "builtins"]
    try:
        plain = len(error.args) == 1 and isinstance(error, KeyError) and type(error.args[0]) is str
        message = error.args[0] if plain else str(error)
    except BaseException:
        message = "(its message cannot be shown)"
    places, trace = [], error.__traceback__
    while trace is not None and len(places) < LONGEST_LOOK:
        file = trace.tb_frame.f_code.co_filename
        if file.startswith("<") and file in linecache.cache:
            places.append([file[1:-1], trace.tb_lineno, linecache.getline(file, trace.tb_lineno).strip()[:200]])
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename and error.filename.startswith("<"):
        places.append([error.filename[1:-1], error.lineno or 1, (error.text or "").strip()[:200]])
    return [names, str(message)[:LONGEST_MESSAGE], places[-5:]]


def _method(value, name, *inputs, **named):
    return getattr(value, name)(*inputs, **named)


def _get(agent, value, name):
    """An attribute; a method that isn't data is not sent, it is called by its name."""
    found = getattr(value, name)
    if isinstance(found, types.MethodType | types.BuiltinMethodType | types.MethodWrapperType) and not isinstance(
        value, type | types.ModuleType
    ):
        return {"method": name}
    return {"value": found}


PLAIN_OPERATIONS = {
    "call": lambda function, *inputs, **named: function(*inputs, **named),
    "method": _method,
    "set": setattr,
    "delete": delattr,
    "item": operator.getitem,
    "put": operator.setitem,
    "length": len,
    "iterate": iter,
    "array": lambda value: np.asarray(value),
    "text": str,
    "look": repr,
    "format": format,
    "float": float,
    "int": int,
    "index": operator.index,
    "isinstance": isinstance,
    "enter": lambda value: type(value).__enter__(value),
    "leave": lambda value: bool(type(value).__exit__(value, None, None, None)),
    "negative": operator.neg,
    "positive": operator.pos,
    "absolute": abs,
}
PLAIN_OPERATIONS |= {name: getattr(operator, name) for name in "add sub mul truediv floordiv mod pow matmul".split()}
OPERATIONS: dict = {}
for name, f in PLAIN_OPERATIONS.items():
    OPERATIONS[name] = lambda agent, *inputs, _f=f, **named: _f(*inputs, **named)
OPERATIONS |= {"execute": Agent.execute, "name": Agent.name, "import": Agent.import_, "next": Agent.next_, "get": _get}


def student(settings, requests, replies, shown, door=None):
    """In a fork: lock the door, say so, serve."""
    os.dup2(shown, 1)
    os.dup2(shown, 2)
    os.close(shown)
    level = settings["level"] + lock(settings, door)
    np.random.seed()  # the state that the fork began with is everybody's
    pipe = Pipe(requests, replies)
    agent = Agent(pipe)
    pipe.send(frame({"value": {"ready": level}}, agent.refer))
    with contextlib.suppress(ClosedError, CannotCrossError, WireError):
        agent.serve()
    os._exit(0)


def hold(control, settings):
    """Fork a student's process when told, and end it when told: one at a time."""
    child = 0
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, 4096, 4)
        if not data:
            os._exit(0)
        what, token, *inputs = json.loads(data)
        answer = None
        if child and what in ("fork", "end"):
            answer, child = ended(child, *inputs), 0
        if what == "fork":
            try:
                answer, child = None, os.fork()
            except OSError as error:
                answer = str(error)
            if answer is None and not child:
                try:
                    control.close()
                    student(settings, *descriptors)
                except BaseException as error:
                    print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                finally:
                    os._exit(1)
            for descriptor in descriptors:
                os.close(descriptor)
        elif what == "spent":
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            answer = usage.ru_utime + usage.ru_stime
        control.send(json.dumps([token, answer]).encode())


def ended(child, patience=0.0):
    """The exit code of a child that ends within a time; one that does not is killed, and has none."""
    until = time.monotonic() + patience
    while True:
        gone, status = os.waitpid(child, os.WNOHANG)
        if gone:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= until:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return None
        time.sleep(0.002)


def main():
    """Import what every student needs, give up what none needs, fork."""
    control, settings = socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2])
    sys.path[:] = settings["path"] + settings["library"]
    sys.argv[:] = [""]
    settings["level"] = enclose(settings)
    warnings.simplefilter("ignore")  # a warning costs nothing
    for line in ("import numpy.fft, numpy.linalg, numpy.random", *settings["imports"]):
        with contextlib.suppress(Exception):
            exec(line, {})
    gc.collect()
    gc.freeze()  # what is here is shared by the forks, as long as nobody writes to it
    hold(control, settings)


if __name__ == "__main__":
    pathlib.Path("x")  # imported for the wire before the door is locked
    main()
