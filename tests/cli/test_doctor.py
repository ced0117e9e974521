"""`tito doctor`: right where all is right, and non-zero where something is really wrong."""

import os

import pytest

from tito.runner.platform import is_superuser


@pytest.fixture
def course(toy, tito):
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)])
    project = '[project]\nrequires-python = ">=3.11"\ndependencies = ["typer>=0.1", "rich"]\n'
    (toy.root / "pyproject.toml").write_text(project)
    assert tito("export", "1").code == 0
    return toy


def flat(text):
    return " ".join(text.split())


def test_a_sound_course(course, tito):
    end = tito("doctor")
    assert end.code == 0 and "All is well." in end.out and "wrong" not in end.out
    assert "typer" in end.out and f"{course.root}/tinytorch" in end.out.replace("\n      ", "")


def test_missing_data_is_a_note_and_found_data_is_said(course, tito):
    assert "note  CIFAR-10" in tito("doctor").out
    folder = course.root / "data/cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"):
        (folder / f"{name}.bin").touch()
    assert "ok    CIFAR-10: found" in tito("doctor").out


@pytest.mark.parametrize("library", ["typer<0.1", "no-such-library-anywhere==1.0"])
def test_a_wrong_or_missing_library(course, tito, library):
    (course.root / "pyproject.toml").write_text(f'[project]\ndependencies = ["{library}"]\n')
    end = tito("doctor")
    assert end.code == 1 and f'pip install "{library}"' in flat(end.out)


def test_a_python_that_does_not_fit(course, tito):
    (course.root / "pyproject.toml").write_text('[project]\nrequires-python = "<3"\n')
    end = tito("doctor")
    assert end.code == 1 and "the course needs <3" in flat(end.out)


def test_a_package_behind_its_notebook(course, tito):
    course.notebook("01", "alpha", [("double", course.WRONG, course.TEST_DOUBLE, 10)])
    end = tito("doctor")
    assert (
        end.code == 1
        and "differs from what the package holds: tito export 01" in flat(end.out)
        and "1 to mend." in end.out
    )


def test_a_package_that_cannot_be_imported(course, tito):
    (course.root / "tinytorch/__init__.py").write_text("raise ValueError('broken')")
    end = tito("doctor")
    assert end.code == 1 and "cannot be imported: ValueError: broken" in flat(end.out)


@pytest.mark.skipif(is_superuser() or os.name == "nt", reason="root may write everywhere")
def test_a_folder_without_write_access(course, tito):
    (course.root / "tinytorch").chmod(0o500)
    assert tito("doctor").code == 1


def test_differences_from_the_constraints_are_a_note(course, tito):
    (course.root / "constraints.txt").write_text("# tested with\nrich==0.0.1\ntyper==0.0.1 ; python_version > '3'\n")
    end = tito("doctor")
    assert end.code == 0 and "note  versions" in end.out and "constraints.txt" in flat(end.out)


def test_what_no_student_needs_is_left_out_until_it_is_asked_for(course, tito):
    extras = '[project.optional-dependencies]\nlab = ["no-such-lab"]\nsite = ["no-such-site", "no-such-theme"]\n'
    with open(course.root / "pyproject.toml", "a") as file:
        file.write(extras)
    short, long = tito("doctor"), tito("doctor", "--all")
    assert short.code == long.code == 0
    assert 'without no-such-lab; to install it: pip install "tinytorch[lab]"' in flat(short.out)
    assert "site" not in short.out and "without no-such-site, no-such-theme" in flat(long.out)
