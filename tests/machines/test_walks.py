"""A student's whole walk on a machine that is not Linux, by stand-ins for Windows and macOS (see standin.py)."""

import time

import numpy as np
import pytest

systems = pytest.mark.parametrize("system", ["windows", "macos"])

LOOP = """\
#| export
import subprocess, sys
def {name}({words}):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open("looping", "w").close()
    while True:
        pass
"""
LEAVES = "#| export\nimport sys\ndef {name}({words}):\n    sys.exit(0)\n"
SHOUTS = "#| export\ndef {name}({words}):\n    while True:\n        print('over and over \\u2713' * 40)\n"
WRONG = "#| export\nimport numpy as np\ndef {name}({words}):\n    return np.zeros(3)\n"


def wait_for(condition, seconds=20.0):
    """Whether it comes true in time."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def picture(path):
    from PIL import Image

    pixels = np.full((40, 30), 255, np.uint8)
    pixels[5:35, 12:18] = 0
    Image.fromarray(pixels).save(path)


@systems
def test_a_walk(student, system):
    T = time.perf_counter()

    def lap(w):
        nonlocal T
        print(f"{w}: {time.perf_counter() - T:.2f}")
        T = time.perf_counter()

    student = student(system)
    lap("start")
    print(student.tito("init", "my course", "--modules", "02", "--no-kernel", cwd=student.folder))
    lap("init")
    student.write(
        "02",
        {
            "relu": LOOP.format(name="relu", words="x"),
            "leaky_relu": LEAVES.format(name="leaky_relu", words="x, slope=0.01"),
            "sigmoid": SHOUTS.format(name="sigmoid", words="x"),
            "gelu": WRONG.format(name="gelu", words="x"),
        },
    )
    print(student.tito("test", "02", "--timeout", "1", code=1))
    assert student.running() == []
    lap("bad")
    student.write("02")
    print(student.tito("test", "02"))
    lap("good")
    print(student.tito("module", "complete", "02"))
    lap("complete")
    print(student.tito("export", "--all", "--check"))
    lap("export check")
    print(student.tito("submit", "02", "--to", "out"))
    lap("submit")
    print(student.tito("milestone", "run", "04", "--quick", "--epochs", "2", "--seed", "0", "--no-mlp", "--no-page"))
    lap("milestone")
    picture(student.folder / "eins.png")
    print(student.tito("predict", "../eins.png"))
    lap("predict")
    print(student.tito("reset", "02", "relu"))
    name = student.tito("restore").split("kept ")[1].split()[0]
    print(student.tito("restore", name))
    lap("reset, restore")
    print(student.tito("doctor", code=1))
    lap("doctor")
