"""The course can be installed where students are: wheels for every system and Python, files that arrive as they are.

The slow test asks the package registry through uv, which resolves for systems other than its own; nothing is installed.
"""

import os
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = "3.11", "3.12", "3.13"
LINUX, WINDOWS, MAC = "x86_64-unknown-linux-gnu", "x86_64-pc-windows-msvc", "aarch64-apple-darwin"
LINUX_ARM, WINDOWS_ARM, MAC_INTEL = "aarch64-unknown-linux-gnu", "aarch64-pc-windows-msvc", "x86_64-apple-darwin"
SYSTEMS = [
    *((system, python) for system in (LINUX, WINDOWS, MAC, LINUX_ARM, MAC_INTEL) for python in PYTHONS),
    *((WINDOWS_ARM, python) for python in PYTHONS[1:]),  # PyYAML has no wheel for 3.11 there
]
needs_bash = pytest.mark.skipif(os.name == "nt", reason="what is called bash on Windows may be another system's")
EXTRAS = sorted(PROJECT["optional-dependencies"].keys() - {"compare"})


@cache
def resolved(system, python, *extras):
    """{distribution: version} of what pip would install from wheels alone, with constraints.txt.

    On the oldest macOS that is supported, 12, and the first release of a Python, 3.11.0: a pin that needs more fails.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    command += ["--python", sys.executable, "--python-platform", system, "--python-version", f"{python}.0"]
    command += ["--only-binary", ":all:", "--constraints", "constraints.txt", "pyproject.toml"]
    command += [word for extra in extras for word in ("--extra", extra)]
    environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0" if "compare" in extras else "12.0"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return dict(line.split("==") for line in ended.stdout.split())


def _extras(system):
    """Every extra that a system has wheels of. PyTorch is asked for by itself: it is not to be had for Intel Macs."""
    return [extra for extra in EXTRAS if (system, extra) != (WINDOWS_ARM, "mpi")]


@cache
def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def test_the_pythons_tried_are_the_pythons_promised():
    promised = SpecifierSet(PROJECT["requires-python"])
    assert [minor for minor in range(30) if f"3.{minor}.0" in promised] == [int(each[2:]) for each in PYTHONS]
    assert f"{PYTHONS[-1]}.99" in promised


@pytest.mark.slow
@pytest.mark.parametrize("system, python", SYSTEMS)
def test_every_pin_has_a_wheel(system, python):
    found = resolved(system, python, *_extras(system))
    assert {"numpy", "nbdev", "jupyterlab", "nbgrader", "beautifulsoup4"} <= found.keys()
    assert {name: version for name, version in found.items() if pins().get(canonicalize_name(name)) != version} == {}


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["", "lab", "grade"])
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", [LINUX, WINDOWS, MAC])
def test_each_door_can_be_installed_by_itself(system, python, extra):
    found = resolved(system, python, *([extra] if extra else []))
    assert found.items() <= resolved(system, python, *_extras(system)).items()


@pytest.mark.slow
@pytest.mark.parametrize("system", [LINUX, WINDOWS, MAC])
def test_pytorch_has_wheels_beside_the_pins(system):
    found = resolved(system, "3.13", "compare")
    assert f"torch=={found['torch']}" in PROJECT["optional-dependencies"]["compare"]
    assert {name for name in found if name in pins() and found[name] != pins()[name]} == set()


@pytest.mark.slow
def test_no_pin_is_left_over():
    used = {name for system, python in SYSTEMS for name in resolved(system, python, *_extras(system))}
    used |= resolved(LINUX, "3.11", "compare").keys()
    assert pins().keys() - {canonicalize_name(name) for name in used} == set()


# A clone, and what checks it ---------------------------------------------------------------------------------------


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only a clone has a repository to clone")
def test_a_clone_by_git_for_windows_has_the_same_bytes(tmp_path):
    clone, git = tmp_path / "clone", ["git", "-c", "core.autocrlf=true", "-c", "core.eol=crlf"]
    subprocess.run([*git, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)
    files = [path for path in clone.rglob("*") if path.is_file() and ".git" not in path.relative_to(clone).parts]
    assert [path.name for path in files if path.suffix != ".png" and b"\r" in path.read_bytes()] == []
    assert len(files) > 200
    command = [sys.executable, "-m", "tito", "export", "--all", "--check"]
    environment = {**os.environ, "PYTHONPATH": str(clone)}
    ended = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@needs_bash
@pytest.mark.parametrize("word, does", [("first", "tito milestone run 04"), ("second", "tito test --all && pytest")])
def test_the_check_finds_the_readmes_commands_by_their_marks(word, does):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count(f"<!-- ci: {word} -->\n```sh\n") == 1
    script = f"source .ci/steps && readme {word} README.md && if readme third README.md; then exit 3; fi"
    found = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert found.returncode == 0 and "no command below <!-- ci: third -->" in found.stderr
    assert does in found.stdout and f"\n{found.stdout}```\n" in readme


def workflow():
    """job -> (folder, words) of every command in the workflow."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))["jobs"]
    return {
        job: [(step.get("working-directory", "."), shlex.split(step["run"])) for step in said["steps"] if "run" in step]
        for job, said in jobs.items()
    }


def test_the_workflow_tries_every_python_on_the_students_systems():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    said = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert {"push", "pull_request", "schedule"} <= said[True].keys()  # YAML 1.1 reads `on` as a truth value
    matrix = said["jobs"]["student"]["strategy"]["matrix"]
    assert matrix["python"] == list(PYTHONS)
    assert [system["os"] for system in matrix["system"]] == ["windows-latest", "macos-latest"]


def test_what_the_workflow_calls_is_there():
    jobs = workflow()
    assert ["bash", ".ci/run"] in [words for _, words in jobs["check"]]
    assert ["bash", ".ci/nightly"] in [words for _, words in jobs["nightly"]]
    asked, extras = {}, PROJECT["optional-dependencies"].keys()
    for folder, (program, *words) in (command for commands in jobs.values() for command in commands):
        if program == "tito":
            count = next((n for n, word in enumerate(words) if not word.isalpha()), len(words))
            asked.setdefault(tuple(words[:count]), set()).update(word for word in words if word.startswith("--"))
            assert folder == "." or ["tito", "init", folder] in [each[:3] for _, each in jobs["student"]]
        elif program == "pytest":
            assert [word for word in words if not word.startswith("-") and not (ROOT / word).exists()] == []
        elif program == "bash":
            assert (ROOT / words[0]).is_file()
        elif words[:3] == ["-m", "pip", "install"]:
            assert "constraints.txt" in words
            assert set(words[-1].removeprefix(".[").removesuffix("]").split(",")) <= extras
        else:
            assert program == "python" and words[0] in ("-m", "-c")
    assert {("init",), ("test",), ("milestone", "run"), ("export",)} <= asked.keys()
    for words, options in asked.items():
        command = [sys.executable, "-m", "tito", *words, "--help"]
        told = subprocess.run(command, cwd=ROOT, env={**os.environ, "COLUMNS": "200"}, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        assert {option for option in options if option not in told.stdout} == set()


@needs_bash
@pytest.mark.parametrize("name", ["run", "nightly", "steps"])
def test_the_scripts_are_bash(name):
    subprocess.run(["bash", "-n", ROOT / ".ci" / name], check=True)
    assert name == "steps" or os.access(ROOT / ".ci" / name, os.X_OK)
