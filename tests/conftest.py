"""Shared settings: quiet, repeatable property tests; what of the tests runs on this system; Ctrl-C that is heard."""

import contextlib
import signal
import sys

from hypothesis import settings

settings.register_profile("tinytorch", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("tinytorch")

collect_ignore = [] if sys.platform == "linux" else ["grading"]  # as `tito grade` does, it needs Linux

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # ignored from outside, by a script's trap or by nohup
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGINT, signal.default_int_handler)  # so that what the tests start hears Ctrl-C again
