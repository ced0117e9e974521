"""Reading submissions: nothing is followed or executed, and what is odd costs an honest student nothing."""

import json
import os
import pwd
import zipfile
from datetime import datetime

import pytest

from tito import CourseError
from tito.grading import submissions
from tito.grading.gradebook import nbgrader_settings
from tito.grading.submissions import RejectedError, collect, stamp_of

NAME = "activations_dev.ipynb"


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


def taken(course, source):
    return [
        (one.student, one.what) for one in collect(course, course.module("02"), str(source), nbgrader_settings(course))
    ]


def test_collect_takes_folders_of_several_shapes_once(course, tmp_path, submission):
    source = tmp_path / "in"
    for place in (f"ann/{NAME}", f"bob/02_activations/{NAME}", "cy.ipynb", f"dee_{NAME}"):
        submission(source / place)
    (source / "ann" / "evil.py").write_text("import os")
    (source / "eve").mkdir()
    (source / "eve" / NAME).symlink_to("/etc/passwd")
    assert sorted(taken(course, source)) == [
        ("ann", "new"),
        ("bob", "new"),
        ("cy", "new"),
        ("dee", "new"),
        ("eve", "refused"),
    ]
    assert {what for _, what in taken(course, source)} == {"same", "refused"}
    assert {path.name for path in (course.root / "grading/submitted/ann/02_activations").iterdir()} == {
        NAME,
        "timestamp.txt",
    }


def test_collect_takes_archives_without_believing_them(course, tmp_path, submission):
    data = submission(tmp_path / "x.ipynb").read_bytes()
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in (f"ann/{NAME}", f"../../up/{NAME}", f"/root/{NAME}", f"ann/..{NAME}", f"b b/{NAME}"):
            archive.writestr(name, data)
        archive.writestr(f"bomb/{NAME}", bytes(50 << 20))
        link = zipfile.ZipInfo(f"link/{NAME}")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    found = dict(taken(course, tmp_path / "in.zip"))
    assert {student for student, what in found.items() if what == "new"} == {"ann"}
    assert found.keys() >= {"b b", "bomb", "link"}
    assert sorted(path.name for path in (course.root / "grading/submitted").iterdir()) == ["ann"]


def test_collect_takes_the_last_of_each_from_the_exchange(course, tmp_path, submission):
    """nbgrader's own layout; a folder that belongs to somebody else than it says is refused."""
    me, inbound = pwd.getpwuid(os.geteuid()).pw_name, tmp_path / "exchange/tinytorch/inbound"
    with pytest.raises(CourseError, match="no exchange at"):
        taken(course, "exchange")
    config = course.root / "nbgrader_config.py"
    config.write_text(config.read_text() + f"c.Exchange.root = {str(tmp_path / 'exchange')!r}\n")
    first, second, third = (f"2026-11-0{day} 12:00:00.{day:06} UTC" for day in (1, 2, 3))
    submission(inbound / f"{me}+02_activations+{first}+x1y/activations_dev.ipynb")
    submission(inbound / f"{me}+02_activations+{second}+a2b/activations_dev.ipynb", solved="all")
    submission(inbound / f"{me}+01_tensor+{third}+a2b/activations_dev.ipynb")
    submission(inbound / f"eve+02_activations+{first}+zzz/activations_dev.ipynb")
    (inbound / "rubbish+02_activations").mkdir()
    assert taken(course, "exchange") == [("eve", "refused"), (me, "new")]
    assert taken(course, "exchange") == [("eve", "refused"), (me, "same")]
    folder = course.root / "grading/submitted" / me / "02_activations"
    assert "np.maximum(x, 0)" in (folder / "activations_dev.ipynb").read_text()
    assert stamp_of(folder.parents[1], me, "02_activations") == datetime(2026, 11, 2, 12, 0, 0, 2)
    submission(inbound / f"{me}+02_activations+{third}+q/activations_dev.ipynb")
    (folder / "activations_dev.ipynb").unlink()
    os.symlink(config, folder / "activations_dev.ipynb")
    assert taken(course, "exchange") == [("eve", "refused"), (me, "new")] and "Exchange" in config.read_text()
