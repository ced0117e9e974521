"""`tito milestone`: the right package, the script's own words and exit code, and Ctrl-C exactly once."""

import os
import signal
import subprocess
import time

import pytest

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
    out, err = process.communicate(timeout=10)
    assert out == "caught 1\n" and err == "" and process.returncode == 130
