"""Milestone 04 trained by several processes: the same gradient, the same run, and what happens when one dies."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

import tinytorch

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(tinytorch.__file__).resolve().parents[1]
FOLDER = "04_1998_cnn"
SCRIPT = ROOT / "milestones" / FOLDER / "run.py"
BESIDE = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")

for needed in ("sklearn", "safetensors"):
    pytest.importorskip(needed, reason=f"{needed} is not installed")
needs_mpi = pytest.mark.skipif(
    find_spec("mpi4py") is None or MPIEXEC is None, reason="mpi4py, or an MPI, is not installed"
)

GRADIENT = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
import workers
from tinytorch import Tensor, manual_seed, nn, optim
from tinytorch.core.losses import cross_entropy

crew = workers.join()
comm, sums = crew.comm, []


class Counting:
    def Allreduce(self, mine, whole):
        sums.append(mine.size)
        comm.Allreduce(mine, whole)


crew.comm = Counting()
for batch in (16, 17):  # halves, and shares that are not equal
    manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10))
    numbers = np.random.default_rng(batch)
    x = Tensor(numbers.standard_normal((batch, 3, 8, 8)).astype(np.float32))
    y = Tensor(numbers.integers(0, 10, batch))
    cross_entropy(model(x), y).backward()
    whole = [p.grad.copy() for p in model.parameters()]
    model.zero_grad()
    shares = workers.Shares([(x, y)], crew)
    for mine in shares:
        cross_entropy(model(mine[0]), mine[1]).backward()
    crew.add_gradients(model.parameters(), shares.fraction)
    largest = max(np.abs(g).max() for g in whole)
    error = max(np.abs(p.grad - g).max() for p, g in zip(model.parameters(), whole)) / largest
    print(batch, len(mine[0]), error, sums[-1] == model.parameter_count())
print("sums", len(sums))
"""


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "TITO_COMMAND")}
    return {**kept, "PYTHONPATH": str(PACKAGE), "OPENBLAS_NUM_THREADS": "1", "PYTHONUTF8": "1", **more}


def command(runs, *options):
    words = [SCRIPT, "--seed", 0, "--no-mlp", "--no-page", "--runs", runs, *options]
    return [sys.executable, *map(str, words)]


def play(runs, *options):
    return subprocess.run(command(runs, *options), capture_output=True, text=True, timeout=240, env=environment())


def kept(runs):
    return json.loads((runs / FOLDER / "trial" / "digits-cnn-seed-0.json").read_text())


@needs_mpi
@pytest.mark.parametrize("count", [2, 4])
def test_the_gradient_of_the_shares_is_that_of_the_whole(count):
    words = [MPIEXEC, "-n", str(count), sys.executable, "-c", GRADIENT, str(ROOT / "milestones")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment())
    assert done.returncode == 0, done.stderr
    *rows, sums = [line.split() for line in done.stdout.splitlines()]  # of rank 0 alone
    mine = [str(batch // count) for batch in (16, 17)]
    assert [row[:2] for row in rows] == [["16", mine[0]], ["17", mine[1]]] and sums == ["sums", "2"]  # one sum for each batch
    assert all(float(row[2]) <= 1e-5 and row[3] == "True" for row in rows), rows


@needs_mpi
def test_two_workers_do_what_one_does(tmp_path):
    runs = {count: tmp_path / str(count) for count in (1, 2)}
    for count, folder in runs.items():
        done = play(folder, "--quick", "--epochs", 2, "--workers", count)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
        assert done.stdout.count("3 Experiment") == done.stdout.count("Not judged") == 1  # only the first speaks
    one, two = map(kept, runs.values())
    assert (one["workers"], two["workers"]) == (1, 2)
    for first, second in zip(one["history"], two["history"], strict=True):
        for name in ("lr", "train_loss", "test_loss", "test_accuracy"):
            assert first[name] == pytest.approx(second[name], rel=1e-4), name
    assert two["test_accuracy"] == pytest.approx(two["history"][-1]["test_accuracy"], abs=1e-6)


def ranks(process):
    """{rank: process} of a running milestone."""
    psutil = pytest.importorskip("psutil")
    found = {}
    for child in psutil.Process(process.pid).children(recursive=True):
        if str(SCRIPT) in child.cmdline() and "PMI_RANK" in child.environ():
            found[int(child.environ()["PMI_RANK"])] = child
    return found


LONG = "--quick", "--epochs", 60, "--workers", 2


@pytest.fixture(scope="module")
def losses(tmp_path_factory):
    """Of a run of two workers in which nobody dies."""
    runs = tmp_path_factory.mktemp("whole")
    assert play(runs, *LONG).returncode == 0
    return [row["train_loss"] for row in kept(runs)["history"]]


@needs_mpi
@pytest.mark.slow
@pytest.mark.parametrize("victim", [1, 0, "Ctrl-C"])
def test_a_worker_that_dies_ends_the_job_and_resume_goes_on(losses, tmp_path, victim):
    process = subprocess.Popen(
        command(tmp_path, *LONG), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    checkpoint = tmp_path / FOLDER / "trial" / "digits-cnn-seed-0.safetensors"
    while not checkpoint.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    workers = ranks(process)
    assert sorted(workers) == [0, 1]
    began = time.monotonic()
    if victim == "Ctrl-C":
        process.send_signal(signal.SIGINT)
    else:
        workers[victim].kill()
    out, err = process.communicate(timeout=30)
    assert time.monotonic() - began < 10
    told = " ".join((out + err).split())
    assert process.returncode == (130 if victim == "Ctrl-C" else 2) and "Traceback" not in told, told
    assert "The last checkpoint is kept" in told and "--workers 2" in told and "--resume" in told
    assert victim == "Ctrl-C" or "a worker has died" in err
    assert not any(worker.is_running() and worker.status() != "zombie" for worker in workers.values())
    assert kept(tmp_path)["finished"] is False
    again = play(tmp_path, *LONG, "--resume")
    assert again.returncode == 0, again.stdout + again.stderr
    assert [row["train_loss"] for row in kept(tmp_path)["history"]] == losses  # as if nobody had died


def test_without_mpi_it_says_so_in_one_sentence(tmp_path):
    start = "import runpy, sys; sys.modules['mpi4py'] = None; sys.argv[:1] = []; sys.path.insert(0, sys.argv.pop(0))"
    words = [f"{start}; runpy.run_path(sys.argv[0], run_name='__main__')", SCRIPT.parent, SCRIPT, "--workers", 2]
    done = subprocess.run(
        [sys.executable, "-c", *map(str, words), "--runs", str(tmp_path)],
        capture_output=True, text=True, timeout=60, env=environment(),
    )  # fmt: skip
    assert done.returncode == 2 and done.stdout == ""
    assert re.fullmatch(rf"{FOLDER}: .*pip install [^\n]*\n", done.stderr), done.stderr
