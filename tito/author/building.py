"""How the distribution is built: the course's own files travel in the wheel, in `tito/_course`.

setuptools loads this file by itself, from the folder that it builds; pyproject.toml names it.
"""

import os
import shutil
import sys
from pathlib import Path

from setuptools.command.build_py import build_py


class WithCourse(build_py):
    """setuptools' step that collects packages, and the course beside them."""

    def run(self):
        """Collect; an editable install reads the course where it is."""
        super().run()
        if not self.editable_mode:
            shutil.rmtree(self._carried(), ignore_errors=True)
            for name in self._course():
                target = self._carried() / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(name, target)

    def get_source_files(self):
        """What a source distribution needs too."""
        return [*super().get_source_files(), *self._course()]

    def get_outputs(self, include_bytecode=True):
        """Every file that `run` writes."""
        course = [] if self.editable_mode else [str(self._carried() / name) for name in self._course()]
        return [*super().get_outputs(include_bytecode), *course]

    def _carried(self) -> Path:
        return Path(self.build_lib) / "tito" / "_course"

    def _course(self) -> list[str]:
        sys.path.insert(0, os.getcwd())
        try:
            from tito.course.registry import Course
            from tito.student.template import course_files

            return [str(path) for path in course_files(Course.load(os.getcwd()))]
        finally:
            del sys.path[0]
