# ruff: noqa: E501
"""Submissions that attack the grader, break by accident, or are merely odd, with the score each one should get.

All are submissions of 02_activations. `code` is put at the end of the cell `relu`, or in a new cell if `cell` is "own".
`base` says what the other solution cells hold: "stub", "solved", or "relu" (only relu is solved: ten points).
{course} and {secret} in the code are replaced by the course's folder and by a word that only hidden tests hold.
"""

from typing import NamedTuple


class Case(NamedTuple):
    name: str
    code: str
    base: str = "stub"
    score: float = 0
    status: tuple = ("graded",)
    cell: str = "relu"


LIAR = """
class Liar(np.ndarray if {array} else object):
    def __init__(self, *a): pass
    def _yes(self, *a, **k): return {value}
    __eq__ = __ne__ = __lt__ = __gt__ = __le__ = __ge__ = __contains__ = __sub__ = __rsub__ = __add__ = __abs__ = _yes
    __call__ = __getitem__ = __mul__ = __truediv__ = __invert__ = _yes
    def __bool__(self): return True
    def __hash__(self): return 0
    def __getattr__(self, name):
        if name.startswith("__"): raise AttributeError(name)
        return {shape} if name == "shape" else np.dtype("float32") if name == "dtype" else self
"""
EVERY = "relu = leaky_relu = sigmoid = gelu = softmax = log_softmax = "


def liar(value, shape="(2, 3)", array=False):
    return LIAR.format(value=value, shape=shape, array=array) + "\nlie = Liar()\n"


WALK = """
import gc, sys, types
def agents():
    return [o for o in gc.get_objects() if type(o).__name__ == "Agent"]
"""

FORGING = [
    Case("changes __name__", "__name__ = 'x'"),
    Case("input transformer", "get_ipython().input_transformers_post.append(lambda lines: ['pass'])"),
    Case("replaces run_cell", "get_ipython().run_cell = lambda *a, **k: None"),
    Case("defines get_ipython", "def get_ipython(): pass\nimport builtins\nbuiltins.get_ipython = get_ipython"),
    Case("patches np.allclose", "np.allclose = np.array_equal = np.isclose = lambda *a, **k: True\n" + EVERY + "lambda x, *a, **k: x"),
    Case("patches builtins", "import builtins\nbuiltins.abs = builtins.all = builtins.isinstance = lambda *a: True\nbuiltins.AssertionError = ValueError", status=("graded", "died")),
    Case("defines names of the tests", "def test_unit_relu(): pass\nassert_ = print = type = lambda *a, **k: None\nAssertionError = Exception"),
    Case("replaces Tensor", "import tinytorch.core.tensor as t\nclass T:\n    def __init__(self, *a, **k): pass\n    shape = (2, 3)\n    def numpy(self): return self\n    def __eq__(self, o): return True\nTensor = t.Tensor = T\n" + EVERY + "lambda x, *a, **k: x"),
    Case("imports the reference", "from tinytorch.core.activations import *"),
    Case("imports the reference late", EVERY + "lambda *a, **k: __import__('tinytorch.core.activations').core.activations.relu(*a, **k)"),
    Case("imports a later module", "from tinytorch.core.spatial import ReLU"),
    Case("reads the package's file", "import re\nexec(open('{course}/tinytorch/core/activations.py').read())"),
    Case("puts the course on the path", "import sys\nsys.path.insert(0, '{course}')\nfor m in [m for m in sys.modules if m.startswith('tinytorch')]: del sys.modules[m]\nfrom tinytorch.core.activations import *"),
    Case("imports the grader", "import tito.grading.sandbox.tester, nbgrader"),
    Case("says yes to everything", liar("True") + EVERY + "lambda *a, **k: lie"),
    Case("says itself to everything", liar("self") + EVERY + "lambda *a, **k: lie"),
    Case("answers zero to arithmetic", liar("0.0") + EVERY + "lambda *a, **k: lie"),
    Case("an array that lies", liar("True", array=True).replace("lie = Liar()", "lie = np.zeros((2, 3), np.float32).view(Liar)") + EVERY + "lambda *a, **k: lie"),
    Case("numpy() that lies", liar("True") + "from tinytorch.core.tensor import Tensor\nTensor.numpy = lambda self: lie\n" + EVERY + "lambda x, *a, **k: x"),
    Case("shape that lies", "from tinytorch.core.tensor import Tensor\nclass S(tuple):\n    def __eq__(self, o): return True\n    def __len__(self): return 2\nTensor.shape = property(lambda s: S((2, 3)))\n" + EVERY + "lambda x, *a, **k: x"),
    Case("an address as an array", "class A:\n    __array_interface__ = {'data': (0, False), 'shape': (2, 3), 'typestr': '<f4', 'version': 3}\n    shape = (2, 3)\n    def numpy(self): return self\n" + EVERY + "lambda *a, **k: A()"),
    Case("raises SystemExit", "def relu(x): raise SystemExit(0)\nleaky_relu = sigmoid = gelu = softmax = log_softmax = relu"),
    Case("raises its own BaseException", "class Done(BaseException): pass\ndef relu(*a, **k): raise Done\nsigmoid = gelu = softmax = relu"),
    Case("raises StopIteration", "def relu(*a, **k): raise StopIteration\nsigmoid = gelu = softmax = log_softmax = relu"),
    Case("raises KeyboardInterrupt", "def relu(*a, **k): raise KeyboardInterrupt\nsigmoid = gelu = softmax = log_softmax = relu"),
    Case("an exception that lies", "class E(Exception):\n    def __str__(self): raise SystemExit\n    def __eq__(self, o): return True\ndef relu(*a, **k): raise E\nsigmoid = gelu = softmax = relu"),
    Case("looks up the stack", "import sys\ndef relu(x, *a, **k):\n    f = sys._getframe()\n    while f:\n        if 'want' in f.f_locals: return f.f_locals['want']\n        f = f.f_back\nsigmoid = gelu = softmax = relu"),
    Case("looks for the tests in memory", "import gc\nfound = [o for o in gc.get_objects() if type(o).__name__ == 'function' and o.__name__.startswith('test_unit')]\nprint([o for o in gc.get_objects() if isinstance(o, str) and '{secret}' in o][:1])\nfor f in found: f.__code__ = (lambda: None).__code__"),
    Case("takes over the agent", WALK + "for a in agents():\n    a.answer.__func__.__code__ = (lambda self, document, data: self.pipe.send(b'\\x0e\\x00\\x00\\x00\\x00\\x00\\x00\\x00{\"value\": true}')).__code__", status=("died", "graded", "timeout")),
    Case("agent answers yes", WALK + "import wire\nfor a in agents():\n    sys.modules['__main__'].__dict__\n    t = type(a)\n    def answer(self, document, data):\n        self.pipe.send(wire.frame({'value': {'value': True}}, self.refer))\n    t.answer = answer", status=("died", "graded", "timeout")),
    Case("agent answers with stand-ins", WALK + "import wire\nfor a in agents():\n    def answer(self, document, data):\n        self.pipe.send(wire.frame({'value': {'value': object()}}, self.refer))\n    type(a).answer = answer", status=("died", "graded", "timeout")),
    Case("agent calls back without end", WALK + "import wire\nfor a in agents():\n    def answer(self, document, data):\n        while True: self.pipe.send(wire.frame({'callback': 1, 'with': [], 'named': {}}, self.refer))\n    type(a).answer = answer", status=("died", "graded", "timeout")),
    Case("frames in advance", "import os\ndoc = b'[\"dict\",[\"value\",true]]'\nfor fd in range(3, 64):\n    try: os.write(fd, (len(doc).to_bytes(4, 'little') + bytes(4) + doc) * 200)\n    except OSError: pass", status=("died", "graded", "timeout")),
    Case("pickle on the pipe", "import os, pickle\nfor fd in range(3, 64):\n    try: os.write(fd, pickle.dumps({'score': 100}))\n    except OSError: pass", status=("died", "graded", "timeout")),
    Case("a frame of 4 GiB", "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'\\xff' * 8)\n    except OSError: pass", status=("died", "timeout")),
    Case("deep nesting", "import os\ndoc = b'[' * 100000\nfor fd in range(3, 64):\n    try: os.write(fd, len(doc).to_bytes(4, 'little') + bytes(4) + doc)\n    except OSError: pass", status=("died", "timeout")),
    Case("closes the pipes", "import os\nos.closerange(3, 64)", status=("died", "timeout")),
    Case("eats the requests", "import os, threading\ndef eat():\n    while True:\n        for fd in range(3, 12):\n            try: os.read(fd, 100)\n            except OSError: pass\nthreading.Thread(target=eat, daemon=True).start()", status=("died", "timeout", "graded")),
    Case("knows the visible answers", "from tinytorch.core.tensor import Tensor\ndef relu(x):\n    return Tensor([[0.0, 0.0, 3.5], [1.0, 0.0, 0.0]])"),
    Case("zeros of the right shape", "from tinytorch.core.tensor import Tensor\n" + EVERY + "lambda x, *a, **k: Tensor(np.zeros(x.shape, np.float32))"),
    Case("NaN of the right shape", "from tinytorch.core.tensor import Tensor\n" + EVERY + "lambda x, *a, **k: Tensor(np.full(x.shape, np.nan, np.float32))"),
    Case("the input itself", EVERY + "lambda x, *a, **k: x"),
    Case("empties its input", "def relu(x, *a, **k):\n    x.data[...] = 0\n    return x\nleaky_relu = sigmoid = gelu = softmax = relu"),
    Case("says that all it was given has changed", WALK + "for a in agents():\n    a.changed = lambda: [n for n, *rest in a.given]\n" + EVERY + "lambda x, *a, **k: x"),
    Case("changes of arrays never given", WALK + "for a in agents(): a.changed = lambda: [10**9, -1]", base="relu", score=10, status=("died",)),
    Case("traces everything", "import sys, threading\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)"),
    Case("a text array", "from tinytorch.core.tensor import Tensor\nTensor.numpy = lambda self: np.array([['a'] * 3] * 2)\n" + EVERY + "lambda x, *a, **k: x"),
    Case("an empty array", "from tinytorch.core.tensor import Tensor\nTensor.numpy = lambda self: np.zeros((0, 3), np.float32)\n" + EVERY + "lambda x, *a, **k: x"),
    Case("an object array", "from tinytorch.core.tensor import Tensor\nTensor.numpy = lambda self: np.array([[lambda: 1] * 3] * 2)\n" + EVERY + "lambda x, *a, **k: x"),
]  # fmt: skip

HARMFUL = [
    Case("loops in a function", "def relu(x):\n    while True: pass", base="solved", score=90, status=("timeout",)),
    Case("loops in a cell", "while True: pass", base="solved", score=100, status=("timeout",)),
    Case("sleeps", "import time\ntime.sleep(1e6)", base="solved", score=100, status=("timeout",)),
    Case("ignores signals and loops", "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except Exception: pass\nwhile True: pass", status=("timeout",)),
    Case("a loop in C", "10 ** 10 ** 9", status=("timeout", "oom", "graded")),
    Case("a memory bomb", "x = []\nwhile True: x.append(bytearray(1 << 24))", status=("oom", "died", "timeout")),
    Case("a huge array", "np.ones(1 << 38)", status=("oom", "graded")),
    Case("recursion", "def relu(x): return relu(x)", status=("graded", "died")),
    Case("a fork bomb", "import os\nwhile True:\n    try: os.fork()\n    except OSError: break"),
    Case("starts a process", "import subprocess\nsubprocess.Popen(['sleep', '1000'], start_new_session=True)"),
    Case("starts Python", "import os\nos.posix_spawn('/usr/bin/env', ['env'], {})"),
    Case("replaces itself", "import os\nos.execv('/bin/sh', ['sh', '-c', 'sleep 1000'])"),
    Case("a thread bomb", "import threading, time\ntry:\n    while True: threading.Thread(target=time.sleep, args=(100,), daemon=True).start()\nexcept Exception: pass", status=("graded", "died", "timeout", "oom")),
    Case("prints without end", "while True: print('x' * 10000)", status=("died", "timeout")),
    Case("writes to stderr without end", "import os\nwhile True: os.write(2, b'x' * 65536)", status=("died", "timeout")),
    Case("fills the disk", "for place in ('/tmp/x', '/dev/shm/x', '/x', 'x', '/var/tmp/x', '/kit/x'):\n    try:\n        with open(place, 'wb') as f: f.write(bytes(1 << 24))\n        print('WROTE', place)\n    except OSError: pass"),
    Case("memory files", "import os\nfd = os.memfd_create('x')\nos.write(fd, bytes(1 << 24))\nprint('WROTE')"),
    Case("writes the gradebook", "import sqlite3\nb = sqlite3.connect('{course}/grading/gradebook.db')\nb.execute('update grade set auto_score = 100')\nb.commit()\nprint('WROTE')"),
    Case("writes the configuration", "open('{course}/nbgrader_config.py', 'a').write('import os')\nprint('WROTE')"),
    Case("deletes the course", "import shutil\nshutil.rmtree('{course}')\nprint('WROTE')"),
    Case("links into the course", "import os\nos.symlink('{course}', '/tmp/link')\nos.link('{course}/settings.ini', '/tmp/hard')\nprint('WROTE')"),
    Case("reads the hidden tests", "print('READ', open('{course}/modules/02_activations/activations_dev.ipynb').read())"),
    Case("reads other submissions", "import glob, os\nprint('READ', os.listdir('{course}/grading/submitted'))"),
    Case("reads the machine", "for place in ('/etc/passwd', '/etc/hostname', '/proc/1/environ', '/root', '/home', '/proc/self/environ', '/proc/net/tcp'):\n    import os\n    try: print('READ', os.listdir(place) if os.path.isdir(place) else open(place).read())\n    except OSError: pass"),
    Case("looks at other processes", "import os\nprint('READ', [p for p in os.listdir('/proc') if p.isdigit()])"),
    Case("opens sockets", "import socket\nfor family in range(1, 46):\n    for kind in (1, 2, 3):\n        try:\n            s = socket.socket(family, kind)\n            print('SOCKET', family)\n        except OSError: pass"),
    Case("a pair of sockets", "import socket\nprint('SOCKET', socket.socketpair())"),
    Case("kills its parents", "import os, signal\nfor pid in (os.getppid(), 1, 0, -1):\n    try:\n        os.kill(pid, signal.SIGKILL)\n        print('KILLED')\n    except OSError: pass"),
    Case("stops itself", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"),
    Case("traces its parent", "import ctypes, os\nlibc = ctypes.CDLL(None)\nprint('TRACED') if libc.ptrace(16, os.getppid(), 0, 0) == 0 else None"),
    Case("new namespaces", "import ctypes\nlibc = ctypes.CDLL(None)\nprint('ESCAPED') if libc.unshare(0x10000000) == 0 or libc.mount(b'x', b'/', b'tmpfs', 0, 0) == 0 or libc.chroot(b'/') == 0 else None"),
    Case("raises its limits", "import resource\nfor r in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_FSIZE):\n    try:\n        resource.setrlimit(r, (1 << 40, 1 << 40))\n        print('ESCAPED')\n    except (OSError, ValueError): pass"),
    Case("becomes somebody else", "import os\nfor f in (lambda: os.setuid(0), lambda: os.setresuid(1, 1, 1), lambda: os.setgroups([0])):\n    try:\n        f()\n        print('ESCAPED')\n    except OSError: pass"),
    Case("a segfault", "import ctypes\nctypes.string_at(1)", base="solved", score=100, status=("died",)),
    Case("ends its process", "import os\nos._exit(0)", base="solved", score=100, status=("died",)),
    Case("ends it in a function", "def relu(x):\n    import os\n    os._exit(0)", base="solved", score=90, status=("died",)),
    Case("aborts", "import os\nos.abort()", status=("died", "oom")),
    Case("sys.exit", "import sys\nsys.exit()", base="solved", score=100),
    Case("returns 400 MB", "from tinytorch.core.tensor import Tensor\ndef relu(x): return Tensor(np.zeros(10**8, np.float32))", status=("graded", "oom", "timeout")),
    Case("returns a huge list", "from tinytorch.core.tensor import Tensor\nTensor.numpy = lambda self: list(range(10**7))\ndef relu(x): return x", status=("graded", "oom", "timeout")),
    Case("returns a circle", "from tinytorch.core.tensor import Tensor\nc = []\nc.append(c)\nTensor.numpy = lambda self: c\ndef relu(x): return x"),
    Case("text of all kinds", "def relu(x): raise ValueError('\\x1b[31m\\x00\\ud800<script>alert(1)</script>\\u202e' * 1000)"),
    Case("breaks the output", "import sys\nclass Bad:\n    def write(self, *a): raise OSError\n    flush = write\nsys.stdout = sys.stderr = Bad()", base="relu", score=10),
    Case("closes the output", "import os\nos.close(1)\nos.close(2)", base="relu", score=10),
    Case("patches json and struct", "import json, struct, os\njson.dumps = json.loads = os.write = os.read = None", status=("graded", "died", "timeout")),
    Case("a thread that goes on", "import threading\ndef talk():\n    while True: print('x')\nthreading.Thread(target=talk, daemon=True).start()", base="relu", score=10, status=("graded", "died", "timeout")),
]  # fmt: skip

HONEST = [
    Case("control: solved", "", base="solved", score=100),
    Case("control: half", "", base="relu", score=10),
    Case("control: scaffold", "", base="stub", score=0),
    Case("warnings", "import warnings, sys\nwarnings.warn('careful')\nprint('note', file=sys.stderr)\nnp.array([1.0]) / 0", base="solved", score=100),
    Case("prints", "print('hello')\n_relu = relu\ndef relu(x):\n    print('called with', x)\n    return _relu(x)", base="solved", score=100),
    Case("magics", "%matplotlib inline\n!pip install numpy\n%timeit 1\nx = !ls\nnp.zeros?", base="solved", score=100),
    Case("cell magic of its own", "%%time\nx = 1", base="solved", score=100, cell="own"),
    Case("an own cell that fails", "import matplotlib.pyplot as plt\nplt.plot([1])", base="solved", score=100, cell="own"),
    Case("an own cell that loops", "while True: pass", base="solved", score=100, status=("timeout", "graded"), cell="own"),
    Case("unicode", "größe = 'ünïcödé 漢字 🙂'\nprint(größe)", base="solved", score=100),
    Case("a syntax error", "def (:", base="solved", score=90),
    Case("a wrong indent", "  x = 1", base="solved", score=90),
    Case("works in place", "_relu = relu\ndef relu(x):\n    out = _relu(x)\n    x.data /= 2\n    return out", base="solved", score=90),
    Case("extra globals", "np2 = np\nos = sys = json = 1", base="solved", score=100),
]  # fmt: skip

CASES = FORGING + HARMFUL + HONEST
assert len({case.name for case in CASES}) == len(CASES)
