"""Reading submissions: nothing is followed or executed, and what is odd costs an honest student nothing."""

import json
import os
import pwd
import zipfile
from datetime import datetime

import pytest

from tito import CourseError
from tito.grading import plan, submissions
from tito.grading.gradebook import settings
from tito.grading.submissions import Rejected, Submission, SubmittedCell, collect, stamp_of

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
    with pytest.raises(Rejected):
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
        with pytest.raises(Rejected):
            submissions.read_below(tmp_path, *parts)


PLAN = {
    "steps": [
        {"kind": "solution", "id": "one", "source": "stub one", "names": ["one"], "imports": ""},
        {"kind": "graded", "id": "test_one", "source": "one()", "points": 1, "hidden": []},
        {"kind": "solution", "id": "two", "source": "stub two", "names": ["two"], "imports": ""},
        {"kind": "graded", "id": "test_two", "source": "two()", "points": 1, "hidden": []},
    ],
    "known": {
        "one": "def one(): raise",
        "test_one": "one()",
        "two": "def two(): raise",
        "test_two": "two()",
        "look": "plot()",
    },
    "manual": {},
}


def merged(*cells):
    steps, notes = plan.assemble(
        PLAN,
        Submission([SubmittedCell(id, bool(id), True, source) for id, source in cells]),
    )
    return {step["id"]: (step.get("helpers", []), step["source"]) for step in steps}, notes


TESTS = [("test_one", "one()"), ("test_two", "two()")]


def test_cells_in_another_order_and_tests_deleted_or_changed():
    found, _ = merged(("two", "def two(): 2"), ("test_one", "pass"), ("one", "def one(): 1"))
    assert (
        found["one"] == ([], "def one(): 1")
        and found["two"] == ([], "def two(): 2")
        and found["test_one"][1] == "one()"
    )


def test_of_several_cells_the_last_touched_one_before_the_test_counts():
    found, notes = merged(
        ("one", "def one(): raise"), ("one", "def one(): 1"), TESTS[0], ("one", "def one(): 3"), ("two", "def two(): 2")
    )
    assert found["one"][1] == "def one(): 1" and "3 times" in notes[0]
    assert merged(TESTS[0], ("one", "def one(): 1"), ("one", "def one(): raise"))[0]["one"][1] == "def one(): 1"


def test_a_deleted_cell_is_its_stub_or_an_own_cell_that_defines_the_same():
    found, notes = merged(TESTS[0], ("two", "def two(): 2"))
    assert found["one"][1] == "stub one" and "missing" in notes[0]
    assert merged((None, "def one(): 1"), TESTS[0])[0]["one"] == ([], "def one(): 1")


def test_own_cells_run_before_the_next_solution_and_exploration_does_not():
    found, _ = merged(
        (None, "a = 1"),
        ("one", "x"),
        (None, "b = 2"),
        ("look", "plot(2)"),
        (None, "plot()"),
        ("two", "y"),
        (None, "late"),
    )
    assert found["one"] == (["a = 1"], "x") and found["two"] == (["b = 2"], "y")


def test_the_release_is_what_nbgrader_makes(released):
    from tito.course import notebook

    made = json.loads((released / "grading/release/02_activations" / NAME).read_text())
    texts = {cell["id"]: "".join(cell["source"]) for cell in made["cells"]}
    planned = plan.plan_notebook(released / "modules/02_activations" / NAME, "tinytorch")
    assert notebook.read(released / "modules/02_activations" / NAME)["cells"] and planned["steps"]
    for id, text in planned["known"].items():
        assert "".join(texts[id].split()) == "".join(text.split()) or id in planned["manual"], id


def taken(course, source):
    return [(one.student, one.what) for one in collect(course, course.module("02"), str(source), settings(course))]


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
