"""The live page of a trained network: what runs there is what tinytorch computes and what `tito predict` prepares.

Node runs its scripts where it is installed; with -m browser the page itself is walked in Chromium (TITO_SCREENSHOTS as
in test_browser.py).
"""

import base64
import hashlib
import html.parser
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tito.web import Explorer, page

ROOT = Path(__file__).resolve().parents[2]
MILESTONE = ROOT / "milestones" / "04_1998_cnn"
node = pytest.mark.skipif(not shutil.which("node"), reason="node is not installed")
REQUEST = re.compile(
    r"""(?:src|href|action)\s*=|@import|url\(|fetch\(|XMLHttpRequest|WebSocket|\beval\(|new Function"""
)


def predict():
    """The milestone's predict.py, as a module."""
    sys.path[:0] = [str(MILESTONE), str(MILESTONE.parent)]
    try:
        spec = importlib.util.spec_from_file_location("milestone_predict", MILESTONE / "predict.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        del sys.path[:2]


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    """A finished run of three epochs: its JSON, and the network as the page is told it."""
    runs = tmp_path_factory.mktemp("runs")
    words = ["--seed", "2", "--epochs", "3", "--no-mlp", "--no-page", "--runs", str(runs)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = [sys.executable, str(MILESTONE / "run.py"), *words]
    subprocess.run(run, check=True, capture_output=True, env=environment)
    record = runs / "04_1998_cnn" / "trial" / "digits-cnn-seed-2.json"
    command = [sys.executable, str(MILESTONE / "predict.py"), str(record), "--describe"]
    told = subprocess.run(command, check=True, capture_output=True, encoding="utf-8", env=environment).stdout
    return record, json.loads(told)


def in_node(script, given, of="network"):
    """What a script prints with `network` (or another of the files) at hand and its input in `given`, as JSON."""
    where = json.dumps(str(ROOT / "tito" / "web" / f"{of}.js"))
    whole = f"const {of} = require({where}), given = JSON.parse(require('fs').readFileSync(0));\n{script}"
    done = subprocess.run(["node", "-e", whole], input=json.dumps(given), capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Scripts(html.parser.HTMLParser):
    """The texts of style and script, and the policy."""

    def __init__(self, text):
        super().__init__()
        self.inside, self.texts, self.policy = None, {}, ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.inside = f"{tag} {attributes.get('type', '')}".strip() if tag in ("script", "style") else None
        if attributes.get("http-equiv") == "Content-Security-Policy":
            self.policy = attributes["content"]

    def handle_endtag(self, tag):
        self.inside = None

    def handle_data(self, data):
        if self.inside:
            self.texts[self.inside] = self.texts.get(self.inside, "") + data


def test_the_page_lets_in_its_own_script_and_style_and_nothing_else(kept):
    evil = {
        **kept[1],
        "run": "</script><script>alert(1)</script>",
        "names": ["</script><img src=x onerror=alert(1)>"] * 10,
    }
    text = page.network_page(evil)
    found = Scripts(text)
    assert set(found.texts) == {"style", "script", "script application/json"}
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(found.texts[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in found.policy
    assert found.policy.startswith("default-src 'none'") and "unsafe" not in found.policy
    assert json.loads(found.texts["script application/json"]) == evil
    assert not REQUEST.search(text.replace(found.texts["script application/json"], ""))
    assert "JavaScript is switched off" in text and len(text) < 120_000


def test_the_run_keeps_the_weights_after_every_epoch_and_samples_with_mistakes(kept):
    record, told = kept
    assert len(told["epochs"]) == 4 and len(told["samples"]) == 10
    weights = [np.frombuffer(base64.b64decode(one["0.weight"]["base64"]), "<f4") for one in told["epochs"]]
    assert all(np.abs(a - b).max() > 0 for a, b in zip(weights, weights[1:], strict=False))
    assert told["epochs"][-1]["0.weight"] == told["layers"][0]["weight"]
    missed = [sample for sample in told["samples"] if sample["mistake"]]
    assert len(missed) == min(5, len(json.loads(record.read_text(encoding="utf-8"))["mistakes"]))


def test_the_milestone_writes_the_page_and_says_where(tmp_path, kept, monkeypatch, capsys):
    from tito import milestone
    from tito.course.registry import Course

    course = Course.load(ROOT)
    folder = tmp_path / "04_1998_cnn"
    shutil.copytree(kept[0].parent, folder)
    monkeypatch.setattr(Course, "folder", lambda self, name: tmp_path if name == "runs" else ROOT / "milestones")
    milestone._write_live_page(course, milestone.find_milestone(course, "04"), 0.0)
    assert "network.html" in capsys.readouterr().out
    assert "digits-cnn-seed-2" in (folder / "network.html").read_text(encoding="utf-8")
    (folder / "network.html").unlink()
    milestone._write_live_page(course, milestone.find_milestone(course, "04"), time.time() + 60)  # nothing new since
    assert not (folder / "network.html").exists() and capsys.readouterr().out == ""


@node
def test_logits_are_pythons_on_all_test_digits(kept):
    from tinytorch import Tensor, no_grad
    from tinytorch.data.loader import digits

    record, told = kept
    images = digits(2)[2]
    model = predict().network(json.loads(record.read_text(encoding="utf-8")), record.with_suffix(".safetensors"))
    with no_grad():
        expected = model(Tensor(images)).numpy()
    script = """const layers = network.revived(given.layers);
    const logits = (data) => Array.from(network.forward(layers, {shape: [1, 8, 8], data}).pop().data);
    console.log(JSON.stringify(given.images.map(logits)));"""
    found = in_node(script, {"layers": told["layers"], "images": images.reshape(360, 64).tolist()})
    np.testing.assert_allclose(found, expected, atol=1e-4)


@node
@pytest.mark.parametrize("name", ["cifar10", "cifar10-deep"])
def test_the_networks_for_photographs_too(name):
    from tinytorch import Tensor, no_grad

    module, generator = predict(), np.random.default_rng(0)
    model = module.NETWORKS[name]()
    for _ in range(2):
        model(Tensor(generator.normal(size=(8, 3, 32, 32)).astype(np.float32)))  # statistics of their own
    model.eval()
    layers, state = [], model.state_dict()
    for at, layer in enumerate(model):
        settings = module.SETTINGS.get(type(layer).__name__, {})
        own = {key: getattr(layer, attribute) for key, attribute in settings.items()}
        arrays = {
            k.removeprefix(f"{at}."): module.text_of(v) for k, v in state.items() if k.startswith(f"{at}.") and v.ndim
        }
        layers.append({"kind": type(layer).__name__, **own, **arrays})
    image = generator.normal(size=(1, 3, 32, 32)).astype(np.float32)
    with no_grad():
        expected = model(Tensor(image)).numpy()[0]
    script = """const out = network.forward(network.revived(given.layers), {shape: [3, 32, 32], data: given.image});
    console.log(JSON.stringify(Array.from(out.pop().data)));"""
    found = in_node(script, {"layers": layers, "image": image.ravel().tolist()})
    np.testing.assert_allclose(found, expected, atol=1e-4)


def scribbles():
    """Drawings as a canvas gives them: strokes of several widths, thin, thick, at the border, grey, light on dark."""
    from PIL import Image, ImageDraw, ImageFilter

    generator = np.random.default_rng(1)
    for number in range(24):
        size = tuple(int(side) for side in generator.integers(20, 300, 2)) if number % 3 else (280, 280)
        ground, ink = (255, int(generator.integers(0, 120))) if number % 2 else (0, 255)
        picture = Image.new("RGB", size, (ground,) * 3)
        points = [tuple(int(v) for v in generator.integers(0, size)) for _ in range(4)]
        ImageDraw.Draw(picture).line(points, (ink, ink, min(255, ink + 20)), int(generator.integers(1, 26)), "curve")
        yield picture.filter(ImageFilter.GaussianBlur(number % 4))
    yield Image.new("RGB", (30, 30), "white")


@node
def test_a_drawing_is_prepared_as_tito_predict_does():
    prepare, pictures = predict().digit, list(scribbles())
    given = [
        {"rgba": np.asarray(p.convert("RGBA")).ravel().tolist(), "height": p.height, "width": p.width} for p in pictures
    ]
    script = """console.log(JSON.stringify(given.map((p) => {
      const found = network.digit(network.greyOf(p.rgba), p.height, p.width);
      return found && Array.from(found.data);
    })));"""
    found = in_node(script, given)
    assert found[-1] is None
    for picture, data in zip(pictures[:-1], found[:-1], strict=True):
        assert np.array_equal(np.reshape(data, (1, 1, 8, 8)), prepare(picture))


@node
@pytest.mark.parametrize("size", [(32, 32), (40, 33), (75, 41), (200, 333), (333, 200), (900, 64)])
def test_a_photograph_is_prepared_as_tito_predict_does(size):
    from PIL import Image

    pixels = np.random.default_rng(2).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    picture, scale = Image.fromarray(pixels), {"mean": [0.49, 0.48, 0.45], "std": [0.25, 0.24, 0.26]}
    given = {"rgba": np.asarray(picture.convert("RGBA")).ravel().tolist(), "size": size, "scale": scale}
    script = """const [width, height] = given.size;
    console.log(JSON.stringify(Array.from(network.fitted(given.rgba, height, width, 32, given.scale).data)));"""
    found = np.reshape(in_node(script, given), (1, 3, 32, 32))
    level = 1 / 255 / 0.24  # which way Pillow goes first, and so rounds, depends on its version and on the sizes
    np.testing.assert_allclose(found, predict().photograph(picture, scale), atol=2 * level)


@node
def test_the_window_has_the_lessons_sizes_and_products():
    from tinytorch.core.spatial import output_size

    generator, cases = np.random.default_rng(3), []
    while len(cases) < 200:
        case = [int(generator.integers(low, high)) for low, high in ((3, 13), (1, 6), (1, 5), (0, 4), (1, 4))]
        if case[4] * (case[1] - 1) + 1 <= case[0] + 2 * case[3]:
            cases.append(case)
    script = """console.log(JSON.stringify(given.map((case_) =>
      [explorers.outputSize(...case_), explorers.productCount(...case_)])));"""
    for (size, kernel, stride, padding, dilation), (out, products) in zip(
        cases, in_node(script, cases, "explorers"), strict=True
    ):
        assert out == output_size(size, kernel, stride, padding, dilation)
        starts = np.arange(out)[:, None] * stride - padding + np.arange(kernel) * dilation
        inside = ((starts >= 0) & (starts < size)).sum()
        assert products == {"all": (out * kernel) ** 2, "frame": (out * kernel) ** 2 - int(inside) ** 2}
    assert in_node("console.log(explorers.outputSize(3, 5, 1, 0, 1))", 0, "explorers") == 0


@node
def test_the_field_is_what_gradients_reach():
    from tinytorch import Tensor, nn

    layers = [(3, 1, 1, 1), (2, 2, 0, 1), (3, 1, 2, 2), (5, 2, 2, 1)]
    network = nn.Sequential(*(nn.Conv2d(1, 1, k, stride=s, padding=p, dilation=d) for k, s, p, d in layers))
    for layer in network:
        layer.weight = Tensor(np.ones(layer.weight.shape, np.float32), requires_grad=True)
    given = [dict(zip(("kernel", "stride", "padding", "dilation"), one, strict=True)) for one in layers]
    x = Tensor(np.zeros((1, 1, 48, 48), np.float32), requires_grad=True)
    out = network(x)
    out[0, 0, 5, 6].backward()
    reached = [(int(line.min()), int(line.max())) for line in np.nonzero(x.grad[0, 0])]
    script = """const grown = explorers.fields(given).pop();
    console.log(JSON.stringify([5, 6].map((at) => [explorers.cone(given, at)[0], grown])));"""
    for (found, grown), seen in zip(in_node(script, given, "explorers"), reached, strict=True):
        assert tuple(found) == seen and grown == {"field": seen[1] - seen[0] + 1, "jump": 4}


@node
def test_the_race_is_run_by_the_courses_optimizers():
    from tinytorch import Tensor, optim

    makers = {
        "SGD": lambda p, lr, mu: optim.SGD(p, lr=lr),
        "momentum": lambda p, lr, mu: optim.SGD(p, lr=lr, momentum=mu),
        "Nesterov": lambda p, lr, mu: optim.SGD(p, lr=lr, momentum=mu, nesterov=True),
        "Adam": lambda p, lr, mu: optim.Adam(p, lr=lr),
    }
    for steep, lr, momentum in ((20.0, 0.03, 0.8), (5.0, 0.08, 0.5), (20.0, 0.01, 0.0)):
        given = {"steep": steep, "settings": {"lr": lr, "momentum": momentum}, "kinds": list(makers)}
        script = """console.log(JSON.stringify(given.kinds.map((kind) =>
          explorers.race(kind, given.settings, given.steep, 40))));"""
        for path, (kind, make) in zip(in_node(script, given, "explorers"), makers.items(), strict=True):
            if kind == "Nesterov" and not momentum:
                continue  # refused without momentum
            w = Tensor(np.array([-3.0, 1.0]), requires_grad=True)
            optimizer = make([w], lr, momentum)
            for step, expected in enumerate(path):
                np.testing.assert_allclose(w.numpy(), expected, atol=2e-5, err_msg=f"{kind}, step {step}")
                w.grad = (np.array([1.0, steep]) * w.numpy()).astype(np.float32)
                optimizer.step()


def test_an_explorer_is_a_frame_that_lets_in_its_own_script_only():
    frame = Explorer("race")._repr_html_()
    assert 'sandbox="allow-scripts"' in frame and "src=" not in frame.replace("srcdoc=", "")
    for name in page.EXPLORERS:
        text = Explorer(name).page()
        found = Scripts(text)
        assert "default-src 'none'" in found.policy and not REQUEST.search(text) and "without it" in text
    with pytest.raises(ValueError, match="there is no explorer 'zoo': there are 'window', 'field', 'race'"):
        Explorer("zoo")


@pytest.fixture(scope="module")
def browser(chromium):
    return chromium()


def opened(browser, told, folder, width=1280, dark=False):
    file = page.write(told, folder / "network.html")
    screen = {"width": width, "height": 1200, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    browser.get(file.as_uri())
    return lambda name: browser.find_element("id", name)


@pytest.mark.browser
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_a_digit_is_drawn_looked_into_and_watched(browser, kept, tmp_path, width, dark):
    from selenium.webdriver import ActionChains, Keys

    find = opened(browser, kept[1], tmp_path, width, dark)
    assert find("said").text == "Nothing is drawn yet." and find("trouble").text == ""
    stroke = ActionChains(browser).move_to_element_with_offset(find("pad"), -60, -90).click_and_hold()
    for step in ((70, 0), (50, 0), (-25, 50), (-30, 60), (-20, 60)):
        stroke.move_by_offset(*step)
    stroke.release().perform()
    time.sleep(0.3)
    assert re.fullmatch(r"\d, \d+ % sure", find("said").text)
    after = browser.execute_script("return Array.from(tinytorch.state.x.data)")
    maps = browser.find_elements("css selector", "#layers .layer:nth-child(2) canvas")
    assert len(maps) == 8
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", maps[2])
    ActionChains(browser).move_to_element_with_offset(maps[2], 4, 4).perform()
    time.sleep(0.3)
    assert "Map 3, row 4, column 4" in find("sum").text and len(browser.find_elements("css selector", "#sum td")) == 9
    numbers = [float(part.replace("−", "-")) for part in re.findall(r"−?\d+\.\d+", find("sum").text)]
    bias, total, products = numbers[0], numbers[1], np.reshape(numbers[2:], (9, 2))
    assert abs(products.prod(axis=1).sum() + bias - total) < 0.02
    before = find("sum").text
    maps[2].send_keys(Keys.ARROW_LEFT)
    time.sleep(0.2)
    assert "column 3" in find("sum").text != before
    answer = browser.execute_script("return tinytorch.logits(tinytorch.state.x.data)")
    find("epoch").send_keys(Keys.HOME)
    time.sleep(0.3)
    assert find("at").text == "0 of 3" and browser.execute_script("return Array.from(tinytorch.state.x.data)") == after
    assert browser.execute_script("return tinytorch.logits(tinytorch.state.x.data)") != answer
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    if folder := os.environ.get("TITO_SCREENSHOTS"):
        browser.save_screenshot(str(Path(folder) / f"network-{width}-{'dark' if dark else 'light'}.png"))
    for _ in range(2):
        browser.find_element("xpath", "//button[text()='Undo']").click()
    time.sleep(0.2)
    assert find("said").text == "Nothing is drawn yet."
    find("pad").send_keys(" ", *[Keys.ARROW_DOWN] * 6)
    time.sleep(0.2)
    assert "sure" in find("said").text
    assert [line["message"] for line in browser.get_log("browser")] == []


@pytest.mark.browser
def test_thirty_frames_a_second_and_every_logit(browser, kept, tmp_path):
    from tinytorch import Tensor, no_grad
    from tinytorch.data.loader import digits

    record, told = kept
    opened(browser, told, tmp_path)
    images = digits(2)[2]
    model = predict().network(json.loads(record.read_text(encoding="utf-8")), record.with_suffix(".safetensors"))
    with no_grad():
        expected = model(Tensor(images)).numpy()
    found = browser.execute_script("return arguments[0].map(tinytorch.logits)", images.reshape(360, 64).tolist())
    np.testing.assert_allclose(found, expected, atol=1e-4)
    script = """const done = arguments[arguments.length - 1], start = performance.now(); let left = 60;
    const next = () => { tinytorch.show({shape: [1, 8, 8], data: Float32Array.from({length: 64}, Math.random)});
      if (left--) requestAnimationFrame(next); else done(60000 / (performance.now() - start)); }; next();"""
    assert browser.execute_async_script(script) >= 30


@pytest.mark.browser
def test_weights_that_are_none_are_a_sentence(browser, kept, tmp_path):
    find = opened(browser, {**kept[1], "layers": [{"kind": "Alert"}]}, tmp_path)
    assert "a layer Alert, which this page does not know" in find("trouble").text
    find = opened(browser, {**kept[1], "layers": None}, tmp_path)
    assert "cannot be read" in find("trouble").text and "tito milestone run 04" in find("trouble").text


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_explorers_by_keys_in_a_frame(browser, tmp_path, width):
    from selenium.webdriver import ActionChains, Keys

    screen = {"width": width, "height": 1200, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    moved = {"window": "column 2", "field": "unit 6 of 8", "race": ""}
    for name in page.EXPLORERS:
        file = tmp_path / f"{name}.html"
        head = '<!doctype html><meta name="viewport" content="width=device-width"><title>x</title>'
        file.write_text(head + Explorer(name)._repr_html_(), encoding="utf-8")
        browser.get(file.as_uri())
        browser.switch_to.frame(0)
        numbers = browser.find_element("id", "numbers")
        before = numbers.text
        assert before and browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        if moved[name]:
            ActionChains(browser).click(browser.find_element("css selector", "svg .out")).perform()
            ActionChains(browser).send_keys(Keys.ARROW_RIGHT).perform()
            assert moved[name] in browser.find_element("css selector", "svg").get_attribute("aria-label")
        browser.find_elements("css selector", "input[type=range]")[1 if name == "window" else 0].send_keys(Keys.END)
        time.sleep(0.2)
        assert browser.find_element("id", "numbers").text != before
        browser.switch_to.default_content()
        if folder := os.environ.get("TITO_SCREENSHOTS"):
            browser.save_screenshot(str(Path(folder) / f"explorer-{name}-{width}.png"))
        assert [line["message"] for line in browser.get_log("browser")] == []
