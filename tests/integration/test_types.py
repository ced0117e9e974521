"""The types of the public layer: a checker knows them, they are true, and they find a mistake.

The exported files add methods to classes cell by cell, which no checker follows, so stubs stand beside them; mypy's
stubtest holds those to the package as it is imported.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy", reason="mypy is not installed")
ROOT = Path(__file__).resolve().parents[2]
STUBS = sorted((ROOT / "tinytorch").rglob("*.pyi"))
PROGRAM = """\
import numpy as np

import tinytorch as tt
from tinytorch import nn, optim
from tinytorch.core.spatial import Conv2d
from tinytorch.core.tensor import Tensor


class Net(nn.Module):
    def __init__(self) -> None:
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, kernel_size=3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()
        )
        self.head = nn.Linear(8 * 4 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


tt.manual_seed(7)
model = Net()
images, labels = np.zeros((16, 1, 8, 8), np.float32), np.arange(16) % 10
loader = tt.DataLoader(tt.TensorDataset(images, labels), batch_size=8, shuffle=True)
optimizer, loss = optim.SGD(model.parameters(), lr=0.1, momentum=0.9), nn.CrossEntropyLoss()
for x, y in loader:
    optimizer.zero_grad()
    value = loss(model(x), y)
    value.backward()
    optimizer.step()
history = tt.Trainer(model, optimizer, scheduler=optim.StepLR(optimizer, 1)).fit(loader, epochs=1, progress=False)
with tt.no_grad():
    first: Tensor = model(tt.Tensor(images))[0, :3]
rows: Tensor = (2 * first + 1).reshape(3, 1)[..., None, 0].T
number: float = rows.sum(axis=0).mean().item()
shape: tuple[int, ...] = Conv2d(1, 2, (3, 3)).weight.shape
tt.save_weights("net.safetensors", model.state_dict())
model.load_state_dict(tt.load_weights("net.safetensors"))
"""
MISTAKES = """\
from tinytorch import Tensor, nn, optim

nn.Conv2d(1, 8, kernel_size="3")
nn.Linear(3)
optim.SGD(nn.Linear(2, 3), lr=0.1)
Tensor([1.0]).reshap(1)
Tensor([1.0])["first"]
nn.ReLU()(Tensor([1.0])).item().shape + nn.Missing
"""


@pytest.mark.slow
def test_a_program_is_clean_under_strict_and_each_mistake_is_found(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "mistakes.py").write_text(MISTAKES, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "program.py", "mistakes.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert [line for line in ended.stdout.splitlines() if line.startswith("program.py")] == [], ended.stderr
    found = {int(line) for line in re.findall(r"^mistakes\.py:(\d+): error", ended.stdout, re.M)}
    assert found == set(range(3, 9)), ended.stdout


def test_the_program_runs(tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr


def module(path):
    """The name of the module that a file holds."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.slow
def test_the_stubs_are_the_packages():
    """Every name and parameter of a stub; every method of its classes; and every name where a stub says all."""
    stubs = {module(path): path.read_text(encoding="utf-8") for path in STUBS}
    everything = {module(path) for path in (ROOT / "tinytorch").rglob("*.py")}
    command = [sys.executable, "-m", "mypy.stubtest", "tinytorch", "--concise", "--mypy-config-file", "pyproject.toml"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode in (0, 1) and "tinytorch" in ended.stdout, ended.stderr
    wrong = []
    for line in ended.stdout.splitlines():
        name = line.split()[0]
        home = max((each for each in everything if f"{name}.".startswith(f"{each}.")), key=len)
        inner = name.removeprefix(f"{home}.")
        if home not in stubs or inner == "__all__" or name == "tinytorch.core.autograd.no_grad":
            continue  # told as the functions that it is, and is an object, which refuses `with no_grad:`
        unlisted = line.endswith("is not present in stub") and "." not in inner
        if not (unlisted and "def __getattr__" in stubs[home]):
            wrong.append(line)
    assert wrong == []
