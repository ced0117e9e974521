"""Imports in the tests: the package's modules live in the student's process, what tests share is the tester's own."""

import importlib
import importlib.abc
import importlib.machinery
import sys
import types
from functools import cache


@cache
def module_code(source: str, name: str) -> types.CodeType:
    """The code of one of the tester's modules."""
    return compile(source, name, "exec")


class Importer(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """`import tinytorch.…` in a test gives a module whose names live in the student's process.

    `own` are the tester's modules: full name -> source. What tests share (`tinytorch.testing`) runs here, and the
    student's process is never asked for it.
    """

    def __init__(self, package: str, ask, own: dict[str, str] | None = None):
        self.package, self.ask, self.own = package, ask, own or {}

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] != self.package:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=name not in self.own)

    def create_module(self, spec):
        if spec.name in self.own:
            return None
        module = RemoteModule(spec.name)
        module.__dict__["_ask"] = self.ask
        module.__dict__["_own"] = [name for name in self.own if name.rpartition(".")[0] == spec.name]
        if spec.name != self.package:  # the package itself is asked for when a name of it is
            module.__dict__["_remote"] = self.ask("import", spec.name)
        return module

    def exec_module(self, module):
        if module.__name__ in self.own:
            exec(module_code(self.own[module.__name__], f"<{module.__name__}>"), module.__dict__)

    def install(self) -> None:
        """Answer imports of the package from now on, and forget what earlier processes answered."""
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, Importer)]
        sys.meta_path.insert(0, self)
        for name in [name for name in sys.modules if name.partition(".")[0] == self.package]:
            del sys.modules[name]


class RemoteModule(types.ModuleType):
    """A module in the student's process."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        inner = self.__dict__
        if f"{self.__name__}.{name}" in inner["_own"]:
            return importlib.import_module(f"{self.__name__}.{name}")
        if "_remote" not in inner:
            inner["_remote"] = inner["_ask"]("import", self.__name__)
        return getattr(inner["_remote"], name)
