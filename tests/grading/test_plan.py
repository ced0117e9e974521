"""A submission put into the plan of its notebook; and the key of a result covers all that the result follows from."""

import ast
import json
import shutil

import pytest

from tito.course import notebook
from tito.grading import plan
from tito.grading.plan import ROOMS, TITO, code_digest, prepare
from tito.grading.sandbox.isolation import Rung
from tito.grading.submissions import Submission, SubmittedCell

NAME = "activations_dev.ipynb"


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
    own = {}
    for step in steps:  # what runs before each
        own.setdefault("waiting", []).append(step["source"]) if step["kind"] == "own" else own.update(
            {step["id"]: (own.pop("waiting", []), step["source"])}
        )
    return own, notes


TESTS = [("test_one", "one()"), ("test_two", "two()")]


def test_cells_in_another_order_and_tests_deleted_or_changed():
    found, _ = merged(("two", "def two(): 2"), ("test_one", "pass"), ("one", "def one(): 1"))
    assert (
        found["one"] == ([], "def one(): 1")
        and found["two"] == ([], "def two(): 2")
        and found["test_one"][1] == "one()"
    )


def test_several_cells_run_where_they_stand():
    found, notes = merged(
        ("one", "def one(): raise"), ("one", "def one(): 1"), TESTS[0], ("one", "def one(): 3"), ("two", "def two(): 2")
    )
    assert found["one"] == (["def one(): raise"], "def one(): 1") and "3 times" in notes[0]
    assert found["two"] == (["def one(): 3"], "def two(): 2"), "what stands after the test is for what follows"
    assert merged(TESTS[0], ("one", "def one(): 1"), ("one", "def one(): raise"))[0]["one"][1] == "def one(): 1"


def test_a_deleted_cell_is_its_stub_or_an_own_cell_that_defines_the_same():
    found, notes = merged(TESTS[0], ("two", "def two(): 2"))
    assert found["one"][1] == "stub one" and "missing" in notes[0]
    assert merged((None, "def one(): 1"), TESTS[0])[0]["one"] == ([], "def one(): 1")


def test_own_cells_run_where_they_stand_and_exploration_does_not():
    found, _ = merged(
        (None, "a = 1"),
        ("one", "x"),
        (None, "b = 2"),
        ("look", "plot(2)"),
        TESTS[0],
        (None, "c = 3"),
        ("two", "y"),
        TESTS[1],
        (None, "late"),
    )
    assert found["one"] == (["a = 1"], "x") and found["two"] == (["c = 3"], "y")
    assert found["test_one"] == (["b = 2"], "one()") and found["test_two"] == ([], "two()")
    assert merged(("one", "stub"), (None, "def one(): 1"), *TESTS)[0]["test_one"] == (["def one(): 1"], "one()")


def test_the_release_is_what_nbgrader_makes(released):
    made = json.loads((released / "grading/release/02_activations" / NAME).read_text())
    texts = {cell["id"]: "".join(cell["source"]) for cell in made["cells"]}
    planned = plan.plan_notebook(released / "modules/02_activations" / NAME, "tinytorch")
    assert notebook.read(released / "modules/02_activations" / NAME)["cells"] and planned["steps"]
    for id, text in planned["known"].items():
        assert "".join(texts[id].split()) == "".join(text.split()) or id in planned["manual"], id


@pytest.fixture
def code(tmp_path):
    """A copy of the grader's code."""
    for room in ROOMS:
        shutil.copytree(TITO / room, tmp_path / "tito" / room, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "tito"


def test_a_change_of_any_file_of_the_grader_changes_the_digest(code):
    before, seen = code_digest(TITO), set()
    assert code_digest(code) == before, "it says nothing of the place"
    for file in sorted(code.rglob("*.py")):
        text = file.read_bytes()
        file.write_bytes(text + b"#")
        seen.add(code_digest(code))
        file.write_bytes(text)
    assert before not in seen and len(seen) == len(list(code.rglob("*.py"))) > 20
    assert code_digest(code) == before
    (code / "grading/sandbox/wire.py").rename(code / "grading/sandbox/fire.py")
    assert code_digest(code) != before


def test_the_grader_is_made_of_nothing_else():
    for file in (file for room in ROOMS for file in (TITO / room).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            origin = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
                first, _, rest = f"{origin}{alias.name}".partition(".")
                assert first != "tito" or rest.split(".")[0] in (*ROOMS, "CourseError"), f"{file} imports tito.{rest}"


def test_the_key_of_a_result_covers_course_grader_limits_and_isolation(course, code, monkeypatch):
    def key(words="x", limits=None):
        assignment = prepare(course, course.module("02"), Rung("none", False, words), limits)
        assignment.home.cleanup()
        return assignment.digest

    first = key()
    assert key() == first
    others = [key("y"), key(limits={"cell": 3.0})]
    monkeypatch.setattr(plan, "TITO", code)
    assert key() == first
    (code / "course/notebook.py").write_text("# another")
    others.append(key())
    monkeypatch.undo()
    path = course.root / "modules/02_activations" / NAME
    path.write_text(path.read_text().replace("np.maximum(x, 0)", "np.maximum(0, x)"))
    others.append(key())
    earlier = course.root / "tinytorch/core/tensor.py"
    earlier.write_text(earlier.read_text() + "#")
    others.append(key())
    shared = course.package / "testing.py"
    shared.write_text((shared.read_text(encoding="utf-8") if shared.exists() else "") + "# what tests share")
    others.append(key())
    assert len({first, *others}) == 7
