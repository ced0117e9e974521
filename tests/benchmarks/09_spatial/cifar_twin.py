"""CIFAR-10 by milestone 04's recipe, against PyTorch with the same weights, batches, pictures and schedule.

python tests/benchmarks/09_spatial/cifar_twin.py DATA                  epochs in turns, CPU time, one thread each
python tests/benchmarks/09_spatial/cifar_twin.py DATA --workers 2      two processes against PyTorch's two threads, by
                                                                       the clock: a step, then epochs (a quiet machine!)
DATA: the folder in which cifar-10-batches-bin lies. --epochs N: how many of the recipe's ten are run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "milestones"))
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "milestones" / "04_1998_cnn"))
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before NumPy; PyTorch's threads are set below

from networks import NETWORKS
from run import cifar_data, cifar_recipe
from workloads import batch_of

import tinytorch
from tinytorch.core.losses import accuracy, cross_entropy
from tinytorch.core.training import evaluate, train_epoch, training_step

MILESTONE = Path(__file__).resolve().parents[3] / "milestones" / "04_1998_cnn" / "run.py"
EPOCHS, STEPS, ROUNDS = 10, 60, 5


class Ours:
    """The wide network, one thread."""

    def __init__(self, data, seed):
        tinytorch.manual_seed(seed)
        self.model, self.data = NETWORKS["cifar10"](), data
        self.optimizer, self.scheduler = cifar_recipe("cnn", self.model, EPOCHS, EPOCHS * len(data.train))

    def epoch(self, number):
        """(training loss, test accuracy)"""
        self.data.train.set_epoch(number)
        loss = train_epoch(self.model, self.optimizer, cross_entropy, self.data.train, self.scheduler)
        return loss, evaluate(self.model, self.data.test, metrics={"accuracy": accuracy})["accuracy"]


class Theirs:
    """The same network of PyTorch's layers, with a copy of the weights; pictures from the same loaders."""

    def __init__(self, data, model):
        import torch
        from torch_side import twin

        self.torch, self.model, self.data = torch, twin(model), data
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=0.05, total_steps=EPOCHS * len(data.train) if data else 10**6, cycle_momentum=False
        )

    def step(self, x, labels):
        self.optimizer.zero_grad()
        loss = self.torch.nn.functional.cross_entropy(self.model(x), labels)
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()
        return loss.item()

    def epoch(self, number):
        self.data.train.set_epoch(number)
        summed = right = 0
        for batch in self.data.train:
            x, labels = (self.torch.from_numpy(part.numpy()) for part in batch)
            summed += self.step(x, labels) * len(x)
        with self.torch.no_grad():
            for batch in self.data.test:
                x, labels = (self.torch.from_numpy(part.numpy()) for part in batch)
                right += int((self.model(x).argmax(1) == labels).sum())
        return summed / len(self.data.train.dataset), right / len(self.data.test.dataset)


def timed(function, *inputs):
    """(what it returns, CPU seconds of all threads, seconds)"""
    cpu, wall = time.process_time(), time.perf_counter()
    found = function(*inputs)
    return found, time.process_time() - cpu, time.perf_counter() - wall


def in_turns(folder, seed, epochs):
    """An epoch of ours, an epoch of PyTorch's, and so on; the ratio of CPU times."""
    data = cifar_data(folder, seed)
    ours = Ours(data, seed)
    sides = {"TinyTorch": ours, "PyTorch": Theirs(data, ours.model)}
    spent = {name: [] for name in sides}
    for number in range(epochs):
        for name in list(sides) if number % 2 else list(sides)[::-1]:
            (loss, accuracy), cpu, wall = timed(sides[name].epoch, number)
            spent[name].append(cpu)
            print(f"epoch {number + 1:2}  {name:9}  train loss {loss:.4f}  test accuracy {accuracy:.4f}  "
                  f"CPU {cpu:6.1f} s  clock {wall:6.1f} s  load {load()}", flush=True)  # fmt: skip
    ratios = [a / b for a, b in zip(*spent.values(), strict=True)]
    whole = sum(spent["TinyTorch"]) / sum(spent["PyTorch"])
    print(f"CPU: {', '.join(f'{name} {sum(times):.0f} s' for name, times in spent.items())}; ratio {whole:.2f}, "
          f"median of the epochs {median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")  # fmt: skip


# Two cores --------------------------------------------------------------------------------------------------------


def crew_steps():
    """What every process of `mpiexec` does: steps of the wide network on its share; rank 0 prints the times in ms."""
    import workers

    crew = workers.join()
    data = Shared(tuple(map(tinytorch.Tensor, batch_of("B", 64))), crew)
    tinytorch.manual_seed(0)
    model = NETWORKS["cifar10"]()
    optimizer, _ = cifar_recipe("cnn", model, 1, 1)
    alone = optimizer.step
    optimizer.step = lambda: (crew.add_gradients(optimizer.parameters, data.fraction), alone())
    print(json.dumps([timed(training_step, model, optimizer, cross_entropy, *data.batch)[2] for _ in range(STEPS)]))


class Shared:
    """This process's share of one batch."""

    def __init__(self, batch, crew):
        from workers import Shares

        shares = Shares([batch], crew)
        (self.batch,) = shares
        self.fraction = shares.fraction


def mpiexec(count):
    return [str(Path(sys.executable).with_name("mpiexec")), "-n", str(count), sys.executable]


def two_cores(folder, count, epochs):
    """Times by the clock of `count` processes and of PyTorch with `count` threads: steps in turns, then epochs."""
    import torch

    data, rounds = cifar_data(folder, 0), []
    model = NETWORKS["cifar10"]()
    theirs = Theirs(data, model)
    torch.set_num_threads(count)  # after torch_side has asked for one
    x, labels = map(torch.from_numpy, batch_of("B", 64))
    steps = Theirs(None, model)
    for number in range(ROUNDS):
        done = subprocess.run([*mpiexec(count), __file__, "--steps"], capture_output=True, text=True, check=True)
        pair = [json.loads(done.stdout), [timed(steps.step, x, labels)[2] for _ in range(STEPS)]]
        rounds.append([1000 * median(times[STEPS // 4 :]) for times in pair])
        ours, other = rounds[-1]
        print(f"step, round {number + 1}: {count} workers {ours:.1f} ms, PyTorch with {count} threads {other:.1f} ms, "
              f"ratio {ours / other:.2f}  load {load()}", flush=True)  # fmt: skip
    print(f"step: median ratio {median(a / b for a, b in rounds):.2f} (required 0.9, aim 0.7)", flush=True)
    for number in range(epochs):
        ours = milestone_epoch(folder, count)
        (_, accuracy), _, wall = timed(theirs.epoch, number)
        print(f"epoch {number + 1}: {count} workers {ours:.1f} s, PyTorch {wall:.1f} s, ratio {ours / wall:.2f} "
              f"(required 1.1)  load {load()}", flush=True)  # fmt: skip


def milestone_epoch(folder, count):
    """Seconds for an epoch, with its test, of the milestone itself."""
    with tempfile.TemporaryDirectory() as runs:
        options = f"--data cifar10 --epochs 1 --no-mlp --no-page --workers {count} --runs".split()
        command = [sys.executable, str(MILESTONE), *options, runs, "--data-dir", str(folder)]
        subprocess.run(command, check=True, capture_output=True)
        return json.loads(next(Path(runs).rglob("*.json")).read_text())["history"][0]["seconds"]


def load():
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="the folder in which cifar-10-batches-bin lies")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--steps", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.steps:
        crew_steps()
    elif chosen.workers > 1:
        two_cores(chosen.folder, chosen.workers, 1 if chosen.epochs is None else chosen.epochs)
    else:
        in_turns(chosen.folder, chosen.seed, chosen.epochs or EPOCHS)
