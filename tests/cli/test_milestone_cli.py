"""`tito milestone`: the right package, the script's own words and exit code, and Ctrl-C exactly once."""

import json
import os
import signal
import subprocess
import time
from types import SimpleNamespace

import pytest

from tito.milestone import kept_runs, numbers, picture

SCRIPT = """\
import sys
import tinytorch.core.alpha
print("arguments", sys.argv[1:])
print("package", tinytorch.__file__)
sys.exit(7 if "--fail" in sys.argv else 0)
"""
PATIENT = """\
import signal, sys, time
caught = []
signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
print("ready", flush=True)
end = time.monotonic() + 1.5
while time.monotonic() < end:
    time.sleep(0.05)
print("caught", len(caught), flush=True)
sys.exit(5)
"""


@pytest.fixture
def course(toy):
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)])
    toy.package("alpha", "def double(x):\n    return 2 * x\n")
    entry = '[[milestone]]\nid = "04"\nfolder = "04_1998_cnn"\nscript = "run.py"\ntitle = "A CNN"\nyear = 1998\n'
    folder = toy.root / "milestones/04_1998_cnn"
    folder.mkdir(parents=True)
    toy.script = folder / "run.py"
    toy.script.write_text(SCRIPT)
    entry += 'summary = "It sees."\nrequires = ["01"]\nminutes = 0.1\n'
    (toy.root / "milestones/milestones.toml").write_text(entry)
    return toy


def test_list_and_info(course, tito):
    assert "04  1998  A CNN" in tito("milestone", "list").out
    end = tito("milestone", "info", "4")
    assert "It sees." in end.out and "01_alpha" in end.out and "Next: tito milestone run 04" in end.out


def test_what_a_milestone_waits_for_is_said_with_the_command_that_helps(course, tito):
    course.module("02", "beta", [("double", course.STUB, course.TEST_DOUBLE, 10)])
    listed = course.root / "milestones/milestones.toml"
    listed.write_text(listed.read_text().replace('["01"]', '["01", "02"]'))
    for words in (["list"], ["info", "4"]):
        end = tito("milestone", *words)
        assert "waits for 02" in end.out and end.out.endswith("Next: tito export 02\n")
    course.package("beta", course.STUB)
    assert tito("milestone", "list").out.endswith("Next: tito lab 02\n"), "exported, and not finished"
    course.package("beta", "raise ModuleNotFoundError('Module 02 is yours to write: tito lab 02')\n")
    notebook = "modules/02_beta/beta_dev.ipynb"
    (course.root / ".tito/pristine/02_beta").mkdir(parents=True)
    (course.root / ".tito/pristine/02_beta/beta_dev.ipynb").write_bytes((course.root / notebook).read_bytes())
    assert tito("milestone", "list").out.endswith("Next: tito lab 02\n")
    end = tito("milestone", "run", "4")
    assert end.code == 1 and "Module 02 is yours to write: tito lab 02" in end.err and "ModuleNotFound" not in end.err
    course.package("beta", course.DOUBLE)
    assert "ready" in tito("milestone", "list").out and "Next: tito milestone run 04" in tito("milestone", "list").out


def test_numbers_of_modules_are_short():
    def modules(text):
        return [SimpleNamespace(number=number) for number in text.split()]

    assert [numbers(modules(text)) for text in ("03", "03 04", "03 05 06", "07 08 09")] == [
        "03", "03, 04", "03, 05, 06", "07 to 09"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["4", "04", "04_1998_cnn"])
def test_run_passes_arguments_on(course, tito_process, name):
    end = tito_process("milestone", "run", name, "--seed", "3", "--help", "x y", capture_output=True, text=True)
    assert end.returncode == 0
    assert "arguments ['--seed', '3', '--help', 'x y']" in end.stdout
    assert f"package {course.root}" in end.stdout


def test_run_returns_the_exit_code(course, tito_process):
    assert tito_process("milestone", "run", "4", "--fail", capture_output=True).returncode == 7


def test_the_courses_package_comes_first(course, tito_process, tmp_path):
    other = tmp_path / "other"
    (other / "tinytorch").mkdir(parents=True)
    (other / "tinytorch/__init__.py").write_text("raise SystemExit('the other one')")
    end = tito_process("milestone", "run", "4", path=[other], capture_output=True, text=True)
    assert end.returncode == 0 and f"package {course.root}" in end.stdout


def test_a_missing_module_is_named(course, tito):
    (course.root / "tinytorch/core/alpha.py").unlink()
    end = tito("milestone", "run", "4")
    assert end.code == 1 and "needs module 01 (The alpha)" in end.err and "tito export 01" in end.err
    assert "Traceback" not in end.err


@pytest.mark.parametrize("name, hint", [("5", "04"), ("04_1998_cn", "did you mean 04_1998_cnn?")])
def test_an_unknown_milestone_is_a_sentence(course, tito, name, hint):
    for command in ("info", "run"):
        end = tito("milestone", command, name)
        assert end.code == 1 and hint in end.err


@pytest.mark.parametrize("text", ["[[milestone]", '[[milestone]]\nid = "1"\n', "[[milestone]]\nid = 1\nwrong = 2\n"])
def test_a_broken_list_is_a_sentence(course, tito, text):
    (course.root / "milestones/milestones.toml").write_text(text)
    end = tito("milestone", "list")
    assert end.code == 1 and "cannot be read as a list of milestones" in end.err


@pytest.mark.skipif(os.name != "posix", reason="the console tells every process there")
@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_reaches_the_script_once(course, tito_process, times):
    course.script.write_text(PATIENT)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = tito_process("milestone", "run", "4", start=subprocess.Popen, start_new_session=True, **pipes)
    assert process.stdout.readline() == "ready\n"
    for _ in range(times):  # `timeout` and some terminals send it to the process and to its group
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    out, err = process.communicate(timeout=60)
    assert out == "caught 1\n" and err == "" and process.returncode == 130


def test_predict_takes_the_best_whole_run_of_the_newest_data(tmp_path):
    """(data, accuracy, age in minutes, a trial) of runs that were kept -> the one that is asked."""
    runs = {"a": ("digits", 0.90, 5, False), "b": ("digits", 0.97, 9, False), "c": ("digits", 0.99, 1, True),
            "d": ("cifar10", 0.99, 20, False)}  # fmt: skip
    (tmp_path / "trial").mkdir()
    for name, (data, accuracy, age, trial) in runs.items():
        path = tmp_path / ("trial" if trial else "") / f"{name}.json"
        record = {"network": "cnn", "finished": True, "data": data, "test_accuracy": accuracy, "scale": 1}
        path.write_text(json.dumps(record))
        path.with_suffix(".safetensors").touch()
        os.utime(path, times=(time.time() - 60 * age,) * 2)
    assert [run.path.stem for run in kept_runs(tmp_path)] == ["b", "a", "d", "c"]


def test_what_the_network_sees_is_drawn_with_what_the_terminal_can_write(monkeypatch):
    monkeypatch.setattr("sys.stdout", SimpleNamespace(encoding="utf-8"))
    assert picture([[0.0, 1.0], [0.5, 0.25]]) == ["    ██", "  ▒▒░░"]
    monkeypatch.setattr("sys.stdout", SimpleNamespace(encoding="ascii"))
    assert picture([[0.0, 1.0], [0.5, 0.25]]) == ["    ##", "  ::.."]
