"""The site's pages as readers get them: the way in, figures that open, closed predictions, and what access needs."""

import os
import re
from pathlib import Path

from tito.course.registry import Course, Module

LIVE = "network.html"
HEAD = """\
# {title}

{lead}

```{{raw}} html
<iframe class="live" src="{live}" title="A trained network: draw a digit" loading="lazy"></iframe>
<p><a href="{live}">The network on a page of its own</a></p>
```

## The way

{modules}

## Milestones

{milestones}

[How to set it up, and all commands](readme.md)
"""
LEAD = (
    "You write a deep-learning framework yourself, notebook by notebook: tensors, gradients, layers, optimizers, "
    "loaders, convolution. What you write becomes the package that the next notebook imports. At the end stands a "
    "network made of nothing but your own code. Here is one, the course's own: draw a digit, and look inside."
)
STYLE = """
iframe.live { width: 100%; height: 900px; border: 1px solid var(--color-background-border); border-radius: 6px; }
article img { max-width: 100%; height: auto; }
article a.whole { cursor: zoom-in; }
@media print { iframe.live, .sidebar-drawer, .toc-drawer { display: none; } }
"""


def minutes(module: Module) -> int:
    """What the module's exercises take, the bonus left out."""
    return sum(exercise.minutes for exercise in module.exercises if not exercise.bonus)


def home(course: Course, pictures: dict[str, str], stories: list, live: bool) -> str:
    """The first page: what there is to build, a network at work, the modules with time and picture, the milestones.

    pictures: folder of a module -> path of a figure among the pages.
    """
    lines = []
    for module in course.modules:
        hours = f"{minutes(module) / 60:.1f} h".replace(".0 h", " h")
        lines.append(f"### [{module.number} {module.title}](modules/{module.folder}/index.md)")
        lines.append(f"{module.summary} *About {hours} of exercises.*")
        if picture := pictures.get(module.folder):
            lines.append(f"```{{image}} {picture}\n:alt: A figure of module {module.number}\n:width: 420px\n```")
    told = [f"- [{one.year}: {one.title}](milestones/{one.folder}/index.md). {one.summary}" for one in stories]
    page = HEAD.format(title="TinyTorch", lead=LEAD, live=LIVE, modules="\n\n".join(lines), milestones="\n".join(told))
    return page if live else re.sub(r"```\{raw\} html.*?```\n", "", page, flags=re.DOTALL)


def transcript(said: str) -> str:
    """What a milestone printed, without the paths of the run."""
    lines = [line.rstrip() for line in said.splitlines() if not re.match(r"(Runs|Page|Live): ", line)]
    return "\n## What a run says\n\n```text\n" + "\n".join(lines).strip("\n") + "\n```\n"


def busy(load: float) -> str:
    """A note for measured times, if there was more to do than cores while they were measured; empty otherwise."""
    cores = os.cpu_count() or 1
    if load <= cores:
        return ""
    said = f"The times on this page were measured on a busy machine (load {load:.0f} on {cores} cores)."
    return f"```{{note}}\n{said} A quiet one is faster.\n```"


def finish(folder: Path) -> None:
    """Put every page of `folder` in order: figures that open whole, and what keyboards and screen readers need."""
    from bs4 import BeautifulSoup

    for path in folder.rglob("*.html"):
        if path.name == LIVE:
            continue
        tree = BeautifulSoup(path.read_bytes(), "html.parser")
        for picture in tree.select("article img[src]"):
            if (link := picture.find_parent("a")) is not None:  # Sphinx has made one
                link["class"] = " ".join([*(link.get("class") or []), "whole"])
            else:
                picture.wrap(tree.new_tag("a", attrs={"class": "whole", "href": str(picture["src"])}))
        for block in tree.select("div.highlight pre, .output pre, .table-wrapper, div[style*='overflow-x']"):
            block["tabindex"] = "0"  # what scrolls sideways must scroll by keys
        for summary in tree.select("summary[aria-label]"):
            del summary["aria-label"]  # its text says it
        for caption in tree.select(".caption[role=heading]"):
            caption["aria-level"] = "2"
        for head in tree.find_all("th"):
            if not head.get_text(strip=True):
                head.name = "td"
        if path.name == "search.html" and tree.h1 is None and (place := tree.select_one("article")):
            place.insert(0, _tag(tree, "h1", "Search"))
        if tree.head is not None:
            tree.head.append(_tag(tree, "style", STYLE))
        path.write_text(str(tree), encoding="utf-8", newline="\n")


def _tag(tree, name: str, text: str):
    made = tree.new_tag(name)
    made.string = text
    return made
