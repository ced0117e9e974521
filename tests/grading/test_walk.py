"""The README's walk, from assign to marks, with the five samples; and what students then read."""

import subprocess
import sys
from pathlib import Path

import pytest

from tito.course import notebook

SAMPLES = Path(__file__).with_name("samples.py")


@pytest.mark.slow
def test_the_walk(grade, course, tmp_path, secret):
    assert grade("assign", "02", "--due", "2026-12-24")[0] == 0
    subprocess.run([sys.executable, SAMPLES, tmp_path / "in", "02"], check=True)
    assert grade("collect", "02", str(tmp_path / "in"))[0] == 0
    code, out, err = grade("run", "02", "--cell", "3")
    assert code == 0 and "stopped for its time" in out and "dan" in err, out + err
    code, out, err = grade("feedback", "02")
    assert code == 0 and "5 pages" in out, err
    for student in ("ada", "ben", "cleo", "dan", "eve"):
        page = (course.root / f"grading/feedback/{student}/02_activations/activations_dev.html").read_text()
        assert "<script" not in page and "HIDDEN TESTS" not in page and secret not in page
        assert "Your result, cell by cell" in page and "Content-Security-Policy" in page
    assert "Not written yet" in page and notebook.BEGIN not in page
    code, out, err = grade("export", "02", "--columns", "moodle")
    assert [line.split(",")[-1] for line in out.splitlines()[1:]] == ["100", "0", "40", "90", "0"], out
    code, out, err = grade("collect", "02", "exchange")
    assert code == 1 and "no exchange at" in err, err
