"""The milestones as a student meets them: in a process of their own, by what they print, keep and exit with."""

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import tinytorch

ROOT = Path(__file__).resolve().parents[2]
MILESTONES = ROOT / "milestones"
PACKAGE = Path(tinytorch.__file__).resolve().parents[1]
FOLDERS = ["01_1957_perceptron", "02_1969_xor", "03_1986_mlp", "04_1998_cnn"]
ACTS = ["1 Challenge", "2 Setup", "3 Experiment", "4 Diagnosis", "5 Reflection", "Verdict"]

pytest.importorskip("matplotlib", reason="matplotlib is not installed")
if find_spec("sklearn") is None:  # its import takes a second
    pytest.skip("scikit-learn is not installed", allow_module_level=True)


def environment(package=PACKAGE, **more):
    clean = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "TITO_COMMAND")}
    return {**clean, "PYTHONPATH": str(package), "OPENBLAS_NUM_THREADS": "1", "PYTHONUTF8": "1", **more}


def command(number, runs, *options):
    return [sys.executable, str(MILESTONES / FOLDERS[number - 1] / "run.py"), "--runs", str(runs), *map(str, options)]


def play(number, runs, *options, **named):
    return subprocess.run(
        command(number, runs, *options), capture_output=True, text=True, timeout=120, env=environment(**named), cwd=ROOT
    )


WARM = """
import json, os, signal, sys
import sklearn.datasets, sklearn.model_selection
for line in sys.stdin:
    words, environment, *files = json.loads(line)
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    for number, file in enumerate([os.devnull, *files]):
        os.dup2(os.open(file, os.O_RDWR | os.O_CREAT), number)
    signal.alarm(120)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv, sys.path[:1] = words, [os.path.dirname(words[0]), environment["PYTHONPATH"]]
    break
else:
    sys.exit()
import runpy
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def play_warm(tmp_path_factory):
    """As `play`, but in forks of a process that has imported scikit-learn (that takes a second) and nothing of ours."""
    if not hasattr(os, "fork"):
        yield play
        return
    files = [tmp_path_factory.mktemp("warm") / name for name in ("out", "err")]
    start = [sys.executable, "-c", WARM]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}

    def run(number, runs, *options, **named):
        for file in files:
            file.write_bytes(b"")
        words = command(number, runs, *options)[1:]
        print(json.dumps([words, environment(**named), *map(str, files)]), file=warm.stdin, flush=True)
        code = int(warm.stdout.readline())
        return subprocess.CompletedProcess(words, code, *(file.read_text(encoding="utf-8") for file in files))

    with subprocess.Popen(start, env=environment(), cwd=ROOT, **pipes) as warm:
        yield run


def kept(runs, number, name):
    return json.loads((runs / FOLDERS[number - 1] / f"{name}.json").read_text())


def words(text):
    return " ".join(text.split())


def widest(done):
    """The longest line that is not a path."""
    return max(len(line) for line in done.stdout.splitlines() if not line.startswith(("Runs:", "Page:")))


def without_times(history):
    return [{key: value for key, value in row.items() if "second" not in key} for row in history]


def test_the_list_names_every_milestone():
    listed = tomllib.loads((MILESTONES / "milestones.toml").read_text())["milestone"]
    assert [one["folder"] for one in listed] == FOLDERS
    for one in listed:
        assert set(one) == {"id", "folder", "script", "title", "year", "summary", "requires", "minutes"}
        assert (MILESTONES / one["folder"] / one["script"]).is_file() and (
            MILESTONES / one["folder"] / "README.md"
        ).is_file()
        assert one["folder"].startswith(f"{one['id']}_{one['year']}_")


@pytest.mark.parametrize("folder", [pytest.param(f, marks=pytest.mark.slow if f > "03" else ()) for f in FOLDERS])
def test_the_whole_of_it_is_forty_lines_on_the_public_package_that_run_alone(tmp_path, folder):
    file = MILESTONES / folder / "train.py"
    tree = ast.parse(source := file.read_text(encoding="utf-8"))
    assert len(source.splitlines()) <= 40
    modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    modules |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert {module.split(".")[0] for module in modules} <= {"numpy", "tinytorch"}
    shutil.copy(file, tmp_path / "copied.py")
    for words_of in (["-m", f"milestones.{folder}.train"], [str(tmp_path / "copied.py")]):
        done = subprocess.run(
            [sys.executable, *words_of], capture_output=True, text=True, timeout=120, env=environment(), cwd=ROOT
        )
        assert (done.returncode, done.stderr) == (0, "")
        last = done.stdout.splitlines()[-1]
        ends = {"01": r"the line: .* = 0", "02": "two layers: .* 100% right", "03": "test accuracy 0.9[4-9]"}
        assert re.search(ends.get(folder[:2], "test accuracy 0.9[6-9]"), last), last


@pytest.mark.parametrize("number", [1, 2])
def test_a_milestone_is_reached_and_keeps_what_it_did(tmp_path, number):
    done = play(number, tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    headings = re.findall(r"^── (.+?) ─", done.stdout, re.M)
    assert headings == ACTS
    assert "Reached: Milestone" in done.stdout and "missed" not in done.stdout
    assert "\x1b" not in done.stdout and widest(done) <= 80
    folder = tmp_path / FOLDERS[number - 1]
    assert sorted(file.name for file in folder.glob("*.json")) == [f"seed-{seed}.json" for seed in range(5)]
    assert (folder / "page.png").read_bytes().startswith(b"\x89PNG")


def test_the_perceptron_stays_within_its_theorem_and_xor_beyond_one_layer(tmp_path):
    assert play(1, tmp_path, "--seed", 3, "--seed", 9, "--no-page").returncode == 0
    for seed in (3, 9):
        run = kept(tmp_path, 1, f"seed-{seed}")
        assert run["mistakes"][-1] == 0 and 0 < sum(run["mistakes"]) <= run["bound"]
    assert play(2, tmp_path, "--seed", 3, "--no-page").returncode == 0
    run = kept(tmp_path, 2, "seed-3")
    assert run["one layer"]["best"] <= 0.75 and run["two layers"]["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("number", "options", "why"),
    [
        (1, ["--epochs", 1, "--seed", 0, "--no-page"], "1 pass at most in place of 100"),
        (3, ["--epochs", 1, "--seed", 0, "--no-page"], "1 epoch in place of 30"),
        (
            4,
            ["--epochs", 1, "--seed", 0, "--quick", "--no-mlp", "--no-page"],
            "1 epoch in place of 30 and trained on 20 % of the data",
        ),
    ],
)
def test_other_epochs_or_less_data_are_not_judged(play_warm, tmp_path, number, options, why):
    done = play_warm(number, tmp_path, *options, COLUMNS="40")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Not judged: {why}" in words(done.stdout)
    assert widest(done) <= 40


@pytest.fixture(scope="module")
def cnn(tmp_path_factory):
    """Milestone 04 on the digits with one seed: the folder of runs, and what it printed."""
    runs = tmp_path_factory.mktemp("runs")
    return runs, play(4, runs, "--seed", 1, "--no-mlp")


def test_the_cnn_is_reached(cnn):
    runs, done = cnn
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert re.search(r"Convolution: (yours|reference) \(\w+\)", done.stdout)
    assert "Reached: Milestone 04" in done.stdout
    run = kept(runs, 4, "digits-cnn-seed-1")
    assert run["parameters"] == 810 and run["test_accuracy"] >= 0.96 and len(run["history"]) == 30
    assert len(run["samples"]) == 10 and sum(map(sum, run["confusion"])) == 360
    assert sum(run["confusion"][digit][digit] for digit in range(10)) == round(360 * run["test_accuracy"])
    for check in run["parameter_checks"]:
        assert check["gradient"] > 0 and check["moved"] > 0 and check["gradient_error"] < 1e-3
        assert check["name"] in done.stdout
    assert (runs / FOLDERS[3] / "digits.png").read_bytes().startswith(b"\x89PNG")


def test_the_verdict_is_read_from_the_kept_runs(cnn, play_warm, tmp_path):
    shutil.copytree(cnn[0], tmp_path, dirs_exist_ok=True)
    run = kept(tmp_path, 4, "digits-cnn-seed-1")
    (tmp_path / FOLDERS[3] / "digits-cnn-seed-1.json").write_text(json.dumps({**run, "test_accuracy": 0.5}))
    done = play_warm(4, tmp_path, "--seed", 1, "--no-mlp", "--no-page", "--resume")
    assert done.returncode == 1
    assert "missed test accuracy, seed 1: 50.0 % (needed 96.0 %)" in words(done.stdout)
    assert "Below the threshold" in done.stdout


def sabotaged(folder, code, fuse="lambda self, rest: None"):
    """A copy of the package with `code` at the end of core/spatial.py; no fast engine goes around the layer."""
    shutil.copytree(PACKAGE / "tinytorch", folder / "tinytorch", ignore=shutil.ignore_patterns("__pycache__"))
    with open(folder / "tinytorch" / "core" / "spatial.py", "a", encoding="utf-8") as file:
        file.write(f"\n\n_right = Conv2d.forward\n\n\n{code}\n\n\nConv2d.forward = _wrong\nConv2d.fuse = {fuse}\n")
    return folder


@pytest.mark.parametrize("wrong", ["_right(self, x) * 0.0", "_right(self, x[:, :, ::-1])", "_right(self, x)[:, :, 1:]"])
def test_what_is_no_convolution_is_not_trained(tmp_path, wrong):
    package = sabotaged(tmp_path, f"def _wrong(self, x):\n    return {wrong}")
    done = play(4, tmp_path / "runs", package=package)
    assert (done.returncode, done.stderr) == (1, "")
    told = words(done.stdout)
    assert "missed Conv2d and MaxPool2d give what their definitions give" in told
    assert "tito test 09" in told and "Experiment" not in told and "Below the threshold" in told


def test_a_wrong_block_is_not_trained_though_its_parts_are_right(tmp_path):
    block = "lambda self, rest: (lambda x: rest[1](rest[0](_right(self, x))) * 1.01, 2)"
    package = sabotaged(tmp_path, "def _wrong(self, x):\n    return _right(self, x)", block)
    done = play(4, tmp_path / "runs", package=package)
    told = words(done.stdout)
    assert (done.returncode, done.stderr) == (1, "") and "Experiment" not in told
    assert "missed Conv2d and MaxPool2d give what their definitions give" in told


DEAF = """def _wrong(self, x):
    weight, self.weight = self.weight, self.weight.detach()
    try:
        return _right(self, x)
    finally:
        self.weight = weight"""


def test_a_convolution_that_does_not_learn_is_below_the_threshold(play_warm, tmp_path):
    done = play_warm(4, tmp_path / "runs", "--seed", 1, "--no-mlp", "--no-page", package=sabotaged(tmp_path, DEAF))
    assert (done.returncode, done.stderr) == (1, "")
    told = words(done.stdout)
    assert (
        "reached Conv2d and MaxPool2d give" in told and "missed every parameter tensor had a gradient and moved" in told
    )


def interrupt(child, checkpoint):
    """Ctrl-C as soon as a checkpoint is there; returns what the milestone printed."""
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    child.send_signal(signal.SIGINT)
    return child.communicate(timeout=60)


def test_ctrl_c_keeps_a_checkpoint_and_resuming_gives_the_same_numbers(cnn, play_warm, tmp_path):
    options = ["--seed", 1, "--no-mlp", "--no-page"]
    child = subprocess.Popen(
        command(4, tmp_path, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(COLUMNS="200"),
        cwd=ROOT,
    )
    told, errors = interrupt(child, tmp_path / FOLDERS[3] / "digits-cnn-seed-1.safetensors")
    assert (child.returncode, errors) == (130, ""), told + errors
    assert "The last checkpoint is kept" in told
    resume = told.strip().splitlines()[-1].strip()
    assert resume.startswith("python milestones/04_1998_cnn/run.py") and resume.endswith(
        "--seed 1 --no-mlp --no-page --resume"
    )
    assert kept(tmp_path, 4, "digits-cnn-seed-1")["finished"] is False
    again = play_warm(4, tmp_path, *options, "--resume")
    assert again.returncode == 0 and "epoch 1/" not in again.stdout, again.stderr
    first, second = (kept(runs, 4, "digits-cnn-seed-1") for runs in (tmp_path, cnn[0]))
    assert without_times(first["history"]) == without_times(second["history"])
    assert first["filters"] == second["filters"] and first["confusion"] == second["confusion"]


def test_missing_data_are_named_without_a_traceback(tmp_path):
    done = play(4, tmp_path, "--data", "cifar10", "--data-dir", tmp_path / "nowhere")
    assert done.returncode == 2
    assert "data_batch_1.bin is missing" in done.stderr and "nowhere" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "said"), [(["--epochs", 0], "whole number from 1"), (["--data", "mnist"], "cifar10")]
)
def test_wrong_options_are_refused(tmp_path, options, said):
    done = play(4, tmp_path, *options)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_an_unwritten_module_is_named(tmp_path):
    shutil.copytree(PACKAGE / "tinytorch", tmp_path / "tinytorch", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "tinytorch" / "core" / "spatial.py").unlink()
    done = play(4, tmp_path / "runs", package=tmp_path)
    assert done.returncode == 2
    assert "09_spatial" in done.stderr and "tito export 09" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(("how", "said"), [("()", "loss_of in <string>"), ("('write mean')", "write mean")])
def test_a_stub_is_named_and_not_traced(tmp_path, how, said):
    stub = f"def loss_of(*_):\n    raise NotImplementedError{how}\n"
    start = f"import sys\nsys.path.insert(0, {str(MILESTONES)!r})\nfrom stage import Stage\n{stub}"
    words = f"{start}Stage({str(MILESTONES / FOLDERS[1] / 'run.py')!r}, 'XOR', 1).run(loss_of, [])"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True, env=environment())
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert done.stderr == f"{FOLDERS[1]}: something this milestone needs is still to be written: {said}\n"


def terminal(number, runs, *options, **more):
    """What the milestone writes to a terminal."""
    pty = pytest.importorskip("pty", reason="no terminals of its own on this system")
    parent, child = pty.openpty()
    process = subprocess.Popen(
        command(number, runs, *options),
        stdin=child,
        stdout=child,
        stderr=child,
        close_fds=True,
        cwd=ROOT,
        env=environment(TERM="xterm-256color", COLUMNS="60", **more),
    )
    os.close(child)
    written = b""
    while True:
        try:
            part = os.read(parent, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        written += part
    os.close(parent)
    assert process.wait(60) == 0
    return written.decode()


def test_colour_on_a_terminal_unless_it_is_not_wanted(tmp_path):
    pytest.importorskip("rich", reason="Rich is not installed")
    colour = re.compile(r"\x1b\[[\d;]*3[0-7]m")
    assert colour.search(terminal(1, tmp_path, "--seed", 0, "--no-page"))
    plain = terminal(1, tmp_path, "--seed", 0, "--no-page", NO_COLOR="1")
    assert not colour.search(plain) and "Reached" in plain
