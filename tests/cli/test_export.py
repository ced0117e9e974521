"""Export: the notebooks' code reaches the package whole, alone, and always in the same bytes, or not at all."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tito import CourseError
from tito.course import export, notebook, storage
from tito.course.export import HAND_WRITTEN, export_to
from tito.course.export import export as run_export
from tito.course.registry import Course
from tito.course.script import twin_text
from tito.runner.platform import is_superuser

SOLUTION = '''\
#| export
class Box:
    """Holds a number."""

    def double(self, x):
        """Twice x."""
        # TODO: multiply
        ### BEGIN SOLUTION
        return half(4) * x
        ### END SOLUTION'''
ALPHA = [
    ("markdown", "title", "# Alpha\n> The first letter."),
    ("code", "target", "#| default_exp core.alpha"),
    ("code", "half", "#| export\ndef half(x):\n    return x / 2"),
    ("solution", "box", SOLUTION),
    ("graded", "test_box", "assert Box().double(3) == 6\nprint('box: passed')"),
    ("code", "figure", "%matplotlib inline\nprint('exploring')"),
]
BETA = [
    ("code", "target", "#| default_exp data.beta"),
    ("code", "imports", "#| export\nfrom tinytorch.core.alpha import Box"),
    ("code", "triple", "#| export\ndef triple(x):\n    return 3 * x"),
    ("graded", "test_triple", "assert triple(2) == 6"),
]
FLAGS = {"solution": (False, False, True), "graded": (True, True, False)}


def write(path, cells):
    """Write the notebook whose cells are (kind, id, source)."""
    made = []
    for kind, id, source in cells:
        cell_type = "markdown" if kind == "markdown" else "code"
        cell = {"cell_type": cell_type, "id": id, "metadata": {}, "source": source}
        if cell_type == "code":
            cell |= {"execution_count": None, "outputs": []}
        if kind in FLAGS:
            flags = dict(zip(("grade", "locked", "solution"), FLAGS[kind], strict=True))
            points = {"points": 5} if flags["grade"] else {}
            cell["metadata"]["nbgrader"] = {"grade_id": id, "schema_version": 3, "task": False, **flags, **points}
        made.append(cell)
    kernel = {"display_name": "python3", "language": "python", "name": "python3"}
    path.parent.mkdir(parents=True, exist_ok=True)
    notebook.write(path, {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})


def add_module(root, number, name, cells):
    folder = root / "modules" / f"{number}_{name}"
    write(folder / f"{name}_dev.ipynb", cells)
    registry = {"number": number, "name": name, "title": "", "summary": "", "requires": []}
    lines = [f"{key} = {json.dumps(value)}" for key, value in registry.items()]
    (folder / "module.toml").write_text("\n".join([*lines, f'notebooks = ["{name}_dev.ipynb"]\n']))


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "course"
    (root / "tinytorch").mkdir(parents=True)
    (root / "tinytorch" / "__init__.py").write_text('"""By hand."""\n')
    (root / "settings.ini").write_text("[DEFAULT]\nlib_path = tinytorch\n")
    add_module(root, "01", "alpha", ALPHA)
    add_module(root, "02", "beta", BETA)
    return root


@pytest.fixture
def course(root):
    return Course.load(root)


def run(course, *keys, **options):
    """Export modules by name, all if none is named; without twins unless asked."""
    return run_export(course, course.select(keys) if keys else course.modules, **{"twins": False, **options})


def package(course):
    """Path below the root -> bytes, of every file of the package."""
    files = sorted(file for file in course.package.rglob("*") if file.is_file())
    return {file.relative_to(course.root).as_posix(): file.read_bytes() for file in files}


def change(course, key, id, source):
    """Replace the source of one cell of a module's notebook."""
    path = course.module(key).notebooks[0]
    nb = notebook.read(path)
    next(cell for cell in nb["cells"] if cell["id"] == id)["source"] = source
    notebook.write(path, nb)


def test_the_package_reads_like_a_library(course):
    results = run(course)
    assert {result.path.relative_to(course.root).as_posix(): result.changed for result in results} == {
        "tinytorch/core/__init__.py": True,
        "tinytorch/core/alpha.py": True,
        "tinytorch/data/__init__.py": True,
        "tinytorch/data/beta.py": True,
        "tinytorch/_modidx.py": True,
    }
    text = (course.package / "core" / "alpha.py").read_text()
    assert text.startswith('"""The first letter."""\n')
    assert "File to edit: ../../modules/01_alpha/alpha_dev.ipynb." in text
    assert "__all__ = ['half', 'Box']" in text
    assert not re.search("SOLUTION|TODO|HINT|assert|exploring", text)
    assert "from ..core.alpha import Box" in (course.package / "data" / "beta.py").read_text()


def test_an_internal_cell_is_exported_and_offered_to_nobody(course):
    change(course, "alpha", "box", SOLUTION.replace("#| export\n", "#| exporti\n"))
    change(course, "alpha", "half", "#| exporti\ndef half(x):\n    # TODO: divide\n    return x / 2")
    run(course)
    text = (course.package / "core" / "alpha.py").read_text()
    assert "__all__ = []" in text and "class Box" in text and "def half(x):\n    return x / 2" in text
    assert not re.search("SOLUTION|TODO|HINT|exporti", text)
    assert notebook.kind({"cell_type": "code", "metadata": {}, "source": "#| exporti\nx = 1"}) == "export"


def test_exporting_again_changes_nothing(course):
    run(course)
    before = {file: (course.root / file).stat().st_mtime_ns for file in package(course)}
    assert not any(result.changed for result in run(course))
    assert {file: (course.root / file).stat().st_mtime_ns for file in package(course)} == before
    assert not any(result.changed for result in run(course, check=True))


def test_a_byte_order_mark_changes_nothing(course):
    """Some editors begin a file with it, and no reader of JSON takes it."""
    run(course)
    before = package(course)
    for module in course.modules:
        for path in module.notebooks:
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    run(course)
    assert package(course) == before and not any(result.changed for result in run(course, check=True))


def test_one_module_changes_its_own_file_and_the_index_stays_whole(course):
    run(course)
    before = package(course)
    change(course, "beta", "triple", "#| export\ndef thrice(x):\n    return x + x + x")
    changed = [result.path.name for result in run(course, "beta") if result.changed]
    after = package(course)
    assert changed == ["beta.py", "_modidx.py"]
    assert {file for file in after if after[file] != before.get(file)} == {
        "tinytorch/data/beta.py",
        "tinytorch/_modidx.py",
    }
    index = {}
    exec(after["tinytorch/_modidx.py"], index)
    assert set(index["d"]["syms"]) == {"tinytorch.core.alpha", "tinytorch.data.beta"}
    assert index["d"]["syms"]["tinytorch.data.beta"] == {
        "tinytorch.data.beta.thrice": ("02_beta/beta_dev.html#thrice", "tinytorch/data/beta.py")
    }
    assert "tinytorch.core.alpha.Box.double" in index["d"]["syms"]["tinytorch.core.alpha"]


def test_all_equals_the_union_of_singles(course):
    run(course, "alpha")
    run(course, "beta")
    singles = package(course)
    shutil.rmtree(course.package)
    course.package.mkdir()
    (course.package / "__init__.py").write_text('"""By hand."""\n')
    run(course)
    assert package(course) == singles


def test_the_bytes_depend_on_the_notebooks_alone(course, tmp_path):
    run(course, twins=True)
    elsewhere = tmp_path / "a folder with spaces" / "é"
    shutil.copytree(course.root, elsewhere, ignore=shutil.ignore_patterns("*.py", ".tito"))
    (elsewhere / "tinytorch" / "__init__.py").write_text('"""By hand."""\n')
    script = (
        "import sys; from tito.course.registry import Course; from tito.course.export import export;"
        "course = Course.load(sys.argv[1]); export(course, course.modules)"
    )
    odd = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    env = {**os.environ, **odd, "HOME": str(tmp_path), "PYTHONPATH": str(Path(export.__file__).parents[2])}
    subprocess.run([sys.executable, "-c", script, elsewhere], cwd=tmp_path, env=env, check=True)
    other = Course.load(elsewhere)
    assert package(other) == package(course)
    for here, there in zip(course.modules, other.modules, strict=True):
        assert here.notebooks[0].with_suffix(".py").read_bytes() == there.notebooks[0].with_suffix(".py").read_bytes()


def test_no_path_of_the_machine_is_written(course, tmp_path):
    run(course, twins=True)
    texts = [*package(course).values(), *(file.read_bytes() for file in course.root.glob("modules/*/*.py"))]
    assert len(texts) == 8
    assert not [text for text in texts if str(tmp_path).encode() in text or b"/tmp" in text]


FAILURES = {
    "syntax": ("#| export\ndef triple(x):\n    return = 3", "cell 3 (triple), line 3: SyntaxError: invalid syntax"),
    "line magic": ("#| export\n%time x = 1", "cell 3 (triple), line 2: `%time x = 1` is IPython's"),
    "shell": ("#| export\nx = 1\n!ls", "cell 3 (triple), line 3: `!ls` is IPython's"),
    "late directive": ("# note\n#| export\nx = 1", "cell 3 (triple), line 2: `#| export` only counts"),
    "other target": ("#| export core.alpha\nx = 1", "cell 3 (triple), line 1: `#| export core.alpha` names another"),
    "relative": ("#| export\nfrom .alpha import x", "cell 3 (triple), line 2: a relative import"),
    "import": ("#| export\nimport nowhere", "cell 3 (triple), line 2: ModuleNotFoundError: No module named 'nowhere'"),
    "name": (
        "#| export\n# TODO: one\n# HINT: two\n\nx = 1\n# HINT: three\ny = unknown",
        "cell 3 (triple), line 7: NameError: name 'unknown' is not defined",
    ),
    "inner": ("#| export\nfrom ..core.alpha import half", "cell 3 (triple), line 2: a relative import"),
    "exit": ("#| export\nimport sys\nsys.exit(3)", "cell 3 (triple), line 3: SystemExit: 3"),
    "death": ("#| export\nimport os\nos._exit(3)", "importing tinytorch.data.beta ended Python: exit code 3"),
    "version": ("#| export\nfrom tinytorch.core.alpha import no", "cell 3 (triple), line 2: ImportError: cannot"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_bad_notebook_leaves_the_package_and_is_named(course, failure):
    source, message = FAILURES[failure]
    run(course)
    before = package(course)
    change(course, "alpha", "half", "#| export\ndef half(x):\n    return x * 0.5")  # would change, if it were alone
    change(course, "beta", "triple", source)
    with pytest.raises(CourseError) as error:
        run(course, "beta") if failure == "death" else run(course)
    assert message in str(error.value)
    assert str(error.value).endswith("The package is as it was.")
    if failure != "death":
        assert str(error.value).startswith("modules/02_beta/beta_dev.ipynb, ")
    assert package(course) == before


def test_a_solution_cell_without_its_directive_is_named(course):
    change(course, "alpha", "box", SOLUTION.removeprefix("#| export\n"))
    with pytest.raises(CourseError, match=r"cell 4 \(box\), line 1: a solution cell must begin with `#\| export`"):
        run(course)


def test_a_notebook_that_exports_nothing_or_over_handwork_is_refused(course):
    change(course, "beta", "imports", "x = 1")
    change(course, "beta", "triple", "x = 1")
    with pytest.raises(CourseError, match="beta_dev.ipynb exports nothing"):
        run(course)
    change(course, "beta", "triple", "#| export\nx = 1")
    for target in ("backend", "core.alpha"):
        change(course, "beta", "target", f"#| default_exp {target}")
        with pytest.raises(CourseError, match="beta_dev.ipynb cannot export to .*, which is taken"):
            run(Course.load(course.root))


def test_the_import_is_tried_against_this_copy_only(course, tmp_path, monkeypatch):
    """Another tinytorch on the path, with just what a broken notebook needs, must not help it."""
    other = tmp_path / "other" / "tinytorch" / "core"
    other.mkdir(parents=True)
    (other.parent / "__init__.py").touch()
    (other / "gamma.py").write_text("x = 1\n")
    monkeypatch.setenv("PYTHONPATH", str(other.parents[1]))
    change(course, "beta", "triple", "#| export\nfrom tinytorch.core.gamma import x")
    with pytest.raises(CourseError, match="No module named 'tinytorch.core.gamma'"):
        run(course)


def test_a_module_whose_requirement_is_not_exported_says_so(course):
    with pytest.raises(CourseError, match=r"cell 2 \(imports\), line 2: ModuleNotFoundError: .*'tinytorch.core'"):
        run(course, "beta")
    assert set(package(course)) == {"tinytorch/__init__.py"}


@pytest.mark.parametrize("name", ["stage", "replace"])
@pytest.mark.parametrize("nth", [0, 1, 2])
def test_a_full_or_read_only_disk_leaves_the_package(course, monkeypatch, name, nth):
    run(course, "alpha")
    before = package(course)
    change(course, "alpha", "half", "#| export\ndef half(x):\n    return x * 0.5")
    place, attribute = (storage, "stage") if name == "stage" else (export.os, "replace")
    genuine, calls = getattr(place, attribute), []

    def failing(*arguments):
        calls.append(arguments)
        if len(calls) == nth + 1:
            raise OSError(28, "No space left on device")
        return genuine(*arguments)

    monkeypatch.setattr(place, attribute, failing)
    with pytest.raises(CourseError, match="cannot write .*: No space left on device. The package is as it"):
        run(course)
    assert package(course) == before
    assert sorted(path.name for path in course.package.iterdir()) == ["__init__.py", "_modidx.py", "core"]


@pytest.mark.skipif(is_superuser() or os.name == "nt", reason="root may write anywhere")
def test_a_read_only_folder_is_named(course):
    course.package.chmod(0o555)
    try:
        with pytest.raises(CourseError, match="Permission denied. The package is as it was."):
            run(course)
    finally:
        course.package.chmod(0o755)


def test_what_a_killed_export_left_is_cleared(course):
    run(course)
    before = package(course)
    (course.package / "core" / ".alpha.py.abc.tmp").write_text("half of a fi")
    assert [result.note for result in run(course, check=True) if result.changed] == ["made by no notebook: delete it"]
    run(course)
    assert package(course) == before


def test_directives_in_metadata_are_refused(course):
    path = course.module("beta").notebooks[0]
    nb = notebook.read(path)
    nb["cells"][3]["metadata"]["nbdev"] = {"export": "true"}
    notebook.write(path, nb)
    with pytest.raises(CourseError, match=r"beta_dev.ipynb has nbdev directives in its metadata"):
        run(course)


def test_check_names_what_is_out_of_sync(course):
    run(course)
    (course.package / "core" / "old.py").write_text("x = 1\n")
    (course.package / "core" / "alpha.py").write_text("x = 1\n")
    (course.package / "data" / "beta.py").unlink()
    before = package(course)
    found = {result.path.name: result.note for result in run(course, check=True) if result.changed}
    assert found["alpha.py"] == "differs from its notebook"
    assert found["beta.py"] == "missing"
    assert found["old.py"] == "made by no notebook: delete it"
    assert package(course) == before


def test_the_copy_of_a_read_only_course_can_be_written_to(course, tmp_path):
    run(course)
    for path in [*course.package.rglob("*"), course.package]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        export_to(course, course.modules, tmp_path / "build")
    finally:
        for path in [course.package, *course.package.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
    made = tmp_path / "build" / "tinytorch"
    assert all(path.stat().st_mode & 0o200 for path in (made, *made.rglob("*")))


def test_export_to_builds_a_whole_package_elsewhere(course, tmp_path):
    run(course)
    before = package(course)
    change(course, "beta", "triple", "#| export\ntriple = broken")
    made = export_to(course, [course.module("beta")], tmp_path / "build")
    assert "triple = broken" in (tmp_path / "build" / "tinytorch" / "data" / "beta.py").read_text()
    assert made[0] == tmp_path / "build" / "tinytorch" / "data" / "beta.py"
    assert (tmp_path / "build" / "tinytorch" / "core" / "alpha.py").read_bytes() == before["tinytorch/core/alpha.py"]
    assert package(course) == before
    assert run(course, "alpha", lib_path=tmp_path / "again" / "tinytorch")[0].changed
    with pytest.raises(CourseError, match="lib_path must end in 'tinytorch'"):
        run(course, lib_path=tmp_path)


def test_a_second_export_waits_its_turn(course, monkeypatch):
    monkeypatch.setattr(export, "_PATIENCE", 0.1)
    with export.locked(course), pytest.raises(CourseError, match=r"another export has been running for 0\.1 s"):
        run(course)
    assert any(result.changed for result in run(course)), "the lock must be free again"


def test_exports_at_once_end_well(course):
    run(course)
    before = package(course)
    script = (
        "import sys; from tito.course.registry import Course; from tito.course.export import export;"
        "course = Course.load(sys.argv[1]); export(course, course.modules, twins=False)"
    )
    change(course, "beta", "triple", "#| export\ndef triple(x):\n    return x * 3")
    env = {**os.environ, "PYTHONPATH": str(Path(export.__file__).parents[2])}
    running = [subprocess.Popen([sys.executable, "-c", script, course.root], env=env) for _ in range(2)]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    after = package(course)
    assert {file for file in after if after[file] != before.get(file)} == {"tinytorch/data/beta.py"}


def twin(course, key="alpha"):
    return course.module(key).notebooks[0].with_suffix(".py")


def test_the_twin_runs_exports_and_tests_with_this_course(course, tmp_path):
    run(course, twins=True)
    assert "Generated from alpha_dev.ipynb" in twin(course).read_text()
    add = course.package / "core" / "alpha.py"
    add.write_text(add.read_text() + "\nprint('from this course')\n")
    for path, said in ((twin(course), "box: passed\n"), (twin(course, "beta"), "from this course\n")):
        for folder in (path.parent, tmp_path):
            ended = subprocess.run([sys.executable, path], cwd=folder, capture_output=True, text=True)
            assert (ended.stdout, ended.stderr, ended.returncode) == (said, "", 0)


def test_an_edited_twin_is_kept_and_the_student_is_told(course):
    run(course, twins=True)
    twin(course).write_text(twin(course).read_text().replace("x / 2", "x / 3"))
    note = {result.path: result.note for result in run(course, twins=True)}[twin(course)]
    assert note == "was edited; kept as .tito/backups/01_alpha/alpha_dev.py.1: edit the notebook"
    assert "x / 3" in (course.root / ".tito/backups/01_alpha/alpha_dev.py.1").read_text()
    assert "x / 2" in twin(course).read_text()
    twin(course).write_text("mine\n")
    assert "alpha_dev.py.2" in {result.path: result.note for result in run(course, twins=True)}[twin(course)]


def test_an_outdated_twin_is_not_taken_for_an_edited_one(course):
    run(course, twins=True)
    change(course, "alpha", "half", "#| export\ndef half(x):\n    return x * 0.5")
    results = {result.path: result for result in run(course, twins=True)}
    assert results[twin(course)].changed and not results[twin(course)].note
    assert not (course.state / "backups").exists()


def test_hand_written_files_are_never_touched(course):
    (course.package / "backend.py").write_text("# mine\n")
    run(course)
    assert (course.package / "backend.py").read_text() == "# mine\n"
    assert (course.package / "__init__.py").read_text() == '"""By hand."""\n'
    assert "backend.py" in HAND_WRITTEN


ODD = {"line separator": "\u2028", "paragraph separator": "\u2029", "next line": "\x85", "form feed": "\f", "tab": "\v"}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_what_python_takes_for_no_line_end_ends_no_line(course, odd):
    """Text pasted from slides: a comment stays a comment, a string keeps what is in it."""
    source = f"#| export\ndef half(x):\n    # TODO: halve{odd}    x = 2 * x\n"
    source += f"    # half{odd}    x = 2 * x\n    return x / 2"
    change(course, "01", "half", source + f"\n\nWORD = 'a{odd}b'  # HINT: twice{odd}WORD = 3")
    run(course)
    file = course.package / "core/alpha.py"
    for text in (file.read_bytes(), twin_text(course.module("01").notebooks[0]).partition("assert")[0]):
        names: dict = {"__file__": __file__}
        exec(compile(text, str(file), "exec"), names)
        assert names["half"](3) == 1.5 and names["WORD"] == f"a{odd}b"
    assert "TODO" not in file.read_text(encoding="utf-8") and "HINT" not in file.read_text(encoding="utf-8")


def test_imports_are_the_same_wherever_they_stand(course):
    """nbdev makes some relative; that is the same program, and no reason to refuse it."""
    source = "#| export\nimport os, tinytorch.core.alpha\nfrom tinytorch.core.alpha import Box\ntry:\n"
    source += "    from tinytorch.core.alpha import half\nexcept ImportError:\n    half = None\n"
    source += "from tinytorch import core"
    change(course, "02", "imports", source)
    run(course)
    assert "from ..core.alpha import Box" in (course.package / "data/beta.py").read_text(encoding="utf-8")


def test_another_program_is_refused(course, monkeypatch):
    before = package(course)
    monkeypatch.setattr(export, "_to_library", lambda cell: cell.set_source(cell.source.replace("x / 2", "x / 3")))
    with pytest.raises(CourseError, match=r"alpha_dev.ipynb, cell half: exported, it would be another program"):
        run(course)
    assert package(course) == before
