"""The students' pages: what stands on them, that nothing runs there, and that one student's text stops nobody's."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tito import CourseError
from tito.course import notebook
from tito.grading import feedback, gradebook, pages, press
from tito.grading.service import GradingService

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("one_rung")
NAME = "activations_dev.ipynb"
WRONG = {
    "syntax": {"relu": "\ndef relu(x:\n    return x\n"},
    "lines": {"gelu": '\ndef gelu(x):\n    raise ValueError("first line\\nsecond line says more")\n'},
    "prints": {"relu": "\nprint('<b>bold</b>')\nprint('x' * 300_000)\n"},
}
LOST = "NameError: name 'x' is not defined"
NEARLY = """
@operation(real="x")
def leaky_relu(x, slope=0.01):
    return np.maximum(x, 0) + slope * np.minimum(x, 0) * (x.ndim < 3)
"""
SPY = """
seen = []
_kept = leaky_relu
def leaky_relu(x, slope=0.01):
    seen.append(x)
    return _kept(x, slope)
"""
HOSTILE = {
    "dots": "\n# " + "a." * 60_000,
    "code": "\nif 0: " + "a." * 60_000 + "a\n",
    "deep": "\n_ = " + "(" * 150 + ")" * 150,
    "short": "\npass" * 100_000,
    "quotes": "\n'''" + 'f"{' * 9_000 + "\n'''",
    "script": "\n# </pre><script>alert(1)</script><img src=x onerror=alert(1)>",
}


@pytest.fixture
def desk(course):
    return GradingService(course)


@pytest.fixture
def hand_in(desk, submission):
    def hand_in(student, **how):
        submission(desk.settings["submitted"] / student / "02_activations" / NAME, **{"solved": "all", **how})

    return hand_in


def made(desk, students=None, jobs=1, **options):
    """Student -> page; and what was said on the way."""
    module, said = desk.course.module("02"), []
    found = desk.feedback(module, students, jobs, lambda done, total, line: said.append((done, total, line)), **options)
    return {path.parts[-3]: path.read_text(encoding="utf-8") for path in found}, said


def text_of(page):
    from bs4 import BeautifulSoup

    return BeautifulSoup(page, "html.parser").get_text(" ", strip=True)


def test_the_cause_comes_first_with_the_exercise_its_cell_and_the_hint(desk, hand_in, secret):
    for student, changes in WRONG.items():
        hand_in(student, changes=changes)
    hand_in("blank", solved=())
    hand_in("hidden", changes={"leaky_relu": NEARLY})
    desk.grade_submissions(desk.course.module("02"), jobs=1)
    found, _ = made(desk)
    syntax, table = text_of(found["syntax"]), found["syntax"].partition("Your notebook")[0]
    assert "90 of 100 points" in syntax and "Your result, cell by cell" in syntax
    assert "SyntaxError in your cell relu, line 14: '(' was never closed" in text_of(table)
    assert "NameError" not in table and "tito hint 02 relu" in table
    title = desk.course.module("02").exercise("relu").title
    assert f'<a href="#cell-test_relu">{title}</a>' in table and 'id="cell-test_relu"' in found["syntax"]
    assert "first line\nsecond line says more" in found["lines"].partition("Your notebook")[0]
    assert "not written yet" in text_of(found["blank"]) and "0 of 100 points" in text_of(found["blank"])
    assert "A hidden check failed" in text_of(found["hidden"]) and "<b>bold</b>" not in found["prints"]
    assert "shown in part: 20,0" in text_of(found["prints"])
    for page in found.values():
        assert secret not in page and "HIDDEN" not in page and "<script" not in page
        assert "default-src 'none'" in page and page.count("<summary>The test</summary>") == 6
    assert "http://" not in found["syntax"] and "cdn" not in found["syntax"].lower()


def test_hidden_inputs_stay_hidden(desk, hand_in):
    hand_in("spy", changes={"leaky_relu": SPY, "softmax": "\nprint('SEEN', seen)\n"})
    hand_in(
        "cry", changes={"leaky_relu": SPY, "gelu": "\ndef gelu(x):\n    raise ValueError(f'for you: {seen[3:]}')\n"}
    )
    hand_in("top", changes={"leaky_relu": SPY, "gelu": "\nraise ValueError(f'for you: {seen[3:]}')\n"})
    desk.grade_submissions(desk.course.module("02"), jobs=1)
    found, _ = made(desk)
    marked = desk.settings["autograded"] / "spy/02_activations" / NAME
    outputs = {cell["id"]: cell.get("outputs") for cell in json.loads(marked.read_text())["cells"]}
    assert outputs["softmax"] == []
    for student in ("cry", "top"):
        both = found[student] + (desk.settings["autograded"] / student / "02_activations" / NAME).read_text()
        said = [part[:400] for part in both.split("ValueError: for you: ")[1:]]
        assert len(said) >= 3 and not any(re.search(r"\d\.\d\d", part.partition("in ")[0]) for part in said), said


def test_only_what_changed_is_made_again(desk, hand_in):
    module = desk.course.module("02")
    for student in ("ada", "ben", "cleo"):
        hand_in(student, solved=("relu",), own=f"# {student}")
    desk.grade_submissions(module)
    _, said = made(desk)
    assert [done for done, *_ in said] == [0, 1, 2, 3]
    before = {path: path.stat().st_mtime_ns for path in desk.settings["feedback"].rglob("*.html")}
    assert made(desk)[1] == [(3, 3, "")] and len(before) == 3

    with gradebook.Gradebook(desk.settings["url"]) as book:
        id = book.assignment(module.folder)[0]
        grades = book.scores(id)["ben"]["grades"]
        cell = book.cells(id)["activations_dev"]["test_gelu", "GradeCell"][0]
        statement = book.sql.update(book.t.grade).where(book.t.grade.c.id == grades[cell][2])
        book.connection.execute(statement.values(manual_score=15))
        book.connection.exec_driver_sql(
            "update comment set manual_comment = 'Look at <tanh> & again.' where id in (select c.id from comment c "
            "join submitted_notebook n on n.id = c.notebook_id join submitted_assignment s on s.id = n.assignment_id "
            "join base_cell b on b.id = c.cell_id where s.student_id = 'cleo' and b.name = 'gelu')"
        )
    found, said = made(desk)
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path.parts[-3] for path in before if after[path] != before[path]} == {"ben", "cleo"}
    assert "25 of 100 points" in text_of(found["ben"]) and "Score: 15.0 / 20.0" in text_of(found["ben"])
    assert "Look at &lt;tanh&gt; &amp; again." in found["cleo"]
    (desk.settings["feedback"] / "ada/02_activations/activations_dev.html").write_text("<html>another's page</html>")
    assert [done for done, *_ in made(desk)[1]] == [2, 3], "what is no page of ours is replaced"


def test_hostile_texts_stop_nobody(desk, hand_in):
    hand_in("ada")
    for student, text in HOSTILE.items():
        hand_in(student, changes={"sigmoid": text})
    hand_in("cells", edit=lambda cells: [*cells[:5], *(own(f"y{n} = {n}", n) for n in range(600)), *cells[5:]])
    desk.grade_submissions(desk.course.module("02"), jobs=2)
    start = time.process_time()
    found, _ = made(desk, jobs=2)
    assert found.keys() == {"ada", "cells", *HOSTILE} and time.process_time() - start < 10
    for student, page in found.items():
        assert "Your result, cell by cell" in page and len(page) < 1_000_000, student
        assert "<script" not in page and "<img" not in page, student
    for student in ("dots", "code", "short"):
        assert "shown in part:" in found[student] and "Cut here, but graded whole: sigmoid." in found[student], student


def own(source, number):
    return {"cell_type": "code", "id": f"own{number}", "metadata": {}, "source": source, "outputs": []}


@pytest.mark.parametrize(
    "text",
    ["\\\\(" * 20_000, "\\begin{a}" * 9_000, "[" * 9_000, "> " * 4_900, "*a _b " * 1_600, "`a" * 4_999, "![" * 5_000],
)
def test_hostile_markdown_is_shown_as_it_was_typed(text):
    colours = pages.Colours()
    start = time.process_time()
    with colours.page():
        shown = colours.answer(feedback.clip(text, "", pages.LONGEST_ANSWER, widest=pages.LONGEST_ANSWER))
    assert time.process_time() - start < pages.CELL_SECONDS + 2 and shown


@pytest.mark.slow
def test_a_page_that_takes_too_long_is_plain_and_the_others_go_on(desk, hand_in, monkeypatch):
    for student in ("ada", "ben", "cleo"):
        hand_in(student)
    desk.grade_submissions(desk.course.module("02"))
    marked = desk.settings["autograded"] / "ben/02_activations" / NAME
    real = press.subprocess.Popen
    late = "import time, tito.grading.pages as p; r = p.render\n"
    late += "p.render = lambda job, colours: time.sleep(60 * (job['student'] == 'ben')) or r(job, colours)\n"
    late += "import sys, multiprocessing.connection as c, tito.grading.press as press\n"
    late += "press.serve(c.Connection(int(sys.argv[1])))"
    monkeypatch.setattr(press, "PATIENCE", 5.0)
    monkeypatch.setattr(
        press.subprocess, "Popen", lambda words, **how: real([words[0], "-P", "-c", late, words[-1]], **how)
    )
    found, said = made(desk)
    assert found.keys() == {"ada", "ben", "cleo"} and marked.is_file()
    assert "This page is plain" in found["ben"] and "100 of 100 points" in found["ben"] and "def relu" in found["ben"]
    assert "This page is plain" not in found["ada"] + found["cleo"]
    assert [line for *_, line in said if line] == ["ben: the page activations_dev is plain (it took over 5 s)"]


def test_no_result_no_page(desk, hand_in):
    hand_in("ada")
    with pytest.raises(CourseError, match="no result of 02_activations by anybody yet: tito grade run 02"):
        made(desk)
    desk.grade_submissions(desk.course.module("02"))
    with pytest.raises(CourseError, match="no result of 02_activations by zoe yet"):
        made(desk, ["zoe"])


def test_ctrl_c_leaves_whole_pages_only(desk, hand_in):
    for number in range(4):
        hand_in(f"s{number}", own=f"# {number}")
    desk.grade_submissions(desk.course.module("02"), jobs=2)
    slow = "import time, tito.grading.press as press, tito.cli, sys\n"
    slow += "real, made = press.write_atomic, []\ndef late(*given):\n    time.sleep(60 if made else 0)\n"
    slow += "    made.append(1)\n    return real(*given)\npress.write_atomic = late\n"
    slow += "sys.argv = ['tito', 'grade', 'feedback', '02']\ntito.cli.main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", slow], cwd=desk.course.root, env=environment, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 60
    while not list(desk.settings["feedback"].rglob("*.html")) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "of 4 pages of 02_activations are made" in said, said
    assert "To go on: tito grade feedback 02" in said and "Traceback" not in said
    left = [path for path in desk.settings["feedback"].rglob("*") if path.is_file()]
    assert left and all(path.suffix == ".html" and path.read_text().endswith("</html>\n") for path in left)
    assert len(made(desk)[0]) == 4


@pytest.mark.browser
def test_nothing_scrolls_sideways_and_every_row_leads_to_its_cell(desk, hand_in, chromium):
    for student, changes in {**WRONG, "dots": {"relu": HOSTILE["dots"]}}.items():
        hand_in(student, changes=changes)
    desk.grade_submissions(desk.course.module("02"), jobs=2)
    found = desk.feedback(desk.course.module("02"), jobs=2)
    driver = chromium()
    for width in (390, 1280):
        screen = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        for page in found:
            driver.get(page.as_uri())
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width
            links = driver.find_elements("css selector", "table.result a")
            assert len(links) == 6
            for link in links:
                target = link.get_attribute("href").partition("#")[2]
                assert driver.find_elements("id", target), target
            if os.environ.get("TITO_SCREENSHOTS"):
                name = f"{page.parts[-3]}-{width}.png"
                driver.save_screenshot(str(Path(os.environ["TITO_SCREENSHOTS"]) / name))


def test_every_reference_can_be_read_for_causes(course):
    from tito.course.registry import Course

    for module in Course.load(ROOT).modules:
        for path in module.notebooks:
            cells = [cell["id"] for cell in notebook.read(path)["cells"] if notebook.kind(cell) == "graded"]
            lost = {"kind": "graded", "status": "failed", "error": "NameError", "message": "name 'x' is not defined"}
            found = feedback.verdicts(module, path, dict.fromkeys(cells, lost))
            assert found.keys() == set(cells) and all(
                v.lines == ("NameError: name 'x' is not defined",) for v in found.values()
            )
