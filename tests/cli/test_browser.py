"""A student's first quarter of an hour, in Chromium: open, run all, write, test, save, export.

Run on purpose: pytest -m browser tests/cli/test_browser.py. Needs chromium and chromedriver on the PATH. With
TITO_SCREENSHOTS set to a folder, a picture of every step goes there.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.browser

REPOSITORY = Path(__file__).resolve().parents[2]
BODY = [
    "out[...] = image.mean()",  # by itself not the answer
    "for i, j in np.ndindex(out.shape): out[i, j] = (image[i : i + kh, j : j + kw] * kernel).sum()",
]
ERROR = '[data-mime-type="application/vnd.jupyter.error"], [data-mime-type="application/vnd.jupyter.stderr"]'
STUB = "raise NotImplementedError()"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home of its own, so that nobody's Jupyter settings matter, and the environment that goes with it."""
    folder = tmp_path_factory.mktemp("home")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("JUPYTER", "IPYTHON"))}
    return {**environment, "HOME": str(folder), "PYTHONPATH": str(REPOSITORY), "TITO_HOME": str(folder)}


@pytest.fixture(scope="module")
def tito(home):
    def run(*words, cwd, start=subprocess.run, **options):
        command = [sys.executable, "-P", "-m", "tito", *map(str, words)]
        return start(command, cwd=cwd, env=home, **options)

    return run


@pytest.fixture(scope="module")
def course(tito, tmp_path_factory):
    """A student's course with the scaffold of 09, in a folder whose name is not plain ASCII."""
    folder = tmp_path_factory.mktemp("a course, été") / "tinytorch"
    tito("init", folder, "--from", "09", cwd=folder.parent, check=True)
    return folder


@pytest.fixture(scope="module")
def lab(tito, course, tmp_path_factory):
    """`tito lab 09`, as a student starts it, but without a browser of its own; the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("lab", "09", "--no-browser", f"--port={port}", "--IdentityProvider.token=")
    log = tmp_path_factory.mktemp("log") / "lab.txt"
    with open(log, "w") as file:
        server = tito(*words, cwd=course, start=subprocess.Popen, stdout=file, stderr=file)
    address = f"http://127.0.0.1:{port}/"
    for _ in range(120):
        try:
            urllib.request.urlopen(address + "api", timeout=1).close()
            break
        except OSError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.25)
    yield address
    server.send_signal(signal.SIGTERM)
    server.wait(20)


class Page:
    """The browser, with waiting and pictures."""

    def __init__(self, driver):
        self.driver, self._count = driver, 0
        self._folder = os.environ.get("TITO_SCREENSHOTS")

    def picture(self, name):
        if self._folder:
            self._count += 1
            Path(self._folder).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(str(Path(self._folder) / f"{self._count:02}-{name}.png"))

    def find(self, css):
        from selenium.webdriver.common.by import By

        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def until(self, what, seconds=60):
        """The first true value of `what()`."""
        from selenium.common.exceptions import WebDriverException

        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if found := what():
                    return found
            except WebDriverException:  # an element that was redrawn meanwhile
                pass
            time.sleep(0.2)
        self.picture("failed")
        raise AssertionError(f"nothing came of {what} in {seconds} s")

    def with_text(self, css, text):
        return next((one for one in self.find(css) if text in one.text), None)

    def menu(self, name, item):
        self.until(lambda: self.with_text(".lm-MenuBar-itemLabel", name)).click()
        found = self.until(lambda: next((one for one in self.find(".lm-Menu-itemLabel") if one.text == item), None))
        found.click()

    def keys(self, *keys, held=()):
        from selenium.webdriver import ActionChains

        chain = ActionChains(self.driver)
        for key in held:
            chain.key_down(key)
        chain.send_keys(*keys)
        for key in held:
            chain.key_up(key)
        chain.perform()


@pytest.fixture(scope="module")
def page(chromium):
    return Page(chromium())


def test_a_student_writes_the_first_exercise(page, lab, course, tito):
    from selenium.webdriver.common.keys import Keys

    page.driver.get(lab)
    page.until(lambda: page.with_text(".jp-NotebookPanel .jp-MarkdownOutput", "09 Spatial"))
    page.until(lambda: page.with_text(".jp-KernelName, .jp-Toolbar-kernelName", "TinyTorch"))
    time.sleep(3)  # a question about news would come within this time
    page.picture("open")
    assert not page.find(".jp-Dialog, .Toastify__toast"), "nothing stands between the student and the notebook"
    assert page.with_text(".jp-NotebookPanel-toolbar", "Validate"), "nbgrader's button is there"
    assert not page.with_text(".lm-MenuBar-itemLabel", "Nbgrader"), "and its tools for instructors are not"

    page.menu("Run", "Run All Cells")
    error = page.until(lambda: page.with_text(ERROR, "NotImplementedError"))
    assert STUB in error.text
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'end'})", error)
    time.sleep(0.5)
    page.picture("run-all-stops-at-the-first-stub")

    line = page.until(lambda: page.with_text(".cm-line", STUB))
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", line)
    time.sleep(0.5)
    page.until(lambda: page.with_text(".cm-line", STUB)).click()
    page.keys(Keys.END)
    page.keys(Keys.HOME, held=[Keys.SHIFT])
    page.keys(("\n").join(BODY[:-1]))
    page.until(lambda: page.with_text(".cm-line", BODY[-2][-20:]))
    for _ in ("the solution", "its test"):
        page.keys(Keys.ENTER, held=[Keys.SHIFT])
    error = page.until(lambda: page.with_text(ERROR, "the test does not pass"))
    assert "expected" in error.text and "tito hint 09 filter_image" in error.text and "hold(" not in error.text
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", error)
    time.sleep(0.5)
    page.picture("the-test-fails")

    line = page.until(lambda: page.with_text(".cm-line", BODY[-2][-20:]))
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", line)
    time.sleep(0.5)
    page.until(lambda: page.with_text(".cm-line", BODY[-2][-20:])).click()
    page.keys(Keys.END)
    page.keys("\n" + BODY[-1])
    page.until(lambda: page.with_text(".cm-line", BODY[-1]))
    page.picture("written")
    for _ in ("the solution", "its test"):
        page.keys(Keys.ENTER, held=[Keys.SHIFT])
    page.until(lambda: page.with_text(".jp-OutputArea-output", "filter_image: passed"))
    page.picture("the-test-passes")

    page.keys("s", held=[Keys.CONTROL])
    notebook = course / "modules/09_spatial/spatial_dev.ipynb"
    page.until(lambda: BODY[0] in notebook.read_text(encoding="utf-8"))
    page.picture("saved")
    done = tito("test", "09", "filter_image", cwd=course, capture_output=True, text=True)
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout
    done = tito("export", "09", cwd=course, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert BODY[0] in (course / "tinytorch/core/spatial.py").read_text(encoding="utf-8")
