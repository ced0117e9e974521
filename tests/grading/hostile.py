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
    Case("ufuncs and functions that lie", "class A:\n    __array_ufunc__ = __array_function__ = lambda s, *a, **k: np.True_\n    __array__ = lambda s, *a, **k: np.zeros((2, 3), np.float32)\n    __call__ = lambda s, *a, **k: s\n" + EVERY + "A()"),
    Case("a float64 that is equal to all", "class F(np.float64):\n    __eq__ = lambda s, o: True\n    __sub__ = __rsub__ = lambda s, o: np.float64(0)\n    shape = property(lambda s: (2, 3))\n" + EVERY + "lambda *a, **k: F(1)", status=("graded", "died")),
    Case("every tensor reads the same", "from tinytorch.core.tensor import Tensor\nones = lambda s, *a: np.ones((2, 3), np.float32)\nTensor.data, Tensor.numpy = property(ones, lambda s, v: None), ones\n" + EVERY + "lambda *a, **k: Tensor(np.ones((2, 3)))"),
    Case("another tensor of the same shape", "from tinytorch.core.tensor import Tensor\nseen, start = [], Tensor.__init__\ndef init(s, *a, **k):\n    start(s, *a, **k)\n    seen.append(s)\nTensor.__init__ = init\n" + EVERY + "lambda x, *a, **k: next((t for t in reversed(seen) if t is not x and t.data.shape == x.data.shape), x)"),
    Case("puts others in the place of modules", "import sys, types\nfake = types.ModuleType('x')\nfake.__getattr__ = lambda n: (lambda *a, **k: None)\nfor n in ('tinytorch.testing', 'numpy.testing', 'wire', 'agent', '__main__'): sys.modules[n] = fake\n" + EVERY + "lambda *a, **k: fake", status=("graded", "died")),
    Case("keeps answers for the next", "import os\nfor p in ('/tmp/kept', '/dev/shm/kept', '/var/tmp/kept', 'kept'):\n    try:\n        with open(p, 'a+') as f: print('WROTE', f.write('x'))\n    except OSError: pass\n" + EVERY + "lambda *a, **k: 0"),
    Case("an exception that raises at every look", "class E(BaseException):\n    def __getattribute__(s, n): raise E\n    def __str__(s): raise E\ndef relu(*a, **k): raise E\nleaky_relu = sigmoid = gelu = softmax = log_softmax = relu", status=("graded", "died")),
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


def kernel(*lines):
    """Code that makes system calls by number (x86-64's) and by libc, and says so if one of them succeeds."""
    head = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\nbuf = ctypes.create_string_buffer(1 << 12)\nat = ctypes.addressof(buf)\n"
    head += "def call(*n):\n    if libc.syscall(*map(ctypes.c_long, n)) >= 0: print('ESCAPED ', n)\n"
    head += "def tried(what, *n):\n    try:\n        what(*n)\n        print('ESCAPED ', n)\n    except (OSError, ValueError, OverflowError): pass\n"
    return head + "\n".join(lines)


def exact(*bytes_):
    """Code that runs machine code of x86-64."""
    return f"import ctypes, mmap\npage = mmap.mmap(-1, 4096, prot=7)\npage.write(bytes.fromhex('{' '.join(bytes_)}'))\nresult = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()"


PATH = "b'{course}/settings.ini'"
KERNEL = [
    Case("io_uring", kernel("call(425, 8, at)\ncall(426, 0, 1, 0, 0, 0)\ncall(427, 0, 0, at, 1)"), base="relu", score=10),
    Case("userfaultfd", kernel("call(323, 0)\ncall(323, 1)"), base="relu", score=10),
    Case("vmsplice and pipes", kernel("tried(os.pipe)\ncall(22, at)\ncall(293, at, 0)\ncall(278, 1, at, 1, 0)\ncall(275, 1, 0, 1, 0, 9, 0)\ncall(276, 1, 1, 9, 0)"), base="relu", score=10),
    Case("signals by a file", kernel("import fcntl\nfor fd in range(8):\n    for pid in (os.getppid(), 1):\n        tried(fcntl.fcntl, fd, fcntl.F_SETOWN, pid)\n        tried(fcntl.fcntl, fd, fcntl.F_SETSIG, 9)\n        tried(fcntl.fcntl, fd, 15, b'\\0' * 8)"), base="relu", score=10),
    Case("leases and notes of folders", kernel("import fcntl\nfd = os.open(os.path.dirname(np.__file__), 0)\ntried(fcntl.fcntl, fd, fcntl.F_NOTIFY, 0x8000003F)\nfile = os.open(np.__file__, 0)\ntried(fcntl.fcntl, file, fcntl.F_SETLEASE, 0)\ncall(253)\ncall(294, 0)\ncall(300, 0, 0)"), base="relu", score=10),
    Case("locks files", kernel("import fcntl\nfile = os.open(np.__file__, 0)\ntried(fcntl.flock, file, fcntl.LOCK_EX)\ntried(fcntl.lockf, file, fcntl.LOCK_SH)\ntried(fcntl.fcntl, file, 1031, 1 << 20)\ntried(fcntl.fcntl, file, 1033, 15)"), base="relu", score=10),
    Case("queues of a terminal", kernel("import fcntl\nfor n in (0x5412, 0x540E, 0x5422, 0x5423, 0x5401 + 1, 0x8901, 0x6602):\n    for fd in range(8): tried(fcntl.ioctl, fd, n, bytes(64))"), base="relu", score=10),
    Case("its memory as a file", kernel("for name in ('/proc/self/mem', '/proc/thread-self/mem', '/proc/self/oom_score_adj', '/dev/mem', '/dev/kmsg', '/dev/tty', '/dev/shm/x', '/sys/kernel/x'):\n    for mode in ('rb', 'r+b', 'ab'): tried(open, name, mode)"), base="relu", score=10),
    Case("modes by newer calls", kernel(f"path = ctypes.create_string_buffer({PATH})\nfor n in (452, 463, 464, 465, 466, 468, 469, 188, 189, 90, 92, 94, 132, 235): call(n, ctypes.addressof(path), 0o4777, 0o4777, at, 0)\nfor n in (452, 463, 469, 268, 260, 280): call(n, -100, ctypes.addressof(path), 0o4777, at, 0)"), base="relu", score=10),
    Case("empties files", kernel("tried(os.truncate, '{course}/settings.ini', 0)\ntried(os.open, '{course}/settings.ini', os.O_TRUNC)\ntried(os.open, np.__file__, os.O_TRUNC)\ntried(os.truncate, np.__file__, 0)\ncall(437, -100, at, at, 24)\ncall(85, at, 0o600)"), base="relu", score=10),
    Case("moves and removes files", kernel("for f in (os.unlink, os.rmdir, os.mkdir, os.mkfifo): tried(f, '{course}/grading/x')\ntried(os.rename, '{course}/settings.ini', '{course}/x')\ncall(316, -100, at, -100, at, 0)\ntried(os.mknod, '/tmp/node')"), base="relu", score=10),
    Case("shared memory", kernel("call(29, 0, 4096, 0o1600)\ncall(447, 0)\ncall(319, at, 0)\nfrom multiprocessing import shared_memory\ntried(lambda: shared_memory.SharedMemory('x', True, 99))"), base="relu", score=10),
    Case("queues and semaphores", kernel("call(68, 0, 0o1600)\ncall(64, 0, 9, 0o1600)\ncall(240, at, 0o102, 0o600, 0)"), base="relu", score=10),
    Case("keys of the kernel", kernel("call(250, 0, -3, 1)\ncall(248, at, at, at, 9, -3)\ncall(249, at, at, 0, -3)"), base="relu", score=10),
    Case("bpf and perf", kernel("call(321, 5, at, 72)\ncall(298, at, 0, -1, -1, 0)\ncall(317, 0, 0, 0)\ncall(157, 22, 1, 0, 0, 0)"), base="relu", score=10),
    Case("undoes its lock", kernel("call(157, 1, 0, 0, 0, 0)\ncall(157, 4, 1, 0, 0, 0)\ncall(157, 8, 1, 0, 0, 0)\ncall(126, at, at)\ncall(446, -1, 0)\ncall(444, at, 24, 0)\ncall(317, 1, 0, at)"), base="relu", score=10),
    Case("an x32 number", kernel("call(0x40000000 + 39)"), base="solved", score=100, status=("died",)),
    Case("a 32-bit call", exact("b8 14 00 00 00 cd 80 c3"), base="solved", score=100, status=("died",)),
    Case("timers", kernel("import signal\ntried(signal.setitimer, 0, 0.001, 0.001)\ncall(222, 0, 0, at)\ncall(283, 0, 0)\nsignal.alarm(1)\nimport time\ntime.sleep(1.2)"), base="relu", score=10),
    Case("priorities", kernel("tried(os.nice, -5)\ntried(os.sched_setaffinity, os.getppid(), [0])\ntried(os.setpriority, 0, os.getppid(), 19)\ntried(os.sched_setscheduler, os.getppid(), 0, os.sched_param(0))\ncall(251, 1, os.getppid(), 0)\ncall(314, os.getppid(), at, 0)"), base="relu", score=10),
    Case("others' memory", kernel("pid = os.getppid()\ncall(310, pid, at, 1, at, 1, 0)\ncall(311, pid, at, 1, at, 1, 0)\ncall(434, pid, 0)\ncall(438, 3, 0, 0)\ncall(312, pid, pid, 0, 0, 0)\ncall(256, pid, 8, at, at)\ncall(279, pid, 1, at, at, at, 0)\ncall(440, 3, at, 1, 4, 0)"), base="relu", score=10),
    Case("namespaces by clone", kernel("for flags in (0x10000000, 0x20000000, 0x7E020000, 0x10000000 | 17, 0x10F00 | 0x10000000): call(56, flags, 0, 0, 0, 0)\ncall(435, at, 88)\ncall(308, 0, 0)"), base="relu", score=10),
    Case("vfork", kernel("call(58)\ncall(57)\ncall(56, 17, 0, 0, 0, 0)\ncall(56, 0x4111, 0, 0, 0, 0)"), base="relu", score=10),
    Case("bare threads without end", exact("53 31 db b8 38 00 00 00 bf 00 0f 01 00 48 8d 74 24 80 31 d2 45 31 d2 45 31 c0 0f 05", "85 c0 74 0c ff c3 81 fb 00 00 10 00 7c d9 5b c3 eb fe") + "\nprint('ESCAPED ') if result >= 0 else None", base="solved", score=100),
    Case("limits of its parent", kernel("import resource\ntried(resource.prlimit, os.getppid(), resource.RLIMIT_CPU, (1, 1))\ntried(resource.setrlimit, resource.RLIMIT_NOFILE, (9, 9))\ncall(160, 7, at)"), base="relu", score=10),
    Case("sockets by number", kernel("for n, *rest in ((41, 1, 1, 0), (41, 40, 1, 0), (53, 1, 1, 0, at), (42, 3, at, 16), (49, 3, at, 16), (44, 3, at, 1, 0, 0, 0), (46, 3, at, 0), (288, 3, 0, 0, 0)): call(n, *rest)"), base="relu", score=10),
    Case("waits for events", kernel("call(291, 0)\ncall(213, 9)\ncall(290, 0, 0)\ncall(289, -1, at, 8, 0)\ncall(282, -1, at, 8)"), base="relu", score=10),
    Case("files without end", "keep = []\ntry:\n    while True: keep.append(open(np.__file__))\nexcept OSError: pass", base="relu", score=10),
    Case("maps without end", "import mmap\nkeep = []\ntry:\n    while True: keep.append(mmap.mmap(-1, 4096))\nexcept (OSError, MemoryError): keep.clear()", base="relu", score=10, status=("graded", "oom", "died", "timeout")),
    Case("copies over the pipes", kernel("for fd in range(3, 20):\n    for to in range(3): tried(os.dup2, to, fd)"), base="relu", score=10),
    Case("descriptors by fcntl", "import fcntl, os\nkeep = []\ntry:\n    while True: keep.append(fcntl.fcntl(1, fcntl.F_DUPFD, 3))\nexcept OSError: [os.close(fd) for fd in keep]", base="relu", score=10),
    Case("pipes that do not wait", "import os\nfor fd in range(3, 20):\n    try: os.set_blocking(fd, False)\n    except OSError: pass", base="relu", score=10, status=("graded", "died")),
]  # fmt: skip

NOT_A_FUNCTION = {
    "a huge array": "np.zeros(10_000_000)",
    "a huge list": "list(range(900_000))",
    "a huge text": "'x' * 5_000_000",
    "huge bytes": "bytes(10**8)",
    "many huge arrays": "[np.zeros(10**6) for _ in range(9)]",
    "a view of nothing, 10^12 wide": "np.lib.stride_tricks.as_strided(np.zeros(1), (10**6, 10**6), (0, 0))",
    "NotImplemented": "NotImplemented",
    "an array of functions": "np.array([print] * 3, dtype=object)",
    "half a letter": "'\\ud800'",
    "a number of 5,000 digits": "10**5000",
    "a date": "np.datetime64('now')",
    "a record": "np.zeros(3, [('a', 'f4'), ('b', 'O')])",
    "not a number": "float('nan')",
    "a frozen set of sets": "frozenset({frozenset({1})})",
    "a coroutine": "(lambda: (yield))()",
    "the interpreter": "__import__('sys')",
    "a proxy of itself": "__import__('types').MappingProxyType({})",
}
NOT_FUNCTIONS = [
    Case(f"instead of a function: {name}", f"relu = {code}", base="solved", score=90, status=("graded", "oom"))
    for name, code in NOT_A_FUNCTION.items()
]

OBJECTS = [
    Case("broadcasts to nothing", "from tinytorch.core.tensor import Tensor\n" + EVERY + "lambda x, *a, **k: Tensor(np.zeros((0, 1, 1), np.float32))"),
    Case("numpy() of nothing", "from tinytorch.core.tensor import Tensor\nTensor.numpy = lambda self: np.zeros((0, 1, 1), np.float32)\n" + EVERY + "lambda x, *a, **k: x"),
    Case("another answer at each reading", "from tinytorch.core.tensor import Tensor\nn = [0]\ndef numpy(self):\n    n[0] += 1\n    return np.zeros((2, 3) if n[0] % 2 else (0, 3), np.float32)\nTensor.numpy = numpy\nTensor.shape = property(lambda s: (2, 3))\n" + EVERY + "lambda x, *a, **k: x"),
    Case("a number that is equal to all", "from tinytorch.core.tensor import Tensor\nclass I(int):\n    __eq__ = lambda s, o: True\n    __hash__ = int.__hash__\nclass F(float):\n    __eq__ = __le__ = __ge__ = __lt__ = lambda s, o: True\n    __sub__ = __rsub__ = __abs__ = lambda s, *o: F(0)\nTensor.item = lambda s: F(0)\nTensor.shape = property(lambda s: (I(2), I(3)))\n" + EVERY + "lambda x, *a, **k: F(0)"),
    Case("a dtype that is equal to all", liar("True") + "from tinytorch.core.tensor import Tensor\nTensor.dtype = property(lambda s: lie)\n" + EVERY + "lambda x, *a, **k: x"),
    Case("a class of classes that says yes", "class M(type):\n    __eq__ = __instancecheck__ = __subclasscheck__ = __contains__ = lambda *a: True\n    __hash__ = type.__hash__\n    __getattr__ = lambda s, n: s\n    __call__ = lambda s, *a, **k: s\nclass relu(metaclass=M): pass\n" + EVERY + "relu"),
    Case("__array__ that changes", "class A:\n    n = 0\n    def __array__(self, *a, **k):\n        A.n += 1\n        return np.full((2, 3), A.n, np.float32)\n    def numpy(self): return self\n    shape = (2, 3)\n    dtype = np.dtype('float32')\n" + EVERY + "lambda *a, **k: A()"),
    Case("a buffer that lies", "class B(bytearray):\n    def __len__(self): return 24\n    shape = (2, 3)\n    def numpy(self): return self\n" + EVERY + "lambda *a, **k: B()"),
    Case("a list without end", "from tinytorch.core.tensor import Tensor\nclass L(list):\n    def __iter__(self):\n        while True: yield 0.0\nTensor.numpy = lambda self: L([1])\n" + EVERY + "lambda x, *a, **k: x", status=("graded", "oom", "timeout", "died")),
    Case("a tuple without end", "from tinytorch.core.tensor import Tensor\nclass L(tuple):\n    def __iter__(self):\n        while True: yield 0.0\nTensor.shape = property(lambda self: L([1]))\n" + EVERY + "lambda x, *a, **k: x", status=("graded", "oom", "timeout", "died")),
    Case("a list that grows while it is sent", "from tinytorch.core.tensor import Tensor\nlist_ = []\nclass G(dict):\n    __module__ = 'collections'\n    def items(self):\n        while True: yield 'a', 1\n    def keys(self): return iter(lambda: 'a', 0)\nTensor.numpy = lambda self: G(a=1)\n" + EVERY + "lambda x, *a, **k: x", status=("graded", "oom", "timeout", "died")),
    Case("an answer in words", "from tinytorch.core.tensor import Tensor\nTensor.numpy = lambda self: 'all of them'\n" + EVERY + "lambda x, *a, **k: x"),
    Case("infinite answers", "from tinytorch.core.tensor import Tensor\nTensor.numpy = lambda self: np.full((2, 3), np.inf, np.float32)\n" + EVERY + "lambda x, *a, **k: x"),
    Case("a repr of itself", "class R:\n    def __repr__(self): return repr(self)\n    __str__ = __format__ = __repr__\ndef relu(*a, **k): return R()\nsigmoid = gelu = softmax = relu", status=("graded", "died")),
    Case("__class__ that raises", "class X:\n    __class__ = property(lambda s: 1 / 0)\nrelu = X()", base="solved", score=90),
    Case("__getattribute__ that exits", "class X:\n    def __getattribute__(s, n): raise SystemExit\nrelu = X()", base="solved", score=90, status=("graded", "died")),
    Case("a subclass of int that exits", "class I(int):\n    __int__ = __index__ = __trunc__ = __repr__ = lambda s: exit()\nrelu = I(3)", base="solved", score=90, status=("graded", "died")),
    Case("a subclass of str that exits", "class S(str):\n    __str__ = __repr__ = lambda s: exit()\nrelu = S('x')", base="solved", score=90, status=("graded", "died")),
    Case("a group of exceptions", "def relu(x): raise BaseExceptionGroup('x', [SystemExit(), KeyboardInterrupt()])", base="solved", score=90, status=("graded", "died")),
    Case("an exception without arguments", "class E(Exception):\n    args = property(lambda s: 1 / 0)\n    __str__ = lambda s: 1 / 0\ndef relu(x): raise E", base="solved", score=90, status=("graded", "died")),
    Case("an exception whose class lies", "class M(type):\n    __mro__ = property(lambda s: 1 / 0)\n    __name__ = property(lambda s: 1 / 0)\nclass E(Exception, metaclass=M): pass\ndef relu(x): raise E", base="solved", score=90, status=("graded", "died")),
    Case("a trace without end", "class E(Exception):\n    tb_lineno = 1\n    @property\n    def __traceback__(s): return s\n    tb_next = property(lambda s: s)\n    @property\n    def tb_frame(s): return s\n    f_code = tb_frame\n    co_filename = 'x'\ndef relu(x): raise E", base="solved", score=90, status=("graded", "died", "timeout")),
    Case("poisons linecache", "import linecache\nlinecache.getline = None\ndef relu(x): raise ValueError", base="solved", score=90, status=("graded", "died")),
    Case("an exception of ten million letters", "def relu(x): raise ValueError('x' * 10**7)", base="solved", score=90),
    Case("a chain of exceptions", "def relu(x):\n    e = None\n    for _ in range(10**5):\n        n = ValueError('x')\n        n.__cause__ = e\n        e = n\n    raise e", base="solved", score=90, status=("graded", "died")),
]  # fmt: skip

RUNTIME = [
    Case("replaces the wire", "import wire\nwire.frame = wire.Encoder.encode = wire.WRITE = lambda *a, **k: b'\\x0e\\0\\0\\0\\0\\0\\0\\0{\"value\":true}'", status=("graded", "died", "timeout")),
    Case("teaches the wire objects", "import wire\nwire.KINDS |= {'|O', '|O8', '|V8'}\nwire.PLAIN = (object,)\nfrom tinytorch.core.tensor import Tensor\nTensor.numpy = lambda s: np.array([print], object)\n" + EVERY + "lambda x, *a, **k: x", status=("graded", "died")),
    Case("decodes all as True", WALK + "import wire\nwire.Decoder.decode = lambda *a: True", status=("graded", "died", "timeout")),
    Case("half a frame, then silence", "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'\\x10\\0\\0\\0')\n    except OSError: pass", status=("died", "timeout")),
    Case("frames of nothing", "import os\nfor fd in range(3, 64):\n    try: os.write(fd, bytes(8) * 50)\n    except OSError: pass", status=("died", "timeout")),
    Case("a flood of frames", "import os\ndoc = b'[\"dict\",[\"value\",1]]'\nwhile True:\n    for fd in range(3, 64):\n        try: os.write(fd, len(doc).to_bytes(4, 'little') + bytes(4) + doc)\n        except OSError: pass", status=("died", "timeout")),
    Case("frames of 60 MiB", "import os\nfor fd in range(3, 64):\n    try: os.write(fd, (4 << 20).to_bytes(4, 'little') + (60 << 20).to_bytes(4, 'little') + b'[' * (64 << 20))\n    except OSError: pass", status=("died", "timeout")),
    Case("a frame of a million lists", "import os\ndoc = b'[\"list\"' + b',[\"list\"]' * 450_000 + b']'\nfor fd in range(3, 64):\n    try: os.write(fd, len(doc).to_bytes(4, 'little') + bytes(4) + doc)\n    except OSError: pass", status=("died", "timeout")),
    Case("forgets its objects", WALK + "for a in agents():\n    a.objects.clear()\n    a.numbers.clear()\n    a.next = 1", base="relu", status=("graded", "died")),
    Case("all objects are one", WALK + "for a in agents():\n    type(a).refer = lambda self, value: ['object', 1, 'named']", status=("graded", "died")),
    Case("a finaliser that loops", "class D:\n    def __del__(self):\n        while True: pass\nd = D()\ndel d", base="solved", score=100, status=("timeout",)),
    Case("a finaliser that makes another", "class D:\n    def __del__(self): D()\nd = D()\ndel d", base="solved", score=100, status=("graded", "died", "timeout", "oom")),
    Case("gc that raises", "import gc\ngc.callbacks.append(lambda *a: 1 / 0)\ngc.set_threshold(1)", base="relu", score=10),
    Case("gc that freezes and walks", "import gc\ngc.set_debug(gc.DEBUG_SAVEALL)\nfor o in gc.get_objects():\n    if type(o).__name__ == 'Agent': print('an agent')\ngc.freeze()", base="relu", score=10),
    Case("no limit of recursion", "import sys\nsys.setrecursionlimit(10**9)\ndef relu(x): return relu(x)", base="solved", score=90, status=("graded", "died", "oom", "timeout")),
    Case("no room for recursion", "import sys\nsys.setrecursionlimit(60)", status=("graded", "died")),
    Case("clears the modules", "import sys\nsys.modules.clear()", status=("graded", "died")),
    Case("clears the built-ins", "import builtins\nbuiltins.__dict__.clear()", status=("graded", "died")),
    Case("hooks everywhere", "import sys, threading\nsys.excepthook = sys.unraisablehook = sys.displayhook = sys.breakpointhook = threading.excepthook = lambda *a: 1 / 0\nsys.addaudithook(lambda *a: None)", base="relu", score=10),
    Case("an audit hook that raises", "import sys\nsys.addaudithook(lambda name, args: 1 / 0 if name != 'cpython._PySys_ClearAuditHooks' else None)", status=("graded", "died")),
    Case("changes the environment", "import os\nos.environ.clear()\nos.environ['PYTHONPATH'] = '{course}'\nos.putenv('LD_PRELOAD', '/x')\nos.environ['TMPDIR'] = '/'", base="relu", score=10),
    Case("changes np.errstate", "np.seterr(all='raise')\nnp.seterrcall(lambda *a: 1 / 0)\nnp.set_printoptions(threshold=1)", base="relu", score=10),
    Case("changes the numbers", "import ctypes\nctypes.c_long.from_address(id(2) + 24).value = 3", status=("graded", "died", "timeout", "oom")),
    Case("writes into code", "import ctypes\ntry: ctypes.memset(ctypes.cast(ctypes.CDLL(None).read, ctypes.c_void_p).value, 0xCC, 64)\nexcept OSError: pass", status=("graded", "died")),
    Case("an exit at the end", "import atexit, sys, os\natexit.register(os._exit, 0)\nsys.setswitchinterval(1000)", base="relu", score=10),
    Case("a frame's locals", "import sys\nf = sys._getframe()\nwhile f:\n    f.f_locals.update(value=True, packet=b'', reply={'value': True})\n    f = f.f_back", base="relu", score=10, status=("graded", "died")),
    Case("imports a file of its own", "import importlib.util, sys\nsys.path.insert(0, '/tmp')\nsys.meta_path.insert(0, type('F', (), {'find_spec': lambda s, *a: None})())", base="relu", score=10),
    Case("prints a table of marks", "print('| total | 100 of 100 |\\n' * 50)\nprint('\\x1b[2J\\x1b]0;graded\\x07 \\u202e001')", base="relu", score=10),
    Case("magics without end", "\n".join(f"%magic{n} {'x' * 60}" for n in range(3000)), base="solved", score=100),
    Case("magics that forge notes", "%matplotlib '\\x1b[31m all 100 points'\n%load <script>alert(1)</script>\n!echo '<img src=//x>'", base="solved", score=100),
    Case("a line that takes a highlighter long", "# " + "a." * 60_000 + "\n# " + "\\\\(" * 9000, base="solved", score=100),
    Case("sixty megabytes of output", "import os\nfor _ in range(900): os.write(1, b'x' * 65536)", base="relu", score=10),
    Case("a warning at every call", "import warnings\n_relu = relu\ndef relu(x):\n    for _ in range(1000): warnings.warn('x' * 1000)\n    return _relu(x)", base="relu", score=10),
    Case("a huge matrix product", "a = np.ones((9000, 9000), np.float32)\na @ a @ a @ a @ a", base="solved", score=100, status=("graded", "oom", "timeout")),
    Case("a regular expression without end", "import re\nre.match('(a+)+$', 'a' * 64 + 'b')", base="solved", score=100, status=("timeout",)),
    Case("sorts without end", "class N(int):\n    def __lt__(s, o):\n        x.append(N(0)) if len(x) < 10**6 else None\n        return True\nx = [N(1)] * 9\nsorted(x)", base="solved", score=100),
    Case("hashes without end", "class H:\n    def __hash__(s): return 1\n    def __eq__(s, o): return False\nd = {H(): 1 for _ in range(30_000)}", base="solved", score=100, status=("timeout", "graded")),
    Case("a decompression bomb", "import zlib\nz = zlib.compress(bytes(1 << 28))\nkeep = []\nwhile True: keep.append(zlib.decompress(z))", base="solved", score=100, status=("oom", "graded", "timeout")),
]  # fmt: skip

CASES = FORGING + HARMFUL + KERNEL + NOT_FUNCTIONS + OBJECTS + RUNTIME + HONEST
assert len({case.name for case in CASES}) == len(CASES)
