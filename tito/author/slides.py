"""`tito dev slides`: a lesson's figures as slides that need no network, by nbconvert and sphinx-revealjs's reveal.js.

A figure is two slides, one below the other: its question, then itself; the arrow to the right leads through both.
What to see stands in the notes (key S).
"""

import base64
import html
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tito import CourseError
from tito.author import site
from tito.course import notebook, storage
from tito.course.registry import Course, Module

THEME = ("dist/theme/white.css", "dist/theme/fonts/source-sans-pro")
FILES = ("LICENSE", "dist/reveal.js", "dist/reveal.css", *THEME, "plugin/notes")
# the theme's own style comes behind it: what is meant to win says .slides too
LOOK = """
.reveal .slides .jp-RenderedMarkdown {font-size: 28px} .reveal .slides table {font-size: 22px}
.reveal .slides h1 {font-size: 1.8em} .reveal .slides h2 {font-size: 1.4em}
.reveal .slides :is(h1, h2) {text-transform: none} .reveal .slides :is(h1, h2, p, li) {text-align: left}
.reveal .slides img {display: block; margin: 0; width: 100%; max-width: 100%; max-height: 600px; object-fit: contain}
.jp-Cell {padding: 0} .jp-InputPrompt, .jp-OutputPrompt {display: none}
"""
# nbconvert's template asks other machines for four scripts; this one only what lies beside the slides
TEMPLATE = """{%- extends 'reveal/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_css -%}<style>LOOK</style>{%- endblock -%}
{%- block footer_js -%}
<script src="reveal/dist/reveal.js"></script>
<script src="reveal/plugin/notes/notes.js"></script>
<script>
Reveal.initialize({hash: true, slideNumber: "c/t", width: 1280, height: 720, margin: 0.02, navigationMode: "linear",
                   plugins: [RevealNotes]});
</script>
{%- endblock -%}
""".replace("LOOK", LOOK)
_MATH = re.compile(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", re.S)
_SEE = re.compile(r"^(?:\*\*)?What to see[.:]?(?:\*\*)?[.:]?\s*")
_FAILS = re.compile(r"\*If (?:the test|it) fails")


class Slide(NamedTuple):
    """A figure of a lesson: under which heading, what is asked before it, (PNG, what it shows), what to see in it."""

    heading: str
    question: str
    figures: list[tuple[bytes, str]]
    notes: str


def make(course: Course, modules: list[Module], to: Path, tell: Callable[[str], None] = print) -> list[Path]:
    """Write one HTML file a module into the folder `to`, with reveal.js beside them, and return the files."""
    if to.exists() and not (to.is_dir() and ((to / "reveal").is_dir() or not any(to.iterdir()))):
        raise CourseError(f"{to} holds something else than slides: empty it, or choose another folder with --to")
    source, made = _source(), {}  # what is missing is said before any notebook runs
    for module in modules:
        cells = _title(notebook.read(module.notebooks[0]))
        for path in module.notebooks:
            nb = notebook.read(path)
            for slide in figures(nb, site.run_of(course, module, path, nb, tell)["outputs"]):
                cells += _cells(slide)
        made[to / f"{module.folder}.html"] = _html(cells, module.title)
    _reveal(source, to / "reveal")
    for path, text in made.items():
        storage.write_atomic(path, text)
    return list(made)


def figures(nb: dict, outputs: dict[str, list[dict]]) -> Iterator[Slide]:
    """The figures of a notebook, in order, given the outputs of its cells by their ids."""
    heading = question = ""
    cells = nb["cells"]
    for place, cell in enumerate(cells):
        if cell["cell_type"] == "markdown":
            for line in cell["source"].splitlines():
                if found := re.match(r"#{1,3} (?!Exercise)(.+)|## Exercise \d+: (.+)", line):
                    heading, question = (found[1] or found[2]).split(" · ")[0].strip(), ""
            blocks = [_FAILS.split(block)[0] for block in _blocks(cell["source"]) if not _SEE.match(block)]
            asked = [block[: block.rindex("?") + 1] for block in blocks if "?" in block]  # what to type comes after it
            question = asked[-1] if asked else question
        shown = [output for output in outputs.get(cell["id"], []) if "image/png" in output.get("data", {})]
        if shown and notebook.kind(cell) not in ("graded", "solution"):
            after = next((one["source"] for one in cells[place + 1 :] if one["cell_type"] == "markdown"), "")
            notes = next((_SEE.sub("", block) for block in _blocks(after) if _SEE.match(block)), "")
            yield Slide(heading, question, [_picture(output, cell) for output in shown], notes)
            question = ""


def _blocks(source: str) -> list[str]:
    return [" ".join(block.split()) for block in source.split("\n\n") if not block.lstrip().startswith(("#", "|", "-"))]


def _picture(output: dict, cell: dict) -> tuple[bytes, str]:
    said = output.get("metadata", {}).get("image/png", {}).get("alt", "") or cell["metadata"].get("alt", "")
    return base64.b64decode(output["data"]["image/png"]), said


def _title(nb: dict) -> list:
    """The lesson's heading and its first paragraph, with the list or table that ends it; the rest is for readers."""
    first = next(cell["source"] for cell in nb["cells"] if cell["cell_type"] == "markdown")
    blocks = first.split("\n\n")
    listed = blocks[2:] and re.match(r"[-|] ", blocks[2])
    return [_markdown("\n\n".join(blocks[: 3 if listed else 2]), "slide")]


def _cells(slide: Slide) -> list:
    """The slide with the question, the one with the figure, and the notes."""
    made = [_markdown(f"## {slide.heading}\n\n{slide.question}", "slide")]
    for number, (png, said) in enumerate(slide.figures):
        data, alt = base64.b64encode(png).decode(), html.escape(said).replace("$", "&#36;")  # no formula is made
        image = f'<img alt="{alt}" src="data:image/png;base64,{data}">'
        made.append(_markdown(image, "subslide" if slide.question and not number else "-"))
    return made + ([_markdown(slide.notes, "notes")] if slide.notes else [])


def _markdown(source: str, kind: str):
    import nbformat
    from docutils.utils.math.latex2mathml import tex2mathml

    def formula(found: re.Match) -> str:
        return tex2mathml(found[1] or found[2], as_block=bool(found[1])).replace("\n", "")

    return nbformat.v4.new_markdown_cell(_MATH.sub(formula, source), metadata={"slideshow": {"slide_type": kind}})


def _html(cells: list, title: str) -> str:
    import nbformat
    from nbconvert import SlidesExporter

    exporter = SlidesExporter(raw_template=TEMPLATE, reveal_url_prefix="reveal", reveal_theme="white")
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    metadata = {"title": title, "language_info": {"name": "python"}}
    return exporter.from_notebook_node(nbformat.v4.new_notebook(cells=cells, metadata=metadata))[0]


def _source() -> Path:
    """Where reveal.js is installed."""
    try:
        import sphinx_revealjs
    except ImportError:
        raise CourseError(f"slides need sphinx_revealjs: {site.INSTALL}") from None
    return Path(sphinx_revealjs.__file__).parent / "_static" / "revealjs"


def _reveal(there: Path, to: Path) -> None:
    """Copy reveal.js and its licence beside the slides."""
    for name in FILES:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        if (there / name).is_dir():
            shutil.copytree(there / name, to / name, dirs_exist_ok=True)
        else:
            shutil.copyfile(there / name, to / name)
