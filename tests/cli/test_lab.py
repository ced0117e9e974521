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


def test_without_a_module_it_opens_the_one_to_go_on_with(course, tito, started):
    pytest.importorskip("jupyterlab")
    tito("module", "complete", "1")
    tito("lab", "--no-browser")
    assert "--LabApp.default_url=/lab/tree/modules/02_beta/beta_dev.ipynb" in started[0][0]


def test_without_jupyterlab_it_names_the_extra(course, tito, monkeypatch):
    monkeypatch.setattr(jupyter.importlib.util, "find_spec", lambda name: None)
    end = tito("lab", "1")
    assert end.code == 1 and 'pip install "tinytorch[lab]"' in end.err
