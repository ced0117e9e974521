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
    script = "\n".join(_part(name) for name in ("network.js", "page.js"))
    return fill(
        _part("network.html"),
        title=html.escape(title or f"Your network {'reads digits' if digits else 'looks at photographs'}"),
        about=html.escape(about),
        style=_part("network.css"),
        script=script,
        data=json.dumps(told, separators=(",", ":")).replace("<", "\\u003c"),
    )


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
        return fill(
            _part("explorer.html"),
            title=EXPLORERS[self.name][0],
            style=_part("network.css"),
            script=_part("explorers.js"),
            data=json.dumps({"name": self.name}),
        )

    def _repr_html_(self) -> str:
        title, height = EXPLORERS[self.name]
        frame = f'sandbox="allow-scripts" title="{title}" width="100%" height="{height}" loading="lazy"'
        return f'<iframe srcdoc="{html.escape(self.page())}" {frame} style="border:0"></iframe>'


def fill(template: str, style: str, script: str, **parts: str) -> str:
    """The template with its parts, and a policy that lets this style and this script in, and nothing else."""
    policy = f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data: blob:"
    pieces = template.split("{{")
    parts = {**parts, "style": style, "script": script, "policy": policy}
    return pieces[0] + "".join(parts[name] + rest for name, rest in (piece.split("}}", 1) for piece in pieces[1:]))


def doing(told: dict) -> str:
    """What one does on the page."""
    return "draw" if told["data"] == "digits" else "show it pictures"


def _part(name: str) -> str:
    return resources.files("tito.web").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
