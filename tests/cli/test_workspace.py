"""`tito init`: a course folder of one's own, its updates, and that nothing of the student's or of the answers slips."""

import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
import zipfile
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tito import CourseError
from tito.author.leak_check import regions, search
from tito.course import export, notebook, storage
from tito.course.export import HAND_WRITTEN
from tito.course.registry import Course
from tito.milestone import unwritten
from tito.student import backup, submit, template, workspace
from tito.student.merge import merge

REPOSITORY = Path(__file__).resolve().parents[2]
SOLUTION = """\
#| export
def {name}(x):
    # TODO: what the name says
    ### BEGIN SOLUTION
    factor = {factor}
    return factor * x
    ### END SOLUTION"""
TEST = """\
def test_unit_{name}():
    got = {name}(4)
    assert got == {want}, f"{name}(4): expected {want}, got {{got}}"
    ### BEGIN HIDDEN TESTS
    assert {name}(-11) == -11 * {factor}, "a hidden test of {name}"
    ### END HIDDEN TESTS
test_unit_{name}()"""


def exercise(name, factor):
    return name, SOLUTION.format(name=name, factor=factor), TEST.format(name=name, factor=factor, want=4 * factor), 50


@pytest.fixture
def source(toy):
    """A course of two modules, the second with two exercises, exported."""
    words = [toy.cell("code", "look", "print('a figure')")]
    text = {"cell_type": "markdown", "id": "story", "metadata": {}, "source": "Once upon a time."}
    toy.module("01", "first", [exercise("double", 2)])
    toy.module("02", "second", [exercise("double", 2), exercise("triple", 3)], extra=[text, *words])
    for name in sorted(set(HAND_WRITTEN) - {"__init__.py"}):
        (toy.root / "tinytorch" / name).parent.mkdir(exist_ok=True)
        (toy.root / "tinytorch" / name).write_text("")
    (toy.root / "README.md").write_text("# The repository\n")
    course = Course.load(toy.root)
    export.export(course, course.modules, twins=False)
    return course


@pytest.fixture
def student(source, tmp_path):
    """A copy in which module 02 is to be written."""
    target = tmp_path / "ein Ordner für mich"
    workspace.init(target, workspace.choose_modules(source, "02", [], False))
    return target


def state(root):
    """Everything in a folder that a student sees: path -> bytes."""
    files = (path for path in root.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def edit(path, id, text):
    nb = notebook.read(path)
    [cell] = [cell for cell in nb["cells"] if cell["id"] == id]
    cell["source"] = text
    notebook.write(path, nb)


def sources(path):
    return {cell["id"]: cell["source"] for cell in notebook.read(path)["cells"]}


SECOND = "modules/02_second/second_dev.ipynb"
MINE = "#| export\ndef double(x):\n    factor = 1 + 1  # mine\n    return factor * x"


# What it makes


def test_given_modules_are_complete_and_the_others_are_scaffolds(student, source):
    first, second = sources(student / "modules/01_first/first_dev.ipynb"), sources(student / SECOND)
    assert "return factor * x" in first["double"] and "raise NotImplementedError()" in second["triple"]
    assert "hidden" not in second["test_triple"].lower() and "test_unit_triple()" in second["test_triple"]
    assert (student / "tinytorch/core/first.py").read_bytes() == (source.package / "core/first.py").read_bytes()
    assert notebook.read(student / SECOND)["metadata"]["kernelspec"]["name"] == "tinytorch"
    assert Course.load(student).module("02").exercises and (student / "tests/02_second/test_second.py").is_file()


def test_no_file_left_by_the_making(student, tmp_path):
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert workspace.update(student, Course.load(tmp_path / "course")) == []


def test_importing_what_is_to_be_written_says_what_to_type(student):
    ended = subprocess.run(
        [sys.executable, "-c", "import tinytorch.core.second"], cwd=student, capture_output=True, text=True
    )
    assert ended.returncode == 1
    assert ended.stderr.strip().endswith("ModuleNotFoundError: Module 02 is yours to write: tito lab 02")


@pytest.mark.parametrize(
    "start, chosen, yours",
    [(None, [], ("01", "02")), ("2", [], ("02",)), (None, ["first"], ("01",)), (None, ["01", "2"], ("01", "02"))],
)
def test_which_modules_are_left_to_write(source, start, chosen, yours):
    assert workspace.choose_modules(source, start, chosen, False).yours == yours


def test_from_and_modules_together_are_refused(source):
    with pytest.raises(CourseError, match="not both"):
        workspace.choose_modules(source, "01", ["02"], False)


def test_the_commands_mean_the_students_files(student, tito):
    assert tito("test", "02", cwd=student / "modules/02_second").code == 1
    edit(student / SECOND, "double", MINE)
    edit(student / SECOND, "triple", "#| export\ndef triple(x):\n    return 3 * x")
    assert tito("test", "02", cwd=student).code == 0
    assert tito("export", "02", cwd=student).code == 0
    assert "1 + 1  # mine" in (student / "tinytorch/core/second.py").read_text()
    assert tito("export", "--all", "--check", cwd=student).code == 0
    assert "01_first" in tito("status", cwd=student).out
    found = tito("doctor", cwd=student).out
    assert "in sync with the notebooks of 2 modules" in found and "kernel" in found


def test_the_reference_comes_along_only_when_asked_for_and_says_so(source, tmp_path):
    workspace.init(tmp_path / "with", workspace.choose_modules(source, "02", [], True))
    file = tmp_path / "with/tinytorch/core/second.py"
    assert file.read_text().startswith(template.REFERENCE_MARK) and "factor * x" in file.read_text()
    assert "NotImplementedError" in sources(tmp_path / "with" / SECOND)["triple"]
    assert unwritten(file) == []


def test_the_zip_holds_the_same_folder(source, tmp_path):
    plan = workspace.choose_modules(source, "02", [], False)
    workspace.init(tmp_path / "one", plan, tmp_path / "one.zip")
    with zipfile.ZipFile(tmp_path / "one.zip") as packed:
        inside = {name.removeprefix("one/"): packed.read(name) for name in packed.namelist()}
    assert inside == state(tmp_path / "one")


def test_it_never_overwrites(student, source):
    before = state(student)
    plan = workspace.choose_modules(source, "02", [], False)
    with pytest.raises(CourseError, match="is a course already, and nothing was changed.*--update"):
        workspace.init(student, plan)
    (student.parent / "full").mkdir()
    (student.parent / "full/thesis.txt").write_text("precious")
    with pytest.raises(CourseError, match="is not empty"):
        workspace.init(student.parent / "full", plan)
    with pytest.raises(CourseError, match="there is no folder"):
        workspace.init(student.parent / "nowhere/else", plan)
    assert state(student) == before


def test_an_empty_folder_and_the_current_one_will_do(source, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    workspace.init(Path.cwd(), workspace.choose_modules(source, "02", [], False))
    assert Path("settings.ini").is_file() and Path(SECOND).is_file() and not workspace._mark(Path.cwd()).exists()


def test_two_at_once_make_one_folder(source, tmp_path):
    plan, target = workspace.choose_modules(source, "02", [], False), tmp_path / "both"
    children = [forked(lambda: workspace.init(target, plan)) for _ in range(2)]
    codes = sorted(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    assert codes in ([0, 0], [0, 1]) and codes != [0, 0]
    assert workspace.update(target, source) == []


def test_a_students_source_has_no_reference_to_give(student, tmp_path):
    handed = Course.load(student)
    workspace.init(tmp_path / "again", workspace.choose_modules(handed, "02", [], False))
    assert sources(tmp_path / "again" / SECOND) == sources(student / SECOND)
    for start, chosen, reference in ((None, ["01"], False), ("02", [], True)):
        with pytest.raises(CourseError, match="no reference of module 02"):
            workspace.init(tmp_path / "third", workspace.choose_modules(handed, start, chosen, reference))
    assert not (tmp_path / "third").exists()


def test_without_nbgrader_a_course_is_made_all_the_same(student, source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "nbgrader", None)
    monkeypatch.setitem(sys.modules, "nbgrader.preprocessors", None)
    for name, origin in (("made", source), ("again", Course.load(student))):
        workspace.init(tmp_path / name, workspace.choose_modules(origin, "02", [], False))
        assert sources(tmp_path / name / SECOND) == sources(student / SECOND)


def test_the_command(source, tito, tmp_path, monkeypatch):
    monkeypatch.setattr(template, "source", lambda: source)
    made = tito("init", "my course", "--modules", "2", "--zip", "my.zip", "--no-kernel", cwd=tmp_path)
    assert made.code == 0 and "Next: cd 'my course' && tito" in made.out and (tmp_path / "my.zip").is_file()
    again = tito("init", "my course", cwd=tmp_path)
    assert again.code == 1 and "--update" in again.err
    renew(source, newer)
    assert "story" in tito("init", ".", "--update", "--no-kernel", cwd=tmp_path / "my course").out
    wrong = tito("init", "other", "--from", "spacial", cwd=tmp_path)
    assert wrong.code == 1 and "no module 'spacial'" in wrong.err and not (tmp_path / "other").exists()
    assert tito("init", "my course", "--update", "--from", "01", cwd=tmp_path).code == 2


def test_init_says_what_else_it_made_and_what_it_would_take(source, student, tito, tmp_path, monkeypatch):
    monkeypatch.setattr(template, "source", lambda: source)
    made = tito("init", "a", "--zip", "a.zip", "--no-kernel", cwd=tmp_path)
    assert "Packed the same into a.zip" in made.out
    assert tito("init", cwd=tmp_path).code == 2 and "tito init mycourse" in tito("init", cwd=tmp_path).err
    inside = tito("init", "--update", "--no-kernel", cwd=student / "modules/02_second")
    assert inside.code == 0 and "newest course text" in inside.out and inside.out.endswith("Next: tito\n")
    authors = tito("init", str(source.root), "--no-kernel", cwd=tmp_path)
    assert authors.code == 1 and "name a new folder" in authors.err and "--update" not in authors.err
    assert "only such a folder" in tito("init", str(source.root), "--update", cwd=tmp_path).err


@pytest.mark.parametrize("command", ["check", "fmt", "draw"])
def test_the_authors_commands_are_one_sentence_in_a_students_course(student, tito, command):
    end = tito("dev", command, cwd=student)
    assert end.code == 1 and end.out == "" and len(end.err.splitlines()) == 1 and "tito doctor" in end.err


def test_the_front_page_lists_the_students_commands(student):
    page = (student / "README.md").read_text()
    commands = ("start 02", "lab 02", "watch 02", "test 02 double", "hint 02 double", "reset 02 double", "restore",
                "submit 02 --to")  # fmt: skip
    assert [command for command in commands if command not in page] == []


def test_a_placeholder_names_the_notebook_that_fills_it(everything_to_write):
    files = {"core/spatial.py": "tito lab 09'", "core/fast.py": "tito lab 09 fast'"}
    for name, command in files.items():
        module = Course.load(everything_to_write).module("09")
        assert command in template.stub(module, f"tinytorch/{name}")


def test_plain_pytest_tests_the_students_package_and_leaves_out_what_is_not_exported(tmp_path):
    course = Course.load(REPOSITORY)
    workspace.init(tmp_path / "mine", workspace.choose_modules(course, None, ["02", "03"], False))
    package = tmp_path / "mine/tinytorch/core"
    for name in ("tensor.py", "activations.py"):
        (package / name).write_bytes((course.package / "core" / name).read_bytes())
    with open(package / "activations.py", "a") as file:
        file.write("\n\ndef relu(x):\n    return 'mine'\n")
    test = "from tinytorch.core.activations import relu\n\n\ndef test_it():\n    assert relu(1) == 'mine'\n"
    (tmp_path / "mine/tests/02_activations/test_activations.py").write_text(test)
    script = Path(sys.executable).with_name("pytest")
    command = [str(script)] if script.exists() else [sys.executable, "-P", "-m", "pytest"]
    options = ["-q", "-p", "no:cacheprovider", "tests/02_activations/test_activations.py", "tests/03_layers"]
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([*command, *options], cwd=tmp_path / "mine", env=clean, capture_output=True, text=True)
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout
    assert "not exported yet: the tests of module 03." in done.stdout


def test_any_command_does_a_killed_update_again(student, source, tito, tmp_path, monkeypatch):
    renew(source, newer)
    monkeypatch.setattr(template, "source", lambda: source)
    copy = shutil.copytree(student, tmp_path / "copy")
    count = operations(lambda: workspace.update(copy, source), tmp_path / "told")
    assert killed(lambda: workspace.update(student, source), count - 5)
    assert workspace._mark(student).exists()
    assert tito("module", "status", "02", cwd=student).code == 0
    assert "news" in sources(student / SECOND) and not workspace._mark(student).exists()


# Nothing of the answers


NUMBERS = [module.number for module in Course.load(REPOSITORY).modules]


@pytest.fixture(scope="module")
def everything_to_write(tmp_path_factory):
    """A copy of the real course in which every module is a scaffold, exported, with its twins."""
    target = tmp_path_factory.mktemp("all") / "course"
    workspace.init(target, workspace.choose_modules(Course.load(REPOSITORY), None, [], False))
    course = Course.load(target)
    export.export(course, course.modules)
    return target


def test_no_solution_and_no_hidden_test_is_anywhere(everything_to_write):
    course = Course.load(REPOSITORY)
    assert all(regions(course, module) for module in course.modules)
    assert search(course, course.modules, everything_to_write) == []


def test_what_is_searched_for_would_be_found(everything_to_write, tmp_path):
    course = Course.load(REPOSITORY)
    module = course.module("03")
    copy = shutil.copytree(everything_to_write, tmp_path / "copy")
    shutil.copy(module.notebooks[0], copy / "modules/03_layers/layers_dev.ipynb")
    shutil.copy(course.package / "core/layers.py", copy / "milestones/some.py")
    found = search(course, [module], copy)
    names, cells = {leak.path.name for leak in found}, {leak.cell for leak in found}
    assert names == {"layers_dev.ipynb", "some.py"} and cells == {cell for cell, _ in regions(course, module)}


def test_a_teachers_page_would_be_found_and_is_not_there(everything_to_write, tmp_path):
    course = Course.load(REPOSITORY)
    pages = {f"docs/teaching/{name}.md" for name in ("README", "answers", "quiz", "project", "reading")}
    assert not {path.name for path in everything_to_write.rglob("*")} & {"docs", "teaching", "answers.md", "quiz.md"}
    assert search(course, [], everything_to_write) == []
    shutil.copytree(REPOSITORY / "docs/teaching", tmp_path / "notes")
    assert {leak.cell for leak in search(course, [], tmp_path)} >= pages


# Updates


def renew(source, change):
    """A newer course: `change` edits the notebook of module 02 and its neighbours."""
    path = source.root / SECOND
    nb = notebook.read(path)
    change({cell["id"]: cell for cell in nb["cells"]}, nb["cells"])
    notebook.write(path, nb)


def newer(cells, order):
    cells["story"]["source"] = "Once upon a newer time."
    cells["test_triple"]["source"] = cells["test_triple"]["source"].replace("test_unit_triple", "test_unit_of_triple")
    cells["triple"]["source"] = cells["triple"]["source"].replace("what the name says", "three times")
    order.insert(1, {"cell_type": "markdown", "id": "news", "metadata": {}, "source": "News."})
    order.remove(cells["look"])


def test_an_update_brings_new_text_and_keeps_the_students_work(student, source, tito):
    edit(student / SECOND, "double", MINE)
    nb = notebook.read(student / SECOND)
    nb["cells"].insert(3, {"cell_type": "markdown", "id": "own", "metadata": {}, "source": "My notes."})
    notebook.write(student / SECOND, nb)
    (student / "notes.txt").write_text("mine")
    renew(source, newer)
    (source.root / "tests/02_second/test_second.py").write_text("def test_new():\n    assert True\n")
    before = (student / SECOND).read_bytes()
    said = workspace.update(student, source)
    cells = sources(student / SECOND)
    assert (cells["double"], cells["story"], cells["news"]) == (MINE, "Once upon a newer time.", "News.")
    assert "three times" in cells["triple"] and "test_unit_of_triple" in cells["test_triple"]
    assert cells["own"] == "My notes." and "look" not in cells and (student / "notes.txt").read_text() == "mine"
    assert "test_new" in (student / "tests/02_second/test_second.py").read_text()
    [line] = [line for line in said if line.startswith(SECOND)]
    assert "3 cells with new text (story, " in line and "1 cell added (news), 1 cell removed (look)" in line
    assert line.endswith("2 of yours kept")
    [kept] = (student / ".tito/backups/02_second").glob("*/second_dev.ipynb")
    assert kept.read_bytes() == before and kept.parent.name in tito("restore", cwd=student).out
    assert workspace.update(student, source) == []


def test_what_both_changed_stays_beside(student, source):
    edit(student / SECOND, "story", "My own story.")
    renew(source, newer)
    workspace.update(student, source)
    cells = notebook.read(student / SECOND)["cells"]
    place = [cell["id"] for cell in cells].index("story")
    assert cells[place]["source"] == "Once upon a newer time."
    assert (cells[place + 1]["cell_type"], cells[place + 1]["source"]) == ("raw", "My own story.")


def test_exports_edits_and_deletions_of_the_students_survive(student, source):
    edit(student / SECOND, "double", MINE)
    export.export(Course.load(student), [Course.load(student).module("02")], twins=False)
    exported = (student / "tinytorch/core/second.py").read_bytes()
    (student / "README.md").write_text("My page")
    shutil.rmtree(student / "modules/01_first")
    renew(source, newer)
    workspace.update(student, source)
    assert (student / "tinytorch/core/second.py").read_bytes() == exported
    assert (student / "README.md").read_text() == "My page"
    assert "return factor * x" in sources(student / "modules/01_first/first_dev.ipynb")["double"]


def test_an_edited_test_is_replaced_and_a_copy_kept(student, source):
    path = "tests/02_second/test_second.py"
    (student / path).write_text("mine")
    assert workspace.update(student, source) == [] and (student / path).read_text() == "mine"
    (source.root / path).write_text("def test_new():\n    assert True\n")
    said = workspace.update(student, source)
    assert "test_new" in (student / path).read_text() and any("copy of yours" in line for line in said)
    [copy] = (student / ".tito/backups/files").glob(f"*/{path}")
    assert copy.read_text() == "mine"


@pytest.mark.parametrize("broken", ["", "{}", '{"cells": 3}', "\0"])
def test_a_broken_notebook_is_left_alone(student, source, broken):
    (student / SECOND).write_text(broken)
    renew(source, newer)
    said = workspace.update(student, source)
    assert (student / SECOND).read_text() == broken and any("cannot be read" in line for line in said)


def test_a_lost_record_costs_nothing_of_the_students(student, source):
    edit(student / SECOND, "double", MINE)
    (student / template.RECORD).unlink()
    renew(source, newer)
    workspace.update(student, source)
    assert sources(student / SECOND)["double"] == MINE


def test_a_lost_setting_does_not_turn_a_scaffold_into_an_answer(student, source):
    path = student / "settings.ini"
    path.write_text(path.read_text().replace("yours = 02", "yours = "))
    renew(source, newer)
    workspace.update(student, source)
    assert "NotImplementedError" in sources(student / SECOND)["triple"]


def test_a_folder_that_is_no_copy_is_refused(source):
    with pytest.raises(CourseError, match="not made by tito init"):
        workspace.update(source.root, source)


def test_a_locked_course_is_left_alone(student, source, monkeypatch):
    from filelock import FileLock

    monkeypatch.setattr(export, "_PATIENCE", 0.05)
    renew(source, newer)
    before = state(student)
    with FileLock(student / ".tito/export.lock"):
        with pytest.raises(CourseError, match="another export"):
            workspace.update(student, source)
    assert state(student) == before


def test_a_read_only_folder_and_a_full_disk_change_nothing(student, source, monkeypatch):
    renew(source, newer)
    before = {name: content for name, content in state(student).items() if "backups" not in name}
    faults = (OSError(28, "No space left on device"), 1), (PermissionError(13, "Permission denied"), storage.TRIES)
    for fault, times in faults:
        for place, name in ((storage.os, "fsync"), (storage.tempfile, "mkstemp"), (storage.os, "replace")):
            with monkeypatch.context() as patch:
                patch.setattr(storage, "PAUSE", 0)
                patch.setattr(place, name, failing_after(3, getattr(place, name), fault, times))
                with pytest.raises(CourseError, match=f"{fault.strerror}.*nothing was changed"):
                    workspace.update(student, source)
                assert not workspace._mark(student).exists()
        with monkeypatch.context() as patch:
            patch.setattr(storage.os, "fsync", failing_after(3, storage.os.fsync, fault, times))
            with pytest.raises(CourseError, match=f"{fault.strerror}; nothing was made"):
                workspace.init(student.parent / "no room", workspace.choose_modules(source, "02", [], False))
    after = {name: content for name, content in state(student).items() if "backups" not in name}
    assert after == before and not (student.parent / "no room").exists()


def test_what_cannot_be_put_back_is_said(tmp_path, monkeypatch):
    old = {tmp_path / name: b"old" for name in "abc"}
    storage.put_all(old)
    fault = OSError(28, "No space left on device")
    left = iter([os.replace, os.replace])
    monkeypatch.setattr(storage.os, "replace", lambda *given: next(left, failing_after(0, None, fault, 1))(*given))
    with pytest.raises(CourseError, match=r"a is the new file.*No space left on device"):
        storage.put_all(dict.fromkeys(old, b"new"))
    assert [path.read_bytes() for path in old] == [b"new", b"new", b"old"] and len(list(tmp_path.iterdir())) == 3


def failing_after(count, genuine, fault, times):
    """A function that works `count` times, then raises some times, and works again."""
    left = [count]

    def call(*given, **options):
        left[0] -= 1
        if -times <= left[0] < 0:
            raise fault
        return genuine(*given, **options)

    return call


# Killed at any point


WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def forked(action, at=None, told=None):
    """Run `action` in a forked process that is killed before its change number `at` of the disk; returns its id.

    Into the file `told` it writes how many there were.
    """
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    child = os.fork()
    if child:
        return child
    done = 0

    def watch(event, given):
        nonlocal done
        writes = event == "open" and given[2] & WRITING and given[0] != os.devnull
        if writes or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod"):
            if done == at:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1

    sys.addaudithook(watch)
    try:
        action()
        if told:
            told.write_text(f"{done}")
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def killed(action, at):
    """True if `action` died at that change of the disk; False if it came to its end before."""
    code = os.waitstatus_to_exitcode(os.waitpid(forked(action, at), 0)[1])
    assert code in (0, -9)  # SIGKILL
    return code != 0


def operations(action, told):
    """How often `action` changes the disk until it ends, written into the file `told` too."""
    os.waitpid(forked(action, told=told), 0)
    return int(told.read_text())


def seen(root):
    """What a student sees, apart from what tito keeps for itself, and what a killed tito left in hidden files."""
    kept = (".tito/", "handed/me/02_second/timestamp.txt")
    return {name: text for name, text in state(root).items() if not name.startswith(kept) and name[-4:] != ".tmp"}


@pytest.mark.parametrize("empty", [False, True], ids=["a new folder", "an empty folder"])
def test_a_killed_init_leaves_no_course_or_all_of_it(source, tmp_path, empty):
    plan = workspace.choose_modules(source, "02", [], False)
    workspace.init(tmp_path / "whole", plan)
    whole = seen(tmp_path / "whole")
    (tmp_path / "counted").mkdir()
    count = operations(lambda: workspace.init(tmp_path / "counted", plan), tmp_path / "told")
    for at in [*Random(7).sample(range(count), 6), count + 50]:
        target = tmp_path / f"try {at}"
        if empty:
            target.mkdir()
        dead = killed(lambda target=target: workspace.init(target, plan), at)
        if not (target / "settings.ini").exists():
            assert dead and (empty or not target.exists())
            workspace.init(target, plan)
        assert seen(target) == whole


def update(root):
    return workspace.update(root, Course.load(root.parent / "newer"))


def export_all(root):
    course = Course.load(root)
    export.export(course, course.modules)


def reset(root):
    backup.reset(Course.load(root), Course.load(root).module("02"))


def restore(root):
    course = Course.load(root)
    backup.restore(course, min(kept.name for kept in backup.backups(course)))


def hand_in(root):
    course = Course.load(root)
    assert submit.hand_in(course, course.module("02"), root / "handed", "me").files


@pytest.fixture
def kills(student, source, tmp_path):
    """A function that kills a command somewhere: nothing of the student's is lost, and the command again ends it."""
    place = tmp_path / "place"
    course = Course.load(shutil.copytree(source.root, place / "newer", ignore=shutil.ignore_patterns(".tito")))
    renew(course, newer)
    (course.root / "tests/02_second/test_second.py").write_text("def test_new():\n    assert True\n")
    edit(student / SECOND, "triple", "#| export\ndef triple(x):\n    return x + x + x")
    before = (student / SECOND).read_bytes()
    backup.back_up(Course.load(student), Course.load(student).module("02"), "before")
    edit(student / SECOND, "double", MINE)
    (student / "handed/me").mkdir(parents=True)
    planned = {}

    def kill(action, random, number):
        if action not in planned:
            whole = shutil.copytree(student, place / f"whole {action.__name__}")
            count = operations(lambda: action(whole), place / "told")
            planned[action] = seen(whole), count
        new, count = planned[action]
        root = shutil.copytree(student, place / f"killed {number}")
        old = seen(root)
        dead = killed(lambda: action(root), random.randrange(count))
        half = seen(root)
        assert half.keys() <= old.keys() | new.keys()
        assert [name for name in half if half[name] not in (old.get(name), new.get(name))] == []
        kept = [path.read_bytes() for one in backup.backups(Course.load(root)) for path in one.notebooks]
        assert old[SECOND] in (half[SECOND], *kept), "the student's work is there"
        assert set(kept) <= {old[SECOND], before}, "a copy is whole"
        action(root)
        assert seen(root) == new
        shutil.rmtree(root)
        return dead

    return kill


COMMANDS = update, export_all, reset, restore, hand_in


def test_killed_anywhere_nothing_is_lost_and_the_command_again_ends_it(kills):
    random = Random(7)
    assert sum(kills(action, random, number) for number, action in enumerate(COMMANDS * 3)) > 10


@pytest.mark.slow
def test_killed_two_hundred_times(kills):
    random = Random()
    assert sum(kills(action, random, number) for number, action in enumerate(COMMANDS * 40)) > 100


def test_a_file_saved_while_an_update_runs_is_the_students(student, source, monkeypatch):
    renew(source, newer)
    with monkeypatch.context() as patch:
        patch.setattr(workspace, "_keep", lambda *given: edit(student / SECOND, "double", MINE) or [])
        told = workspace.update(student, source)
    assert [line for line in told if "meanwhile" in line] == [
        f"{SECOND}: you saved it meanwhile, so it stays as it is: update again"
    ]
    assert sources(student / SECOND)["double"] == MINE and "news" not in sources(student / SECOND)
    workspace.update(student, source)
    assert sources(student / SECOND)["double"] == MINE and "news" in sources(student / SECOND)


# Random edits, merged


def course_notebook(version, cells):
    made = [{"cell_type": "code", "id": "target", "metadata": {}, "source": "#| default_exp core.x"}]
    for kind, id in cells:
        if kind == "markdown":
            made.append({"cell_type": "markdown", "id": id, "metadata": {}, "source": f"{id} {version.get(id, 0)}"})
            continue
        marks = {"grade": kind == "graded", "locked": kind == "graded", "solution": kind == "solution"}
        marks |= {"grade_id": id, "schema_version": 3, "task": False} | ({"points": 1} if kind == "graded" else {})
        text = "#| export\n" * (kind == "solution") + f"# {id} {version.get(id, 0)}"
        made.append({"cell_type": "code", "id": id, "metadata": {"nbgrader": marks}, "source": text})
    return {"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


CELLS = [(kind, f"{kind}-{n}") for n in range(3) for kind in ("markdown", "solution", "graded")]
edits = st.lists(
    st.tuples(st.sampled_from(["edit", "delete", "add", "copy", "move", "retype"]), st.integers(0, 20)), max_size=8
)


def edited(nb, what):
    nb = json.loads(json.dumps(nb))
    cells = nb["cells"]
    for number, (how, place) in enumerate(what):
        cell = cells[place % len(cells)] if cells else None
        if how == "add" or cell is None:
            own = {"cell_type": "code", "id": f"own-{number}", "metadata": {}, "source": f"own {number}"}
            cells.insert(place % (len(cells) + 1), own)
        elif how == "edit":
            cell["source"] += f"\n# by the student {number}"
        elif how == "delete":
            cells.remove(cell)
        elif how == "copy":  # JupyterLab gives a new id and clones nbgrader's
            cells.insert(place % len(cells) + 1, {**json.loads(json.dumps(cell)), "id": f"copy-{number}"})
        elif how == "move":
            cells.insert(number % len(cells), cells.pop(place % len(cells)))
        else:
            cell["cell_type"] = "markdown" if cell["cell_type"] == "code" else "code"
    return nb


@settings(max_examples=150)
@given(what=edits, renewed=st.sets(st.sampled_from([id for _, id in CELLS])), gone=st.integers(0, 12))
def test_random_edits_survive_a_merge(what, renewed, gone):
    old = course_notebook({}, CELLS)
    base = {template.cell_name(cell): template.cell_digest(cell) for cell in old["cells"]}
    new = course_notebook(dict.fromkeys(renewed, 1), [cell for n, cell in enumerate(CELLS) if n != gone])
    mine = edited(old, what)
    merged = merge(mine, new, base).nb
    after = [cell["source"] for cell in merged["cells"]]
    for cell in mine["cells"]:  # whatever the student typed is there, but for tests they may not change
        if "student" in cell["source"] and not cell["metadata"].get("nbgrader", {}).get("grade"):
            assert cell["source"] in after
        if cell["id"].startswith("own"):
            assert cell["source"] in after
    ids = [cell["id"] for cell in merged["cells"]]
    assert len(set(ids)) == len(ids)
    ordered = [cell for cell in new["cells"] if cell["id"] in ids]
    assert [id for id in ids if id in {cell["id"] for cell in ordered}] == [cell["id"] for cell in ordered]
    byid = {cell["id"]: cell for cell in merged["cells"]}
    for cell in new["cells"]:
        if "nbgrader" in cell["metadata"]:
            there = byid[cell["id"]]
            assert there["metadata"]["nbgrader"] == cell["metadata"]["nbgrader"]
            assert there["cell_type"] == "code"
            assert notebook.kind(cell) != "graded" or there["source"] == cell["source"]
    fresh = {template.cell_name(cell): template.cell_digest(cell) for cell in new["cells"]}
    assert merge(merged, new, fresh).nb == merged


# Nobody's reference in the student's place


@pytest.fixture(scope="module")
def sabotaged(tmp_path_factory):
    """A copy of the real course whose student finished 02 and 09, but for what gives zeros; exported."""
    source, root = Course.load(REPOSITORY), tmp_path_factory.mktemp("sabotage") / "course"
    workspace.init(root, workspace.choose_modules(source, None, ["02", "09"], False))
    zeros = {"conv2d": "weight = weight * 0", "conv2d_loops": "weight = weight * 0", "relu": "x = x * 0"}
    for path in source.module("02").notebooks + source.module("09").notebooks:
        there = root / path.relative_to(REPOSITORY)
        nb = notebook.read(path)
        for cell in nb["cells"]:
            if cell["id"] in zeros:
                begin = f"    {notebook.BEGIN}\n"
                assert begin in cell["source"]
                cell["source"] = cell["source"].replace(begin, f"{begin}    {zeros[cell['id']]}\n")
        notebook.write(there, nb)
    course = Course.load(root)
    export.export(course, [course.module("02"), course.module("09")], twins=False)
    return root


def run_in(root, *words):
    """`tito` in a folder, with the reference installed: it is on the path before anything else."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tito", *words]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=120)


def test_the_installed_reference_does_not_pass_tests_in_the_students_place(sabotaged):
    ended = run_in(sabotaged / "modules/02_activations", "test", "02", "--json")
    [result] = json.loads(ended.stdout)["modules"]
    assert ended.returncode == 1 and not result["passed"]
    states = {exercise["id"]: exercise["state"] for exercise in result["exercises"]}
    assert states["relu"] == "failed" and states["sigmoid"] == "passed"


def test_the_installed_reference_does_not_run_a_milestone_in_the_students_place(sabotaged):
    ended = run_in(sabotaged, "milestone", "run", "04", "--quick", "--epochs", "1", "--seed", "0", "--no-mlp")
    assert ended.returncode not in (0, 2), ended.stderr
    assert "yours (windows)" in ended.stdout


@pytest.mark.slow
def test_a_module_is_complete_without_its_stretch_and_its_bonus(tmp_path):
    source, root = Course.load(REPOSITORY), tmp_path / "course"
    workspace.init(root, workspace.choose_modules(source, "09", [], False))
    first = source.module("09").notebooks[0]
    shutil.copy(first, root / first.relative_to(REPOSITORY))
    ended = run_in(root, "module", "complete", "09")
    assert ended.returncode == 0 and "blocks_dev.ipynb is not finished" in ended.stdout, ended.stdout


def test_a_milestone_says_which_module_is_missing(tmp_path):
    workspace.init(tmp_path / "new", workspace.choose_modules(Course.load(REPOSITORY), "09", [], False))
    ended = run_in(tmp_path / "new", "milestone", "run", "04", "--quick")
    assert ended.returncode == 1 and ended.stdout == ""
    assert "Module 09 is yours to write: tito lab 09" in ended.stderr
