"""A student's whole walk on a machine that is not Linux: by stand-ins for Windows and macOS (standin.py), or on one."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from tito.course import notebook
from tito.course.registry import Course
from tito.student import template

SYSTEMS = ["windows", "macos"] if sys.platform == "linux" else ["here"]
systems = pytest.mark.parametrize("system", SYSTEMS)
posix = pytest.mark.skipif(os.name != "posix", reason="one process cannot send another Ctrl-C there")
slow = pytest.mark.slow

# A grandchild, a sign of life and no end; an end that is none; output without end; an answer that is none.
LOOP = """\
#| export
import subprocess, sys
def {name}(*given, **options):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open("looping", "w").close()
    while True:
        pass
"""
LEAVES = "#| export\nimport sys\ndef {name}(*given, **options):\n    sys.exit(0)\n"
SHOUTS = "#| export\ndef {name}(*given, **options):\n    while True:\n        print('over and over \\u2713' * 40)\n"
WRONG = "#| export\ndef {name}(*given, **options):\n    return 'an answer \\u2713'\n"
SAYS = {
    LOOP: "It ran for more than 1 s and was stopped. Is there an endless loop?",
    LEAVES: "It called sys.exit(0), which ends Python.",
    SHOUTS: "It printed more than 4 MB and was stopped.",
}


def goes_wrong(student, number, faults):
    """Each fault (solution cell -> source) gets its verdict, and nothing is left running."""
    sign = f"modules/{Course.load(student.course).module(number).folder}/looping"
    student.write(number, {name: source.format(name=name) for name, source in faults.items()})
    said = student.tito("test", number, "--timeout", "1", code=1)
    assert [sentence for source, sentence in SAYS.items() if source in faults.values() and sentence not in said] == []
    assert f"Next: tito test {number}" in said
    student.until_nothing_runs()  # a process that was ended may take a moment
    if LOOP in faults.values():
        student.until_there(sign)
        is_interrupted(student, number, sign)


def is_interrupted(student, number, sign):
    """An endless loop ends with tito, whatever ends tito."""
    for how in student.ends:
        with student.begin("test", number, "--timeout", "60") as process:
            student.until_there(sign)
            code = student.end(process, how)
            assert code == 130 or how == "kill", student.heard
        student.until_nothing_runs()


def is_done(student, number):
    """Tested, exported, handed in; and what was reset comes back."""
    student.write(number)
    said = student.tito("module", "complete", number)
    assert "Exported. Module" in said and "failed" not in said
    assert "in sync" in student.tito("export", number)
    assert b"\r" not in b"".join(path.read_bytes() for path in student.course.glob("tinytorch/**/*.py"))
    module = Course.load(student.course).module(number)
    student.tito("submit", number, "--to", "handed in")
    [handed] = student.course.glob(f"handed in/jane/{module.folder}/{module.notebooks[0].name}")
    assert notebook.read(handed)["cells"] and b"\r" not in handed.read_bytes()
    before = module.notebooks[0].read_bytes()
    kept = student.tito("reset", number, module.exercises[0].id).rpartition("tito restore ")[2].split()[0]
    assert module.notebooks[0].read_bytes() != before
    student.tito("restore", kept)
    assert module.notebooks[0].read_bytes() == before
    assert kept in student.tito("restore")


def sees(student):
    """A network learns, and is asked."""
    said = student.tito("milestone", "run", "04", "--quick", "--epochs", "2", "--seed", "0", "--no-mlp", "--no-page")
    assert "Not judged" in said
    from PIL import Image

    pixels = np.full((40, 30), 255, np.uint8)
    pixels[5:35, 12:18] = 0
    Image.fromarray(pixels).save(student.folder / "Zahl ü.png")
    assert "%" in student.tito("predict", "../Zahl ü.png")
    return said


@pytest.mark.parametrize("system", [pytest.param(one, marks=slow if one == "macos" else ()) for one in SYSTEMS])
def test_a_walk_through_02(student, system):
    student = student(system)
    made = student.tito("init", "my course", "--modules", "02", "--no-kernel", cwd=student.folder)
    assert "Yours to write: 02." in made and "my course" in made.rpartition("Next: ")[2]
    goes_wrong(student, "02", {"relu": LOOP, "gelu": LEAVES, "sigmoid": SHOUTS, "softmax": WRONG})
    is_done(student, "02")
    assert student.running() == []


@slow
@systems
def test_a_walk_through_09(student, system):
    student = student(system)
    student.tito("init", "my course", "--from", "09", "--no-kernel", cwd=student.folder)
    assert "Module 09 is yours to write" in student.tito("milestone", "run", "04", code=1)
    for fault in (LOOP, LEAVES, SHOUTS, WRONG):
        goes_wrong(student, "09", {"conv2d_loops": fault})
    is_done(student, "09")
    assert "yours (" in sees(student)
    assert student.running() == []


@slow
@systems
def test_every_module_passes(student, system):
    student = student(system)
    student.tito("init", "my course", "--no-kernel", cwd=student.folder)
    for module in Course.load(student.course).modules:
        student.write(module.number)
        student.tito("export", module.number)
    student.tito("export", "--all", "--check")
    assert "All 9 modules pass." in student.tito("test", "--all")


@slow
@systems
def test_the_other_commands(student, system):
    student = student(system)
    (student.folder / "my course").mkdir()
    student.tito("init", "my course", "--from", "09", "--zip", "course.zip", cwd=student.folder)
    assert "hint 1 of" in student.tito("hint", "09")
    assert "All is well." in student.tito("doctor")
    name = "modules/09_spatial/spatial_dev.ipynb"
    nb = notebook.read(student.course / name)
    old = next(cell for cell in nb["cells"] if notebook.kind(cell) == "graded")
    old["source"] = "print('as an older course had it')"
    notebook.write(student.course / name, nb)
    record = student.course / template.RECORD
    data = json.loads(record.read_text(encoding="utf-8"))
    data["cells"][name][template.cell_name(old)] = template.cell_digest(old)
    record.write_text(json.dumps(data), encoding="utf-8")
    assert "1 cell with new text" in student.tito("init", ".", "--update", "--no-kernel")
    student.write("09")
    student.tito("export", "09")
    if system == "windows":
        assert "needs Linux" in student.tito("grade", "status", "09", code=1)


@slow
@posix
@systems
def test_a_milestone_is_stopped_and_goes_on(student, system):
    student = student(system)
    student.tito("init", "my course", "--modules", "02", "--no-kernel", cwd=student.folder)
    student.write("02")
    student.tito("export", "02")
    words = ("milestone", "run", "04", "--seed", "0", "--no-mlp", "--no-page", "--epochs", "200")
    with student.begin(*words) as process:
        student.until_there("runs/04_1998_cnn/trial/digits-cnn-seed-0.safetensors")
        for each in [process.pid, *([] if system == "macos" else student.children(process.pid))]:  # as a console does
            student.interrupt(each)
        assert process.wait(60) == 130
    student.until_nothing_runs()
    assert "Stopped." in student.heard and "--resume" in student.heard
    with student.begin(*words, "--resume") as process:
        student.until_there("runs/04_1998_cnn/trial/digits-cnn-seed-0.safetensors")
        student.end(process, "kill")
    student.until_nothing_runs()


@slow
@posix
@systems
def test_watching(student, system):
    student = student(system)
    student.tito("init", "my course", "--modules", "02", "--no-kernel", cwd=student.folder)
    with student.begin("watch", "02") as process:
        student.until_heard("02 Activations")
        student.write("02")
        student.until_heard("4 of 4 exercises")
        student.interrupt(process.pid)
        assert process.wait(60) == 0
    assert "Stopped." in student.heard
    student.until_nothing_runs()


@slow
@posix
@systems
def test_the_lab_opens_and_ends(student, system):
    pytest.importorskip("jupyterlab")
    student = student(system)
    student.tito("init", "my course", "--modules", "02", "--no-kernel", cwd=student.folder)
    student.environment["JUPYTERLAB_DIR"] = str(Path(sys.prefix) / "share" / "jupyter" / "lab")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("--no-browser", f"--port={port}", "--", "--IdentityProvider.token=", "--allow-root")
    with student.begin("lab", "02", *words) as process:
        student.until(lambda: answers(f"http://127.0.0.1:{port}/lab/tree/modules/02_activations"), 60)
        for _ in range(2):  # JupyterLab asks for it twice
            for each in [process.pid, *student.children(process.pid)]:
                student.interrupt(each)
            time.sleep(0.5)
        assert process.wait(60) == 0, student.heard
    student.until_nothing_runs()


def answers(address):
    try:
        with urllib.request.urlopen(address, timeout=5) as page:
            return page.status == 200
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the stand-ins are Linux in disguise")
def test_the_stand_in_refuses_what_windows_refuses(interpreter, tmp_path):
    """The stand-in stands in: code under tito/ meets Windows, a library's does not."""
    code = """\
import os, select, signal, subprocess, sys, tempfile
assert os.name == "nt" and sys.platform == "win32" and not hasattr(os, "killpg") and not hasattr(signal, "SIGKILL")
def refused(kind, action, *given, **options):
    try:
        action(*given, **options)
    except kind:
        return True
refused(ImportError, exec, "import fcntl", globals()) or sys.exit("fcntl")
refused(ValueError, subprocess.Popen, ["true"], pass_fds=[1]) or sys.exit("pass_fds")
refused(ValueError, subprocess.run, ["true"], preexec_fn=print) or sys.exit("preexec_fn")
refused(OSError, select.select, [os.pipe()[0]], [], [], 0) or sys.exit("select")
refused(OSError, os.open, ".", os.O_RDONLY) or sys.exit("folder")
refused(EncodingWarning, open, "text", "w") or sys.exit("encoding")
refused(EncodingWarning, subprocess.run, ["true"], text=True) or sys.exit("text")
with open("text", "w", encoding="utf-8") as file:
    refused(PermissionError, os.unlink, "text") or sys.exit("unlink")
    open("other", "wb").close()
    refused(PermissionError, os.replace, "other", "text") or sys.exit("replace")
    os.mkdir("folder")
    file.write("line\\n")
with open("folder/held", "wb"):
    refused(PermissionError, os.replace, "folder", "moved") or sys.exit("a folder with an open file")
assert open("text", "rb").read() == b"line\\r\\n"
with tempfile.NamedTemporaryFile() as file:
    refused(PermissionError, open, file.name, "rb") or sys.exit("temporary")
"""
    (tmp_path / "tito").mkdir()
    (tmp_path / "tito" / "probe.py").write_text(code, encoding="utf-8")
    probe = [str(interpreter("windows")), str(tmp_path / "tito" / "probe.py")]
    ended = subprocess.run(probe, cwd=tmp_path, capture_output=True, encoding="utf-8", errors="replace")
    assert (ended.returncode, ended.stderr) == (0, "")
    library = "import fcntl, os, signal; os.killpg, signal.SIGKILL, fcntl.flock; assert os.name == 'posix'"
    elsewhere = tmp_path / "library.py"
    elsewhere.write_text(library, encoding="utf-8")
    assert subprocess.run([*probe[:1], str(elsewhere)], cwd=tmp_path).returncode == 0
