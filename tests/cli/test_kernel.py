"""The kernel TinyTorch: installed into an environment, it imports the course that a notebook lies in."""

import json
import os
import sys
from pathlib import Path

import pytest

from tito import CourseError, jupyter

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


def test_a_notebook_imports_its_course_and_nothing_beside_it(toy, tmp_path, monkeypatch):
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import KernelManager

    jupyter.install_kernel(tmp_path)
    toy.module("09", "spatial", [("double", toy.DOUBLE, toy.TEST_DOUBLE, 100)])
    toy.package("spatial", toy.DOUBLE)
    here = toy.root / "modules/09_spatial"
    for decoy in (here, tmp_path / "installed"):
        (decoy / "tinytorch").mkdir(parents=True)
        (decoy / "tinytorch/__init__.py").write_text("")
    specs = KernelSpecManager(kernel_dirs=[str(tmp_path / "share/jupyter/kernels")])
    manager = KernelManager(kernel_name="tinytorch", kernel_spec_manager=specs)
    path = os.pathsep.join([str(tmp_path / "installed"), str(REPOSITORY)])
    manager.start_kernel(cwd=str(here), env={**os.environ, "PYTHONPATH": path})
    client = manager.client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        said = []
        code = "import tinytorch.core.spatial as found; print(found.__file__)"
        client.execute_interactive(code, timeout=60, output_hook=lambda message: said.append(message["content"]))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    printed = [content["text"] for content in said if content.get("name") == "stdout"]
    assert printed == [f"{toy.root / 'tinytorch/core/spatial.py'}\n"], said
