"""`tito test`: honest verdicts, whatever the student's code does to the process that runs it."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tito.course import notebook
from tito.runner import child
from tito.runner.process import ChildProcess, ChildStoppedError, import_all
from tito.runner.testing import Cell, run_cells


@pytest.fixture
def run(tmp_path):
    """Run sources as graded cells c0, c1, ... (or of another kind) against an empty package; the outcomes in order."""
    (tmp_path / "tinytorch").mkdir()
    (tmp_path / "tinytorch/__init__.py").touch()

    def run(*sources, seconds=5.0, kinds="graded"):
        kinds = kinds.split() * len(sources) if " " not in kinds else kinds.split()
        cells = [Cell(f"c{n}", source, kinds[n], seconds) for n, source in enumerate(sources)]
        outcomes = run_cells(cells, tmp_path, tmp_path)
        return [outcomes.get(one.id) for one in cells]

    return run


def states(outcomes):
    return [outcome["state"] if outcome else None for outcome in outcomes]


# One cell


posix = pytest.mark.skipif(os.name != "posix", reason="other words there: see tests/machines")


@pytest.mark.parametrize(
    "source, sentence",
    [
        ("while True:\n    pass", "ran for more than 0.5 s"),
        ("import os\nos._exit(0)", "(exit code 0)"),
        pytest.param("import os\nos.abort()", "Python crashed (SIGABRT)", marks=posix),
        pytest.param("import ctypes\nctypes.string_at(0)", "Python crashed (SIGSEGV)", marks=posix),
        pytest.param("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "memory runs out", marks=posix),
        ("while True:\n    print('x' * 1000)", "printed more than 4 MB"),
        ("import os\nos.closerange(3, 256)", "ended in the middle"),
    ],
)
def test_a_cell_that_stops_the_process_costs_only_itself(run, source, sentence):
    before, bad, after = run("x = 1", source, "assert x == 1", seconds=0.5)
    assert states([before, bad, after]) == ["passed", "stopped", "passed"]
    assert sentence in bad["message"]


def test_after_three_stops_the_rest_is_left_alone(run):
    outcomes = run(*["import os\nos._exit(1)"] * 3, "x = 1")
    assert states(outcomes) == ["stopped", "stopped", "stopped", None]


def test_what_a_grandchild_does_ends_with_the_notebook(run, tmp_path):
    late = "import time; time.sleep(0.7); open('late', 'w')"
    assert states(run(f'import subprocess, sys\nsubprocess.Popen([sys.executable, "-c", {late!r}])')) == ["passed"]
    time.sleep(1)
    assert not (tmp_path / "late").exists()


def test_what_was_printed_is_there_with_the_answer(tmp_path):
    with ChildProcess("cells", tmp_path, tmp_path) as child:
        for number in range(100):
            source = f"import sys\nprint('out', {number})\nprint('err', {number}, file=sys.stderr)"
            child.ask(5, id="a", source=source, magics=False)
            assert (child.printed, child.complained) == (f"out {number}\n", f"err {number}\n")


def test_a_cell_that_closes_its_outputs_or_leaves_bytes_behind_costs_nobody_else(run):
    source = "import os\nos.close(1)\nos.write(2, b'\\xff\\xfe')"
    assert states(run(source, "x = 1", "assert x == 1")) == ["passed"] * 3


def test_a_stranger_at_the_door_is_turned_away(tmp_path):
    with ChildProcess("cells", tmp_path, tmp_path) as child:
        address = child._listener.getsockname()
        for word in (b"", b"GET / HTTP/1.0\r\n\r\n", b'{"word": "sesame"}\n', b"[1]\n"):
            with socket.create_connection(address) as stranger:
                stranger.sendall(word)
        assert child.ask(5, id="a", source="x = 1", magics=False)["state"] == "passed"


@pytest.mark.parametrize("word", [b"[1]\n", b'"passed"\n', b"\xff\n", b"{\n"])
def test_anything_may_be_written_into_the_connection(run, word):
    forged = "import contextlib, os\nfor n in range(3, 40):\n    with contextlib.suppress(OSError):\n"
    assert states(run(f"{forged}        os.write(n, {word!r})\nassert False"))[0] in ("stopped", "failed")


def test_a_child_that_gets_no_thread_says_so(tmp_path):
    refused = 'import threading\ndef start(self):\n    raise RuntimeError("can\'t start new thread")\n'
    (tmp_path / "sitecustomize.py").write_text(refused + "threading.Thread.start = start\n", encoding="utf-8")
    with ChildProcess("cells", tmp_path, tmp_path) as child:
        with pytest.raises(ChildStoppedError, match="could not begin.*gives no more threads.*ulimit -u"):
            child.ask(5, id="a", source="x = 1", magics=False)


@pytest.mark.parametrize(
    "source",
    [
        'raise RuntimeError("can\'t start new thread")',
        'import sys\nprint("OpenBLAS blas_thread_init: pthread_create failed for thread 1 of 2: Resource temporarily '
        'unavailable", file=sys.stderr)\nraise KeyboardInterrupt',
    ],
)
def test_a_cell_that_gets_no_thread_names_the_cause(run, source):
    [outcome] = run(source)
    assert "gives no more threads" in outcome["message"] and "ulimit -u" in outcome["message"]


ALONE = """
import sys
from pathlib import Path
from tito.runner.process import ChildProcess
with ChildProcess("cells", Path.cwd(), Path.cwd()) as child:
    child.ask(60, id="a", source=sys.argv[1], magics=False)
"""


def test_a_child_whose_parent_was_killed_goes_too_with_all_that_it_started(tmp_path):
    source = "import os, subprocess, sys\n"
    source += 'also = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])\n'
    source += 'with open("part", "w") as file:\n    file.write(f"{os.getpid()} {also.pid}")\n'
    source += 'os.rename("part", "running")\nwhile True:\n    pass'
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    parent = subprocess.Popen([sys.executable, "-c", ALONE, source], cwd=tmp_path, env=environment)
    end = time.monotonic() + 60
    while not (tmp_path / "running").exists() and time.monotonic() < end:
        time.sleep(0.05)
    found = [psutil.Process(int(number)) for number in (tmp_path / "running").read_text(encoding="utf-8").split()]
    parent.kill()
    parent.wait()
    end = time.monotonic() + 30
    while (left := [process for process in found if alive(process)]) and time.monotonic() < end:
        time.sleep(0.05)
    assert left == []


def alive(process):
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("source", ["exit(0)", "raise SystemExit", "raise KeyboardInterrupt", "input()"])
def test_leaving_early_is_a_failure(run, source):
    first, second = run(source, "x = 1")
    assert states([first, second]) == ["failed", "passed"]


def test_sys_exit_is_told_in_a_sentence(run):
    assert "called sys.exit(0)" in run("import sys\nsys.exit(0)")[0]["message"]


def test_prints_cannot_pass_for_results(run):
    forged = '{"state": "passed", "ticket": "x", "seconds": 0}'
    [outcome] = run(f"import sys\nprint({forged!r})\nsys.__stdout__.write({forged!r})\nassert False, 'no'")
    assert outcome["state"] == "failed"
    assert forged in outcome["printed"]


def test_writing_into_the_result_pipe_does_not_pass(run):
    forged = "import contextlib, os\nfor n in range(3, 40):\n    with contextlib.suppress(OSError):\n"
    forged += """        os.write(n, b'{"state": "passed"}\\n')\n"""
    assert states(run(forged + "assert False"))[0] == "stopped"


def test_patched_builtins_do_not_silence_a_failure(run):
    assert states(run("import json\njson.dumps = None\nprint = None\nassert False, 'no'")) == ["failed"]


def test_the_lines_concerned_are_the_readers_own(run):
    _, bad = run("def half(x):\n    return 1 / x", "def test():\n    half(0)\ntest()")
    lines = [(line["place"], line["line"], line["source"]) for line in bad["lines"]]
    assert lines == [("c1", 2, "half(0)"), ("c0", 2, "return 1 / x")]
    assert (bad["type"], bad["message"]) == ("ZeroDivisionError", "division by zero")


def test_numpy_errors_show_no_library_lines(run):
    [bad] = run("import numpy as np\nnp.ones((2, 3)) @ np.ones((2, 3))")
    assert [line["place"] for line in bad["lines"]] == ["c0"]


CAUGHT = "try:\n    todo()\nexcept RuntimeError:\n    raise AssertionError('expected ValueError')"


@pytest.mark.parametrize("test", ["todo()", CAUGHT])
def test_a_scaffold_is_told_from_a_failure(run, test):
    stub = "def todo():\n    # YOUR CODE HERE\n    raise NotImplementedError()"
    assert states(run(stub, test))[1] == "stub"


def test_a_deliberate_not_implemented_error_is_a_failure(run):
    assert states(run("def forward():\n    raise NotImplementedError('write forward')\nforward()")) == ["failed"]


def test_cells_are_a_main_module(run):
    source = "import sys, inspect\ndef f():\n    return 1\nassert sys.modules['__main__'].f is f\n"
    source += "assert __name__ == '__main__' and 'return 1' in inspect.getsource(f)"
    assert states(run(source, kinds="solution")) == ["passed"]


def test_a_students_function_keeps_its_helper_where_a_test_has_one_of_that_name(run):
    mine = "def why(a):\n    return a\ndef double(x):\n    return 2 * why(x)"
    test = "def why():\n    return 'the test\\'s'\nassert double(4) == 8 and why() == 'the test\\'s'"
    later = "def triple(x):\n    return 3 * why(x)"
    assert (
        states(run(mine, test, later, "assert triple(2) == 6 and why()", kinds="solution graded solution graded"))
        == ["passed"] * 4
    )


def test_later_cells_have_what_a_test_imported(run):
    assert states(run("import math\nassert math", "math.sqrt(2)", kinds="graded solution")) == ["passed"] * 2


def test_cells_await_and_ask_for_ipython(run):
    source = "import asyncio\nawait asyncio.sleep(0)\nget_ipython().run_line_magic('matplotlib', 'inline')"
    assert states(run(source, kinds="solution")) == ["passed"]


def test_only_the_given_package_is_on_the_path(run, tmp_path):
    assert states(run("import tinytorch, os, sys\nassert '' not in sys.path and os.getcwd() not in sys.path[1:]"))
    [outcome] = run("import tinytorch")
    assert outcome["origin"] == str(tmp_path / "tinytorch/__init__.py")


def test_an_answer_needs_its_ticket(tmp_path):
    with ChildProcess("cells", tmp_path, tmp_path) as child:
        child.send(id="a", source="x = 1", magics=False)
        with pytest.raises(ChildStoppedError, match="something else"):
            child.ask(5, id="b", source="x = 2", magics=False)


def test_imports_say_what_failed(tmp_path):
    (tmp_path / "fine.py").write_text("x = 1")
    (tmp_path / "ends.py").write_text("import os\nos._exit(3)")
    found = import_all(tmp_path, ["fine", "absent", "ends"])
    assert [outcome["state"] for outcome in found.values()] == ["passed", "failed", "failed"]
    assert found["absent"]["type"] == "ModuleNotFoundError" and "exit code 3" in found["ends"]["message"]


# The command


def test_a_good_module_passes(toy, tito):
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)])
    end = tito("test", "1")
    assert end.code == 0
    assert "passed  Task double  10/10" in end.out and "pytest tests/01_alpha: 1 passed" in end.out
    assert "Next: tito module complete 01" in end.out
    assert not (toy.root / "tinytorch/core").exists(), "testing must not export"


def test_the_first_failure_is_shown_with_its_lines(toy, tito):
    toy.module("01", "alpha", [("double", toy.WRONG, toy.TEST_DOUBLE, 10), ("triple", toy.STUB, toy.TEST_TRIPLE, 5)])
    end = tito("test", "alpha")
    assert end.code == 1
    assert "First failure: Task double (test_double)" in end.out
    assert "double(4): expected 8, got 12" in end.out and "test_double, line 3: assert got == 8" in end.out
    assert "not started  Task triple   0/5" in end.out
    assert "1 failed" in end.out and "Traceback" not in end.out + end.err


def test_a_broken_notebook_fails_although_a_good_package_is_installed(toy, tito):
    toy.package("alpha", "def double(x):\n    return 2 * x\n")
    test = "from tinytorch.core.alpha import double as library\n"
    test += toy.TEST_DOUBLE.replace("double(4)\n", "library(4)\n")
    toy.module("01", "alpha", [("double", toy.WRONG, test, 10)])
    end = tito("test", "01")
    assert end.code == 1 and "expected 8, got 12" in end.out and "1 failed" in end.out


def test_a_good_notebook_passes_although_a_broken_package_is_installed(toy, tito):
    toy.package("alpha", "raise RuntimeError('old')\n")
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)])
    assert tito("test", "01").code == 0


def test_a_package_beside_the_notebook_or_on_the_path_is_not_used(toy, tito_process):
    toy.module("01", "alpha", [("double", toy.WRONG, toy.TEST_DOUBLE, 10)])
    good = toy.root / "elsewhere"
    for place in (good, toy.root / "modules/01_alpha", toy.root / "tests/01_alpha"):
        (place / "tinytorch/core").mkdir(parents=True)
        (place / "tinytorch/__init__.py").touch()
        (place / "tinytorch/core/__init__.py").touch()
        (place / "tinytorch/core/alpha.py").write_text("def double(x):\n    return 2 * x\n")
    end = tito_process("test", "01", path=[good], capture_output=True, text=True)
    assert end.returncode == 1 and "1 failed" in end.stdout


def test_a_scaffold_reads_not_started_and_spares_its_pytest(toy, tito):
    toy.module("01", "alpha", [("triple", toy.STUB, toy.TEST_TRIPLE, 5)], extra=[toy.cell("code", "d", toy.DOUBLE)])
    end = tito("test", "01")
    assert end.code == 1 and "not started  Task triple  0/5" in end.out and "First failure" not in end.out
    assert "Not run, because no exercise is written yet." in end.out


def test_an_exercise_names_the_one_it_waits_for(toy, tito):
    waits = ("six", "#| export\ndef six():\n    return triple(2)", "assert six() == 6", 5)
    toy.module("01", "alpha", [("triple", toy.STUB, toy.TEST_TRIPLE, 5), waits])
    assert "Task six: It needs Task triple, which is not written yet." in tito("test", "01").out


def test_an_exercise_alone_has_the_functions_of_the_tests_before_it(toy, tito):
    shared = "def hold(got, expected):\n    assert got == expected, got\nhold(double(4), 8)"
    triple = toy.STUB.replace("raise NotImplementedError()", "return 3 * x")
    toy.module("01", "alpha", [("double", toy.WRONG, shared, 5), ("triple", triple, "hold(triple(2), 6)", 5)])
    end = tito("test", "01", "triple")
    assert end.code == 0 and "passed  Task triple  5/5" in end.out and "failed" not in end.out
    assert "Next exercise: Task double" in end.out, "the first that is left"


def test_a_module_that_is_not_exported_is_named(toy, tito):
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)])
    needs = toy.cell("code", "imports", "#| export\nfrom tinytorch.core.alpha import double")
    toy.module("02", "beta", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)], extra=[needs])
    end = tito("test", "02")
    assert end.code == 1 and "tito export 01" in end.out


def test_json_is_one_object_and_nothing_else(toy, tito):
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10), ("triple", toy.STUB, toy.TEST_TRIPLE, 5)])
    end = tito("test", "01", "--json")
    data = json.loads(end.out)
    [module] = data["modules"]
    assert end.code == 1 and data["passed"] is False and end.err == ""
    assert (module["points"], module["possible"], module["pytest"]["passed"]) == (10, 15, 1)
    assert [exercise["state"] for exercise in module["exercises"]] == ["passed", "not started"]


def test_all_shows_modules_in_order_and_a_summary(toy, tito):
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)])
    toy.module("02", "beta", [("double", toy.WRONG, toy.TEST_DOUBLE, 10)], requires=["01"])
    end = tito("test", "--all")
    assert end.code == 1 and "Next: tito test 02" in end.out
    assert "02 The beta" in end.out and "01 The alpha" not in end.out
    summary = [line.split() for line in end.out.splitlines() if line.startswith(("01_", "02_"))]
    assert [line[:3] for line in summary] == [["01_alpha", "1/1", "10/10"], ["02_beta", "0/1", "0/10"]]


def test_a_hanging_notebook_ends_its_pytest_too(toy, tito):
    toy.module("01", "alpha", [("double", toy.HANG, toy.TEST_DOUBLE, 10)])
    end = tito("test", "01", "--timeout", "0.5")
    assert end.code == 1 and "Is there an endless loop?" in end.out and "Traceback" not in end.out


def test_a_module_without_pytest_tests_does_not_pass(toy, tito):
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)], tests="")
    end = tito("test", "01")
    assert end.code == 1 and "There are no tests in tests/01_alpha." in end.out


def test_skipped_tests_are_no_passed_tests(toy, tito):
    skip = "import pytest\n\n\ndef test_it():\n    pytest.skip('not here')\n"
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)], tests=skip)
    end = tito("test", "01")
    assert end.code == 1 and "No test ran: 1 skipped." in end.out


@pytest.mark.parametrize(
    "tests, sentence",
    [
        ("import os\n\n\ndef test_it():\n    os._exit(0)\n", "ended in the middle"),
        ("import absent\n\n\ndef test_it():\n    assert True\n", "No module named 'absent'"),
        ("def test_it():\n    assert True\n\n\nimport sys\nsys.exit(0)\n", "sys.exit"),
    ],
)
def test_a_pytest_session_must_run_to_its_end(toy, tito, tests, sentence):
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)], tests=tests)
    end = tito("test", "01")
    assert end.code == 1 and sentence in end.out


def test_no_graded_cells_is_no_pass(toy, tito):
    toy.module("01", "alpha", [], extra=[toy.cell("code", "double", toy.DOUBLE)])
    end = tito("test", "01")
    assert end.code == 1 and "nothing to pass" in end.out


def test_a_deleted_graded_cell_is_missed(toy, tito):
    exercises = [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10), ("triple", toy.STUB, toy.TEST_TRIPLE, 5)]
    toy.module("01", "alpha", exercises)
    toy.notebook("01", "alpha", exercises[:1], extra=[toy.cell("solution", "triple", toy.STUB)])
    end = tito("test", "01")
    assert end.code == 1 and "no graded cell test_triple" in end.out and "tito reset 01 test_triple" in end.out


def test_a_test_between_the_solutions_of_an_exercise_is_in_its_place(toy, tito):
    toy.module("01", "alpha", [("double", toy.WRONG, toy.TEST_DOUBLE, 5), ("double_x", toy.DOUBLE, "assert 1", 5)])
    path = toy.root / "modules/01_alpha/module.toml"
    text = path.read_text().replace('solution = ["double"]', 'solution = ["double", "double_x"]')
    path.write_text(text[: text.rindex("[[")].replace('["test_double"]', '["test_double", "test_double_x"]'))
    assert "double(4): expected 8, got 12" in tito("test", "01").out


@pytest.mark.parametrize("how, reason", [("delete", "no code cell double"), ("retype", "tito reset 01 double"),
                                         ("reverse", "test_double stands above double")])  # fmt: skip
def test_a_solution_that_is_not_where_it_was_is_named(toy, tito, how, reason):
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)])
    path = toy.root / "modules/01_alpha/alpha_dev.ipynb"
    nb = notebook.read(path)
    target, solution, test = nb["cells"]
    kept = toy.cell("code", "kept", "#| export\nx = 1")
    retyped = {key: value for key, value in solution.items() if key not in ("outputs", "execution_count")}
    retyped["cell_type"] = "markdown"
    cells = {"delete": [kept, test], "retype": [kept, retyped, test], "reverse": [test, solution]}[how]
    notebook.write(path, {**nb, "cells": [target, *cells]})
    end = tito("test", "01")
    assert end.code == 1 and reason in " ".join(end.out.split())


def test_a_copied_graded_cell_is_named(toy, tito):
    copy = toy.cell("graded", "test_double", "print('copy')", 10)
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)], extra=[copy])
    end = tito("test", "01")
    assert end.code == 1 and "two cells called test_double" in end.out


def test_a_syntax_error_is_named_by_cell_and_line(toy, tito):
    toy.module("01", "alpha", [("double", toy.DOUBLE + " +", toy.TEST_DOUBLE, 10)])
    end = tito("test", "01")
    assert end.code == 1 and "(double), line 3" in end.out and "not run  Task double" in end.out
    assert "The package is as it was" not in end.out and "Traceback" not in end.out


def test_full_runs_the_exploration_cells_too(toy, tito):
    explore = toy.cell("code", "explore", "%matplotlib inline\ndisplay(1)\nraise ValueError('only seen in full')")
    toy.module("01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)], extra=[explore])
    assert tito("test", "01").code == 0
    end = tito("test", "01", "--full")
    assert end.code == 1 and "First failure: explore" in end.out and "only seen in full" in end.out


def test_points_given_by_hand_are_told_apart(toy, tito):
    toy.module(
        "01", "alpha", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)], extra=[toy.cell("manual", "think", "Why?", 4)]
    )
    end = tito("test", "01")
    assert end.code == 0 and "10/10" in end.out and "4 more points are given by hand." in end.out


def test_a_warning_is_noted_but_passes(toy, tito):
    warns = "#| export\nimport warnings\ndef double(x):\n    warnings.warn('odd')\n    return 2 * x"
    toy.module("01", "alpha", [("double", warns, toy.TEST_DOUBLE, 10)])
    end = tito("test", "01")
    assert end.code == 0 and "nbgrader gives no points" in end.out


def test_control_characters_do_not_reach_the_terminal(toy, tito):
    bad = toy.TEST_DOUBLE.replace("expected 8", "\\x1b[2J\\x07expected 8")
    toy.module("01", "alpha", [("double", toy.WRONG, bad, 10)])
    end = tito("test", "01")
    assert "\x1b" not in end.out and "\x07" not in end.out and "expected 8, got 12" in end.out


def test_a_message_that_no_terminal_can_show_is_shown_all_the_same(toy, tito):
    bad = toy.TEST_DOUBLE.replace("expected 8", "\\ud800 expected 8")
    toy.module("01", "alpha", [("double", toy.WRONG, bad, 10)])
    end = tito("test", "01")
    assert end.code == 1 and "expected 8, got 12" in end.out


# What a student reads


def test_a_line_is_named_by_its_own_function(toy, tito):
    two = (
        "def first(x):\n    return x\n\n\ndef second(x):\n    assert x == 8, f'expected 8, got {x}'\nsecond(double(4))"
    )
    toy.module("01", "alpha", [("double", toy.WRONG, two, 10)])
    assert "second in test_double, line 6: assert x == 8" in tito("test", "1").out


FORGOTTEN = {
    "nothing": "    y = 2 * x",
    "printed": "    print(2 * x)",
    "on one way": "    if x > 100:\n        return 2 * x",
    "in a loop": "    for n in range(3):\n        if n > 5:\n            return n",
    "after with": "    import contextlib\n    with contextlib.suppress(ValueError):\n        y = 2 * x",
}


@pytest.mark.parametrize("body", FORGOTTEN.values(), ids=FORGOTTEN)
@pytest.mark.parametrize("test", ["import numpy as np\nassert np.shape(double(4)) == (1,), 'shape'", "double(4) + 1"])
def test_a_forgotten_return_is_told_as_such(toy, tito, body, test):
    toy.module("01", "alpha", [("double", f"#| export\ndef double(x):\n{body}", test, 10)])
    out = tito("test", "1", "double").out
    assert "double returned None: is a `return` missing?" in out and "line 2" in out or "line 1" in out


@pytest.mark.parametrize(
    "solution, test",
    [
        (
            "def double(x):\n    x.append(2)",
            "x = []\ndouble(x)\nassert x == [3], 'expected [3]'",
        ),  # its result is dropped
        ("def double(x):\n    while True:\n        return 3", "assert double(4) == 8, 'expected 8'"),
        (
            "def double(x):\n    try:\n        return 3\n    finally:\n        x = 2",
            "assert double(4) == 8, 'expected 8'",
        ),
        ("def double(x):\n    yield x", "assert list(double(4)) == 8, 'expected 8'"),
        ("class double:\n    def __init__(self, x):\n        self.x = x", "assert double(4) == 8, 'expected 8'"),
        ("def double(x):\n    return None", "assert double(4) == 8, 'got None; is there a return?'"),
    ],
)
def test_no_return_is_missed_where_none_is(toy, tito, solution, test):
    toy.module("01", "alpha", [("double", f"#| export\n{solution}", test, 10)])
    out = tito("test", "1", "double").out
    assert "is a `return` missing?" not in out and ("expected" in out or "is there a return?" in out)


def several(toy, tests, wrong="double"):
    """A module of three exercises, the last one not written, whose own tests notice nothing; `tests`: pytest's."""
    body = {"double": "2 * x", "half": "x / 2"}
    body[wrong] = f"{body[wrong]} + (x > 100)"
    exercises = [(name, f"#| export\n\n# a comment\ndef {name}(x):\n    \"\"\"Doc.\"\"\"\n    return {text}",
                  f"assert {name}(4)", 5) for name, text in body.items()]  # fmt: skip
    head = "import pytest\nfrom tinytorch.core.alpha import double, half, triple\n\n\n"
    toy.module("01", "alpha", [*exercises, ("triple", toy.STUB, toy.TEST_TRIPLE, 5)], tests=head + tests)


BOTH = "@pytest.mark.parametrize('x', [1, 200])\ndef test_both(x):\n    assert half(double(x)) == x\n\n\n"


@pytest.mark.parametrize("wrong, other", [("double", "half"), ("half", "double")])
def test_a_failing_pytest_test_names_its_exercise_and_its_case(toy, tito, wrong, other):
    alone = f"def test_alone():\n    assert {wrong}(2)\n\n\n"
    alone += f"@pytest.mark.parametrize('n', [2, 3, 4])\ndef test_other(n):\n    assert {other}(n)\n"
    several(toy, BOTH.replace("half(double(x)) == x", "half(double(x)) == x or x < 5") + alone, wrong)
    out = tito("test", "1", columns=200).out
    assert f"First failure: probably Task {wrong} ({wrong}), in tests/01_alpha/test_alpha.py::test_both[200]" in out
    assert "with x=200" in out and f"tito hint 01 {wrong}" not in out, "these exercises have no hints"


def test_an_error_in_a_students_function_names_it_by_the_cell(toy, tito):
    several(toy, "def test_it():\n    assert double('a') + 1\n")
    out = tito("test", "1", columns=200).out
    assert "First failure: Task double (double), in tests/01_alpha/test_alpha.py::test_it" in out
    assert "double, line 6: return 2 * x + (x > 100)" in out and "tinytorch/core" not in out


def test_a_forgotten_return_is_told_of_a_pytest_test_too(toy, tito):
    several(toy, "def test_it():\n    assert double(half(300)) == 300\n")
    nb = notebook.read(toy.root / "modules/01_alpha/alpha_dev.ipynb")
    for cell in nb["cells"]:
        if cell["id"] == "half":
            cell["source"] = "#| export\ndef half(x):\n    if x < 100:\n        return x / 2"
    notebook.write(toy.root / "modules/01_alpha/alpha_dev.ipynb", nb)
    out = tito("test", "1", columns=200).out
    assert "First failure: Task half (half), in" in out and "half returned None: is a `return` missing?" in out
    assert "double, line 6" in out, "where the error came up"


def test_a_pytest_test_that_only_waits_is_no_failure_to_mend(toy, tito):
    several(toy, "def test_three():\n    assert triple(2) == 6\n\n\ndef test_two():\n    assert double(2) == 4\n")
    out = tito("test", "1", columns=200).out
    assert "1 failed, 1 passed" in out and "Tests also fail while exercises are not written: Task triple." in out
    assert "First failure" not in out and "the check does not hold" not in out
    assert out.endswith("Next: tito lab 01\n")


def test_what_hypothesis_found_is_one_line(toy, tito):
    tests = "from hypothesis import given, settings\nfrom hypothesis import strategies as st\n\n\n"
    tests += (
        "@settings(derandomize=True)\n@given(x=st.integers(0, 500))\ndef test_it(x):\n    assert double(x) == 2 * x\n"
    )
    several(toy, tests)
    out = tito("test", "1", columns=200).out
    assert "\n  with x=101\n  assert 203 == (2 * 101)\n" in out.replace(" ...", ""), out


def test_why_tests_were_skipped_is_said(toy, tito):
    tests = "@pytest.mark.skip(reason='no second GPU')\n@pytest.mark.parametrize('n', range(3))\n"
    several(toy, f"{tests}def test_it(n):\n    pass\n\n\ndef test_two():\n    assert double(2) == 4\n")
    out = tito("test", "1").out
    assert "1 passed, 3 skipped" in out and "3 skipped: no second GPU" in out


def test_a_module_that_waits_for_another_names_that_one_next(toy, tito):
    toy.package("alpha", "raise ModuleNotFoundError('Module 01 is yours to write: tito lab 01', name=__name__)\n")
    toy.module("01", "alpha", [("double", toy.STUB, toy.TEST_DOUBLE, 10)])
    needs = toy.cell("code", "imports", "#| export\nfrom tinytorch.core.alpha import double")
    toy.module("02", "beta", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 10)], extra=[needs])
    end = tito("test", "02")
    assert end.out.endswith("Next: tito lab 01\n") and "core/alpha.py, line" not in end.out


def test_an_editable_install_lends_its_tools_and_no_module_of_the_course(tmp_path, monkeypatch):
    class Editable:
        __module__ = "__editable___course_finder"
        find_spec = staticmethod(lambda name, path=None, target=None: name)

    (tmp_path / "mine").mkdir()
    monkeypatch.setattr(sys, "meta_path", [Editable()])
    child.forget_editable_installs(tmp_path)
    found = [sys.meta_path[0].find_spec(name) for name in ("tito.web", "tinytorch.core.fast", "mine.first")]
    monkeypatch.undo()
    assert found == ["tito.web", None, None]
