"""The course's registry and settings: found from anywhere, and clear about what is wrong with them."""

import pytest

from tito import CourseError
from tito.course.registry import Course, find_root

REGISTRY = """
number = "{number}"
name = "{name}"
title = "A title"
summary = "A line"
requires = []
notebooks = ["{name}_dev.ipynb"]
[[exercise]]
id = "task"
title = "A task"
difficulty = 1
minutes = 5
solution = ["task"]
tests = ["test_task"]
hints = ["look again"]
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.delenv("TINYTORCH_ROOT", raising=False)
    (tmp_path / "settings.ini").write_text("[DEFAULT]\nruns_path = out\n")
    for number, name in (("09", "spatial"), ("01", "tensor"), ("10", "special")):
        folder = tmp_path / "modules" / f"{number}_{name}"
        folder.mkdir(parents=True)
        (folder / "module.toml").write_text(REGISTRY.format(number=number, name=name))
    return tmp_path


def test_the_root_is_the_nearest_folder_with_settings(root, monkeypatch):
    inner = root / "modules" / "09_spatial"
    monkeypatch.chdir(inner)
    assert find_root() == find_root(inner) == root.resolve()
    (inner / "settings.ini").touch()
    assert find_root() == inner.resolve()


def test_the_environment_names_the_root(root, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(CourseError, match=r"no settings\.ini in .*elsewhere.* or above it: change to the course"):
        find_root()
    monkeypatch.setenv("TINYTORCH_ROOT", str(root))
    assert Course.load().root == root.resolve()
    monkeypatch.setenv("TINYTORCH_ROOT", str(root / "modules"))
    with pytest.raises(CourseError, match="TINYTORCH_ROOT is .* without a settings.ini"):
        find_root()


def test_settings_have_defaults_and_name_folders(root):
    course = Course.load(root)
    assert course.folder("runs") == root / "out"
    assert course.package == root / "tinytorch"
    assert course.lib_name == "tinytorch"
    assert course.folder("milestones") == root / "milestones"


def test_modules_come_in_order_with_their_exercises(root):
    modules = Course.load(root).modules
    assert [module.folder for module in modules] == ["01_tensor", "09_spatial", "10_special"]
    task = modules[1].exercise("task")
    assert task.notebook == root / "modules" / "09_spatial" / "spatial_dev.ipynb"
    assert (task.solution, task.tests, task.minutes) == (("task",), ("test_task",), 5)
    with pytest.raises(CourseError, match="no exercise of 09_spatial 'tsak': did you mean task"):
        modules[1].exercise("tsak")


@pytest.mark.parametrize("key", ["9", "09", "spatial", "09_spatial", "Spatial", "modules/09_spatial/"])
def test_a_module_answers_to_its_names(root, key):
    assert Course.load(root).module(key).number == "09"


def test_an_unknown_module_gets_a_suggestion(root):
    course = Course.load(root)
    with pytest.raises(CourseError, match="no module 'spatail': did you mean spatial"):
        course.module("spatail")
    with pytest.raises(CourseError, match="no module '42': there are 01_tensor, 09_spatial, 10_special"):
        course.module("42")


def test_select_keeps_order_and_drops_repeats(root):
    assert [module.number for module in Course.load(root).select(["spatial", "1", "09"])] == ["01", "09"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('title = "A title"\n', "", r"module\.toml: `title` must be a str, and is missing"),
        ("requires = []", "requires = [1]", r"`requires` must be a list of strings, and is \[1\]"),
        ("requires = []", "requires = []\nthreads = -1", "`threads` must be 0 to 64, and is -1"),
        ("requires = []", "required = []", "`requires` must be a list, and is missing"),
        ("minutes = 5", "minutes = 5\nminuets = 6", "exercise 'task': unknown key `minuets`; known are id, title"),
        ("difficulty = 1", "difficulty = 'x'", "exercise 'task': `difficulty` must be a int, and is 'x'"),
        ("minutes = 5", "minutes = 5\nnotebook = 'x.ipynb'", "`notebook` must be one of spatial_dev.ipynb, and is x"),
        ('number = "09"', 'number = "08"', "says 08_spatial, but its folder is 09_spatial"),
        ('number = "09"', "number = ", "cannot be read as TOML"),
    ],
)
def test_a_wrong_registry_is_named(root, old, new, message):
    file = root / "modules" / "09_spatial" / "module.toml"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(CourseError, match=message):
        Course.load(root)


def test_two_modules_with_one_name_are_refused(root):
    folder = root / "modules" / "11_tensor"
    folder.mkdir()
    (folder / "module.toml").write_text(REGISTRY.format(number="11", name="tensor"))
    with pytest.raises(CourseError, match="two modules have the name 'tensor'"):
        Course.load(root)


def test_a_missing_or_broken_settings_file_is_named(root):
    with pytest.raises(CourseError, match="no settings.ini in .*modules: that is not a course's folder"):
        Course.load(root / "modules")
    (root / "settings.ini").write_text("lib_path")
    with pytest.raises(CourseError, match=r"settings\.ini cannot be read as settings"):
        Course.load(root)


def test_a_byte_order_mark_stops_nothing(root):
    """Windows' editors put one in front of what they save."""
    files = [root / "settings.ini", *root.glob("modules/*/module.toml")]
    for file in files:
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    course = Course.load(root)
    assert course.folder("runs") == root / "out" and [module.number for module in course.modules] == ["01", "09", "10"]
