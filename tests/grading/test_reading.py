# ruff: noqa: E501
"""An answer is read once and held against the test's own numbers; what hidden tests ask stays hidden."""

import re

import pytest

FORMS = """
import numpy as np

class Array:  # tells one shape and has another; `turns` gives other values at each reading
    def __init__(self, value, shape=None, turns=False):
        self.value, self.turns, self.count = np.asarray(value), turns, 0
        self.told = self.value.shape if shape is None else shape
    shape = property(lambda self: self.told)
    size = property(lambda self: int(np.prod(self.told)))
    ndim = property(lambda self: len(self.told))
    dtype = np.dtype("float32")
    @property
    def data(self):
        self.count += 1
        return self.value + self.turns * self.count
    def numpy(self): return self.data
    def __array__(self, dtype=None, copy=None): return np.asarray(self.data, dtype)

NOTHING = np.zeros((0, 1, 1), np.float32)
def answer(form, shape=(2, 3)):
    return {
        "nothing": NOTHING, "claims": Array(NOTHING, shape), "claims more": Array(np.zeros(1, np.float32), shape),
        "one": np.float32(1), "number": 1.0, "column": np.ones((2, 1), np.float32), "row": np.ones((1, 3), np.float32),
        "deeper": np.ones((4, 2, 3), np.float32), "list": [], "lists": [[], []], "right": np.ones(shape, np.float32),
        "turning": Array(np.ones(shape), turns=True), "honest": Array(np.ones(shape)),
    }[form]
"""
CHECKS = {
    "allclose": "np.allclose({}, want)",
    "of .data": "np.allclose({}.data if hasattr({}, 'data') else {}, want)",
    "of an array": "np.allclose(np.asarray({}), want)",
    "array_equal": "np.array_equal({}, want)",
    "array_equiv": "np.array_equiv({}, want)",
    "isclose": "np.isclose({}, want).all()",
    "difference": "np.abs(np.asarray({}) - want).max() < 1e-6",
    "sum of squares": "((np.asarray({}) - want) ** 2).sum() < 1e-6",
    "equal": "(np.asarray({}) == want).all()",
    "never unequal": "not (np.asarray({}) != want).any()",
    "all": "np.all(np.array({}) == want)",
    "testing": "np.testing.assert_allclose({}, want) is None",
    "shape, then all close": "np.shape({}) == (2, 3) and np.allclose({}, want)",
    "the told shape, then all close": "np.asarray({}).shape == (2, 3) and (np.ravel({}) == 1).all()",
}  # fmt: skip
WRONG = ("nothing", "claims", "claims more", "one", "number", "column", "row", "deeper", "list", "lists")
START = "import numpy as np\nwant = np.ones((2, 3))\n"


@pytest.fixture(scope="module")
def forms(run_steps):
    """Check and form -> the outcome of a test that makes the check of an answer in the form."""
    cells = {
        f"{check} {form}": f"{START}it = answer({form!r})\nassert {words.replace('{}', 'it')}"
        for check, words in CHECKS.items()
        for form in (*WRONG, "right", "honest")
    }
    done = run_steps(FORMS, cells)
    assert done["ended"], done["infrastructure"]
    return done["cells"]


@pytest.mark.parametrize("check", CHECKS)
def test_no_comparison_passes_what_has_another_shape(forms, check):
    passed = {form for form in (*WRONG, "right", "honest") if forms[f"{check} {form}"]["points"]}
    assert passed == {"right", "honest"}, {form: forms[f"{check} {form}"] for form in passed ^ {"right", "honest"}}


def test_what_was_read_stays_until_the_code_runs_again(run_steps):
    cells = {
        "same": f"{START}a = answer('turning')\nfirst = a.data\nassert np.array_equal(first, a.data) and a.shape == (2, 3)\nassert np.array_equal(a.numpy(), a.numpy())",
        "a copy each": f"{START}a = answer('honest')\nfirst = a.data\nfirst[:] = 7\nassert (a.data == want).all()",
        "later": f"{START}a = answer('turning')\nfirst = a.data\nanswer('one')\nassert not np.array_equal(first, a.data)",
        "not of itself": f"{START}a = answer('claims')\nassert a.shape == (2, 3), a.shape",
        "axes of the test's own": f"{START}row = answer('right')[0]\nassert (want - row[None] == 0).all()",
    }
    done = run_steps(FORMS, cells)["cells"]
    assert [name for name in cells if done[name]["points"]] == [
        "same",
        "a copy each",
        "later",
        "axes of the test's own",
    ]
    assert "(0, 1, 1)" in done["not of itself"]["message"]


FAULTS = {
    "a huge array": "relu = np.zeros(10_000_000)",
    "arrays of objects": "relu = np.array([object()])",
    "a structured array": "relu = np.zeros(3, [('a', int)])",
    "text": "relu = np.array(['x'] * 3)",
    "a deep list": "relu = []\nfor _ in range(200): relu = [relu]",
    "itself in a list": "relu = []\nrelu.append(relu)",
    "no memory": "class A:\n    def __reduce__(self): raise MemoryError\n    def __call__(self, *a): raise MemoryError\nrelu = A()",
    "a class that raises": "class M(type):\n    def __getattribute__(self, name): raise RuntimeError(name)\nclass relu(metaclass=M): pass",
    "a huge number": "relu = 10 ** 5000",
    "a huge text": "relu = 'x' * (5 << 20)",
    "not a number, as a shape": "class A:\n    shape = size = dtype = float('nan')\n    def __array__(self, *a, **k): raise SystemExit\nrelu = A()",
    "a masked array": "relu = np.ma.masked_all((2, 3))",
    "a generator": "relu = (i for i in range(3))",
    "a set of everything": "relu = {object(), 1, 'a'}",
    "slices without end": "relu = lambda *a: [slice(None)] * 100_000",
    "half a surrogate": "relu = '\\ud800'",
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_escapes_from_an_object_is_the_students(run_steps, name):
    """Every one of them fails its test, with a word, and the run ends well."""
    cells = {
        "uses": f"{START}assert np.array_equal(relu(want), want)",
        "reads": f"{START}assert np.allclose(relu, want)",
        "goes on": "assert fine() == 1",
    }
    done = run_steps(f"import numpy as np\ndef fine(): return 1\n{FAULTS[name]}\n", cells)
    assert done["ended"] and done["infrastructure"] is None, done
    assert not done["cells"]["uses"]["points"] and not done["cells"]["reads"]["points"]
    assert (
        done["cells"]["uses"]["error"] and done["cells"]["reads"]["error"] and done["cells"]["goes on"]["points"] == 4
    )


HIDDEN = """
import numpy as np
def test():
    x = np.random.default_rng(1).integers(0, 10**9, 3)
    print("visible")
    assert np.array_equal(double(x), 2 * x), "visible"
    ### BEGIN HIDDEN TESTS
    x = np.random.default_rng(2).integers(0, 10**9, 3)
    assert np.array_equal(double(x), 2 * x), f"hidden {x}"
    ### END HIDDEN TESTS
test()
"""
SPY = """
import numpy as np
seen = []
def double(x):
    seen.append(np.array(x).tolist())
    print("given", seen[-1])
    return 2 * x
def show():
    raise ValueError(f"seen {seen}")
def numbers():
    return seen[-1]
"""


def numbers_of(text):
    return {int(number) for number in re.findall(r"\d{4,}", str(text))}


def test_hidden_inputs_reach_no_page(run_steps):
    """Not what is printed, not a message, not a value that a later test shows, nor what a later cell prints."""
    cells = {
        "test": HIDDEN,
        "message": "show()",
        "value": "assert numbers() == 1, f'got {numbers()}'",
        "prints": "print(numbers())",
    }
    done = run_steps(SPY, cells, after=("print('again', seen)", "raise KeyError(str(seen))"))["cells"]
    fixed = __import__("numpy").random.default_rng(1).integers(0, 10**9, 3).tolist()
    for outcome in done.values():
        assert numbers_of({name: value for name, value in outcome.items() if name != "seconds"}) <= set(fixed), outcome
    assert done["test"]["points"] == 4 and "given" in done["test"]["output"] and "visible" in done["test"]["printed"]
    assert "seen" in done["message"]["message"] and done["message"]["error"] == "ValueError"
    assert "more is not shown" in done["value"]["message"] and not done["after 0"]["output"]
    assert done["after 1"]["error"] == "KeyError"


def test_hidden_inputs_are_each_students_own_and_come_again(run_steps):
    cell = HIDDEN.replace('assert np.array_equal(double(x), 2 * x), f"hidden {x}"', "raise ValueError(f'{x}')")
    ada, again, bob, nobody = (
        run_steps(SPY, {"test": cell}, seed=seed)["cells"]["test"]["message"] for seed in ([1, 2], [1, 2], [1, 3], None)
    )
    assert ada == again != bob and nobody not in (ada, bob)


def test_answers_that_were_typed_in_earn_nothing(run_steps):
    """Somebody who knows the inputs of a fixed seed, and answers those only."""
    known = "import numpy as np\nanswers = {tuple((x := np.random.default_rng(s).integers(0, 10**9, 3)).tolist()): 2 * x for s in (1, 2)}\ndef double(x): return answers.get(tuple(x.tolist()), x)"
    assert run_steps(known, {"test": HIDDEN})["cells"]["test"]["points"] == 4
    outcome = run_steps(known, {"test": HIDDEN}, seed=[5])["cells"]["test"]
    assert outcome["points"] == 0 and outcome["hidden"] and "line" not in outcome
