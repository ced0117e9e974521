"""`tito site build`: pages with outputs and without answers, whose links lead somewhere and that ask no network.

What is marked slow here is a step of .ci/run.
"""

import html
import inspect
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest

pytest.importorskip("myst_nb", reason="needs the extra `site`")
from bs4 import BeautifulSoup  # noqa: E402
from PIL import Image  # noqa: E402

from tito.author import site  # noqa: E402
from tito.course.registry import Course  # noqa: E402

SOLUTION = """\
#| export
def double(x):
    # TODO: multiply
    ### BEGIN SOLUTION
    secret_answer = 2 * x
    return secret_answer
    ### END SOLUTION"""
TEST = """\
def test_unit_double():
    assert double(4) == 8
    ### BEGIN HIDDEN TESTS
    hidden_number = -21
    assert double(hidden_number) == -42
    ### END HIDDEN TESTS
test_unit_double()
print("double: passed")"""
DRAWS = """\
import sys
from pathlib import Path
import tinytorch
folder = Path(sys.argv[sys.argv.index("--runs") + 1])
(folder / "page.png").write_bytes(b"a picture from " + tinytorch.__file__.encode())
"""

AXE = "axe-core@4.14.1"
RUN_AXE = """const done = arguments[0];
axe.run(document, {iframes: false}).then((r) => done(r.violations.map((v) => [v.id, v.impact, v.nodes[0].html])));"""


@pytest.fixture
def course(toy):
    words = "# Twice\n\nIt is $2x$.\n\n**Time**: 2 hours."
    formula = {**toy.cell("code", "lesson", ""), "cell_type": "markdown", "source": words}
    for key in ("execution_count", "outputs"):
        del formula[key]
    toy.use = lambda *more: toy.module("01", "alpha", [("double", SOLUTION, TEST, 10)], extra=(formula, *more))
    toy.use()
    toy.package("alpha", "")
    (toy.root / "modules/01_alpha/README.md").write_text(
        "# 01 Alpha\n\nA beginning.\n\nMore, [at home](../../README.md)."
    )
    (toy.root / "README.md").write_text("# The course\n\n[Alpha](modules/01_alpha/README.md)\n")
    (toy.root / "milestones/01_draw").mkdir(parents=True)
    (toy.root / "milestones/01_draw/run.py").write_text(DRAWS)
    (toy.root / "milestones/01_draw/README.md").write_text("# It draws\n\nA picture.\n")
    entry = '[[milestone]]\nid = "01"\nfolder = "01_draw"\nscript = "run.py"\ntitle = "Draw"\nyear = 2000\n'
    (toy.root / "milestones/milestones.toml").write_text(entry + 'summary = "It."\nrequires = ["01"]\nminutes = 0.1\n')
    return toy


@pytest.fixture
def unprinted(monkeypatch):
    """From now on no page is typeset, which takes seconds: for what is decided before."""
    return lambda: monkeypatch.setattr(site, "_sphinx", lambda work: (work / "html").mkdir())


def faults(folder: Path) -> list[str]:
    """Links in the pages of `folder` that lead nowhere, and whatever a browser would fetch from another machine."""
    trees = {path: BeautifulSoup(path.read_bytes(), "html.parser") for path in folder.rglob("*.html")}
    ids = {path: {tag["id"] for tag in tree.find_all(id=True)} for path, tree in trees.items()}
    found = []
    for path, tree in trees.items():
        for tag in tree.find_all(lambda tag: tag.has_attr("href") or tag.has_attr("src")):
            link = tag.get("href", tag.get("src"))
            if urlsplit(link).scheme or link.startswith("//"):
                if tag.name != "a" and not link.startswith("data:"):
                    found.append(f"{path.name}: <{tag.name}> fetches {link[:80]}")
                continue
            file, place = urldefrag(link)
            to = (path.parent / unquote(urlsplit(file).path)).resolve() if file else path
            if not to.is_file():
                found.append(f"{path.name}: no {link}")
            elif place and to in ids and unquote(place) not in ids[to]:
                found.append(f"{path.name}: no place {link}")
    for path in [*folder.rglob("*.css"), *folder.rglob("*.html")]:
        remote = re.findall(r"@import[^;]*|url\(\s*['\"]?(?:https?:)?//[^)]*\)", path.read_text(encoding="utf-8"))
        found += [f"{path.name}: {text[:80]}" for text in remote]
    return found


def test_the_pages_show_outputs_and_no_answers(course, tito, unprinted):
    course.use(course.cell("code", "where", "import tinytorch\nprint('from', tinytorch.__path__[0])"))
    (course.root / "docs/teaching").mkdir(parents=True)
    (course.root / "docs/teaching/answers.md").write_text("# Answers\n\nOnly teachers_know this.\n", encoding="utf-8")
    end = tito("site", "build")
    assert end.code == 0 and "Built" in end.out and "site/index.html" in end.out
    assert "ran modules/01_alpha/alpha_dev.ipynb" in end.out
    site = course.root / "site"
    lesson = (site / "modules/01_alpha/alpha_dev.html").read_text()
    assert "double: passed" in lesson and "NotImplementedError" in lesson and "#| export" not in lesson
    assert "<math" in lesson and "<details" in lesson
    assert "from tinytorch</" in lesson.replace("\n", "") and str(course.root) not in lesson
    everything = b"".join(path.read_bytes() for path in site.rglob("*") if path.is_file())
    assert b"secret_answer" not in everything and b"hidden_number" not in everything
    assert b"teachers_know" not in everything
    picture = next(site.glob("_images/run*.png")).read_bytes()
    assert picture == b"a picture from " + str(course.root / "tinytorch/__init__.py").encode()
    assert faults(site) == []

    unprinted()
    again = tito("site", "build", "--to", "elsewhere")
    assert again.code == 0 and "alpha_dev" not in again.out, "nothing changed, so no notebook runs"
    course.package("alpha", "# newer")
    assert "ran modules/01_alpha/alpha_dev.ipynb" in tito("site", "build").out
    assert not [path for path in course.root.iterdir() if path.name.startswith(".site")]


@pytest.mark.slow
def test_an_answer_in_an_output_is_refused_and_the_old_site_stays(course, tito):
    (course.root / "site").mkdir()
    (course.root / "site" / site.MARK).write_text("older")
    course.use(course.cell("code", "spoiler", "print('secret_answer = 2 * x', 'return secret_answer', sep='\\n')"))
    end = tito("site", "build")
    assert end.code == 1 and "would show the answer double" in end.err
    assert (course.root / "site" / site.MARK).read_text() == "older"


def test_a_cell_that_fails_is_named(course, tito):
    course.use(course.cell("code", "broken", "1 / 0"))
    end = tito("site", "build")
    assert end.code == 1 and "alpha_dev.ipynb, cell broken: ZeroDivisionError: division by zero" in end.err
    assert not (course.root / "site").exists()


def test_a_milestone_that_fails_is_named(course, tito):
    (course.root / "milestones/01_draw/run.py").write_text("raise SystemExit('no ink')")
    end = tito("site", "build")
    assert end.code == 1 and "milestone 01_draw ended with 1: no ink" in end.err


@pytest.mark.slow
def test_a_link_that_leads_nowhere_is_named(course, tito):
    (course.root / "README.md").write_text("# The course\n\n[Nothing](modules/no.md)\n")
    end = tito("site", "build")
    assert end.code == 1 and "no site was made" in end.err and "modules/no.md" in end.err


def test_somebody_elses_folder_and_a_students_course_are_refused(course, tito):
    end = tito("site", "build", "--to", "modules")
    assert end.code == 1 and "holds something else" in end.err and (course.root / "modules/01_alpha").is_dir()
    course.module("01", "alpha", [("double", course.STUB, "assert 1", 10)])
    end = tito("site", "build")
    assert end.code == 1 and "has no solutions to run" in end.err


@pytest.mark.slow
def test_predictions_are_closed_figures_open_and_keys_reach_what_scrolls(course, tito, monkeypatch):
    guess = "class predict:\n    reveal = print\npredict.reveal('it is 18')"
    Image.new("RGB", (600, 300)).save(course.root / "modules/01_alpha/figure.png")
    draw = "from IPython.display import Image\nImage('figure.png', width=300, alt='a figure')"
    told = course.cell("code", "told", "from IPython.display import Image\nImage('figure.png')")
    told["metadata"] = {"alt": "a black bar"}
    course.use(course.cell("code", "reveal", guess), course.cell("code", "draw", draw), told)
    monkeypatch.setattr("psutil.getloadavg", lambda: (99.0, 0, 0))
    assert tito("site", "build").code == 0
    tree = BeautifulSoup((course.root / "site/modules/01_alpha/alpha_dev.html").read_bytes(), "html.parser")
    closed = next(tag for tag in tree.find_all("details") if "it is 18" in tag.text)
    assert "Guess first" in closed.summary.text and not closed.has_attr("open")
    picture, bar = tree.select("article a.whole img")
    assert picture["alt"] == "a figure" and bar["alt"] == "a black bar" and picture.parent["href"] == picture["src"]
    assert all(block.has_attr("tabindex") for block in tree.select("div.highlight pre"))
    assert "busy machine (load 99" in tree.text
    home = (course.root / "site/index.html").read_text(encoding="utf-8")
    assert "Alpha" in home and "2000: Draw" in home and 'href="readme.html"' in home


def test_a_figure_says_in_words_what_it_shows(course, tito, unprinted):
    unprinted()
    Image.new("RGB", (600, 300)).save(course.root / "modules/01_alpha/figure.png")
    draw = course.cell("code", "draw", "from IPython.display import Image\nImage('figure.png')")
    course.use(draw)
    end = tito("site", "build")
    assert end.code == 1 and "cell draw draws a figure without words" in end.err and '"alt"' in end.err
    course.use({**draw, "metadata": {"alt": "a black bar"}})
    assert tito("site", "build").code == 0


@pytest.mark.browser
@pytest.mark.slow
def test_axe_finds_nothing_serious_on_any_page(tmp_path, chromium):
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    packed = subprocess.run(["npm", "pack", AXE], cwd=tmp_path, capture_output=True, encoding="utf-8")
    if packed.returncode:
        pytest.skip("axe-core cannot be had")
    shutil.unpack_archive(tmp_path / packed.stdout.split()[-1], tmp_path)
    axe = (tmp_path / "package" / "axe.min.js").read_text(encoding="utf-8")
    site.build(Course.load(Path(inspect.getfile(site)).parents[2]), tmp_path / "site")
    browser, found, pages = chromium(), [], sorted((tmp_path / "site").rglob("*.html"))
    for width in (1280, 390):
        screen = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        for path in pages:
            browser.get(path.as_uri())
            browser.execute_script(axe)
            for name, impact, example in browser.execute_async_script(RUN_AXE):
                if impact in ("serious", "critical"):
                    found.append(f"{path.name} at {width}: {name}: {example}")
            if browser.execute_script("return document.documentElement.scrollWidth > innerWidth"):
                found.append(f"{path.name} at {width}: scrolls sideways")
    assert found == [] and len(pages) > 20


@pytest.mark.slow
def test_the_whole_course_has_no_link_that_leads_nowhere(tmp_path):
    course = Course.load(Path(inspect.getfile(site)).parents[2])
    assert site.build(course, tmp_path / "site") >= len(course.modules) * 2
    assert faults(tmp_path / "site") == []
    words = [(len(path.read_bytes()), path) for path in (tmp_path / "site/_images").iterdir()]
    assert len(words) >= 3 * len(course.modules), "every module has figures"


def test_slides_ask_before_they_show_and_need_no_network(course, tito):
    text = {"cell_type": "markdown", "metadata": {}}
    asked = "How *steep* is $x^2$ there? Type it in. *If the test fails*, why?"
    draw = course.cell("code", "draw", "import matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\nplt.show()")
    course.use(
        {**text, "id": "ask", "source": f"## Curves\n\nA line bends.\n\n{asked}"},
        {**draw, "metadata": {"alt": "a curve, $x^2$"}},
        {**text, "id": "see", "source": "**What to see.** It grows by 3, then by 5."},
    )
    end = tito("dev", "slides", "--to", "talk")
    assert end.code == 0 and "Made 1: open talk/01_alpha.html" in end.out
    text = (course.root / "talk" / "01_alpha.html").read_text(encoding="utf-8")
    question, figure, notes = (text.index(mark) for mark in ("<em>steep</em>", 'src="data:image/png', "It grows by 3"))
    assert html.unescape(re.search('<img alt="([^"]*)" src="data:', text)[1]) == "a curve, $x^2$"
    assert "Type it in" not in text and "fails" not in text, "a slide ends with its question"
    assert "It is <math" in text and "2 hours" not in text, "what a lesson needs is not for the wall"
    assert text.index("Curves") < question < figure < notes and "<math" in text
    assert re.search(r'<aside class="notes"[^>]*>', text).start() < notes
    assert 'navigationMode: "linear"' in text, "the arrow to the right leads to the figure, not past it"
    named = re.findall(r'(?:src|href)="([^"#]+)"', text)
    assert all(link.startswith("data:") or (course.root / "talk" / link).is_file() for link in named)
    styles = "".join(path.read_text(encoding="utf-8") for path in (course.root / "talk").rglob("*.css"))
    assert "source-sans-pro.css" in styles and not re.search(r"(import|url)\W+(https?:)?//", styles)
    (course.root / "mine").mkdir()
    (course.root / "mine" / "notes.txt").write_text("mine", encoding="utf-8")
    assert "holds something else" in tito("dev", "slides", "--to", "mine").err
