"""The data that cross between the tester and the student's process, and their frames.

A frame is eight bytes (two lengths), a JSON document, and the raw bytes of the arrays it names. Only data cross: None,
bool, int, float, complex, str, bytes, lists, tuples, dicts, sets, slices, ranges, paths, numeric arrays and dtypes.
Anything else stays where it is, and a number stands for it. Nothing here ever unpickles.
"""

import json
import math
import os
import pathlib
import struct

import numpy as np

LONGEST_TEXT = 4 << 20  # bytes of JSON in a frame
LONGEST_DATA = 64 << 20  # bytes of arrays in a frame
DEEPEST = 40  # containers within containers
REMEMBERED = 32  # arrays, the last ones sent: a change in place is reported, also when a later request makes it,
WATCHED = 1 << 18  # unless they have more bytes than this
HEADER = struct.Struct("<II")
WRITE = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
READ = json.JSONDecoder().decode
KINDS = {text: np.dtype(text) for text in (np.dtype(name).str for name in "? b B h H i I q Q e f d F D".split())}
IN_ORDER = [list(range(count)) for count in range(33)]  # the axes of an array as C lays it out, by their number
TYPES = {kind.__name__: kind for kind in (bool, int, float, complex, str, bytes, list, tuple, dict, set, object)}
SCALARS = {
    name: getattr(np, name)
    for name in "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64".split()
}
SCALARS |= {
    name: getattr(np, name)
    for name in ("complex64", "complex128", "floating", "integer", "number", "generic", "ndarray")
}
NAMES = {kind: name for name, kind in (*SCALARS.items(), *TYPES.items())}
PLAIN = frozenset((type(None), bool, int, float, str))


class WireError(Exception):
    """The other side broke the protocol."""


class CannotCrossError(TypeError):
    """A value that isn't data was to be sent, and may not stand for itself."""


class ClosedError(WireError):
    """The other side is gone."""


class Encoder:
    """Turns a value into (JSON-ready value, arrays). `refer` turns anything that isn't data into its stand-in."""

    def __init__(self, refer):
        self.refer, self.blobs, self.length = refer, [], 0

    def encode(self, value, depth=0):
        kind = type(value)
        if kind in PLAIN:
            return value
        if depth > DEEPEST:
            raise CannotCrossError("a value is nested too deeply to be sent")
        way = WAYS.get(kind)
        if way is None:
            way = WAYS[kind] = _way(kind)
        return way(self, value, depth + 1)

    def _other(self, value, depth):
        return self.refer(value)

    def _list(self, value, depth):
        return ["list", *(self.encode(item, depth) for item in value)]

    def _tuple(self, value, depth):
        return ["tuple", *(self.encode(item, depth) for item in value)]

    def _set(self, value, depth):
        return ["set", *(self.encode(item, depth) for item in value)] if all(map(_plain, value)) else self.refer(value)

    def _frozenset(self, value, depth):
        return ["set", *(self.encode(item, depth) for item in value)] if all(map(_plain, value)) else self.refer(value)

    def _dict(self, value, depth):
        if not all(map(_plain, value)):
            return self.refer(value)
        return ["dict", *([self.encode(key, depth), self.encode(item, depth)] for key, item in value.items())]

    def _complex(self, value, depth):
        return ["complex", value.real, value.imag]

    def _bytes(self, value, depth):
        return ["bytes", *self._put(value)]

    def _slice(self, value, depth):
        return ["slice", *(self.encode(part, depth) for part in (value.start, value.stop, value.step))]

    def _range(self, value, depth):
        return ["range", value.start, value.stop, value.step]

    def _ellipsis(self, value, depth):
        return ["ellipsis"]

    def _NotImplementedType(self, value, depth):
        raise CannotCrossError("NotImplemented is not a value")

    def _dtype(self, value, depth):
        return ["dtype", value.str] if value.str in KINDS else self.refer(value)

    def _type(self, value, depth):
        return ["type", NAMES[value]] if value in NAMES else self.refer(value)

    def _path(self, value, depth):
        return ["path", str(value)]

    def _named_tuple(self, value, depth):
        return self._tuple(tuple(value), depth)

    def _collection(self, value, depth):
        return self._dict(dict(value), depth)

    def _ndarray(self, array, depth):
        """dtype, shape in memory order, the axes that bring it back, where its bytes are, whether it is a scalar."""
        kind = array.dtype.str
        if kind not in KINDS:
            return self.refer(array)
        scalar = isinstance(array, np.generic)
        axes = IN_ORDER[array.ndim]
        if not array.flags.c_contiguous:
            array = np.asarray(array)
            axes = sorted(axes, key=lambda axis: -abs(array.strides[axis]))
            array = array.transpose(axes)
        return ["array", kind, list(array.shape), axes, *self._put(array.tobytes()), scalar]

    def _put(self, data):
        self.blobs.append(data)
        self.length += len(data)
        if self.length > LONGEST_DATA:
            raise CannotCrossError(f"more than {LONGEST_DATA >> 20} MiB of arrays cannot be sent at once")
        return self.length - len(data), len(data)


def _way(kind):
    """How a value of a type is sent."""
    if kind.__module__ == "builtins" and kind.__name__ in BUILT_IN:
        return getattr(Encoder, f"_{kind.__name__}")
    if issubclass(kind, np.ndarray | np.generic):
        return Encoder._ndarray
    if issubclass(kind, np.dtype):
        return Encoder._dtype
    if issubclass(kind, type):
        return Encoder._type
    if issubclass(kind, pathlib.PurePath):
        return Encoder._path
    if issubclass(kind, tuple):
        return Encoder._named_tuple
    if issubclass(kind, dict) and kind.__module__ == "collections":
        return Encoder._collection
    for plain in (bool, int, float, str):
        if issubclass(kind, plain):
            return lambda encoder, value, depth: plain(value)
    return Encoder._other


WAYS: dict = {}  # type -> how its values are sent
BUILT_IN = set("list tuple set frozenset dict complex bytes slice range ellipsis NotImplementedType".split())


def _plain(key):
    return type(key) in PLAIN or (type(key) is tuple and all(map(_plain, key)))


def frame(value, refer):
    """The bytes of one frame."""
    encoder = Encoder(refer)
    text = WRITE(encoder.encode(value)).encode()
    if len(text) > LONGEST_TEXT:
        raise CannotCrossError(f"more than {LONGEST_TEXT >> 20} MiB of data cannot be sent at once")
    return b"".join((HEADER.pack(len(text), encoder.length), text, *encoder.blobs))


class Decoder:
    """Turns a received document back into a value; whatever isn't exactly of the format is a WireError.

    `kind` is the class of the arrays that are made.
    """

    def __init__(self, data, resolve, arrays=None, kind=np.ndarray):
        self.data, self.resolve, self.arrays, self.kind = data, resolve, arrays, kind

    def decode(self, value, depth=0):
        if type(value) in PLAIN:
            return value
        if type(value) is not list or not value or type(value[0]) is not str or depth > DEEPEST + 5:
            raise WireError("a value has no known form")
        maker = MAKERS.get(value[0])
        if maker is None:
            return self.resolve(value)
        return maker(self, value[1:], depth + 1)

    def _items(self, parts, depth):
        return [self.decode(part, depth) for part in parts]

    def _dict(self, parts, depth):
        if not all(type(part) is list and len(part) == 2 for part in parts):
            raise WireError("a dict is made of pairs")
        keys = [self.decode(key, depth) for key, _ in parts]
        if not all(map(_plain, keys)):
            raise WireError("a dict's keys are plain")
        return dict(zip(keys, (self.decode(item, depth) for _, item in parts), strict=True))

    def _set(self, parts, depth):
        items = self._items(parts, depth)
        if not all(map(_plain, items)):
            raise WireError("a set's items are plain")
        return set(items)

    def _slice(self, parts, depth):
        if len(parts) != 3:
            raise WireError("a slice has three parts")
        return slice(*self._items(parts, depth))

    def _range(self, parts, depth):
        if len(parts) != 3 or not all(map(_is_int, parts)) or parts[2] == 0:
            raise WireError("a range has three whole numbers")
        return range(*parts)

    def _complex(self, parts, depth):
        if len(parts) != 2 or not all(type(part) is float for part in parts):
            raise WireError("a complex number has two parts")
        return complex(*parts)

    def _bytes(self, parts, depth):
        return bytes(self._slice_of(parts))

    def _dtype(self, parts, depth):
        if len(parts) != 1 or parts[0] not in KINDS:
            raise WireError("an unknown dtype")
        return KINDS[parts[0]]

    def _type(self, parts, depth):
        kinds = TYPES | SCALARS
        if len(parts) != 1 or type(parts[0]) is not str or parts[0] not in kinds:
            raise WireError("an unknown type")
        return kinds[parts[0]]

    def _path(self, parts, depth):
        if len(parts) != 1 or type(parts[0]) is not str:
            raise WireError("a path is text")
        return pathlib.Path(parts[0])

    def _array(self, parts, depth):
        if len(parts) != 6 or type(parts[0]) is not str or parts[0] not in KINDS or type(parts[5]) is not bool:
            raise WireError("an array has a numeric dtype and six parts")
        dtype, shape, axes = KINDS[parts[0]], parts[1], parts[2]
        sound = type(shape) is list and type(axes) is list and len(shape) <= 32
        if not sound or not all(map(_is_int, shape)) or any(not 0 <= n < 1 << 48 for n in shape):
            raise WireError("an array's shape makes no sense")
        in_order = axes == IN_ORDER[len(shape)]
        if not all(map(_is_int, axes)) or not in_order and sorted(axes) != IN_ORDER[len(shape)]:
            raise WireError("an array's axes make no sense")
        data = self._slice_of(parts[3:5])
        if math.prod(shape) * dtype.itemsize != len(data):
            raise WireError("an array's bytes do not fit its shape")
        array = np.frombuffer(data, dtype).reshape(shape).copy()
        if not in_order:
            array = array.transpose(sorted(axes, key=axes.__getitem__))
        if self.arrays is not None and not parts[5]:
            self.arrays.append((array, None if in_order else axes, data))
        return array[()] if parts[5] and array.ndim == 0 else array.view(self.kind)

    def _slice_of(self, parts):
        if len(parts) != 2 or not all(map(_is_int, parts)):
            raise WireError("bytes have a place and a length")
        start, length = parts
        if start < 0 or length < 0 or start + length > len(self.data):
            raise WireError("bytes lie outside the frame")
        return self.data[start : start + length]


MAKERS = {
    "list": lambda decoder, parts, depth: decoder._items(parts, depth),
    "tuple": lambda decoder, parts, depth: tuple(decoder._items(parts, depth)),
    "ellipsis": lambda decoder, parts, depth: ...,
}
MAKERS |= {
    name: getattr(Decoder, f"_{name}") for name in "dict set slice range complex bytes dtype type path array".split()
}


def _is_int(value):
    return type(value) is int


class Pipe:
    """Frames over a pair of file descriptors. `wait`, if given, is called before each read."""

    def __init__(self, reading, writing, wait=None):
        self.reading, self.writing, self.wait, self.buffer = reading, writing, wait, bytearray()

    def send(self, data, write=os.write):
        view = memoryview(data)
        while view:
            try:
                view = view[write(self.writing, view) :]
            except BrokenPipeError:
                raise ClosedError("the other side is gone") from None

    def receive(self):
        """(document, bytes of its arrays) of the next frame."""
        text, data = HEADER.unpack(self._take(HEADER.size))
        if text > LONGEST_TEXT or data > LONGEST_DATA:
            raise WireError("a frame is too long")
        document, data = self._take(text), self._take(data)
        try:
            return READ(document.decode("ascii")), data
        except (ValueError, RecursionError) as error:
            raise WireError(f"a frame is not JSON: {type(error).__name__}") from None

    def _take(self, count, read=os.read):
        while len(self.buffer) < count:
            if self.wait:
                self.wait()
            part = read(self.reading, 1 << 16 if count < 1 << 16 else 1 << 18)
            if not part:
                raise ClosedError("the other side is gone")
            self.buffer += part
        taken = bytes(memoryview(self.buffer)[:count])
        del self.buffer[:count]
        return taken
