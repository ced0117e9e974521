"""Module 09's notebooks and the package in one process: neither changes what the other's layers run."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest

from tinytorch import Tensor, backend
from tinytorch.backend import BACKENDS
from tinytorch.core.spatial import Conv2d
from tito.course import notebook

FOLDER = Path(__file__).resolve().parents[2] / "modules" / "09_spatial"


def run(name, cell="", right="", wrong=""):
    """(names, {graded cell that fails: message}) of a notebook's cells, with a mistake in one of them."""
    namespace, failed = {"__name__": "__main__"}, {}
    for each in notebook.read(FOLDER / f"{name}.ipynb")["cells"]:
        if notebook.kind(each) not in notebook.CORE:
            continue
        source = each["source"]
        if each["id"] == cell:
            assert right in source
            source = source.replace(right, wrong)
        with contextlib.redirect_stdout(io.StringIO()):
            try:
                exec(compile(source, f"<{each['id']}>", "exec"), namespace)
            except Exception as error:
                failed[each["id"]] = str(error)
    return namespace, failed


@pytest.fixture
def loaded():
    """The package with all its backends, the fast one in force, and what they are."""
    with backend.use_backend("fast"):
        yield {name: dict(kernels) for name, kernels in BACKENDS.items()}


@pytest.mark.parametrize("name", ["spatial_dev", "fast_dev"])
def test_a_notebook_changes_nothing_in_the_package(loaded, name):
    assert {"loops", "windows", "fast"} <= loaded.keys()
    namespace, failed = run(name)
    assert failed == {} and loaded == BACKENDS and backend.backend() == "fast"
    own = namespace["backends"].table
    assert own.keys() == ({"loops", "windows"} if name == "spatial_dev" else {"fast"})
    mine = {id(function) for kernels in own.values() for function in kernels.values()}
    assert not mine & {id(function) for kernels in BACKENDS.values() for function in kernels.values()}


def test_choosing_in_the_notebook_and_in_the_package_are_two_things(loaded):
    namespace, _ = run("spatial_dev")
    mine = namespace["backends"]
    with mine.use_backend("loops"):
        assert (mine.backend(), backend.backend()) == ("loops", "fast")
        with backend.use_backend("windows"):
            assert (mine.backend(), backend.backend()) == ("loops", "windows")
    assert (mine.backend(), backend.backend()) == ("windows", "fast")


def test_a_broken_package_does_not_reach_the_notebook(monkeypatch, loaded):
    for name, kernels in loaded.items():
        monkeypatch.setitem(BACKENDS, name, dict.fromkeys(kernels, lambda *inputs: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        Conv2d(1, 1, 1)(Tensor(np.ones((1, 1, 2, 2))))
    assert run("spatial_dev")[1] == {}


def test_a_broken_notebook_fails_though_the_package_is_right(loaded):
    _, failed = run("spatial_dev", "conv2d", "out += bias[:, None, None, None]", "pass")
    assert {"test_conv2d", "test_Conv2d"} <= failed.keys()
    assert "the bias is missing" in failed["test_Conv2d"]
    _, failed = run("spatial_dev", "max_pool2d", "np.maximum(out", "np.minimum(out")
    assert {"test_max_pool2d", "test_pool_layers"} <= failed.keys()
