"""`tito lab`: the words and the environment that JupyterLab starts with. test_browser.py sees it on the screen."""

import json
import os

import pytest

from tito import jupyter


@pytest.fixture
def started(monkeypatch):
    """What would have been executed: (words, environment)."""
    calls = []

    def execve(path, words, environment):
        calls.append((words, environment))
        raise SystemExit(0)

    monkeypatch.setattr(jupyter.os, "execve", execve)
    return calls


@pytest.fixture
def course(toy):
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)])
    toy.module("02", "beta", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)])
    return toy


def test_it_opens_the_notebook_without_a_question(course, tito, started):
    pytest.importorskip("jupyterlab")
    end = tito("lab", "2", "--no-browser", "--port", "9000")
    [(words, environment)] = started
    assert "modules/02_beta/beta_dev.ipynb" in end.out and "tito watch 02" in end.out
    assert "--LabApp.default_url=/lab/tree/modules/02_beta/beta_dev.ipynb" in words
    assert f"--ServerApp.root_dir={course.root}" in words and words[-3:] == ["--no-browser", "--port", "9000"]
    assert environment["PYTHONPATH"].split(os.pathsep)[0] == str(course.root)
    folder = environment["JUPYTER_CONFIG_PATH"].split(os.pathsep)[0]
    with open(f"{folder}/labconfig/default_setting_overrides.json", encoding="utf-8") as file:
        [settings] = json.load(file).values()
    assert settings["fetchNews"] == "false" and settings["checkForUpdates"] is False


def test_another_notebook_is_opened_by_its_name_or_by_an_exercise(course, tito, started):
    pytest.importorskip("jupyterlab")
    folder = course.root / "modules/02_beta"
    (folder / "more_dev.ipynb").write_bytes((folder / "beta_dev.ipynb").read_bytes())
    registry = (
        (folder / "module.toml").read_text().replace('["beta_dev.ipynb"]', '["beta_dev.ipynb", "more_dev.ipynb"]')
    )
    registry = registry.replace('id = "double"', 'id = "double"\nnotebook = "more_dev.ipynb"')
    (folder / "module.toml").write_text(registry)
    for name in ("more", "more_dev", "more_dev.ipynb", "double"):
        tito("lab", "2", name)
        assert "--LabApp.default_url=/lab/tree/modules/02_beta/more_dev.ipynb" in started.pop()[0]
    end = tito("lab", "2", "moer")
    assert end.code == 1 and "did you mean more" in end.err and not started


@pytest.mark.parametrize("option", ["--no-browsr", "--prot=9", "-x"])
def test_an_option_that_is_none_is_not_passed_on(course, tito, started, option):
    end = tito("lab", "2", option)
    assert end.code == 2 and "No such option" in end.err and not started


def test_jupyterlabs_own_options_are_passed_on(course, tito, started):
    pytest.importorskip("jupyterlab")
    tito("lab", "2", "--IdentityProvider.token=x", "--no-browser", "--", "--ip=0.0.0.0", "more")
    assert started[0][0][-4:] == ["--no-browser", "--IdentityProvider.token=x", "--ip=0.0.0.0", "more"]
    tito("lab", "--", "--ip=0.0.0.0")
    assert started[1][0][-1] == "--ip=0.0.0.0"


def test_a_student_sees_no_tools_for_instructors_and_no_generated_script(course, tito, started):
    pytest.importorskip("jupyterlab")
    written = course.root / ".tito/jupyter/jupyter_server_config.json"
    tito("lab", "2")
    assert json.loads(written.read_text()) == {"ServerApp": {"jpserver_extensions": {}}}
    (course.root / ".tito/pristine").mkdir()
    tito("lab", "2")
    settings = json.loads(written.read_text())
    assert settings["ServerApp"]["jpserver_extensions"]["nbgrader.server_extensions.formgrader"] is False
    assert "nbgrader.server_extensions.validate_assignment" not in settings["ServerApp"]["jpserver_extensions"]
    assert "*_dev.py" in settings["ContentsManager"]["hide_globs"]


def test_without_a_module_it_opens_the_one_to_go_on_with(course, tito, started):
    pytest.importorskip("jupyterlab")
    tito("module", "complete", "1")
    tito("lab", "--no-browser")
    assert "--LabApp.default_url=/lab/tree/modules/02_beta/beta_dev.ipynb" in started[0][0]


def test_without_jupyterlab_it_names_the_extra(course, tito, monkeypatch):
    monkeypatch.setattr(jupyter.importlib.util, "find_spec", lambda name: None)
    end = tito("lab", "1")
    assert end.code == 1 and 'pip install "tinytorch[lab]"' in end.err
