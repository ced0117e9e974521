"""The tests of this folder run what `spatial_dev.ipynb` holds, unless they ask for another backend."""

import pytest

from tinytorch.backend import use_backend


@pytest.fixture(autouse=True, scope="module")
def windows():
    """The backend "windows" for all tests of a file."""
    with use_backend("windows"):
        yield
