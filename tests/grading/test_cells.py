# ruff: noqa: E501
"""A student's cell as plain Python, and what becomes of what IPython or the box lacks."""

import pytest

from tito.grading.sandbox.cells import one_line, prepare

GOES = {  # a cell, what is left of it, what the notes say
    "%matplotlib inline\nx = (7\n% 3)": ("pass\nx = (7\n% 3)", "%matplotlib inline"),
    "%load_ext x\nx = 7 \\\n  % 3": ("pass\nx = 7 \\\n  % 3", "%load_ext x"),
    "%%time\nx = 1": ("pass\nx = 1", "%%time"),
    "\n%%capture out\nx = 1": ("\npass\nx = 1", "%%capture out"),
    "%%bash\nls -l\n": ("", "%%bash"),
    "!pip install x \\\n  y\nx = 1": ("pass\n\nx = 1", "!pip install x"),
    "def f():\n    %timeit g()\n    return 1": ("def f():\n    pass\n    return 1", "%timeit g()"),
    "files = !ls\nrelu?\n?relu": ("pass\npass\npass", "files = !ls"),
    "s = '''\n%no magic\n'''\n%magic": ("s = '''\n%no magic\n'''\npass", "%magic"),
}


@pytest.mark.parametrize("source", GOES)
def test_magics_go_and_lines_stay_where_they_are(source):
    cell = prepare(source, "tinytorch")
    assert cell.source == GOES[source][0]
    assert cell.notes[0].startswith(GOES[source][1]) and all("was left out" in note for note in cell.notes)


@pytest.mark.parametrize(
    "source", ["x = 5 % 2", "await f()", "a = b\n", "def (", "x = [\n1 % 2,\n% 3]", "'unclosed", "\0"]
)
def test_python_stays_as_it_is_faults_too(source):
    cell = prepare(source, "tinytorch")
    assert (cell.source, cell.notes, cell.lacking) == (source, [], [])


def test_what_the_box_lacks_is_named():
    source = "import matplotlib.pyplot as plt, math\nfrom tqdm import tqdm\nfrom tinytorch import viz, nn\n"
    source += (
        "import tinytorch.core.tensor\ntry:\n    import scipy\nexcept ImportError:\n    pass\ndef f():\n    import jax"
    )
    cell = prepare(source, "tinytorch")
    assert cell.lacking == ["matplotlib.pyplot", "tqdm", "tinytorch.viz"] and cell.source == source
    assert len(cell.notes) == 3 and "not there where this is graded" in cell.notes[0]


def test_notes_are_few_short_and_on_one_line():
    cell = prepare("\n".join(f"!{'x' * 500}\x1b[31m{n}" for n in range(100)), "tinytorch")
    assert len(cell.notes) == 10 and all(len(note) < 100 and "\x1b" not in note for note in cell.notes)
    assert one_line("a\n\x00b\u202e c\ud800", 20) == "a b c?" and len(one_line("x" * 999)) == 120


RELU = "import numpy as np\ndef relu(x): return np.maximum(x, 0)\n"
TEST = "import numpy as np\nassert np.array_equal(relu(np.array([-1.0, 2.0])), [0.0, 2.0])"
HONEST = {
    "plots": f"import matplotlib.pyplot as plt\nfrom tqdm import tqdm\nimport pandas as pd\n{RELU}",
    "plots at the end": f"import matplotlib.pyplot as plt\n{RELU}plt.plot([1])\n",
    "a magic and modulo": f"%matplotlib inline\n{RELU}x = (7\n% 4)\n",
    "times": f"%%time\n{RELU}",
    "asks IPython": f"{RELU}get_ipython().run_line_magic('matplotlib', 'inline')\nget_ipython().system('ls')\n",
    "awaits": f"import asyncio\n{RELU}async def one(): return 1\nassert await one() == 1\nawait asyncio.sleep(0.001)\n"
    "assert await asyncio.gather(one(), one()) == [1, 1]\n",
    "tries": f"try:\n    import scipy\n    there = True\nexcept ImportError:\n    there = False\nassert not there\n{RELU}",
    "a helper called as a test's": "def why(a): return a\nimport numpy as np\ndef relu(x): return np.maximum(why(x), 0)\n",
    "prints without an end in sight": f"{RELU}print('x' * 10_000_000)\n",
}
USES = (
    f"from tqdm import tqdm\n{RELU}_old = relu\ndef relu(x):\n    for _ in tqdm(range(3)): pass\n    return _old(x)\n"
)


@pytest.mark.parametrize("name", HONEST)
def test_honest_cells_keep_their_points(run_steps, name):
    test = f"def why(*inputs): return 'the test'\n{TEST}" if "helper" in name else TEST
    done = run_steps(HONEST[name], {"test": test})["cells"]
    assert done["test"]["points"] == 4, done


def test_what_is_not_there_costs_only_whoever_uses_it(run_steps):
    done = run_steps(USES, {"test": TEST})["cells"]
    assert done["test"]["points"] == 0 and "tqdm is not there where this is graded" in done["test"]["message"]
    assert any("tqdm" in note for note in done["student"]["notes"])
