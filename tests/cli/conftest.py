"""A toy course in a temporary folder, and `tito` run inside it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tito import cli
from tito.course import notebook

REPOSITORY = Path(__file__).resolve().parents[2]
HEADLESS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1400,1000",
)  # fmt: skip

DOUBLE = "#| export\ndef double(x):\n    return 2 * x"
TEST_DOUBLE = (
    "def test_unit_double():\n"
    "    got = double(4)\n"
    "    assert got == 8, f'double(4): expected 8, got {got}'\n"
    "test_unit_double()\n"
    "print('double: passed')"
)
STUB = "#| export\ndef triple(x):\n    # TODO: multiply\n    raise NotImplementedError()"
TEST_TRIPLE = "def test_unit_triple():\n    assert triple(2) == 6\ntest_unit_triple()"
PYTEST = """\
from tinytorch.core.{name} import double


def test_double():
    assert double(3) == 6, "double(3) must be 6"
"""


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A function that starts Chromium without a window, its console kept; all of them end with the tests."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    browser, driver = shutil.which("chromium") or shutil.which("chromium-browser"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("chromium and chromedriver are not installed")
    started = []

    def start():
        options = webdriver.ChromeOptions()
        options.binary_location = browser
        for flag in (*HEADLESS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        started.append(webdriver.Chrome(options=options, service=webdriver.chrome.service.Service(driver)))
        return started[-1]

    yield start
    for each in started:
        each.quit()


def cell(kind, id, source, points=0):
    """A notebook cell of a kind: code, solution, graded or manual."""
    by_hand = kind == "manual"
    marks = {"grade": by_hand or kind == "graded", "locked": kind == "graded", "solution": kind != "graded"}
    made = {"cell_type": "markdown" if by_hand else "code", "id": id, "metadata": {}, "source": source}
    if kind != "code":
        given = {"points": points} if marks["grade"] else {}
        made["metadata"]["nbgrader"] = {**marks, **given, "grade_id": id, "schema_version": 3, "task": False}
    return made if by_hand else {**made, "execution_count": None, "outputs": []}


class Toy:
    """A course whose modules hold the exercises that a test gives them: (id, solution, test, points)."""

    DOUBLE, TEST_DOUBLE, STUB, TEST_TRIPLE = DOUBLE, TEST_DOUBLE, STUB, TEST_TRIPLE
    WRONG = DOUBLE.replace("2 * x", "3 * x")
    HANG = "#| export\ndef double(x):\n    while True:\n        pass"
    cell = staticmethod(cell)

    def __init__(self, root):
        self.root = root
        (root / "tinytorch").mkdir(parents=True)
        (root / "tinytorch" / "__init__.py").write_text("")
        (root / "settings.ini").write_text("[DEFAULT]\nlib_path = tinytorch\n")

    def module(self, number, name, exercises, tests=PYTEST, extra=(), requires=(), hints=()):
        """Write a module with its notebook, its registry entry and its pytest folder (none if `tests` is empty)."""
        self.notebook(number, name, exercises, extra)
        entry = f'number = "{number}"\nname = "{name}"\ntitle = "The {name}"\nsummary = "A toy."\n'
        entry += f'requires = {json.dumps(requires)}\nnotebooks = ["{name}_dev.ipynb"]\n'
        for id, _, _, _ in exercises:
            entry += f'[[exercise]]\nid = "{id}"\ntitle = "Task {id}"\ndifficulty = 1\nminutes = 5\n'
            entry += f'solution = ["{id}"]\ntests = ["test_{id}"]\nhints = {json.dumps(hints)}\n'
        (self.root / f"modules/{number}_{name}/module.toml").write_text(entry)
        folder = self.root / f"tests/{number}_{name}"
        folder.mkdir(parents=True, exist_ok=True)
        if tests:
            (folder / f"test_{name}.py").write_text(tests.format(name=name))

    def notebook(self, number, name, exercises, extra=()):
        """Write (again) the notebook of a module, and nothing else."""
        cells = [cell("code", "target", f"#| default_exp core.{name}"), *extra]
        for id, solution, test, points in exercises:
            cells += [cell("solution", id, solution), cell("graded", f"test_{id}", test, points)]
        path = self.root / f"modules/{number}_{name}/{name}_dev.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        notebook.write(path, {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})

    def package(self, name, source):
        """Put a file into the exported package, as if it had been exported."""
        (self.root / "tinytorch/core").mkdir(exist_ok=True)
        (self.root / "tinytorch/core/__init__.py").touch()
        (self.root / f"tinytorch/core/{name}.py").write_text(source)


@pytest.fixture
def toy(tmp_path):
    return Toy(tmp_path / "course")


@pytest.fixture
def tito(toy, monkeypatch, capsys):
    """Run a command inside the toy course, in this process: tito("test", "09") -> code, out, err."""

    def run(*words, columns=80, cwd=None):
        monkeypatch.chdir(cwd or toy.root)
        monkeypatch.setattr(sys, "argv", ["tito", *words])
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # a second less in every pytest that tito starts
        monkeypatch.delenv("TINYTORCH_ROOT", raising=False)
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return SimpleNamespace(code=end.value.code or 0, out=out, err=err)

    return run


@pytest.fixture
def tito_process(toy):
    """Run a command inside the toy course in a process of its own."""

    def run(*words, path=(), start=subprocess.run, **options):
        """`path`: more folders for PYTHONPATH; `start`: subprocess.run or Popen, with its options."""
        command = [sys.executable, "-P", "-m", "tito", *words]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (REPOSITORY, *path))), "COLUMNS": "80"}
        environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        return start(command, cwd=toy.root, env={**environment, **options.pop("environment", {})}, **options)

    return run
