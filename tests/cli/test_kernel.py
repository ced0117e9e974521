"""The kernel TinyTorch: installed into an environment, it imports the course that a notebook lies in."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from tito import CourseError, jupyter
from tito.course import notebook
from tito.kernel import STALE, VARIABLE

pytest.importorskip("ipykernel", reason="ipykernel is not installed")
REPOSITORY = Path(__file__).resolve().parents[2]


def test_it_is_installed_once_and_again_is_no_harm(tmp_path):
    assert not jupyter.kernel_installed(tmp_path)
    file = jupyter.install_kernel(tmp_path)
    assert file == tmp_path / "share/jupyter/kernels/tinytorch/kernel.json" and jupyter.kernel_installed(tmp_path)
    assert json.loads(file.read_text())["argv"][0] == sys.executable
    written = file.stat().st_mtime_ns
    assert jupyter.install_kernel(tmp_path) == file and file.stat().st_mtime_ns == written


def test_another_pythons_kernel_is_replaced(tmp_path):
    file = jupyter.install_kernel(tmp_path)
    file.write_text(json.dumps({**jupyter.kernel_spec(), "argv": ["/another/python"]}))
    assert not jupyter.kernel_installed(tmp_path)
    jupyter.install_kernel(tmp_path)
    assert jupyter.kernel_installed(tmp_path)


def test_a_prefix_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "share").write_text("a file, not a folder")
    with pytest.raises(CourseError, match="the kernel cannot be installed"):
        jupyter.install_kernel(tmp_path)


def test_the_nearest_course_comes_first(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", ["", "/somewhere"])
    jupyter.put_course_first(tmp_path)
    assert sys.path == ["", "/somewhere"]
    inner = tmp_path / "outer/inner"
    (inner / "modules/09_spatial").mkdir(parents=True)
    for root in (inner, inner.parent):
        (root / "settings.ini").write_text("[DEFAULT]\n")
    jupyter.put_course_first(inner / "modules/09_spatial")
    assert sys.path == [str(inner), "", "/somewhere"]


@pytest.fixture
def kernel(toy, tmp_path):
    """Run code in the kernel of the toy course's module 09; what is shown, as (kind, text). Errors end with nothing."""
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import KernelManager

    jupyter.install_kernel(tmp_path)
    clients = []

    def start():
        specs = KernelSpecManager(kernel_dirs=[str(tmp_path / "share/jupyter/kernels")])
        manager = KernelManager(kernel_name="tinytorch", kernel_spec_manager=specs)
        path = os.pathsep.join([str(tmp_path / "installed"), str(REPOSITORY)])
        manager.start_kernel(cwd=str(toy.root / "modules/09_spatial"), env={**os.environ, "PYTHONPATH": path})
        client = manager.client()
        clients.append((client, manager))
        client.start_channels()
        client.wait_for_ready(timeout=60)
        return client

    def run(code):
        client = clients[0][0] if clients else start()
        said = []
        client.execute_interactive(code, timeout=60, output_hook=said.append, stop_on_error=False)
        shown = [(message["msg_type"], message["content"]) for message in said]
        found = [(kind, content["text"]) for kind, content in shown if kind == "stream"]
        return found + [(kind, re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(content["traceback"])))
                        for kind, content in shown if kind == "error"]  # fmt: skip

    yield run
    for client, manager in clients:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_a_notebook_imports_its_course_and_nothing_beside_it(toy, tmp_path, kernel):
    toy.module("09", "spatial", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 100)])
    toy.package("spatial", toy.DOUBLE)
    for decoy in (toy.root / "modules/09_spatial", tmp_path / "installed"):
        (decoy / "tinytorch").mkdir(parents=True)
        (decoy / "tinytorch/__init__.py").write_text("")
    said = kernel("import tinytorch.core.spatial as found; print(found.__file__)")
    assert said == [("stream", f"{toy.root / 'tinytorch/core/spatial.py'}\n")]


TOOLS = "def hold(got):\n    __tracebackhide__ = True\n    assert got == 8, f'expected 8, got {got}'\n\n\n"


def test_a_failed_test_shows_message_own_line_and_hint(toy, kernel):
    """Of the test itself and its tools nothing is shown; %tb and a variable show everything."""
    toy.module("09", "spatial", [
        ("double", toy.WRONG, f"{TOOLS}def test_unit_double():\n    hold(double(4))\n\n\ntest_unit_double()", 5),
        ("half", "#| export\ndef half(x):\n    return x / zero", "assert half(4) == 2", 5),
        ("triple", toy.STUB, toy.TEST_TRIPLE, 5),
        ("six", "#| export\ndef six(x):\n    y = 6 * x", "import numpy\nassert numpy.shape(six(1)), 'shape'", 5),
    ], hints=["a nudge"])  # fmt: skip
    cells = {
        cell["id"]: cell["source"] for cell in notebook.read(toy.root / "modules/09_spatial/spatial_dev.ipynb")["cells"]
    }
    for name in ("double", "half", "triple", "six"):
        assert kernel(cells[name]) == []
    [(kind, text)] = kernel(cells["test_double"])
    assert kind == "error" and text.startswith(
        "AssertionError  Task double: the test does not pass.\n\nexpected 8, got 12\n"
    )
    assert "tito hint 09 double" in text and "hold" not in text and "test_unit" not in text
    [(_, text)] = kernel("%tb")
    assert "test_unit_double()" in text and "hold(double(4))" in text
    [(_, text)] = kernel(cells["test_half"])
    assert "NameError  Task half: the test does not pass.\n\nname 'zero' is not defined" in text
    assert "  half, line 3: return x / zero" in text
    [(_, text)] = kernel(cells["test_triple"])
    assert text.startswith("NotImplementedError  Task triple is not written yet.") and "triple, line 4: raise" in text
    [(_, text)] = kernel("triple(2)")
    assert "Task triple is not written yet." in text, "in a cell of one's own too"
    [(_, text)] = kernel(cells["test_six"])
    assert "six returned None: is a `return` missing?\nshape\n" in text
    [(_, text)] = kernel("1 / 0")
    assert "Traceback" in text and "the test" not in text, "IPython's own, where there is nothing to add"
    kernel(f"import os\nos.environ['{VARIABLE}'] = 'full'")
    [(_, text)] = kernel(cells["test_double"])
    assert "hold(double(4))" in text and "Traceback" in text


def test_a_name_of_a_cell_that_did_not_run_is_told_by_the_cell(toy, kernel):
    numbers = toy.cell("code", "numbers", "one, two = 1, 2\nimport math as m")
    toy.module("09", "spatial", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 5)], extra=[numbers])
    for code, maker in {toy.TEST_DOUBLE: "double", "two + 1": "numbers", "m.pi": "numbers"}.items():
        [(_, text)] = kernel(code)
        assert f"is made in the cell {maker}," in text and "Run All Above" in text
    [(_, text)] = kernel("nobodys + 1")
    assert "Traceback" in text and "Run All" not in text


def test_an_export_is_told_to_a_kernel_that_holds_the_old_package(toy, kernel):
    toy.module("09", "spatial", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 5)])
    toy.package("alpha", "x = 1\n")
    toy.package("beta", "x = 1\n")
    assert kernel("import tinytorch.core.alpha") == []
    toy.package("beta", "x = 1000\n")
    assert kernel("1") == [], "which was not imported"
    toy.package("alpha", "x = 1000\n")
    assert kernel("print('mine')") == [("stream", f"{STALE}\nmine\n")] and kernel("1") == []
