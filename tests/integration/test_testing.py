"""What the lessons' tests share: a cause is named only if its numbers are the numbers; else what differs, and where."""

import numpy as np
import pytest

from tinytorch import testing
from tito.course import notebook
from tito.course.registry import Course
from tito.course.scaffold import fold, strip

RIGHT = np.random.default_rng(0).integers(-9, 10, (2, 3, 4, 5)).astype(float)
AXES = ("image", "channel", "row", "column")


def said(got, mistakes=(), **how):
    with pytest.raises(AssertionError) as caught:
        testing.hold("out", got, RIGHT, mistakes=mistakes, axes=AXES, **how)
    return str(caught.value)


def wrong_at(*place):
    got = RIGHT.copy()
    got[place] += 1
    return got


GENERIC = {
    "channels last": (RIGHT.transpose(0, 2, 3, 1), "(image, row, column, channel): the channels stand last, NHWC"),
    "rows and columns": (RIGHT.swapaxes(2, 3), "the axes stand in the order (image, channel, column, row)"),
    "reshape": (RIGHT.swapaxes(0, 1).reshape(RIGHT.shape), "exchanged by reshape"),
    "another shape": (RIGHT.reshape(6, 4, 5), "only the shape is not"),
    "a factor": (3 * RIGHT, "Every number is 3 times the right one"),
    "the sign": (-RIGHT, "Every number has the wrong sign"),
    "an offset": (RIGHT + 2, "Every number is off by 2"),
    "a channel's offset": (RIGHT + np.array([1, -2, 5]).reshape(3, 1, 1), "look at the bias"),
    "zeros": (0 * RIGHT, "Every number is 0"),
    "one image": (wrong_at(1), "all in image 1: image 0 is right"),
    "the border": (wrong_at(slice(None), slice(None), [0, -1]), "all at the border of axis row"),
    "a size": (RIGHT[:, :, :3], "row 3, not 4"),
    "NaN": (np.where(RIGHT > 8, np.nan, RIGHT), "numbers are NaN"),
    "nothing": (None, "is there a return?"),
    "words": ("abc", "expected an array of numbers, got str"),
    "empty": (RIGHT[:0], "expected the shape (2, 3, 4, 5), got (0, 3, 4, 5)"),
}


@pytest.mark.parametrize("name", GENERIC)
def test_what_differs_is_told(name):
    got, words = GENERIC[name]
    assert words in said(got)


def test_only_the_cause_whose_numbers_these_are_is_named():
    noise = RIGHT + np.random.default_rng(1).integers(1, 5, RIGHT.shape)
    mistakes = {"this": testing.fingerprint(noise), "that": testing.fingerprint(noise + 1), "those": noise[:1]}
    assert said(noise, mistakes).endswith("This comes out when this")
    assert "comes out" not in said(noise + 2, mistakes) and "comes out" not in said(noise[:, :1], mistakes)


def test_what_is_right_passes_and_its_dtype_counts_if_asked_for():
    testing.hold("out", RIGHT + 1e-9, RIGHT)
    testing.hold("out", np.array([np.nan, np.inf]), [np.nan, np.inf])
    testing.hold("out", RIGHT.astype(np.float32), RIGHT, dtype=np.float32)
    assert "expected float32, got float64" in said(RIGHT, dtype=np.float32)


def test_a_function_that_changes_its_input_is_told_so():
    case = testing.cases("filter_image")[0]

    def careless(image, kernel):
        image -= 1
        return image

    with pytest.raises(AssertionError, match="changed image in place"):
        case.run(careless)
    with pytest.raises(AssertionError, match=r"return 2 things, \(out, macs\); got one ndarray"):
        case.pair(np.ones(3), "out", "macs")


def test_a_refusal_must_come_and_hold_the_words():
    def refuse(x):
        raise ValueError(f"no {x}")

    testing.refuses("no 3", refuse, 3)
    with pytest.raises(AssertionError, match="must hold '4'"):
        testing.refuses(("no", "4"), refuse, 3)
    with pytest.raises(AssertionError, match="must raise ValueError"):
        testing.refuses("no", abs, -1)


def test_every_mistake_of_a_case_can_be_told_from_the_right_answer():
    from tinytorch.expected import CASES

    for exercise in CASES:
        for case in testing.cases(exercise):
            for what, mistakes in case.mistakes.items():
                assert testing.fingerprint(case.wanted[what]) not in mistakes.values(), (exercise, case.name, what)


def test_a_release_folds_its_tests_and_imports():
    path = Course.load().module("09").notebooks[0]
    nb = fold(strip(notebook.read(path)))
    folded = [cell for cell in nb["cells"] if cell["metadata"].get("jupyter") == {"source_hidden": True}]
    assert {cell["id"] for cell in nb["cells"] if notebook.kind(cell) == "graded"} < {cell["id"] for cell in folded}
    assert {cell["id"] for cell in folded if notebook.kind(cell) != "graded"} == {"imports"}
    tests = [cell["source"] for cell in folded if notebook.kind(cell) == "graded"]
    assert all(source.startswith("# Test of ") for source in tests) and "plain_" not in "".join(tests)
