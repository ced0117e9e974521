"""What crosses between tester and student: data come back as they were, and nothing else is believed."""

import json
import os
import random
from pathlib import Path

import numpy as np
import pytest

from tito.grading.sandbox import wire
from tito.grading.sandbox.proxy import Conversation, StudentError


def refuse(value):
    raise wire.CannotCrossError(f"a {type(value).__name__} cannot cross")


def there_and_back(value):
    data = wire.frame(value, refuse)
    text, length = wire.HEADER.unpack(data[: wire.HEADER.size])
    document = json.loads(data[wire.HEADER.size : wire.HEADER.size + text])
    assert len(data) == wire.HEADER.size + text + length
    return wire.Decoder(data[wire.HEADER.size + text :], refuse).decode(document)


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -(10**40), 1.5, float("inf"), "ünï\ud800", 1 + 2j, b"\x00\xff", [1, [2, []]], (1, (2,)),
     {"a": {1: (2.0, None)}},
     {(1, 2): "x"}, {3, 4}, slice(1, None, -2), range(0, 9, 2), ..., Path("a/b"), np.dtype("<f4"),
     np.float32, float, np.int64(7)],
    ids=str,
)  # fmt: skip
def test_data_come_back(value):
    found = there_and_back(value)
    assert type(found) in (type(value), type(Path())) and found == value


@pytest.mark.parametrize("dtype", sorted(wire.KINDS))
def test_arrays_come_back(dtype):
    array = (np.arange(24).reshape(2, 3, 4) % 2).astype(dtype)
    for one in (
        array,
        array.transpose(2, 0, 1),
        np.asfortranarray(array),
        array[:, ::2],
        array[0, 0, 0:0],
        array[1, 1, 1],
    ):
        found = there_and_back(one)
        assert found.dtype == one.dtype and found.shape == one.shape and np.array_equal(found, one)
    turned = there_and_back(np.asfortranarray(array))
    assert turned.flags.f_contiguous and turned.flags.writeable, "the memory's order is part of an array"
    assert np.isnan(there_and_back(np.float32("nan"))) and type(there_and_back(np.float32(1))) is np.float32


@pytest.mark.parametrize(
    "value",
    [object(), lambda: 1, np.array(["a"]), np.array([object()]), {object(): 1}],
    ids=["object", "function", "array of text", "array of objects", "key"],
)
def test_what_is_no_data_does_not_cross(value):
    with pytest.raises(wire.CannotCrossError):
        there_and_back([value])


def test_circles_and_heaps_do_not_cross():
    circle = []
    circle.append(circle)
    with pytest.raises(wire.CannotCrossError):
        there_and_back(circle)
    with pytest.raises(wire.CannotCrossError):
        there_and_back("x" * (wire.LONGEST_TEXT + 1))
    with pytest.raises(wire.CannotCrossError):
        there_and_back(np.zeros(wire.LONGEST_DATA, np.int16))


def answer(data):
    """What the tester makes of bytes from the student's process: a value, or the exception."""
    requests, replies = os.pipe(), os.pipe()
    try:
        os.write(replies[1], data)
        os.close(replies[1])
        return Conversation(replies[0], requests[1]).ask("name", "x")
    except (wire.WireError, Exception) as error:
        return error
    finally:
        for descriptor in (*requests, replies[0]):
            os.close(descriptor)


def packet(document, data=b""):
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return wire.HEADER.pack(len(text), len(data)) + text + data


BAD = [
    b"", b"\x00", b"\xff" * 8, packet(b"{"), packet(b"[" * 50_000), packet(b"1" * 5000), packet(b"\xff"),
    packet(["list", 1]),
    packet({"value": 1}), packet(["dict", ["a"]]), packet(["dict", [["list"], 1]]),
    packet(["dict", ["value", ["object", -1]]]),
    packet(["dict", ["value", ["object", 1, "thing", 2]]]), packet(["dict", ["value", ["object", True, "thing"]]]),
    packet(["dict", ["value", ["array", "|O", [1], [0], 0, 8, False]]], bytes(8)),
    packet(["dict", ["value", ["eval", "1"]]]),
    packet(["dict", ["value", ["array", "<f4", [2], [0], 0, 4, False]]], bytes(4)),
    packet(["dict", ["value", ["array", "<f4", [-1], [0], 0, 0, False]]]),
    packet(["dict", ["value", ["array", "<f4", [0, 1 << 47, 1 << 47], [0, 1, 2], 0, 0, False]]]),
    packet(["dict", ["value", ["array", "<f4", [1], [7], 0, 4, False]]], bytes(4)),
    packet(["dict", ["value", ["array", "<f4", [1], [0], 4, 4, False]]], bytes(4)),
    packet(["dict", ["value", ["type", "Popen"]]]), packet(["dict", ["value", ["range", 1, 2, 0]]]),
    packet(["dict", ["value", []]]),
    packet(["dict", ["callback", 1], ["with", ["list"]], ["named", ["dict"]]]), packet(["dict", ["error", 1]]),
    packet(["dict", ["error", ["list", ["list", "SystemExit"], 7, ["list"]]]]),
    packet(["dict", ["changed", ["list", 0]]]),
    packet(["dict", ["value", 1], ["changed", ["list", 5]]]), packet(["dict", ["value", ["set", ["list"]]]]),
]  # fmt: skip


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_bad_frames_are_refused(data):
    assert isinstance(answer(data), wire.WireError)


def test_a_good_frame_is_taken():
    assert answer(packet(["dict", ["value", 1]])) == 1
    error = answer(packet(["dict", ["error", ["list", ["list", "MyError", "KeyError", "Exception"], "a", ["list"]]]]))
    assert isinstance(error, KeyError) and error.args == ("a",)
    error = answer(packet(["dict", ["error", ["list", ["list", "StopIteration", "Exception"], "", ["list"]]]]))
    assert isinstance(error, RuntimeError), "an exception that ends loops does not cross"


def fuzz(count, seed):
    """Random frames, most of them near to good ones; counts those that were believed."""
    rng, words = (
        random.Random(seed),
        ["list", "tuple", "dict", "object", "array", "value", "error", "callback", "<f4", "thing", "named"],
    )

    def tree(depth):
        if depth == 0 or rng.random() < 0.4:
            return rng.choice([None, True, 0, 1, -1, 1 << 70, 2.5, "", "x", rng.choice(words)])
        return [rng.choice(words), *(tree(depth - 1) for _ in range(rng.randrange(5)))]

    values = 0
    for _ in range(count):
        kind = rng.random()
        if kind < 0.3:
            data = rng.randbytes(rng.randrange(60))
        elif kind < 0.6:
            good = bytearray(packet(["dict", ["value", ["array", "<f4", [2], [0], 0, 8, False]]], bytes(8)))
            for _ in range(rng.randrange(1, 4)):
                good[rng.randrange(len(good))] = rng.randrange(256)
            data = bytes(good)
        else:
            data = packet(["dict", ["value", tree(5)]], bytes(rng.randrange(20)))
        found = answer(data)
        values += not isinstance(found, Exception)
        assert not isinstance(found, Exception) or isinstance(found, wire.WireError | StudentError | RuntimeError), (
            repr(found)
        )
    return values


def test_random_frames():
    assert fuzz(2_000, 1) > 0


@pytest.mark.slow
def test_a_hundred_thousand_random_frames():
    assert fuzz(100_000, 2) > 0
