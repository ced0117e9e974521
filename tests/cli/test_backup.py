"""`tito reset` and `tito restore`: nothing of the student's is lost, whatever happens on the way."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tito.course import notebook, storage
from tito.course.registry import Course
from tito.student import backup, submit

REPOSITORY = Path(__file__).resolve().parents[2]
DONE = "#| export\ndef triple(x):\n    return 3 * x"


@pytest.fixture
def workspace(toy):
    """A workspace with a scaffold of two exercises, of which the second was written."""
    scaffold = [("double", toy.WRONG, toy.TEST_DOUBLE, 10), ("triple", toy.STUB, toy.TEST_TRIPLE, 5)]
    toy.module("01", "alpha", scaffold)
    toy.path = toy.root / "modules/01_alpha/alpha_dev.ipynb"
    toy.kept = toy.root / ".tito/pristine/01_alpha/alpha_dev.ipynb"
    notebook.write(toy.kept, notebook.read(toy.path))
    mine = toy.cell("code", "mine", "print('my own cell')")
    toy.notebook("01", "alpha", [scaffold[0], ("triple", DONE, toy.TEST_TRIPLE, 5)], extra=[mine])
    return toy


def sources(path):
    return {cell["id"]: cell["source"] for cell in notebook.read(path)["cells"]}


def test_an_exercise_is_reset_and_the_rest_stays(workspace, tito):
    before = workspace.path.read_bytes()
    end = tito("reset", "1", "triple")
    assert end.code == 0 and "To bring it back: tito restore 2" in end.out and "Next: tito lab 01" in end.out
    assert sources(workspace.path)["triple"] == workspace.STUB and "mine" in sources(workspace.path)
    [kept] = backup.backups(Course.load(workspace.root))
    assert kept.notebooks[0].read_bytes() == before and kept.why == "reset 01 triple"


def test_a_whole_notebook_is_reset_even_if_it_is_broken(workspace, tito):
    workspace.path.write_text("{ broken")
    assert "not a readable notebook" in tito("reset", "1", "triple").err.replace("\n", " ")
    assert tito("reset", "1").code == 0
    assert sources(workspace.path) == sources(workspace.kept)
    [kept] = backup.backups(Course.load(workspace.root))
    assert kept.notebooks[0].read_text() == "{ broken"


def test_a_missing_notebook_comes_back(workspace, tito):
    workspace.path.unlink()
    assert tito("reset", "1").code == 0 and sources(workspace.path) == sources(workspace.kept)


def test_one_cell_is_reset_and_the_solution_stays(workspace, tito):
    nb = notebook.read(workspace.path)
    nb["cells"] = [cell for cell in nb["cells"] if cell["id"] != "test_triple"]
    notebook.write(workspace.path, nb)
    assert tito("reset", "1", "test_triple").code == 0
    assert list(sources(workspace.path))[-2:] == ["triple", "test_triple"] and sources(workspace.path)["triple"] == DONE


def test_restore_lists_and_brings_back(workspace, tito):
    assert "No copies yet" in tito("restore").out
    before = workspace.path.read_bytes()
    tito("reset", "1")
    listed = tito("restore").out
    assert "01_alpha  before reset 01" in listed
    name = listed.split("Next: tito restore ")[1].strip()
    assert tito("restore", name).code == 0
    assert workspace.path.read_bytes() == before
    assert len(backup.backups(Course.load(workspace.root))) == 2, "what was there is kept too"
    assert "there is no backup" in tito("restore", "1999").err
    assert "there are 2 backups" in tito("restore", "20").err


def test_a_course_without_a_scaffold_says_how_to_get_one(workspace, tito):
    workspace.kept.unlink()
    before = workspace.path.read_bytes()
    end = tito("reset", "1")
    assert end.code == 1 and "tito init" in end.err and workspace.path.read_bytes() == before


def test_in_a_repository_the_solutions_are_cleared(toy, tito):
    pytest.importorskip("nbgrader")
    body = "#| export\ndef double(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION"
    hidden = f"{notebook.BEGIN_HIDDEN}\nsecret = 1\n{notebook.END_HIDDEN}\n{toy.TEST_DOUBLE}"
    toy.module("01", "alpha", [("double", body, hidden, 10)])
    assert tito("reset", "1", "double").code == 0
    text = (toy.root / "modules/01_alpha/alpha_dev.ipynb").read_text()
    assert "2 * x" not in text and "secret" not in text and "raise NotImplementedError()" in text
    assert "not started" in tito("test", "1", "double").out


@pytest.mark.parametrize("fault", [OSError(errno.ENOSPC, "No space left on device"), OSError(errno.EROFS, "Read-only")])
def test_a_full_disk_changes_nothing(workspace, tito, monkeypatch, fault):
    before = workspace.path.read_bytes()

    def full(*given, **options):
        raise fault

    for place in ((storage, "stage"), (backup, "put")):
        with monkeypatch.context() as patched:
            patched.setattr(*place, full)
            end = tito("reset", "1")
        assert end.code == 1 and fault.strerror in end.err and workspace.path.read_bytes() == before


def test_a_read_only_course_is_a_sentence(workspace, tito, monkeypatch):
    def refuse(self, *given, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    end = tito("reset", "1")
    assert end.code == 1 and "Permission denied" in end.err and "Traceback" not in end.err


def test_two_at_once_wait_for_each_other(workspace, tito, monkeypatch):
    from filelock import FileLock

    monkeypatch.setattr(backup, "_PATIENCE", 0.2)
    before = workspace.path.read_bytes()
    with FileLock(workspace.root / ".tito/course.lock"):
        end = tito("reset", "1")
    assert end.code == 1 and "another tito" in end.err and workspace.path.read_bytes() == before
    assert tito("reset", "1").code == 0


KILLING = """
import os, sys, tito.student.backup, tito.course.storage
left = [int(sys.argv.pop())]
def killing(function):
    def call(*given, **options):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), 9)
        return function(*given, **options)
    return call
for name in ("replace", "rename", "fsync", "chmod"):
    setattr(os, name, killing(getattr(os, name)))
from tito.cli import main
main()
"""


def killed(folder, step, *words):
    """Run a command that is killed when it is about to touch the disk for the `step`-th time; its exit code."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", KILLING, *words, str(step)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True).returncode


posix = pytest.mark.skipif(os.name != "posix", reason="nothing is killed in the middle of a call there")


@posix
def test_killed_at_any_point_the_record_is_old_or_new(workspace, tito):
    workspace.module("01", "alpha", [("double", workspace.WRONG, workspace.TEST_DOUBLE, 10)], hints=["one", "two"])
    tito("hint", "1")
    path, outcomes = workspace.root / ".tito/progress.json", set()
    old = path.read_bytes()
    for step in range(8):
        code = killed(workspace.root, step, "hint", "1")
        outcomes.add(code)
        seen = json.loads(path.read_text())["modules"]["01"]["hints"]["double"]
        assert seen == (2 if code == 0 else 1) or (code == -signal.SIGKILL and path.read_bytes() != old)
        if code == 0:
            break
    assert outcomes == {-signal.SIGKILL, 0}


NAMES = ["a", "b", "c", "d"]


def cell(name, text="", marked=True):
    marks = {"nbgrader": {"grade_id": name}} if marked else {}
    return {"cell_type": "code", "id": name if marked else f"own-{text}", "metadata": marks, "source": text}


@given(
    st.lists(st.tuples(st.sampled_from([*NAMES, ""]), st.text("xyz", max_size=3)), max_size=8),
    st.sets(st.sampled_from(NAMES)),
)
def test_whatever_was_done_to_the_cells_those_reset_are_fresh_and_the_others_stay(done, ids):
    fresh = [cell(name, f"fresh {name}") for name in NAMES]
    mine = [cell(name or "own", f"{text}{n}", bool(name)) for n, (name, text) in enumerate(done)]
    after = backup.with_fresh(mine, fresh, ids)
    for name in ids:
        assert [one["source"] for one in after if one["id"] == name] == [f"fresh {name}"]
    others = [one for one in mine if one["id"] not in ids]
    assert [one for one in after if one["id"] not in ids] == others, "in their order, each once"


KINDS = ("delete", "copy", "swap", "retype", "unmark", "write", "empty", "outputs", "rename")


def spoil(cells, kind, first, second):
    """One thing that people do to a notebook, on purpose or not."""
    if not cells:
        return
    n, m = first % len(cells), second % len(cells)
    one = cells[n]
    if kind == "delete":
        del cells[n]
    elif kind == "copy":
        cells.insert(m, json.loads(json.dumps(one)))
    elif kind == "swap":
        cells[n], cells[m] = cells[m], cells[n]
    elif kind == "retype":
        one["cell_type"] = ("markdown", "raw", "code")[second % 3]
        one.update(outputs=[], execution_count=None)
    elif kind == "unmark":
        one["metadata"] = {}
    elif kind == "outputs":
        one.pop("outputs", None)
    elif kind == "rename":
        one["id"] = f"other{second}"
    else:
        one["source"] = "" if kind == "empty" else f"mine = {second}\n### BEGIN SOLUTION"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 20), st.integers(0, 20)), max_size=6), st.booleans())
def test_whatever_was_done_to_a_notebook_is_told_mended_and_brought_back(workspace, edits, whole):
    course = Course.load(workspace.root)
    [module] = course.modules
    nb = notebook.read(workspace.kept)
    for edit in edits:
        spoil(nb["cells"], *edit)
    notebook.write(workspace.path, nb)
    spoilt = workspace.path.read_bytes()
    faults = submit.find_faults(nb, notebook.read(workspace.kept), module, workspace.path)
    assert edits or not faults
    kept = backup.reset(course, module, None if whole else "triple")
    assert kept.notebooks[0].read_bytes() == spoilt
    left = submit.find_faults(notebook.read(workspace.path), notebook.read(workspace.kept), module, workspace.path)
    assert not (left if whole else [fault for fault in left if "triple" in fault.what]), left
    backup.restore(course, kept.name)
    assert workspace.path.read_bytes() == spoilt


def test_deleted_cells_come_back_in_their_order():
    fresh = [cell(name, name) for name in NAMES]
    assert [one["id"] for one in backup.with_fresh([], fresh, NAMES)] == NAMES
    assert [one["id"] for one in backup.with_fresh([fresh[0], fresh[3]], fresh, ["b", "c"])] == NAMES


def test_copies_made_within_a_second_have_names_of_their_own_without_waiting(workspace, monkeypatch):
    course = Course.load(workspace.root)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail(f"it waits for {seconds} s"))
    names = [backup.back_up(course, course.modules[0], "test").name for _ in range(3)]
    assert len(set(names)) == 3
    assert json.loads((course.state / "backups/01_alpha" / names[0] / "note.json").read_text()) == {"why": "test"}


def test_one_exercise_is_restored_and_later_work_stays(workspace, tito):
    said = tito("reset", "1", "triple").out
    command = said.partition("To bring it back: tito ")[2].splitlines()[0].split()
    assert command[-1] == "triple"
    nb = notebook.read(workspace.path)
    nb["cells"].append(workspace.cell("code", "later", "print('later work')"))
    notebook.write(workspace.path, nb)
    end = tito(*command)
    assert end.code == 0 and "1 cell changed: triple." in end.out and "exercise only" not in end.out
    assert sources(workspace.path)["triple"] == DONE and "later" in sources(workspace.path)


def test_a_whole_copy_says_which_cells_it_changes_and_how_to_have_one_only(workspace, tito):
    name = tito("reset", "1", "triple").out.partition("tito restore ")[2].split()[0]
    nb = notebook.read(workspace.path)
    nb["cells"].append(workspace.cell("code", "later", "print('later work')"))
    notebook.write(workspace.path, nb)
    end = tito("restore", name)
    assert "2 cells changed: triple, later." in end.out
    undo = end.out.partition("Was it to be one exercise only? tito ")[2].partition(",")[0].split()
    assert tito(*undo).code == 0 and "later" in sources(workspace.path)


@pytest.mark.parametrize("words", [["1"], ["alpha"], ["01_alpha", "triple"]])
def test_a_module_in_place_of_a_copy_lists_its_copies(workspace, tito, words):
    end = tito("restore", *words)
    assert end.code == 1 and "It has no copy yet." in end.out
    tito("reset", "1", "triple")
    before = workspace.path.read_bytes()
    end = tito("restore", *words)
    assert end.code == 1 and "is a module" in end.out and "before reset 01 triple" in end.out
    assert workspace.path.read_bytes() == before
    assert tito(*end.out.partition("Next: tito ")[2].split()).code == 0
    assert sources(workspace.path)["triple"] == DONE


def test_an_exercise_that_no_copy_has_is_a_sentence(workspace, tito):
    name = tito("reset", "1", "triple").out.partition("tito restore ")[2].split()[0]
    end = tito("restore", name, "tripel")
    assert end.code == 1 and "did you mean triple?" in end.err
