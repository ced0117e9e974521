"""The house rules that no single module can check: one list of settings, one source of code, a course in order."""

import ast
import configparser
import copy
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer

from tito.author.check import check_files
from tito.cli import app
from tito.course import notebook
from tito.course.export import HAND_WRITTEN, export
from tito.course.registry import Course
from tito.course.script import twin_text

ROOT = Path(__file__).resolve().parents[1]
COURSE = Course.load(ROOT)
NOTEBOOKS = [path for module in COURSE.modules for path in module.notebooks]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def python(code, *arguments):
    """What a fresh Python with this course first on its path answers in JSON; it may print nothing else."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
    return json.loads(ended.stdout)


def test_settings_and_nbdev_agree():
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "settings.ini", encoding="utf-8")
    settings, nbdev = parser.defaults(), PYPROJECT["tool"]["nbdev"]
    shared = settings.keys() & nbdev.keys()
    assert {"lib_name", "lib_path", "nbs_path"} <= shared
    assert {key: settings[key] for key in shared} == {key: nbdev[key] for key in shared}
    assert nbdev["update_pyproject"] is False


def test_the_course_is_in_order():
    """The rules of `tito dev check` for which nothing is executed."""
    findings = check_files(COURSE, typer.main.get_command(app))
    assert [f"{finding.what}: {finding.text}" for finding in findings if finding.state != "ok"] == []


def test_there_are_nine_modules():
    names = "tensor activations layers losses autograd optimizers training dataloader spatial".split()
    assert [module.folder for module in COURSE.modules] == [f"{n:02}_{name}" for n, name in enumerate(names, 1)]


def test_the_package_is_what_the_notebooks_make_and_a_short_list_of_hand_written_files():
    results = export(COURSE, COURSE.modules, check=True)
    assert [(result.path.name, result.note) for result in results if result.changed] == []
    assert [name for name in HAND_WRITTEN if not (COURSE.package / name).is_file()] == []


def test_classes_are_whole():
    """No base class exists only to cut a class into cells: what one does stands in one class, over several cells."""
    from tinytorch.core import layers, optimizers, training

    assert layers.Module.__mro__ == (layers.Module, object)
    assert training.Trainer.__mro__ == (training.Trainer, object)
    own = [base for base in optimizers.Optimizer.__mro__ if base.__module__ == optimizers.__name__]
    assert own == [optimizers.Optimizer]
    for method in (layers.Module.state_dict, training.Trainer.fit, optimizers.Optimizer.load_state_dict):
        assert method.__doc__ and method.__qualname__.count(".") == 1


IMPORT_ALL = """
import importlib, json, sys
import numpy.random  # NumPy loads it on demand
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
tops = {name.partition(".")[0] for name in set(sys.modules) - before}
print(json.dumps(sorted(tops - set(sys.stdlib_module_names) - {"numpy", "tinytorch"})))
"""


def test_importing_any_module_loads_numpy_and_the_standard_library_only():
    targets = [f"tinytorch.{target}" for module in COURSE.modules for target in module.targets.values()]
    others = ["tinytorch", "tinytorch.backend", "tinytorch.nn", "tinytorch.optim", "tinytorch.viz"]
    assert python(IMPORT_ALL, *others, *targets) == []


def test_import_is_fast_on_top_of_numpy():
    code = (
        "import json, time, numpy; start = time.perf_counter(); import tinytorch;"
        "print(json.dumps(time.perf_counter() - start))"
    )
    assert min(python(code) for _ in range(3)) < 0.2


@each_notebook
def test_nbdev_would_change_nothing_in_a_notebook(path):
    from nbdev.clean import clean_nb

    nb = json.loads(path.read_text(encoding="utf-8"))
    cleaned = copy.deepcopy(nb)
    clean_nb(cleaned, allowed_cell_metadata_keys=PYPROJECT["tool"]["nbdev"]["allowed_cell_metadata_keys"])
    assert cleaned == nb


@each_notebook
def test_the_twin_keeps_every_graded_and_solution_cell(path):
    text = twin_text(path)
    import jupytext

    def marks(cells):
        return [(cell["metadata"]["nbgrader"], cell["source"]) for cell in cells if "nbgrader" in cell["metadata"]]

    assert marks(jupytext.reads(text, fmt="py:percent").cells) == marks(notebook.read(path)["cells"])


def test_the_package_begins_with_its_fastest_backend():
    code = "import json; from tinytorch import backend as b; print(json.dumps([b.backend(), *b.BACKENDS['fast']]))"
    assert python(code) == ["fast", "conv2d", "max_pool2d", "avg_pool2d", "fuse"]


def test_the_house_has_its_front_door():
    assert [name for name in ("README.md", "LICENSE", "constraints.txt") if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize(
    ("yours", "says"),
    [
        ("[(3, 4), (3,), 9, 24, (12, 4), 24]", "6 of 6; look again at []\n"),
        ("[(3, 4), 3, 0, 24.0, (4, 12), 8]", "2 of 6; look again at [2, 3, 5, 6]\n"),
        ("[..., ..., ..., ..., ..., ...]", ""),
    ],
)
def test_the_self_test_grades_itself(capsys, yours, says):
    code = (ROOT / "modules/01_tensor/README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    exec(code.replace("[..., ..., ..., ..., ..., ...]", yours), {})
    assert capsys.readouterr().out == says


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only a clone knows which files are the course's")
def test_no_path_of_this_machine_is_in_the_tree():
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    places = (str(place) for place in (ROOT, Path.home(), sys.prefix))
    places = [place.encode() for place in places if place.count("/") > 1 and place != "/usr/local"]  # "/root" is a word
    files = [ROOT / name for name in names if (ROOT / name).is_file()]
    found = [str(file.relative_to(ROOT)) for file in files if any(place in file.read_bytes() for place in places)]
    assert found == []


@pytest.mark.parametrize("module", COURSE.modules, ids=lambda module: module.folder)
def test_a_modules_tests_need_no_later_module(module):
    """A student runs them before the later ones are written. What only those can show is in tests/integration."""
    later = {
        f"tinytorch.{target}"
        for other in COURSE.modules
        for target in other.targets.values()
        if other.number > module.number
    }
    if module.number < "05":
        later.add("backward")
    for path in (COURSE.folder("tests") / module.folder).glob("test_*.py"):
        if "parity" in path.name:  # skipped until they can run
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        called = {getattr(node.func, "attr", "") for node in ast.walk(tree) if isinstance(node, ast.Call)}
        assert not (imported | called) & later, path.name
