"""The course can be installed where students are: wheels for every system and Python, and files that arrive as they are.

The slow test asks the package registry through uv, which resolves for systems other than its own; nothing is installed.
"""

import os
import re
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
EXTRAS = sorted(PROJECT["optional-dependencies"].keys() - {"compare"})


@cache
def resolved(system, python, *extras):
    """{distribution: version} of what pip would install from wheels alone, with constraints.txt. macOS 12 is the oldest.

    `python` is the first release of its line, 3.11.0: a pin that needs a later one fails.
    """
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    command += ["--python", sys.executable, "--python-platform", system, "--python-version", f"{python}.0"]
    command += ["--only-binary", ":all:", "--constraints", "constraints.txt", "pyproject.toml"]
    command += [word for extra in extras for word in ("--extra", extra)]
    environment = {**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0" if "compare" in extras else "12.0"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return dict(line.split("==") for line in ended.stdout.split())


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
    found = resolved(system, python, *EXTRAS)
    assert {"numpy", "nbdev", "jupyterlab", "nbgrader", "beautifulsoup4"} <= found.keys()
    assert {name: version for name, version in found.items() if pins().get(canonicalize_name(name)) != version} == {}


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["", "lab", "grade"])
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("system", [LINUX, WINDOWS, MAC])
def test_each_door_can_be_installed_by_itself(system, python, extra):
    found = resolved(system, python, *([extra] if extra else []))
    assert found.items() <= resolved(system, python, *EXTRAS).items()


@pytest.mark.slow
@pytest.mark.parametrize("system", [LINUX, WINDOWS, MAC])
def test_pytorch_has_wheels_beside_the_pins(system):
    found = resolved(system, "3.13", "compare")
    assert f"torch=={found['torch']}" in PROJECT["optional-dependencies"]["compare"]
    assert {name for name in found if name in pins() and found[name] != pins()[name]} == set()


@pytest.mark.slow
def test_no_pin_is_left_over():
    used = {name for system, python in SYSTEMS for name in resolved(system, python, *EXTRAS)}
    used |= resolved(LINUX, "3.11", "compare").keys()
    assert pins().keys() - {canonicalize_name(name) for name in used} == set()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only a clone has a repository to clone")
def test_a_clone_by_git_for_windows_has_the_same_bytes(tmp_path):
    clone, git = tmp_path / "clone", ["git", "-c", "core.autocrlf=true", "-c", "core.eol=crlf"]
    subprocess.run([*git, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)
    files = [path for path in clone.rglob("*") if path.is_file() and ".git" not in path.relative_to(clone).parts]
    assert [path.name for path in files if path.suffix != ".png" and b"\r" in path.read_bytes()] == []
    assert len(files) > 200
    command = [sys.executable, "-m", "tito", "export", "--all", "--check"]
    ended = subprocess.run(command, cwd=clone, env={**os.environ, "PYTHONPATH": str(clone)}, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
