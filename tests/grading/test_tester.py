# ruff: noqa: E501
"""What a graded cell may do with the student's objects, and what it may not take as evidence."""

import pytest

from tito.course.notebook import definitions

STUDENT = """
import contextlib
import numpy as np

class Box:
    def __init__(self, value, **named): self.value, self.named = value, named
    def __add__(self, other): return Box(self.value + getattr(other, "value", other))
    def __call__(self, *inputs, scale=1): return np.asarray(inputs) * scale
    def __getitem__(self, key): return key
    def __len__(self): return 3
    def __iter__(self): return (Box(i) for i in range(3))
    def __enter__(self): self.value = "in"; return self
    def __exit__(self, *error): self.value = "out"
    def __repr__(self): return f"Box({self.value})"
    def __array__(self, dtype=None, copy=None): return np.array([self.value, 2.0])
    def sure(self): return True
    def mean(self): return 0.0
    def __lt__(self, other): return True

class Kept:
    def __init__(self, value): self.value = value
    def spoil(self): self.value *= 2; return Box(0)
    def shape(self): return self.value.shape

class Odd(KeyError): pass
def fails(kind): raise {"odd": Odd, "value": ValueError, "exit": SystemExit}[kind]("the message")
def apply(function, *inputs): return function(*inputs)
def spoils(a): a[0] = 9; return a
def divide(a, b): return a / b
def read(path): return open(path).read()
def same(x): return x

import sys, types
for name in ("tinytorch", "tinytorch.testing"):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].ready = lambda: "the student's"
sys.modules["tinytorch"].testing = sys.modules["tinytorch.testing"]
"""

GOOD = {
    "attributes": "b = Box(3)\nassert b.value == 3\nb.value = [1, Box(2)]\nassert b.value[0] == 1 and b.value[1].value == 2",
    "named": "assert Box(1, **{'a': 2}).named == {'a': 2} and (Box(0)(1, 2, scale=3) == [3, 6]).all()",
    "operators": "assert (Box(1) + 2).value == 3 and (Box(1) + Box(5)).value == 6",
    "items": "assert Box(1)[2, 1:3, ...] == (2, slice(1, 3), ...) and len(Box(1)) == 3",
    "iteration": "assert [b.value for b in Box(1)] == [0, 1, 2] and next(iter(Box(1))).value == 0",
    "with": "b = Box(1)\nwith b as c:\n    assert c is b and b.value == 'in'\nassert b.value == 'out'",
    "arrays": "import numpy as np\nassert np.array_equal(np.asarray(Box(1.0)), [1, 2]) and np.allclose(Box(1.0), [1, 2])",
    "identity": "b = Box(1)\nassert same(b) is b and same is same and same != apply and same in (apply, same)",
    "text": "assert repr(Box(1)) == 'Box(1)' == f'{Box(1)}' and same.__name__ == 'same' and isinstance(Box(1), Box)",
    "errors": "try:\n    fails('odd')\nexcept KeyError as error:\n    assert error.args == ('the message',)\nelse:\n    raise AssertionError",
    "missing": "assert not hasattr(Box(1), 'nothing')",
    "callbacks": "import numpy as np\nassert apply(lambda a, b: a + b, 1, 2) == 3 and apply(np.add, np.ones(2), 1).tolist() == [2, 2]",
    "nested": "assert apply(lambda x: apply(lambda y: y + 1, x) * 2, 3) == 8",
    "callback errors": "def bad(): raise ValueError('mine')\ntry:\n    apply(bad)\nexcept ValueError as error:\n    assert str(error) == 'mine'",
    "errstate": "import numpy as np\nwith np.errstate(divide='raise'):\n    try:\n        divide(np.ones(1), np.zeros(1))\n    except FloatingPointError:\n        pass\n    else:\n        raise AssertionError",
    "files": "import tempfile, pathlib\nwith tempfile.TemporaryDirectory() as folder:\n    path = pathlib.Path(folder) / 'x'\n    path.write_text('hello')\n    assert read(path) == 'hello' == read(str(path))",
    "copies": "import numpy as np\nassert spoils(np.ones(2).copy())[0] == 9",
    "changed in place and let go": "import numpy as np\nx = np.ones(2)\nassert spoils(x)[0] == 9\nKept(x).spoil()",
    "part of the points": "print('half')\n2.5",
    "what tests share": "from tinytorch.testing import ready\nimport tinytorch.testing as t\nfrom tinytorch import testing\nassert ready is t.ready is testing.ready and ready() == 'mine'",
}  # fmt: skip
BAD = {
    "changed in place": ("import numpy as np\nx = np.ones(2)\nspoils(x)\nassert x[1] == 1, 'x'", "x\n(your code changed an array"),
    "changed to what is wanted": ("import numpy as np\nx = np.ones(2)\nspoils(x)\nassert x[0] == 9", "changed an array"),
    "changed in place later": ("import numpy as np\nx = np.ones(2)\nk = Kept(x)\nk.shape()\nk.spoil()\nassert np.array_equal(x, [1, 1])", "changed an array"),
    "changed whole numbers": ("import numpy as np\nx = np.arange(40)\nKept(x).spoil()\nassert x.sum() == 780", "changed an array"),
    "changed what is large": ("import numpy as np\nx = np.ones(1 << 17)\nspoils(x)\nassert x[1] == 1", "changed an array"),
    "truth": ("assert Box(1)", "no truth value"),
    "comparison": ("assert Box(1) == 1", "cannot be compared"),
    "order": ("assert Box(1) < 2", "cannot be compared"),
    "membership": ("assert 1 in Box(1)", "no evidence"),
    "yes or no": ("assert Box(1).sure()", "no evidence"),
    "plain arithmetic": ("assert Box(1).mean() < 1", "should return a Tensor"),
    "exit": ("fails('exit')", "SystemExit"),
    "what cannot cross": ("same(object())", "cannot cross"),
    "a plain failure": ("assert Box(1).value == 2, 'expected 2'", "expected 2"),
}  # fmt: skip


@pytest.fixture(scope="module")
def outcomes(run_steps):
    """Every cell's outcome, of one run."""
    cells = {**GOOD, **{name: source for name, (source, _) in BAD.items()}}
    done = run_steps(STUDENT, cells, own={"tinytorch.testing": "def ready():\n    return 'mine'\n"})
    assert done["ended"], done["infrastructure"]
    return done["cells"]


@pytest.mark.parametrize("name", GOOD)
def test_tests_may(outcomes, name):
    assert outcomes[name]["points"] == (2.5 if name == "part of the points" else 4), outcomes[name]


@pytest.mark.parametrize("name", BAD)
def test_no_points_for(outcomes, name):
    assert outcomes[name]["points"] == 0 and BAD[name][1] in outcomes[name]["message"], outcomes[name]


def test_of_a_cell_that_hung_its_definitions_stay():
    source = "import os\n@mark\ndef f():\n    pass\nwhile True: pass\nclass A:\n    x = 1\n"
    assert definitions(source) == "import os\n@mark\ndef f():\n    pass\n\nclass A:\n    x = 1\n"
    assert definitions("def (") == ""
