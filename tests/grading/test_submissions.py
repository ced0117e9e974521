"""Reading submissions: nothing is followed or executed, and what is odd costs an honest student nothing."""

import json
import os

import pytest

from tito.grading import submissions
from tito.grading.submissions import RejectedError


def notebook_of(*cells, **more):
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": list(cells), **more}).encode()


def cell(source, id="x", kind="code", **marks):
    return {
        "cell_type": kind,
        "id": id,
        "metadata": {"nbgrader": marks} if marks else {},
        "source": source,
        "outputs": [],
    }


@pytest.mark.parametrize(
    "data",
    [b"", b"not json", b"[]", b"1", b'"x"', b"{}", b"[" * 10**6, b'{"nbformat": 3}',
     b'{"nbformat": 4, "cells": {}}',
     notebook_of(*[cell("x")] * 1001), b"1" * 6000, b"\x00" * 100],
    ids=range(12),
)  # fmt: skip
def test_what_is_no_notebook_is_rejected(data):
    with pytest.raises(RejectedError):
        submissions.parse(data)


@pytest.mark.parametrize("bad", [7, None, {"a": 1}, [1, None, "x = 1"], {}], ids=str)
def test_odd_cells_are_left_out(bad):
    odd = {"source": bad, "metadata": bad, "id": bad, "cell_type": bad}
    found = submissions.parse(notebook_of(odd, bad, cell("y = 1")))
    assert found.cells[-1].source == "y = 1"


def test_bytes_that_are_no_text_cost_nothing():
    data = notebook_of(cell("x = 'h?'", "a")).replace(b"?", b"\xe9")
    found = submissions.parse(b"\xef\xbb\xbf" + notebook_of(cell("a\r\nb\0\ud800")))
    assert "replaced" in submissions.parse(data).notes[0] and found.cells[0].source == "a\nb?"
    compile(found.cells[0].source.replace("?", ""), "x", "exec")


def test_links_pipes_folders_and_giants_are_not_read(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a").write_text("secret")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real" / "b").symlink_to("a")
    os.mkfifo(tmp_path / "real" / "pipe")
    (tmp_path / "real" / "big").write_bytes(bytes(submissions.LARGEST + 1))
    assert submissions.read_below(tmp_path, "real", "a") == b"secret"
    for parts in (
        ("link", "a"),
        ("real", "b"),
        ("real", "pipe"),
        ("real",),
        ("real", "big"),
        ("real", "none"),
        ("no", "x"),
    ):
        with pytest.raises(RejectedError):
            submissions.read_below(tmp_path, *parts)
