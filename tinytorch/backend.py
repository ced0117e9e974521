"""Which convolution runs: backends by name, each with the functions, its kernels, that layers call.

`core.spatial` registers "loops" and "windows" here, `core.fast` registers "fast", and a layer asks for a `kernel` of the
backend in force. `use_backend` chooses, for a block or from now on; TINYTORCH_BACKEND names the one to begin with.

The choice is the thread's own, and an asyncio task's own: nobody else's layers change. A new thread begins with the
backend to begin with; a new task with that of the code which made it.
"""

import os
from contextvars import ContextVar
from importlib import import_module

__all__ = [
    "BACKENDS",
    "Backends",
    "backend",
    "backends_of",
    "default_backend",
    "kernel",
    "kernels",
    "register",
    "resolve",
    "use_backend",
]

SPATIAL, FAST = "tinytorch.core.spatial", "tinytorch.core.fast"


class Backends:
    """A table of backends, and which of them is in force.

    The package has one, whose methods are this module's functions. A notebook has one of its own (see `backends_of`).
    """

    def __init__(self):
        self.table = {}  # backend -> {name of a kernel: function}
        self.first = None  # the backend to begin with; None: not asked for yet
        self.choice = ContextVar("backend", default=None)  # (backend, kernels lent to it or None); None: not chosen yet

    def register(self, backend, **kernels):
        """Put functions into the table under the name of a backend, beside those that it has."""
        self.table.setdefault(backend, {}).update(kernels)

    def resolve(self, name):
        """The name of a backend, if it is in the table. Raises ValueError for one that is not."""
        if not isinstance(name, str) or name not in self.table:
            why = f": {FAST} is not there, or not finished" if name == "fast" else ""
            there = " or ".join(map(repr, self.table))
            raise ValueError(f"there is no backend {name!r}{why}: use {there} (or TINYTORCH_BACKEND)")
        return name

    def default_backend(self):
        """The backend to begin with."""
        return self.resolve("windows")

    def backend(self):
        """The name of the backend in force: "loops", "windows", ..."""
        return self._chosen()[0]

    def _chosen(self):
        chosen = self.choice.get()
        if chosen is None:
            self.first = self.first or self.default_backend()
            chosen = self.first, None
        return chosen

    def kernels(self):
        """{name: function}: what the backend in force offers."""
        name, lent = self._chosen()
        return lent or self.table[name]

    def kernel(self, name):
        """The function of that name ("conv2d", "max_pool2d", "avg_pool2d") of the backend in force."""
        return self.kernels()[name]

    def use_backend(self, name, kernels=None):
        """Choose the backend that layers call: use_backend("loops") from now on, `with use_backend("loops"):` for a block.

        In this thread or asyncio task only; what others run stays as it is.
        kernels: {name: function} to call for as long, in place of those that are registered under the name
        Raises ValueError for a backend that is not there; then nothing changes.
        """
        chosen, before = (name if kernels else self.resolve(name), kernels), self.choice.get()
        self.choice.set(chosen)
        return _Chosen(self, before)


class _Chosen:
    """A choice that was made; at the end of a `with` block, the one before is back."""

    def __init__(self, backends, before):
        self.backends, self.before = backends, before

    def __enter__(self):
        return self

    def __call__(self, *_):
        self.__exit__()
        raise TypeError("use_backend is no decorator: write `with use_backend(...):` inside the function")

    def __exit__(self, *error):
        self.backends.choice.set(self.before)  # not reset: a generator may be closed in another context


class _OfThePackage(Backends):
    """The table that the package's own layers share: a backend's module is imported when it is first asked for."""

    def resolve(self, name):
        """The name of a backend, if its module is there and has registered it. Raises ValueError if not."""
        if isinstance(name, str) and name not in self.table:
            import_module(SPATIAL)
            if name == "fast":
                self._import_fast()
        return super().resolve(name)

    @staticmethod
    def _import_fast():
        try:
            import_module(FAST)
        except ModuleNotFoundError as error:
            if error.name != FAST:
                raise

    def default_backend(self):
        """The backend to begin with: TINYTORCH_BACKEND, else "fast" where it can be had, else "windows"."""
        if chosen := os.environ.get("TINYTORCH_BACKEND"):
            return self.resolve(chosen)
        try:
            return self.resolve("fast")
        except ValueError:
            return self.resolve("windows")


_package = _OfThePackage()
BACKENDS = _package.table
backend, kernel, kernels = _package.backend, _package.kernel, _package.kernels
default_backend, register, resolve = _package.default_backend, _package.register, _package.resolve
use_backend = _package.use_backend


def backends_of(module):
    """The Backends in which a module registers and of which its layers ask, given its __name__.

    The package's modules share the package's. Any other, such as a notebook, gets a new one that is its own: there its
    own functions run, whatever the package holds, and what it registers changes nothing in the package.
    """
    return _package if module.partition(".")[0] == __package__ else Backends()
