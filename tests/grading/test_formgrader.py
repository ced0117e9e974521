"""An answer is marked by hand in nbgrader's formgrader, in Chromium; the mark outlives the next run, students see it.

Run on purpose: pytest -m browser tests/grading/test_formgrader.py. With TITO_SCREENSHOTS set to a folder, pictures go
there.
"""

import importlib.util
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tito.course.registry import Course
from tito.grading import gradebook, marks
from tito.grading.sandbox import isolation
from tito.grading.service import GradingService

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]
ANSWER = "Neighbours belong together. <script>document.title = 'forged'</script>"
COMMENT = "Say why the weights are fewer."


def neighbour(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


browser = neighbour("test_browser_tools", ROOT / "tests/cli/test_browser.py")
page = browser.page


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """09 is released, ada has handed in the reference with an answer of her own, and it was graded."""
    pytest.importorskip("nbgrader", reason="nbgrader is not installed")
    if next(isolation.ladder(), None) is None:
        pytest.skip("no isolation works on this machine")
    folder = tmp_path_factory.mktemp("course")
    for name in ("modules", "tinytorch"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*_dev.py*", "__pycache__"))
    for name in ("settings.ini", "nbgrader_config.py"):
        shutil.copy(ROOT / name, folder)
    (folder / "grading").mkdir()
    desk = GradingService(Course.load(folder))
    module = desk.course.module("09")
    desk.assign(module)
    for path in module.notebooks:
        nb = json.loads(path.read_text(encoding="utf-8"))
        for cell in nb["cells"]:
            if cell["id"].startswith("reflection_"):
                cell["source"] = ANSWER
        target = desk.settings["submitted"] / "ada" / module.folder / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(nb), encoding="utf-8")
    [row] = desk.grade_submissions(module).rows
    assert (row.score, row.max, row.bonus, row.bonus_max, row.waiting) == (
        93,
        100,
        row.bonus_max,
        row.bonus_max,
        3,
    ) and row.bonus
    return desk


@pytest.fixture(scope="module")
def formgrader(desk, tmp_path_factory):
    """`tito grade formgrader` without a browser of its own; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = str(tmp_path_factory.mktemp("home"))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("JUPYTER", "IPYTHON"))}
    environment |= {"HOME": home, "PYTHONPATH": str(ROOT), "JUPYTER_TOKEN": "here"}
    words = [sys.executable, "-m", "tito", "grade", "formgrader", "--no-browser", f"--port={port}"]
    log = Path(home) / "log.txt"
    with open(log, "w") as file:
        server = subprocess.Popen(
            words, cwd=desk.course.root, env=environment, stdout=file, stderr=file, start_new_session=True
        )
    for _ in range(240):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=1).close()
            break
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.25)
    yield f"http://127.0.0.1:{port}/formgrader?token=here"
    os.killpg(server.pid, signal.SIGTERM)
    server.wait(20)


def manual(desk):
    """Cell -> its score by hand."""
    query = "select b.name, g.manual_score from grade g join base_cell b on b.id = g.cell_id"
    with sqlite3.connect(gradebook.file_of(desk.settings["url"])) as book:
        return dict(book.execute(f"{query} where g.manual_score is not null").fetchall())


def test_a_mark_by_hand(page, desk, formgrader):
    from selenium.webdriver.common.keys import Keys

    module = desk.course.module("09")
    assert [row["manual"] for row in desk.status(module)] == [3]
    page.driver.get(formgrader)
    for link in ("Manual Grading", "09_spatial", "spatial_dev", "Submission #1"):
        page.until(lambda link=link: next((one for one in page.find("a") if one.text.strip() == link), None)).click()
    cost = page.until(lambda: next(iter(page.find("input.score#reflection_cost")), None))
    assert page.driver.title != "forged" and "<script>" in page.driver.find_element("tag name", "body").text
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", cost)
    cost.send_keys("2", Keys.TAB)
    page.find("textarea.comment")[-1].send_keys(COMMENT, Keys.TAB)
    space = page.find("input.score#reflection_space")[0]
    space.send_keys("1.5", Keys.TAB)
    page.until(lambda: manual(desk) == {"reflection_cost": 2.0, "reflection_space": 1.5})
    page.picture("formgrader")

    path = desk.settings["submitted"] / "ada" / module.folder / "spatial_dev.ipynb"
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")  # handed in again
    report = desk.grade_submissions(module)
    assert [(row.score, row.bonus, row.fresh) for row in report.rows] == [(96.5, report.rows[0].bonus_max, True)]
    assert manual(desk) == {"reflection_cost": 2.0, "reflection_space": 1.5}
    assert [row["manual"] for row in desk.status(module)] == [1], "reflection_depth still waits"
    table = marks.table(desk.all_marks([module]), marks.columns_of("plain"))
    assert "ada,,,,09_spatial,96.5,100,1,0,0," in table
    shown = next(one for one in desk.feedback(module) if one.stem == "spatial_dev")
    page.driver.get(shown.as_uri())
    text = page.driver.find_element("tag name", "body").text
    assert "Score: 2.0 / 3.0" in text and "Score: 1.5 / 2.0" in text and COMMENT in text and "<script>" in text
    assert "Not read yet, of 2.0" in text, "reflection_depth"
    assert not page.find("script") and page.driver.title != "forged"
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", page.with_text(".comment", COMMENT))
    page.picture("feedback")
