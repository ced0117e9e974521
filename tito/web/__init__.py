"""What runs in a browser: plain scripts, written into one file with a trained network's numbers as data."""

from tito.web.page import Explorer

__all__ = ["Explorer"]
