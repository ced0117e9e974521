"""What differs between systems stands in one file, and that file does what it says on each of them."""

import ast
from pathlib import Path

import pytest
from lacks import MODULES, NAMES, POPEN

ROOT = Path(__file__).resolve().parents[2]
PLATFORM = "tito/runner/platform.py"
STORAGE = "tito/course/storage.py"
LINUX = ("tests/grading/", "tests/benchmarks/bench_grading.py", "tests/machines/standin.py")  # run nowhere else
LACKING, ABSENT = NAMES["windows"], MODULES["windows"]
REPLACING = {f"os.exec{form}" for form in ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")}  # there they do not replace
GUARDS = {"hasattr", "getattr", "name", "platform", "WINDOWS", "system"}  # what asks which system it is


def files(folder: str, *without: str):
    for path in sorted((ROOT / folder).rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(without) and not {"__pycache__", "_course"} & set(path.parts):
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def with_parents(tree: ast.Module):
    """(node, its ancestors, nearest first) of every node."""
    waiting = [(tree, ())]
    while waiting:
        node, above = waiting.pop()
        yield node, above
        waiting += [(child, (node, *above)) for child in ast.iter_child_nodes(node)]


def names_of_systems(node: ast.AST):
    """What in a node only some systems have: modules, names of modules, options of Popen."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.split(".")[0] in ABSENT)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        for alias in node.names:
            if node.module.split(".")[0] in ABSENT or alias.name in LACKING.get(node.module, ()):
                yield f"{node.module}.{alias.name}"
    elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        name = f"{node.value.id}.{node.attr}"
        if node.attr in LACKING.get(node.value.id, ()) or name in REPLACING:
            yield name
    elif isinstance(node, ast.keyword) and node.arg in POPEN - {"user", "group", "umask"}:
        yield f"{node.arg}="


def asks(test: ast.AST) -> bool:
    """Whether a condition asks what the system has, or which one it is."""
    nodes = list(ast.walk(test))
    return bool(GUARDS & {n.id for n in nodes if isinstance(n, ast.Name)} | GUARDS & {
        n.attr for n in nodes if isinstance(n, ast.Attribute)})  # fmt: skip


def skips(node: ast.AST) -> bool:
    """Whether a decorator or a statement leaves out what it stands above where the system lacks something."""
    called = [n.func.attr for n in ast.walk(node) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    return bool({"skipif", "importorskip", "skip"} & set(called)) or isinstance(node, ast.Name) and node.id == "posix"


def stops(statement: ast.stmt) -> bool:
    """Whether a file goes no further where a module that only some systems have is missing: importorskip("pty")."""
    return skips(statement) and any(getattr(node, "value", None) in ABSENT for node in ast.walk(statement))


def guarded(node: ast.AST, above: tuple[ast.AST, ...]) -> bool:
    """Whether a node stands where it runs only on a system that has it."""
    inside = False  # of a function's body
    for child, parent in zip((node, *above), above, strict=False):
        if isinstance(parent, ast.Try) and parent.handlers and child in parent.body:
            return True
        if isinstance(parent, ast.If | ast.IfExp) and child is not parent.test and asks(parent.test):
            return True
        if isinstance(parent, ast.FunctionDef) and child in parent.body:
            inside = True
            if any(map(skips, [*parent.decorator_list, *parent.body[: parent.body.index(child)]])):
                return True
        if isinstance(parent, ast.Module):
            before = parent.body[: parent.body.index(child)]
            marked = any(
                isinstance(one, ast.Assign) and getattr(one.targets[0], "id", "") == "pytestmark" for one in before
            )
            return any(map(stops, before)) or inside and marked
    return False


def test_what_systems_lack_stands_in_one_file_of_tito():
    found = [
        f"{name}, line {node.lineno}: {what}"
        for name, tree in files("tito", PLATFORM, "tito/grading/")
        for node in ast.walk(tree)
        for what in names_of_systems(node)
    ]
    assert found == []


@pytest.mark.parametrize("folder", ["tinytorch", "milestones", "tests"])
def test_elsewhere_it_is_guarded(folder):
    found = [
        f"{name}, line {node.lineno}: {what}"
        for name, tree in files(folder, *LINUX)
        for node, above in with_parents(tree)
        for what in names_of_systems(node)
        if not guarded(node, above)
    ]
    assert found == []


def test_files_are_replaced_and_temporary_folders_made_in_one_place():
    once = {"os.replace", "os.rename", "os.renames", "tempfile.TemporaryDirectory", "tempfile.NamedTemporaryFile"}
    found = [
        f"{name}, line {node.lineno}: {node.value.id}.{node.attr}"
        for name, tree in files("tito", STORAGE, "tito/grading/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
        if f"{node.value.id}.{node.attr}" in once
    ]
    assert found == []


def unnamed(call: ast.Call) -> str:
    """What in a call would be read or written in the system's own encoding; or nothing."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    modes = [node.value for node in (*call.args[1:2], given.get("mode")) if isinstance(node, ast.Constant)]
    if "encoding" in given or None in given:
        return ""
    owner = getattr(getattr(call.func, "value", None), "id", "")
    if name == "open" and (isinstance(call.func, ast.Name) or owner == "io") or f"{owner}.{name}" == "os.fdopen":
        return "" if any("b" in mode for mode in modes) else name
    if name in ("read_text", "write_text", "TemporaryFile"):
        binary = name == "TemporaryFile" and not call.args or name == "read_text" and call.args
        return "" if binary else name
    texts = [given[key] for key in ("text", "universal_newlines") if key in given]
    return "text=True" if any(getattr(node, "value", True) for node in texts) else ""


@pytest.mark.parametrize("folder", ["tito", "tinytorch", "milestones"])
def test_every_text_names_its_encoding(folder):
    found = [
        f"{name}, line {node.lineno}: {what}"
        for name, tree in files(folder)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and (what := unnamed(node))
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    ["open('a')", "open('a', 'w')", "path.read_text()", "path.write_text('a')", "subprocess.run(a, text=True)"],
)
def test_a_text_without_an_encoding_is_seen(source):
    assert unnamed(ast.parse(source).body[0].value)


@pytest.mark.parametrize("source", ["import fcntl", "from signal import SIGKILL", "os.fork()", "run(a, pass_fds=[1])"])
def test_a_name_that_windows_lacks_is_seen(source):
    tree = ast.parse(source)
    assert [what for node in ast.walk(tree) for what in names_of_systems(node)]
    assert not any(guarded(node, above) for node, above in with_parents(tree) if list(names_of_systems(node)))
    tried = ast.parse(f"try:\n    {source}\nexcept ImportError:\n    pass")
    assert all(guarded(node, above) for node, above in with_parents(tried) if list(names_of_systems(node)))
