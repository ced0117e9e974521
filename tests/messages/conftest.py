"""What a notebook's graded cells say to a mistake. This folder stays here: its mistakes are nearly the solutions."""

import importlib.util
import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def messages():
    """messages("05_autograd/autograd_dev.ipynb", {name: (solution cell, code, ...)}) -> {name: message}: planted.py."""
    if not hasattr(os, "fork"):
        pytest.skip("each mistake is tried in a fork, which this system lacks")
    spec = importlib.util.spec_from_file_location("planted", Path(__file__).with_name("planted.py"))
    planted = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(planted)
    return planted.messages


@pytest.fixture(scope="module")
def said(request, messages):
    """Mistake -> what the tests of the file's NOTEBOOK say to it, for the file's MISTAKES."""
    mistakes = request.module.MISTAKES
    return messages(request.module.NOTEBOOK, {name: mistake[1:] for name, mistake in mistakes.items()})


def pytest_generate_tests(metafunc):
    """A test that takes a `mistake` runs for each of the file's MISTAKES."""
    if "mistake" in metafunc.fixturenames and hasattr(metafunc.module, "MISTAKES"):
        metafunc.parametrize("mistake", metafunc.module.MISTAKES)
