"""The tests of this folder run what `spatial_dev.ipynb` holds, unless they ask for another rung."""

import pytest

from tinytorch.core.spatial import use


@pytest.fixture(autouse=True, scope="module")
def windows():
    """The rung "windows" for all tests of a file."""
    with use("windows"):
        yield
