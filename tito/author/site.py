"""`tito site build`: the course as static pages that need no network, by Sphinx and MyST-NB.

Notebooks run with their solutions and are shown without them; milestones run for their pictures.
"""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tito import CourseError, milestone
from tito.author import finish, leak_check
from tito.course import notebook, scaffold, storage
from tito.course.registry import Course, Module
from tito.runner import platform
from tito.web import page

LIMIT = 300  # seconds a cell, or a milestone, may take
INSTALL = 'pip install -c constraints.txt -e ".[lab,grade,site]"'
MARK = ".buildinfo"  # Sphinx leaves it in what it builds
# a page cannot answer a slider: the notebook's own still picture is shown; figures are drawn for sharp screens
STILL = (
    'import sys\nsys.modules["ipywidgets"] = None\n'
    'get_ipython().config.InlineBackend.figure_formats = {"retina"}'  # where pyplot draws; the course's own are so
)
CONFIGURATION = {
    "project": "TinyTorch",
    "extensions": ["myst_nb", "tito.author.site"],
    "html_theme": "furo",
    "html_title": "TinyTorch",
    "html_math_renderer": "mathml",
    "html_copy_source": False,
    "html_show_copyright": False,
    "html_show_sourcelink": False,
    "highlight_language": "text",
    "pygments_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "myst_enable_extensions": ["dollarmath"],
    "myst_heading_anchors": 3,
    "nb_execution_mode": "off",
    "nb_merge_streams": True,
    "nb_code_prompt_show": "Show the test",
    "nb_code_prompt_hide": "Hide the test",
    "nb_ipywidgets_js": {},
}

Tell = Callable[[str], None]


def build(course: Course, to: Path, tell: Tell = print) -> int:
    """Make the pages in the folder `to`, in place of older ones, and return how many there are; `tell` what is run."""
    _check(course, to := to.resolve())
    to.parent.mkdir(parents=True, exist_ok=True)
    with storage.temporary(prefix=f".{to.name}-", dir=to.parent) as name:
        work = Path(name)
        for module in course.modules:  # one after the other: they measure times
            for path in module.notebooks:
                _lesson(course, module, path, work / "pages", tell)
        stories = milestone.load_milestones(course)
        told = {one.folder: _play(course, one, work / "pages", tell) for one in stories}
        live = next((work / "pages").glob(f"milestones/*/{finish.LIVE}"), None)
        _texts(course, stories, told, work / "pages", live is not None)
        _sphinx(work)
        if live is not None:
            storage.replace(live, work / "html" / finish.LIVE)
        finish.finish(work / "html")
        for folder in (work / "pages", work / "html"):
            for leak in leak_check.search(course, course.modules, folder):
                where = leak.path.relative_to(work)
                raise CourseError(f"no site was made: {where} would show the answer {leak.cell}: {leak.lines[0]}")
        made = work / "html"
        if to.exists():
            storage.replace(to, work / "old")
        storage.replace(made, to)
    return sum(1 for _ in to.rglob("*.html"))


def _check(course: Course, to: Path) -> None:
    for module in course.modules:
        for path in module.notebooks:
            if not scaffold.has_solutions(notebook.read(path)):
                raise CourseError(f"{path.name} has no solutions to run: the site is built from the authors' course")
    if to.exists() and not (to.is_dir() and ((to / MARK).is_file() or not any(to.iterdir()))):
        raise CourseError(f"{to} holds something else than a site: empty it, or choose another folder with --to")
    try:
        import furo  # noqa: F401
        import myst_nb  # noqa: F401
        import nbclient  # noqa: F401
    except ImportError as error:
        raise CourseError(f"pages need {error.name}: {INSTALL}") from None


def _lesson(course: Course, module: Module, path: Path, pages: Path, tell: Tell) -> None:
    """A notebook as the site shows it: without answers, with the outputs that the answers gave."""
    nb = notebook.read(path)
    kept = run_of(course, module, path, nb, tell)
    outputs, shown = kept["outputs"], scaffold.strip(nb)
    for cell in shown["cells"]:
        kind, words = notebook.kind(cell), cell["metadata"].get("alt", "")
        if cell["cell_type"] == "code":
            lines = notebook.python_lines(cell["source"])
            cell["source"] = "\n".join(line for line in lines if not line.lstrip().startswith("#|")).strip("\n")
            cell["outputs"] = outputs[cell["id"]]
        cell["metadata"] = {"tags": ["hide-input"]} if kind == "graded" else {}
        if "predict.reveal(" in cell["source"] and cell["cell_type"] == "code":
            closed = {"code_prompt_show": "Guess first, then open: what came out", "code_prompt_hide": "Close"}
            cell["metadata"] = {"tags": ["hide-output"], "mystnb": closed}
        if any("image/png" in output.get("data", {}) for output in cell.get("outputs", [])):
            image = _image(cell["outputs"], words)
            if "alt" not in image:
                told = 'say what it shows, as "alt" in the metadata of the cell or of the figure'
                raise CourseError(f"{path.name}, cell {cell['id']} draws a figure without words: {told}")
            cell["metadata"].setdefault("mystnb", {})["image"] = image
    if note := finish.busy(kept["load"]):
        shown["cells"].insert(1, {"cell_type": "markdown", "id": "busy", "metadata": {}, "source": note})
    shown["cells"] = [cell for cell in shown["cells"] if cell["source"].strip()]
    shown["metadata"] = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}
    storage.write_atomic(_place(course, path, pages), notebook.dumps(shown))


def _image(outputs: list[dict], words: str = "") -> dict:
    """{"alt", "width"} of a cell's figure: what the cell or the figure says it shows, and how wide it is shown."""
    about = [output.get("metadata", {}).get("image/png", {}) for output in outputs]
    shown = {"alt": words or next((each["alt"] for each in about if each.get("alt")), "")}
    shown["width"] = next((f"{each['width']}px" for each in about if each.get("width")), "")
    return {key: value for key, value in shown.items() if value}


def run_of(course: Course, module: Module, path: Path, nb: dict, tell: Tell) -> dict:
    """{"outputs": {cell id: outputs}, "load"} of a notebook with its solutions; kept till it or the package changes."""
    key = hashlib.sha256(STILL.encode() + path.read_bytes())
    for file in sorted(course.package.rglob("*.py")):
        key.update(file.read_bytes())
    kept = course.state / "site" / f"{module.folder}-{path.stem}-{key.hexdigest()[:16]}.json"
    if not kept.is_file():
        import psutil

        began = time.monotonic()
        load = psutil.getloadavg()[0]  # before: the notebook itself is part of it afterwards
        found = {"outputs": _execute(course, path, nb), "load": load}
        for old in kept.parent.glob(f"{module.folder}-{path.stem}-*.json"):
            old.unlink(missing_ok=True)
        here = json.dumps(f"{course.root}{os.sep}")[1:-1]
        storage.write_atomic(kept, json.dumps(found).replace(here, ""))  # where it was built is nobody's business
        tell(f"ran {path.relative_to(course.root)} ({time.monotonic() - began:.0f} s)")
    return json.loads(kept.read_text(encoding="utf-8"))


def _execute(course: Course, path: Path, nb: dict) -> dict[str, list]:
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    node = nbformat.from_dict(json.loads(json.dumps(nb)))
    node.cells.insert(0, nbformat.v4.new_code_cell(STILL))
    where = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(node, timeout=LIMIT, kernel_name="python3", resources=where)
    client.extra_arguments = ["--IPKernelApp.log_level=ERROR"]
    try:
        client.execute(env=_environment(course))
    except (CellExecutionError, CellTimeoutError, DeadKernelError, RuntimeError) as error:
        ran = [cell for cell in node.cells if cell.cell_type == "code" and cell.execution_count]
        said = f"{error.ename}: {error.evalue}" if isinstance(error, CellExecutionError) else str(error).splitlines()[0]
        raise CourseError(f"{path.name}, cell {ran[-1].id if ran else '?'}: {said}") from None
    return {cell.id: cell.outputs for cell in node.cells[1:] if cell.cell_type == "code"}


def _play(course: Course, one: milestone.Milestone, pages: Path, tell: Tell) -> str:
    """Run a milestone for the page of figures that it draws, and its live network; returns what it said."""
    folder = pages / "milestones" / one.folder
    folder.mkdir(parents=True)
    began = time.monotonic()
    with storage.temporary() as runs:
        command = [sys.executable, str(one.path(course)), "--runs", runs]
        try:
            ended = platform.run(command, LIMIT, cwd=runs, env=_environment(course))
        except subprocess.TimeoutExpired:
            raise CourseError(f"milestone {one.folder} took over {LIMIT} s") from None
        drawn = sorted(Path(runs).rglob("*.png"))
        if ended.returncode or not drawn:
            said = (ended.stderr.strip() or ended.stdout.strip()).splitlines()[-1:]
            raise CourseError(f"milestone {one.folder} ended with {ended.returncode}: {''.join(said)}")
        shutil.copyfile(drawn[0], folder / "run.png")
        if run := next(iter(milestone.kept_runs(Path(runs) / one.folder)), None):
            told = milestone.describe(course, one, run)
            page.write(told, folder / finish.LIVE, "A network reads digits")
    tell(f"ran {one.path(course).relative_to(course.root)} ({time.monotonic() - began:.0f} s)")
    return finish.transcript(ended.stdout)


def _environment(course: Course) -> dict[str, str]:
    """The course's, without what would keep figures off the page."""
    given = course.environment(PYTHONDONTWRITEBYTECODE="1", PYTHONIOENCODING="utf-8:backslashreplace")
    return {name: value for name, value in given.items() if name != "MPLBACKEND"}


def _texts(course: Course, stories: list[milestone.Milestone], told: dict[str, str], pages: Path, live: bool) -> None:
    """The pages beside the notebooks: the way in, README.md of the course, its modules and milestones, and docs."""
    readme = (course.root / "README.md").read_text(encoding="utf-8").replace("/README.md)", "/index.md)")
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", readme):
        (pages / picture).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(course.root / picture, pages / picture)
    modules = [f"{_place(course, module.path, Path())}/index" for module in course.modules]
    trees = _tree([f"milestones/{one.folder}/index" for one in stories], "Milestones")
    texts = sorted((course.root / "docs").glob("*.md"))
    trees += _tree(["readme", *(f"docs/{text.stem}" for text in texts)], "More")
    storage.write_atomic(pages / "readme.md", readme)
    home = finish.home(course, _first_figures(course, pages), stories, live)
    storage.write_atomic(pages / "index.md", home + _tree(modules, "Modules") + trees)
    for file in texts:
        storage.write_atomic(pages / "docs" / file.name, _read(file))
        for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", file.read_text(encoding="utf-8")):
            shutil.copyfile(file.parent / picture, pages / "docs" / picture)
    for module in course.modules:
        extra = {exercise.notebook for exercise in module.exercises if exercise.bonus}
        found = module.notebooks
        titles = ["Bonus: " + path.stem.removesuffix("_dev") if path in extra else "The lesson" for path in found]
        entries = [f"{title} <{path.stem}>" for title, path in zip(titles, found, strict=True)]
        lessons = _tree(entries, shown=True)
        text = _after_the_first_paragraph(_read(module.path / "README.md"), lessons)
        storage.write_atomic(_place(course, module.path, pages) / "index.md", text)
    for one in stories:
        picture = "\n![What a run of this milestone draws](run.png)\n"
        text = _after_the_first_paragraph(_read(one.path(course).with_name("README.md")), picture) + told[one.folder]
        storage.write_atomic(pages / "milestones" / one.folder / "index.md", text)


def _first_figures(course: Course, pages: Path) -> dict[str, str]:
    """Module's folder -> its lesson's first figure, as a file among the pages."""
    found = {}
    for module in course.modules:
        cells = notebook.read(_place(course, module.notebooks[0], pages))["cells"]
        outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", [])]
        if drawn := next((data["image/png"] for data in outputs if "image/png" in data), None):
            file = _place(course, module.path, pages) / "first.png"
            file.write_bytes(base64.b64decode("".join(drawn)))
            found[module.folder] = file.relative_to(pages).as_posix()
    return found


def _place(course: Course, path: Path, pages: Path) -> Path:
    """Where a module's folder or file is among the pages, whatever the course calls its folder of notebooks."""
    return pages / "modules" / path.relative_to(course.folder("nbs"))


def _read(path: Path) -> str:
    """A README.md; each is its folder's index among the pages, so links to it are links to that."""
    try:
        return path.read_text(encoding="utf-8").replace("README.md)", "index.md)")
    except OSError as error:
        raise CourseError(f"cannot read {path}: {error.strerror}") from None


def _tree(entries: list[str], caption: str = "", shown: bool = False) -> str:
    options = [f":caption: {caption}"] * bool(caption) + [":maxdepth: 1"] + [":hidden:"] * (not shown)
    return "\n```{toctree}\n" + "\n".join([*options, "", *entries]) + "\n```\n"


def _after_the_first_paragraph(text: str, more: str) -> str:
    title, first, rest = [*text.split("\n\n", 2), "", ""][:3]
    return "\n\n".join((title, first, more, rest))


def _sphinx(work: Path) -> None:
    """`pages` to `html`; a warning, such as a link that leads nowhere, is an error."""
    settings = [f"import sys\nsys.path.insert(0, {str(Path(__file__).parents[2])!r})"]
    settings += [f"{name} = {value!r}" for name, value in CONFIGURATION.items()]
    (work / "conf.py").write_text("\n".join(settings), encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-c", ".", "-d", "trees", "-W", "--keep-going", "-q"]
    command += ["--no-color", "pages", "html"]
    utf_8 = {**os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace"}
    ended = subprocess.run(command, cwd=work, env=utf_8, capture_output=True, encoding="utf-8")
    if ended.returncode:
        said = [line.replace(f"{work / 'pages'}{os.sep}", "") for line in ended.stderr.splitlines() if line.strip()]
        raise CourseError("no site was made:\n" + "\n".join(said[:10]))


def setup(app) -> dict:
    """What Sphinx calls: formulas become MathML, which browsers draw without a script."""
    app.add_html_math_renderer("mathml", (_visit_math, None), (_visit_math, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _visit_math(self, node) -> None:
    from docutils import nodes
    from docutils.utils.math.latex2mathml import tex2mathml

    block = isinstance(node, nodes.math_block)
    formula = tex2mathml(node.astext(), as_block=block)
    self.body.append(f'<div style="overflow-x: auto">{formula}</div>' if block else formula)
    raise nodes.SkipNode
