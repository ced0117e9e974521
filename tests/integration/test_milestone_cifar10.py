"""Milestone 04 on colour pictures, and `tito predict` after it: a small slice in CIFAR-10's published layout."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import tinytorch
from tito import cli

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(tinytorch.__file__).resolve().parents[1]
FOLDER, RECORDS = "04_1998_cnn", 320

for needed in ("matplotlib", "safetensors", "sklearn", "PIL"):
    if find_spec(needed) is None:  # importing them takes seconds
        pytest.skip(f"{needed} is not installed", allow_module_level=True)

START = f"""
import runpy, sys
from tinytorch.core import training
from tinytorch.data.loader import CIFAR10
CIFAR10.records = {RECORDS}
if sys.argv[1] == "cut":
    save = training.Trainer.save
    def cut(self, *inputs):
        save(self, *inputs)
        raise KeyboardInterrupt
    training.Trainer.save = cut
sys.argv = sys.argv[2:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def environment():
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "TITO_COMMAND")}
    return {**kept, "PYTHONPATH": str(PACKAGE), "OPENBLAS_NUM_THREADS": "1", "PYTHONUTF8": "1"}


@pytest.fixture(scope="module")
def slice_of_pictures(tmp_path_factory):
    """Six files of noise, brighter from class to class."""
    root, generator = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    (root / "cifar-10-batches-bin").mkdir()
    for name in [f"data_batch_{number}.bin" for number in range(1, 6)] + ["test_batch.bin"]:
        table = generator.integers(0, 100, (RECORDS, 3073), dtype=np.uint8)
        table[:, 0] = generator.permutation(RECORDS) % 10
        table[:, 1:] += 15 * table[:, :1]
        table.tofile(root / "cifar-10-batches-bin" / name)
    return root


def play(runs, data, *options, how="whole", before=()):
    """The milestone in a process of its own, a fifth of the slice; how="cut": Ctrl-C after the first epoch.

    before: words in front of the command.
    """
    script = str(ROOT / "milestones" / FOLDER / "run.py")
    words = [script, "--data", "cifar10", "--data-dir", data, "--runs", runs, "--quick", "--epochs", 2, *options]
    command = [*before, sys.executable, "-c", START, how, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment(), cwd=ROOT)


def kept(runs, name="cifar10-cnn-seed-0"):
    return json.loads((runs / FOLDER / "trial" / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def whole(slice_of_pictures, tmp_path_factory):
    runs = tmp_path_factory.mktemp("course") / "runs"
    return runs, play(runs, slice_of_pictures)


def test_it_trains_compares_and_tells_the_cost(whole):
    runs, done = whole
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert re.search(r"Convolution: (yours|reference) \(\w+\)", done.stdout)
    assert len(re.findall(r"epoch \d/2 .* test accuracy .* images/s", done.stdout)) == 4  # both networks
    told = " ".join(done.stdout.split())
    assert re.search(r"learned from [\d,]+ images per second, peak memory [\d,]+ MB", told)
    assert "Not judged: 2 epochs in place of 6 and trained on 20 % of the data" in told
    run, mlp = kept(runs), kept(runs, "cifar10-mlp-seed-0")
    assert abs(run["parameters"] / mlp["parameters"] - 1) < 0.01
    assert sum(map(sum, run["confusion"])) == RECORDS // 5 and len(run["mistakes"]) <= 10
    assert 0 < run["peak_memory"] < 1.5e9
    assert (runs / FOLDER / "trial" / "cifar10.png").read_bytes().startswith(b"\x89PNG")


def test_ctrl_c_and_resume_give_the_same_numbers(whole, slice_of_pictures, tmp_path):
    options = ["--no-mlp", "--no-page"]
    cut = play(tmp_path, slice_of_pictures, *options, how="cut")
    assert cut.returncode == 130 and "--resume" in cut.stdout, cut.stderr
    assert kept(tmp_path)["finished"] is False
    again = play(tmp_path, slice_of_pictures, *options, "--resume")
    assert again.returncode == 0 and "epoch 1/2" not in again.stdout, again.stderr
    first, second = kept(tmp_path), kept(whole[0])
    for key in ("train_loss", "test_loss", "test_accuracy", "lr"):
        assert [row[key] for row in first["history"]] == [row[key] for row in second["history"]]
    assert first["filters"] == second["filters"] and first["confusion"] == second["confusion"]


def test_a_single_picture_is_no_share_of_nothing(slice_of_pictures, tmp_path):
    done = play(tmp_path, slice_of_pictures, "--no-mlp", "--no-page", "--part", "0.00001")
    assert (done.returncode, done.stderr) == (0, "")
    assert "trained on 0.001 % of the data" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_the_deep_network_trains_and_its_statistics_stay_those_of_training(slice_of_pictures, tmp_path):
    from tinytorch.files import read_arrays

    done = play(tmp_path, slice_of_pictures, "--model", "deep", "--no-mlp")
    assert done.returncode == 0, done.stderr
    assert "gradients agree" in done.stdout and "missed" not in done.stdout
    run = kept(tmp_path, "cifar10-deep-cnn-seed-0")
    assert run["parameters"] == 964_874
    arrays, _ = read_arrays(tmp_path / FOLDER / "trial" / "cifar10-deep-cnn-seed-0.safetensors")
    assert arrays["model.3.num_batches_tracked"] == 2 * (RECORDS // 64)  # looking at gradients has not counted
    assert (tmp_path / FOLDER / "trial" / "cifar10-deep.png").exists()


@pytest.mark.slow
def test_the_speedrun_resumes_bit_for_bit_and_says_both_accuracies(slice_of_pictures, tmp_path):
    from tinytorch.files import read_arrays

    name, options = "cifar10-speedrun-cnn-seed-0", ("--model", "speedrun", "--no-page")
    whole = play(tmp_path / "whole", slice_of_pictures, *options)
    assert (whole.returncode, whole.stderr) == (0, ""), whole.stdout + whole.stderr
    run, told = kept(tmp_path / "whole", name), " ".join(whole.stdout.split())
    assert re.search(r"with flips and shifts, seed 0: [\d.]+ %; [\d.]+ % without \(needed 90.0 %\)", told)
    assert 0 <= run["accuracy_of_views"] <= 1 and run["cpu_seconds"] > 0 and "missed" not in told
    cut = play(tmp_path / "cut", slice_of_pictures, *options, how="cut")
    assert cut.returncode == 130 and "--resume" in cut.stdout, cut.stderr
    assert play(tmp_path / "cut", slice_of_pictures, *options, "--resume").returncode == 0
    files = [tmp_path / how / FOLDER / "trial" / f"{name}.safetensors" for how in ("whole", "cut")]
    first, second = (read_arrays(file)[0] for file in files)
    assert first.keys() == second.keys() and any(key.endswith("momentum_buffer") for key in first)
    assert [key for key in first if first[key].tobytes() != second[key].tobytes()] == []


@pytest.mark.slow
@pytest.mark.parametrize("model", ["deep", "speedrun"])
def test_two_workers_test_a_deep_network_with_the_statistics_that_are_kept(model, slice_of_pictures, tmp_path):
    pytest.importorskip("mpi4py", reason="mpi4py is not installed")
    beside = Path(sys.executable).with_name("mpiexec")
    before = [str(beside) if beside.exists() else "mpiexec", "-n", "2"]
    options = "--model", model, "--no-mlp", "--no-page"
    done = play(tmp_path, slice_of_pictures, *options, before=before)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    run = kept(tmp_path, f"cifar10-{model}-cnn-seed-0")
    assert run["workers"] == 2 and "with 2 workers" in done.stdout
    assert run["history"][-1]["test_accuracy"] == pytest.approx(run["test_accuracy"], abs=1e-6)


@pytest.mark.parametrize("model", ["deep", "speedrun"])
def test_deep_is_for_photographs(model, tmp_path):
    script = ROOT / "milestones" / FOLDER / "run.py"
    command = [sys.executable, str(script), "--model", model, "--runs", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())
    assert done.returncode == 2 and "--data cifar10" in done.stderr


# Pictures of one's own --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a digits network that was trained for a moment."""
    from tinytorch import Trainer, manual_seed, optim
    from tinytorch.core.spatial import digits_cnn
    from tinytorch.data.loader import DataLoader, TensorDataset, digits

    folder = tmp_path_factory.mktemp("trained")
    manual_seed(0)
    model, (images, labels, _, _) = digits_cnn(), digits(0)
    Trainer(model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9)).fit(
        DataLoader(TensorDataset(images, labels), 32, shuffle=True),
        epochs=8,
        checkpoint=folder / "digits-cnn-seed-0.safetensors",
        progress=False,
    )
    record = {"data": "digits", "network": "cnn", "finished": True, "test_accuracy": 0.9}
    (folder / "digits-cnn-seed-0.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def course(whole, trained, tmp_path, monkeypatch):
    """A course folder whose runs are those of `whole`, and the digits network."""
    root = tmp_path / "course"
    root.mkdir()
    shutil.copy(ROOT / "settings.ini", root)
    for name in ("modules", "milestones"):
        (root / name).symlink_to(ROOT / name)
    (root / "tinytorch").symlink_to(PACKAGE / "tinytorch")
    shutil.copytree(whole[0], root / "runs")
    shutil.copytree(trained, root / "runs" / FOLDER, dirs_exist_ok=True)
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def predict(course, monkeypatch, capsys):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["tito", "predict", *map(str, words)])
        monkeypatch.delenv("TINYTORCH_ROOT", raising=False)
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err

    return run


def written(path, digit, number=0, size=(230, 180), invert=False):
    """One of the 8x8 digits as somebody might have photographed it: large, off the centre, dark on light."""
    from PIL import Image
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = 255 - 15.9 * bunch.images[np.flatnonzero(bunch.target == digit)[number]]
    paper = Image.new("L", size, 240)
    paper.paste(Image.fromarray(pixels.astype(np.uint8)).resize((110, 110)), (20, 50))
    paper = paper.point(lambda value: 255 - value) if invert else paper
    paper.convert("RGB").save(path)
    return path


def test_digits_are_read_whatever_their_size_and_colour(predict, tmp_path):
    files = [written(tmp_path / f"{digit}.png", digit, digit, invert=digit % 2) for digit in range(10)]
    files.append(written(tmp_path / "large.jpeg", 3, 5, size=(900, 700)))
    code, out, err = predict(*files)
    assert (code, err) == (0, "")
    blocks = [block.splitlines() for block in out.split("\n\n")[1:]]
    assert all(len(block) == 12 + (block is blocks[0]) for block in blocks), out  # name, (a heading), 8 rows, top three
    first = [block[-3].split()[0] for block in blocks]
    right = sum(said == wanted for said, wanted in zip(first, [*"0123456789", "3"], strict=True))
    assert right >= 9, out
    shares = [float(line.split()[1]) for line in blocks[0][-3:]]
    assert shares == sorted(shares, reverse=True) and sum(shares) <= 100.1
    assert blocks[0][-3].count("█") == round(30 * shares[0] / 100)


def test_sixteen_bits_are_the_same_picture(predict, tmp_path):
    """A scanner's 16 bits; 32 bits have no range that anybody knows, so they are refused."""
    from PIL import Image

    grey = np.asarray(Image.open(written(tmp_path / "8.png", 3, 5)).convert("L"))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.tif")
    Image.fromarray(grey.astype(np.float32) / 255).save(tmp_path / "float.tif")
    code, out, err = predict(tmp_path / "8.png", tmp_path / "16.png", tmp_path / "16.tif", tmp_path / "float.tif")
    eight, sixteen, tif = (block.splitlines()[-11:] for block in out.split("\n\n")[1:4])
    assert eight == sixteen == tif and code == 1 and "32 bits" in " ".join(out.split()), out + err


def test_photographs_and_files_that_are_none(predict, tmp_path, course):
    from PIL import Image

    Image.new("RGBA", (500, 90), (200, 10, 10, 128)).save(tmp_path / "wide.png")
    Image.new("L", (7, 300), 90).save(tmp_path / "high.jpg")
    (tmp_path / "text.png").write_text("no picture")
    files = [tmp_path / name for name in ("wide.png", "text.png", "nothing.png", "high.jpg")]
    code, out, err = predict("--data", "cifar10", *files)
    told = " ".join(out.split())
    assert (code, err) == (1, "") and "cifar10-cnn-seed-0" in out and "a trial run" in told
    assert out.count(" %  ") >= 2 and "text.png: no picture that can be read" in told and "no such file" in told
    weights = course / "runs" / FOLDER / "trial" / "cifar10-cnn-seed-0.safetensors"
    assert predict("--weights", weights, files[0])[0] == 0


def test_without_a_trained_network_it_says_how_to_get_one(predict, tmp_path, course):
    file = written(tmp_path / "1.png", 1)
    code, _, err = predict("--data", "cifar10-deep", file)
    assert code == 1 and "no network for cifar10-deep has been trained yet" in err
    shutil.rmtree(course / "runs")
    code, _, err = predict(file)
    assert code == 1 and "tito milestone run 04" in err and "--data cifar10" in err and "Traceback" not in err
