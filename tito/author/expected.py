"""`tito dev expected`: the values that the lessons' tests expect, made from references that no student sees.

`tests/messages/expected_NN.py` holds the references and the typical mistakes of module NN, `tinytorch/expected.py` the
numbers. Of a mistake only a fingerprint is stored; none where the case cannot tell it from the right answer.
"""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

from tito.course.registry import Course
from tito.course.storage import write_atomic

FILE = "expected.py"  # in the package
_HEAD = '''\
"""The cases of the lessons' tests: what goes in, and what has to come out. By `tito dev expected`; see testing.py."""

# fmt: off
CASES = {
'''


def makers(course: Course) -> list[Path]:
    """The files that hold references; none in a student's copy."""
    return sorted((course.folder("tests") / "messages").glob("expected_*.py"))


def build(course: Course) -> str:
    """The text of the package's file."""
    lines = [_HEAD]
    for path in makers(course):
        for name, cases in _load(path).CASES.items():
            stored = ",\n".join(
                json.dumps(_stored(case), separators=(",", ":"), ensure_ascii=False) for case in cases()
            )
            lines.append(f'{name!r}: r"""[\n{stored}\n]""",\n'.replace("'", '"', 2))
    return "".join(lines) + "}\n"


def write(course: Course) -> bool:
    """Write the file; False if it holds just that."""
    return write_atomic(course.package / FILE, build(course))


def check(course: Course) -> Iterator[str]:
    """One sentence if the file is not what the references give today."""
    path = course.package / FILE
    there = path.read_text(encoding="utf-8") if path.is_file() else ""
    if makers(course) and there != build(course):
        yield f"{path.relative_to(course.root)} is not what the references give: tito dev expected"


def _load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _short(value: float) -> int | float:
    return int(value) if value == value // 1 else float(f"{value:.10g}")


def _stored(case: dict) -> dict:
    import numpy as np

    from tinytorch.testing import fingerprint

    def numbers(array):
        if array is None:
            return None
        array = np.asarray(array, np.float64)
        return [list(array.shape), [_short(v) for v in array.ravel().tolist()]]

    mistakes = {}
    for what, causes in case["mistakes"].items():
        right = np.asarray(case["expected"][what], float)
        told = {cause: np.asarray(wrong, float) for cause, wrong in causes.items()}
        mistakes[what] = {
            cause: fingerprint(wrong)
            for cause, wrong in told.items()
            if wrong.size and not (wrong.shape == right.shape and np.allclose(wrong, right, equal_nan=True))
        }
    return {
        **{key: case[key] for key in ("name", "settings", "axes")},
        "arrays": {name: numbers(array) for name, array in case["arrays"].items()},
        "expected": {name: numbers(array) for name, array in case["expected"].items()},
        "mistakes": mistakes,
    }
