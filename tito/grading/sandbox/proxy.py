"""The tester's side: stand-ins for what lives in the student's process, and the conversation with it.

The verdict may rest on data only. So a stand-in has no truth value, can't be compared, and an operation between
stand-ins never yields plain data: whoever answers there could answer what a test wants to hear. What was read of an
object stays as it is until the student's code runs again: shape, dtype and values are of one reading.
"""

import builtins
import weakref
from collections import deque
from typing import Any

import numpy as np

from tito.grading.sandbox.readings import Reading, plain
from tito.grading.sandbox.wire import REMEMBERED, WATCHED, CannotCrossError, Decoder, Pipe, WireError, frame

HANDLED = ("raise", "ignore", "warn")
USUAL = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
DEEPEST = 50  # calls between the two within one another
ALLOWED = {
    name: getattr(builtins, name)
    for name in """ArithmeticError AssertionError AttributeError EOFError FileExistsError FileNotFoundError
    FloatingPointError ImportError IndexError IsADirectoryError KeyError LookupError MemoryError ModuleNotFoundError
    NameError NotADirectoryError NotImplementedError OSError OverflowError PermissionError RecursionError RuntimeError
    SyntaxError TimeoutError TypeError UnboundLocalError UnicodeError ValueError ZeroDivisionError Exception""".split()
}
# What tests read as data must come as data: a stand-in in its place could pretend to be anything.
DATA = {"data", "grad", "shape", "dtype", "ndim", "size", "requires_grad", "training", "__name__"}
RESULTS = {"numpy", "item", "tolist", "state_dict"}
MEASURES = {"shape", "dtype", "ndim", "size"}  # of an array: what is told of it is not asked for
READS = {"get", "array", "float", "int", "index", "length", "text", "look", "format"}
SPECIAL = {"__name__", "__qualname__", "__wrapped__", "__doc__"}
ARITHMETIC = {"sum", "mean", "max", "min", "std", "var", "argmax", "argmin", "prod", "round", "clip", "dot", "astype"}
ARITHMETIC |= {"detach", "reshape", "transpose", "copy", "flatten", "ravel", "exp", "log", "sqrt"}


class StudentError(WireError):
    """The student's process broke the rules of the conversation."""


class Conversation:
    """Asks the student's process, one request at a time, and answers when it calls back."""

    def __init__(self, reading: int, writing: int):
        self.pipe = Pipe(reading, writing)
        self.known: weakref.WeakValueDictionary = weakref.WeakValueDictionary()
        self.callbacks: dict = {}
        self.numbers: dict = {}
        self.dropped: list = []
        self.depth = self.requests = self.count = 0
        self.sent: deque = deque(maxlen=REMEMBERED)  # the arrays sent last, with their numbers
        self.changed = False  # whether one of them was changed in place
        self.places: list = []  # where the student's code raised last
        self.seen: dict = {}  # what was read since the student's code ran last

    def greet(self) -> dict:
        """What the process says when it has locked itself in."""
        reply = self._decoded()
        if not isinstance(reply, dict) or not isinstance(reply.get("value"), dict) or "ready" not in reply["value"]:
            raise StudentError("the process did not report")
        return reply["value"]["ready"]

    def ask(self, what: str, *inputs, **named):
        """Have the student's process do something; the result, or the exception it raised."""
        key = _reading_of(what, inputs, named)
        if key is None:
            self.seen.clear()
        elif key in self.seen:
            return _copy(self.seen[key])
        result = self._asked(what, inputs, named)
        if key is None:
            self.seen.clear()
        else:
            self.seen[key] = _copy(result)
        return result

    def _asked(self, what: str, inputs: tuple, named: dict):
        """The answer to a question that is new."""
        arrays: list = []
        dropped, self.dropped = self.dropped, []
        now = np.geterr()
        errors = {} if now == USUAL else {name: how for name, how in now.items() if how in HANDLED}
        request = [what, list(inputs), named, errors, dropped]
        packet = frame(request, self._refer)
        _collect(inputs, arrays)
        _collect(named, arrays)
        for array in arrays:
            self.sent.append((self.count, array))
            self.count += 1
        self.requests += 1
        self.depth += 1
        try:
            if self.depth > DEEPEST:
                raise RecursionError("the test and the student's code call each other without end")
            self.pipe.send(packet)
            reply = self._reply()
        finally:
            self.depth -= 1
        if "error" in reply:
            raise self._error(reply["error"])
        if "value" not in reply:
            raise StudentError("a reply without a value")
        if "changed" in reply:
            self._spoil(reply["changed"])
        if arrays and any(array.nbytes > WATCHED for array in arrays):
            small = [array if array is None or array.nbytes <= WATCHED else None for _, array in self.sent]
            self.sent = deque(zip((number for number, _ in self.sent), small, strict=True), REMEMBERED)
        return reply["value"]

    def _spoil(self, numbers) -> None:
        """The student's code changed these arrays in place. In one process a test that goes on with them would see what
        was written there; as that might be made up to pass for evidence, here it sees noise."""
        known = dict(self.sent)
        if not isinstance(numbers, list) or not all(type(number) is int and number in known for number in numbers):
            raise StudentError("a change of an array that was not given")
        for number in numbers:
            array, noise = known[number], np.random.default_rng()
            if array is not None and array.flags.writeable:
                whole = array.dtype.kind in "biu"
                array[...] = noise.integers(0, 100, array.shape) if whole else 99 * noise.standard_normal(array.shape)
                self.changed = True

    def _reply(self) -> dict:
        """The reply to the request just sent, after whatever callbacks come first."""
        while True:
            reply = self._decoded()
            if not isinstance(reply, dict):
                raise StudentError("a reply is a dict")
            if "callback" not in reply:
                return reply
            packet = self._answer(reply)
            self.pipe.send(packet)

    def _decoded(self):
        document, data = self.pipe.receive()
        try:
            return Decoder(data, self._resolve, kind=Reading).decode(document)
        except WireError:
            raise
        except (ValueError, TypeError, OverflowError, MemoryError, RecursionError) as error:
            raise WireError(f"a value cannot be built: {type(error).__name__}") from None

    def _answer(self, request: dict) -> bytes:
        """Run a function of the tests that was handed over, with data or stand-ins."""
        function = self.callbacks.get(request["callback"]) if type(request["callback"]) is int else None
        inputs, named = request.get("with"), request.get("named")
        if (
            function is None
            or not isinstance(inputs, list)
            or not isinstance(named, dict)
            or not all(type(name) is str for name in named)
        ):
            raise StudentError("a call of a function that was never given")
        self.seen.clear()
        inputs, named = plain(inputs), {name: plain(value) for name, value in named.items()}  # the answer is no verdict
        try:
            return frame({"returned": {"value": function(*inputs, **named)}}, self._refer)
        except WireError:
            raise
        except Exception as error:
            name = next(kind.__name__ for kind in type(error).__mro__ if ALLOWED.get(kind.__name__) is kind)
            return frame({"returned": {"error": [name, str(error)[:4000]]}}, self._refer)
        finally:
            self.seen.clear()

    def _refer(self, value):
        if isinstance(value, Proxy):
            number = value._number
            if value._conversation is not self:
                raise CannotCrossError("an object of a process that has ended cannot be used any more")
            return ["object", number]
        if callable(value) and not isinstance(value, type):
            number = self.numbers.setdefault(id(value), len(self.numbers) + 1)
            self.callbacks[number] = value
            return ["callback", number]
        raise CannotCrossError(f"a {type(value).__name__} cannot cross to the student's process")

    def _resolve(self, parts):
        if len(parts) != 3 or parts[0] != "object" or type(parts[1]) is not int or parts[2] not in ("named", "thing"):
            raise WireError("a value has no known form")
        number = parts[1]
        proxy = self.known.get(number)
        if proxy is None:
            self.known[number] = proxy = Proxy(self, number, parts[2] == "named")
        SENT.__set__(proxy, SENT.__get__(proxy) + 1)
        return proxy

    def _error(self, told) -> Exception:
        """The exception the student's code raised, as one of the built-in kinds."""
        sound = isinstance(told, list) and len(told) == 3 and isinstance(told[0], list) and isinstance(told[1], str)
        if not sound:
            raise StudentError("an error without a kind and a message")
        self.places = told[2] if isinstance(told[2], list) else []
        kind = next((ALLOWED[name] for name in told[0] if isinstance(name, str) and name in ALLOWED), RuntimeError)
        ended = told[0] and told[0][0] in ("SystemExit", "KeyboardInterrupt", "GeneratorExit", "StopIteration")
        kind = RuntimeError if ended or kind is Exception and told[0][:1] == ["StopIteration"] else kind
        message = f"{told[0][0]}: {told[1]}" if ended else told[1]
        error: Any = UnicodeError(message) if kind is UnicodeError else kind(message)
        error.from_student = True
        return error


def _reading_of(what: str, inputs: tuple, named: dict):
    """What a question is remembered by, if it only reads: it, the object's number, a name. None if it may change
    things."""
    if named or not inputs or not isinstance(inputs[0], Proxy):
        return None
    if what not in READS and not (what == "method" and len(inputs) == 2 and inputs[1] in RESULTS):
        return None
    if not all(type(part) is str for part in inputs[1:]):
        return None
    return (what, inputs[0]._number, *inputs[1:])


def _copy(value):
    """An answer to be given again: a test may write into arrays."""
    if isinstance(value, Reading):
        return value.copy()
    if type(value) in (list, tuple):
        return type(value)(map(_copy, value))
    return {name: _copy(item) for name, item in value.items()} if type(value) is dict else value


def read(value):
    """The array of a stand-in, as a reading; anything else as it is."""
    return value.__array__() if isinstance(value, Proxy) else value


def _read_all(value):
    if type(value) in (list, tuple):
        return type(value)(map(_read_all, value))
    return read(value)


def _collect(value, found: list) -> None:
    """The arrays in a request, in the order in which the encoder meets them."""
    if isinstance(value, np.ndarray):
        found.append(value)
    elif isinstance(value, dict):
        for item in value.values():
            _collect(item, found)
    elif isinstance(value, list | tuple):
        for item in value:
            _collect(item, found)


class Method:
    """A method of an object in the student's process, called by name."""

    def __init__(self, owner, name):
        self._owner, self._name = owner, name

    def __call__(self, *inputs, **named):
        name = self._name
        result = _ask(self._owner, "method", self._owner, name, *inputs, **named)
        if name in RESULTS:
            if isinstance(result, Proxy):
                raise TypeError(f".{name}() should return plain data, and returned an object")
        elif isinstance(result, bool | np.bool_):
            raise TypeError(f"the yes or no of .{name}() is no evidence: take the array first, with .numpy()")
        elif name in ARITHMETIC and not isinstance(result, Proxy):
            raise TypeError(f".{name}() should return a Tensor, and returned plain data")
        return result

    def __eq__(self, other):
        raise TypeError(f"`{self._name}` is a method: call it")

    __hash__: Any = None

    def __bool__(self):
        raise TypeError(f"`{self._name}` is a method: call it")


def _ask(proxy, what, *inputs, **named):
    return proxy._conversation.ask(what, *inputs, **named)


class Proxy:
    """Stands for an object in the student's process."""

    __slots__ = ("_conversation", "_number", "_named", "_sent", "__weakref__")
    __array_ufunc__ = None

    def __init__(self, conversation, number, named):
        put = object.__setattr__
        put(self, "_conversation", conversation)
        put(self, "_number", number)
        put(self, "_named", named)
        put(self, "_sent", 0)  # how often it came from the student's process

    def __del__(self):
        self._conversation.dropped.append((self._number, self._sent))

    def __getattr__(self, name):
        if name.startswith("__") and name not in SPECIAL:  # NumPy would believe an __array_interface__, a raw address
            raise AttributeError(name)
        if name in MEASURES and not _is_named(self):
            array = _array_of(self)
            if array is not None:
                return getattr(array, name)
        found = _ask(self, "get", self, name)
        if not isinstance(found, dict) or len(found) != 1:
            raise StudentError("an attribute is a value or a method")
        if found.get("method") == name:
            return Method(self, name)
        if "value" not in found:
            raise StudentError("an attribute is a value or a method")
        value = found["value"]
        if name in DATA and isinstance(value, Proxy):
            raise TypeError(f".{name} should be plain data, and is an object")
        return value

    def __setattr__(self, name, value):
        _ask(self, "set", self, name, value)

    def __delattr__(self, name):
        _ask(self, "delete", self, name)

    def __call__(self, *inputs, **named):
        return _ask(self, "call", self, *inputs, **named)

    def __getitem__(self, key):
        return _ask(self, "item", self, key)

    def __setitem__(self, key, value):
        _ask(self, "put", self, key, value)

    def __len__(self):
        return _whole(_ask(self, "length", self), "len()")

    def __iter__(self):
        iterator = _ask(self, "iterate", self)
        if not isinstance(iterator, Proxy):
            raise StudentError("an iterator is an object")
        return _iterate(iterator)

    def __next__(self):
        found = _ask(self, "next", self)
        if not isinstance(found, list) or len(found) > 1:
            raise StudentError("next gives one item or none")
        if not found:
            raise StopIteration
        return found[0]

    def __contains__(self, item):
        raise TypeError("`in` of the student's object is no evidence: make a list or take its array first")

    def __enter__(self):
        return _ask(self, "enter", self)

    def __exit__(self, *error):
        _ask(self, "leave", self)
        return False

    def __array__(self, dtype=None, copy=None):
        array = _ask(self, "array", self)
        if not isinstance(array, np.ndarray | np.generic):
            raise TypeError("the student's object cannot be made an array of numbers")
        array = np.asarray(array).view(Reading)
        return array if dtype is None else array.astype(dtype)

    def __array_function__(self, function, types, inputs, named):
        return function(*map(_read_all, inputs), **{name: _read_all(value) for name, value in named.items()})

    def __str__(self):
        return _text(_ask(self, "text", self))

    def __repr__(self):
        return _text(_ask(self, "look", self))

    def __format__(self, how):
        return _text(_ask(self, "format", self, how))

    def __float__(self):
        value = _ask(self, "float", self)
        if type(value) is not float:
            raise StudentError("float() gives a float")
        return value

    def __int__(self):
        return _whole(_ask(self, "int", self), "int()")

    def __index__(self):
        return _whole(_ask(self, "index", self), "index()")

    def __instancecheck__(self, thing):
        return isinstance(thing, Proxy) and _ask(self, "isinstance", thing, self) is True

    def __bool__(self):
        raise TypeError("the student's object has no truth value here: compare its array, or use `is None`")

    def __eq__(self, other):
        if self is other:
            return True
        if isinstance(other, Proxy) and _is_named(self) and _is_named(other):
            return False
        raise TypeError("the student's objects cannot be compared: compare their arrays, .numpy()")

    def __ne__(self, other):
        return not self == other

    __lt__ = __le__ = __gt__ = __ge__ = lambda self, other: Proxy._compared(self, other)

    def _compared(self, other):
        raise TypeError("the student's objects cannot be compared: compare their arrays, .numpy()")

    def __hash__(self):
        if _is_named(self):
            return id(self)
        raise TypeError("the student's objects cannot be keys")


SENT: Any = Proxy._sent  # type: ignore[attr-defined]


def _is_named(proxy) -> bool:
    return proxy._named


def _array_of(proxy):
    """The array that a stand-in is about, a tensor's `data` or what NumPy makes of it, or None."""
    for what, *rest in (("get", "data"), ("array",)):
        try:
            found = _ask(proxy, what, proxy, *rest)
        except WireError:
            raise
        except Exception:
            continue
        found = found.get("value") if what == "get" and isinstance(found, dict) else found
        if isinstance(found, np.ndarray):
            return found
    return None


def _whole(value, what):
    if type(value) is not int:
        raise StudentError(f"{what} gives a whole number")
    return value


def _text(value):
    if type(value) is not str:
        raise StudentError("text was expected")
    return value


def _iterate(iterator):
    while True:
        try:
            item = next(iterator)
        except StopIteration:
            return
        yield item


def _operator(name, swapped=False):
    def operate(self, *others):
        inputs = (*others, self) if swapped else (self, *others)
        result = _ask(self, name, *inputs)
        if not isinstance(result, Proxy):
            raise TypeError("arithmetic with the student's object should give a Tensor, and gave plain data")
        return result

    return operate


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"):
    setattr(Proxy, f"__{_name}__", _operator(_name))
    setattr(Proxy, f"__r{_name}__", _operator(_name, swapped=True))
for _name, _long in (("neg", "negative"), ("pos", "positive"), ("abs", "absolute")):
    setattr(Proxy, f"__{_name}__", _operator(_long))
