"""The tests of this folder run what `spatial_dev.ipynb` holds, unless they ask for another backend."""

import traceback
from pathlib import Path

import pytest

from tinytorch.backend import use_backend


@pytest.fixture(autouse=True, scope="module")
def windows():
    """The backend "windows" for all tests of a file."""
    with use_backend("windows"):
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call():
    """The module is complete without its stretch: a test that meets an unwritten exercise of it is skipped."""
    try:
        return (yield)
    except NotImplementedError as error:
        if Path(traceback.extract_tb(error.__traceback__)[-1].filename).name == "blocks.py":
            pytest.skip("blocks_dev.ipynb is not finished")
        raise
