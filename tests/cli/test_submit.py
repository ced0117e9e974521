"""`tito submit`: what an instructor collects, and what cannot be graded."""

import json

import pytest

from tito.course import notebook

DONE = "#| export\ndef triple(x):\n    return 3 * x"


@pytest.fixture
def workspace(toy):
    exercises = [("double", toy.WRONG, toy.TEST_DOUBLE, 10), ("triple", toy.STUB, toy.TEST_TRIPLE, 5)]
    think = toy.cell("manual", "think", "YOUR ANSWER HERE", 4)
    toy.module("01", "alpha", exercises, extra=[think])
    toy.path = toy.root / "modules/01_alpha/alpha_dev.ipynb"
    notebook.write(toy.root / ".tito/pristine/01_alpha/alpha_dev.ipynb", notebook.read(toy.path))
    toy.notebook("01", "alpha", [exercises[0], ("triple", DONE, toy.TEST_TRIPLE, 5)], extra=[think])
    return toy


@pytest.fixture
def edit(workspace):
    """Change the notebook's cells: edit(function of the list of cells)."""

    def change(function):
        nb = notebook.read(workspace.path)
        function(nb["cells"])
        notebook.write(workspace.path, nb)

    return change


def at(cells, id):
    return next(cell for cell in cells if cell["id"] == id)


def test_a_module_is_handed_in_as_nbgrader_collects_it(workspace, tito, tmp_path, edit):
    edit(lambda cells: at(cells, "triple").update(outputs=[{"output_type": "stream", "name": "stdout", "text": "x"}]))
    end = tito("submit", "1", "--to", str(tmp_path / "in"), "--as", "ada")
    assert end.code == 0 and "tito test 01" in end.out
    folder = tmp_path / "in/ada/01_alpha"
    assert sorted(path.name for path in folder.iterdir()) == ["alpha_dev.ipynb", "timestamp.txt"]
    handed = notebook.read(folder / "alpha_dev.ipynb")
    assert at(handed["cells"], "triple")["source"] == DONE and at(handed["cells"], "triple")["outputs"] == []
    assert tito("submit", "1", "--to", str(tmp_path / "in"), "--as", "ada").code == 0, "again"
    nowhere = tito("submit", "1")
    assert nowhere.code == 2 and "say where to: tito submit 01 --to DIR" in nowhere.err


def test_the_visible_points_are_told(workspace, tito, tmp_path):
    tito("test", "1")
    end = tito("submit", "1", "--to", str(tmp_path / "in"))
    assert end.code == 0 and "give 5/15 points" in end.out


def retype(cell):
    cell["cell_type"] = "markdown"
    for key in ("outputs", "execution_count"):
        cell.pop(key)


def forget(cells):
    at(cells, "test_triple")["metadata"].clear()


FAULTS = {
    "missing": (
        lambda cells: cells.remove(at(cells, "test_triple")),
        "has no cell test_triple",
        "tito reset 01 test_triple",
    ),
    "no answer": (lambda cells: cells.remove(at(cells, "think")), "has no cell think", "tito reset 01 think"),
    "copied": (
        lambda cells: cells.append({**at(cells, "test_triple"), "id": "other"}),
        "has the cell test_triple 2 times (cell 6 and cell 7)",
        "delete the copies",
    ),
    "retyped": (lambda cells: retype(at(cells, "triple")), "is a markdown cell", "turn it back"),
    "unmarked": (forget, "lost or changed its nbgrader metadata", "tito reset 01 test_triple"),
    "points": (
        lambda cells: at(cells, "test_triple")["metadata"]["nbgrader"].update(points=99),
        "lost or changed its nbgrader metadata",
        "tito reset 01 test_triple",
    ),
    "invented": (
        lambda cells: cells.append({**at(cells, "think"), "id": "bonus", "metadata": {"nbgrader": {
            "grade": True, "solution": True, "locked": False, "points": 50, "grade_id": "bonus"}}}),
        "bonus was not handed out",
        "delete it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_be_graded_is_refused_and_mended(workspace, tito, tmp_path, edit, name):
    spoil, reason, mend = FAULTS[name]
    edit(spoil)
    end = tito("submit", "1", "--to", str(tmp_path / "in"), columns=200)
    assert end.code == 1 and reason in end.out and mend in end.out and not (tmp_path / "in").exists()
    if "tito reset" in mend:
        command = end.out.split("tito reset 01 ")[1].split()[0]
        assert tito("reset", "1", command).code == 0
        end = tito("submit", "1", "--to", str(tmp_path / "in"))
        assert end.code == 0, end.out
        assert at(notebook.read(workspace.path)["cells"], "triple")["source"] == DONE, "the solution stayed"


def test_edited_tests_and_another_order_are_noted(workspace, tito, tmp_path, edit):
    edit(lambda cells: at(cells, "test_triple").update(source="pass"))
    edit(lambda cells: cells.reverse())
    end = tito("submit", "1", "--to", str(tmp_path / "in"), columns=200)
    assert end.code == 0 and "test_triple was edited" in end.out and "another order" in end.out


@pytest.mark.parametrize("name", ["../ada", "a/b", ".hidden", "", "a b"])
def test_a_name_that_is_no_folder_is_refused(workspace, tito, tmp_path, name):
    end = tito("submit", "1", "--to", str(tmp_path / "in"), "--as", name or "-")
    assert end.code == (1 if name else 0)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"cells": [], "metadata": {}, "nbformat": 3}', "\x00",
                '{"cells": [3], "metadata": {}, "nbformat": 4}', '{"cells": [{"cell_type": "code", "id": 3, '
                '"metadata": {}, "source": 7}], "metadata": {}, "nbformat": 4}', '{"cells": [{"cell_type": "code", '
                '"id": "a", "metadata": {"nbgrader": 3}, "source": ""}], "metadata": {}, "nbformat": 4}', None],
)  # fmt: skip
def test_broken_notebooks_are_sentences_everywhere(workspace, tito, tmp_path, content):
    workspace.path.unlink()
    if content is not None:
        workspace.path.write_text(content)
    commands = (["submit", "1", "--to", str(tmp_path)], ["test", "1"], ["test", "1", "double"], ["export", "1"])
    for words in (*commands, ["reset", "1", "double"], ["module", "start", "1"]):
        end = tito(*words)
        assert end.code == 1 and "alpha_dev.ipynb" in (end.out + end.err).replace("\n", ""), words
        assert "Traceback" not in end.out + end.err
    assert tito().code == 0
    assert workspace.path.exists() == (content is not None), "nothing was written over it"


def test_a_folder_among_the_notebooks_is_refused(workspace, tito):
    end = tito("submit", "1", "--to", "modules/in")
    assert end.code == 1 and "among the course's notebooks" in end.err


def test_a_folder_that_cannot_be_written_is_a_sentence(workspace, tito, tmp_path):
    (tmp_path / "in").write_text("a file")
    end = tito("submit", "1", "--to", str(tmp_path / "in"))
    assert end.code == 1 and "cannot write" in end.err and json.loads(workspace.path.read_text())


def test_who_hands_in_is_said_and_what_has_no_answer(workspace, tito, tmp_path, edit, monkeypatch):
    (tmp_path / "in").mkdir()
    monkeypatch.setattr("getpass.getuser", lambda: "jane")
    end = tito("submit", "1", "--to", str(tmp_path / "in"), columns=200)
    assert "Handed in as jane, your login" in end.out and "1 question (4 points) has no answer yet." in end.out
    assert "as you got it" not in end.out and "has been made" not in end.out
    end = tito("submit", "1", "--to", str(tmp_path / "in"), "--as", "ada", columns=200)
    assert "Handed in as ada:" in end.out and "login" not in end.out
    for text, said in (("Because.", False), (" \n", True)):
        edit(lambda cells, text=text: at(cells, "think").update(source=text))
        assert ("no answer yet" in tito("submit", "1", "--to", str(tmp_path / "in")).out) == said


def test_complete_names_what_has_no_answer(workspace, tito, edit):
    edit(lambda cells: at(cells, "double").update(source=workspace.DOUBLE))
    assert "1 question (4 points) has no answer yet." in tito("module", "complete", "1").out
    edit(lambda cells: at(cells, "think").update(source="Because."))
    assert "answer" not in tito("module", "complete", "1").out


def test_a_notebook_as_it_was_handed_out_is_handed_in_with_a_word(workspace, tito, tmp_path, edit):
    notebook.write(workspace.path, notebook.read(workspace.root / ".tito/pristine/01_alpha/alpha_dev.ipynb"))
    end = tito("submit", "1", "--to", str(tmp_path / "in"), columns=200)
    assert end.code == 0 and "as you got it" in end.out and "tito lab 01" in end.out
    edit(lambda cells: at(cells, "think").update(source="Because."))
    assert "as you got it" not in tito("submit", "1", "--to", str(tmp_path / "in"), columns=200).out


def test_a_new_folder_is_said_and_a_misspelt_one_is_not_made(workspace, tito, tmp_path):
    (tmp_path / "handed-in").mkdir()
    end = tito("submit", "1", "--to", str(tmp_path / "handed_in"))
    assert end.code == 1 and f"did you mean {tmp_path / 'handed-in'}?" in end.err
    end = tito("submit", "1", "--to", str(tmp_path / "no such/folder"))
    assert end.code == 1 and "there is no folder" in end.err
    assert [path.name for path in tmp_path.iterdir() if path.name != "course"] == ["handed-in"]
    end = tito("submit", "1", "--to", str(tmp_path / "elsewhere"), columns=200)
    assert end.code == 0 and f"{tmp_path / 'elsewhere'} was not there and has been made" in end.out
