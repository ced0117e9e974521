"""A page on which a trained network runs by itself: one file, no server, no network.

The scripts beside this file are written into it and named by their hashes in its content security policy, so that
nothing else runs in it, whatever stands in the weights.
"""

import base64
import hashlib
import html
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from tito.course import storage


def write(told: dict, path: Path, title: str = "") -> Path:
    """Write the page of a network, as `milestones/04_1998_cnn/predict.py --describe` tells it, to `path`."""
    storage.write_atomic(path, network_page(told, title))
    return path


def network_page(told: dict, title: str = "") -> str:
    """The page as text; without a title it speaks of "your network".

    told: "data", "names", "layers", "epochs", "samples", "accuracy" ..., all plain data."""
    digits = told["data"] == "digits"
    about = (
        f"{told['parameters']:,} parameters, run {told['run']}; convolution: {told['convolution']}. "
        f"It got {100 * told['accuracy']:.1f} % of its own test pictures right. "
        f"Everything on this page is computed from its weights, in your browser, while you {doing(told)}."
    )
    title = title or f"Your network {'reads digits' if digits else 'looks at photographs'}"
    return _page("network.html", ("network.js", "page.js"), title, told, about)


EXPLORERS = {  # name -> (title, height of its frame in pixels)
    "window": ("The window slides", 520),
    "field": ("What one unit sees", 600),
    "race": ("The race, with your settings", 680),
}


@dataclass(frozen=True)
class Explorer:
    """One of the explorers in a frame of its own, as the value of a notebook's cell: "window", "field" or "race"."""

    name: str

    def __post_init__(self):
        if self.name not in EXPLORERS:
            raise ValueError(f"there is no explorer {self.name!r}: there are {', '.join(map(repr, EXPLORERS))}")

    def page(self) -> str:
        """The page by itself."""
        return _page("explorer.html", ("explorers.js",), EXPLORERS[self.name][0], {"name": self.name})

    def _repr_html_(self) -> str:
        title, height = EXPLORERS[self.name]
        frame = f'sandbox="allow-scripts" title="{title}" width="100%" height="{height}" loading="lazy"'
        return f'<iframe srcdoc="{html.escape(self.page())}" {frame} style="border:0"></iframe>'


def _page(main: str, scripts: tuple[str, ...], title: str, data: dict, about: str = "") -> str:
    """A whole page around the part `main`, with a policy that lets in its style and its scripts, and nothing else."""
    style, script = _part("network.css"), "\n".join(map(_part, scripts))
    words = {"title": html.escape(title), "about": html.escape(about)}
    return _filled(
        _part("frame.html"),
        policy=f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data: blob:",
        title=words["title"],
        style=style,
        main=_filled(_part(main), **words),
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        script=script,
    )


def _filled(template: str, **parts: str) -> str:
    """The template with its parts, which are not looked into."""
    pieces = template.split("{{")
    return pieces[0] + "".join(parts[name] + rest for name, rest in (piece.split("}}", 1) for piece in pieces[1:]))


def doing(told: dict) -> str:
    """What one does on the page."""
    return "draw" if told["data"] == "digits" else "show it pictures"


def _part(name: str) -> str:
    return resources.files("tito.web").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
