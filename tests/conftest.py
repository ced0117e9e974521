"""Shared settings: repeatable property tests; what of the tests runs here, in what order; Ctrl-C that is heard."""

import contextlib
import importlib.util
import os
import re
import signal
import sys
from pathlib import Path

from hypothesis import Phase, settings

if "PYTEST_XDIST_WORKER" in os.environ:  # there is a worker for each core: BLAS's own threads would be in the way
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy is imported, by what a test starts too

PHASES = [phase for phase in Phase if phase is not Phase.explain]  # which takes 40 s where a convolution is wrong
settings.register_profile("tinytorch", deadline=None, derandomize=True, max_examples=50, phases=PHASES)
settings.load_profile("tinytorch")

collect_ignore = [] if sys.platform == "linux" else ["grading"]  # as `tito grade` does, it needs Linux


def unwritten():
    """The numbers of the modules that a student has not exported yet, as the files say that stand in their places."""
    package = importlib.util.find_spec("tinytorch")
    files = [file for folder in package.submodule_search_locations for file in Path(folder).rglob("*.py")]
    openings = (file.read_text(encoding="utf-8").partition("\n")[0] for file in files)
    return sorted(
        {found[1] for line in openings if (found := re.match(r"# Not written yet: `tito export (\d+)", line))}
    )


UNWRITTEN = unwritten()
collect_ignore_glob = [f"{number}_*" for number in UNWRITTEN]


LONG = ("machines", "grading", "integration", "cli")


def pytest_collection_modifyitems(items):
    """With several processes the folders of long tests come first: at the end small ones are left to share out."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: LONG.index(item.path.parent.name) if item.path.parent.name in LONG else len(LONG))


def pytest_terminal_summary(terminalreporter):
    if UNWRITTEN:
        terminalreporter.write_line(f"Left out, as not exported yet: the tests of module {', '.join(UNWRITTEN)}.")


if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # ignored from outside, by a script's trap or by nohup
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, signal.default_int_handler)  # so that what the tests start hears Ctrl-C again
