"""`tito module` and `tito status`: what is recorded, when, and what comes next."""

import json

import pytest

from tito.course import notebook


@pytest.fixture
def good(toy):
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)])
    return toy


def record(toy):
    path = toy.root / ".tito/progress.json"
    return json.loads(path.read_text())["modules"] if path.exists() else {}


def test_start_shows_the_exercises_and_what_to_open_and_type(good, tito):
    end = tito("module", "start", "1")
    assert end.code == 0
    assert "Task double  *  5 min  10 p" in end.out
    assert "modules/01_alpha/alpha_dev.ipynb" in end.out and "Next: tito lab 01" in end.out
    assert record(good) == {}


def test_complete_tests_exports_tests_the_package_and_records(good, tito):
    end = tito("module", "complete", "1")
    assert end.code == 0 and "Module 01 is complete." in end.out
    assert "return 2 * x" in (good.root / "tinytorch/core/alpha.py").read_text()
    assert record(good)["01"].keys() >= {"tested", "completed"}
    assert "Next: tito milestone list" in end.out


def test_complete_records_nothing_if_the_notebook_fails(toy, tito):
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10), ("triple", toy.STUB, toy.TEST_TRIPLE, 5)])
    end = tito("module", "complete", "1")
    assert end.code == 1 and "Nothing was recorded as completed" in end.out
    assert "completed" not in record(toy)["01"] and not (toy.root / "tinytorch/core").exists()


def test_complete_records_nothing_if_the_notebook_is_saved_meanwhile(good, tito, monkeypatch):
    from tito.course import export

    def saving(course, modules):
        result = genuine(course, modules)
        good.notebook("01", "alpha", [("double", good.WRONG, good.TEST_DOUBLE, 10)])
        return result

    genuine = export.export
    monkeypatch.setattr(export, "export", saving)
    end = tito("module", "complete", "1")
    assert end.code == 1 and "saved while it was tested" in end.out and "Next: tito module complete 01" in end.out
    assert "completed" not in record(good)["01"]


def test_complete_leads_to_the_notebook_while_nothing_is_written(toy, tito):
    toy.module("01", "alpha", [("triple", toy.STUB, toy.TEST_TRIPLE, 5)])
    assert tito("module", "complete", "1").out.endswith("Next: tito lab 01\n")
    toy.module("01", "alpha", [("double", toy.WRONG, toy.TEST_DOUBLE, 10)])
    assert tito("module", "complete", "1").out.endswith("Next: tito test 01 double\n")


def test_status_follows_the_work(good, tito):
    good.module("02", "beta", [("double", good.WRONG, good.TEST_DOUBLE, 10)])
    first = tito("status")
    assert "01_alpha  not tested" in first.out and "Next: tito module start 01" in first.out
    tito("test", "1")
    second = tito("status")
    assert "passes" in second.out and "10/10" in second.out and "Next: tito module complete 01" in second.out
    tito("module", "complete", "1")
    third = tito("status")
    assert "completed" in third.out and "in sync" in third.out and "Next: tito module start 02" in third.out
    tito("test", "2")
    assert "Next: tito lab 02" in tito("status").out
    good.notebook("02", "beta", [("double", good.DOUBLE, good.TEST_DOUBLE, 10)])
    assert "Next: tito test 02" in tito("status").out


def test_status_sees_an_edit_since(good, tito):
    tito("module", "complete", "1")
    good.notebook("01", "alpha", [("double", good.WRONG, good.TEST_DOUBLE, 10)])
    end = tito("module", "status", "1")
    assert "completed, changed since" in end.out and "differs" in end.out
    assert "Next: tito test 01" in end.out


def test_status_sees_a_package_that_was_edited(good, tito):
    tito("module", "complete", "1")
    assert "in sync" in tito("status").out
    (good.root / "tinytorch/core/alpha.py").write_text("x = 1\n")
    end = tito("status")
    assert "differs" in end.out and "Next: tito export 01" in end.out


@pytest.mark.parametrize("content", ["{", "[]", '{"modules": {"01": 3}}', "\x00", '{"version": 1}'])
def test_a_broken_record_is_set_aside(good, tito, content):
    (good.root / ".tito").mkdir()
    (good.root / ".tito/progress.json").write_text(content)
    end = tito("status")
    assert end.code == 0 and "could not be read" in end.out
    [kept] = (good.root / ".tito").glob("progress.broken-*.json")
    assert kept.read_text() == content
    assert "could not be read" not in tito("status").out


def test_a_record_that_cannot_be_written_does_not_hide_the_verdict(good, tito, monkeypatch):
    (good.root / ".tito").write_text("a file in the way")
    end = tito("test", "1")
    assert end.code == 0 and "The result was not recorded" in end.out and "10/10" in end.out


def test_a_broken_notebook_does_not_stop_status(good, tito):
    (good.root / "modules/01_alpha/alpha_dev.ipynb").write_text("{")
    end = tito("status")
    assert end.code == 0 and "not a readable notebook" in " ".join(end.out.split())


@pytest.fixture
def workspace(toy):
    """A student's course: 01 is given, 02 is a scaffold."""
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)])
    toy.module("02", "beta", [("double", toy.WRONG, toy.TEST_DOUBLE, 10), ("triple", toy.STUB, toy.TEST_TRIPLE, 5)])
    kept = toy.root / ".tito/pristine/02_beta/beta_dev.ipynb"
    notebook.write(kept, notebook.read(toy.root / "modules/02_beta/beta_dev.ipynb"))
    return toy


def rows(end):
    return [line.split() for line in end.out.splitlines() if line[:3] in ("01_", "02_")]


def test_a_workspace_tells_what_is_given_what_is_to_write_and_what_is_yours(workspace, tito):
    end = tito()
    assert rows(end) == [["01_alpha", "reference"], ["02_beta", "scaffold", "not", "tested", "not", "exported"]]
    assert "Next exercise: Task double" in end.out and "Next: tito module start 02" in end.out
    tito("test", "2")
    assert rows(tito())[1][:3] == ["02_beta", "scaffold", "0/15"] and "Next: tito lab 02" in tito().out
    done = [
        ("double", workspace.DOUBLE, workspace.TEST_DOUBLE, 10),
        ("triple", workspace.STUB, workspace.TEST_TRIPLE, 5),
    ]
    workspace.notebook("02", "beta", done)
    assert rows(tito())[1][1] == "yours" and "Next: tito test 02" in tito().out
    tito("test", "2")
    end = tito()
    assert "10/15" in end.out and "Next exercise: Task triple" in end.out


def test_hidden_tests_are_told_of_where_there_are_some(workspace, tito):
    assert "grading adds hidden ones" in tito("test", "2").out
    assert "grading adds hidden ones" not in tito("test", "1").out


def test_the_words_of_a_table_are_explained_where_they_stand(good, tito):
    assert "does not pass:" not in tito("status").out and "differs:" not in tito("status").out
    tito("export", "1")
    good.notebook("01", "alpha", [("double", good.WRONG, good.TEST_DOUBLE, 10)])
    tito("test", "1")
    for words in (["status"], ["module", "status", "1"]):
        out = tito(*words, columns=200).out
        assert "does not pass: an exercise" in out and "differs: the notebook" in out and "changed since:" not in out
